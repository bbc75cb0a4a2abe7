package odata_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
)

const root = "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV"

// gateway is a server that guards writes as odata-v2.md §2 describes: a token is good only with its session's cookie.
type gateway struct {
	mu      sync.Mutex
	n       int      // sessions begun
	valid   string   // the number of the one that is good
	fetches []string // the Cookie header of each fetch
	writes  []string // the Cookie header of each write that was let in
	refused int

	// What differs between services.
	fetch    http.HandlerFunc // in place of the usual fetch
	refusal  http.HandlerFunc // in place of the usual refusal
	answer   http.HandlerFunc // in place of the usual 201
	onlyAuth bool             // no token is asked for
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if user, password, _ := r.BasicAuth(); user != "u" || password != "p" {
		http.Error(w, "log on", http.StatusUnauthorized)
		return
	}
	switch {
	case r.Method == "GET" && r.URL.Path == root+"/":
		g.serveFetch(w, r)
	case r.Method == "POST" && !g.onlyAuth && (g.valid == "" || r.Header.Get("X-Csrf-Token") != "token"+g.valid || !strings.Contains(r.Header.Get("Cookie"), "SAP_SESSIONID_ABC_100=s"+g.valid)):
		g.refused++
		if g.refusal != nil {
			g.refusal(w, r)
			return
		}
		w.Header().Set("x-csrf-token", "Required")
		http.Error(w, "CSRF token validation failed", http.StatusForbidden)
	case r.Method == "POST":
		g.writes = append(g.writes, r.Header.Get("Cookie"))
		if g.answer != nil {
			g.answer(w, r)
			return
		}
		w.WriteHeader(http.StatusCreated)
		io.WriteString(w, `{"d":{"ID":"1"}}`)
	default:
		if g.answer != nil {
			g.answer(w, r)
			return
		}
		io.WriteString(w, `{"d":{"results":[]}}`)
	}
}

func (g *gateway) serveFetch(w http.ResponseWriter, r *http.Request) {
	g.fetches = append(g.fetches, r.Header.Get("Cookie"))
	if r.Header.Get("X-Csrf-Token") != "fetch" {
		http.Error(w, "not a fetch", http.StatusBadRequest)
		return
	}
	if g.fetch != nil {
		g.fetch(w, r)
		return
	}
	g.n++
	g.valid = fmt.Sprint(g.n)
	w.Header().Add("set-cookie", "SAP_SESSIONID_ABC_100=s"+g.valid+"; path=/; secure; HttpOnly")
	w.Header().Add("set-cookie", "sap-usercontext=sap-client=100; path=/")
	w.Header().Set("x-csrf-token", "token"+g.valid)
	io.WriteString(w, `{"d":{"EntitySets":["Interactions"]}}`)
}

// expire ends the session on the server.
func (g *gateway) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.valid = ""
}

func (g *gateway) want(t *testing.T, fetches, refused, writes int) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.fetches) != fetches || g.refused != refused || len(g.writes) != writes {
		t.Errorf("%d fetches, %d refused, %d writes; want %d, %d, %d", len(g.fetches), g.refused, len(g.writes), fetches, refused, writes)
	}
}

func newClient(t *testing.T, h http.Handler, change ...func(*odata.Options)) *odata.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	out, err := outbound.New(outbound.Options{Vendor: "sap", BaseURL: s.URL, Parallel: 50})
	if err != nil {
		t.Fatal(err)
	}
	o := odata.Options{Outbound: out, ServiceRoot: root, Username: "u", Password: settings.SecretOf("p")}
	for _, f := range change {
		f(&o)
	}
	c, err := odata.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func create(ctx context.Context, c *odata.Client) error {
	return c.Create(ctx, "create interaction", "Interactions", map[string]string{"A": "b"}, nil)
}

