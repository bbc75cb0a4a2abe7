package console_test

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/console"
	"github.com/closeloop/closeloop/services/console/loops"
)

// asPeople is what browsers ask for.
var asPeople = []string{"Accept", "text/html,application/xhtml+xml,*/*;q=0.8"}

// with starts a console with these settings.
func with(t *testing.T, env servicetest.Env) *fixture {
	t.Helper()
	broker, tasks := newBroker(t)
	return &fixture{servicetest.Start(t, broker, console.Define, env), t, broker, tasks}
}

// browser keeps cookies, follows nothing, and says where its posts come from.
type browser struct {
	f       *fixture
	cookies map[string]string
	origin  string
	// proxied says that a proxy has taken the request by https.
	proxied bool
}

func (f *fixture) browser() *browser {
	return &browser{f: f, cookies: map[string]string{}, origin: f.URL}
}

func (b *browser) do(method, path, form string) (status int, header http.Header, body string) {
	b.f.t.Helper()
	r, err := http.NewRequestWithContext(b.f.t.Context(), method, b.f.URL+path, strings.NewReader(form))
	if err != nil {
		b.f.t.Fatal(err)
	}
	r.Header.Set(asPeople[0], asPeople[1])
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Origin", b.origin)
	}
	if b.proxied {
		r.Header.Set("X-Forwarded-Proto", "https")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	for name, value := range b.cookies {
		r.AddCookie(&http.Cookie{Name: name, Value: value})
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		b.f.t.Fatal(err)
	}
	defer answer.Body.Close()
	for _, c := range answer.Cookies() {
		if b.cookies[c.Name] = c.Value; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	var text strings.Builder
	if _, err := bufio.NewReader(answer.Body).WriteTo(&text); err != nil {
		b.f.t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, text.String()
}

// opens opens a page, which must answer with that status.
func (b *browser) opens(path string, want int) string {
	b.f.t.Helper()
	status, _, body := b.do(http.MethodGet, path, "")
	if status != want {
		b.f.t.Errorf("GET %s: %d, want %d", path, status, want)
	}
	return body
}

func (b *browser) posts(path, form string, want int) (to string) {
	b.f.t.Helper()
	status, header, body := b.do(http.MethodPost, path, form)
	if status != want {
		b.f.t.Errorf("POST %s: %d, want %d: %s", path, status, want, body)
	}
	return header.Get("Location")
}

func (b *browser) signsIn(user, password string, want int) {
	b.f.t.Helper()
	b.posts("/sign-in", url.Values{"user": {user}, "password": {password}, "next": {"/loops"}}.Encode(), want)
}

// invites publishes an invitation and its link, of one loop.
func (f *fixture) invites(n int) (loop string) {
	loop = fmt.Sprint("L-", n)
	f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(
		`{"requestId":"REQ-%d","contact":{"externalId":"P-%d","email":"ada%d@example.com","firstName":"Ada"},"transaction":{"externalId":"47%d"},"campaign":{"campaignId":"C-%d","name":"=Service"}}`,
		n, n, n, n, n%2), "ce-id", fmt.Sprint("E-asked-", n), "ce-source", "ingress", "ce-loopid", loop)
	f.broker.Publish(subjects.SurveyLinkCreated, fmt.Sprintf(
		`{"requestId":"REQ-%d","link":"https://survey.example/secret-%d","expiresAt":"2036-10-24T00:00:00Z","contactId":"CID_1","contactLookupId":"CGC_%d","transactionId":"CTR_1","distributionId":"EMD_1","surveyId":"SV_service","campaign":{"campaignId":"C-%d","name":"=Service"},"contact":{"externalId":"P-%d"}}`,
		n, n, n, n%2, n), "ce-id", fmt.Sprint("E-link-", n), "ce-source", "qualtrics-linker", "ce-loopid", loop)
	return loop
}

// tells publishes what a service tells of an attempt.
func (f *fixture) tells(a activity.Attempt) {
	f.t.Helper()
	content, err := json.Marshal(a)
	if err != nil {
		f.t.Fatal(err)
	}
	f.broker.Publish(topology.ActivitySubject(a.Service, activity.KindAttempt), string(content))
}

type found struct {
	Loops []loops.Summary
	Next  string
}

func (f *fixture) loops(query string) found {
	f.t.Helper()
	var l found
	f.Get("/loops" + query).Want(200).JSON(&l)
	return l
}

// knows waits until the read model has that many loops.
func (f *fixture) knows(n int) {
	f.t.Helper()
	bustest.Eventually(f.t, fmt.Sprintf("%d loops are known", n), func() bool { return len(f.loops("?limit=1000").Loops) == n })
}

func TestLoopsAreFoundByWhatSomebodyHasInHand(t *testing.T) {
	f := start(t)
	for n := range 4 {
		f.invites(n)
	}
	f.knows(4)
	for query, want := range map[string][]string{
		"":                               {"L-3", "L-2", "L-1", "L-0"},
		"?q=REQ-2":                       {"L-2"},
		"?q=L-1":                         {"L-1"},
		"?q=473":                         {"L-3"},
		"?order=473":                     {"L-3"},
		"?order=P-3":                     {},
		"?contact=P-1":                   {"L-1"},
		"?request=REQ-0":                 {"L-0"},
		"?campaign=C-1":                  {"L-3", "L-1"},
		"?state=failed":                  {},
		"?state=processing&campaign=C-0": {"L-2", "L-0"},
		"?stage=link":                    {"L-3", "L-2", "L-1", "L-0"},
		"?stage=answered":                {},
		"?to=2020-01-01":                 {},
		"?from=2020-01-01":               {"L-3", "L-2", "L-1", "L-0"},
		"?limit=2":                       {"L-3", "L-2"},
	} {
		got := []string{}
		for _, l := range f.loops(query).Loops {
			got = append(got, l.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	first := f.loops("?limit=3")
	if rest := f.loops("?limit=3&before=" + url.QueryEscape(first.Next)); len(rest.Loops) != 1 || rest.Loops[0].ID != "L-0" || rest.Next != "" {
		t.Errorf("the next page: %+v", rest)
	}
	for _, wrong := range []string{"state=lost", "stage=nowhere", "from=yesterday", "limit=0", "limit=x", "stat=failed"} {
		if got := f.Get("/loops?" + wrong); got.Status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", wrong, got.Status, got.Body)
		}
	}
	if got := f.Get("/loops/none"); got.Status != http.StatusNotFound {
		t.Errorf("an unknown loop: %d", got.Status)
	}
}

func TestTheListIsAPageAndATableToo(t *testing.T) {
	f := start(t)
	f.invites(1)
	f.knows(1)
	text := f.browser().opens("/loops?state=processing&q=REQ-1", 200)
	for _, wanted := range []string{
		`<h1>Loops</h1>`, `href="/loops/L-1"`, `id="loop-L-1"`, `data-live="/loops/live?q=REQ-1&amp;state=processing"`, `name="q" value="REQ-1"`,
		`<option value="processing" selected>`, `<option value="C-1">`, `format=csv`, `<caption>`, `scope="col"`,
	} {
		if !strings.Contains(text, wanted) {
			t.Errorf("the page has no %s\n%s", wanted, text)
		}
	}
	rows, err := csv.NewReader(strings.NewReader(f.Get("/loops?format=csv").Want(200).Body)).ReadAll()
	if err != nil || len(rows) != 2 || rows[0][0] != "loop" || rows[1][0] != "L-1" || rows[1][3] != "C-1" {
		t.Errorf("%v %q", err, rows)
	}
}

func TestALoopIsToldWhole(t *testing.T) {
	f := with(t, servicetest.Env{
		"CONSOLE_LINK_REQUEST": "https://mail.example/{id}", "CONSOLE_LINK_CONTACT": "/people/{id}", "CONSOLE_LINKS": "Elsewhere=https://else.example/,Here=/here/",
	})
	loop := f.invites(7)
	f.broker.Publish(subjects.TaskCreated, `{"responseId":"R_7","taskId":"40211","objectId":"00AB","url":"javascript:alert(1)"}`, "ce-id", "E-task", "ce-source", "c4c-tasker", "ce-loopid", loop)
	began := time.Now().UTC().Add(-time.Minute)
	f.tells(activity.Attempt{
		Service: topology.QualtricsLinker, At: began, Took: 3 * time.Second, Wave: 120,
		Calls: []activity.Call{
			{Vendor: "qualtrics", Operation: "import transactions", At: began, Took: 800 * time.Millisecond, Waited: 2 * time.Second, Status: 503, Outcome: "vendor-down", Reason: "the vendor answered 503", Write: true, InsteadOf: 120},
		},
		Events: []activity.Handled{{
			EventID: "E-asked-7", LoopID: loop, Type: subjects.SurveyLinkRequested, Attempt: 2, Outcome: activity.Retry, Class: "vendor", Vendor: "qualtrics",
			Reason: "the vendor answered 503", Next: time.Now().Add(time.Hour),
			Rules: []activity.Decision{
				{Rule: "csat-recognition", Fired: true, Subject: "recognition.requested"},
				{Rule: "delivery-too-late", Why: `values.QID1 == "Delivery too late"`},
			},
		}},
	})
	var story struct {
		loops.Summary
		IDs      []loops.ID
		Links    []struct{ Kind, Value, URL string }
		Timeline []struct {
			Kind, Type, ID, By string
			Fields             json.RawMessage
			Attempts           []struct {
				Service, Outcome string
				Calls            []activity.Call
			}
		}
	}
	bustest.Eventually(t, "the loop with its attempt is known", func() bool {
		got := f.Get("/loops/" + loop)
		if got.Status != 200 {
			return false
		}
		story.Timeline = nil
		got.JSON(&story)
		return len(story.Timeline) == 3 && len(story.Timeline[0].Attempts) == 1
	})
	if first := story.Timeline[0]; first.Type != subjects.SurveyLinkRequested || first.By != "ingress" || len(first.Attempts[0].Calls) != 1 ||
		!strings.Contains(string(first.Fields), `"requestId":"REQ-7"`) {
		t.Errorf("the first event: %+v", first)
	}
	page := f.browser().opens("/loops/"+loop, 200)
	for _, wanted := range []string{
		"<h1>Loop L-7</h1>", `data-live="/loops/L-7/live"`, `href="https://mail.example/REQ-7"`, `href="/people/P-7"`, `href="https://else.example/"`, `href="/here/"`,
		"import transactions", "one of 120 in this call", "2.0\u00a0s", "800\u00a0ms", "503", "attempt 2", "csat-recognition", "not fired", "values.QID1 == &#34;Delivery too late&#34;",
		"Next try at", "retry", "•••• (16 characters)", "P-7",
	} {
		if !strings.Contains(page, wanted) {
			t.Errorf("the page has no %s", wanted)
		}
	}
	for _, secret := range []string{"ada7@example.com", "survey.example/secret", "javascript:", ">Ada<"} {
		if strings.Contains(page, secret) || strings.Contains(f.Get("/loops/"+loop).Body, secret) {
			t.Errorf("it shows %s", secret)
		}
	}
	if t.Failed() {
		t.Log(page)
	}
}

func TestAnAddressForAnIdIsMaskedWhereverALoopIsShown(t *testing.T) {
	f := with(t, servicetest.Env{"CONSOLE_LINK_CONTACT": "https://crm.example/{id}"})
	f.broker.Publish(subjects.SurveyLinkRequested,
		`{"requestId":"REQ-1","contact":{"externalId":"ada@example.com"},"transaction":{"externalId":"order of ada@example.com"}}`, "ce-id", "E-1", "ce-loopid", "L-1")
	f.broker.Publish(subjects.TaskCreated, `{"responseId":"R_1","taskId":"4","objectId":"5","url":"/dead-letters/1?format=json"}`, "ce-id", "E-2", "ce-loopid", "L-1")
	f.knows(1)
	bustest.Eventually(t, "the task is known", func() bool { return strings.Contains(f.Get("/loops/L-1").Body, "task.created") })
	if l := f.loops("?contact=ada@example.com").Loops; len(l) != 1 || l[0].Contact != "•••• (15 characters)" {
		t.Errorf("%+v", l)
	}
	b := f.browser()
	for name, text := range map[string]string{
		"the list": f.Get("/loops").Body, "its page": b.opens("/loops", 200), "its table": f.Get("/loops?format=csv").Body,
		"the loop": f.Get("/loops/L-1").Body, "the loop's page": b.opens("/loops/L-1", 200),
	} {
		if strings.Contains(text, "ada@") || strings.Contains(text, "ada%40") || !strings.Contains(text, "15 characters") {
			t.Errorf("%s: %s", name, text)
		}
		if strings.Contains(text, "/dead-letters/1") {
			t.Errorf("%s: an event leads to a page of ours: %s", name, text)
		}
	}
	f.hears("/loops/live", "")("15 characters")
	f.Get("/loops?before=x").WantProblem(400, "before")
}

// Where a caller chose somebody's address for the id of a loop or of an event, no page, no answer and no link holds it.
func TestALoopThatIsCalledByAnAddressHasAnAlias(t *testing.T) {
	const id = "ada@example.com"
	f := with(t, servicetest.Env{})
	task := `{"responseId":"R_1","subject":"Late","accountId":"1"}`
	f.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"REQ-1","contact":{"externalId":"P-1","email":"x@example.com"}}`, "ce-id", id, "ce-loopid", id)
	f.broker.Publish(subjects.FeedbackDeliveryLate, task, "ce-id", "late/"+id, "ce-loopid", id)
	f.waits(1)
	f.tells(activity.Attempt{
		Service: topology.QualtricsLinker, At: time.Now(), Calls: []activity.Call{{Vendor: "qualtrics", Operation: "import", EventID: id}},
		Events: []activity.Handled{{EventID: id, LoopID: id, Type: subjects.SurveyLinkRequested, Stream: topology.Events, Sequence: 1, Attempt: 1, Outcome: activity.Done}},
	})
	f.knows(1)
	called := f.loops("").Loops[0].ID
	if !strings.HasPrefix(called, "~") || strings.Contains(called, "ada") {
		t.Fatalf("the loop is called %q", called)
	}
	address := "/loops/" + called
	bustest.Eventually(t, "the loop is told with its calls and its letter", func() bool {
		body := f.Get(address).Want(200).Body
		return strings.Contains(body, `"operation":"import"`) && strings.Contains(body, `"kind":"letter"`)
	})
	b := f.browser()
	texts := map[string]string{}
	for _, path := range []string{"/loops", "/loops?format=csv", address, "/dead-letters", "/dead-letters?format=csv", "/dead-letters/1"} {
		texts[path] = f.Get(path).Want(200).Body
		texts["the page "+path] = b.opens(path, 200)
	}
	for what, text := range texts {
		if strings.Contains(text, "ada@") || strings.Contains(text, "ada%40") || !strings.Contains(text, called) {
			t.Errorf("%s: %s", what, text)
		}
	}
	if page := texts["the page "+address]; !strings.Contains(page, "<h1>Loop •••• "+called[1:7]+"</h1>") || !strings.Contains(page, `data-live="`+address+`/live"`) {
		t.Error(page)
	}
	f.hears(address+"/live", "")(`id="loop-timeline"`)
	list := f.hears("/loops/live?state=failed", "")
	list(`<tr id="loop-` + called)
	if status, header, _ := b.do(http.MethodGet, "/loops/ada%40example.com", ""); status != http.StatusSeeOther || header.Get("Location") != address {
		t.Errorf("%d %s", status, header.Get("Location"))
	}
	for _, loop := range []string{called, url.QueryEscape(id)} {
		if got := f.Get("/dead-letters?loop=" + loop).Want(200).Body; !strings.Contains(got, `"total":1`) {
			t.Errorf("no letter of %s: %s", loop, got)
		}
		f.Get("/loops/" + loop).Want(200)
	}
}

func TestADeadLetterIsPartOfItsLoop(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	f.Post("/dead-letters/1/discard", `{"why":"only a test","by":"ada"}`).Want(200)
	bustest.Eventually(t, "the loop knows its letter", func() bool {
		got := f.Get("/loops/L-1")
		return got.Status == 200 && strings.Contains(got.Body, `"kind":"letter"`)
	})
	page := f.browser().opens("/loops/L-1", 200)
	for _, wanted := range []string{`href="/dead-letters/1"`, "account 1000001 is unknown", ": discarded", "by ada (as they said): only a test"} {
		if !strings.Contains(page, wanted) {
			t.Errorf("the page has no %s\n%s", wanted, page)
		}
	}
	if strings.Contains(page, "secret text") {
		t.Error("it shows the text")
	}
}

// hears opens a stream of whoever has that session, "" for none, and waits until it has said something.
func (f *fixture) hears(path, session string) (until func(wanted string)) {
	f.t.Helper()
	lines := bufio.NewScanner(f.listens(path, session))
	lines.Buffer(nil, 1<<20)
	return func(wanted string) {
		f.t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), wanted) {
				return
			}
		}
		f.t.Fatalf("the stream ended before it said %q: %v", wanted, lines.Err())
	}
}

