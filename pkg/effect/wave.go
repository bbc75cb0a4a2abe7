package effect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/fault"
)

// InWaveError is returned by [Do] and [DoMany] for an effect that is part of a wave: whoever runs the wave settles it.
type InWaveError struct {
	// Wave is the business key of the wave's own effect.
	Wave string
}

func (e *InWaveError) Error() string { return "it is part of the wave " + e.Wave }

func inWave(wave string) error {
	return &fault.Fault{Class: fault.Busy, Reason: "it is being made together with others", After: busyWait, Err: &InWaveError{wave}}
}

// Member is one effect that is made as part of a wave, whose steps are those of an effect of its own ([Do]). The member
// has no lease: as long as its record names the wave, nothing but the wave may make it.
type Member struct{ run *Run }

// Place is where an item is enlisted.
type Place struct {
	Wave string
	// About tells what the wave makes for the item, in the wave's own words: whoever goes on with it may have another
	// event in hand that names the same key.
	About string
	// From, if it is not empty, is a wave that the item may be taken out of, because it never makes anything any more.
	From string
}

// Member reads the place of an effect that is part of a wave. It may be a moment old; the error is [ErrNotFound] when
// nothing is recorded.
func (l *Ledger) Member(ctx context.Context, key Key) (*Member, error) {
	run := &Run{ledger: l, key: key}
	var err error
	run.record, run.revision, err = l.read(ctx, key)
	return &Member{run}, err
}

// Enlist makes the item part of a wave, unless it is done, part of another wave or half made by itself: Record tells.
// It is decided on the write.
//
// Errors: [fault.Busy] while a run of the single effect holds the record; [fault.Transient] when the ledger cannot be
// reached, after which the item may be part of the wave.
func (l *Ledger) Enlist(ctx context.Context, item Item, place Place) (*Member, error) {
	run := &Run{ledger: l, key: item.Key}
	run.record = Record{
		State: Sent, EventID: item.Cause.ID, LoopID: item.Cause.LoopID, Since: l.now().UTC(), Wave: place.Wave, About: place.About,
	}
	run.stamp()
	value, err := json.Marshal(run.record)
	if err != nil {
		return nil, err
	}
	m := &Member{run}
	run.revision, err = l.bucket.Create(ctx, item.Key.String(), value)
	if err == nil {
		return m, nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, unreachable(err)
	}
	if run.record, run.revision, err = l.existing(ctx, item.Key); err != nil {
		return nil, err
	}
	if err := run.held(run.record); err != nil {
		return nil, err
	}
	if m.taken(place.From) {
		return m, nil
	}
	return m, run.write(ctx, func(record *Record) {
		record.renew(l.now())
		record.State, record.Wave, record.About, record.Steps = Sent, place.Wave, place.About, nil
	})
}

// taken tells that the item cannot be part of another wave than it is.
func (m *Member) taken(from string) bool {
	r := m.run.record
	switch {
	case r.State == Confirmed:
		return true
	case r.Wave != "":
		return r.Wave != from
	case r.State == Rejected:
		return false // begins anew
	}
	// A run of the single effect has begun it and must end it.
	return slices.ContainsFunc(r.Steps, func(s StepRecord) bool { return s.State != Intended })
}

// Record is the member's record as it was last read or written.
func (m *Member) Record() Record { return m.run.record }

// Confirm ends the member's part in the wave with its result.
func (m *Member) Confirm(ctx context.Context, result any) error {
	value, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("recording the result: %w", err)
	}
	err = m.run.write(ctx, func(record *Record) {
		record.State, record.Result, record.Reason, record.Wave, record.About = Confirmed, value, "", "", ""
	})
	if err == nil {
		m.run.ledger.count(m.run.key, string(Confirmed))
	}
	return err
}

// Leave ends the member's part in the wave without an effect: nothing was made for it, and nothing will be. Trying it
// again may make it by itself or in another wave.
func (m *Member) Leave(ctx context.Context, reason string) error {
	err := m.run.write(ctx, func(record *Record) {
		record.State, record.Wave, record.About, record.Reason = Intended, "", "", reason
	})
	if err == nil {
		m.run.ledger.count(m.run.key, outcomeAgain)
	}
	return err
}

// Mark records a value under the name of a step, where no vendor is asked: how far a run has come. It renews the lease.
func Mark(ctx context.Context, r *Run, name string, value any) error {
	return keep(ctx, r, name, value)
}

// Marked gives what was recorded under the name of a step, or false.
func Marked[T any](r *Run, name string) (T, bool) {
	var v T
	for _, s := range r.record.Steps {
		if s.Name == name && s.State == Confirmed {
			return v, json.Unmarshal(s.Result, &v) == nil
		}
	}
	return v, false
}

// Begun tells whether a step was ever sent, whatever came of it.
func (r *Run) Begun(name string) bool {
	for _, s := range r.record.Steps {
		if s.Name == name {
			return s.State != Intended
		}
	}
	return false
}

// Renew keeps the record for another lease, for a run that waits between its steps.
func (r *Run) Renew(ctx context.Context) error { return r.write(ctx, func(*Record) {}) }
