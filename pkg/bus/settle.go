package bus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// errSuspect stands for a message that was delivered too often without ever being settled.
var errSuspect = fault.New(fault.Busy, "delivered repeatedly without an outcome")

// errVendorOut is the cause why an event was not handled while its vendor is out.
var errVendorOut = errors.New("the vendor is out")

const (
	// suspectLimit rounds in a row that ended without an outcome, and the event is taken for what ends the process. So many,
	// since a process may also be killed every few seconds for reasons of its own.
	suspectLimit = 10
	// shortestHold is what a schedule can do: anything sooner fires then.
	shortestHold = 250 * time.Millisecond
	// nakDelay is the fallback while not even a retry can be stored: it keeps its slot, so it must be short.
	nakDelay = 30 * time.Second
)

// settle is the one place that decides what happens to a message.
func (c *Consuming) settle(d *delivery, err error, took time.Duration) {
	// Settling must work while handlers are cancelled, hence a context of its own.
	patience := workPatience
	if c.handling.Err() != nil {
		patience = time.Second // the grace period is over: what cannot be settled now, the broker delivers again
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	f := &fault.Fault{}
	if err != nil {
		f = fault.From(err)
	}
	d.became.Attempt = d.attempts + 1
	var outcome string
	var delay time.Duration
	switch {
	case err == nil:
		c.vendorReached(d)
		outcome = activity.Done
		d.attempts++
		err = c.ack(ctx, d)
	case f.Class == fault.Erased:
		outcome = activity.Erased
		d.attempts++
		err = c.ack(ctx, d)
	case errors.Is(err, errSuspect):
		outcome, delay, err = c.settleSuspect(ctx, d)
	case f.Class.Final():
		if f.Class == fault.Refused {
			c.vendorReached(d)
		}
		outcome = activity.DeadLetter
		d.attempts++
		err = c.deadLetter(ctx, d, f.Class, f)
	case f.Class.VendorOut(), f.Class == fault.Unknown && c.vendorLost(d):
		outcome, delay, err = c.pause(ctx, d, f)
	case f.Class == fault.Busy:
		outcome, delay = activity.Held, max(f.After, time.Second)
		if errors.Is(err, errVendorOut) {
			outcome = activity.Paused
		}
		err = c.hold(ctx, d, delay, f.Class)
	default:
		if f.Class == fault.NotYet {
			c.vendorReached(d)
		}
		outcome, delay, err = c.retry(ctx, d, f)
	}
	if err != nil {
		outcome, delay = activity.NotSettled, nakDelay
		c.bus.log.Error("settling failed, the broker will deliver again", "type", d.event.Type, "loopId", d.event.LoopID, "error", err)
		_ = d.msg.NakWithDelay(nakDelay) // lost with the connection: then the broker delivers again after AckWait
	} else {
		c.progress.note(time.Now())
	}
	c.report(d, f, outcome, took, delay)
	d.note(f, outcome, delay)
}

// report writes the one line, and counts, for this attempt.
func (c *Consuming) report(d *delivery, f *fault.Fault, outcome string, took, delay time.Duration) {
	level := slog.LevelInfo
	attrs := []any{
		"type", d.subject, "loopId", d.event.LoopID, "eventId", d.event.ID,
		"attempts", d.attempts, "outcome", outcome, "took", took.Round(time.Microsecond).String(),
	}
	if f.Class != "" {
		attrs = append(attrs, "class", f.Class, "reason", f.Error())
		if f.Class != fault.NotYet && f.Class != fault.Busy { // nothing is wrong with waiting
			level = slog.LevelWarn
		}
	}
	if delay > 0 {
		attrs = append(attrs, "next", delay.Round(time.Millisecond).String())
	}
	c.bus.log.Log(d.within(context.Background()), level, "event.handled", attrs...)
	d.endTrace(f, outcome, delay.Seconds())
	label := d.label()
	c.bus.metrics.handled.WithLabelValues(label, outcome, string(f.Class)).Inc()
	c.bus.metrics.seconds.WithLabelValues(label).Observe(took.Seconds())
}

// ack waits for the broker's word, since the plain form says nothing when it gets lost.
func (c *Consuming) ack(ctx context.Context, d *delivery) error {
	for {
		try, cancel := context.WithTimeout(ctx, publishAttempt)
		err := d.msg.DoubleAck(try)
		cancel()
		if err == nil || errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(publishAgain): // said into a dead connection, or to a leader that is gone
		}
	}
}

// retry holds the event until its next attempt, or puts it into the dead letters after the last.
func (c *Consuming) retry(ctx context.Context, d *delivery, f *fault.Fault) (string, time.Duration, error) {
	d.attempts++
	d.suspect = 0 // it was run, and the process lives
	if f.Class != fault.NotYet {
		d.failed++
	}
	delay, again := retryDelay(d.attempts, d.fraction)
	if f.Class == fault.NotYet && f.After > 0 {
		// The handler knows when, and ends it by itself when that is too late. A day is the most for it too.
		delay, again = f.After, again || time.Since(d.origin.Time) < allDelays
	}
	if !again {
		return activity.DeadLetter, 0, c.deadLetter(ctx, d, fault.Exhausted, f)
	}
	delay = max(delay, f.After)
	return activity.Retry, delay, c.hold(ctx, d, delay, f.Class)
}

