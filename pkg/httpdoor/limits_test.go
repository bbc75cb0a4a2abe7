package httpdoor_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/settings"
)

// from sends a request that comes from an address.
func from(t *testing.T, d *httpdoor.Door, address, path string, header ...string) answer {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody)
	r.RemoteAddr = address
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return answer{w}
}

// probed is a door with these settings and with probes.
func probed(t *testing.T, s httpdoor.Settings) *httpdoor.Door {
	t.Helper()
	o, err := s.Options()
	if err != nil {
		t.Fatal(err)
	}
	o.Gatherer = prometheus.NewRegistry()
	d := httpdoor.New(o)
	d.Health()
	return d
}

func limited(t *testing.T, s httpdoor.Settings) *httpdoor.Door {
	t.Helper()
	d := probed(t, s)
	d.Handle(http.MethodPost, "/guarded", httpdoor.Guarded, ok)
	d.Handle(http.MethodPost, "/open", httpdoor.Open, ok)
	d.Mount("/mounted", echoing("mounted"))
	return d
}

// retryAfter is what an answer says, in seconds.
func retryAfter(t *testing.T, a answer) time.Duration {
	t.Helper()
	seconds, err := strconv.Atoi(a.Header().Get("Retry-After"))
	if err != nil || seconds < 1 {
		t.Fatalf("%d with Retry-After %q", a.Code, a.Header().Get("Retry-After"))
	}
	return time.Duration(seconds) * time.Second
}

func TestADoorTakesSoManyRequestsAtTheSameTime(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Limits: httpdoor.Limits{InFlight: 2}, Credentials: httpdoor.Credentials{None: true}, Gatherer: prometheus.NewRegistry()})
	in, out := make(chan struct{}), make(chan struct{})
	slow := func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
		in <- struct{}{}
		<-out
		return nil, nil
	}
	d.Health()
	d.Handle(http.MethodPost, "/guarded", httpdoor.Guarded, slow)
	d.Handle(http.MethodPost, "/guarded/too", httpdoor.Guarded, ok)
	d.Handle(http.MethodPost, "/open", httpdoor.Open, ok)
	d.Mount("/mounted", echoing("mounted"))
	done := make(chan int)
	for range 2 {
		go func() { done <- from(t, d, "192.0.2.1:1", "/guarded").Code }()
		<-in
	}
	full := from(t, d, "192.0.2.1:1", "/guarded/too")
	if retryAfter(t, full); full.Code != 503 {
		t.Errorf("the third is answered %d", full.Code)
	}
	for path, method := range map[string]string{"/open": "POST", "/healthz": "GET", "/readyz": "GET", "/metrics": "GET", "/mounted/x": "GET"} {
		if got := call(t, d, method, path, nil); got.Code != 200 {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
	close(out)
	for range 2 {
		if got := <-done; got != 204 {
			t.Errorf("one that was let in is answered %d", got)
		}
	}
	if got := from(t, d, "192.0.2.1:1", "/guarded/too"); got.Code != 200 {
		t.Errorf("with places free again: %d", got.Code)
	}
}

func TestEachCallerHasARateOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := limited(t, httpdoor.Settings{
			APIKeys: settings.SecretsOf("key-1", "key-2"), BasicUsers: settings.SecretsOf("sap:one"), Limits: httpdoor.LimitSettings{Rate: 0.5},
		})
		use := func(what string, allowed int, address, path string, header ...string) {
			t.Helper()
			for n := range allowed {
				if got := from(t, d, address, path, header...); got.Code != 200 {
					t.Fatalf("%s: request %d is answered %d", what, n+1, got.Code)
				}
			}
			if got := from(t, d, address, path, header...); got.Code != 429 {
				t.Fatalf("%s: one more is answered %d", what, got.Code)
			}
		}
		use("a key", 5, "192.0.2.1:1", "/guarded", "X-API-Key", "key-1")
		use("the same key from elsewhere", 0, "192.0.2.9:1", "/guarded", "X-API-Key", "key-1")
		use("another key", 5, "192.0.2.1:1", "/guarded", "X-API-Key", "key-2")
		use("a user", 5, "192.0.2.1:1", "/guarded", basic("sap:one")...)
		use("a stranger", 5, "192.0.2.1:1", "/open")
		use("the same host, another port", 0, "192.0.2.1:2", "/open")
		use("another stranger", 5, "192.0.2.2:1", "/open")
		use("one with many addresses", 5, "[2001:db8::1]:1", "/open")
		use("another of its addresses", 0, "[2001:db8::2]:1", "/open")
		for _, path := range []string{"/healthz", "/readyz", "/metrics", "/mounted/x"} {
			for range 20 {
				if got := call(t, d, http.MethodGet, path, nil); got.Code != 200 {
					t.Fatalf("%s: %d", path, got.Code)
				}
			}
		}
		<-time.After(retryAfter(t, from(t, d, "192.0.2.1:1", "/guarded", "X-API-Key", "key-1"))) // the test's own clock
		use("after the time that was said", 1, "192.0.2.1:1", "/guarded", "X-API-Key", "key-1")
	})
}

func TestGuessesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := limited(t, httpdoor.Settings{
			BasicUsers: settings.SecretsOf("sap:right", "ada:right"), APIKeys: settings.SecretsOf("key-right"), Limits: httpdoor.LimitSettings{Failures: 5},
		})
		guess := func(address string, header func(n int) []string) int {
			t.Helper()
			for n := range 20 {
				if got := from(t, d, address, "/guarded", header(n)...); got.Code != 401 {
					return n
				}
			}
			return 20
		}
		passwords := func(n int) []string { return basic(fmt.Sprintf("sap:%d", n)) }
		keys := func(n int) []string { return []string{"X-API-Key", fmt.Sprint(n)} }
		beside := func(n int) []string { return append(bearer("x"), "X-API-Key", fmt.Sprint(n)) }
		const here, there = "192.0.2.1:1", "192.0.2.2:1"
		if n := guess(here, passwords); n != 5 {
			t.Errorf("%d passwords could be tried", n)
		}
		stopped := from(t, d, here, "/guarded", basic("sap:right")...)
		if stopped.Code != 429 {
			t.Errorf("the right one, after too many, is answered %d: that answers the guess", stopped.Code)
		}
		for what, header := range map[string][]string{"another user": basic("ada:right"), "a key": {"X-API-Key", "key-right"}} {
			if got := from(t, d, here, "/guarded", header...); got.Code != 200 {
				t.Errorf("%s from the same place: %d", what, got.Code)
			}
		}
		if got := from(t, d, there, "/guarded", basic("sap:right")...); got.Code != 200 {
			t.Errorf("the user from elsewhere: %d", got.Code)
		}
		<-time.After(retryAfter(t, stopped)) // the test's own clock
		if got := from(t, d, here, "/guarded", basic("sap:right")...); got.Code != 200 {
			t.Errorf("after the time that was said: %d", got.Code)
		}
		if n := guess(here, keys); n != 5 {
			t.Errorf("%d keys could be tried", n)
		}
		if n := guess(there, beside); n != 5 {
			t.Errorf("%d keys could be tried beside a token", n)
		}
		if got := from(t, d, here, "/guarded", "X-API-Key", "key-right"); got.Code != 200 {
			t.Errorf("the right key, after too many wrong ones from its address, is answered %d", got.Code)
		}
		if got := from(t, d, here, "/guarded", "X-API-Key", "x"); got.Code != 429 || retryAfter(t, got) > time.Minute {
			t.Errorf("one more wrong key is answered %d", got.Code)
		}
		guess(here, passwords)
		if got := from(t, d, here, "/guarded", append(basic("sap:right"), "X-API-Key", "x")...); got.Code != 429 {
			t.Errorf("the right password, after too many, with a wrong key, is answered %d: that answers the guess", got.Code)
		}
		if got := from(t, d, here, "/guarded", append(basic("sap:x"), "X-API-Key", "key-right")...); got.Code != 200 {
			t.Errorf("the right key beside a password of too many is answered %d", got.Code)
		}
		for range 20 { // nothing was guessed
			if got := from(t, d, "192.0.2.3:1", "/guarded"); got.Code != 401 {
				t.Fatalf("without credentials: %d", got.Code)
			}
		}
	})
}

// guessed sends so many wrong passwords for users that user makes up, and counts those that were looked at.
func guessed(t *testing.T, d *httpdoor.Door, most int, address, user func(n int) string) (looked int) {
	t.Helper()
	for n := range most {
		switch got := from(t, d, address(n), "/guarded", basic(fmt.Sprintf("%s:%d", user(n), n))...); got.Code {
		case 401:
			looked++
		case 429:
		default:
			t.Fatalf("a wrong password is answered %d", got.Code)
		}
	}
	return looked
}

func always(text string) func(int) string { return func(int) string { return text } }

func each(format string) func(int) string {
	return func(n int) string { return fmt.Sprintf(format, n) }
}

