package qualtrics_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

// burst calls until it is refused, and gives how many calls were admitted before, and the Retry-After.
func (b *brand) burst(path string) (admitted, wait int) {
	b.t.Helper()
	for ; admitted < 10_000; admitted++ {
		a := b.call("GET", path, "")
		if a.status == 429 {
			wait, err := strconv.Atoi(a.header.Get("Retry-After"))
			if err != nil {
				b.t.Fatalf("Retry-After: %v", err)
			}
			return admitted, wait
		}
		a.want(200)
	}
	b.t.Fatal("never refused")
	return 0, 0
}

func TestLimitsOfEachKindAdmitWhatTheyAllowAndNoMore(t *testing.T) {
	// Twelve calls a minute, asked for at 09:30:20, and again after the wait that was named.
	for kind, want := range map[string]struct{ wait, then int }{
		"":        {5, 1},   // one drop in five seconds
		"bucket":  {5, 1},   //
		"fixed":   {40, 12}, // until 09:31:00
		"sliding": {60, 12}, // until the first call is a minute old
	} {
		t.Run(kind, func(t *testing.T) {
			b := start(t, func(s *qualtrics.Settings) {
				s.Assumed.Limits = qualtrics.Limits{Enforced: true, Kind: kind, Calls: map[string]int{"whoami": 12}}
			})
			b.pass(20 * time.Second)
			admitted, wait := b.burst("/whoami")
			check(t, "at first", []int{admitted, wait}, []int{12, want.wait})
			b.pass(time.Duration(wait)*time.Second - time.Nanosecond)
			b.call("GET", "/whoami", "").refused(429, "")
			b.pass(time.Nanosecond)
			again, _ := b.burst("/whoami")
			check(t, "after the wait", again, want.then)
		})
	}
}

func TestABucketTakesNoMoreThanItsBurstAtOnce(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.Limits = qualtrics.Limits{
			Enforced: true, Calls: map[string]int{"whoami": 100}, Window: 10 * time.Second, Burst: 5,
		}
	})
	admitted, wait := b.burst("/whoami")
	check(t, "burst and wait", []int{admitted, wait}, []int{5, 1})
	b.pass(time.Second)
	admitted, _ = b.burst("/whoami")
	check(t, "after a second: full, not ten more", admitted, 5)
	b.pass(300 * time.Millisecond)
	admitted, _ = b.burst("/whoami")
	check(t, "after three drops", admitted, 3)
}

func TestPublishedLimitsHoldByGroupAndForTheBrand(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.Limits.Enforced = true })
	distribution := b.distribute(service, b.batch(), nil)
	links, history := "/distributions/"+distribution+"/links?surveyId=SV_service", "/distributions/"+distribution+"/history"
	for path, want := range map[string]int{links: 500, history: 300, "/eventsubscriptions": 120} {
		admitted, _ := b.burst(path)
		check(t, path, admitted, want)
	}
	// A group shares its limit, and leaves the others theirs.
	b.call("DELETE", "/eventsubscriptions/SUB_0", "").refused(429, "")
	b.call("GET", "/distributions?surveyId=SV_service", "").want(200)
	// 500 + 300 + 120 + 3 calls are gone of the 3,000.
	admitted, _ := b.burst("/whoami")
	check(t, "the brand's", admitted, 3000-923)
	b.call("GET", "/directories", "").refused(429, "")
}

func TestARefusedCallActsNotAndUsesNothingUp(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.Limits = qualtrics.Limits{Enforced: true, Calls: map[string]int{"listContacts": 1, "brand": 3}}
	})
	b.call("POST", list+"/contacts", `{"extRef":"P-1"}`).want(200)
	for range 5 {
		b.call("POST", list+"/contacts", `{"extRef":"P-2"}`).refused(429, "")
	}
	b.callWith("GET", b.server.URL+"/API/v3/whoami", "", nil).want(401)
	check(t, "contacts", len(b.sim.Books().Contacts), 1)
	admitted, _ := b.burst("/whoami")
	check(t, "left of the brand's", admitted, 2)
}

