package bus

import (
	"context"
	"errors"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/event"
)

// Outcome is what became of a loop's event while somebody waited: an event that follows from it, or a dead letter.
type Outcome struct {
	// Event follows from what was waited for; its Data is nil for a dead letter.
	Event event.Event
	// Reason and Field say why it became a dead letter.
	Reason, Field string
	// Dead tells a dead letter.
	Dead bool
}

// Outcomes lets doors wait for what becomes of an event (Prefer: wait). It listens beside JetStream, without a consumer
// of its own, so what it tells is quick but not certain: who hears nothing asks again later.
type Outcomes struct {
	mu      sync.Mutex
	waiting map[string][]chan Outcome // by loop id
	subs    []*nats.Subscription
}

// Outcomes listens on the given subjects; a dead letter's subject is among them.
func (b *Bus) Outcomes(awaited ...string) (*Outcomes, error) {
	o := &Outcomes{waiting: map[string][]chan Outcome{}}
	for _, subject := range awaited {
		sub, err := b.nc.Subscribe(subject, o.hear)
		if err != nil {
			return nil, errors.Join(err, o.Close())
		}
		o.subs = append(o.subs, sub)
	}
	return o, nil
}

// Close stops listening.
func (o *Outcomes) Close() error {
	var errs []error
	for _, sub := range o.subs {
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Expect begins to listen for a loop; do it before publishing. The function waits for the outcome, or gives false
// when ctx ends first; it must be called exactly once.
func (o *Outcomes) Expect(loopID string) (wait func(context.Context) (Outcome, bool)) {
	heard := make(chan Outcome, 1)
	o.mu.Lock()
	o.waiting[loopID] = append(o.waiting[loopID], heard)
	o.mu.Unlock()
	return func(ctx context.Context) (Outcome, bool) {
		defer o.forget(loopID, heard)
		select {
		case outcome := <-heard:
			return outcome, true
		case <-ctx.Done():
			return Outcome{}, false
		}
	}
}

func (o *Outcomes) forget(loopID string, heard chan Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	left := o.waiting[loopID][:0]
	for _, ch := range o.waiting[loopID] {
		if ch != heard {
			left = append(left, ch)
		}
	}
	if len(left) == 0 {
		delete(o.waiting, loopID)
		return
	}
	o.waiting[loopID] = left
}

func (o *Outcomes) hear(m *nats.Msg) {
	outcome := Outcome{}
	loopID := m.Header.Get(HeaderLoopID)
	if loopID != "" {
		outcome = Outcome{Dead: true, Reason: m.Header.Get(HeaderReason), Field: m.Header.Get(HeaderField)}
	} else {
		e, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{})
		if err != nil {
			return // whoever consumes it will say what is wrong
		}
		loopID, outcome.Event = e.LoopID, e
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, heard := range o.waiting[loopID] {
		select {
		case heard <- outcome:
		default: // already told
		}
	}
}
