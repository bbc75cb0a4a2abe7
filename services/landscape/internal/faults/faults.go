// Package faults makes the simulated vendors misbehave on request: answer with an error, before or after acting, or with
// a web page, lose the answer or half of it, be slow, or never answer.
//
// A [Desk] holds the faults that are on. Each vendor's handler is wrapped once; tests call [Desk.Add], people and
// scripts use the HTTP routes:
//
//	curl -d '{"vendor":"qualtrics","method":"POST","path":"/distributions$","kind":"lost-answer","times":1}' \
//	     http://localhost:8080/landscape/faults
package faults

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The kinds of fault.
const (
	// Status answers with [Fault.Status] instead of acting.
	Status = "status"
	// LateStatus lets the vendor act and answers with [Fault.Status] all the same, as a gateway does that has waited too
	// long.
	LateStatus = "late-status"
	// HTML answers with a web page instead of acting, as a gateway or a login page does.
	HTML = "html"
	// LostAnswer lets the vendor act and then cuts the connection without an answer.
	LostAnswer = "lost-answer"
	// Truncated lets the vendor act and cuts the connection in the middle of the answer's body.
	Truncated = "truncated"
	// Slow waits for [Fault.DelayMS] and then acts.
	Slow = "slow"
	// Hang neither acts nor answers: it holds the call until the client gives up or the fault is removed.
	Hang = "hang"
)

var kinds = []string{Status, LateStatus, HTML, LostAnswer, Truncated, Slow, Hang}

// Kinds gives the kinds of fault.
func Kinds() []string { return slices.Clone(kinds) }

// Fault is one way to misbehave. Where several faults are on, the first added that applies to a call is the one that
// the call meets.
type Fault struct {
	// ID is given by the desk.
	ID string `json:"id,omitempty"`
	// Vendor is the name under which a handler was wrapped; empty means every vendor.
	Vendor string `json:"vendor,omitempty"`
	// Method is the HTTP method; empty means every method.
	Method string `json:"method,omitempty"`
	// Path is a regular expression (and so also a plain piece of text) sought in the URL's path; empty means every path.
	Path string `json:"path,omitempty"`
	// Contains is a piece of text sought in the body, as it was sent; empty means every body.
	Contains string `json:"contains,omitempty"`
	// Kind is one of [Kinds].
	Kind string `json:"kind"`
	// Status is the answer's status, 400 to 599; only with the kinds status and late-status, which need it, and html,
	// where it may be 200 too and 0 means that.
	Status int `json:"status,omitempty"`
	// RetryAfter is sent as Retry-After, in seconds; 0 sends none. Only with these kinds.
	RetryAfter int `json:"retryAfter,omitempty"`
	// Body is the answer's body; empty sends the status in words. Where it has "{request}", what was asked (query and body)
	// stands within a JSON string, as vendors quote it in their messages. Only with the kinds status and late-status.
	Body string `json:"body,omitempty"`
	// ContentType is that of Body; empty means application/json. Only with these kinds.
	ContentType string `json:"contentType,omitempty"`
	// DelayMS is how long to wait first, in milliseconds. Kind slow needs it, the others may have it.
	DelayMS int `json:"delayMs,omitempty"`
	// Rate is the part of the matching calls that meets the fault, from 0 to 1; 0 means every call.
	Rate float64 `json:"rate,omitempty"`
	// Times is how many calls meet the fault before it is spent; 0 means until it is removed.
	Times int `json:"times,omitempty"`
	// Seed makes Rate repeatable: faults with the same seed and rate strike at the same places of a sequence of calls.
	Seed uint64 `json:"seed,omitempty"`
	// Fired is how many calls have met the fault so far; counted by the desk.
	Fired int `json:"fired"`
}