// settleSuspect holds a message that may be ending the process, apart from its innocent neighbours.
func (c *Consuming) settleSuspect(ctx context.Context, d *delivery) (string, time.Duration, error) {
	d.suspect++
	if d.suspect >= suspectLimit {
		f := fault.New(fault.Person, "was in hand %d times or more when the service ended; look at the service's log before replaying it", suspectAfter+(suspectLimit-1)*suspectAgain)
		return activity.DeadLetter, 0, c.deadLetter(ctx, d, f.Class, f)
	}
	delay := suspectDelay(d.suspect)
	return activity.Suspect, delay, c.hold(ctx, d, delay, fault.Busy)
}

// pause keeps the fleet from the vendor until it may be asked again, and holds the event until then.
func (c *Consuming) pause(ctx context.Context, d *delivery, f *fault.Fault) (string, time.Duration, error) {
	d.suspect = 0 // it was run, and the process lives
	g := c.gates.of(d.subject)
	// Out for it again, though others came through meanwhile: perhaps for this one alone.
	alone := f.Class == fault.Forbidden || d.out && g.outSince().IsZero()
	until := c.shut(ctx, g, f)
	// A little after the pause's end, spread out.
	delay := time.Until(until) + time.Duration(d.fraction*float64(time.Second))
	if alone { // it must not come back for ever
		d.attempts++
		own, again := retryDelay(d.attempts, d.fraction)
		if !again {
			return activity.DeadLetter, 0, c.deadLetter(ctx, d, fault.Exhausted, f)
		}
		delay = max(delay, own)
	}
	return activity.Paused, delay, c.hold(ctx, d, delay, f.Class)
}

// vendorLost tells that so many answers were lost in a row that the vendor is taken to be out.
func (c *Consuming) vendorLost(d *delivery) bool {
	g := c.gates.of(d.subject)
	if d.follows { // a lost answer of a whole wave is one
		return !g.isOpen()
	}
	return g.lostAnswer()
}

// hold stores a copy that comes back to this service after delay, then acknowledges the message in hand: never the
// other way round.
func (c *Consuming) hold(ctx context.Context, d *delivery, delay time.Duration, class fault.Class) error {
	m := nats.NewMsg(topology.HoldSubject(c.bus.service, holdToken(d.origin)))
	m.Data = d.msg.Data()
	m.Header = own(d.msg.Headers())
	d.describe(m.Header)
	m.Header.Set(HeaderClass, string(class))
	if d.suspect > 0 {
		m.Header.Set(HeaderSuspect, strconv.Itoa(d.suspect))
	}
	if d.failed > 0 {
		m.Header.Set(HeaderFailed, strconv.Itoa(d.failed))
	}
	due := time.Now().Add(max(delay, shortestHold))
	// Written by hand: the client's option cuts to seconds, which would be early.
	m.Header.Set("Nats-Schedule", "@at "+due.UTC().Format(time.RFC3339Nano))
	m.Header.Set("Nats-Schedule-Target", topology.DueSubject(c.bus.service))
	// Of the message in hand, not of event and attempt: a hold that counts no attempt must not repeat its id.
	m.Header.Set(nats.MsgIdHdr, c.inHand(d))
	if _, err := c.bus.storeWithin(ctx, m, workPatience); err != nil {
		if errors.Is(err, nats.ErrMaxPayload) {
			return c.deadLetter(ctx, d, fault.Invalid, fault.New(fault.Invalid, "the event is too large to be held for a retry"))
		}
		return fmt.Errorf("holding the event: %w", err)
	}
	return c.ack(ctx, d)
}

// inHand names the message in hand among those of all services: two may hold the same event at the same time.
func (c *Consuming) inHand(d *delivery) string {
	return fmt.Sprintf("%s:%s:%d", c.bus.service, d.meta.Stream, d.meta.Sequence.Stream)
}

// holdToken names the original in a subject. It is the same at each of its retries, and no two originals share one, as
// they may share an id that somebody gave them.
func holdToken(o event.Origin) string {
	sum := sha256.Sum256([]byte(o.ID()))
	return hex.EncodeToString(sum[:16])
}

// deadLetter stores the original, unchanged, for a person, then ends its delivery.
func (c *Consuming) deadLetter(ctx context.Context, d *delivery, class fault.Class, f *fault.Fault) error {
	m := nats.NewMsg(topology.DeadLetterSubject(c.bus.service))
	m.Data = d.msg.Data()
	m.Header = own(d.msg.Headers())
	d.describe(m.Header)
	m.Header.Set(HeaderReason, headerSafe(f.Error()))
	m.Header.Set(HeaderClass, string(class))
	if f.Field != "" {
		m.Header.Set(HeaderField, headerSafe(f.Field))
	}
	if f.Rule != "" {
		m.Header.Set(HeaderRule, headerSafe(f.Rule))
	}
	m.Header.Set(nats.MsgIdHdr, "dead:"+c.inHand(d))
	_, err := c.bus.storeWithin(ctx, m, workPatience)
	if errors.Is(err, nats.ErrMaxPayload) {
		// With our headers it would not fit. The original stays where the headers say.
		m.Data = nil
		m.Header.Set(HeaderReason, m.Header.Get(HeaderReason)+" (the body is too large for a copy: see "+HeaderStream+" and "+HeaderSequence+")")
		_, err = c.bus.storeWithin(ctx, m, workPatience)
	}
	if err != nil {
		return fmt.Errorf("storing the dead letter: %w", err)
	}
	c.bus.metrics.deadLetters.WithLabelValues(string(class)).Inc()
	// Its reason travels in advisories; the class alone says nothing personal.
	if err := d.msg.TermWithReason(string(class)); err != nil && !errors.Is(err, jetstream.ErrMsgAlreadyAckd) {
		return err
	}
	return nil
}
