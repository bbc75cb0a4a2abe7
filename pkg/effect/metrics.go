package effect

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/fault"
)

// What [Ledger.WithMetrics] counts, by how a try of an effect ended.
const (
	// outcomeFound is confirmed, and a look found that an earlier try, or somebody else, had made it.
	outcomeFound = "found"
	// outcomeRepeated had been confirmed before.
	outcomeRepeated = "repeated"
	// outcomePerson waits for a person, outcomeAgain is tried again: nothing is known to have been done.
	outcomePerson = "person"
	outcomeAgain  = "again"
	// The others are states: confirmed, rejected, unknown.
)

// WithMetrics gives a ledger that counts how its effects end (closeloop_effects_total).
func (l *Ledger) WithMetrics(r prometheus.Registerer) *Ledger {
	counted := *l
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "closeloop_effects_total",
		Help: "Tries of effects, by how they ended: confirmed, found (made by an earlier try whose answer was lost), repeated (had been " +
			"confirmed before), rejected by the vendor, unknown (the answer was lost), person (only one can decide), again (nothing was done yet).",
	}, []string{"effect", "outcome"})
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](r.Register(counter)); ok {
		counter, _ = already.ExistingCollector.(*prometheus.CounterVec)
	}
	counted.ended = counter
	return &counted
}

func (l *Ledger) count(key Key, outcome string) {
	if l.ended != nil {
		l.ended.WithLabelValues(key.Effect, outcome).Inc()
	}
}

// outcome is how a try ended with a fault.
func (r *Run) outcome(class fault.Class) string {
	switch {
	case r.record.State != Intended:
		return string(r.record.State)
	case class.Final():
		return outcomePerson
	}
	return outcomeAgain
}