// listens opens a stream of whoever has that session, "" for none.
func (f *fixture) listens(path, session string) io.Reader {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	f.t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.URL+path, http.NoBody)
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Accept", "text/event-stream")
	if session != "" {
		r.AddCookie(&http.Cookie{Name: "closeloop-session", Value: session})
	}
	answer, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { _ = answer.Body.Close() })
	if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("%d %s", answer.StatusCode, answer.Header)
	}
	return answer.Body
}

func TestPagesAreKeptUpToDate(t *testing.T) {
	f := start(t)
	f.invites(1)
	f.knows(1)
	list, one := f.hears("/loops/live?campaign=C-0", ""), f.hears("/loops/L-1/live", "")
	one(`id="loop-timeline"`)
	f.invites(2)
	list(`<tr id="loop-L-2">`)
	f.broker.Publish(subjects.SurveyResponseNotified, `{"surveyId":"SV_service","responseId":"R_99","recipientId":"CGC_1"}`, "ce-id", "E-answer", "ce-source", "ingress", "ce-loopid", "L-1")
	one("R_99")
	f.Stop() // with streams that are open, which must end
}

// TestALivePageHoldsTheRowsThatItWouldHoldIfItWereLoaded in their order, and leads to the page that then is the next.
func TestALivePageHoldsTheRowsThatItWouldHoldIfItWereLoaded(t *testing.T) {
	f := start(t)
	f.invites(1)
	f.invites(2)
	f.knows(2)
	hears := f.hears("/loops/live?limit=2", "")
	hears(`data-rows="loops-rows" data-order="loop-L-2 loop-L-1"`)
	hears(`<div id="loops-pager"></div>`)
	f.invites(3)
	hears(`data-order="loop-L-3 loop-L-2"><tr id="loop-L-3">`)
	hears(`href="/loops?before=` + f.loops("?limit=2").Next + `&amp;limit=2"`)
}

