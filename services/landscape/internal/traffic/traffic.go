// Package traffic counts the calls that come to the simulated vendors, whatever becomes of them: by vendor and operation,
// by the status of the answer, and when they were refused with 429. The counts are of this process and begin anew on
// request, so that a measurement has them to itself.
package traffic

import (
	"bufio"
	"cmp"
	"maps"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// NoAnswer is the status of calls that were cut off without an answer.
const NoAnswer = 0

const refusalsKept = 10_000

// Operation is what is known about the calls of one operation of one vendor.
type Operation struct {
	Vendor string `json:"vendor"`
	// Operation is method and route, such as "POST /distributions" or "GET /distributions/{e}/links", below the address
	// at which the vendor's API stands. Keys in OData addresses are left out: "PATCH TasksCollection()".
	Operation string `json:"operation"`
	Calls     int    `json:"calls"`
	// Statuses are the calls by the status of their answer, "0" being none.
	Statuses map[string]int `json:"statuses"`
	// FirstAt and LastAt are when the first and the last of the calls came.
	FirstAt time.Time `json:"firstAt"`
	LastAt  time.Time `json:"lastAt"`
	// Throttled are the times at which calls came that were answered 429, oldest first, at most 10,000.
	Throttled []time.Time `json:"throttled,omitempty"`
}

// Counts are all calls since a moment.
type Counts struct {
	Since time.Time `json:"since"`
	// Calls are by vendor, and by operation in alphabetical order.
	Calls []Operation `json:"calls"`
}

// Total gives the number of calls to a vendor.
func (c Counts) Total(vendor string) (n int) {
	for _, o := range c.Calls {
		if o.Vendor == vendor {
			n += o.Calls
		}
	}
	return n
}

// Counter counts calls. It is safe for concurrent use.
type Counter struct {
	mu         sync.Mutex
	since      time.Time
	operations map[key]*Operation
}

type key struct{ vendor, operation string }

// New makes a counter that begins now.
func New() *Counter { return &Counter{since: time.Now().UTC(), operations: map[key]*Operation{}} }

// Counts gives a copy of the counts.
func (c *Counter) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := Counts{Since: c.since, Calls: make([]Operation, 0, len(c.operations))}
	for _, o := range c.operations {
		one := *o
		one.Statuses, one.Throttled = maps.Clone(o.Statuses), slices.Clone(o.Throttled)
		counts.Calls = append(counts.Calls, one)
	}
	slices.SortFunc(counts.Calls, func(a, b Operation) int {
		return cmp.Or(cmp.Compare(a.Vendor, b.Vendor), cmp.Compare(a.Operation, b.Operation))
	})
	return counts
}

// Reset begins anew.
func (c *Counter) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.since, c.operations = time.Now().UTC(), map[key]*Operation{}
}

// Wrap counts the calls to a vendor on their way to next. Routes is what knows the vendor's routes, a [http.ServeMux];
// base is the address at which the API stands, which operations are named without.
func (c *Counter) Wrap(vendor, base string, routes, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came, name, answer := time.Now().UTC(), operation(base, routes, r), &watched{ResponseWriter: w}
		answer.count = sync.OnceFunc(func() { c.add(key{vendor, name}, came, answer.status) })
		defer answer.count() // a call that is cut off may panic
		next.ServeHTTP(answer, r)
		answer.status = cmp.Or(answer.status, http.StatusOK)
	})
}

var keyPredicate = regexp.MustCompile(`\([^)]*\)`)

// operation names a call by the route that takes it or, where that takes everything below an address, by its path.
func operation(base string, routes http.Handler, r *http.Request) string {
	path := r.URL.Path
	if mux, ok := routes.(*http.ServeMux); ok {
		_, pattern := mux.Handler(r)
		if at := strings.Index(pattern, "/"); at >= 0 && !strings.HasSuffix(pattern, "/") {
			path = pattern[at:]
		}
	}
	path = strings.TrimPrefix(path, base)
	return r.Method + " " + keyPredicate.ReplaceAllString(path, "()")
}

func (c *Counter) add(k key, came time.Time, status int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := c.operations[k]
	if o == nil {
		o = &Operation{Vendor: k.vendor, Operation: k.operation, Statuses: map[string]int{}, FirstAt: came}
		c.operations[k] = o
	}
	o.Calls++
	o.Statuses[strconv.Itoa(status)]++
	if came.Before(o.FirstAt) {
		o.FirstAt = came
	}
	if came.After(o.LastAt) {
		o.LastAt = came
	}
	if status == http.StatusTooManyRequests && len(o.Throttled) < refusalsKept {
		o.Throttled = append(o.Throttled, came)
	}
}

// watched remembers the status of an answer.
type watched struct {
	http.ResponseWriter
	status int
	count  func()
}

func (w *watched) WriteHeader(status int) {
	if w.status == NoAnswer {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(b []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// Unwrap is for [http.ResponseController].
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Hijack is how a connection is cut. The call is counted before its client can notice.
func (w *watched) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.count()
	return http.NewResponseController(w.ResponseWriter).Hijack()
}
