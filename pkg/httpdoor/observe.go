package httpdoor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
)

const headerRequestID = "X-Request-Id"

// plainID is a request id that may come from a caller: it goes into the log.
var plainID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// observe is around every request: it names it, turns errors and panics into answers, and writes its line and metrics.
func (d *Door) observe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		id := c.Request().Header.Get(headerRequestID)
		if !plainID.MatchString(id) {
			id = rand.Text()
		}
		c.Response().Header().Set(headerRequestID, id)
		span := d.trace(c)
		err := safely(next, c)
		if err != nil && !c.Response().Committed {
			err = answer(c, problemOf(err, id))
		}
		endTrace(span, c.Response().Status)
		d.record(c, id, time.Since(began), err)
		_, panicked := errors.AsType[*panicError](err)
		if _, broken := errors.AsType[*brokenError](err); broken || panicked && c.Response().Status < 400 {
			panic(http.ErrAbortHandler) // half an answer is out: the caller must not take it for a whole one
		}
		return nil
	}
}

// answer sends the problem and gives it back for the log.
func answer(c echo.Context, p *Problem) error {
	if err := writeProblem(c, p); err != nil {
		return errors.Join(p, err)
	}
	return p
}

// panicError is a handler's panic.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// safely turns a panic into an error.
func safely(next echo.HandlerFunc, c echo.Context) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &panicError{value: value, stack: debug.Stack()}
		}
	}()
	return next(c)
}

// record writes the line and the metrics of a request.
func (d *Door) record(c echo.Context, id string, took time.Duration, err error) {
	to, status, method := d.routes[c.Path()], c.Response().Status, methodOf(c.Request())
	pattern := orDefault(to.pattern, "unmatched")
	if d.metrics != nil && !to.stream { // how long somebody listened says nothing of the door
		d.metrics.WithLabelValues(d.options.Name, pattern, method, strconv.Itoa(status)).Observe(took.Seconds())
	}
	level := levelOf(to, status, err)
	attrs := []slog.Attr{
		slog.String("method", method), slog.String("route", pattern), slog.Int("status", status),
		slog.String("took", took.Round(time.Microsecond).String()), slog.String("requestId", id),
	}
	if err != nil && level >= slog.LevelWarn {
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	if p, ok := errors.AsType[*panicError](err); ok {
		attrs = append(attrs, slog.String("stack", string(p.stack)))
	}
	d.options.Log.LogAttrs(c.Request().Context(), level, "request", attrs...)
}

func levelOf(to route, status int, err error) slog.Level {
	switch {
	case status < 400 && errors.Is(err, context.Canceled): // who asked has gone away in the middle of the answer
		return slog.LevelInfo
	case status == http.StatusInternalServerError, err != nil && status < 400:
		return slog.LevelError
	case status > http.StatusInternalServerError:
		return slog.LevelWarn
	case to.quiet:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// methods are those that may become labels; callers can send any word.
var methods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodOptions, "MERGE",
}

func methodOf(r *http.Request) string {
	if slices.Contains(methods, r.Method) {
		return r.Method
	}
	return "other"
}

// newMetrics registers the durations of requests, or finds them where another door did.
func newMetrics(with prometheus.Registerer) *prometheus.HistogramVec {
	if with == nil {
		return nil
	}
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "closeloop_http_request_duration_seconds",
		Help:    "Time from the request to the end of its answer.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 90},
	}, []string{"door", "route", "method", "status"})
	err := with.Register(durations)
	if there, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		return there.ExistingCollector.(*prometheus.HistogramVec)
	}
	if err != nil {
		panic(fmt.Sprintf("httpdoor: registering metrics: %v", err))
	}
	return durations
}
