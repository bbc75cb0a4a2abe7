package bus

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// Handler does what an event asks for. It returns nil when that is done, and otherwise an error whose class (pkg/fault)
// says what is to become of the event; it never acknowledges anything itself. It may be called again for an event that
// it has handled, also by another replica at the same time: what it does to vendors goes through pkg/effect.
type Handler func(ctx context.Context, e event.Event) error

// Consumer says how a service handles its events.
type Consumer struct {
	Handle Handler
	// Parallel is how many events are handled at a time for each vendor, and for none, default 8. Events of one loop are handled
	// one after another.
	Parallel int
	// Timeout of one handling, default 60 s.
	Timeout time.Duration
	// Waves, where given, gathers events that are handled together. Nil handles each by itself.
	Waves *Waves
	// Vendors are the systems that the events are for. None given means one, without a name, for all of them.
	Vendors []Vendor
}

// Consuming is a running consumer.
type Consuming struct {
	bus      *Bus
	consumer Consumer
	gates    gates

	work    sync.WaitGroup
	loops   loops
	waves   waves
	keeper  keeper
	keeping sync.Once

	mu       sync.Mutex
	contexts []jetstream.ConsumeContext
	progress progress
	bound    atomic.Bool
	draining atomic.Bool
	failed   atomic.Pointer[error]

	handling context.Context // ends when the grace period of a drain is over
	giveUp   context.CancelFunc
}

// Consume binds to the service's durables on EVENTS and RETRIES and handles what they deliver until Drain. Binding
// happens in the background, for as long as it takes: a service may start before the topology job. [Consuming.Ready]
// says when it is bound.
func (b *Bus) Consume(ctx context.Context, consumer Consumer) *Consuming {
	if consumer.Parallel <= 0 {
		consumer.Parallel = 8
	}
	if consumer.Timeout <= 0 {
		consumer.Timeout = time.Minute
	}
	c := &Consuming{bus: b, consumer: consumer}
	c.handling, c.giveUp = context.WithCancel(context.WithoutCancel(ctx))
	// As many again may wait for a worker as are at work: enough to never wait for the broker, little enough to hand back.
	inHand := 2 * consumer.Parallel
	if consumer.Waves != nil {
		c.waves.start(*consumer.Waves)
		inHand += c.waves.room()
	}
	c.gates = newGates(consumer.Vendors, consumer.Parallel, inHand)
	c.progress.patience = 2 * max(consumer.Timeout, c.waves.Timeout)
	go c.bind(ctx)
	return c
}

// prefetch is what the client may hold beside the messages in hand; prefetchWaves where messages are taken in hand as
// fast as they come.
const (
	prefetch      = 6
	prefetchWaves = 250
)

// Ready is nil while events are being handled.
func (c *Consuming) Ready() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	if !c.bound.Load() {
		return fmt.Errorf("consumer %s is not bound yet", c.bus.service)
	}
	return nil
}

// Live reports a consumer that ended by itself, or has settled nothing for five minutes, or for twice the longest handling where
// that is more, though work waits and no pause is on: only a new start of the process binds it again.
func (c *Consuming) Live() error {
	if err := c.failed.Load(); err != nil {
		return *err
	}
	return c.progress.stuck(time.Now())
}

// Drain stops taking events and waits until those in hand are settled. When ctx ends first, handlers are cancelled and
// what they held is settled as a retry.
func (c *Consuming) Drain(ctx context.Context) {
	c.draining.Store(true)
	c.mu.Lock()
	contexts := c.contexts
	c.contexts = nil
	c.mu.Unlock()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for _, cc := range contexts {
			cc.Drain()
		}
		for _, cc := range contexts {
			<-cc.Closed()
		}
		c.work.Wait()
	}()
	select {
	case <-stopped:
	case <-ctx.Done():
		c.giveUp()
		<-stopped // handlers see the cancellation; what they return is held for later
	}
	c.giveUp()
}

func (c *Consuming) bind(ctx context.Context) {
	for _, stream := range []string{topology.Events, topology.Retries} {
		if !c.bindTo(ctx, stream) {
			return
		}
	}
	c.bound.Store(true)
	go c.observe(c.handling)
	c.bus.log.Info("consumer bound", "durable", c.bus.service, "parallel", c.consumer.Parallel)
}

