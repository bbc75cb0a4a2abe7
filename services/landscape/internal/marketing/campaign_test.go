package marketing_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
)

// endpoint is an Open Channel endpoint that writes down what it gets.
type endpoint struct {
	*httptest.Server
	answer func(r *http.Request, n int) int // n: the how manieth POST; nil: 200 always

	mu    sync.Mutex
	pings int
	posts []string
	seen  []http.Header
}

func newEndpoint(t *testing.T, answer func(*http.Request, int) int) *endpoint {
	t.Helper()
	e := &endpoint{answer: answer}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	if r.Method == http.MethodGet {
		e.pings++
		w.Header().Set("x-csrf-token", "tok")
		http.SetCookie(w, &http.Cookie{Name: "S", Value: "1"})
	} else {
		e.posts = append(e.posts, string(body))
		e.seen = append(e.seen, r.Header)
	}
	n := len(e.posts)
	e.mu.Unlock()
	status := http.StatusOK
	if e.answer != nil {
		status = e.answer(r, n)
	}
	if status == 0 {
		panic(http.ErrAbortHandler) // the connection breaks before the answer
	}
	w.WriteHeader(status)
}

func (e *endpoint) got() (pings int, posts []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.pings, append([]string(nil), e.posts...)
}

func campaign(url string, members int) marketing.Campaign {
	c := marketing.Campaign{ID: "0000012345", Name: "Service survey July", MarketingArea: "GLOBAL", URL: url}
	for i := 1; i <= members; i++ {
		c.Members = append(c.Members, marketing.Member{
			OutboundID: fmt.Sprintf("OB-%010d", i), ContactID: fmt.Sprintf("P-%d", i), FirstName: "Ada", LastName: "Example",
			Email: fmt.Sprintf("member%d@example.com", i), Language: "EN", Country: "GB",
		})
	}
	return c
}

// run runs a campaign of that many members against an endpoint that takes everything.
func run(t *testing.T, s *marketing.Simulator, members int) {
	t.Helper()
	if _, err := s.RunCampaign(t.Context(), campaign(newEndpoint(t, nil).URL, members)); err != nil {
		t.Fatal(err)
	}
}

