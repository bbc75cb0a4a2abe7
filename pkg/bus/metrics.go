package bus

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/event"
)

type metrics struct {
	published   *prometheus.CounterVec
	accepted    *prometheus.CounterVec
	loop        *prometheus.HistogramVec
	handled     *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
	deadLetters *prometheus.CounterVec
	paused      *prometheus.GaugeVec
	pausedSince *prometheus.GaugeVec
	waiting     prometheus.Gauge
	oldest      prometheus.Gauge
	held        prometheus.Gauge
	inHand      prometheus.Gauge
	wave        prometheus.Histogram
	untold      prometheus.Counter
}

func newMetrics(r prometheus.Registerer, service string) *metrics {
	labels := prometheus.Labels{"service": service}
	return &metrics{
		published: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_events_published_total", Help: "Events published, by type and outcome.", ConstLabels: labels,
		}, []string{"type", "outcome"})),
		accepted: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_accepted_total", Help: "Work that a door has stored, by type of the event. Repeats of the same request are not counted.", ConstLabels: labels,
		}, []string{"type"})),
		loop: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "closeloop_loop_seconds",
			Help: "Time from the first event of a loop to this stage, which is the type of the event published. " +
				"Stages after an answer that came back through a vendor are measured from that answer.",
			ConstLabels: labels, Buckets: loopBuckets,
		}, []string{"stage"})),
		handled: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_events_handled_total", Help: "Events handled, by type, outcome and error class.", ConstLabels: labels,
		}, []string{"type", "outcome", "class"})),
		seconds: register(r, prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "closeloop_event_handling_seconds", Help: "Time a handler took.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"type"})),
		deadLetters: register(r, prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_dead_letters_total", Help: "Events put into the dead letters, by error class.", ConstLabels: labels,
		}, []string{"class"})),
		paused: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "closeloop_paused", Help: "1 while the vendor is out and work for it waits.", ConstLabels: labels,
		}, []string{"vendor"})),
		pausedSince: register(r, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "closeloop_paused_since_timestamp_seconds", Help: "Since when the vendor is out, 0 while it is not.", ConstLabels: labels,
		}, []string{"vendor"})),
		waiting: register(r, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "closeloop_events_waiting", Help: "Events before the service: not delivered yet, or in hand of any replica. Held ones are not in it.", ConstLabels: labels,
		})),
		oldest: register(r, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "closeloop_events_oldest_waiting_seconds",
			Help: "How long the oldest event before the service has waited, 0 for none. Held ones are not in it. " +
				"While a pause is on, as far as this replica has seen: the largest of all counts.", ConstLabels: labels,
		})),
		held: register(r, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "closeloop_events_held", Help: "Events that wait in RETRIES for their next attempt. Each replica tells of all.", ConstLabels: labels,
		})),
		inHand: register(r, prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "closeloop_events_in_hand", Help: "Events delivered and not yet settled.", ConstLabels: labels,
		})),
		wave: register(r, prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "closeloop_wave_events", Help: "Events that were handled together.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(1, 4, 8),
		})),
		untold: register(r, prometheus.NewCounter(prometheus.CounterOpts{
			Name: "closeloop_activity_dropped_total", Help: "What was to be told about the service's work, and could not be.", ConstLabels: labels,
		})),
	}
}

// loopBuckets go from a fraction of a second to weeks: an answer takes days.
var loopBuckets = []float64{.1, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600, 30 * 24 * 3600}

// stage notes how far a loop has come with an event that was stored. One that begins a loop is none.
func (m *metrics) stage(e event.Event, now time.Time) {
	if !e.LoopStart.IsZero() {
		m.loop.WithLabelValues(e.Type).Observe(max(0, now.Sub(e.LoopStart).Seconds()))
	}
}

// out and back say whether work for a vendor waits.
func (m *metrics) out(vendor string, since time.Time) {
	m.paused.WithLabelValues(vendor).Set(1)
	m.pausedSince.WithLabelValues(vendor).Set(float64(since.Unix()))
}

func (m *metrics) back(vendor string) {
	m.paused.WithLabelValues(vendor).Set(0)
	m.pausedSince.WithLabelValues(vendor).Set(0)
}

// register gives the collector that is already there when the same one is registered again.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	err := r.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if existing, ok := already.ExistingCollector.(C); ok {
			return existing
		}
	}
	return c
}
