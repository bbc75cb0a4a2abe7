package bus

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/fault"
)

// Vendor is a system that a service calls for its events. While it is out, throttles or refuses our credentials, those
// events wait and no attempt of theirs is counted.
type Vendor struct {
	// Name as in faults and metrics: qualtrics.
	Name string
	// Types are the events that need it; none means all of the service's. While the vendor of all is out, the service's durables
	// pause for the whole fleet. Where others go on, the events that need it are held one by one.
	Types []string
	// Reach makes a cheap call that changes nothing, to find out whether the vendor is back before any event is risked.
	// An error of a class that says that the vendor is out, transient or busy says that it is not; any other answer is an answer.
	// Every fifth time one event goes whatever the look says: it may be refused where events are not. Nil leaves it to
	// the first event.
	Reach func(context.Context) error
}

const (
	// reachLimit is how long a look may take.
	reachLimit = 15 * time.Second
	// enoughLooks and one event goes.
	enoughLooks = 5
)

// shut closes the gate of a delivery's vendor and gives the time until which the delivery must wait.
func (c *Consuming) shut(ctx context.Context, g *gate, f *fault.Fault) (until time.Time) {
	until, closes := g.shut(time.Now(), f.Class, f.After)
	if closes {
		c.bus.metrics.out(g.vendor.Name, g.outSince())
		c.bus.log.Error("the vendor is out: work waits, nothing is lost", "vendor", f.Vendor, "class", f.Class, "reason", f.Reason,
			"since", stamp(g.outSince()), "until", stamp(until), "waiting", c.waitingText(ctx))
		go c.watch(g)
	}
	c.tellVendor(g, f.Reason)
	c.pauseFleet(ctx, g, until)
	return until
}

// watch opens a closed gate when the vendor is back.
func (c *Consuming) watch(g *gate) {
	for looks := 1; ; looks++ {
		until, class := g.due()
		for ; time.Until(until) > 0; until, class = g.due() { // it may be prolonged meanwhile
			select {
			case <-c.handling.Done():
				return
			case <-time.After(time.Until(until)):
			}
		}
		f := c.reach(g, class)
		if f == nil || looks%enoughLooks == 0 {
			g.open(f == nil)
			c.tellVendor(g, reasonOf(f))
			c.bus.metrics.back(g.vendor.Name) // here, since another replica may get all that comes
			return
		}
		until = g.stillOut(time.Now(), f.Class, f.After)
		c.tellVendor(g, f.Reason)
		ctx, cancel := context.WithTimeout(c.handling, publishTotal)
		c.pauseFleet(ctx, g, until)
		c.bus.log.Warn("the vendor is still out", "vendor", g.vendor.Name, "class", f.Class, "reason", f.Reason,
			"since", stamp(g.outSince()), "until", stamp(until), "waiting", c.waitingText(ctx))
		cancel()
	}
}

// reach looks whether the vendor is back, or gives why it is not. One that throttles is not asked: that would cost a call of
// those that it has too many of.
func (c *Consuming) reach(g *gate, class fault.Class) *fault.Fault {
	if g.vendor.Reach == nil || class == fault.Throttled {
		return nil
	}
	ctx, cancel := context.WithTimeout(c.handling, reachLimit)
	defer cancel()
	err := c.guarded(g.vendor.Name, func() error { return g.vendor.Reach(ctx) })
	if err == nil {
		return nil
	}
	if f := fault.From(err); f.Class.VendorOut() || f.Class == fault.Transient || f.Class == fault.Busy { // Busy: it was not asked
		return f
	}
	return nil
}

// vendorReached notes that a delivery's vendor answered.
func (c *Consuming) vendorReached(d *delivery) {
	g := c.gates.of(d.subject)
	since := g.reached()
	c.tellVendor(g, "")
	if since.IsZero() {
		return
	}
	c.bus.log.Info("the vendor is back: what waits goes out at a rising rate", "vendor", g.vendor.Name,
		"since", stamp(since), "took", time.Since(since).Round(time.Second).String())
}

func (c *Consuming) pauseFleet(ctx context.Context, g *gate, until time.Time) {
	if !g.whole || !g.tellFleet(until) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishAttempt) // what is in hand must be held still
	defer cancel()
	for _, stream := range []string{topology.Events, topology.Retries} {
		if err := c.extendPause(ctx, stream, until); err != nil {
			// Not fatal: this replica's gate is shut, the others will find out by themselves.
			c.bus.log.Warn("pausing the consumer", "stream", stream, "error", err)
		}
	}
}

// extendPause leaves a longer pause that another replica, or a person, has set; two replicas that set theirs in the same moment
// may end with the shorter, and then look sooner.
func (c *Consuming) extendPause(ctx context.Context, stream string, until time.Time) error {
	consumer, err := c.bus.js.Consumer(ctx, stream, c.bus.service)
	if err != nil {
		return err
	}
	if info := consumer.CachedInfo(); info.Paused && time.Now().Add(info.PauseRemaining).After(until) {
		return nil
	}
	_, err = c.bus.js.PauseConsumer(ctx, stream, c.bus.service, until)
	return err
}

// waiting is what is before the service.
type waiting struct {
	// undelivered events, and those in hand of any replica.
	undelivered, inHand int
	// paused tells that a pause is on.
	paused bool
	// durables are what the broker says of each.
	durables []*jetstream.ConsumerInfo
}

func (c *Consuming) waiting(ctx context.Context) (waiting, error) {
	var w waiting
	for _, stream := range []string{topology.Events, topology.Retries} {
		consumer, err := c.bus.js.Consumer(ctx, stream, c.bus.service)
		if err != nil {
			return w, err
		}
		info := consumer.CachedInfo()
		w.durables = append(w.durables, info)
		w.undelivered, w.inHand = w.undelivered+int(info.NumPending), w.inHand+info.NumAckPending
		w.paused = w.paused || info.Paused
	}
	return w, nil
}

// held is how many events wait for their next attempt.
func (c *Consuming) held(ctx context.Context) (int, error) {
	stream, err := c.bus.js.Stream(ctx, topology.Retries)
	if err != nil {
		return 0, err
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(topology.HoldSubject(c.bus.service, "*")))
	if err != nil {
		return 0, err
	}
	return len(info.State.Subjects), nil // one event a subject
}

// waitingText is for a log line, which is written also when the broker cannot be asked.
func (c *Consuming) waitingText(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, publishAttempt)
	defer cancel()
	w, err := c.waiting(ctx)
	if err != nil {
		return "not known: " + err.Error()
	}
	held, err := c.held(ctx)
	if err != nil {
		return "not known: " + err.Error()
	}
	return fmt.Sprint(w.undelivered + w.inHand + held)
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