func TestOperationsAreListedWithWhoAndWhy(t *testing.T) {
	f := start(t)
	f.fail(1, 2)
	f.Post("/dead-letters/1/discard", `{"why":"=1+1","by":"ada"}`).Want(200)
	f.Post("/dead-letters/2/discard", `{"why":"<script>x</script>","by":"bob"}`).Want(200)
	b := f.browser()
	page := b.opens("/operations", 200)
	if !strings.Contains(page, `href="/dead-letters/1"`) || !strings.Contains(page, "&lt;script&gt;") || strings.Contains(page, "<script>x") || !strings.Contains(page, "bob (as they said)") {
		t.Error(page)
	}
	if page := b.opens("/operations?by=ada", 200); strings.Contains(page, "bob") || !strings.Contains(page, "ada (as they said)") {
		t.Error(page)
	}
	rows, err := csv.NewReader(strings.NewReader(f.Get("/operations?format=csv&by=ada").Want(200).Body)).ReadAll()
	if err != nil || len(rows) != 2 || !slices.Contains(rows[1], "'=1+1") {
		t.Errorf("%v %q", err, rows)
	}
}

// People who may operate and read.
var people = servicetest.Env{
	"INGRESS_BASIC_USERS": "oona:operates", "INGRESS_API_KEYS": "key", "CONSOLE_READERS": "rita:reads",
	"CONSOLE_SESSION_KEY": "a key of these tests, long enough", "HTTP_AUTH_FAILURES": "5",
}