// Check tells what is wrong with a fault, or nil.
func (f Fault) Check() error {
	if !slices.Contains(kinds, f.Kind) {
		return fmt.Errorf("kind: %q is none of %s", f.Kind, strings.Join(kinds, ", "))
	}
	if _, err := regexp.Compile(f.Path); err != nil {
		return fmt.Errorf("path: %w", err)
	}
	if f.Rate < 0 || f.Rate > 1 {
		return fmt.Errorf("rate: %v is not between 0 and 1", f.Rate)
	}
	if f.Times < 0 || f.DelayMS < 0 || f.RetryAfter < 0 {
		return fmt.Errorf("times, delayMs, retryAfter: none may be negative")
	}
	if f.Kind == Slow && f.DelayMS == 0 {
		return fmt.Errorf("delayMs: kind slow needs a delay in milliseconds")
	}
	return f.checkAnswer()
}

func (f Fault) checkAnswer() error {
	answers := f.Kind == Status || f.Kind == LateStatus
	isError := f.Status >= 400 && f.Status <= 599
	switch {
	case answers && !isError, f.Kind == HTML && f.Status != 0 && f.Status != 200 && !isError:
		return fmt.Errorf("status: %d is not between 400 and 599", f.Status)
	case !answers && f.Kind != HTML && (f.Status != 0 || f.RetryAfter != 0):
		return fmt.Errorf("status, retryAfter: only the kinds status, late-status and html have them")
	case !answers && (f.Body != "" || f.ContentType != ""):
		return fmt.Errorf("body, contentType: only the kinds status and late-status have them")
	}
	return nil
}

// Desk holds the faults that are on. It is safe for concurrent use.
type Desk struct {
	mu      sync.Mutex
	vendors map[string]bool
	faults  []*active
	last    int
}

// active is a fault at work. Its own copy of what Check has verified is guarded by the desk's lock.
type active struct {
	Fault
	path    *regexp.Regexp
	random  *rand.Rand
	removed chan struct{}
}

// NewDesk makes a desk without faults.
func NewDesk() *Desk { return &Desk{vendors: map[string]bool{}} }

// Add puts a fault on and gives its id. It panics on a fault that [Fault.Check] refuses: check one made by others first.
func (d *Desk) Add(f Fault) (id string) {
	if err := f.Check(); err != nil {
		panic("faults: " + err.Error())
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last++
	f.ID, f.Fired = "F"+strconv.Itoa(d.last), 0
	d.faults = append(d.faults, &active{
		Fault:   f,
		path:    regexp.MustCompile(f.Path),
		random:  rand.New(rand.NewPCG(f.Seed, 0)),
		removed: make(chan struct{}),
	})
	return f.ID
}

// Remove takes the fault of that id off and lets go of the calls it holds; false where there is none.
func (d *Desk) Remove(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.faults, func(f *active) bool { return f.ID == id })
	if i < 0 {
		return false
	}
	close(d.faults[i].removed)
	d.faults = slices.Delete(d.faults, i, i+1)
	return true
}

// Clear takes every fault off and lets go of the calls they hold.
func (d *Desk) Clear() {
	for _, f := range d.List() {
		d.Remove(f.ID)
	}
}

// List gives the faults, spent ones too, first added first.
func (d *Desk) List() []Fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	list := make([]Fault, 0, len(d.faults))
	for _, f := range d.faults {
		list = append(list, f.Fault)
	}
	return list
}

// Wrap puts the desk in front of a vendor's handler.
func (d *Desk) Wrap(vendor string, next http.Handler) http.Handler {
	d.mu.Lock()
	d.vendors[vendor] = true
	d.mu.Unlock()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := d.read(r)
		if err != nil {
			panic(http.ErrAbortHandler) // the client has gone
		}
		f := d.strike(vendor, r, body)
		if f == nil {
			next.ServeHTTP(w, r)
			return
		}
		f.play(w, r, body, next)
	})
}

// read gives the body, where a fault needs it, and leaves it to be read again.
func (d *Desk) read(r *http.Request) ([]byte, error) {
	d.mu.Lock()
	asked := slices.ContainsFunc(d.faults, func(f *active) bool { return f.Contains != "" || strings.Contains(f.Body, quote) })
	d.mu.Unlock()
	if !asked {
		return nil, nil
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, err
}

// Vendors gives the names under which handlers were wrapped, sorted.
func (d *Desk) Vendors() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.vendors))
}

