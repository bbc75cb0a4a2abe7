package landscape_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// running is a landscape behind a door.
type running struct {
	*landscape.Landscape
	url  string
	stop func()
}

// start runs a landscape whose doors are those of c until stop or the test ends.
func start(t *testing.T, c *closeloop, change func(*landscape.Settings)) *running {
	t.Helper()
	server := httptest.NewUnstartedServer(nil)
	s := &landscape.Settings{}
	if err := settings.Load(s); err != nil {
		t.Fatal(err)
	}
	s.PublicURL = "http://" + server.Listener.Addr().String()
	s.DoorsURL, s.DoorsAPIKey, s.QualtricsSharedKey = c.URL, settings.SecretOf(doorsKey), settings.SecretsOf("shared")
	s.PeopleDelay = 10 * time.Millisecond
	if change != nil {
		change(s)
	}
	l, err := landscape.New(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	door := httpdoor.New(httpdoor.Options{})
	l.Mount(door)
	server.Config.Handler = door
	server.Start()
	c.mu.Lock()
	c.base, c.tokens = server.URL, map[string]string{} // sessions do not outlive the landscape
	c.mu.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		work.Wait()
		server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return &running{l, server.URL, stop}
}

// until waits for what other goroutines bring about.
func until(t *testing.T, what func() string, ready func() bool) {
	t.Helper()
	deadline, tick := time.NewTimer(20*time.Second), time.NewTicker(5*time.Millisecond)
	defer deadline.Stop()
	defer tick.Stop()
	for !ready() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what())
		}
	}
}

func (r *running) get(t *testing.T, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get(r.url + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// settled waits until the loop has come to its end: everything expected is there and every webhook was delivered.
func settled(t *testing.T, r *running, want landscape.Expectation) {
	t.Helper()
	until(t, func() string { return fmt.Sprintf("%+v, but %+v", want, r.Reached()) }, func() bool {
		for _, d := range r.Books().Qualtrics.Deliveries {
			if d.State == "pending" {
				return false
			}
		}
		return r.Reached() == want
	})
}

func TestACampaignLeadsToWhatIsExpected(t *testing.T) {
	const members = 25
	c := newCloseloop(t)
	r := start(t, c, nil)
	want := r.Expected(members)
	if want.Links != members || want.Answers == 0 || want.Answers == members || want.Tasks == 0 || want.Recognitions == 0 {
		t.Fatalf("a campaign that shows little: %+v", want)
	}
	if err := r.PlayCampaign(t.Context(), members); err != nil {
		t.Fatal(err)
	}
	settled(t, r, want)
	if got := recount(r); got != want {
		t.Errorf("a recount gives %+v, expected was %+v", got, want)
	}
	kinds := map[string]int{}
	c.mu.Lock()
	for _, kind := range c.brought {
		kinds[kind]++
	}
	checks := c.subscribe
	c.mu.Unlock()
	if kinds["application/json"] == 0 || kinds["application/x-www-form-urlencoded"] == 0 || len(kinds) != 2 {
		t.Errorf("web service tasks brought answers as %v", kinds)
	}
	if checks != 1 {
		t.Errorf("the subscription was checked %d times", checks)
	}
}

// recount counts what the answers themselves say must follow from them.
func recount(r *running) landscape.Expectation {
	b := r.Books()
	e := landscape.Expectation{Links: len(b.Qualtrics.Links), Answers: len(b.Qualtrics.Responses)}
	for _, m := range b.Marketing.Mails {
		if m.To != "" {
			e.Mails++
		}
	}
	for _, i := range b.Marketing.Interactions {
		if i.Type == "SURVEY_LINK_CREATED" {
			e.Interactions++
		}
	}
	for _, a := range b.Qualtrics.Responses {
		switch {
		case a.SurveyID == landscape.ServiceSurvey && (a.Words["QID1"] == "4" || a.Words["QID1"] == "5"):
			e.Recognitions++
		case a.SurveyID == landscape.CartSurvey && a.Words["QID1"] == "Delivery too late" && a.Words["QID2"] == "yes":
			e.Tasks++
		}
	}
	return e
}

func TestWithoutPeopleNobodyAnswers(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, func(s *landscape.Settings) { s.People = "off" })
	if err := r.PlayCampaign(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	settled(t, r, landscape.Expectation{Links: 4, Interactions: 4, Mails: 4})
	if got := r.Expected(4); got != r.Reached() {
		t.Errorf("expected %+v", got)
	}
}

func TestARestartKeepsTheBooks(t *testing.T) {
	c, dir := newCloseloop(t), t.TempDir()
	persistent := func(s *landscape.Settings) { s.DataDir = dir }
	r := start(t, c, persistent)
	if err := r.PlayCampaign(t.Context(), 6); err != nil {
		t.Fatal(err)
	}
	want := r.Expected(6)
	settled(t, r, want)
	r.stop()
	again := start(t, c, persistent)
	settled(t, again, want)
	if all := again.Campaigns(); len(all) != 1 || all[0].State != "sent" || all[0].Members != 6 {
		t.Errorf("campaigns after the restart: %+v", all)
	}
	if err := again.PlayCampaign(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	settled(t, again, want.Plus(again.Expected(2)))
}

func TestACampaignCutOffIsResumedAndNotDoubled(t *testing.T) {
	c, dir := newCloseloop(t), t.TempDir()
	persistent := func(s *landscape.Settings) { s.DataDir = dir }
	refusing := make(chan struct{}, 1)
	c.take = func(int) int {
		select {
		case refusing <- struct{}{}:
		default:
		}
		return http.StatusServiceUnavailable
	}
	r := start(t, c, persistent)
	playing, giveUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.PlayCampaign(playing, 5) }()
	<-refusing
	giveUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("whoever waited was told %v", err)
	}
	r.stop()
	c.mu.Lock()
	c.take = nil
	c.mu.Unlock()
	again := start(t, c, persistent)
	settled(t, again, again.Expected(5))
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, times := range c.invited {
		if times != 1 {
			t.Errorf("%s was invited %d times", id, times)
		}
	}
	if len(c.invited) != 5 {
		t.Errorf("%d members were invited", len(c.invited))
	}
}

func TestACampaignWaitsForItsDoor(t *testing.T) {
	c := newCloseloop(t)
	proxy := &later{ready: make(chan struct{}), next: c.Config.Handler}
	away := httptest.NewServer(proxy)
	t.Cleanup(away.Close)
	r := start(t, c, func(s *landscape.Settings) { s.DoorsURL, s.People = away.URL, "off" })
	ended := make(chan error, 1)
	go func() { ended <- r.PlayCampaign(t.Context(), 3) }()
	until(t, func() string { return "the door is tried twice" }, func() bool { return proxy.count() >= 2 })
	if all := r.Campaigns(); len(all) != 1 || all[0].State != "queued" {
		t.Errorf("while the door is shut: %+v", all)
	}
	close(proxy.ready)
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.invited) != 3 {
		t.Errorf("%d members were invited", len(c.invited))
	}
}