func TestStrangersSignInAndGoOnWhereTheyWere(t *testing.T) {
	f := with(t, people)
	b := f.browser()
	status, header, _ := b.do(http.MethodGet, "/loops?q=A%20B&state=failed", "")
	if to := header.Get("Location"); status != http.StatusSeeOther || to != "/sign-in?next=%2Floops%3Fq%3DA%2BB%26state%3Dfailed" {
		t.Fatalf("%d %s", status, to)
	}
	page := b.opens(header.Get("Location"), 200)
	if !strings.Contains(page, `value="/loops?q=A+B&amp;state=failed"`) || !strings.Contains(page, `autocomplete="current-password"`) {
		t.Error(page)
	}
	if _, _, page := b.do(http.MethodPost, "/sign-in", "user=oona&password=wrong&next=%2Floops"); strings.Contains(page, "wrong&") || strings.Contains(page, `value="wrong"`) || !strings.Contains(page, "User or password is wrong") {
		t.Error(page)
	}
	if to := b.posts("/sign-in", "user=oona&password=operates&next=%2Floops%3Fq%3D1", http.StatusSeeOther); to != "/loops?q=1" {
		t.Error(to)
	}
	if page := b.opens("/loops", 200); !strings.Contains(page, "oona") || !strings.Contains(page, "Sign out") {
		t.Error(page)
	}
	b.posts("/sign-out", "", http.StatusSeeOther)
	b.opens("/loops", http.StatusSeeOther)
	if got := f.Get("/loops"); got.Status != http.StatusUnauthorized || !strings.Contains(got.Header.Get("Www-Authenticate"), "Basic") {
		t.Errorf("a program: %d %s", got.Status, got.Header)
	}
	f.Get("/loops", "X-API-Key", "key").Want(200)
	f.Get("/healthz").Want(200)
}

