package httpdoor_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

func TestUnknownPathsAndMethodsAreProblems(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/things/{id}", httpdoor.Open, ok)
	d.Handle(http.MethodPost, "/things", httpdoor.Open, ok)
	d.Handle(http.MethodPut, "/things", httpdoor.Open, ok)

	for _, path := range []string{"/", "/thing", "/things/a/b"} {
		got := call(t, d, http.MethodGet, path, nil)
		if p := got.problem(t); got.Code != http.StatusNotFound || p.Status != http.StatusNotFound || p.Title != "Not Found" {
			t.Errorf("%s: %d, %+v", path, got.Code, p)
		}
	}
	got := call(t, d, http.MethodDelete, "/things", nil)
	allow := got.Header().Get("Allow")
	if p := got.problem(t); got.Code != http.StatusMethodNotAllowed || p.Status != got.Code ||
		!strings.Contains(allow, "POST") || !strings.Contains(allow, "PUT") || strings.Contains(allow, "GET") {
		t.Errorf("%d, Allow %q, %+v", got.Code, allow, p)
	}
}

func TestADoorTellsItsRoutes(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodPost, "/things/{id}", httpdoor.Open, ok)
	d.Handle(http.MethodGet, "/things/{id}", httpdoor.Guarded, ok)
	d.Stream("/things/live", httpdoor.Open, nil, nil)
	d.Mount("/elsewhere", http.NotFoundHandler())
	d.Health()
	want := []httpdoor.Route{{"GET", "/healthz"}, {"GET", "/readyz"}, {"GET", "/things/live"}, {"GET", "/things/{id}"}, {"POST", "/things/{id}"}}
	if got := d.Routes(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestHeadWorksWhereGetDoes(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/things", httpdoor.Open, ok)
	server := httptest.NewServer(d)
	defer server.Close()
	answer, err := http.Head(server.URL + "/things")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(answer.Body)
	if answer.StatusCode != http.StatusOK || answer.ContentLength <= 0 || len(body) != 0 {
		t.Errorf("%d, length %d, body %q", answer.StatusCode, answer.ContentLength, body)
	}
}

func TestHandlersSeeTheRequest(t *testing.T) {
	var seen *httpdoor.Request
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodPost, "/a/{one}/b/{two}", httpdoor.Open, func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		seen = r
		return nil, nil
	})
	got := call(t, d, http.MethodPost, "/a/x%2Fy%25/b/z?q=1&q=2", strings.NewReader("body"),
		"Content-Type", "Text/Plain; charset=utf-8", "X-Any", "thing")
	if got.Code != http.StatusNoContent || got.Body.Len() != 0 {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	if seen.Method != "POST" || seen.Path != "/a/x/y%/b/z" || seen.Param("one") != "x/y%" || seen.Param("two") != "z" ||
		seen.Param("three") != "" || len(seen.Query["q"]) != 2 || string(seen.Body) != "body" ||
		seen.ContentType != "text/plain" || seen.Header.Get("X-Any") != "thing" || seen.IsForm() {
		t.Errorf("%+v", seen)
	}
	if call(t, d, http.MethodPost, "/a/100%25/b/z", nil); seen.Param("one") != "100%" {
		t.Errorf("%q was unescaped twice", seen.Param("one"))
	}
}

func TestIgnoreCaseFindsThePathInAnyCase(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodPost, "/http/OCEndpoint", httpdoor.Open, ok, httpdoor.IgnoreCase())
	d.Handle(http.MethodPost, "/exact", httpdoor.Open, ok)
	for path, want := range map[string]int{
		"/http/OCEndpoint": 200, "/http/ocendpoint": 200, "/HTTP/OCENDPOINT": 200, "/http/%4FCEndpoint": 200,
		"/exact": 200, "/Exact": 404,
	} {
		if got := call(t, d, http.MethodPost, path, nil); got.Code != want {
			t.Errorf("%s: %d", path, got.Code)
		}
	}
}

func TestHandlePanicsOnRoutesThatCannotBe(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/twice", httpdoor.Open, ok)
	d.Handle(http.MethodPost, "/twice", httpdoor.Open, ok)
	for _, path := range []string{"/twice", "relative", ""} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%q was taken", path)
				}
			}()
			d.Handle(http.MethodGet, path, httpdoor.Open, ok)
		}()
	}
}

