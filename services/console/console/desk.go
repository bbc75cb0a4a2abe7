package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/rulebook"
)

// The subjects of OPERATIONS, by what they hold.
const (
	decisionSubject = "deadletter"
	sentSubject     = "sent"
	lookSubject     = "look"
	trySubject      = "try"
)

const (
	// poll is how often the streams are read while nobody asks: metrics and pending replays depend on it.
	poll = time.Second
	// finishAfter is how old a decision is whose replay is published by whoever finds it unsent: whoever made it has
	// given up by then.
	finishAfter = 15 * time.Second
	// finishFor is how long one round of that may take: the streams must be read too.
	finishFor = 5 * time.Second
	// seen is how long to wait until what overtook us can be read, which another replica of the stream may answer.
	seen      = 5 * time.Second
	seenAgain = 20 * time.Millisecond
)

func now() time.Time { return time.Now().UTC() }

// desk is where decisions are made: each is recorded first, on the write, and then carried out.
type desk struct {
	bus                 *bus.Bus
	book                *book
	letters, operations *follower
	called              *aliases
	log                 *slog.Logger
	done                *prometheus.CounterVec
	now                 func() time.Time
	// users gives those whose passwords are known at the door.
	users func() []string
	// jobs are decisions about many letters.
	jobs *jobs
	// stuck are replays that could not be sent, with when to try again.
	stuck map[string]time.Time
}

func (d *desk) ready() error { return errors.Join(d.letters.ready(), d.operations.ready()) }

// refresh reads what is new in both streams.
func (d *desk) refresh(ctx context.Context) error {
	if err := errors.Join(d.letters.catchUp(ctx), d.operations.catchUp(ctx)); err != nil {
		return httpdoor.Unavailable("the dead letters cannot be read now: "+err.Error(), poll)
	}
	return nil
}

