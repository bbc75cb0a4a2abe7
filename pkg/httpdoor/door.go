// Package httpdoor is the HTTP side of every service: routes with credentials, limits and time-outs, bodies that become
// messages, errors as application/problem+json, health and metrics. It is the only package that knows the web framework.
//
// A handler sees a [Request] and returns a [Response] or an error; what an error means to the caller is decided in one
// place (see [Problem]). Each request makes one log line, without anything that a caller sent but its method.
package httpdoor

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/tracing"
)

// Options are what a door needs to know. Zero values are the defaults.
type Options struct {
	// Name is the service, as it stands in challenges and metrics. Default: closeloop.
	Name string
	// Credentials open [Guarded] routes. Without any, nothing does.
	Credentials Credentials
	// TLS gives the configuration of a new connection. Default: plain HTTP.
	TLS func() *tls.Config
	// Limits keep callers from taking more than their share.
	Limits Limits
	// BodyLimit is the largest body in bytes; a larger one is answered 413. Default: 1 MiB. A route may differ.
	BodyLimit int64
	// RequestTimeout ends the context of a handler, later by what Prefer: wait asks for. Default: 30 s.
	RequestTimeout time.Duration
	// Grace is how long [Door.Serve] lets requests finish before it cuts them off. Default: RequestTimeout.
	Grace time.Duration
	// Log gets one line a request. Default: none.
	Log *slog.Logger
	// Registerer takes the metrics of requests; several doors may share one. Default: none.
	Registerer prometheus.Registerer
	// Tracer makes a span of each request that a handler answers. Default: none.
	Tracer *tracing.Tracer
	// Gatherer is what GET /metrics shows. Default: there is no /metrics.
	Gatherer prometheus.Gatherer
}

// The limits of reading a request and of keeping a connection.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 30 * time.Second
	// openBodyTimeout is left for the body on open routes.
	openBodyTimeout = 5 * time.Second
	idleTimeout     = 2 * time.Minute
	headerLimit     = 64 << 10
	// answerTimeout is left for writing the answer.
	answerTimeout = 10 * time.Second
)

// Door is an HTTP server. Routes are added before it serves.
type Door struct {
	options Options
	echo    *echo.Echo
	guard   guard
	crowd   crowd
	streams *places
	warn    sync.Once
	// routes are the routes by the pattern that echo knows them by.
	routes map[string]route
	// folded gives the paths that are found in any case by their lower case.
	folded  map[string]string
	metrics *prometheus.HistogramVec
	health  health
	// closing ends when Serve begins to close.
	closing context.Context
	close   context.CancelFunc
}

// New makes a door without routes.
func New(options Options) *Door {
	options.Name = orDefault(options.Name, "closeloop")
	options.BodyLimit = orDefault(options.BodyLimit, 1<<20)
	options.RequestTimeout = orDefault(options.RequestTimeout, 30*time.Second)
	options.Grace = orDefault(options.Grace, options.RequestTimeout)
	options.Log = orDefault(options.Log, logging.Discard())
	d := &Door{
		options: options,
		echo:    echo.New(),
		guard:   newGuard(options.Name, options.Credentials, newGuesses(options.Limits.Failures)),
		crowd:   newCrowd(options.Limits),
		streams: newPlaces(streamsMost, streamsEach),
		routes:  map[string]route{},
		folded:  map[string]string{},
		metrics: newMetrics(options.Registerer),
	}
	d.closing, d.close = context.WithCancel(context.Background())
	d.echo.Use(d.observe, d.certified)
	return d
}

func orDefault[T comparable](value, standard T) T {
	var zero T
	if value == zero {
		return standard
	}
	return value
}

// Access says who may use a route.
type Access int

const (
	// Guarded routes ask for credentials. It is the zero value.
	Guarded Access = iota
	// Open routes let everybody in; the handler may check something else, as a signature.
	Open
)

// Handler answers a request. Its context ends with the time of the request. A nil response is 204.
type Handler func(ctx context.Context, r *Request) (*Response, error)

// route is what is known about a route.
type route struct {
	// pattern is the path as it was given to Handle or Mount.
	pattern    string
	methods    []string
	bodyLimit  int64
	ignoreCase bool
	quiet      bool
	stream     bool
	sameOrigin bool
	guests     Guests
	problems   func(*Request, *Problem) *Response
}

// RouteOption changes one route.
type RouteOption func(*route)

// BodyLimit sets the largest body of the route in bytes.
func BodyLimit(bytes int64) RouteOption { return func(r *route) { r.bodyLimit = bytes } }

// IgnoreCase finds the path in any mix of upper and lower case. The path has no parameters.
func IgnoreCase() RouteOption { return func(r *route) { r.ignoreCase = true } }

