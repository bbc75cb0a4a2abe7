package console

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
)

// Letter is a dead letter without its body.
type Letter struct {
	// Sequence in DEADLETTERS, by which people name it.
	Sequence uint64 `json:"sequence"`
	// Time at which it was stored there.
	Time time.Time `json:"time"`
	// Service that could not handle the event, and Subject of the event.
	Service string `json:"service"`
	Subject string `json:"subject"`
	// Class, Reason, Field and Rule say what is wrong.
	Class    string `json:"class"`
	Reason   string `json:"reason"`
	Field    string `json:"field,omitempty"`
	Rule     string `json:"rule,omitempty"`
	Attempts int    `json:"attempts"`
	EventID  string `json:"eventId"`
	LoopID   string `json:"loopId"`
	// Original is where the event was first stored, and FirstSeen when, or when it was replayed last.
	Original  Place     `json:"original"`
	FirstSeen time.Time `json:"firstSeen,omitzero"`
	// Cause groups letters that a person would mend in one go.
	Cause string `json:"cause"`

	// replay is the id of the operation that the letter comes from, where it is of an event that was replayed.
	replay string
}

// Place is a message in a stream.
type Place struct {
	Stream   string `json:"stream"`
	Sequence uint64 `json:"sequence"`
}

func letterOf(m *jetstream.RawStreamMsg) *Letter {
	h := m.Header
	l := &Letter{
		Sequence: m.Sequence, Time: m.Time.UTC(),
		Service: strings.TrimPrefix(m.Subject, topology.DeadLetterSubject("")),
		Subject: h.Get(bus.HeaderSubject), Class: h.Get(bus.HeaderClass), Reason: h.Get(bus.HeaderReason),
		Field: h.Get(bus.HeaderField), Rule: h.Get(bus.HeaderRule),
		EventID: h.Get(bus.HeaderEventID), LoopID: h.Get(bus.HeaderLoopID),
		Original: Place{Stream: h.Get(bus.HeaderStream)},
		replay:   h.Get(bus.HeaderReplay),
	}
	// What somebody wrote by hand may lack any of these: then they are 0.
	l.Attempts, _ = strconv.Atoi(h.Get(bus.HeaderAttempts))
	l.Original.Sequence, _ = strconv.ParseUint(h.Get(bus.HeaderSequence), 10, 64)
	l.FirstSeen, _ = time.Parse(time.RFC3339Nano, h.Get(bus.HeaderFirstSeen))
	l.Cause = causeOf(l)
	return l
}

// variable is what differs between two reasons that are one: words with a digit in them, which are ids, numbers and times.
var variable = regexp.MustCompile(`[\pL\pN_=-]*\pN[\pL\pN_=-]*`)

// causeOf gives letters of one service that are about the same the same name. It must not change: people write it down.
func causeOf(l *Letter) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		l.Service, l.Subject, l.Class, l.Field, variable.ReplaceAllString(l.Reason, "#"),
	}, "\x00")))
	return hex.EncodeToString(sum[:5])
}

// State of a letter.
type State string

// The states of a letter.
const (
	Open      State = "open"
	Replayed  State = "replayed"
	Discarded State = "discarded"
)

// Standing is a letter with what became of it.
type Standing struct {
	*Letter
	State State `json:"state"`
	// Replays is how often it was replayed, and Last what was decided last.
	Replays int        `json:"replays"`
	Last    *Operation `json:"last,omitempty"`
	// FailedAgainAs is the letter that the last replay came back as, 0 while it did not.
	FailedAgainAs uint64 `json:"failedAgainAs,omitempty"`
	// ReplayOf is the letter that it is a replay of, 0 for none.
	ReplayOf uint64 `json:"replayOf,omitempty"`

	// last is the place in OPERATIONS of the latest decision, on which the next one is made.
	last uint64
	// cameBack is the latest letter that replays of this one came back as, nil for none.
	cameBack *Standing
}

// Cause is what letters have in common.
type Cause struct {
	Cause     string    `json:"cause"`
	Service   string    `json:"service"`
	Subject   string    `json:"subject"`
	Class     string    `json:"class"`
	Field     string    `json:"field,omitempty"`
	Reason    string    `json:"reason"` // of the newest
	Open      int       `json:"open"`
	Replayed  int       `json:"replayed"`
	Discarded int       `json:"discarded"`
	Oldest    time.Time `json:"oldest"`
	Newest    time.Time `json:"newest"`
}
