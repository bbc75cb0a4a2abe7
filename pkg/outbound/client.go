package outbound

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/http/httpguts"
	"golang.org/x/time/rate"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/fault"
)

const (
	defaultTimeout   = 15 * time.Second
	defaultParallel  = 4
	defaultBodyLimit = 8 << 20
)

// Options says which vendor a [Client] talks to, and within which limits. Parallel and PerMinute hold for this client,
// those of Limiter for the whole fleet.
type Options struct {
	// Vendor names the vendor in faults and metrics: qualtrics, sap-marketing, sap-sales-cloud, awardco. Required.
	Vendor string
	// BaseURL is what the path of each call is appended to: http or https, without user, query and fragment. Required.
	BaseURL string
	// Timeout limits one call from connecting to the last byte of the answer. Default 15 s. Waiting for a free place or a
	// turn is not part of it; that ends with the caller's context.
	Timeout time.Duration
	// Parallel is how many calls run at once. Default 4.
	Parallel int
	// PerMinute is how many calls start in a minute, evenly spread, so that no window of a minute sees more than one
	// above it. 0 means no limit.
	PerMinute int
	// Limiter keeps the whole fleet within the vendor's limits. Nil means that only the limits of this client hold.
	Limiter Limiter
	// BodyLimit is the longest answer accepted, in bytes. Default 8 MiB.
	BodyLimit int64
	// Transport sends the requests. Default: a copy of [http.DefaultTransport] that keeps Parallel connections open.
	// One that does not report to [net/http/httptrace] makes failed writes count as sent.
	Transport http.RoundTripper
	// Registerer takes the metrics. Clients may share one. Nil means that nothing is exposed.
	Registerer prometheus.Registerer
	// Log gets one line per call at level debug. Nil means none.
	Log *slog.Logger
}

// Call is one request. Nothing of it but Operation appears in faults, logs and metrics.
type Call struct {
	// Operation names what is done, as one of a few constants: "create contact". It is a metric label.
	Operation string
	// Method is the HTTP method. Default GET.
	Method string
	// Path follows the base URL and starts with a slash. It is taken as escaped already.
	Path string
	// Query is encoded per RFC 3986: a space is %20, and $ stays as it is.
	Query url.Values
	// URL is an absolute address in place of base URL, Path and Query, for pages that a vendor names by address. The
	// call's headers go there, so whoever sets it has checked scheme and host.
	URL string
	// Header is sent as it is. What is a credential in it never appears in an error, even where the vendor repeats it.
	Header http.Header
	// Body is what is sent; nil means no body.
	Body []byte
	// ContentType is the media type of Body.
	ContentType string
	// Write marks a change in the vendor's system that is not safe to repeat blindly. Losing its answer is [fault.Unknown].
	Write bool
	// JSON asks for JSON; an answer that is a web page then is no success.
	JSON bool
	// Personal holds texts that must not appear in an error even where the vendor repeats them: names, addresses, answers.
	Personal []string
	// Mute leaves the vendor's words out of faults, but for a code: of a call that is about many people they may name one in a
	// way that Personal does not know.
	Mute bool
	// Grants says that the answer may hold a token, which nobody can mask before it is known: of one that is a fault only what Words
	// finds is repeated.
	Grants bool
	// Expect says that an answer, whatever its status, is one the caller handles: Do gives it without a fault.
	Expect func(Answer) bool
	// InsteadOf tells of an answer without a fault how many calls one by one would have done the same, where that is more than
	// one; [Records] where it is known before. It is for people who look at what was saved.
	InsteadOf func(Answer) int
	// Words takes the vendor's code and message out of an answer that is a fault. Either may be empty. Without words,
	// the fault holds the beginning of a plain body.
	Words func(Answer) (code, message string)
}

// Records is the InsteadOf of a [Call] for n records.
func Records(n int) func(Answer) int { return func(Answer) int { return n } }

// Answer is what the vendor answered.
type Answer struct {
	Status int
	Header http.Header
	// Body is the whole body, or with a status of 300 and above as much of it as arrived within the limit.
	Body []byte

	vendor    string
	operation string
	write     bool
	personal  []string
}

// Client sends calls to one vendor. It is safe for concurrent use.
type Client struct {
	vendor    string
	base      *url.URL
	timeout   time.Duration
	bodyLimit int64
	transport http.RoundTripper
	places    chan struct{}
	pace      *rate.Limiter
	limiter   Limiter
	metrics   *metrics
	log       *slog.Logger
}