func TestASessionIsNotSentInTheClearWhereThatCanBe(t *testing.T) {
	env := servicetest.Env{"HTTP_TRUSTED_PROXIES": "127.0.0.1/32"}
	maps.Copy(env, people)
	f := with(t, env)
	form := "user=oona&password=operates"
	_, header, _ := f.browser().do(http.MethodPost, "/sign-in", form)
	if set := header.Get("Set-Cookie"); !strings.HasPrefix(set, "closeloop-session=") || strings.Contains(set, "Secure") || !strings.Contains(set, "HttpOnly; SameSite=Lax") || !strings.Contains(set, "Max-Age=43200") {
		t.Errorf("plain: %s", set)
	}
	b := f.browser()
	b.proxied = true
	_, header, _ = b.do(http.MethodPost, "/sign-in", form)
	if set := header.Get("Set-Cookie"); !strings.HasPrefix(set, "__Host-closeloop-session=") || !strings.Contains(set, "; HttpOnly; Secure; SameSite=Lax") || !strings.Contains(set, "Path=/;") {
		t.Errorf("behind a proxy: %s", set)
	}
	b.opens("/loops", 200)
	f.Get("/loops", "Authorization", "Basic b29uYTpvcGVyYXRlcw==").Want(200)
}

func TestWhereEverybodyIsLetInNobodySignsIn(t *testing.T) {
	f := start(t)
	b := f.browser()
	if _, header, _ := b.do(http.MethodGet, "/sign-in?next=%2Foperations", ""); header.Get("Location") != "/operations" {
		t.Errorf("%s", header)
	}
	if page := b.opens("/loops", 200); strings.Contains(page, "Sign out") {
		t.Error(page)
	}
	if _, header, _ := b.do(http.MethodGet, "/", ""); header.Get("Location") != "/loops" {
		t.Errorf("%s", header)
	}
}

