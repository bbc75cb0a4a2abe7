package bus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/parallel"
)

// Waves says which events are handled together, where a vendor takes many things in one call.
type Waves struct {
	// Key gives the same text for events that may go together, and an empty one for an event that [Consumer].Handle
	// handles by itself. Events of different types never go together. It must be quick and must not block.
	Key func(event.Event) string
	// Handle handles a wave, which may be of one event, and returns an error or nil for each, in order, with the same
	// meaning as for a [Handler].
	Handle func(ctx context.Context, wave []event.Event) []error
	// Max is the most events of a wave, default 1000. Up to Parallel+1 waves of them are in hand at a time, which the
	// durable's MaxAckPending must allow.
	Max int
	// Quiet ends the gathering when nothing has come for so long and the broker has nothing more waiting. Default 250 ms.
	Quiet time.Duration
	// Wait ends it in any case. Default 5 s.
	Wait time.Duration
	// Parallel is how many waves are handled at a time, default 2. While all are, the waves in waiting grow.
	Parallel int
	// Few is the size below which a wave does not wait for its turn among the large ones: it is handled as an event by
	// itself is, within [Consumer].Parallel. Default 1, none.
	Few int
	// Timeout of the handling of one wave, default 60 s.
	Timeout time.Duration
	// Before tells which of two goes first while a vendor that was out takes only some of a wave at a time. Nil keeps the
	// order in which they came.
	Before func(a, b event.Event) bool
}

// pendingPatience is how many times Quiet a wave waits for what the broker said is still to come: another replica may
// have got it.
const pendingPatience = 4

// settlers is how many events of a wave are settled at a time.
const settlers = 32

// waves are being gathered, by key.
type waves struct {
	Waves
	workers chan struct{}

	mu        sync.Mutex
	gathering map[string]*wave
}

// wave is what has been gathered under one key.
type wave struct {
	subject    string // of all of them
	deliveries []*delivery
	pending    uint64        // at the broker, when the last one was delivered
	came       chan struct{} // something was added
	full       chan struct{} // closed when nothing more fits
}

func (w *waves) start(settings Waves) {
	w.Waves = settings
	orDefault(&w.Max, 1000)
	orDefault(&w.Quiet, 250*time.Millisecond)
	orDefault(&w.Wait, 5*time.Second)
	orDefault(&w.Parallel, 2)
	orDefault(&w.Timeout, time.Minute)
	w.workers, w.gathering = make(chan struct{}, w.Parallel), map[string]*wave{}
}

func orDefault[T int | time.Duration](v *T, fallback T) {
	if *v <= 0 {
		*v = fallback
	}
}

// room is how many messages waves may hold: those being handled, and one that is gathered meanwhile.
func (w *waves) room() int { return w.Max * (w.Parallel + 1) }

// waveOf gives the key under which a delivery is gathered, or nothing if it is handled by itself.
func (c *Consuming) waveOf(d *delivery) string {
	if c.consumer.Waves == nil || d.decodeErr != nil || d.suspicious() || c.waves.max(d) <= 1 {
		return ""
	}
	var key string
	err := c.guarded(d.event.Type, func() error { key = c.waves.Key(d.event); return nil })
	if err != nil || key == "" {
		return ""
	}
	return fmt.Sprint(d.subject, " ", d.blemishes(), " ", key)
}

// max is the most events that go with this one: fewer each time that something went wrong with it. One of those with which
// it went wrong may be the cause, and must not take the others along again; but a thousand innocents must not go one by
// one for that.
func (w *waves) max(d *delivery) int {
	most := w.Max
	for range d.blemishes() {
		most /= blemishedShare
	}
	return most
}

const blemishedShare = 10

// blemishes is how often the event was in hand when the process ended, or failed. They go apart from events without any.
func (d *delivery) blemishes() int { return d.suspect + d.failed }

// gather adds a delivery to the wave of its key, or begins one.
func (c *Consuming) gather(key string, d *delivery) {
	c.waves.mu.Lock()
	defer c.waves.mu.Unlock()
	w, begun := c.waves.gathering[key]
	if !begun {
		w = &wave{subject: d.subject, came: make(chan struct{}, 1), full: make(chan struct{})}
		c.waves.gathering[key] = w
	}
	w.deliveries, w.pending = append(w.deliveries, d), d.meta.NumPending
	if len(w.deliveries) >= c.waves.max(d) {
		delete(c.waves.gathering, key) // the next one begins another
		close(w.full)
	}
	select {
	case w.came <- struct{}{}:
	default:
	}
	if !begun {
		c.work.Go(func() { c.handleComplete(key, w) })
	}
}