func mustCreate(t *testing.T, c *odata.Client) {
	t.Helper()
	if err := create(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func wantClass(t *testing.T, err error, class fault.Class) *fault.Fault {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) || f.Class != class {
		t.Fatalf("got error %v, want class %s", err, class)
	}
	return f
}

func TestFirstWriteFetchesATokenAndTheNextReusesIt(t *testing.T) {
	g := &gateway{}
	c := newClient(t, g)
	mustCreate(t, c)
	mustCreate(t, c)
	g.want(t, 1, 0, 2)
	want := "SAP_SESSIONID_ABC_100=s1; sap-usercontext=sap-client=100"
	if !slices.Equal(g.writes, []string{want, want}) {
		t.Errorf("cookies of the writes: %q, want %q", g.writes, want)
	}
}

func TestWritesAtOnceShareOneFetch(t *testing.T) {
	g := &gateway{}
	c := newClient(t, g)
	atOnce(t, 20, func() error { return create(t.Context(), c) })
	g.want(t, 1, 0, 20)
}

func TestExpiredSessionIsRenewedOnceForAllWrites(t *testing.T) {
	g := &gateway{}
	c := newClient(t, g)
	mustCreate(t, c)
	g.expire()
	atOnce(t, 20, func() error { return create(t.Context(), c) })
	if len(g.fetches) != 2 || len(g.writes) != 21 {
		t.Errorf("%d fetches and %d writes, want 2 and 21", len(g.fetches), len(g.writes))
	}
	if g.fetches[1] != "" {
		t.Errorf("the second fetch sent the cookies of the dead session: %q", g.fetches[1])
	}
}

func atOnce(t *testing.T, n int, f func() error) {
	t.Helper()
	errs := make(chan error)
	for range n {
		go func() { errs <- f() }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestRefusalIsRecognisedInEachForm(t *testing.T) {
	for name, refusal := range map[string]http.HandlerFunc{
		"header in lower case": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-CSRF-Token", "required")
			w.WriteHeader(http.StatusForbidden)
		},
		"text alone": func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "CSRF token validation failed", http.StatusForbidden)
		},
		"JSON": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `{"error":{"message":{"value":"CSRF token validation failed"}}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{refusal: refusal}
			c := newClient(t, g)
			mustCreate(t, c)
			g.expire()
			mustCreate(t, c)
			g.want(t, 2, 1, 2)
		})
	}
}

func TestOther403IsNotRepeated(t *testing.T) {
	g := &gateway{answer: func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"error":{"code":"A/1","message":{"lang":"en","value":"No authorization"}}}`)
	}}
	f := wantClass(t, create(t.Context(), newClient(t, g)), fault.Forbidden)
	if want := "create interaction: 403 Forbidden: A/1: No authorization"; f.Reason != want {
		t.Errorf("reason = %q, want %q", f.Reason, want)
	}
	g.want(t, 1, 0, 1)
}

func TestSecondRefusalIsForbidden(t *testing.T) {
	g := &gateway{fetch: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("x-csrf-token", "never good") }}
	c := newClient(t, g)
	f := wantClass(t, create(t.Context(), c), fault.Forbidden)
	if !strings.Contains(f.Reason, "CSRF token validation failed") || strings.Contains(f.Reason, "never good") {
		t.Errorf("reason = %q", f.Reason)
	}
	g.want(t, 2, 2, 0)
}

