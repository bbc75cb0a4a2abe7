package bus

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// Headers that travel with a held event and with a dead letter.
const (
	// HeaderReason is a sentence that a person can act on, with the field where there is one.
	HeaderReason = "Closeloop-Reason"
	// HeaderClass is the error class (pkg/fault).
	HeaderClass = "Closeloop-Class"
	// HeaderField is the path of the field that is wrong.
	HeaderField = "Closeloop-Field"
	// HeaderSubject is the subject of the original event.
	HeaderSubject = "Closeloop-Subject"
	// HeaderAttempts is how often it was tried.
	HeaderAttempts = "Closeloop-Attempts"
	// HeaderStream and HeaderSequence say where the original is.
	HeaderStream   = "Closeloop-Stream"
	HeaderSequence = "Closeloop-Sequence"
	// HeaderFirstSeen is when the original was stored, or when it was replayed last.
	HeaderFirstSeen = "Closeloop-First-Seen"
	// HeaderEventID and HeaderLoopID are the event's, also where its own envelope was empty.
	HeaderEventID = "Closeloop-Event-Id"
	HeaderLoopID  = "Closeloop-Loop-Id"
	// HeaderRule is the rule that failed, where one did.
	HeaderRule = "Closeloop-Rule"
	// HeaderReplay is the operation by which a person had a dead letter tried again. It stays with the event.
	HeaderReplay = "Closeloop-Replay"
	// HeaderOutcome travels with a replay when a person has decided about an answer that was lost: "not-done" and the time
	// of the decision. It counts on retry.due alone, where only the console and the broker's schedules publish.
	HeaderOutcome = "Closeloop-Outcome"
	// HeaderFailed counts how often it failed, not only waited.
	HeaderFailed = "Closeloop-Failed"
	// HeaderSuspect counts how often the event was in hand when a handler's process may have died of it.
	HeaderSuspect = "Closeloop-Suspect"
)

const headerPrefix = "Closeloop-"

// delivery is one message in hand, whether it came from EVENTS or back from RETRIES.
type delivery struct {
	msg      jetstream.Msg
	meta     *jetstream.MsgMetadata
	subject  string       // of the original
	origin   event.Origin // of the original
	attempts int          // made so far
	suspect  int
	replay   string // the operation that brought it back
	outcome  string // what a person decided about a lost answer
	entered  int    // the round in which it passed its vendor's gate
	follows  bool   // it is not the first of its wave
	out      bool   // its last try found the vendor out
	failed   int    // how often its tries did
	// fraction of the jitter of its delays, from 0 to 1: the same for all of a wave, so that they come back together.
	fraction float64

	event     event.Event
	decodeErr error
	span      trace.Span // nil where nothing is traced
	became    activity.Handled
}

func (c *Consuming) open(m jetstream.Msg) (*delivery, error) {
	meta, err := m.Metadata()
	if err != nil {
		return nil, err
	}
	d := &delivery{
		msg: m, meta: meta, subject: m.Subject(),
		origin:   event.Origin{Stream: meta.Stream, Sequence: meta.Sequence.Stream, Time: meta.Timestamp},
		fraction: rand.Float64(),
	}
	h := m.Headers()
	if d.subject == topology.DueSubject(c.bus.service) {
		d.subject = h.Get(HeaderSubject)
		d.attempts = number(h.Get(HeaderAttempts))
		d.suspect = number(h.Get(HeaderSuspect))
		d.failed = number(h.Get(HeaderFailed))
		d.out = fault.Class(h.Get(HeaderClass)).VendorOut()
		d.replay, d.outcome = h.Get(HeaderReplay), h.Get(HeaderOutcome)
		if stream := h.Get(HeaderStream); stream != "" {
			d.origin.Stream, d.origin.Sequence = stream, uint64(number(h.Get(HeaderSequence)))
		}
		if t, err := time.Parse(time.RFC3339Nano, h.Get(HeaderFirstSeen)); err == nil {
			d.origin.Time = t
		}
	}
	d.event, d.decodeErr = event.Decode(d.subject, h, m.Data(), d.origin)
	d.event.Attempts, d.event.NotDone = d.attempts, notDone(d.outcome)
	return d, nil
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

const (
	// suspectAfter deliveries of one message, its handler may be killing the process.
	suspectAfter = 3
	// suspectAgain deliveries are enough of one that came back as a suspect, and was handled apart from others.
	suspectAgain = 1
)

func (d *delivery) suspicious() bool {
	if d.suspect > 0 {
		return d.meta.NumDelivered > suspectAgain
	}
	return d.meta.NumDelivered > suspectAfter
}

// describe adds what is known about the original.
func (d *delivery) describe(h nats.Header) {
	h.Set(HeaderSubject, d.subject)
	h.Set(HeaderStream, d.origin.Stream)
	h.Set(HeaderSequence, strconv.FormatUint(d.origin.Sequence, 10))
	h.Set(HeaderFirstSeen, d.origin.Time.UTC().Format(time.RFC3339Nano))
	h.Set(HeaderAttempts, strconv.Itoa(d.attempts))
	h.Set(HeaderEventID, headerSafe(d.event.ID))
	h.Set(HeaderLoopID, headerSafe(d.event.LoopID))
	if d.replay != "" {
		h.Set(HeaderReplay, headerSafe(d.replay))
	}
	if d.outcome != "" {
		h.Set(HeaderOutcome, headerSafe(d.outcome))
	}
}

// headerSafe keeps a text on one line.
func headerSafe(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s))
}