// strike gives the fault that the call meets, counted, or nil.
func (d *Desk) strike(vendor string, r *http.Request, body []byte) *active {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.faults {
		if f.applies(vendor, r, body) {
			f.Fired++
			return f
		}
	}
	return nil
}

func (f *active) applies(vendor string, r *http.Request, body []byte) bool {
	switch {
	case f.Times > 0 && f.Fired >= f.Times,
		f.Vendor != "" && f.Vendor != vendor,
		f.Method != "" && !strings.EqualFold(f.Method, r.Method),
		!f.path.MatchString(r.URL.Path),
		!bytes.Contains(body, []byte(f.Contains)):
		return false
	}
	return f.Rate == 0 || f.random.Float64() < f.Rate
}

// play lets the call meet the fault. It reads only what never changes after Add.
func (f *active) play(w http.ResponseWriter, r *http.Request, body []byte, next http.Handler) {
	f.wait()
	switch f.Kind {
	case Slow:
		next.ServeHTTP(w, r)
	case LateStatus:
		next.ServeHTTP(&draft{header: http.Header{}}, r)
		f.answer(w, r, body)
	case LostAnswer:
		next.ServeHTTP(&draft{header: http.Header{}}, r)
		cut(w)
	case Truncated:
		answer := &draft{header: w.Header(), status: http.StatusOK}
		next.ServeHTTP(answer, r)
		answer.sendHalf(w)
		cut(w)
	case Hang:
		_, _ = io.Copy(io.Discard, r.Body) // net/http notices that the client has gone only after the body is read
		select {
		case <-r.Context().Done():
		case <-f.removed:
		}
		cut(w)
	default:
		f.answer(w, r, body)
	}
}

// wait sits out the delay, even for a client that has gone: a slow vendor acts all the same.
func (f *active) wait() {
	if f.DelayMS == 0 {
		return
	}
	timer := time.NewTimer(time.Duration(f.DelayMS) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.removed:
	}
}

const webPage = `<!DOCTYPE html><html lang="en"><head><title>Please sign in</title></head><body><h1>Please sign in</h1></body></html>`

// quote stands in a fault's body for what was asked.
const quote = "{request}"

// quoted is what was asked, as it stands within a JSON string.
func quoted(r *http.Request, body []byte) string {
	query, err := url.QueryUnescape(r.URL.RawQuery)
	if err != nil {
		query = r.URL.RawQuery
	}
	text, _ := json.Marshal(query + " " + string(body)) // a text always encodes
	return string(text[1 : len(text)-1])
}

func (f *active) answer(w http.ResponseWriter, r *http.Request, asked []byte) {
	status, contentType, body := cmp.Or(f.Status, http.StatusOK), f.ContentType, strings.ReplaceAll(f.Body, quote, quoted(r, asked))
	if f.Kind == HTML {
		contentType, body = "text/html; charset=utf-8", webPage
	}
	w.Header().Set("Content-Type", cmp.Or(contentType, "application/json"))
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	w.WriteHeader(status)
	// The client may be gone; there is nobody else to tell.
	_, _ = io.WriteString(w, cmp.Or(body, fmt.Sprintf("{%q:%q}", "error", http.StatusText(status))))
}

// cut closes the connection without another word. A handler's panic would do as well, but not behind a door that makes
// an answer of it.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_ = conn.Close() // there is nobody to tell
}

// draft is an answer that does not reach the client as it is.
type draft struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (d *draft) Header() http.Header         { return d.header }
func (d *draft) Write(b []byte) (int, error) { return d.body.Write(b) }
func (d *draft) WriteHeader(status int)      { d.status = status }

// sendHalf announces the whole answer and sends the first half of it.
func (d *draft) sendHalf(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.Itoa(d.body.Len()))
	w.WriteHeader(d.status)
	_, _ = w.Write(d.body.Next(d.body.Len() / 2)) // the connection is about to be cut anyway
	_ = http.NewResponseController(w).Flush()
}