func TestMissingTokenIsTolerated(t *testing.T) {
	g := &gateway{onlyAuth: true, fetch: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"d":{}}`) }}
	c := newClient(t, g)
	mustCreate(t, c)
	mustCreate(t, c)
	g.want(t, 1, 0, 2)
}

func TestWithoutCSRFNothingIsFetchedOrRepeated(t *testing.T) {
	noCSRF := func(o *odata.Options) { o.NoCSRF = true }
	g := &gateway{onlyAuth: true}
	mustCreate(t, newClient(t, g, noCSRF))
	g.want(t, 0, 0, 1)

	g = &gateway{}
	wantClass(t, create(t.Context(), newClient(t, g, noCSRF)), fault.Forbidden)
	g.want(t, 0, 1, 0)
}

func TestFetchThatFails(t *testing.T) {
	for name, test := range map[string]struct {
		fetch http.HandlerFunc
		class fault.Class
		words string
	}{
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/logon", http.StatusFound) }, fault.Unauthorized, "redirects"},
		"log-on page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, "<html>")
		}, fault.Unauthorized, "web page"},
		"wrong service root": {http.NotFound, fault.Unauthorized, "check the service root"},
		"forbidden":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, fault.Unauthorized, "403"},
		"out of order":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, fault.Down, "503"},
		"server fault":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, fault.Transient, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{fetch: test.fetch}
			c := newClient(t, g)
			f := wantClass(t, create(t.Context(), c), test.class)
			if !strings.Contains(f.Reason, test.words) || f.Vendor != "sap" {
				t.Errorf("fault = %v", f)
			}
			g.want(t, 1, 0, 0)

			g.fetch = nil
			mustCreate(t, c) // a failed fetch leaves nothing behind
			g.want(t, 2, 0, 1)
		})
	}
}

func TestWrongPasswordIsAskedOnce(t *testing.T) {
	g := &gateway{}
	c := newClient(t, g, func(o *odata.Options) { o.Password = settings.SecretOf("wrong-one") })
	if f := wantClass(t, create(t.Context(), c), fault.Unauthorized); strings.Contains(f.Error(), "wrong-one") {
		t.Errorf("the fault shows the password: %v", f)
	}
	g.want(t, 0, 0, 0)
}

func TestAnyAnswerUpdatesTheCookies(t *testing.T) {
	var set []string
	status := 201
	g := &gateway{}
	g.answer = func(w http.ResponseWriter, _ *http.Request) {
		for _, s := range set {
			w.Header().Add("Set-Cookie", s)
		}
		w.WriteHeader(status)
		io.WriteString(w, `{"d":{}}`)
	}
	c := newClient(t, g)
	steps := []struct {
		set    []string
		status int
		get    bool
		want   string // the cookies of the next write
	}{
		{[]string{"added=1; path=/; secure"}, 201, false, "SAP_SESSIONID_ABC_100=s1; added=1; sap-usercontext=sap-client=100"},
		{[]string{`added="quoted,2"; HttpOnly`}, 400, false, `SAP_SESSIONID_ABC_100=s1; added="quoted,2"; sap-usercontext=sap-client=100`},
		{[]string{"added=; Max-Age=0", "renamed=3"}, 200, true, "SAP_SESSIONID_ABC_100=s1; renamed=3; sap-usercontext=sap-client=100"},
		{[]string{"renamed=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "nonsense"}, 500, true, "SAP_SESSIONID_ABC_100=s1; sap-usercontext=sap-client=100"},
	}
	for _, step := range steps {
		set, status = step.set, step.status
		if step.get {
			_ = c.Get(t.Context(), "read", "Interactions", nil, &odata.List[any]{})
		} else {
			_ = create(t.Context(), c)
		}
		set, status = nil, 201
		mustCreate(t, c)
		if got := g.writes[len(g.writes)-1]; got != step.want {
			t.Errorf("after %q the cookies are\n%q, want\n%q", step.set, got, step.want)
		}
	}
	g.want(t, 1, 0, len(g.writes))
}

func TestLateAnswerOfAnOldSessionLeavesTheNewOneAlone(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	g := &gateway{}
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == root+"/Slow" {
			close(arrived)
			<-release
			w.Header().Set("Set-Cookie", "SAP_SESSIONID_ABC_100=s1")
			io.WriteString(w, `{"d":{}}`)
			return
		}
		g.ServeHTTP(w, r)
	}))
	mustCreate(t, c)
	slow := make(chan error)
	go func() { slow <- c.Get(t.Context(), "read", "Slow", nil, &odata.List[any]{}) }()
	<-arrived
	g.expire()
	mustCreate(t, c)
	close(release)
	if err := <-slow; err != nil {
		t.Fatal(err)
	}
	mustCreate(t, c)
	g.want(t, 2, 1, 3)
}

func TestReadsShareTheSessionAndNeedNoToken(t *testing.T) {
	var cookies []string
	g := &gateway{answer: func(w http.ResponseWriter, r *http.Request) {
		cookies = append(cookies, r.Header.Get("Cookie"))
		if r.Header.Get("X-Csrf-Token") != "" {
			t.Error("a read carries a token")
		}
		w.Header().Set("Set-Cookie", "S=1")
		io.WriteString(w, `{"d":{}}`)
	}}
	c := newClient(t, g)
	for range 2 {
		if err := c.Get(t.Context(), "read", "Interactions", nil, &odata.List[any]{}); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(cookies, []string{"", "S=1"}) {
		t.Errorf("cookies of the reads: %q", cookies)
	}
	g.want(t, 0, 0, 0)
}

func TestRestedSessionIsBegunAnew(t *testing.T) {
	g := &gateway{}
	c := newClient(t, g, func(o *odata.Options) { o.SessionIdle = time.Nanosecond })
	mustCreate(t, c)
	mustCreate(t, c)
	g.want(t, 2, 0, 2)
}

func TestFetchOutlivesTheCallThatBeganIt(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	g := &gateway{}
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == root+"/" {
			close(arrived) // a second fetch would panic
			<-release
		}
		g.ServeHTTP(w, r)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() { first <- create(ctx, c) }()
	<-arrived
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) || !fault.Is(err, fault.Transient) {
		t.Errorf("the call that was ended: %v", err)
	}
	close(release)
	mustCreate(t, c)
	g.want(t, 1, 0, 1)
}

func TestRefusalAfterAnotherRenewedTheSessionFetchesNothing(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	g := &gateway{}
	c := newClient(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == root+"/Held" {
			once.Do(func() {
				close(arrived)
				<-release
			})
		}
		g.ServeHTTP(w, r)
	}))
	mustCreate(t, c)
	held := make(chan error)
	go func() { held <- c.Create(t.Context(), "create held", "Held", struct{}{}, nil) }()
	<-arrived
	g.expire()
	mustCreate(t, c)
	g.want(t, 2, 1, 2)
	close(release)
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	g.want(t, 2, 2, 3)
}

func TestAPasswordThatIsReplacedInItsFileIsUsed(t *testing.T) {
	g := &gateway{}
	password, replace := settingstest.Rotating(t, "expired")
	c := newClient(t, g, func(o *odata.Options) { o.Password = password })
	wantClass(t, create(t.Context(), c), fault.Unauthorized)
	replace("p")
	bustest.Eventually(t, "the new password", func() bool { return create(t.Context(), c) == nil })
	g.want(t, 1, 0, 1)
}
