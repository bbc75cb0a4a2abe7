package outbound

import (
	"context"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

// StatusError is the cause of every fault in which the vendor answered.
type StatusError struct {
	Vendor    string
	Operation string
	// Status is the HTTP status. It may be 200 where the body says that something failed.
	Status int
	// Code is the vendor's own code, if it gave one.
	Code string
	// malformed says that the answer was one of success in a form that is not documented.
	malformed bool
}

// Error gives operation, status and code.
func (e *StatusError) Error() string {
	s := fmt.Sprintf("%s: %s: %s", e.Vendor, e.Operation, statusText(e.Status))
	if e.Code != "" {
		s += " (" + e.Code + ")"
	}
	return s
}

// StatusOf gives the HTTP status in err's chain, 0 if the vendor did not answer.
func StatusOf(err error) int {
	if s, ok := errors.AsType[*StatusError](err); ok {
		return s.Status
	}
	return 0
}

// Malformed tells that the vendor answered with success, and that only what it says besides could not be read.
func Malformed(err error) bool {
	s, ok := errors.AsType[*StatusError](err)
	return ok && s.malformed
}

// Classify gives the class of an answer by its status, "" for success:
//
//	status              read          write
//	2xx                 ""            ""
//	3xx                 Unauthorized  Unauthorized   we follow none: base URL or login is wrong, no message is
//	401, 407            Unauthorized  Unauthorized   credentials; never a dead letter
//	403                 Forbidden     Forbidden      rights, to all or to this one record
//	408, 425            Transient     Unknown
//	429                 Throttled     Throttled
//	other 4xx           Refused       Refused        409, 412, 423 too: callers that know better look at StatusError
//	501, 505            Refused       Refused        the vendor has no such call: nothing was done
//	503                 Down          Unknown        a gateway in between says 503 as well
//	other 5xx           Transient     Unknown        a write may have been done: probe first
//
// On top of it, where JSON was asked for, a 2xx web page is Unauthorized, after a write Unknown, and a 404 web page is Down.
func Classify(status int, write bool) fault.Class {
	switch {
	case status >= 200 && status < 300:
		return ""
	case status == http.StatusUnauthorized, status == http.StatusProxyAuthRequired, status < 400:
		return fault.Unauthorized
	case status == http.StatusForbidden:
		return fault.Forbidden
	case status == http.StatusTooManyRequests:
		return fault.Throttled
	case write && mayBeDone(status):
		return fault.Unknown
	case status == http.StatusServiceUnavailable:
		return fault.Down
	case mayBeDone(status):
		return fault.Transient
	default:
		return fault.Refused
	}
}

func mayBeDone(status int) bool {
	switch status {
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	}
	return status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooEarly
}

// judge gives nil for an answer that is no fault.
func (c *Client) judge(call Call, a Answer) error {
	if call.Expect != nil && call.Expect(a) {
		return nil
	}
	class, hint := Classify(a.Status, call.Write), ""
	page := isPage(a)
	switch {
	case class == "" && call.JSON && page && call.Write:
		class, hint = fault.Unknown, "answered a web page: it may have been done" // else the look-up meets the page too
	case class == "" && call.JSON && page:
		class, hint = fault.Unauthorized, "answered a web page: check the base URL and credentials"
	case class == "":
		return nil
	case a.Status == http.StatusNotFound && call.JSON && page:
		class, hint = fault.Down, "answered a web page, as a gateway does that has nobody behind it: check the base URL if it stays so"
	case a.Status < 400:
		hint = "redirects, which is not followed: check the base URL and credentials"
	}
	code, message := words(call, a, page)
	f := a.Fault(class, "%s", join(statusText(a.Status), hint, code, message))
	f.After = retryAfter(a.Header, time.Now())
	f.Err = &StatusError{Vendor: c.vendor, Operation: call.Operation, Status: a.Status, Code: code}
	return f
}

const (
	maxCode    = 64
	maxMessage = 300
	// maxRaw bounds in bytes what Redact has to read, which is more than is said: what is masked gets shorter.
	maxRaw = 16 << 10
)

func words(call Call, a Answer, page bool) (code, message string) {
	if call.Words != nil {
		code, message = call.Words(a)
	}
	if call.Mute {
		return Words(code, maxCode, call.Personal...), "its words are not repeated here, since they may name people"
	}
	if message == "" && !page && !call.Grants {
		message = string(a.Body[:min(len(a.Body), maxRaw+1)])
	}
	return Words(code, maxCode, call.Personal...), Words(message, maxMessage, call.Personal...)
}

// Words makes a vendor's text fit for a fault: on one line, redacted, and at most limit characters long.
func Words(s string, limit int, personal ...string) string {
	return clip(Redact(plain(readable(s)), personal...), limit)
}

// readable is as much of a text as is read. It ends after a whole word, since half an address is not recognised.
func readable(s string) string {
	if len(s) <= maxRaw {
		return s
	}
	s = s[:maxRaw]
	if end := strings.LastIndexAny(s, " \t\r\n\"',;<>"); end > 0 {
		s = s[:end]
	}
	return s + "…"
}

func join(parts ...string) string {
	var filled []string
	for _, p := range parts {
		if p != "" {
			filled = append(filled, p)
		}
	}
	return strings.Join(filled, ": ")
}

func statusText(status int) string {
	return strings.TrimSpace(strconv.Itoa(status) + " " + http.StatusText(status))
}

func isPage(a Answer) bool {
	kind := a.Header.Get("Content-Type")
	if kind == "" {
		kind = http.DetectContentType(a.Body)
	}
	kind, _, _ = mime.ParseMediaType(kind)
	return kind == "text/html" || kind == "application/xhtml+xml"
}

// longestWait bounds Retry-After. A day covers daily quotas (sap-sales-cloud.md, rule 10); more is a mistake.
const longestWait = 24 * time.Hour

// retryAfter reads seconds or an HTTP date; 0 means that the vendor said nothing usable.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	seconds, err := strconv.Atoi(value) // of a number too large it gives the largest
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(max(seconds, 0), int(longestWait/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), longestWait)
	}
	return 0
}

// unanswered makes the fault for a call without a whole answer. ctx is the caller's.
func (c *Client) unanswered(ctx context.Context, call Call, sent bool, err error) *fault.Fault {
	f := c.fault("", call, "%w", err)
	detail := Words(err.Error(), maxMessage, call.Personal...)
	switch {
	case sent && call.Write:
		f.Class, f.Reason = fault.Unknown, "sent, but the answer was lost: "+detail
	case ctx.Err() != nil:
		f.Class, f.Reason, f.Err = fault.Transient, "given up, the work was ended: "+ctx.Err().Error(), ctx.Err()
	case !sent:
		f.Class, f.Reason = fault.Down, "no connection: "+detail
	case isTimeout(err):
		f.Class, f.Reason = fault.Down, fmt.Sprintf("no answer within %s", c.timeout)
	default:
		f.Class, f.Reason = fault.Transient, "the connection broke: "+detail
	}
	f.Reason = call.Operation + ": " + f.Reason
	return f
}

func isTimeout(err error) bool {
	n, ok := errors.AsType[net.Error](err)
	return ok && n.Timeout() || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded)
}

// wire tells whether anything can have reached the vendor. Having a connection counts as sent: when exactly the first
// byte leaves is not observable without races, and a needless probe is cheaper than a second effect.
type wire struct{ asked, connected atomic.Bool }

func (w *wire) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { w.asked.Store(true); w.connected.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { w.connected.Store(true) },
	})
}

func (w *wire) sent(err error) bool {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return false
	}
	return w.connected.Load() || !w.asked.Load()
}