// bindTo binds to the durable on one stream, waiting for it to exist. It tells whether it did before ctx ended.
func (c *Consuming) bindTo(ctx context.Context, stream string) bool {
	for warned := false; ; warned = true {
		err := c.start(ctx, stream)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if !warned {
			c.bus.log.Warn("waiting for the durable consumer: has the topology job run?", "stream", stream, "durable", c.bus.service, "error", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func (c *Consuming) start(ctx context.Context, stream string) error {
	lookup, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	durable, err := c.bus.js.Consumer(lookup, stream, c.bus.service)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining.Load() {
		return context.Canceled
	}
	// Three signs of life within the broker's patience.
	alive := durable.CachedInfo().Config.AckWait / 3
	c.keeping.Do(func() { go c.keeper.run(c.handling, alive) })
	// Few beyond those in hand: what the client buffers sends no sign of life. One would be too few: the client then
	// misses its next pull now and then, and only a missed heartbeat wakes it, hence the short times too.
	ahead := prefetch
	if c.consumer.Waves != nil {
		ahead = prefetchWaves
	}
	cc, err := durable.Consume(c.receive,
		jetstream.PullMaxMessages(ahead),
		jetstream.PullExpiry(5*time.Second), jetstream.PullHeartbeat(time.Second),
		jetstream.ConsumeErrHandler(c.onConsumeError(stream)))
	if err != nil {
		return err
	}
	c.contexts = append(c.contexts, cc)
	go func() {
		<-cc.Closed()
		if !c.draining.Load() && ctx.Err() == nil {
			c.fail(fmt.Errorf("consumer %s of %s ended: it was deleted or the connection closed for good", c.bus.service, stream))
		}
	}()
	return nil
}

func (c *Consuming) fail(err error) {
	if c.failed.CompareAndSwap(nil, &err) {
		c.bus.log.Error("no more events are handled", "error", err)
	}
}

func (c *Consuming) onConsumeError(stream string) jetstream.ConsumeErrHandlerFunc {
	return func(_ jetstream.ConsumeContext, err error) {
		if errors.Is(err, jetstream.ErrNoHeartbeat) || errors.Is(err, jetstream.ErrNoMessages) {
			c.bus.log.Debug("waiting for the broker", "stream", stream, "error", err)
			return
		}
		c.bus.log.Warn("consuming", "stream", stream, "error", err)
	}
}

// receive takes a message in hand, as soon as there is room. Signs of life keep the broker from giving it to another
// replica meanwhile.
func (c *Consuming) receive(m jetstream.Msg) {
	d, err := c.open(m)
	if err != nil {
		c.bus.log.Error("a message without JetStream metadata cannot be handled", "subject", m.Subject(), "error", err)
		return
	}
	c.keeper.add(d)
	c.gates.of(d.subject).slots <- struct{}{}
	c.bus.metrics.inHand.Inc()
	if !c.loops.join(d) { // else it is handled after the one before it
		c.dispatch(d)
	}
}

// dispatch has the delivery handled, by itself or in a wave, and then those of its loop that came meanwhile.
func (c *Consuming) dispatch(d *delivery) {
	if key := c.waveOf(d); key != "" {
		c.gather(key, d)
		return
	}
	workers := c.gates.of(d.subject).workers
	c.work.Go(func() {
		workers <- struct{}{}
		c.handle(d)
		<-workers
		c.done(d)
	})
}

// done makes room for another message, and for the next of the loop.
func (c *Consuming) done(d *delivery) {
	<-c.gates.of(d.subject).slots
	if next := c.loops.next(d); next != nil {
		c.dispatch(next)
	}
}

func (c *Consuming) handle(d *delivery) {
	started := time.Now()
	ctx, recorder := activity.Record(c.handling)
	c.trace(d, 1)
	c.finish(d, c.attempt(ctx, d), started)
	c.tell(recorder, started, d)
}

// finish settles a delivery and lets go of it.
func (c *Consuming) finish(d *delivery, err error, started time.Time) {
	defer c.bus.metrics.inHand.Dec()
	defer c.keeper.remove(d)
	c.settle(d, err, time.Since(started))
	if d.entered > 0 {
		c.gates.of(d.subject).leave(d.entered)
	}
}

// attempt runs the handler unless the event cannot or must not be handled now.
func (c *Consuming) attempt(ctx context.Context, d *delivery) error {
	if d.decodeErr != nil {
		return d.decodeErr
	}
	if d.suspicious() {
		return errSuspect
	}
	if _, err := c.admit([]*delivery{d}); err != nil {
		return err
	}
	return c.run(ctx, d)
}

// run calls the handler for one event.
func (c *Consuming) run(ctx context.Context, d *delivery) error {
	ctx, cancel := context.WithTimeout(d.within(ctx), c.consumer.Timeout)
	defer cancel()
	return c.guarded(d.event.Type, func() error { return c.consumer.Handle(ctx, d.event) })
}

// admit tells how many of these deliveries, which are of one type, may be handled now, or why none.
func (c *Consuming) admit(deliveries []*delivery) (granted int, err error) {
	if c.draining.Load() {
		return 0, &fault.Fault{Class: fault.Busy, Reason: "handed back: the service is stopping"}
	}
	g := c.gates.of(deliveries[0].subject)
	granted, round, wait := c.enter(g, len(deliveries))
	if granted == 0 {
		f := &fault.Fault{Class: fault.Busy, Vendor: g.vendor.Name, Reason: "waiting for its turn, since the vendor was out until now", After: wait}
		if !g.isOpen() {
			f.Reason, f.Err = "waiting for the vendor to come back", errVendorOut
		}
		return 0, f
	}
	for _, d := range deliveries[:granted] {
		d.entered = round
	}
	return granted, nil
}

// enter passes the gate. Short waits are in hand: to hold what comes meanwhile would push a whole backlog through RETRIES
// every two seconds.
func (c *Consuming) enter(g *gate, wanted int) (granted, round int, wait time.Duration) {
	for {
		granted, round, wait, changed := g.enter(time.Now(), wanted)
		if granted > 0 || wait > turnWait || !g.whole || c.draining.Load() {
			return granted, round, wait
		}
		select {
		case <-c.handling.Done():
			return 0, 0, wait
		case <-changed:
		case <-time.After(wait):
		}
	}
}

// guarded turns a panic into an error, so that one event cannot end the process for all others.
func (c *Consuming) guarded(eventType string, handle func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			c.bus.log.Error("a handler panicked", "type", eventType, "stack", string(debug.Stack()))
			err = fault.New(fault.Transient, "the handler of %s panicked: see the service's log", eventType)
		}
	}()
	return handle()
}