// handleComplete waits until a wave is complete and a worker is free, during which it may still grow, and handles it.
func (c *Consuming) handleComplete(key string, w *wave) {
	c.waves.await(c.handling, w)
	workers := c.waves.workers
	if c.waves.size(w) < c.waves.Few {
		workers = c.gates.of(w.subject).workers
	}
	workers <- struct{}{}
	deliveries := c.waves.seal(key, w)
	c.handleWave(deliveries)
	<-workers
	for _, d := range deliveries {
		c.done(d)
	}
}

func (w *waves) size(one *wave) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(one.deliveries)
}

// await waits for the end of the gathering.
func (w *waves) await(ctx context.Context, one *wave) {
	deadline := time.NewTimer(w.Wait)
	defer deadline.Stop()
	quiet := time.NewTimer(w.quietOf(one))
	defer quiet.Stop()
	for {
		select {
		case <-one.came:
			quiet.Reset(w.quietOf(one))
		case <-quiet.C:
			return
		case <-one.full:
			return
		case <-deadline.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (w *waves) quietOf(one *wave) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if one.pending > 0 {
		return pendingPatience * w.Quiet
	}
	return w.Quiet
}

// seal ends the growth of a wave and gives what is in it.
func (w *waves) seal(key string, one *wave) []*delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gathering[key] == one {
		delete(w.gathering, key)
	}
	return one.deliveries
}

// handleWave handles deliveries together and settles each by its own outcome. When the vendor was out, one goes first,
// then more at a time, in the order of [Waves].Before: what goes alone is quick to find out whether the vendor is back.
func (c *Consuming) handleWave(deliveries []*delivery) {
	for _, d := range deliveries {
		d.fraction = deliveries[0].fraction
	}
	if c.waves.Before != nil && c.gates.of(deliveries[0].subject).rising() {
		_ = c.guarded(deliveries[0].event.Type, func() error { slices.SortStableFunc(deliveries, c.order); return nil }) // else in any order
	}
	for len(deliveries) > 0 {
		part := deliveries
		granted, err := c.admit(deliveries)
		if err == nil {
			part = deliveries[:granted]
		}
		started := time.Now()
		ctx, recorder := activity.Record(c.handling)
		for i, d := range part {
			d.follows = i > 0
			c.trace(d, len(part))
		}
		errs := c.runWave(ctx, part, err)
		parallel.Times(len(part), settlers, func(i int) { c.finish(part[i], errs[i], started) })
		c.bus.metrics.wave.Observe(float64(len(part)))
		c.tell(recorder, started, part...)
		deliveries = deliveries[len(part):]
	}
}

func (c *Consuming) order(a, b *delivery) int {
	switch {
	case c.waves.Before(a.event, b.event):
		return -1
	case c.waves.Before(b.event, a.event):
		return 1
	}
	return 0
}

// runWave runs the handler, unless it must not be run now. It gives one error, or nil, for each delivery.
func (c *Consuming) runWave(ctx context.Context, deliveries []*delivery, err error) []error {
	errs := make([]error, len(deliveries))
	if err == nil {
		ctx, span := c.traceWave(ctx, deliveries)
		defer span.End()
		ctx, cancel := context.WithTimeout(ctx, c.waves.Timeout)
		defer cancel()
		wave := make([]event.Event, len(deliveries))
		for i, d := range deliveries {
			wave[i] = d.event
		}
		var outcomes []error
		err = c.guarded(deliveries[0].event.Type, func() error { outcomes = c.waves.Handle(ctx, wave); return nil })
		if err == nil && len(outcomes) != len(wave) {
			err = fault.New(fault.Transient, "the handler of waves gave %d outcomes for %d events", len(outcomes), len(wave))
		}
		if err == nil {
			return outcomes
		}
	}
	for i := range errs {
		errs[i] = err
	}
	return errs
}
