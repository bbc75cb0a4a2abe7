package effect

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// State of an effect or of one of its steps.
type State string

// The states, in the order in which an effect goes through them.
const (
	Intended  State = "intended"
	Sent      State = "sent"
	Unknown   State = "unknown"
	Confirmed State = "confirmed"
	Rejected  State = "rejected"
)

// Key names an effect: c4c.task/R_1.
type Key struct {
	// Effect is the kind of effect; its first part, up to the dot, is what a service's permissions are bound to.
	Effect string
	// Business is what is unique about it: a response id, a request id.
	Business string
}

// longestKey is the longest business key that stands in the bucket as it is, in bytes: keys are subjects, and a subject
// beyond a few thousand ends the connection of whoever uses it.
const longestKey = 400

// String gives the key as it stands in the bucket: the business key with everything that JetStream does not take in a
// key, and dots, written as =XX; of a very long one the beginning and a digest.
func (k Key) String() string {
	business := escape(k.Business)
	if len(business) > longestKey {
		business = fmt.Sprintf("%s=sha256/%x", business[:longestKey/4], sha256.Sum256([]byte(k.Business)))
	}
	return k.Effect + "/" + business
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '/':
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	return b.String()
}

// Record is what the ledger holds about one effect.
type Record struct {
	State State `json:"state"`
	// EventID and LoopID are of the event that caused it first.
	EventID string `json:"eventId"`
	LoopID  string `json:"loopId"`
	// Since is when the effect was first tried, anew after each time it was given up.
	Since time.Time `json:"since,omitzero"`
	// Wave is the effect that this one is a part of ([Ledger.Enlist]), as long as it is not settled, and About what was
	// enlisted.
	Wave  string `json:"wave,omitempty"`
	About string `json:"about,omitempty"`
	// Owner is the run that holds the record until LeaseUntil.
	Owner      string       `json:"owner,omitempty"`
	LeaseUntil time.Time    `json:"leaseUntil,omitzero"`
	Steps      []StepRecord `json:"steps,omitempty"`
	// Result of the whole effect, once confirmed.
	Result json.RawMessage `json:"result,omitempty"`
	// NotDone is when a person last found that what was sent had not been done; each such word is believed once.
	NotDone time.Time `json:"notDone,omitzero"`
	// Reason for rejected and unknown: nothing personal.
	Reason  string    `json:"reason,omitempty"`
	Changed time.Time `json:"changed"`
}

// StepRecord is what the ledger holds about one step.
type StepRecord struct {
	Name   string          `json:"name"`
	State  State           `json:"state"`
	SentAt time.Time       `json:"sentAt,omitzero"`
	Result json.RawMessage `json:"result,omitempty"`
	// Lost is how often its answer was lost, for a step of [DoMany].
	Lost int `json:"lost,omitempty"`
}

func (r *Record) step(name string) *StepRecord {
	for i := range r.Steps {
		if r.Steps[i].Name == name {
			return &r.Steps[i]
		}
	}
	r.Steps = append(r.Steps, StepRecord{Name: name, State: Intended})
	return &r.Steps[len(r.Steps)-1]
}

// Bucket is what the ledger needs of a [jetstream.KeyValue]. ErrKeyExists and ErrKeyRevisionMismatch are the only
// signs of a lost race; they cover both codes that the broker gives, on one node and on three.
type Bucket interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

// Lease is how long a run keeps a record without a change. Every call of a vendor must end sooner.
const Lease = 20 * time.Second

// busyWait is when to look again while another run holds the record: most end long before their lease.
const busyWait = 2 * time.Second

// Ledger is the effects of one service. It is safe for concurrent use, also by several replicas.
type Ledger struct {
	bucket Bucket
	now    func() time.Time
	ended  *prometheus.CounterVec // nil: nobody counts
}

// New makes a ledger on the bucket.
func New(bucket Bucket) *Ledger { return &Ledger{bucket: patient{bucket}, now: time.Now} }

// WithClock gives a ledger with another clock, for tests of leases.
func (l *Ledger) WithClock(now func() time.Time) *Ledger {
	other := *l
	other.now = now
	return &other
}

// ErrNotFound is returned by Look when nothing is recorded under the key.
var ErrNotFound = errors.New("no such effect")

// Look reads a record. It may be a moment old: never decide on it, only show it. The error is [ErrNotFound] when there
// is none.
func (l *Ledger) Look(ctx context.Context, key Key) (Record, error) {
	r, _, err := l.read(ctx, key)
	return r, err
}

func (l *Ledger) read(ctx context.Context, key Key) (Record, uint64, error) {
	entry, err := l.bucket.Get(ctx, key.String())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return Record{}, 0, ErrNotFound
	}
	if err != nil {
		return Record{}, 0, fmt.Errorf("reading the ledger: %w", err)
	}
	var r Record
	if err := json.Unmarshal(entry.Value(), &r); err != nil {
		return Record{}, 0, unreadable("record "+key.String(), err)
	}
	return r, entry.Revision(), nil
}

