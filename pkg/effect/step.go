package effect

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

// Settle is how long after a write without an answer a probe that finds nothing is believed: the vendor may still be
// at work on it.
const Settle = 10 * time.Second

// Write is one change in a vendor's system.
type Write[T any] struct {
	// Send makes the change. Its error's class says what is known: Refused or Invalid, nothing was done and never will
	// be; Transient, Throttled, Down, Unauthorized, Forbidden, NotYet or Busy, nothing was done yet; anything else, it may have been done.
	Send func(context.Context) (T, error)
	// Probe finds what an earlier Send did, by a reference that we wrote into it. Nil means that it cannot be found:
	// then a lost answer waits for a person, unless Repeatable.
	Probe func(context.Context) (T, bool, error)
	// Repeatable says that sending it again changes nothing more: an update in place.
	Repeatable bool
	// ProbeFirst probes before the first Send as well, where somebody else may have done it.
	ProbeFirst bool
	// Settle is how long after a lost answer a probe that finds nothing is not believed; 0 means [Settle].
	Settle time.Duration
}

// Step performs one write of a run, or gives the result of an earlier run that did. Names of steps are part of the
// ledger and must not change.
func Step[T any](ctx context.Context, r *Run, name string, w Write[T]) (T, error) {
	var zero T
	s := *r.record.step(name)
	switch {
	case s.State == Confirmed:
		var result T
		if err := json.Unmarshal(s.Result, &result); err != nil {
			return zero, unreadable("result of step "+name, err)
		}
		return result, nil
	case s.State == Sent || s.State == Unknown:
		result, found, err := settle(ctx, r, s, w)
		if err != nil || found {
			return result, err
		}
	case w.ProbeFirst && w.Probe != nil:
		result, found, err := w.Probe(ctx)
		if err != nil {
			return zero, err
		}
		if found {
			r.found = true
			return result, keep(ctx, r, name, result)
		}
	}
	return send(ctx, r, name, w)
}

// settle finds out what became of a write whose answer is not recorded. Not found means that it may be sent (again).
func settle[T any](ctx context.Context, r *Run, s StepRecord, w Write[T]) (T, bool, error) {
	var zero T
	if w.Repeatable {
		return zero, false, nil
	}
	if w.Probe == nil {
		return zero, false, fault.New(fault.Person,
			"the answer to step %s of %s was lost and cannot be looked up: find out in the vendor's system whether it was done before replaying", s.Name, r.key.Effect)
	}
	result, found, err := w.Probe(ctx)
	if fault.Is(err, fault.Refused) || fault.Is(err, fault.Invalid) {
		return zero, false, lookUpRefused(r, s.Name, err)
	}
	if err != nil {
		return zero, false, err
	}
	if found {
		r.found = true
		return result, true, keep(ctx, r, s.Name, result)
	}
	return zero, false, r.settling(s, w.Settle)
}

// lookUpRefused is for a person: whether the change was made cannot be found out.
func lookUpRefused(r *Run, step string, err error) error {
	return fault.New(fault.Person,
		"step %s of %s may have been done, its answer was lost, and looking it up is refused: %w", step, r.key.Effect, err)
}

// settling tells that a look-up which found nothing came too soon after the lost answer to be believed.
func (r *Run) settling(s StepRecord, patience time.Duration) error {
	if wait := s.SentAt.Add(cmp.Or(patience, Settle)).Sub(r.ledger.now()); wait > 0 {
		return fault.Later(wait, "the answer to step %s of %s was lost: giving the vendor time before it is looked up again", s.Name, r.key.Effect)
	}
	return nil
}

// callLimit is the longest a call may take: the lease must outlive it, or another run could take over while it is on
// its way.
const callLimit = Lease - 3*time.Second

// sending notes that a write is about to be sent. It is the fence: whoever lost the record finds out here, before
// anything is sent. A note that was long in coming, say while the broker elected a leader, is made again.
func (r *Run) sending(ctx context.Context, step string) error {
	for {
		err := r.write(ctx, func(record *Record) {
			s := record.step(step)
			s.State, s.SentAt, record.State = Sent, r.ledger.now().UTC(), Sent
		})
		if err != nil || r.outlives() || ctx.Err() != nil {
			return err
		}
	}
}

// outlives tells that the lease is longer than a call that begins now.
func (r *Run) outlives() bool { return r.record.LeaseUntil.Sub(r.ledger.now()) > callLimit }

func send[T any](ctx context.Context, r *Run, name string, w Write[T]) (T, error) {
	var zero T
	if err := ctx.Err(); err != nil {
		return zero, fault.New(fault.Transient, "the service is stopping: %w", err)
	}
	if err := r.sending(ctx, name); err != nil {
		return zero, err
	}
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	result, err := w.Send(ctx)
	if err == nil {
		return result, keep(ctx, r, name, result)
	}
	state := Intended
	if !nothingDone(err) {
		state = Unknown
	}
	noted := r.write(ctx, func(record *Record) {
		s := record.step(name)
		s.State, s.SentAt = state, r.ledger.now().UTC() // the time for settling begins when the answer was given up
	})
	if noted != nil && state == Unknown {
		return zero, fmt.Errorf("%w (and noting it failed: %w)", err, noted)
	}
	return zero, err
}

// nothingDone tells the errors of Send that rule out a change at the vendor.
func nothingDone(err error) bool {
	switch c := fault.From(err).Class; c {
	case fault.Refused, fault.Invalid, fault.NotYet, fault.Busy: // Busy: no place within the vendor's limits
		return true
	case fault.Transient:
		return fault.Is(err, fault.Transient) // said so: it never left; an error without a class says nothing
	default:
		return c.VendorOut()
	}
}

func keep(ctx context.Context, r *Run, name string, result any) error {
	value, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("recording the result of step %s: %w", name, err)
	}
	return r.write(ctx, func(record *Record) {
		s := record.step(name)
		s.State, s.Result = Confirmed, value
	})
}
