package httpdoor

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

const (
	// streamsMost are open at the same time, and streamsEach of one caller: each costs some kilobytes, and a page that is not
	// looked at any more may keep its own.
	streamsMost = 256
	streamsEach = 32
	// heartbeat is how often a stream shows that it is alive while there is nothing to tell.
	heartbeat = 15 * time.Second
	// streamRetry is when to try again while there are too many.
	streamRetry = 30 * time.Second
	// sendTimeout is how long the other side may take to make room for an event.
	sendTimeout = 10 * time.Second
)

// Events sends server-sent events to one caller. It is safe for concurrent use.
type Events struct {
	mu sync.Mutex
	to io.Writer
}

// lineEnds makes all that ends a line in a stream of events the same: what follows it must be data as well.
var lineEnds = strings.NewReplacer("\r\n", "\n", "\r", "\n")

// Send sends an event of that name; its data may have several lines. An error means that nobody listens any more.
func (e *Events) Send(name string, data []byte) error {
	var b bytes.Buffer
	b.WriteString("event: " + name + "\n")
	for line := range strings.Lines(lineEnds.Replace(string(data))) {
		b.WriteString("data: ")
		b.WriteString(strings.TrimSuffix(line, "\n"))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	return e.write(b.Bytes())
}

func (e *Events) write(content []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, err := e.to.Write(content)
	return err
}

// pieces sends an answer piece by piece, each as soon as it is written. The other side has some time to make room for each.
type pieces struct {
	to         io.Writer
	connection *http.ResponseController
}

// inPieces begins to answer, for as long as it takes.
func inPieces(c echo.Context) pieces {
	p := pieces{c.Response(), http.NewResponseController(c.Response())}
	_ = p.connection.SetReadDeadline(time.Time{}) // else the server takes the end of its time for the end of the connection
	return p
}

// Write sends content. A recorder in a test knows no deadlines, which is as good as having none.
func (p pieces) Write(content []byte) (int, error) {
	_ = p.connection.SetWriteDeadline(time.Now().Add(sendTimeout))
	defer func() { _ = p.connection.SetWriteDeadline(time.Time{}) }() // HTTP/2 would end the answer then, written to or not
	n, err := p.to.Write(content)
	if err != nil {
		return n, err
	}
	return n, p.connection.Flush()
}

// Streamed is the body of a [Response] that is made while it is sent, in pieces of a size that is worth a packet. Its context ends
// when the caller goes away, and not before: it may take longer than other answers. What it returns as an error breaks
// the connection, so that nobody takes the half of an answer for the whole.
type Streamed func(ctx context.Context, to io.Writer) error

// brokenError is why an answer was not sent to its end.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// send sends it, after its header.
func (s Streamed) send(c echo.Context, status int) error {
	ctx, to := c.Request().Context(), inPieces(c)
	c.Response().WriteHeader(status)
	if c.Request().Method == http.MethodHead {
		return nil
	}
	if err := s(ctx, to); err != nil {
		return &brokenError{err}
	}
	return nil
}

// Streamer sends events until its context ends: when nobody listens any more, or the door begins to close. It gets a request
// without body. What it returns is the end of the stream, whether it is an error or not.
type Streamer func(ctx context.Context, r *Request, to *Events) error

// Stream adds a route that answers GET with server-sent events for as long as the caller listens, with credentials as
// [Door.Handle]. Streams take no places of requests; there are at most 256, and 32 of one caller, more are answered 503. check is
// asked before the stream begins, so that what is wrong with the request is answered as usual; nil for nothing to check.
func (d *Door) Stream(path string, access Access, check func(*Request) error, s Streamer, options ...RouteOption) {
	r := d.add(http.MethodGet, path, access, append(options, func(r *route) { r.stream = true }))
	serve := func(c echo.Context) error { return d.stream(c, r, access, check, s) }
	d.echo.Add(http.MethodGet, r.echoPattern(), serve)
}

func (d *Door) stream(c echo.Context, to route, access Access, check func(*Request) error, s Streamer) error {
	r, err := d.request(c, to)
	if err != nil {
		return err
	}
	who, err := d.admit(c, to, access, r)
	if err != nil {
		return d.showProblem(c, to, r, err)
	}
	r.User, r.Guest = who.user, who.guest
	if check != nil {
		if err := check(r); err != nil {
			return d.showProblem(c, to, r, err)
		}
	}
	if !d.streams.take(who.key) {
		return Unavailable("too many pages are kept up to date at the same time", streamRetry)
	}
	defer d.streams.free(who.key)
	ctx, cancel := context.WithCancel(c.Request().Context())
	defer cancel()
	defer context.AfterFunc(d.closing, cancel)()
	return open(c).run(ctx, r, s)
}

// open begins the answer.
func open(c echo.Context) *Events {
	header := c.Response().Header()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Accel-Buffering", "no") // proxies must not wait for more
	to := inPieces(c)
	c.Response().WriteHeader(http.StatusOK)
	return &Events{to: to}
}

// run sends until ctx ends or the other side is gone. That it is gone is no error.
func (e *Events) run(ctx context.Context, r *Request, s Streamer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var beating sync.WaitGroup
	defer beating.Wait()
	defer cancel()
	beating.Go(func() {
		if e.write([]byte(": listening\n\n")) != nil { // also sends the headers
			cancel()
		}
		beat := time.NewTicker(heartbeat)
		defer beat.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-beat.C:
				if e.write([]byte(":\n\n")) != nil {
					cancel()
				}
			}
		}
	})
	err := s(ctx, r, e)
	if ctx.Err() != nil {
		return nil
	}
	return err
}