// Outcome gives the result of an effect that is confirmed, or false. It may be a moment old, like [Ledger.Look].
func Outcome[T any](ctx context.Context, l *Ledger, key Key) (T, bool) {
	var none T
	record, err := l.Look(ctx, key)
	if err != nil || record.State != Confirmed {
		return none, false
	}
	result, err := ResultOf[T](record)
	return result, err == nil
}

// unreadable is about what stands in the ledger and is none of its own. The text of err may show values, so it is the cause
// alone.
func unreadable(what string, err error) *fault.Fault {
	return &fault.Fault{Class: fault.Person, Reason: "the ledger's " + what + " cannot be read: it is not what this version writes", Err: err}
}

// ResultOf decodes the result of a confirmed record.
func ResultOf[T any](r Record) (T, error) {
	var v T
	if err := json.Unmarshal(r.Result, &v); err != nil {
		return v, unreadable("result", err)
	}
	return v, nil
}

// Run is one attempt at an effect, holding its record.
type Run struct {
	ledger   *Ledger
	key      Key
	owner    string
	record   Record
	revision uint64
	// notDone is when a person found that steps whose answers were lost had not been done.
	notDone time.Time
	// lease that its writes take, if it is not [Lease].
	lease time.Duration
	// found tells that a look found a step done.
	found bool
}

// LoopID is the loop of the event that caused the effect first.
func (r *Run) LoopID() string { return r.record.LoopID }

// SentAt is when a step was sent last or, where its answer was lost, when that was given up. It is zero for one that was
// never sent.
func (r *Run) SentAt(step string) time.Time {
	for _, s := range r.record.Steps {
		if s.Name == step {
			return s.SentAt
		}
	}
	return time.Time{}
}

// Done is a confirmed effect.
type Done[T any] struct {
	Result T
	// LoopID is of the event that caused the effect first: what follows from it belongs to that loop.
	LoopID string
}

// Do runs the effect unless it is already confirmed, and gives its result.
//
// cause is the event in hand. do performs the steps, in an order that does not change between versions, and returns
// the result, which is recorded as JSON. Errors: what do returns; [fault.Busy] while another run holds the record;
// [fault.Transient] when the ledger cannot be reached for 20 seconds. A rejected effect may be tried again: the vendor refused it, so
// there is nothing to repeat. A step whose answer was lost before cause.NotDone, when a person looked and did not find what
// it was to do, is sent again without a look.
func Do[T any](ctx context.Context, l *Ledger, key Key, cause event.Event, do func(context.Context, *Run) (T, error)) (Done[T], error) {
	run, err := l.open(ctx, key, cause)
	if err != nil {
		return Done[T]{}, err
	}
	if run.record.State == Confirmed {
		l.count(key, outcomeRepeated)
		result, err := ResultOf[T](run.record)
		return Done[T]{Result: result, LoopID: run.record.LoopID}, err
	}
	result, err := do(ctx, run)
	if err != nil {
		return Done[T]{}, run.end(ctx, err)
	}
	return Done[T]{Result: result, LoopID: run.record.LoopID}, run.confirm(ctx, result)
}

// open creates the record, or takes it over when its lease has run out. Deciding is the write, never a read.
func (l *Ledger) open(ctx context.Context, key Key, cause event.Event) (*Run, error) {
	run := &Run{ledger: l, key: key, owner: uuid.NewString(), notDone: cause.NotDone}
	run.record = Record{State: Intended, EventID: cause.ID, LoopID: cause.LoopID, Since: l.now().UTC()}
	run.stamp()
	value, err := json.Marshal(run.record)
	if err != nil {
		return nil, err
	}
	run.revision, err = l.bucket.Create(ctx, key.String(), value)
	if err == nil {
		return run, nil
	}
	if !errors.Is(err, jetstream.ErrKeyExists) {
		return nil, unreachable(err)
	}
	return run, run.takeOver(ctx)
}

func (r *Run) takeOver(ctx context.Context) error {
	record, revision, err := r.ledger.existing(ctx, r.key)
	if err != nil {
		return err
	}
	mine := record.Owner == r.owner // our own create, whose answer was lost
	r.record, r.revision = record, revision
	if mine || record.State == Confirmed {
		return nil
	}
	if err := r.held(record); err != nil {
		return err
	}
	if record.Wave != "" {
		return inWave(record.Wave)
	}
	return r.write(ctx, func(record *Record) {
		record.renew(r.ledger.now())
		record.believe(r.notDone)
	})
}

// existing reads a record that could not be created since it is there.
func (l *Ledger) existing(ctx context.Context, key Key) (Record, uint64, error) {
	record, revision, err := l.read(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound): // still on its way through the replicas
		return record, 0, atIt(busyWait)
	case err != nil:
		return record, 0, unreachable(err)
	}
	return record, revision, record.erased()
}

func atIt(after time.Duration) error {
	return &fault.Fault{Class: fault.Busy, Reason: "another worker is at it", After: after, Err: ErrElsewhere}
}