func TestSigningInLeadsToNoOtherHost(t *testing.T) {
	f := with(t, people)
	for _, next := range []string{"https://evil.example/", "//evil.example/", "/\\evil.example", "javascript:alert(1)", "/\t/evil.example", "", "loops"} {
		b := f.browser()
		if to := b.posts("/sign-in", url.Values{"user": {"oona"}, "password": {"operates"}, "next": {next}}.Encode(), http.StatusSeeOther); to != "/" {
			t.Errorf("%q leads to %q", next, to)
		}
		if _, header, _ := b.do(http.MethodGet, "/sign-in?next="+url.QueryEscape(next), ""); header.Get("Location") != "/" {
			t.Errorf("signed in, %q leads to %q", next, header.Get("Location"))
		}
	}
}

func TestWrongPasswordsAreLimitedWhereverTheyAreSent(t *testing.T) {
	f := with(t, people)
	b := f.browser()
	for range 5 {
		b.signsIn("oona", "wrong", http.StatusForbidden)
	}
	b.signsIn("oona", "operates", http.StatusTooManyRequests)
	b.signsIn("rita", "reads", http.StatusSeeOther) // somebody else
	f.Get("/loops", "Authorization", "Basic b29uYTpvcGVyYXRlcw==").Want(http.StatusTooManyRequests)
}