// run keeps the book up to date, and finishes replays that nobody finished: first those of a console that died, then
// those that the broker did not take.
func (d *desk) run(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	failing, started := false, false
	for {
		err := d.refresh(ctx)
		if err == nil {
			before := d.now()
			if started {
				before = before.Add(-finishAfter)
			}
			started = true
			d.finish(ctx, before)
		} else if !failing && ctx.Err() == nil {
			d.log.Warn("waiting for the streams: has the topology job run?", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// finish sends replays that were decided before that time and are not sent. One that cannot be sent is told once, holds
// up no other, and waits a little until it is tried again.
func (d *desk) finish(ctx context.Context, before time.Time) {
	begun, stuck := d.now(), map[string]time.Time{}
	for _, o := range d.book.pending(before) {
		again, known := d.stuck[o.ID]
		if again.After(begun) || d.now().Sub(begun) > finishFor || ctx.Err() != nil {
			if known {
				stuck[o.ID] = again
			}
			continue
		}
		recorded, err := d.recorded(ctx, o.Sequence)
		if err == nil {
			err = d.resend(ctx, recorded)
		}
		if err == nil {
			d.log.Info("sent a replay that had been recorded and not sent", "letter", o.Letter, "operation", o.ID)
			continue
		}
		stuck[o.ID] = d.now().Add(finishAfter)
		if !known {
			d.log.Warn("a recorded replay cannot be sent yet, trying again", "letter", o.Letter, "operation", o.ID, "error", err)
		}
	}
	d.stuck = stuck
}

// recorded reads an operation with its body.
func (d *desk) recorded(ctx context.Context, sequence uint64) (*Operation, error) {
	m, err := d.operations.message(ctx, sequence)
	if err != nil {
		return nil, err
	}
	return operationOf(m)
}

func (d *desk) resend(ctx context.Context, o *Operation) error {
	r, err := d.prepare(ctx, o)
	if why, never := impossible(err); never {
		return d.sent(ctx, o, why)
	}
	if err != nil {
		return err
	}
	return d.send(ctx, o, r)
}

// impossible tells why a letter cannot be replayed, now or later.
func impossible(err error) (why string, never bool) {
	if p, ok := errors.AsType[*httpdoor.Problem](err); ok {
		why, never = p.Detail, p.Status < http.StatusInternalServerError
		for _, f := range p.Errors {
			why += "; " + f.Field + ": " + f.Message
		}
		return why, never
	}
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok {
		return "", false
	}
	return f.Error(), f.Class.Final()
}

// letter reads a dead letter whole.
func (d *desk) letter(ctx context.Context, sequence uint64) (*jetstream.RawStreamMsg, error) {
	m, err := d.letters.message(ctx, sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, notFound(sequence)
	}
	if err != nil {
		return nil, httpdoor.Unavailable("the dead letter cannot be read now", poll)
	}
	return m, nil
}

func notFound(sequence uint64) error {
	return httpdoor.NotFound(fmt.Sprintf("there is no dead letter %d; it may have expired", sequence))
}

// prepare makes the replay that an operation asks for. The error says why it cannot be made.
func (d *desk) prepare(ctx context.Context, o *Operation) (bus.Replay, error) {
	m, err := d.letter(ctx, o.Letter)
	if err != nil {
		return bus.Replay{}, err
	}
	if o.before(m.Time) {
		return bus.Replay{}, notFound(o.Letter)
	}
	r := bus.Replay{Operation: o.ID, Service: letterOf(m).Service, Letter: m.Header}
	if o.Outcome == OutcomeNotDone {
		r.NotDone = o.At
	}
	switch r.Body, err = d.body(ctx, m); {
	case errors.Is(err, errGone) && len(o.Body) == 0:
		return r, httpdoor.Unprocessable(errGone.Error() + ": send the body along")
	case err != nil && !errors.Is(err, errGone):
		return r, err
	}
	if err := r.Check(); err != nil || len(o.Body) == 0 {
		return r, err
	}
	return edited(r, o.Body)
}

// edited gives a replay with the body that a person mended, which must be good and about the same as the old one. What
// is wrong in the event's envelope is left out, since nobody can mend it.
func edited(r bus.Replay, body []byte) (bus.Replay, error) {
	old := r.Body
	r.Body = body
	e, err := r.Event()
	for err != nil {
		without, ok := r.Without(fault.From(err).Field)
		if !ok {
			return r, under("body", err)
		}
		r = without
		e, err = r.Event()
	}
	was := r
	was.Body = old
	before, err := was.Event()
	if err != nil { // what was wrong may be the key
		return r, nil
	}
	if name := keyField(e.Type, before.Data, e.Data); name != "" {
		return r, httpdoor.BadRequest("the mended body is about something else than the event", httpdoor.FieldError{
			Field: "body." + name, Message: "names what the event is about, and must stay as it was; about something else publish a new event",
		})
	}
	return r, nil
}

// keyField names the field in which two events of one type differ so that they are not about the same; "" where they are.
func keyField(subject string, x, y proto.Message) string {
	c, ok := subjects.Find(subject)
	if !ok || c.BusinessKey(x) == c.BusinessKey(y) {
		return ""
	}
	fields := x.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		mixed, field := proto.Clone(x), fields.Get(i)
		mixed.ProtoReflect().Clear(field)
		if from := y.ProtoReflect(); from.Has(field) {
			mixed.ProtoReflect().Set(field, from.Get(field))
		}
		if c.BusinessKey(mixed) != c.BusinessKey(x) {
			return field.JSONName()
		}
	}
	return fields.Get(0).JSONName()
}

// errGone is that of an original that is in its stream no more.
var errGone = errors.New("the dead letter holds no body, and the original is gone")

// body gives that of a dead letter; where it was too large for a copy, that of the original.
func (d *desk) body(ctx context.Context, m *jetstream.RawStreamMsg) ([]byte, error) {
	if len(m.Data) > 0 {
		return m.Data, nil
	}
	return d.original(ctx, letterOf(m).Original)
}

// original reads the body of an event that did not fit into its dead letter, or is empty there too.
func (d *desk) original(ctx context.Context, at Place) ([]byte, error) {
	if at.Stream != topology.Events {
		return nil, nil
	}
	events, err := d.bus.JetStream().Stream(ctx, at.Stream)
	if err != nil {
		return nil, httpdoor.Unavailable("the original cannot be read now", poll)
	}
	m, err := events.GetMsg(ctx, at.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, httpdoor.Unavailable("the original cannot be read now", poll)
	}
	return m.Data, nil
}

// under names the fields that are wrong by their place in the request.
func under(field string, err error) error {
	if err == nil {
		return nil
	}
	if v, ok := contract.AsViolations(err); ok {
		return httpdoor.BadRequest("the body breaks the event's contract", v.Under(field).Fields...)
	}
	if f, ok := errors.AsType[*fault.Fault](err); ok && f.Class == fault.Invalid {
		return httpdoor.BadRequest("the body breaks the event's contract", httpdoor.FieldError{Field: field, Message: f.Error()})
	}
	return err
}

// Done is what became of one letter in a request.
type Done struct {
	Sequence uint64 `json:"sequence"`
	// Outcome: replayed, discarded; recorded where the replay goes out as soon as the broker takes it; in a selection also
	// skipped and failed, with the reason.
	Outcome   string     `json:"outcome"`
	Reason    string     `json:"reason,omitempty"`
	Operation *Operation `json:"operation,omitempty"`
}

// The outcomes of a letter.
const (
	outcomeReplayed  = "replayed"
	outcomeDiscarded = "discarded"
	outcomeRecorded  = "recorded"
	outcomeSkipped   = "skipped"
	outcomeFailed    = "failed"
)

// decide records what is wanted and carries it out. Who says the same again under the same key, or at the same time as
// somebody else, is told what was done. The error is a [httpdoor.Problem].
func (d *desk) decide(ctx context.Context, wanted Operation) (Done, error) {
	wanted.ID, wanted.At = uuid.NewString(), d.now()
	if len(wanted.changes) > 0 {
		var err error
		if wanted.Body, err = d.mended(ctx, &wanted); err != nil {
			return Done{}, err
		}
	}
	if _, made, err := d.judge(&wanted, false); err != nil || made != nil {
		return answer(made), err
	}
	var r bus.Replay
	if wanted.Kind == Replay {
		var err error
		if r, err = d.prepare(ctx, &wanted); err != nil {
			return Done{}, err
		}
	}
	made, err := d.record(ctx, &wanted)
	switch {
	case err != nil:
		return Done{}, err
	case made.ID != wanted.ID || made.Kind == Discard:
		return answer(made), nil
	}
	if err := d.send(ctx, made, r); err != nil {
		d.log.Warn("a replay is recorded and could not be sent yet", "letter", made.Letter, "operation", made.ID, "error", err)
	}
	return answer(made), nil
}

func answer(o *Operation) Done {
	if o == nil {
		return Done{}
	}
	done := Done{Sequence: o.Letter, Outcome: outcomeReplayed, Reason: o.Failed, Operation: o.shown()}
	switch {
	case o.Kind == Discard:
		done.Outcome = outcomeDiscarded
	case o.Failed != "":
		done.Outcome = outcomeFailed
	case o.Sent.IsZero():
		done.Outcome, done.Reason = outcomeRecorded, "it is recorded, and goes out as soon as the broker takes it"
	}
	return done
}

// record decides on the write: what is stored was decided on the letter as it stands. It gives the operation that
// counts, which is another's when that one says the same.
func (d *desk) record(ctx context.Context, wanted *Operation) (*Operation, error) {
	content, err := json.Marshal(wanted)
	if err != nil {
		return nil, err
	}
	subject := topology.OperationSubject(decisionSubject, wanted.Letter)
	for overtaken := false; ; overtaken = true {
		s, made, err := d.judge(wanted, overtaken)
		if err != nil || made != nil {
			return made, err
		}
		wanted.Sequence, err = d.bus.Record(ctx, subject, "operation:"+wanted.ID, content, s.last)
		switch {
		case errors.Is(err, bus.ErrOvertaken):
			if err := d.seeAfter(ctx, s); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, httpdoor.Unavailable("JetStream did not take the operation; nothing was done, and the same request may be sent again", 2*time.Second)
		default:
			d.book.addOperation(wanted)
			d.done.WithLabelValues(wanted.Kind).Inc()
			return wanted, nil
		}
	}
}

// judge looks at the letter as it stands: what is wanted may have been decided already, or be out of the question.
func (d *desk) judge(wanted *Operation, overtaken bool) (s Standing, made *Operation, err error) {
	s, ok := d.book.look(wanted.Letter)
	if !ok {
		return s, nil, notFound(wanted.Letter)
	}
	if made, err := d.same(s, wanted, overtaken); made != nil || err != nil {
		return s, made, err
	}
	return s, nil, allowed(s, wanted)
}

// same finds the decision that is the wanted one: our own, whose acknowledgement was lost; one under the same key; or,
// where somebody was first by a moment, one that says as much. Under the same key it must be the same that is wanted.
func (d *desk) same(s Standing, wanted *Operation, overtaken bool) (*Operation, error) {
	for _, o := range d.book.history(s.Letter) {
		last := s.Last != nil && s.Last.ID == o.ID
		plain := o.Kind == wanted.Kind && !o.Edited && !wanted.Edited && o.Outcome == wanted.Outcome
		switch {
		case o.ID == wanted.ID || overtaken && last && plain:
			return o, nil
		case wanted.Key == "" || o.Key != wanted.Key:
		case o.saysAsMuch(wanted):
			return o, nil
		default:
			return nil, httpdoor.Unprocessable("something else was asked for under this key: a new request needs a key of its own",
				httpdoor.FieldError{Field: "Idempotency-Key", Message: "is that of another request about this dead letter"})
		}
	}
	return nil, nil
}

// allowed tells why a letter as it stands must not be decided about so.
func allowed(s Standing, wanted *Operation) error {
	if wanted.Outcome == OutcomeNotDone && fault.Class(s.Class) != fault.Person {
		return httpdoor.Unprocessable("only a letter of class person can be said not to have been done",
			httpdoor.FieldError{Field: "outcome", Message: "the letter is of class " + s.Class})
	}
	if s.State == Open {
		return nil
	}
	text := fmt.Sprintf("dead letter %d was %s by %s at %s: %s", s.Sequence, s.State, s.Last.By, s.Last.At.Format(time.RFC3339), s.Last.Why)
	switch back := s.cameBack; {
	case back != nil && back.State == Open: // even where it is to be done again: nobody would close the other
		return httpdoor.Conflict(fmt.Sprintf("%s; it came back as #%d: %s that", text, back.Sequence, wanted.Kind))
	case wanted.Again:
		return nil
	case back != nil:
		text += fmt.Sprintf("; it came back as #%d, which was %s by %s", back.Sequence, back.State, back.Last.By)
	case s.State == Replayed:
		text += "; it has not failed since"
	}
	return httpdoor.Conflict(text + `. {"again":true} does it all the same`)
}

// seeAfter waits until what overtook a decision can be read.
func (d *desk) seeAfter(ctx context.Context, before Standing) error {
	ctx, cancel := context.WithTimeout(ctx, seen)
	defer cancel()
	for {
		if err := d.operations.catchUp(ctx); err == nil {
			if s, ok := d.book.look(before.Sequence); !ok || s.last != before.last {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return httpdoor.Unavailable("somebody else decided about this letter at the same time; ask again", poll)
		case <-time.After(seenAgain):
		}
	}
}

// send publishes the replay of a recorded operation and notes that it did. Whoever dies in between has it done again: the
// message has the same id then, and beyond the broker's memory the ledger knows what was done.
func (d *desk) send(ctx context.Context, o *Operation, r bus.Replay) error {
	err := d.bus.Replay(ctx, r)
	if errors.Is(err, nats.ErrMaxPayload) {
		return d.sent(ctx, o, "it is too large for the broker")
	}
	if err != nil {
		return err
	}
	return d.sent(ctx, o, "")
}

// sent notes that a replay is published, or why it never will be.
func (d *desk) sent(ctx context.Context, o *Operation, failed string) error {
	note := Operation{ID: o.ID, Kind: sentKind, Letter: o.Letter, At: d.now(), Failed: failed}
	if o.Failed = failed; failed == "" {
		o.Sent = note.At
	}
	content, err := json.Marshal(note)
	if err != nil {
		return err
	}
	note.Sequence, err = d.bus.Note(ctx, topology.OperationSubject(sentSubject, o.Letter), "sent:"+o.ID, content)
	if err == nil {
		d.book.addOperation(&note)
	}
	return err
}

// looked records that somebody read a letter's body, before it is shown.
func (d *desk) looked(ctx context.Context, letter uint64, o Operation) error {
	o.Kind, o.Letter = Look, letter
	if d.noted(ctx, lookSubject, o) != nil {
		return httpdoor.Unavailable("that the body is looked at cannot be recorded now, so it is not shown", 2*time.Second)
	}
	return nil
}

// tried records that somebody tries rules over recorded answers, before any of it is shown.
func (d *desk) tried(ctx context.Context, r *httpdoor.Request, by, why string, t rulebook.Tried) error {
	o, err := d.person(r, by, "why", why)
	if err != nil {
		return err
	}
	o.Kind, o.Tried = Try, &t
	if d.noted(ctx, trySubject, o) != nil {
		return httpdoor.Unavailable("that rules are tried cannot be recorded now, so nothing is shown", 2*time.Second)
	}
	return nil
}

// noted records what somebody looks at.
func (d *desk) noted(ctx context.Context, subject string, o Operation) error {
	o.ID, o.At = uuid.NewString(), d.now()
	content, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if o.Sequence, err = d.bus.Note(ctx, topology.OperationSubject(subject, o.Letter), subject+":"+o.ID, content); err != nil {
		return err
	}
	d.book.addOperation(&o)
	d.done.WithLabelValues(o.Kind).Inc()
	return nil
}