// held tells that another run holds the record.
func (r *Run) held(record Record) error {
	if left := record.LeaseUntil.Sub(r.ledger.now()); left > 0 && record.Owner != "" {
		return atIt(min(left, busyWait))
	}
	return nil
}

// renew makes a record ready for another try.
func (record *Record) renew(now time.Time) {
	if record.State == Rejected {
		// From the beginning: what is asked for may have been mended, and steps of the refused request, such as
		// another person's contact, must not be taken for it.
		record.State, record.Reason, record.Steps = Intended, "", nil
	}
	if record.Since.IsZero() {
		record.Since = now.UTC()
	}
}

// believe takes steps whose answers were lost before a person looked for them in the vendor's system, and found nothing,
// for not sent. What was sent after that look nobody has looked for, by whatever clock: so the word counts once.
func (record *Record) believe(notDone time.Time) {
	if !notDone.After(record.NotDone) {
		return
	}
	record.NotDone = notDone
	for i := range record.Steps {
		if s := &record.Steps[i]; (s.State == Sent || s.State == Unknown) && s.SentAt.Before(notDone) {
			s.State = Intended
		}
	}
	if record.State == Unknown && !record.unsettled() {
		record.State, record.Reason = Intended, ""
	}
}

// write changes the record and renews the lease. Losing the race means that another run has it.
func (r *Run) write(ctx context.Context, change func(*Record)) error {
	ctx, cancel := lasting(ctx)
	defer cancel()
	change(&r.record)
	r.stamp()
	value, err := json.Marshal(r.record)
	if err != nil {
		return err
	}
	for {
		revision, err := r.ledger.bucket.Update(ctx, r.key.String(), value, r.revision)
		if err == nil {
			r.revision = revision
			return nil
		}
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return unreachable(err)
		}
		// Our own update whose answer was lost looks like somebody else's.
		current, revision, readErr := r.ledger.read(ctx, r.key)
		switch {
		case readErr == nil && current.Owner == r.owner && current.Changed.Equal(r.record.Changed):
			r.revision = revision
			return nil
		case readErr == nil && revision <= r.revision, errors.Is(readErr, ErrNotFound):
			// A replica that is behind has answered, or an update is on its way through the replicas and may be ours: what it
			// comes to is not known yet.
			if !pause(ctx, tryAgain) {
				return unreachable(err)
			}
			continue
		case readErr != nil:
			return unreachable(readErr)
		}
		return &fault.Fault{Class: fault.Busy, Reason: "another worker took it over", After: time.Second, Err: errTaken{}}
	}
}

// ErrElsewhere is wrapped by the [fault.Busy] that says that another run has the record, or has taken it over.
var ErrElsewhere = errors.New("another run has the record")

// errTaken says that the record is another run's now, and must not be given back by this one.
type errTaken struct{}

func (errTaken) Error() string { return "the record was taken over" }
func (errTaken) Unwrap() error { return ErrElsewhere }

func (r *Run) stamp() {
	now := r.ledger.now().UTC()
	r.record.Owner, r.record.LeaseUntil, r.record.Changed = r.owner, now.Add(cmp.Or(r.lease, Lease)), now
}

func (r *Run) confirm(ctx context.Context, result any) error {
	value, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("recording the result: %w", err)
	}
	err = r.write(ctx, func(record *Record) {
		record.State, record.Result, record.Reason = Confirmed, value, ""
	})
	switch {
	case err != nil: // another run has it, or will
	case r.found:
		r.ledger.count(r.key, outcomeFound)
	default:
		r.ledger.count(r.key, string(Confirmed))
	}
	return err
}

// end gives the record back, with what is known.
func (r *Run) end(ctx context.Context, cause error) error {
	f := fault.From(cause)
	if errors.Is(cause, errTaken{}) {
		return cause
	}
	err := r.release(ctx, func(record *Record) {
		record.Reason = f.Error()
		if f.Class.Final() {
			record.Since = time.Time{} // whoever replays it begins to wait anew
		}
		switch {
		case f.Class == fault.Refused || f.Class == fault.Invalid:
			record.State = Rejected
		case record.unsettled():
			record.State = Unknown
		default:
			record.State = Intended
		}
	})
	if err == nil {
		r.ledger.count(r.key, r.outcome(f.Class))
	}
	if err != nil && !fault.Is(err, fault.Busy) {
		return errors.Join(cause, err)
	}
	return cause
}

// release writes without keeping the lease, so that the next run need not wait for it.
func (r *Run) release(ctx context.Context, change func(*Record)) error {
	return r.write(ctx, func(record *Record) {
		change(record)
		r.owner = ""
	})
}

func (r *Record) unsettled() bool {
	for _, s := range r.Steps {
		if s.State == Sent || s.State == Unknown {
			return true
		}
	}
	return false
}

func unreachable(err error) error {
	if _, ok := errors.AsType[*fault.Fault](err); ok {
		return err
	}
	return &fault.Fault{Class: fault.Transient, Reason: "the ledger cannot be reached: " + err.Error(), Err: err}
}