func TestReadersReadAndChangeNothing(t *testing.T) {
	f := with(t, people)
	f.fail(1, 1)
	bustest.Eventually(t, "the letter is known", func() bool { return f.Get("/dead-letters/1", "X-API-Key", "key").Status == 200 })
	b := f.browser()
	b.signsIn("rita", "reads", http.StatusSeeOther)
	for _, path := range []string{"/loops", "/loops?state=failed", "/dead-letters", "/dead-letters/1", "/operations", "/numbers", "/vendors", "/rules", "/erasures"} {
		b.opens(path, 200)
	}
	if page := b.opens("/dead-letters/1", 200); strings.Contains(page, "secret text") || strings.Contains(page, `action="/dead-letters/1/replay"`) || !strings.Contains(page, "may read") {
		t.Error(page)
	}
	b.opens("/dead-letters/1?body=curious&format=json", http.StatusForbidden)
	for _, path := range []string{"/dead-letters/1/replay", "/dead-letters/1/discard", "/dead-letters/replay", "/dead-letters/discard", "/erasures"} {
		b.posts(path, "why=x", http.StatusForbidden)
		if got := f.Post(path, `{"why":"x"}`, "Authorization", "Basic cml0YTpyZWFkcw=="); got.Status != http.StatusForbidden {
			t.Errorf("%s with a password: %d", path, got.Status)
		}
	}
	if n := f.operations(t); n != 0 {
		t.Errorf("%d operations", n)
	}
	f.Get("/loops", "Authorization", "Basic cml0YTpyZWFkcw==").Want(200)
}

// operations counts what was done.
func (f *fixture) operations(t *testing.T) int {
	t.Helper()
	var history struct{ Operations []console.Operation }
	f.Get("/operations", "X-API-Key", "key").Want(200).JSON(&history)
	return len(history.Operations)
}

func TestASessionIsOnesOwn(t *testing.T) {
	f := with(t, people)
	b := f.browser()
	b.signsIn("rita", "reads", http.StatusSeeOther)
	good := b.cookies["closeloop-session"]
	content, sum, found := strings.Cut(good, ".")
	if !found {
		t.Fatal(good)
	}
	another := f.browser()
	another.signsIn("oona", "operates", http.StatusSeeOther)
	operator, _, _ := strings.Cut(another.cookies["closeloop-session"], ".")
	for name, cookie := range map[string]string{
		"another's content": operator + "." + sum, "no sum": content + ".", "nothing": "", "a bit changed": content + "." + flip(sum), "no dot": content,
		"rubbish": "!.!", "content cut": content[:len(content)-4] + "." + sum,
	} {
		b.cookies["closeloop-session"] = cookie
		if status, _, _ := b.do(http.MethodGet, "/loops", ""); status != http.StatusSeeOther {
			t.Errorf("%s: %d", name, status)
		}
	}
	b.cookies["closeloop-session"] = good
	b.opens("/loops", 200)

	elsewhere := func(change servicetest.Env) *browser {
		env := maps.Clone(people)
		maps.Copy(env, change)
		other := &fixture{servicetest.Start(t, f.broker, console.Define, env), t, f.broker, f.tasker}
		with := other.browser()
		with.cookies["closeloop-session"] = good
		return with
	}
	elsewhere(nil).opens("/loops", 200)
	elsewhere(servicetest.Env{"CONSOLE_READERS": "rita:changed"}).opens("/loops", http.StatusSeeOther)
	elsewhere(servicetest.Env{"CONSOLE_READERS": "other:reads"}).opens("/loops", http.StatusSeeOther)
	elsewhere(servicetest.Env{"CONSOLE_SESSION_KEY": "another key of these tests, long enough"}).opens("/loops", http.StatusSeeOther)
}

func flip(text string) string {
	if text[0] == 'A' {
		return "B" + text[1:]
	}
	return "A" + text[1:]
}

