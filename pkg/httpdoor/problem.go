package httpdoor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
)

// FieldError is one field that is wrong, by its path in the JSON.
type FieldError = contract.Violation

// Problem is an error as the caller sees it (RFC 9457, application/problem+json). Handlers return one, or:
//
//   - a [fault.Fault]: invalid is 400, refused and person are 422, all other classes 503 with Retry-After
//   - [contract.Violations]: 400
//   - the error of a context that ended: 503
//   - anything else: 500, its text in the log alone
//
// Nothing in it is personal.
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail says what is wrong and what to do.
	Detail string       `json:"detail,omitempty"`
	Errors []FieldError `json:"errors,omitempty"`
	// RetryAfter becomes the header of that name, in whole seconds; 0 leaves it out.
	RetryAfter time.Duration `json:"-"`

	header http.Header
	// cause goes to the log.
	cause error
}

// NewProblem makes the problem of a status.
func NewProblem(status int, detail string, fields ...FieldError) *Problem {
	return &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Errors: fields}
}

// Error gives status, detail and fields as one sentence; with the cause, for the log.
func (p *Problem) Error() string {
	text := fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail)
	if len(p.Errors) > 0 {
		text += ": " + (&contract.Violations{Fields: p.Errors}).Error()
	}
	if p.cause != nil {
		text += ": " + p.cause.Error()
	}
	return text
}

// Because notes the cause for the log. Callers are never told.
func (p *Problem) Because(cause error) *Problem {
	p.cause = cause
	return p
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.cause }

// BadRequest (400): the request is not as it must be.
func BadRequest(detail string, fields ...FieldError) *Problem {
	return NewProblem(http.StatusBadRequest, detail, fields...)
}

// Unauthorized (401): the handler's own check of who is calling failed.
func Unauthorized(detail string) *Problem { return NewProblem(http.StatusUnauthorized, detail) }

// NotFound (404): there is no such thing.
func NotFound(detail string) *Problem { return NewProblem(http.StatusNotFound, detail) }

// Conflict (409): what is asked contradicts what is there.
func Conflict(detail string, fields ...FieldError) *Problem {
	return NewProblem(http.StatusConflict, detail, fields...)
}

// Gone (410): there was such a thing, and it will not be there again.
func Gone(detail string, fields ...FieldError) *Problem {
	return NewProblem(http.StatusGone, detail, fields...)
}

// Unprocessable (422): the request is well-formed but cannot be done.
func Unprocessable(detail string, fields ...FieldError) *Problem {
	return NewProblem(http.StatusUnprocessableEntity, detail, fields...)
}

// Unavailable (503): the same request can be done later, after retryAfter at the earliest.
func Unavailable(detail string, retryAfter time.Duration) *Problem {
	p := NewProblem(http.StatusServiceUnavailable, detail)
	p.RetryAfter = retryAfter
	return p
}

// retryLater is the Retry-After where nobody knows better.
const retryLater = 10 * time.Second

func noRoute() *Problem { return NotFound("there is nothing at this path") }

// unread is the problem of a body that cannot be read.
func unread(err error) *Problem {
	if limit, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return NewProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", limit.Limit))
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return NewProblem(http.StatusRequestTimeout, "the body did not come in time; the same request may be sent again")
	}
	p := BadRequest("the body ends early")
	p.cause = err
	return p
}

// broken is the problem of a body that breaks its contract.
func broken(v *contract.Violations) *Problem {
	if len(v.Fields) == 1 && v.Fields[0].Field == "" {
		return BadRequest(v.Fields[0].Message)
	}
	return BadRequest("the body breaks its contract", v.Fields...)
}

// problemOf decides what an error means to the caller.
func problemOf(err error, requestID string) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	p := mean(err, requestID)
	p.cause = err
	return p
}

func mean(err error, requestID string) *Problem {
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		return ofFault(f)
	}
	if v, ok := contract.AsViolations(err); ok {
		return broken(v)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Unavailable("it took too long; the same request may be sent again", retryLater)
	}
	if e, ok := errors.AsType[*echo.HTTPError](err); ok {
		return ofRouter(e)
	}
	return NewProblem(http.StatusInternalServerError, "something is wrong here; the log says what under request "+requestID)
}

func ofFault(f *fault.Fault) *Problem {
	if v, ok := contract.AsViolations(f); ok && f.Class == fault.Invalid {
		return broken(v)
	}
	reason, fields := f.Reason, []FieldError(nil)
	if f.Vendor != "" {
		reason = f.Vendor + ": " + reason
	}
	if f.Field != "" {
		fields = []FieldError{{Field: f.Field, Message: f.Reason}}
	}
	switch f.Class {
	case fault.Invalid:
		return BadRequest(reason, fields...)
	case fault.Refused, fault.Person:
		return Unprocessable(reason, fields...)
	case fault.Erased:
		return Gone(reason, fields...)
	}
	return Unavailable("it cannot be done now; the same request may be sent again", orDefault(f.After, retryLater))
}

// ofRouter is the problem of a path without route, or without this method.
func ofRouter(e *echo.HTTPError) *Problem {
	switch e.Code {
	case http.StatusNotFound:
		return noRoute()
	case http.StatusMethodNotAllowed:
		return NewProblem(e.Code, "the path does not know this method; the header Allow lists those that it knows")
	}
	return NewProblem(e.Code, "")
}

// headers are those of the answer.
func (p *Problem) headers() http.Header {
	header := http.Header{}
	maps.Copy(header, p.header)
	if p.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	return header
}

// writeProblem answers with a problem.
func writeProblem(c echo.Context, p *Problem) error {
	return write(c, &Response{Status: p.Status, Header: p.headers(), ContentType: "application/problem+json", Body: p})
}
