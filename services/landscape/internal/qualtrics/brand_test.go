package qualtrics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

const (
	directory = "/directories/POOL_simulated"
	list      = directory + "/mailinglists/CG_simulated"
)

// brand is a simulator behind a real HTTP server, with a client for it.
type brand struct {
	t        testing.TB
	dir      string
	settings qualtrics.Settings
	server   *httptest.Server
	handler  atomic.Pointer[http.Handler]
	store    *store.Store
	sim      *qualtrics.Simulator
	clock    atomic.Int64
	stop     func()
}

// start opens a simulated brand with the default settings, changed.
func start(t testing.TB, change func(*qualtrics.Settings)) *brand {
	t.Helper()
	b := &brand{t: t, dir: t.TempDir(), settings: qualtrics.Defaults()}
	b.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		(*b.handler.Load()).ServeHTTP(w, r)
	}))
	t.Cleanup(b.server.Close)
	b.clock.Store(time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC).UnixNano())
	b.settings.BaseURL = b.server.URL
	b.settings.Clock = func() time.Time { return time.Unix(0, b.clock.Load()) }
	b.settings.Assumed = qualtrics.Switches{EventBackoff: time.Millisecond, TaskBackoff: time.Millisecond}
	if change != nil {
		change(&b.settings)
	}
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

func (b *brand) open() {
	b.t.Helper()
	var err error
	if b.store, err = store.Open(b.dir); err != nil {
		b.t.Fatal(err)
	}
	if b.sim, err = qualtrics.New(b.store, b.settings, slog.New(slog.DiscardHandler)); err != nil {
		b.t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/API/", b.sim.API())
	mux.Handle("/oauth2/", b.sim.API())
	mux.Handle("/jfe/", b.sim.Pages())
	var handler http.Handler = mux
	b.handler.Store(&handler)
	b.stop = func() {}
}

// run sends events and tasks from now on.
func (b *brand) run() {
	ctx, cancel := context.WithCancel(b.t.Context())
	done := make(chan error, 1)
	go func() { done <- b.sim.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			b.t.Errorf("Run: %v", err)
		}
	}
}

func (b *brand) close() {
	b.stop()
	b.stop = func() {}
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
}

// restart ends the process, in effect, and starts it again on the same books.
func (b *brand) restart() {
	b.t.Helper()
	b.close()
	b.open()
}

func (b *brand) pass(d time.Duration) { b.clock.Add(int64(d)) }

// answer is a decoded answer of the API.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	body   map[string]any
	raw    string
}

// call makes an API call. The body is JSON text; an empty one sends none.
func (b *brand) call(method, path, body string) answer {
	b.t.Helper()
	return b.callWith(method, b.server.URL+"/API/v3"+path, body, map[string]string{
		"X-API-TOKEN": "simulated-token", "Content-Type": "application/json",
	})
}

func (b *brand) callWith(method, address, body string, header map[string]string) answer {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := b.server.Client().Do(request)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	a := answer{t: b.t, status: response.StatusCode, header: response.Header, raw: string(text)}
	if err := json.Unmarshal(text, &a.body); err != nil {
		b.t.Fatalf("%s %s: no JSON: %s", method, address, text)
	}
	return a
}

// at finds a value in the answer by its path, nil where there is none: at("result", "elements", 0, "link").
func (a answer) at(path ...any) any {
	var value any = a.body
	for _, step := range path {
		switch step := step.(type) {
		case string:
			object, _ := value.(map[string]any)
			value = object[step]
		case int:
			array, _ := value.([]any)
			if step >= len(array) {
				return nil
			}
			value = array[step]
		}
	}
	return value
}

func (a answer) text(path ...any) string {
	text, _ := a.at(path...).(string)
	return text
}

func (a answer) elements() []map[string]any {
	array, _ := a.at("result", "elements").([]any)
	var all []map[string]any
	for _, element := range array {
		object, _ := element.(map[string]any)
		all = append(all, object)
	}
	return all
}

// want fails the test where the answer has another status.
func (a answer) want(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("got %d %s, want %d", a.status, a.raw, status)
	}
	if status >= 300 && a.at("result") != nil {
		a.t.Errorf("a refusal with a result: %s", a.raw)
	}
	return a
}

// refused fails the test where the answer is not that refusal, with the code or, where it is empty, without one.
func (a answer) refused(status int, code string) {
	a.t.Helper()
	a.want(status)
	if got := a.text("meta", "error", "errorCode"); got != code {
		a.t.Errorf("got code %q in %s, want %q", got, a.raw, code)
	}
	text := http.StatusText(status)
	if status == 503 {
		text = "Temporary Internal Server Error" // qualtrics.md §2.6
	}
	if got := a.text("meta", "httpStatus"); got != fmt.Sprintf("%d - %s", status, text) {
		a.t.Errorf("got httpStatus %q", got)
	}
}

// check compares two values by their JSON.
func check(t testing.TB, what string, got, want any) {
	t.Helper()
	g, w := asJSON(t, got), asJSON(t, want)
	if g != w {
		t.Errorf("%s: got %s, want %s", what, g, w)
	}
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(text.String())
}