func TestTheFirstStartPlaysACampaignAndNoLaterOne(t *testing.T) {
	c, dir := newCloseloop(t), t.TempDir()
	first := func(s *landscape.Settings) { s.Campaign, s.DataDir, s.People = 3, dir, "off" }
	invited := func() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.invited) }
	r := start(t, c, first)
	until(t, func() string { return "all members are invited" }, func() bool { return invited() == 3 })
	r.stop()
	r = start(t, c, first)
	if err := r.PlayCampaign(t.Context(), 1); err != nil { // one after the other: a second first one would be before it
		t.Fatal(err)
	}
	if all := r.Campaigns(); len(all) != 2 || invited() != 4 {
		t.Errorf("after a second start and one campaign more: %d invited by %+v", invited(), all)
	}
}

// later answers 503 to campaigns until it is ready.
type later struct {
	ready chan struct{}
	next  http.Handler
	mu    sync.Mutex
	tried int
}

func (l *later) count() int { l.mu.Lock(); defer l.mu.Unlock(); return l.tried }

func (l *later) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-l.ready:
		l.next.ServeHTTP(w, r)
	default:
		if r.URL.Path == "/sap/open-channel" {
			l.mu.Lock()
			l.tried++
			l.mu.Unlock()
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func TestCampaignsOfNoSizeAreRefused(t *testing.T) {
	r := start(t, newCloseloop(t), nil)
	for _, members := range []int{-1, 0, 1_000_000} {
		if err := r.PlayCampaign(t.Context(), members); !errors.Is(err, landscape.ErrMembers) {
			t.Errorf("%d members: %v", members, err)
		}
	}
	if len(r.Campaigns()) != 0 {
		t.Error("one of them is in the books")
	}
}

func TestEveryVendorIsBehindTheFaultsDesk(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	for vendor, path := range map[string]string{
		landscape.Qualtrics: "/API/v3/whoami", landscape.Marketing: "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV/",
		landscape.SalesCloud: "/sap/c4c/odata/v1/c4codataapi/", landscape.Awardco: "/api/users",
	} {
		if status, _ := r.get(t, path); status != http.StatusUnauthorized {
			t.Errorf("%s without credentials: status %d", path, status)
		}
		fault := `{"vendor":"` + vendor + `","kind":"status","status":503,"times":1}`
		response, err := http.Post(r.url+"/landscape/faults", "application/json", strings.NewReader(fault))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusCreated {
			t.Errorf("fault of %s: status %d", vendor, response.StatusCode)
		}
		if status, _ := r.get(t, path); status != http.StatusServiceUnavailable {
			t.Errorf("%s with a fault: status %d", path, status)
		}
	}
	if status, _ := r.get(t, "/jfe/form/"+landscape.CartSurvey); status != http.StatusOK {
		t.Errorf("survey page: status %d", status)
	}
}

func TestTheBooksAsJSONHoldEveryVendorAndNoSecret(t *testing.T) {
	c := newCloseloop(t)
	r := start(t, c, nil)
	if err := r.PlayCampaign(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	settled(t, r, r.Expected(3))
	status, body := r.get(t, "/landscape/books.json")
	var books map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &books); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	for _, part := range []string{"qualtrics", "marketing", "salesCloud", "awardco", "visits", "campaigns"} {
		if len(books[part]) < 3 {
			t.Errorf("%s: %s", part, books[part])
		}
	}
	for _, secret := range []string{doorsKey, "simulated-token", `"shared"`} {
		if strings.Contains(body, secret) {
			t.Errorf("the books show %s", secret)
		}
	}
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	for name, change := range map[string]func(*landscape.Settings){
		"LANDSCAPE_PUBLIC_URL":   func(s *landscape.Settings) { s.PublicURL = "localhost:8080" },
		"LANDSCAPE_DOORS_URL":    func(s *landscape.Settings) { s.DoorsURL = "ftp://doors" },
		"LANDSCAPE_PEOPLE is":    func(s *landscape.Settings) { s.People = "some" },
		"LANDSCAPE_PEOPLE_DELAY": func(s *landscape.Settings) { s.PeopleDelay = -1 },
		"POOL_":                  func(s *landscape.Settings) { s.QualtricsDirectoryID = "mine" },
		"LANDSCAPE_QUALTRICS":    func(s *landscape.Settings) { s.QualtricsSwitches = "{linkDelays: 3s}" },
		"dedupe":                 func(s *landscape.Settings) { s.QualtricsDedupe = "email;shoeSize" },
		"DATA_DIR":               func(s *landscape.Settings) { s.DataDir = os.DevNull + "/x" },
	} {
		s := &landscape.Settings{}
		if err := settings.Load(s); err != nil {
			t.Fatal(err)
		}
		change(s)
		if l, err := landscape.New(s, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, %v", name, l, err)
		}
	}
}

func TestTheAttributesFileIsTheRecipeAndMore(t *testing.T) {
	type file struct {
		Fields map[string]any
		GUIDs  []string `yaml:"guids"`
	}
	read := func(content []byte) (f file) {
		t.Helper()
		if err := yaml.UnmarshalWithOptions(content, &f, yaml.Strict()); err != nil {
			t.Fatal(err)
		}
		return f
	}
	published, err := os.ReadFile("../../ingress/openchannel/recipe.yaml")
	if err != nil {
		t.Fatal(err)
	}
	recipe, ours := read(published), read(landscape.AttributesFile)
	for field, source := range recipe.Fields {
		if got, want := jsonOf(t, ours.Fields[field]), jsonOf(t, source); got != want {
			t.Errorf("%s: %s, the recipe has %s", field, got, want)
		}
	}
	if jsonOf(t, ours.GUIDs) != jsonOf(t, recipe.GUIDs) || len(ours.Fields) <= len(recipe.Fields) {
		t.Errorf("%d fields, the recipe has %d; guids %v", len(ours.Fields), len(recipe.Fields), ours.GUIDs)
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", landscape.Settings{})
}