// New makes a client. Its errors say which option is wrong.
func New(o Options) (*Client, error) {
	if o.Vendor == "" {
		return nil, errors.New("outbound: no vendor given")
	}
	base, err := parseBase(o.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("outbound: %s: base URL: %w", o.Vendor, err)
	}
	if o.Timeout < 0 || o.Parallel < 0 || o.PerMinute < 0 || o.BodyLimit < 0 {
		return nil, fmt.Errorf("outbound: %s: a limit is negative", o.Vendor)
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("outbound: %s: %w", o.Vendor, err)
	}
	parallel := cmp.Or(o.Parallel, defaultParallel)
	c := &Client{
		vendor:    o.Vendor,
		base:      base,
		timeout:   cmp.Or(o.Timeout, defaultTimeout),
		bodyLimit: cmp.Or(o.BodyLimit, defaultBodyLimit),
		transport: o.Transport,
		places:    make(chan struct{}, parallel),
		pace:      rate.NewLimiter(rate.Inf, 1),
		limiter:   o.Limiter,
		metrics:   m,
		log:       cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
	}
	if o.PerMinute > 0 {
		c.pace.SetLimit(rate.Limit(float64(o.PerMinute) / 60))
	}
	if c.transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = parallel
		c.transport = t
	}
	return c, nil
}

// parseBase keeps the URL itself out of its errors: it may hold a password.
func parseBase(s string) (*url.URL, error) {
	u, err := url.Parse(strings.TrimRight(s, "/"))
	switch {
	case s == "":
		return nil, errors.New("not set")
	case err != nil:
		return nil, errors.New("not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("must start with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.User != nil:
		return nil, errors.New("must not hold a user; set user and password on their own")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("must not hold a query or fragment")
	}
	return u, nil
}

// Vendor gives the vendor's name.
func (c *Client) Vendor() string { return c.vendor }

// BaseURL gives a copy of the base URL, without a slash at its end.
func (c *Client) BaseURL() *url.URL {
	u := *c.base
	return &u
}

// Do sends one call and waits for its answer, first for a free place and for its turn. It sends once. Where there is a
// Limiter, it keeps the fleet from an operation that was refused for quota (429), or put off (503 with Retry-After).
//
// Every error is a [fault.Fault]; [Classify] has the table of answers, and without an answer it is:
//
//	no connection (dial, DNS, TLS)                 Down
//	a write was sent, its answer lost or cut off   Unknown
//	a read ran into the time limit                 Down
//	a read was reset or cut off                    Transient
//	the caller's context ended, nothing was lost   Transient, with the context's error
//	a header cannot be sent, as a broken token     Unauthorized, nothing was sent
//	the fleet's limits left no turn for it soon    Busy, nothing was sent
//
// Where the vendor answered, the answer comes with the fault, and the fault's cause is a [StatusError].
func (c *Client) Do(ctx context.Context, call Call) (*Answer, error) {
	ctx, span := c.startSpan(ctx, call)
	answer, err := c.send(ctx, call, span)
	span.end(answer, err)
	return answer, err
}

func (c *Client) send(ctx context.Context, call Call, span callSpan) (*Answer, error) {
	wanted := time.Now()
	release, err := c.admit(ctx, call)
	if err != nil {
		return nil, err
	}
	defer release()

	span.admitted()
	start := time.Now()
	answer, err := c.exchange(ctx, call)
	took, outcome := time.Since(start), outcomeOf(err)
	c.metrics.observe(c.vendor, call.Operation, outcome, took)
	said := activity.Call{
		Vendor: c.vendor, Operation: call.Operation, At: start.UTC(), Waited: start.Sub(wanted), Took: took, Outcome: outcome, Write: call.Write,
	}
	if err != nil {
		said.Reason = fault.From(err).Reason
	} else if call.InsteadOf != nil {
		said.InsteadOf = call.InsteadOf(*answer)
	}
	if answer != nil {
		said.Status = answer.Status
		c.heed(ctx, call, answer)
	}
	activity.Called(ctx, said)
	c.log.DebugContext(ctx, "vendor call", "vendor", c.vendor, "operation", call.Operation,
		"status", said.Status, "outcome", outcome, "took", took)
	return answer, err
}

// admit takes a place and waits for the pace, in this order: the pace then holds for calls that really start.
func (c *Client) admit(ctx context.Context, call Call) (release func(), err error) {
	select {
	case c.places <- struct{}{}:
	case <-ctx.Done():
		return nil, c.fault(fault.Transient, call, "not sent, the work was ended: %w", ctx.Err())
	}
	fleet, err := c.paced(ctx, call)
	if err != nil {
		<-c.places
		return nil, err
	}
	return func() { fleet(); <-c.places }, nil
}

// paced waits for the pace of this client, then for that of the fleet.
func (c *Client) paced(ctx context.Context, call Call) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, c.fault(fault.Transient, call, "not sent, the work was ended: %w", err)
	}
	if err := c.pace.Wait(ctx); err != nil {
		return nil, c.fault(fault.Transient, call, "not sent, the limit of calls a minute left no time: %w", err)
	}
	if c.limiter == nil {
		return func() {}, nil
	}
	return c.limiter.Admit(ctx, call.Operation)
}

