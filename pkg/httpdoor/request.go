package httpdoor

import (
	"bytes"
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
	// Guest says that one of the [Guests] of the route is calling, whom the door's credentials would not let in.
	Guest bool
	// Encrypted says that nobody could read the request on its way here: it came by TLS, or a trusted proxy says so.
	Encrypted bool

	closing context.Context
	check   func(user, password string) (Guest, error)
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
	// Body is written as it is when it is []byte, by itself when it is an [io.WriterTo], while it is made when it is [Streamed], by
	// protojson when it is a message, else by encoding/json.
	Body any
}

func (r *Response) encode() (body []byte, contentType string, err error) {
	switch b := r.Body.(type) {
	case nil:
		return nil, r.ContentType, nil
	case Streamed:
		return nil, orDefault(r.ContentType, "application/octet-stream"), nil
	case []byte:
		return b, orDefault(r.ContentType, "application/octet-stream"), nil
	case io.WriterTo:
		var written bytes.Buffer
		_, err = b.WriteTo(&written)
		return written.Bytes(), orDefault(r.ContentType, "application/octet-stream"), err
	case proto.Message:
		body, err = contract.Marshal(b)
	default:
		body, err = json.Marshal(b)
	}
	return body, orDefault(r.ContentType, typeJSON), err
}

// admit finds out who is calling, where the route asks.
func (d *Door) admit(c echo.Context, to route, access Access, r *Request) (caller, error) {
	address := d.options.Limits.addressOf(c.Request())
	if access == Open {
		return caller{key: address}, nil
	}
	in := c.Request()
	if to.guests.Known != nil && !d.guard.None && in.Header.Get("Authorization") == "" && in.Header.Get("X-Api-Key") == "" {
		if guest, ok := to.guests.Known(r); ok {
			return caller{user: guest.User, guest: guest.Limited, key: "guest " + guest.User}, nil
		}
	}
	return d.guard.admit(in, address, to.guests.Users)
}

// serve answers a request of a route.
func (d *Door) serve(c echo.Context, to route, access Access, h Handler) error {
	r, err := d.request(c, to)
	if err != nil {
		return err
	}
	if err := d.respond(c, to, access, r, h); err != nil {
		return d.showProblem(c, to, r, err)
	}
	return nil
}

func (d *Door) respond(c echo.Context, to route, access Access, r *Request, h Handler) error {
	if err := checkOrigin(c, to); err != nil {
		return err
	}
	who, err := d.admit(c, to, access, r)
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
	if r.Body, err = readBody(c, to, access); err != nil {
		return unread(err)
	}
	r.User, r.Guest = who.user, who.guest
	ctx, cancel := context.WithTimeout(c.Request().Context(), d.options.RequestTimeout+r.Wait())
	defer cancel()
	response, err := h(ctx, r)
	if err != nil {
		return err
	}
	return write(c, response)
}

// request is what a caller sent, without its body.
func (d *Door) request(c echo.Context, to route) (*Request, error) {
	in := c.Request()
	params, err := paramsOf(c)
	if err != nil {
		return nil, err
	}
	mediaType, _, err := mime.ParseMediaType(in.Header.Get("Content-Type"))
	if err != nil {
		mediaType = ""
	}
	return &Request{
		ID: c.Response().Header().Get(headerRequestID), Method: in.Method, Path: in.URL.Path, Header: in.Header,
		Query: in.URL.Query(), Params: params, ContentType: mediaType, Encrypted: d.encrypted(in), closing: d.closing,
		check: func(user, password string) (Guest, error) {
			return d.guard.password(attempt{basic: true, user: user, password: password}, d.options.Limits.addressOf(in), to.guests.Users)
		},
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
	if streamed, ok := r.Body.(Streamed); ok {
		header.Set(echo.HeaderContentType, contentType)
		return streamed.send(c, orDefault(r.Status, http.StatusOK))
	}
	if body == nil {
		return c.NoContent(orDefault(r.Status, http.StatusNoContent))
	}
	return c.Blob(orDefault(r.Status, http.StatusOK), contentType, body)
}