// quiet is for what the cluster asks and not a caller: it logs the route's requests as debug, has no limits and needs no
// certificate.
func quiet() RouteOption { return func(r *route) { r.quiet = true } }

// parameter is a step of a path that takes any value.
var parameter = regexp.MustCompile(`\{(\w+)\}`)

// Handle adds a route. A path may have parameters, one a step: /survey/links/{requestId}. HEAD works where GET does.
// It panics when the route is there already, or the path is none: both are mistakes of the program.
func (d *Door) Handle(method, path string, access Access, h Handler, options ...RouteOption) {
	r := d.add(method, path, access, options)
	serve := func(c echo.Context) error { return d.serve(c, r, access, h) }
	d.echo.Add(method, r.echoPattern(), serve)
	if method == http.MethodGet {
		d.echo.Add(http.MethodHead, r.echoPattern(), serve)
	}
}

// Route is one method of a path that a door answers.
type Route struct{ Method, Path string }

// Routes lists what the door answers itself, by path and method, with parameters as they were given to [Door.Handle]. HEAD, which
// works where GET does, is not listed, and neither is what is mounted.
func (d *Door) Routes() []Route {
	var all []Route
	for _, r := range d.routes {
		for _, method := range r.methods {
			all = append(all, Route{method, r.pattern})
		}
	}
	slices.SortFunc(all, func(x, y Route) int {
		return cmp.Or(strings.Compare(x.Path, y.Path), strings.Compare(x.Method, y.Method))
	})
	return all
}

// echoPattern is the pattern as echo writes it.
func (r route) echoPattern() string { return parameter.ReplaceAllString(r.pattern, ":$1") }

// add notes a route.
func (d *Door) add(method, path string, access Access, options []RouteOption) route {
	r := route{pattern: path, bodyLimit: d.options.BodyLimit}
	pattern := r.echoPattern()
	known := d.routes[pattern]
	if !strings.HasPrefix(path, "/") || slices.Contains(known.methods, method) {
		panic(fmt.Sprintf("httpdoor: %s %q is no path or handled already", method, path))
	}
	r.methods = append(known.methods, method)
	for _, option := range options {
		option(&r)
	}
	if r.ignoreCase {
		d.folded[strings.ToLower(path)] = path
	}
	if access == Guarded {
		d.warn.Do(func() { d.guard.warn(d.options.Log) })
	}
	d.routes[pattern] = r
	return r
}

// Mount gives every request below the prefix to h, whatever its method, unless a route of the door takes it. h sees the
// whole path, answers on its own, has no limits of body and time, and its requests end when the door closes.
func (d *Door) Mount(prefix string, h http.Handler) {
	prefix = strings.TrimSuffix(prefix, "/")
	serve := func(c echo.Context) error {
		ctx, cancel := context.WithCancel(c.Request().Context())
		defer cancel()
		defer context.AfterFunc(d.closing, cancel)()
		// A recorder in a test knows no deadlines, which is as good as having none.
		_ = http.NewResponseController(c.Response()).SetWriteDeadline(time.Time{})
		h.ServeHTTP(c.Response(), c.Request().WithContext(ctx))
		return nil
	}
	for _, pattern := range []string{prefix, prefix + "/*"} {
		if pattern != "" {
			d.routes[pattern] = route{pattern: pattern}
			d.echo.RouteNotFound(pattern, serve)
		}
	}
}

// ServeHTTP answers one request.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if path, ok := d.folded[strings.ToLower(r.URL.Path)]; ok {
		r = r.Clone(r.Context())
		r.URL.Path, r.URL.RawPath = path, ""
	}
	d.echo.ServeHTTP(w, r)
}

// Serve answers requests on the listener, which it closes, until ctx ends. Then it takes no more connections, tells
// those who wait (see [Request.Waiting]), and gives requests the grace to finish. The error is why it stopped early, or
// that requests were cut off.
func (d *Door) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           d,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      readTimeout + d.options.RequestTimeout + MaxWait + answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    headerLimit,
		ErrorLog:          slog.NewLogLogger(d.options.Log.Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- d.listen(server, ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("the HTTP door stopped: %w", err)
	case <-ctx.Done():
	}
	d.SetDraining()
	d.close()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.options.Grace)
	defer cancel()
	if err := server.Shutdown(grace); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off after %s: %w", d.options.Grace, err), server.Close())
	}
	return nil
}

func (d *Door) listen(server *http.Server, ln net.Listener) error {
	if d.options.TLS == nil {
		return server.Serve(ln)
	}
	server.TLSConfig = following(d.options.TLS)
	return server.ServeTLS(ln, "", "")
}
