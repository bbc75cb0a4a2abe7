package outbound

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/fault"
)

type metrics struct {
	calls   *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_vendor_calls_total",
			Help: "Calls sent to a vendor. The outcome is ok or the class of the fault.",
		}, []string{"vendor", "operation", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "closeloop_vendor_call_seconds",
			Help: "Duration of calls to a vendor, without waiting for a free place.",
			// Qualtrics answers in 0.2 to 1.8 s and gives up after 5 (qualtrics.md §2.4, §4.1); our own limit is 15.
			Buckets: []float64{.05, .1, .25, .5, 1, 2, 5, 10, 15, 30},
		}, []string{"vendor", "operation"}),
	}
	if r == nil {
		return m, nil
	}
	var err error
	if m.calls, err = register(r, m.calls); err != nil {
		return nil, err
	}
	m.seconds, err = register(r, m.seconds)
	return m, err
}

// register gives the collector that is in r already, if another client put it there.
func register[C prometheus.Collector](r prometheus.Registerer, collector C) (C, error) {
	err := r.Register(collector)
	if have, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if same, ok := have.ExistingCollector.(C); ok {
			return same, nil
		}
	}
	return collector, err
}

func (m *metrics) observe(vendor, operation, outcome string, took time.Duration) {
	m.calls.WithLabelValues(vendor, operation, outcome).Inc()
	m.seconds.WithLabelValues(vendor, operation).Observe(took.Seconds())
}

func outcomeOf(err error) string {
	if err == nil {
		return "ok"
	}
	return string(fault.From(err).Class)
}