func TestPostsOfOtherSitesDoNothing(t *testing.T) {
	f := with(t, people)
	f.fail(1, 1)
	b := f.browser()
	b.signsIn("oona", "operates", http.StatusSeeOther)
	for _, origin := range []string{"https://evil.example", "null", "http://localhost:1"} {
		b.origin = origin
		b.posts("/dead-letters/1/discard", "why=because", http.StatusForbidden)
		b.posts("/sign-out", "", http.StatusForbidden)
		b.posts("/sign-in", "user=oona&password=operates", http.StatusForbidden)
	}
	if n := f.operations(t); n != 0 {
		t.Errorf("%d operations", n)
	}
	f.Post("/dead-letters/1/discard", `{"why":"because"}`, "Origin", "https://evil.example", "Authorization", "Basic b29uYTpvcGVyYXRlcw==").Want(http.StatusForbidden)
	f.Post("/dead-letters/1/discard", `{"why":"because","by":"ada"}`, "X-API-Key", "key").Want(http.StatusOK)
}

func TestSettingsOfThePagesThatCannotWorkAreNamed(t *testing.T) {
	for name, value := range map[string]string{
		"CONSOLE_READERS": "rita", "CONSOLE_SESSION_KEY": "short", "CONSOLE_LINKS": "Evil=javascript:alert(1)", "CONSOLE_LINK_TASK": "https://x.example/",
		"CONSOLE_LINK_ORDER": "ftp://x.example/{id}",
	} {
		s := console.Define().Settings
		err := servicetest.Load(servicetest.Env{name: value}, s)
		if name == "CONSOLE_READERS" {
			if err := servicetest.Load(servicetest.Env{name: "rita:reads", "INGRESS_AUTH": "none"}, console.Define().Settings); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("with INGRESS_AUTH=none: %v", err)
			}
		}
		if err == nil || !strings.Contains(err.Error(), name) || name != "CONSOLE_LINKS" && strings.Contains(err.Error(), value) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What pages must not have: the policy forbids it, and browsers would leave it out.
var forbidden = regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|<script(?:>| [^>]*[^/]>[^<])|javascript:|<iframe|<base|<object`)

func TestEveryPageHasItsPolicy(t *testing.T) {
	f := with(t, people)
	f.fail(1, 1)
	f.invites(5)
	b := f.browser()
	b.signsIn("oona", "operates", http.StatusSeeOther)
	seen, waiting := map[string]bool{}, []string{"/sign-in?x=1", "/loops", "/nothing-here?format=html", "/loops/none", "/loops?state=lost"}
	bustest.Eventually(t, "the loops are known", func() bool { return strings.Contains(b.opens("/loops", 200), "/loops/L-5") })
	for len(waiting) > 0 {
		path := waiting[0]
		waiting = waiting[1:]
		if kind := regexp.MustCompile(`[0-9]+`).ReplaceAllString(path, "0"); seen[kind] || len(seen) > 200 {
			continue
		} else {
			seen[kind] = true
		}
		status, header, body := b.do(http.MethodGet, path, "")
		if status >= 500 {
			t.Errorf("%s: %d", path, status)
		}
		if !strings.HasPrefix(header.Get("Content-Type"), "text/html") {
			continue
		}
		if policy := header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %s", path, header)
		}
		if bad := forbidden.FindString(body); bad != "" {
			t.Errorf("%s has %q", path, bad)
		}
		if n := strings.Count(body, "<h1>"); n != 1 {
			t.Errorf("%s has %d headings of the page", path, n)
		}
		for _, link := range regexp.MustCompile(`(?:href|action)="(/[^"#]*)`).FindAllStringSubmatch(body, -1) {
			if !strings.HasPrefix(link[1], "/assets/") && !strings.HasPrefix(link[1], "/sign-out") {
				waiting = append(waiting, strings.ReplaceAll(link[1], "&amp;", "&"))
			}
		}
	}
	for _, wanted := range []string{"/loops", "/loops/L-0", "/numbers", "/vendors", "/dead-letters", "/dead-letters/0", "/rules", "/operations"} {
		if !seen[wanted] {
			t.Errorf("nothing leads to %s", wanted)
		}
	}
}