// heed tells the fleet of a refusal for quota (429), or of a time to come back (503).
func (c *Client) heed(ctx context.Context, call Call, a *Answer) {
	if c.limiter == nil {
		return
	}
	after := retryAfter(a.Header, time.Now())
	switch {
	case a.Status == http.StatusTooManyRequests:
		c.limiter.Refused(ctx, call.Operation, after)
	case a.Status == http.StatusServiceUnavailable && after > 0:
		c.limiter.Away(ctx, call.Operation, after)
	}
}

func (c *Client) exchange(ctx context.Context, call Call) (*Answer, error) {
	limited, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	call.Personal = slices.Concat(call.Personal, credentials(call.Header))
	var w wire
	req, err := c.request(w.watch(limited), call)
	if err != nil {
		return nil, err
	}
	// The transport and not an http.Client: no redirects, no cookies, no URL in errors.
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, c.unanswered(ctx, call, w.sent(err), err)
	}
	defer resp.Body.Close()
	body, err := readAtMost(resp.Body, c.bodyLimit)
	if err != nil && resp.StatusCode < 300 {
		return nil, c.unanswered(ctx, call, true, err)
	}
	answer := &Answer{
		Status: resp.StatusCode, Header: resp.Header, Body: body,
		vendor: c.vendor, operation: call.Operation, write: call.Write, personal: call.Personal,
	}
	return answer, c.judge(call, *answer)
}

func (c *Client) request(ctx context.Context, call Call) (*http.Request, error) {
	var body io.Reader
	if call.Body != nil {
		body = bytes.NewReader(call.Body)
	}
	req, err := http.NewRequestWithContext(ctx, call.Method, c.address(call), body)
	if err != nil {
		// The error would show the address.
		return nil, c.fault(fault.Person, call, "method or address of the call is not valid")
	}
	if call.Header != nil {
		req.Header = call.Header.Clone()
	}
	setDefault(req.Header, "User-Agent", "closeloop")
	if call.ContentType != "" {
		req.Header.Set("Content-Type", call.ContentType)
	}
	if call.JSON {
		setDefault(req.Header, "Accept", "application/json")
	}
	for name, values := range req.Header {
		// The transport would refuse it too, and nobody could tell that from a write whose answer was lost.
		if slices.ContainsFunc(values, func(v string) bool { return !httpguts.ValidHeaderFieldValue(v) }) {
			return nil, c.fault(fault.Unauthorized, call, "not sent, the header %s holds what no header can: check the credentials", name)
		}
	}
	return req, nil
}

func setDefault(h http.Header, name, value string) {
	if h.Get(name) == "" {
		h.Set(name, value)
	}
}

// inQuery makes the form encoding of net/url what SAP Gateway is used to: odata-v2.md §7 and §8 show %20 and a bare $.
var inQuery = strings.NewReplacer("+", "%20", "%24", "$")

func (c *Client) address(call Call) string {
	if call.URL != "" {
		return call.URL
	}
	address := c.base.String() + call.Path
	if len(call.Query) > 0 {
		address += "?" + inQuery.Replace(call.Query.Encode())
	}
	return address
}

var errTooLong = errors.New("the answer is longer than the limit")

func readAtMost(r io.Reader, limit int64) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, limit+1))
	if int64(len(body)) > limit {
		return body[:limit], errTooLong
	}
	return body, err
}

// fault makes a fault of this vendor that starts with the operation.
func (c *Client) fault(class fault.Class, call Call, format string, args ...any) *fault.Fault {
	f := fault.New(class, call.Operation+": "+format, args...)
	f.Vendor = c.vendor
	return f
}

// Decode reads the body as JSON into v. Its fault is that of [Answer.Malformed].
func (a *Answer) Decode(v any) error {
	err := json.Unmarshal(a.Body, v)
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // Its own text shows the value.
		return a.Malformed("%s is not of the documented type", cmp.Or(wrong.Field, "the body"))
	}
	return a.Malformed("%s", Redact(err.Error(), a.personal...))
}

// Words is [Words] for a text of this answer: what was personal in the call, or a credential of ours, is masked.
func (a *Answer) Words(s string, limit int) string { return Words(s, limit, a.personal...) }

// Malformed makes the fault for an answer that says success but is not what is documented. After a write that is
// [fault.Unknown], since the write was done; after a read it is [fault.Transient].
func (a *Answer) Malformed(format string, args ...any) *fault.Fault {
	f := a.Fault(fault.Transient, "the answer is not as documented: "+format, args...)
	f.Err = &StatusError{Vendor: a.vendor, Operation: a.operation, Status: a.Status, malformed: true}
	if a.write {
		f.Class = fault.Unknown
	}
	return f
}

// Fault makes a fault about an answer, with its status as a [StatusError]. What the format is given must not be personal.
func (a *Answer) Fault(class fault.Class, format string, args ...any) *fault.Fault {
	return &fault.Fault{
		Class: class, Vendor: a.vendor,
		Reason: a.operation + ": " + fmt.Sprintf(format, args...),
		Err:    &StatusError{Vendor: a.vendor, Operation: a.operation, Status: a.Status},
	}
}
