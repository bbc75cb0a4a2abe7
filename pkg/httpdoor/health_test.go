package httpdoor_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

func TestProbesSayWhichCheckFails(t *testing.T) {
	fine, broken := func() error { return nil }, func() error { return errors.New("no connection") }
	tests := map[string]struct {
		live, ready     func() error
		healthz, readyz int
	}{
		"nothing to check": {nil, nil, 200, 200},
		"all is well":      {fine, fine, 200, 200},
		"not ready":        {fine, broken, 200, 503},
		"not alive":        {broken, fine, 503, 200},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := httpdoor.New(httpdoor.Options{})
			d.Health()
			d.AddCheck("disk", fine, fine)
			d.AddCheck("nats", tt.live, tt.ready)
			for path, want := range map[string]int{"/healthz": tt.healthz, "/readyz": tt.readyz} {
				got := call(t, d, http.MethodGet, path, nil)
				if got.Code != want {
					t.Errorf("%s: %d", path, got.Code)
				}
				if want == 200 {
					if got.Body.String() != `{"status":"ok"}` {
						t.Errorf("%s: %s", path, got.Body)
					}
					continue
				}
				failures := []httpdoor.FieldError{{Field: "nats", Message: "no connection"}}
				if p := got.problem(t); !slices.Equal(p.Errors, failures) {
					t.Errorf("%s: %+v", path, p)
				}
			}
		})
	}
}

func TestDrainingIsNotReadyButAlive(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Health()
	if got := call(t, d, http.MethodHead, "/readyz", nil); got.Code != 200 {
		t.Errorf("not ready at first: %d", got.Code)
	}
	d.SetDraining()
	if got := call(t, d, http.MethodGet, "/readyz", nil); got.problem(t).Status != 503 {
		t.Errorf("readyz: %d", got.Code)
	}
	if got := call(t, d, http.MethodGet, "/healthz", nil); got.Code != 200 {
		t.Errorf("healthz: %d", got.Code)
	}
}

func TestMetricsAreThoseOfTheGatherer(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total"})
	registry.MustRegister(counter)
	counter.Inc()
	d := httpdoor.New(httpdoor.Options{Gatherer: registry})
	d.Health()
	if got := call(t, d, http.MethodGet, "/metrics", nil); got.Code != 200 || !strings.Contains(got.Body.String(), "things_total 1") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	without := httpdoor.New(httpdoor.Options{})
	without.Health()
	if got := call(t, without, http.MethodGet, "/metrics", nil); got.Code != 404 {
		t.Errorf("without gatherer: %d", got.Code)
	}
}

func TestProbesAreLoggedAsDebugUnlessTheyFail(t *testing.T) {
	var log bytes.Buffer
	registry := prometheus.NewRegistry()
	d := httpdoor.New(httpdoor.Options{
		Gatherer: registry,
		Log:      slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	d.Health()
	for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
		log.Reset()
		call(t, d, http.MethodGet, path, nil)
		if got := log.String(); !strings.Contains(got, "level=DEBUG") || !strings.Contains(got, "route="+path) {
			t.Errorf("%s: logged %s", path, got)
		}
	}
	d.AddCheck("nats", nil, func() error { return errors.New("no connection") })
	log.Reset()
	call(t, d, http.MethodGet, "/readyz", nil)
	if got := log.String(); !strings.Contains(got, "level=WARN") || !strings.Contains(got, "nats: no connection") {
		t.Errorf("logged %s", got)
	}
}