func TestRetryAfterAndErrorCodeAreSwitches(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.Limits = qualtrics.Limits{
			Enforced: true, Calls: map[string]int{"whoami": 1}, NoRetryAfter: true, ErrorCode: "RATE_LIMIT_EXCEEDED",
		}
	})
	b.call("GET", "/whoami", "").want(200)
	a := b.call("GET", "/whoami", "")
	a.refused(429, "RATE_LIMIT_EXCEEDED")
	if _, there := a.header["Retry-After"]; there {
		t.Error("a Retry-After")
	}
}

func TestBooksTellWhichCallsWereOverTheLimitAndWhen(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.Limits = qualtrics.Limits{Enforced: true, Calls: map[string]int{"whoami": 2}, Kind: "fixed"}
	})
	began := b.settings.Clock().UTC()
	b.burst("/whoami")
	b.pass(10 * time.Second)
	b.call("GET", "/whoami", "").want(429)
	b.pass(50 * time.Second)
	b.call("GET", "/whoami", "").want(200)

	limits := b.sim.Limits()
	check(t, "groups", len(limits), 2) // the brand's and this one
	check(t, "whoami", limits[1], qualtrics.Limit{
		Group: "whoami", Calls: 2, Admitted: 3, Refused: 2, Early: 1, Refusals: []qualtrics.Refusal{
			{At: began, Operation: "GET /whoami", RetryAfter: 60},
			{At: began.Add(10 * time.Second), Operation: "GET /whoami", RetryAfter: 50},
		},
	})
	check(t, "calls", b.sim.Books().Calls, []qualtrics.Calls{{Operation: "GET /whoami", Count: 5, Refused: 2}})

	b.sim.ForgetCalls()
	check(t, "calls, forgotten", len(b.sim.Books().Calls), 0)
	b.call("GET", "/whoami", "").want(200)
	b.call("GET", "/whoami", "").want(429) // what was used up stays used up
	check(t, "refused since", b.sim.Limits()[1].Refused, 1)
}

func TestLimitsChangeWhileTheBrandIsOpen(t *testing.T) {
	b := start(t, nil)
	for range 10 {
		b.call("GET", "/whoami", "").want(200)
	}
	for _, wrong := range []string{
		`{limits: {calls: {whoam: 1}}}`, `{limits: {calls: {whoami: -1}}}`, `{limits: {kind: leaky}}`, `{limit: {}}`,
		`{latency: soon}`, `{errorRate: 2}`, `{linkPages: [0]}`, `{responseStatuses: [3]}`, `{eventDelay: -1s}`, `[]`, `{nextPageBaseUrl: x}`,
	} {
		if err := b.sim.Change([]byte(wrong)); err == nil {
			t.Errorf("%s: taken", wrong)
		}
	}
	if err := b.sim.Change([]byte(`{"limits": {"enforced": true, "calls": {"whoami": 3}, "window": "1m30s"}}`)); err != nil {
		t.Fatal(err)
	}
	admitted, wait := b.burst("/whoami")
	check(t, "burst and wait", []int{admitted, wait}, []int{3, 30})
	if err := b.sim.Change([]byte(`latency: 1ms`)); err != nil { // leaves the limits, and what is used up, as they are
		t.Fatal(err)
	}
	b.call("GET", "/whoami", "").want(429)
	if err := b.sim.Change([]byte(`{limits: {calls: {links: 7}, burst: 2}}`)); err != nil { // other calls, the same window
		t.Fatal(err)
	}
	limits := b.sim.Switches().Limits
	check(t, "limits", limits, qualtrics.Limits{
		Enforced: true, Kind: "bucket", Calls: map[string]int{"links": 7}, Window: 90 * time.Second, Burst: 2,
	})
	text, err := b.sim.Switches().JSON()
	if err != nil {
		t.Fatal(err)
	}
	read, err := qualtrics.Switches{}.With(text)
	if err != nil {
		t.Fatal(err)
	}
	again, err := read.JSON()
	if err != nil {
		t.Fatal(err)
	}
	check(t, "what JSON gives, read and given again", string(again), string(text))
}