func TestResponsesAreWrittenByTheirKind(t *testing.T) {
	message := &eventsv1.OrderCompleted{ServiceOrder: "8"}
	tests := map[string]struct {
		response          *httpdoor.Response
		status            int
		contentType, body string
	}{
		"none":    {nil, 204, "", ""},
		"empty":   {&httpdoor.Response{Status: 202}, 202, "", ""},
		"struct":  {&httpdoor.Response{Body: struct{ A int }{1}}, 200, "application/json", `{"A":1}`},
		"message": {&httpdoor.Response{Status: 201, Body: message}, 201, "application/json", `{"serviceOrder":"8"}`},
		"bytes":   {&httpdoor.Response{Body: []byte("<a/>")}, 200, "application/octet-stream", "<a/>"},
		"text":    {&httpdoor.Response{Body: []byte("a"), ContentType: "text/plain"}, 200, "text/plain", "a"},
		"raw":     {&httpdoor.Response{Body: json.RawMessage(`[1]`)}, 200, "application/json", "[1]"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := httpdoor.New(httpdoor.Options{})
			d.Handle(http.MethodGet, "/", httpdoor.Open, answering(tt.response))
			got := call(t, d, http.MethodGet, "/", nil)
			if got.Code != tt.status || got.Header().Get("Content-Type") != tt.contentType || got.Body.String() != tt.body {
				t.Errorf("%d %s %s", got.Code, got.Header().Get("Content-Type"), got.Body)
			}
			if got.Header().Get("Cache-Control") != "no-store" || got.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", got.Header())
			}
		})
	}
}

func TestResponseHeadersAreWritten(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/", httpdoor.Open, answering(&httpdoor.Response{
		Header: http.Header{"location": {"/x"}, "Cache-Control": {"max-age=5"}},
	}))
	got := call(t, d, http.MethodGet, "/", nil).Header()
	if got.Get("Location") != "/x" || got.Get("Cache-Control") != "max-age=5" {
		t.Errorf("headers %v", got)
	}
}

func TestAResponseThatCannotBeWrittenIsAnError(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/", httpdoor.Open, answering(&httpdoor.Response{Body: func() {}}))
	if got := call(t, d, http.MethodGet, "/", nil); got.Code != 500 {
		t.Errorf("%d", got.Code)
	}
}

func TestBodiesAreLimited(t *testing.T) {
	tests := map[string]struct {
		options httpdoor.Options
		route   []httpdoor.RouteOption
		size    int
		status  int
	}{
		"default, at the limit":  {size: 1 << 20, status: 200},
		"default, one more":      {size: 1<<20 + 1, status: 413},
		"of the door":            {options: httpdoor.Options{BodyLimit: 10}, size: 11, status: 413},
		"of the route, smaller":  {route: []httpdoor.RouteOption{httpdoor.BodyLimit(5)}, size: 6, status: 413},
		"of the route, larger":   {route: []httpdoor.RouteOption{httpdoor.BodyLimit(4 << 20)}, size: 3 << 20, status: 200},
		"of the route, at limit": {route: []httpdoor.RouteOption{httpdoor.BodyLimit(5)}, size: 5, status: 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := httpdoor.New(tt.options)
			d.Handle(http.MethodPost, "/", httpdoor.Open, ok, tt.route...)
			got := call(t, d, http.MethodPost, "/", strings.NewReader(strings.Repeat("x", tt.size)))
			if got.Code != tt.status {
				t.Errorf("%d", got.Code)
			}
			if tt.status == 413 && got.problem(t).Status != 413 {
				t.Errorf("%s", got.Body)
			}
		})
	}
}

