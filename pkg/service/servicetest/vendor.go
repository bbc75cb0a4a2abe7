package servicetest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Vendor stands in for a vendor's API. It keeps every call, answers by handlers, and loses or refuses calls where a test
// asks for it. A call that no handler takes fails the test.
type Vendor struct {
	URL string

	t      testing.TB
	server *httptest.Server
	mux    *http.ServeMux

	mu     sync.Mutex
	calls  []Call
	faults map[string][]func(http.ResponseWriter, Call, Handler)
}

// Call is one request to a vendor.
type Call struct {
	// Pattern is that of the handler.
	Pattern string
	Path    string
	Query   url.Values
	Header  http.Header
	Body    string

	request *http.Request
}

// Value gives what stands in the path for {name} of the pattern.
func (c Call) Value(name string) string { return c.request.PathValue(name) }

// Decode reads the body as JSON and fails unless every field is known to into.
func (c Call) Decode(into any) error {
	d := json.NewDecoder(strings.NewReader(c.Body))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// Reply is a vendor's answer. A Body that is no text is written as JSON; the zero Status is 200.
type Reply struct {
	Status int
	Header http.Header
	Body   any
}

// Handler answers a call.
type Handler func(Call) Reply

// NewVendor starts a vendor without handlers; it ends with the test.
func NewVendor(t testing.TB) *Vendor {
	t.Helper()
	v := &Vendor{t: t, mux: http.NewServeMux(), faults: map[string][]func(http.ResponseWriter, Call, Handler){}}
	v.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("a call that the vendor does not know: %s %s", r.Method, r.URL.Path)
		w.WriteHeader(http.StatusNotFound)
	})
	v.server = httptest.NewServer(v.mux)
	v.URL = v.server.URL
	t.Cleanup(v.server.Close)
	return v
}

// Handle adds a handler under a pattern of [http.ServeMux]: "POST /distributions/{id}".
func (v *Vendor) Handle(pattern string, h Handler) {
	v.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			v.t.Errorf("%s: %v", pattern, err)
		}
		call := Call{Pattern: pattern, Path: r.URL.Path, Query: r.URL.Query(), Header: r.Header, Body: string(body), request: r}
		if fault := v.take(call); fault != nil {
			fault(w, call, h)
			return
		}
		h(call).write(v.t, w)
	})
}

// take keeps the call and gives the fault that was asked for it.
func (v *Vendor) take(c Call) func(http.ResponseWriter, Call, Handler) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls = append(v.calls, c)
	waiting := v.faults[c.Pattern]
	if len(waiting) == 0 {
		return nil
	}
	v.faults[c.Pattern] = waiting[1:]
	return waiting[0]
}

func (v *Vendor) fault(pattern string, f func(http.ResponseWriter, Call, Handler)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.faults[pattern] = append(v.faults[pattern], f)
}

// Lose makes the next call of the pattern act, and cuts the connection instead of answering.
func (v *Vendor) Lose(pattern string) {
	v.fault(pattern, func(_ http.ResponseWriter, c Call, act Handler) {
		act(c)
		panic(http.ErrAbortHandler)
	})
}

// Drop makes the next call of the pattern end in a cut connection without having done anything.
func (v *Vendor) Drop(pattern string) {
	v.fault(pattern, func(http.ResponseWriter, Call, Handler) { panic(http.ErrAbortHandler) })
}

// Refuse makes the next call of the pattern end in this reply without having done anything.
func (v *Vendor) Refuse(pattern string, with Reply) {
	v.fault(pattern, func(w http.ResponseWriter, _ Call, _ Handler) { with.write(v.t, w) })
}

// Calls gives the calls so far under any of the patterns, in their order; without a pattern, all.
func (v *Vendor) Calls(patterns ...string) []Call {
	v.mu.Lock()
	defer v.mu.Unlock()
	var found []Call
	for _, c := range v.calls {
		for _, p := range patterns {
			if c.Pattern == p {
				found = append(found, c)
			}
		}
		if len(patterns) == 0 {
			found = append(found, c)
		}
	}
	return found
}

// Patterns gives the patterns of all calls so far, in their order.
func (v *Vendor) Patterns() []string {
	var all []string
	for _, c := range v.Calls() {
		all = append(all, c.Pattern)
	}
	return all
}

func (r Reply) write(t testing.TB, w http.ResponseWriter) {
	for name, values := range r.Header {
		w.Header()[http.CanonicalHeaderKey(name)] = values
	}
	status := r.Status
	if status == 0 {
		status = http.StatusOK
	}
	var content []byte
	switch body := r.Body.(type) {
	case nil:
	case string:
		content = []byte(body)
	default:
		var err error
		if content, err = json.Marshal(body); err != nil {
			t.Errorf("the reply of a vendor: %v", err)
		}
		w.Header().Set("Content-Type", "application/json")
	}
	w.WriteHeader(status)
	_, _ = w.Write(content) // a caller that is gone is no fault of the vendor
}
