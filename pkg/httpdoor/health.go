package httpdoor

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// health is what the probes ask.
type health struct {
	draining atomic.Bool
	live     checks
	ready    checks
}

// checks are named questions; an error is a failure.
type checks struct {
	mu    sync.Mutex
	names []string
	ask   []func() error
}

func (c *checks) add(name string, ask func() error) {
	if ask == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names, c.ask = append(c.names, name), append(c.ask, ask)
}

func (c *checks) failures() []FieldError {
	c.mu.Lock()
	names, ask := slices.Clone(c.names), slices.Clone(c.ask)
	c.mu.Unlock()
	var failures []FieldError
	for i, name := range names {
		if err := ask[i](); err != nil {
			failures = append(failures, FieldError{Field: name, Message: err.Error()})
		}
	}
	return failures
}

// Health adds the open routes GET /healthz, GET /readyz and, where there is a Gatherer, GET /metrics. The first two are
// 200, or 503 with the checks that fail.
func (d *Door) Health() {
	d.health.ready.add("draining", func() error {
		if d.health.draining.Load() {
			return errors.New("takes no new work")
		}
		return nil
	})
	d.Handle(http.MethodGet, "/healthz", Open, probe("not alive", &d.health.live), quiet())
	d.Handle(http.MethodGet, "/readyz", Open, probe("not ready", &d.health.ready), quiet())
	if d.options.Gatherer != nil {
		metrics := echo.WrapHandler(promhttp.HandlerFor(d.options.Gatherer, promhttp.HandlerOpts{}))
		d.routes["/metrics"] = route{pattern: "/metrics", methods: []string{http.MethodGet}, quiet: true}
		d.echo.GET("/metrics", metrics)
		d.echo.HEAD("/metrics", metrics)
	}
}

// AddCheck adds what the probes ask: live for /healthz, where a failure means that only a restart helps; ready for
// /readyz, where it means that requests are to go elsewhere. Either may be nil. Checks answer at once, their errors are
// shown to everybody who can reach the probes.
func (d *Door) AddCheck(name string, live, ready func() error) {
	d.health.live.add(name, live)
	d.health.ready.add(name, ready)
}

// SetDraining makes /readyz answer 503 from now on, so that no more requests are sent here.
func (d *Door) SetDraining() { d.health.draining.Store(true) }

func probe(failing string, c *checks) Handler {
	return func(context.Context, *Request) (*Response, error) {
		if failures := c.failures(); len(failures) > 0 {
			return nil, NewProblem(http.StatusServiceUnavailable, failing, failures...)
		}
		return &Response{Body: map[string]string{"status": "ok"}}, nil
	}
}
