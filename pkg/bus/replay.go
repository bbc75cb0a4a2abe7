package bus

import (
	"context"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// outcomeNotDone begins a [HeaderOutcome]; the time follows.
const outcomeNotDone = "not-done "

// notDone reads the time of a [HeaderOutcome]; zero where nobody decided anything.
func notDone(outcome string) time.Time {
	at, ok := strings.CutPrefix(outcome, outcomeNotDone)
	if !ok {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return time.Time{}
	}
	return t
}

// Replay is a dead letter on its way back to the service that failed.
type Replay struct {
	// Operation is the id of what a person did. A second publish of the same operation is stored once within two
	// minutes; later it finds in the ledger what was done, and becomes a second dead letter where it fails as the first.
	Operation string
	// Service takes it, and no other does.
	Service string
	// Letter are the headers of the dead letter, Body its body or the one that a person mended.
	Letter nats.Header
	Body   []byte
	// NotDone is when a person found that what was sent without an answer had not been done; zero where nobody looked.
	NotDone time.Time
}

// Event reads the event as its service will. The error is a [fault.Invalid] with the field's name.
func (r Replay) Event() (event.Event, error) {
	return event.Decode(r.Letter.Get(HeaderSubject), own(r.Letter), r.Body, r.origin(time.Now()))
}

// Without gives the replay without an attribute of the event's envelope, by its header's name (ce-time), in any case;
// false where the letter has no such header.
func (r Replay) Without(attribute string) (Replay, bool) {
	left := maps.Clone(r.Letter)
	maps.DeleteFunc(left, func(name string, _ []string) bool {
		return strings.HasPrefix(strings.ToLower(name), "ce-") && strings.EqualFold(name, attribute)
	})
	changed := len(left) < len(r.Letter)
	r.Letter = left
	return r, changed
}

// Check tells why the letter cannot be replayed at all: it names no event of ours, or no service that takes events. The
// error is a [fault.Person].
func (r Replay) Check() error {
	service, ok := topology.Of(topology.Settings{}).Service(r.Service)
	if !ok || len(service.Takes) == 0 {
		return fault.New(fault.Person, "no service %s takes events", r.Service)
	}
	if r.Letter.Get(HeaderSubject) == "" {
		return fault.New(fault.Person, "the dead letter has no header %s, which says what it is", HeaderSubject)
	}
	return nil
}

func (r Replay) origin(now time.Time) event.Origin {
	return event.Origin{
		Stream: r.Letter.Get(HeaderStream), Sequence: uint64(number(r.Letter.Get(HeaderSequence))), Time: now,
	}
}

// Replay publishes it, so that its service handles it as if for the first time: with all its attempts before it, and with
// time limits that begin anew. It returns when JetStream has stored it; the error is [ErrUnavailable], or that of a
// message that is too large.
func (b *Bus) Replay(ctx context.Context, r Replay) error {
	if _, err := b.store(ctx, r.message(time.Now())); err != nil {
		return fmt.Errorf("publishing the replay: %w", err)
	}
	return nil
}

// message is what open reads, as that of a hold is, with nothing tried yet.
func (r Replay) message(now time.Time) *nats.Msg {
	m := nats.NewMsg(topology.DueSubject(r.Service))
	m.Data, m.Header = r.Body, own(r.Letter)
	for _, name := range []string{HeaderSubject, HeaderStream, HeaderSequence, HeaderEventID, HeaderLoopID} {
		if value := r.Letter.Get(name); value != "" {
			m.Header.Set(name, value)
		}
	}
	m.Header.Set(HeaderFirstSeen, now.UTC().Format(time.RFC3339Nano))
	m.Header.Set(HeaderAttempts, strconv.Itoa(0))
	m.Header.Set(HeaderReplay, r.Operation)
	if !r.NotDone.IsZero() {
		m.Header.Set(HeaderOutcome, outcomeNotDone+r.NotDone.UTC().Format(time.RFC3339Nano))
	}
	m.Header.Set(nats.MsgIdHdr, "replay:"+r.Operation)
	return m
}

// own gives a copy of a message's own headers: nothing of the broker's, which would act again, and nothing of ours.
func own(all nats.Header) nats.Header {
	h := nats.Header{}
	for name, values := range all {
		if !strings.HasPrefix(name, "Nats-") && !strings.HasPrefix(name, headerPrefix) {
			h[name] = values
		}
	}
	return h
}
