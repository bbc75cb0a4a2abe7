package httpdoor

import (
	"context"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/event/contract"
)

// The media types of bodies.
const (
	typeJSON      = "application/json"
	typeForm      = "application/x-www-form-urlencoded"
	typeMultipart = "multipart/form-data"
)

// MaxWait is the longest that a caller can ask an answer to wait for.
const MaxWait = 60 * time.Second

// Request is what a caller sent, read whole.
type Request struct {
	// ID names the request in the log and in the answer's X-Request-ID. It is the caller's X-Request-ID where that is
	// plain: letters, digits, dots, dashes, at most 64.
	ID     string
	Method string
	Path   string
	Header http.Header
	Query  url.Values
	// Params are the values of the path's parameters.
	Params map[string]string
	Body   []byte
	// ContentType is the media type of the body in lower case, without parameters.
	ContentType string
	// User is who is calling, where a guarded route was opened with credentials that say so: the user of a password, the
	// client of an access token, the name in a certificate. Empty with an API key, and where everybody is let in.
	User string

	closing context.Context
}

// Param gives a parameter of the path; "" where the route has none of that name.
func (r *Request) Param(name string) string { return r.Params[name] }

// IsForm tells that the body is a form, of either encoding.
func (r *Request) IsForm() bool { return r.ContentType == typeForm || r.ContentType == typeMultipart }

// Wait is how long the caller wants the answer to wait for the outcome: Prefer: wait=N of RFC 7240, in seconds, at most
// [MaxWait]; 0 where it is absent or no number.
func (r *Request) Wait() time.Duration {
	for preference := range strings.FieldsFuncSeq(strings.Join(r.Header.Values("Prefer"), ","), isSeparator) {
		name, value, _ := strings.Cut(preference, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "wait") {
			continue
		}
		seconds, err := strconv.ParseUint(strings.Trim(value, ` "`), 10, 31)
		if err != nil {
			return 0
		}
		return min(time.Duration(seconds)*time.Second, MaxWait)
	}
	return 0
}

func isSeparator(c rune) bool { return c == ',' || c == ';' }

// Waiting gives the context to wait for the outcome in: it ends after [Request.Wait], or when the door begins to close,
// so that a caller who waits gets an answer instead of a broken connection.
func (r *Request) Waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, r.Wait())
	if r.closing == nil {
		return ctx, cancel
	}
	stop := context.AfterFunc(r.closing, cancel)
	return ctx, func() { stop(); cancel() }
}

// Response is what a handler answers.
type Response struct {
	// Status defaults to 200, or 204 without a body.
	Status int
	Header http.Header
	// ContentType defaults to application/json, for bytes to application/octet-stream.
	ContentType string
	// Body is written as it is when it is []byte, by protojson when it is a message, else by encoding/json.
	Body any
}

func (r *Response) encode() (body []byte, contentType string, err error) {
	switch b := r.Body.(type) {
	case nil:
		return nil, r.ContentType, nil
	case []byte:
		return b, orDefault(r.ContentType, "application/octet-stream"), nil
	case proto.Message:
		body, err = contract.Marshal(b)
	default:
		body, err = json.Marshal(b)
	}
	return body, orDefault(r.ContentType, typeJSON), err
}

// admit finds out who is calling, where the route asks.
func (d *Door) admit(c echo.Context, access Access) (caller, error) {
	address := addressOf(c)
	if access == Open {
		return caller{key: address}, nil
	}
	return d.guard.admit(c.Request(), address)
}

// serve answers a request of a route.
func (d *Door) serve(c echo.Context, to route, access Access, h Handler) error {
	who, err := d.admit(c, access)
	if err != nil {
		return err
	}
	if !to.quiet {
		leave, err := d.crowd.enter(access, who.key)
		if err != nil {
			return err
		}
		defer leave()
	}
	r, err := d.read(c, to, access)
	if err != nil {
		return err
	}
	r.User = who.user
	ctx, cancel := context.WithTimeout(c.Request().Context(), d.options.RequestTimeout+r.Wait())
	defer cancel()
	response, err := h(ctx, r)
	if err != nil {
		return err
	}
	return write(c, response)
}

func (d *Door) read(c echo.Context, to route, access Access) (*Request, error) {
	in := c.Request()
	params, err := paramsOf(c)
	if err != nil {
		return nil, err
	}
	body, err := readBody(c, to, access)
	if err != nil {
		return nil, unread(err)
	}
	mediaType, _, err := mime.ParseMediaType(in.Header.Get("Content-Type"))
	if err != nil {
		mediaType = ""
	}
	return &Request{
		ID: c.Response().Header().Get(headerRequestID), Method: in.Method, Path: in.URL.Path, Header: in.Header,
		Query: in.URL.Query(), Params: params, Body: body, ContentType: mediaType, closing: d.closing,
	}, nil
}

// readBody reads the body while it may come: of strangers for a shorter time, as each holds a place that vendors need who
// sign.
func readBody(c echo.Context, to route, access Access) ([]byte, error) {
	body := http.MaxBytesReader(c.Response().Writer, c.Request().Body, to.bodyLimit)
	if access != Open {
		return io.ReadAll(body)
	}
	// A recorder in a test knows no deadlines, which is as good as having none.
	connection := http.NewResponseController(c.Response())
	_ = connection.SetReadDeadline(time.Now().Add(openBodyTimeout))
	read, err := io.ReadAll(body)
	if err == nil { // where there is no body, the server listens for the end of the connection, which must not seem to come
		_ = connection.SetReadDeadline(time.Time{})
	}
	return read, err
}

// paramsOf gives the parameters of the path. echo leaves them escaped where the path was, and lets the last one run over
// slashes.
func paramsOf(c echo.Context) (map[string]string, error) {
	params := map[string]string{}
	for i, name := range c.ParamNames() {
		value := c.ParamValues()[i]
		if strings.Contains(value, "/") {
			return nil, noRoute()
		}
		if c.Request().URL.RawPath != "" {
			var err error
			if value, err = url.PathUnescape(value); err != nil {
				return nil, noRoute()
			}
		}
		params[name] = value
	}
	return params, nil
}

func write(c echo.Context, r *Response) error {
	if r == nil {
		r = &Response{}
	}
	body, contentType, err := r.encode()
	if err != nil {
		return err
	}
	header := c.Response().Header()
	header.Set("Cache-Control", "no-store") // answers are about persons
	header.Set("X-Content-Type-Options", "nosniff")
	for name, values := range r.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	if body == nil {
		return c.NoContent(orDefault(r.Status, http.StatusNoContent))
	}
	return c.Blob(orDefault(r.Status, http.StatusOK), contentType, body)
}