func TestCampaignPingsAndThenSendsPackages(t *testing.T) {
	e := newEndpoint(t, nil)
	s := newSimulator(t, marketing.Settings{})
	c := campaign(e.URL, 5)
	c.PackageSize, c.Header = 2, http.Header{"Authorization": {"Basic eDp5"}}
	got, err := s.RunCampaign(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	pings, posts := e.got()
	if pings != 1 || len(posts) != 3 {
		t.Fatalf("%d pings, %d packages", pings, len(posts))
	}
	for i, h := range e.seen {
		if h.Get("Authorization") != "Basic eDp5" || h.Get("Content-Type") != "application/json" || h.Get("x-csrf-token") != "tok" || h.Get("Cookie") != "S=1" {
			t.Errorf("package %d: %v", i+1, h)
		}
	}
	if got.State != marketing.Finished || len(got.Packages) != 3 || got.Packages[2].State != marketing.Sent || got.Packages[2].Status != 200 {
		t.Errorf("%+v", got)
	}
}

func TestPayloadIsThatOfTheContract(t *testing.T) {
	e := newEndpoint(t, nil)
	c := campaign(e.URL, 1)
	c.Members[0].ContactKey = "0A1B2C3D4E5A40718293A4B5C6D7E8A9"
	c.Members[0].SurveyID = "SV_a1"
	c.Members[0].Attributes = map[string]string{"DA-_SAP_CF_IA_CONTACT-IA_TYPE": "SERVICE_ORDER"}
	if _, err := newSimulator(t, marketing.Settings{}).RunCampaign(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	_, posts := e.got()
	var body struct {
		D struct {
			CampaignId, Name, MarketingAreaId string
			CampaignTargetGroupMembers        []struct {
				OutboundId                     string
				TargetGroupMemberAttributeData []struct{ AttributeId, Value string }
			}
		} `json:"d"`
	}
	decoder := json.NewDecoder(strings.NewReader(posts[0]))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&body); err != nil {
		t.Fatal(err)
	}
	if body.D.CampaignId != "0000012345" || body.D.Name != "Service survey July" || body.D.MarketingAreaId != "GLOBAL" {
		t.Errorf("%+v", body.D)
	}
	member := body.D.CampaignTargetGroupMembers[0]
	attributes := map[string]string{}
	for _, a := range member.TargetGroupMemberAttributeData {
		attributes[a.AttributeId] = a.Value
	}
	outbound := attributes["OUTBOUND_INTERACTION"]
	if len(outbound) != 32 || strings.ToUpper(outbound) != outbound || strings.Contains(outbound, "-") {
		t.Errorf("OUTBOUND_INTERACTION: %q", outbound)
	}
	delete(attributes, "OUTBOUND_INTERACTION")
	want := map[string]string{
		"CONTACT_KEY": "0A1B2C3D4E5A40718293A4B5C6D7E8A9", "CONTACT_ID": "P-1", "NAME_FIRST": "Ada", "NAME_LAST": "Example",
		"SMTP_ADDR": "member1@example.com", "PHONE": "", "LANGUAGE": "EN", "COUNTRY": "GB", "ZOC_Q_SURVEY": "SV_a1",
		"DA-_SAP_CF_IA_CONTACT-IA_TYPE": "SERVICE_ORDER",
	}
	if fmt.Sprint(attributes) != fmt.Sprint(want) || member.OutboundId != "OB-0000000001" {
		t.Errorf("got %v, want %v", attributes, want)
	}
}

func TestSwitchesOfThePayload(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings marketing.Settings
		change   func(*marketing.Campaign)
		contains string
		lacks    string
		posts    int
	}{
		{"another root", marketing.Settings{Payload: marketing.Payload{Root: "payload"}}, nil, `{"payload":{"CampaignId"`, `"d":`, 1},
		{"no root", marketing.Settings{Payload: marketing.Payload{NoRoot: true}}, nil, `{"CampaignId"`, `"d":`, 1},
		{"typed values", marketing.Settings{Payload: marketing.Payload{TypedValues: true}}, func(c *marketing.Campaign) {
			c.Members[0].Attributes = map[string]string{"A": "20260724", "B": "true", "C": "0815"}
		}, `{"AttributeId":"A","Value":20260724},{"AttributeId":"B","Value":true},{"AttributeId":"C","Value":"0815"}`, `"Value":""`, 1},
		{"no area", marketing.Settings{}, func(c *marketing.Campaign) { c.MarketingArea = "" }, `"CampaignId"`, "MarketingAreaId", 1},
		{"no members", marketing.Settings{}, func(c *marketing.Campaign) { c.Members = nil }, `"CampaignTargetGroupMembers":[]`, "OutboundId", 1},
		{"twice", marketing.Settings{Payload: marketing.Payload{Twice: true}}, nil, `"CampaignId"`, "null", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEndpoint(t, nil)
			campaign := campaign(e.URL, 1)
			if c.change != nil {
				c.change(&campaign)
			}
			if _, err := newSimulator(t, c.settings).RunCampaign(t.Context(), campaign); err != nil {
				t.Fatal(err)
			}
			_, posts := e.got()
			if len(posts) != c.posts || posts[0] != posts[len(posts)-1] {
				t.Fatalf("%d packages", len(posts))
			}
			if !strings.Contains(posts[0], c.contains) || strings.Contains(posts[0], c.lacks) {
				t.Errorf("got %s", posts[0])
			}
		})
	}
}

func TestCampaignDoesNotStartWhenThePingIsRefused(t *testing.T) {
	e := newEndpoint(t, func(r *http.Request, _ int) int {
		if r.Method == http.MethodGet {
			return http.StatusMethodNotAllowed // a router that knows POST only
		}
		return http.StatusOK
	})
	s := newSimulator(t, marketing.Settings{})
	got, err := s.RunCampaign(t.Context(), campaign(e.URL, 3))
	if !errors.Is(err, marketing.ErrNotStarted) || !strings.Contains(err.Error(), "405") {
		t.Errorf("error: %v", err)
	}
	if _, posts := e.got(); len(posts) != 0 || got.State != marketing.NotStarted {
		t.Errorf("%d packages, %+v", len(posts), got)
	}
	if err := s.Resume(t.Context()); err != nil {
		t.Errorf("a refused campaign is over: %v", err)
	}
}

func TestPackageWithoutAnAnswerIsRepeatedAsTheSettingsSay(t *testing.T) {
	for _, c := range []struct {
		name    string
		repeats int
		answers []int // 0: the connection breaks
		state   marketing.PackageState
		posts   int
	}{
		{"not repeated by default", 0, []int{0}, marketing.Failed, 1},
		{"repeated", 2, []int{0, 200}, marketing.Sent, 2},
		{"repeated after 503", 2, []int{503, 503, 202}, marketing.Sent, 3},
		{"given up", 2, []int{503, 503, 500}, marketing.Failed, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := newEndpoint(t, func(r *http.Request, n int) int {
				if r.Method == http.MethodGet {
					return 200
				}
				return c.answers[n-1]
			})
			s := newSimulator(t, marketing.Settings{PackageRepeats: c.repeats, RepeatPause: time.Nanosecond, VisibleAfter: -1})
			got, err := s.RunCampaign(t.Context(), campaign(e.URL, 1))
			if err != nil || got.State != marketing.Finished || got.Packages[0].State != c.state || got.Packages[0].Attempts != c.posts {
				t.Errorf("%+v, %v", got, err)
			}
			_, posts := e.got()
			if len(posts) != c.posts || posts[0] != posts[len(posts)-1] {
				t.Errorf("%d packages", len(posts))
			}
			distributed := len(s.Books().Interactions)
			if (distributed == 1) != (c.state == marketing.Sent) {
				t.Errorf("%d outbound interactions", distributed)
			}
		})
	}
}

