// Package outboundtest stands in for a vendor that answers anything at all, for tests that hunt for answers which a client
// cannot take.
package outboundtest

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Vendor answers calls without a network, as [http.Transport] would hand them over.
type Vendor struct {
	// Status and Header of every answer. A status that no server can send is 200.
	Status int
	Header http.Header
	// Bodies of the answers, in turn, and then from the first one on again.
	Bodies [][]byte
	// Most is how many calls may be made; one more fails the test, as it would go on for ever.
	Most int

	t     testing.TB
	mu    sync.Mutex
	calls int
	last  http.Header
}

// Of makes a vendor out of what a fuzz test is given: content is the bodies with separators between them.
func Of(t testing.TB, status int, contentType, retryAfter string, content []byte) *Vendor {
	header := http.Header{}
	for name, value := range map[string]string{"Content-Type": contentType, "Retry-After": retryAfter} {
		if value != "" && httpguts.ValidHeaderFieldValue(value) {
			header.Set(name, value)
		}
	}
	return &Vendor{t: t, Status: status, Header: header, Bodies: bytes.Split(content, []byte(Next)), Most: 300}
}

// Next stands between two bodies for [Of].
const Next = "\x00"

// RoundTrip answers.
func (v *Vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	for name, values := range r.Header {
		if slices.ContainsFunc(values, func(value string) bool { return !httpguts.ValidHeaderFieldValue(value) }) {
			return nil, errors.New("net/http: invalid header field value for " + name)
		}
	}
	body, err := v.next(r.Header)
	if err != nil {
		return nil, err
	}
	status := v.Status
	if status < 200 || status > 999 {
		status = http.StatusOK
	}
	return &http.Response{
		Status: http.StatusText(status), StatusCode: status, Header: v.Header.Clone(), Request: r,
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}, nil
}

// Silent fails the test if what was made of the last answer holds a secret that the call carried in its headers.
func (v *Vendor) Silent(err error, secrets ...string) {
	v.t.Helper()
	for _, secret := range secrets {
		if v.sent(secret) {
			Sound(v.t, err, secret)
		}
	}
}

func (v *Vendor) sent(secret string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	request := http.Request{Header: v.last}
	if _, password, ok := request.BasicAuth(); ok && password == secret {
		return true
	}
	for _, values := range v.last {
		if slices.Contains(values, secret) || slices.Contains(values, "Bearer "+secret) {
			return true
		}
	}
	return false
}

func (v *Vendor) next(header http.Header) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last = header
	if v.calls++; v.calls > v.Most {
		v.t.Errorf("more than %d calls", v.Most)
		return nil, errors.New("no more answers")
	}
	return v.Bodies[(v.calls-1)%len(v.Bodies)], nil
}

// BodyLimit is that of [Vendor.Client]: small, so that what is larger is met.
const BodyLimit = 8 << 10

// Client makes a client of the vendor, whose base URL ends in path.
func (v *Vendor) Client(path string) *outbound.Client {
	v.t.Helper()
	c, err := outbound.New(outbound.Options{
		Vendor: "vendor", BaseURL: "https://vendor.example" + path, Transport: v, BodyLimit: BodyLimit, Timeout: 10 * time.Second,
	})
	if err != nil {
		v.t.Fatal(err)
	}
	return c
}

// classes are all that a client may give.
var classes = []fault.Class{
	fault.Invalid, fault.Refused, fault.Person, fault.Transient, fault.NotYet, fault.Unknown, fault.Busy, fault.Throttled, fault.Down,
	fault.Unauthorized, fault.Forbidden,
}

// longest is more than any text of ours with the vendor's words in it.
const longest = 2000

// Sound fails the test unless an error, if it is one, keeps what every fault of a client promises: a class that says what
// is to be done, a wait within bounds, and a text that is fit for a header and a log and holds none of what is personal.
func Sound(t testing.TB, err error, personal ...string) {
	t.Helper()
	if err == nil {
		return
	}
	f := fault.From(err)
	if !slices.Contains(classes, f.Class) {
		t.Errorf("class %q of %q", f.Class, err)
	}
	if f.After < 0 || f.After > 24*time.Hour {
		t.Errorf("to wait for %s", f.After)
	}
	text := err.Error()
	if f.Reason == "" || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) || utf8.RuneCountInString(text) > longest {
		t.Errorf("unfit for a header: %q", text)
	}
	for _, p := range personal {
		if strings.Contains(strings.ToLower(text), strings.ToLower(p)) {
			t.Errorf("%q is in %q", p, text)
		}
	}
}
