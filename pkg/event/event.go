// Package event is the envelope of everything that closeloop's services say to each other: CloudEvents 1.0 in binary
// mode as NATS headers around the JSON of a protobuf message, with the id of the loop that the event belongs to.
//
// A message without any header is as good as one with all of them: what is missing is filled in (see [Decode]). What
// contradicts itself or the contract is an error with the field's name, never a guess.
package event

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// Event is one thing that happened. Events are values; nothing changes one that was published.
type Event struct {
	// ID identifies the event. The same business key gives the same id (see [New]).
	ID string
	// Type is the subject it was published to.
	Type string
	// Source is the service that published it.
	Source string
	// Subject is what it is about: the business key.
	Subject string
	// LoopID is the loop that it belongs to.
	LoopID string
	// Time is when it happened.
	Time time.Time
	// LoopStart is when the first event of the loop happened, as far as is known: after an answer that came back through a
	// vendor, that answer. It is zero in an event that was made to begin one, for which Time counts.
	LoopStart time.Time
	// TraceParent and TraceState carry the W3C trace context, where there is one.
	TraceParent, TraceState string
	// Data is the message that [subjects.Contract.New] makes for the type.
	Data proto.Message
	// Attempts is how often its service has tried to handle it before, set by the bus for a handler. It does not travel.
	Attempts int
	// NotDone is when a person found that what was sent for it without an answer had not been done, set by the bus for a
	// handler of a replay; zero where nobody looked. It does not travel.
	NotDone time.Time
	// variant tells apart what was said differently under one business key; see [Event.AsSaid].
	variant string
}

// namespace makes ids of this product differ from other name-based UUIDs. It must never change.
var namespace = uuid.MustParse("5d2f6e9c-2a0b-5f60-9a51-3b1c8f0d7e42")

// New makes an event that begins a loop: its id follows from type and business key, so that a repeat of the same
// request is the same event, and the loop is named after it. The error is a [fault.Invalid] with the field's name when
// data breaks its contract or does not belong to the subject.
func New(source, subject string, data proto.Message) (Event, error) {
	c, ok := subjects.Find(subject)
	if !ok {
		return Event{}, fault.New(fault.Invalid, "no event is known under the subject %q", subject)
	}
	if want, have := c.New().ProtoReflect().Descriptor().FullName(), data.ProtoReflect().Descriptor().FullName(); want != have {
		return Event{}, fault.New(fault.Invalid, "subject %s carries %s, not %s", subject, want, have)
	}
	if err := contract.Validate(data); err != nil {
		return Event{}, invalid(err)
	}
	return Unchecked(source, subject, data), nil
}

// Unchecked makes an event whose data may break its contract, for a door that must store it all the same: whoever takes
// the event puts it into the dead letters with what is wrong.
func Unchecked(source, subject string, data proto.Message) Event {
	key := ""
	if c, ok := subjects.Find(subject); ok {
		key = c.BusinessKey(data)
	}
	id := IDOf(subject, key)
	return Event{ID: id, Type: subject, Source: source, Subject: key, LoopID: id, Time: time.Now().UTC(), Data: data}
}

// IDOf gives the id of the event with that subject and business key.
func IDOf(subject, key string) string {
	return uuid.NewSHA1(namespace, []byte(subject+"/"+key)).String()
}

// After makes an event that follows from cause: same loop, with the same start, and same trace.
func After(cause Event, source, subject string, data proto.Message) (Event, error) {
	e, err := New(source, subject, data)
	if err != nil {
		return e, err
	}
	e.LoopID, e.TraceParent, e.TraceState = cause.LoopID, cause.TraceParent, cause.TraceState
	if e.LoopStart = cause.LoopStart; e.LoopStart.IsZero() {
		e.LoopStart = cause.Time
	}
	return e, nil
}

// InLoop gives the event as part of that loop; an empty loop changes nothing.
func (e Event) InLoop(loopID string) Event {
	if loopID != "" {
		e.LoopID = loopID
	}
	return e
}

// Distinct gives the event an identity of its own among events of the same business key: two rules that publish to
// one subject for one response.
func (e Event) Distinct(part string) Event {
	e.Subject += "/" + part
	e.ID = IDOf(e.Type, e.Subject)
	return e
}

// AsSaid gives the event as a request whose repeat is stored once only when it says the same: somebody who mends a
// request that was refused, and sends it again at once, is not taken for repeating himself. The effect is still one.
func (e Event) AsSaid() Event {
	if body, err := contract.Marshal(e.Data); err == nil {
		sum := sha256.Sum256(body)
		e.variant = "/" + hex.EncodeToString(sum[:8])
	}
	return e
}

// Again gives the event as one that is to be handled once more after it was refused at that time.
func (e Event) Again(refused time.Time) Event {
	e.variant += "/" + refused.UTC().Format("20060102T150405.000000000")
	return e
}

// DedupeKey is the event's Nats-Msg-Id: a repeat within JetStream's duplicate window is stored once.
func (e Event) DedupeKey() string { return e.Type + "/" + e.Subject + e.variant }

func invalid(err error) error {
	f := fault.New(fault.Invalid, "%w", err)
	if v := new(contract.Violations); errors.As(err, &v) && len(v.Fields) > 0 {
		f.Field, f.Reason = v.Fields[0].Field, v.Fields[0].Message
		for _, more := range v.Fields[1:] {
			f.Reason += "; " + more.Field + ": " + more.Message
		}
	}
	return f
}