func TestFailedPackageDoesNotHoldUpTheNext(t *testing.T) {
	e := newEndpoint(t, func(_ *http.Request, n int) int {
		if n == 1 {
			return 400
		}
		return 200
	})
	c := campaign(e.URL, 2)
	c.PackageSize = 1
	got, err := newSimulator(t, marketing.Settings{}).RunCampaign(t.Context(), c)
	if err != nil || got.Packages[0].State != marketing.Failed || got.Packages[0].Status != 400 || got.Packages[1].State != marketing.Sent {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestInterruptedCampaignGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	ctx, interrupt := context.WithCancel(t.Context())
	e := newEndpoint(t, func(_ *http.Request, n int) int {
		if n == 2 {
			interrupt() // while the second of three packages waits for its answer
			return 0
		}
		return 200
	})
	s, st := open(t, dir, marketing.Settings{})
	c := campaign(e.URL, 3)
	c.PackageSize, c.Header = 1, http.Header{"Authorization": {"Basic eDp5"}}
	got, err := s.RunCampaign(ctx, c)
	if !errors.Is(err, context.Canceled) || got.State != marketing.Running {
		t.Fatalf("%+v, %v", got, err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}

	e.answer = nil
	s, st = open(t, dir, marketing.Settings{})
	t.Cleanup(func() { _ = st.Close() })
	if err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	pings, posts := e.got()
	if pings != 2 || len(posts) != 4 || posts[1] != posts[2] || e.seen[3].Get("Authorization") != "Basic eDp5" {
		t.Errorf("%d pings, %d packages", pings, len(posts))
	}
	books := s.Books()
	if run := books.Campaigns[0]; run.State != marketing.Finished || run.Packages[1].Attempts != 2 || run.Packages[2].State != marketing.Sent {
		t.Errorf("%+v", run)
	}
	if len(books.Interactions) != 3 {
		t.Errorf("%d outbound interactions", len(books.Interactions))
	}
	if err := s.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, again := e.got(); len(again) != 4 {
		t.Error("a finished campaign was sent again")
	}
}

func TestMailThatWasNotHandedOnIsHandedOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s, st := open(t, dir, marketing.Settings{OnMail: func(context.Context, marketing.Mail) {
		panic(http.ErrAbortHandler) // the call ends before the mail is taken
	}})
	run(t, s, 1)
	if status := connect(t, s).post("Interactions", linkInteraction); status != 0 {
		t.Fatalf("the call was answered %d", status)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	var handed []marketing.Mail
	s, st = open(t, dir, marketing.Settings{OnMail: func(_ context.Context, m marketing.Mail) { handed = append(handed, m) }})
	t.Cleanup(func() { _ = st.Close() })
	for range 2 {
		if err := s.Resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(handed) != 1 || len(s.Books().Mails) != 1 || handed[0].To == "" {
		t.Errorf("handed on %d times, %d mails", len(handed), len(s.Books().Mails))
	}
}

func TestCampaignThatCannotBeIsRefused(t *testing.T) {
	for name, change := range map[string]func(*marketing.Campaign){
		"no id":            func(c *marketing.Campaign) { c.ID = "" },
		"long id":          func(c *marketing.Campaign) { c.ID = "00000012345" },
		"large package":    func(c *marketing.Campaign) { c.PackageSize = 1001 },
		"relative address": func(c *marketing.Campaign) { c.URL = "/sap/open-channel" },
		"no outbound id":   func(c *marketing.Campaign) { c.Members[0].OutboundID = "" },
		"long outbound id": func(c *marketing.Campaign) { c.Members[0].OutboundID = strings.Repeat("x", 51) },
		"same outbound id": func(c *marketing.Campaign) { c.Members[1].OutboundID = c.Members[0].OutboundID },
		"no contact":       func(c *marketing.Campaign) { c.Members[1].ContactID = "" },
	} {
		e := newEndpoint(t, nil)
		c := campaign(e.URL, 2)
		change(&c)
		if _, err := newSimulator(t, marketing.Settings{}).RunCampaign(t.Context(), c); !errors.Is(err, marketing.ErrInvalidCampaign) {
			t.Errorf("%s: %v", name, err)
		}
		if pings, _ := e.got(); pings != 0 {
			t.Errorf("%s: pinged", name)
		}
	}
}