func TestABodyThatEndsEarlyIsABadRequest(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodPost, "/", httpdoor.Open, ok)
	got := call(t, d, http.MethodPost, "/", iotest.ErrReader(errors.New("internal text")))
	if got.problem(t).Status != 400 || strings.Contains(got.Body.String(), "internal") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestTheHandlersTimeEnds(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{RequestTimeout: time.Millisecond})
	d.Handle(http.MethodGet, "/", httpdoor.Open, func(ctx context.Context, _ *httpdoor.Request) (*httpdoor.Response, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	got := call(t, d, http.MethodGet, "/", nil)
	if got.problem(t).Status != 503 || got.Header().Get("Retry-After") == "" {
		t.Errorf("%d %v", got.Code, got.Header())
	}
}

func TestTheHandlersTimeIsLongerForWhoWaits(t *testing.T) {
	var left time.Duration
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/", httpdoor.Open, func(ctx context.Context, _ *httpdoor.Request) (*httpdoor.Response, error) {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return nil, nil
	})
	for prefer, want := range map[string]time.Duration{"": 30 * time.Second, "wait=10": 40 * time.Second, "wait=999": 90 * time.Second} {
		call(t, d, http.MethodGet, "/", nil, "Prefer", prefer)
		if left > want || left < want-5*time.Second {
			t.Errorf("%q: %s left, want %s", prefer, left, want)
		}
	}
}

func TestWaitReadsThePreference(t *testing.T) {
	for prefer, want := range map[string]time.Duration{
		"": 0, "wait=5": 5 * time.Second, "respond-async, wait=5": 5 * time.Second, `Wait = "7"; x=1`: 7 * time.Second,
		"wait=60": time.Minute, "wait=61": time.Minute, "wait=2147483647": time.Minute, "wait=99999999999999999999": 0,
		"wait": 0, "wait=": 0, "wait=-1": 0, "wait=soon": 0, "waiting=5": 0, "respond-async": 0,
	} {
		r := &httpdoor.Request{Header: http.Header{"Prefer": {prefer}}}
		if got := r.Wait(); got != want {
			t.Errorf("%q: %s", prefer, got)
		}
	}
	r := &httpdoor.Request{Header: http.Header{"Prefer": {"respond-async", "wait=5"}}}
	if got := r.Wait(); got != 5*time.Second {
		t.Errorf("two headers: %s", got)
	}
}

func TestWaitingEndsWithTheWaitAndWithTheContext(t *testing.T) {
	r := &httpdoor.Request{}
	ctx, cancel := r.Waiting(t.Context())
	defer cancel()
	if ctx.Err() == nil {
		t.Error("who does not want to wait waits")
	}
	r.Header = http.Header{"Prefer": {"wait=60"}}
	outer, end := context.WithCancel(t.Context())
	ctx, cancel = r.Waiting(outer)
	defer cancel()
	if ctx.Err() != nil {
		t.Error("the wait is over at once")
	}
	end()
	<-ctx.Done()
}

func TestRequestsHaveAnID(t *testing.T) {
	var seen string
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/", httpdoor.Open, func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		seen = r.ID
		return nil, nil
	})
	for given, kept := range map[string]bool{"": false, "abc-1.2_3": true, "ada@example.com": false, strings.Repeat("x", 65): false} {
		got := call(t, d, http.MethodGet, "/", nil, "X-Request-ID", given).Header().Get("X-Request-ID")
		if got == "" || got != seen || (got == given) != kept {
			t.Errorf("%q became %q, the handler saw %q", given, got, seen)
		}
	}
}

func TestMountTakesWhatNoRouteTakes(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/vendor/health", httpdoor.Open, answering(&httpdoor.Response{Body: []byte("route")}))
	d.Mount("/vendor/", echoing("vendor"))
	d.Mount("/", echoing("root"))
	for request, want := range map[string]string{
		"GET /vendor/health":  "route",
		"GET /vendor":         "vendor GET /vendor",
		"MERGE /vendor/a/b":   "vendor MERGE /vendor/a/b",
		"GET /":               "root GET /",
		"PROPFIND /vendors/x": "root PROPFIND /vendors/x",
	} {
		method, path, _ := strings.Cut(request, " ")
		if got := call(t, d, method, path, nil); got.Body.String() != want {
			t.Errorf("%s: %d %s", request, got.Code, got.Body)
		}
	}
}

func TestMountedHandlersMayStream(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Mount("/", echoing(""))
	w := &deadlineRecorder{ResponseRecorder: httptest.NewRecorder(), deadline: time.Now()}
	d.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if !w.deadline.IsZero() {
		t.Errorf("writing ends at %s", w.deadline)
	}
}