func TestGuessesAreNotForgottenForGuessesAtOthers(t *testing.T) {
	const here, most = "192.0.2.1:1", 5
	for name, others := range map[string]struct{ address, user func(int) string }{
		"users that are made up":       {always(here), each("user%d")},
		"many addresses":               {each("[2001:db8:0:%x::1]:1"), always("ada")},
		"many addresses, another user": {each("[2001:db8:0:%x::1]:1"), always("bob")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // its clock stands still, so that no token comes back
				d := limited(t, httpdoor.Settings{BasicUsers: settings.SecretsOf("ada:right", "eve:right"), Limits: httpdoor.LimitSettings{Failures: most}})
				if n := guessed(t, d, 2*most, always(here), always("ada")); n != most {
					t.Fatalf("%d guesses were looked at", n)
				}
				if n := guessed(t, d, 20_000, others.address, others.user); n != 20_000 {
					t.Errorf("one guess at each of many: only %d were looked at: strangers shut each other out", n)
				}
				if n := guessed(t, d, most, always(here), always("ada")); n != 0 {
					t.Errorf("then %d more guesses at the user were looked at", n)
				}
				if got := from(t, d, here, "/guarded", basic("eve:right")...); got.Code != 200 {
					t.Errorf("another user's right password is answered %d", got.Code)
				}
				if n := d.Remembered(); n > 8192 {
					t.Errorf("%d are remembered", n)
				}
				<-time.After(time.Minute)
				if got := from(t, d, here, "/guarded", basic("ada:right")...); got.Code != 200 {
					t.Errorf("the right password a minute later is answered %d", got.Code)
				}
			})
		})
	}
}

func TestOnlyTrustedProxiesSayWhoIsCalling(t *testing.T) {
	private := []string{"10.0.0.0/8", "100.64.0.0/10", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"} // as k8s/base/door has it
	for name, tt := range map[string]struct {
		proxies []string
		hops    int
		said    string // with the number of the request
		callers int    // of five requests
	}{
		"nobody is trusted":                         {nil, 1, "203.0.113.%d", 1},
		"the proxy is":                              {private, 1, "203.0.113.%d", 5},
		"another one is":                            {[]string{"10.9.0.0/16"}, 1, "203.0.113.%d", 1},
		"no hop counts":                             {private, 0, "203.0.113.%d", 1},
		"what the caller says to the proxy":         {private, 1, "203.0.113.%d, 198.51.100.7", 1},
		"from behind a load balancer that hides it": {private, 1, "203.0.113.%d, 10.128.0.7", 1},
		"from within a private network":             {private, 1, "203.0.113.%d,192.168.3.4", 1},
		"two proxies":                               {[]string{"10.1.0.0/16", "198.51.100.0/24"}, 2, "203.0.113.%d, 198.51.100.7", 5},
		"what the caller says to the first of two":  {[]string{"10.1.0.0/16", "198.51.100.0/24"}, 2, "192.0.2.%d, 203.0.113.1, 198.51.100.7", 1},
		"two proxies, past the first":               {[]string{"10.1.0.0/16", "198.51.100.0/24"}, 2, "192.0.2.%d, 203.0.113.1", 1},
		"a proxy that writes the port as well":      {private, 1, "203.0.113.%d:4711", 5},
		"a port alone makes nobody another":         {private, 1, "203.0.113.1:400%d", 1},
		"many addresses of one host":                {private, 1, "2001:db8::%d", 1},
		"networks":                                  {private, 1, "2001:db8:0:%d::1", 5},
		"no address":                                {private, 1, "unknown%d", 1},
		"nothing":                                   {private, 1, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := limited(t, httpdoor.Settings{Auth: "none", Limits: httpdoor.LimitSettings{Rate: 0.001, Proxies: tt.proxies, Hops: tt.hops}})
			callers := 0
			for n := range 5 {
				var header []string
				if tt.said != "" {
					header = []string{"X-Forwarded-For", fmt.Sprintf(tt.said, n)}
				}
				if from(t, d, "10.1.2.3:1", "/open", header...).Code == 200 {
					callers++
				}
			}
			if callers != tt.callers {
				t.Errorf("taken for %d callers, want %d", callers, tt.callers)
			}
		})
	}
}

func TestAProxyMayAppendALineOfItsOwn(t *testing.T) {
	d := limited(t, httpdoor.Settings{Auth: "none", Limits: httpdoor.LimitSettings{Rate: 0.001, Proxies: []string{"10.0.0.0/8"}, Hops: 1}})
	for n, want := range []int{200, 429} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/open", http.NoBody)
		r.RemoteAddr = "10.1.2.3:1"
		r.Header["X-Forwarded-For"] = []string{fmt.Sprintf("203.0.113.%d", n), "198.51.100.7"}
		w := httptest.NewRecorder()
		if d.ServeHTTP(w, r); w.Code != want {
			t.Errorf("request %d is answered %d, want %d", n+1, w.Code, want)
		}
	}
}

func TestLimitsThatCannotWorkAreNamed(t *testing.T) {
	for name, s := range map[string]httpdoor.LimitSettings{
		"HTTP_MAX_IN_FLIGHT": {InFlight: -1}, "HTTP_RATE_LIMIT": {Rate: -1}, "HTTP_AUTH_FAILURES": {Failures: -1},
		"HTTP_TRUSTED_PROXIES": {Proxies: []string{"10.0.0.1"}}, "HTTP_PROXY_HOPS": {Hops: -1},
	} {
		wantProblem(t, name, httpdoor.Settings{Limits: s}.Validate())
	}
}