// contact makes a contact in the list and gives its CID_ and CGC_.
func (b *brand) contact(body string) (id, lookup string) {
	b.t.Helper()
	a := b.call("POST", list+"/contacts", body).want(200)
	return a.text("result", "id"), a.text("result", "contactLookupId")
}

func (b *brand) transaction(contactID string, data map[string]any) string {
	b.t.Helper()
	item := map[string]any{"contactId": contactID, "mailingListId": "CG_simulated"}
	if data != nil {
		item["data"] = data
	}
	a := b.call("POST", directory+"/transactions", asJSON(b.t, map[string]any{"k": item})).want(200)
	return a.text("result", "createdTransactions", "k", "id")
}

func (b *brand) batch(transactions ...string) string {
	b.t.Helper()
	if transactions == nil {
		transactions = []string{}
	}
	return b.call("POST", directory+"/transactionbatches", asJSON(b.t, map[string]any{
		"transactionIds": transactions, "creationDate": "2026-01-15 09:31:00",
	})).want(200).text("result", "id")
}

// distribute makes a distribution of a batch; more holds further fields.
func (b *brand) distribute(surveyID, batch string, more map[string]any) string {
	b.t.Helper()
	body := map[string]any{
		"action": "CreateTransactionBatchDistribution", "surveyId": surveyID, "linkType": "Individual",
		"transactionBatchId": batch, "mailingListId": "CG_simulated", "description": "wave " + batch,
	}
	maps.Copy(body, more)
	return b.call("POST", "/distributions", asJSON(b.t, body)).want(200).text("result", "id")
}

// links reads all pages of a distribution's links.
func (b *brand) links(distribution, surveyID string) (all []map[string]any, pages []int) {
	b.t.Helper()
	next := b.server.URL + "/API/v3/distributions/" + distribution + "/links?surveyId=" + surveyID
	for next != "" {
		a := b.callWith("GET", next, "", map[string]string{"X-API-TOKEN": "simulated-token"}).want(200)
		all, pages = append(all, a.elements()...), append(pages, len(a.elements()))
		next = a.text("result", "nextPage")
	}
	return all, pages
}

// invite does all that it takes to get one personal link to a survey.
func (b *brand) invite(surveyID string, data map[string]any) (link, distribution string) {
	b.t.Helper()
	id, _ := b.contact(`{"firstName":"Ada","lastName":"Nord","email":"ada@example.org","extRef":"P-1001","language":"EN","embeddedData":{"Country":"DE"}}`)
	distribution = b.distribute(surveyID, b.batch(b.transaction(id, data)), nil)
	all, _ := b.links(distribution, surveyID)
	if len(all) != 1 {
		b.t.Fatalf("got %d links, want 1", len(all))
	}
	link, _ = all[0]["link"].(string)
	return link, distribution
}

// visit opens a page as a browser does.
func (b *brand) visit(link string) (int, string) {
	b.t.Helper()
	response, err := b.server.Client().Get(link)
	if err != nil {
		b.t.Fatal(err)
	}
	return readPage(b.t, response)
}

// submit sends a page's form, as name, value, name, value.
func (b *brand) submit(link string, fields ...string) (int, string) {
	b.t.Helper()
	form := url.Values{}
	for pair := range slices.Chunk(fields, 2) {
		form.Set(pair[0], pair[1])
	}
	response, err := b.server.Client().PostForm(link, form)
	if err != nil {
		b.t.Fatal(err)
	}
	return readPage(b.t, response)
}

func readPage(t testing.TB, response *http.Response) (int, string) {
	t.Helper()
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// hook is a receiver of events and tasks.
type hook struct {
	url      string
	requests chan received
	status   atomic.Int32 // that it answers with
}

type received struct {
	method string
	header http.Header
	body   string
}

func receiver(t *testing.T) *hook {
	t.Helper()
	h := &hook{requests: make(chan received, 1000)}
	h.status.Store(200)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.WriteHeader(int(h.status.Load()))
		h.requests <- received{r.Method, r.Header, string(body)}
	}))
	t.Cleanup(server.Close)
	h.url = server.URL + "/qualtrics/events"
	return h
}

// next waits for the next POST.
func (h *hook) next(t *testing.T) received {
	t.Helper()
	for {
		select {
		case got := <-h.requests:
			if got.method == http.MethodPost {
				return got
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing was sent")
		}
	}
}

// form decodes a received form.
func (r received) form(t *testing.T) url.Values {
	t.Helper()
	form, err := url.ParseQuery(r.body)
	if err != nil {
		t.Fatal(err)
	}
	return form
}

// until waits for something to become true.
func until(t *testing.T, what string, ready func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func completed(surveyID string) string { return "surveyengine.completedResponse." + surveyID }

// deliveries gives the events of one kind from the books.
func (b *brand) deliveries(kind string) []qualtrics.Delivery {
	return slices.DeleteFunc(b.sim.Books().Deliveries, func(d qualtrics.Delivery) bool { return d.Kind != kind })
}