func TestServeLetsRequestsFinishAndTellsThoseWhoWait(t *testing.T) {
	begun, proceed := make(chan string, 3), make(chan struct{})
	d := httpdoor.New(httpdoor.Options{})
	d.Health()
	d.Handle(http.MethodGet, "/slow", httpdoor.Open, func(ctx context.Context, _ *httpdoor.Request) (*httpdoor.Response, error) {
		begun <- "slow"
		<-proceed
		return &httpdoor.Response{Body: []byte("finished")}, ctx.Err()
	})
	d.Handle(http.MethodGet, "/waiting", httpdoor.Open, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		wait, cancel := r.Waiting(ctx)
		defer cancel()
		begun <- "waiting"
		<-wait.Done()
		close(proceed)
		return &httpdoor.Response{Body: []byte("accepted")}, ctx.Err()
	})
	d.Mount("/stream", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- "stream"
		<-r.Context().Done()
	}))
	ctx, end := context.WithCancel(t.Context())
	address, stopped := serve(t, ctx, d)

	answers := make(chan string, 3)
	for _, path := range []string{"/slow", "/waiting", "/stream"} {
		go func() { answers <- path + " " + get(address+path, "wait=60") }()
	}
	for range 3 {
		<-begun
	}
	end()
	got := map[string]bool{}
	for range 3 {
		got[<-answers] = true
	}
	if !got["/slow 200 finished"] || !got["/waiting 200 accepted"] || !got["/stream 200 "] {
		t.Errorf("answers %v", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if got := call(t, d, http.MethodGet, "/readyz", nil); got.Code != 503 {
		t.Errorf("still ready: %d", got.Code)
	}
}

func TestServeCutsOffWhatOutlivesTheGrace(t *testing.T) {
	begun, never := make(chan struct{}), make(chan struct{})
	d := httpdoor.New(httpdoor.Options{Grace: time.Millisecond})
	d.Handle(http.MethodGet, "/", httpdoor.Open, func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
		close(begun)
		<-never
		return nil, nil
	})
	ctx, end := context.WithCancel(t.Context())
	address, stopped := serve(t, ctx, d)
	answer := make(chan string)
	go func() { answer <- get(address+"/", "") }()
	<-begun
	end()
	if err := <-stopped; err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("got %v", err)
	}
	if got := <-answer; !strings.HasPrefix(got, "no answer") {
		t.Errorf("answered %s", got)
	}
	close(never)
}

func TestServeSaysWhyItStopsEarly(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := httpdoor.New(httpdoor.Options{}).Serve(t.Context(), ln); err == nil {
		t.Error("served on a closed listener")
	}
}

func ok(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
	return &httpdoor.Response{Body: map[string]bool{"ok": true}}, nil
}

func answering(r *httpdoor.Response) httpdoor.Handler {
	return func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) { return r, nil }
}

func failing(err error) httpdoor.Handler {
	return func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) { return nil, err }
}

func echoing(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, name+" "+r.Method+" "+r.URL.Path)
	})
}

// deadlineRecorder is a connection that knows deadlines.
type deadlineRecorder struct {
	*httptest.ResponseRecorder
	deadline time.Time
}

func (r *deadlineRecorder) SetWriteDeadline(at time.Time) error {
	r.deadline = at
	return nil
}

// answer is what the door answered.
type answer struct{ *httptest.ResponseRecorder }

// problem reads the answer as a problem.
func (a answer) problem(t *testing.T) httpdoor.Problem {
	t.Helper()
	var p httpdoor.Problem
	if got := a.Header().Get("Content-Type"); got != "application/problem+json" {
		t.Fatalf("%d with Content-Type %q: %s", a.Code, got, a.Body)
	}
	if err := json.Unmarshal(a.Body.Bytes(), &p); err != nil {
		t.Fatalf("%s: %v", a.Body, err)
	}
	if p.Type != "about:blank" || p.Status != a.Code || p.Title != http.StatusText(a.Code) {
		t.Fatalf("%d as %+v", a.Code, p)
	}
	return p
}

// call sends one request; header are names and values.
func call(t *testing.T, h http.Handler, method, path string, body io.Reader, header ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, path, body)
	if err != nil {
		t.Fatal(err)
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return answer{w}
}

func serve(t *testing.T, ctx context.Context, d *httpdoor.Door) (address string, stopped <-chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.Serve(ctx, ln) }()
	return "http://" + ln.Addr().String(), done
}

func get(url, prefer string) string {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	r.Header.Set("Prefer", prefer)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "no answer: " + err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(answer.Body)
	return answer.Status[:3] + " " + string(body)
}
