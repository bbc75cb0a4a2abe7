package console

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

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
	l.Cause = causeOf(l, fieldText(m, l.Field))
	return l
}

// variable is what differs between two reasons that are one: words with a digit in them, which are ids, numbers and times.
var variable = regexp.MustCompile(`[\pL\pN_=-]*\pN[\pL\pN_=-]*`)

// causeOf gives letters of one service that are about the same the same name; own is what the event has in the field that is wrong.
// It must not change: people write it down.
func causeOf(l *Letter, own string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{
		l.Service, l.Subject, l.Class, l.Field, variable.ReplaceAllString(without(l.Reason, own), "#"),
	}, "\x00")))
	return hex.EncodeToString(sum[:5])
}

// without puts # in place of a value wherever a text has it as words of its own.
func without(text, value string) string {
	if value == "" {
		return text
	}
	var b strings.Builder
	for rest := text; ; {
		at := strings.Index(rest, value)
		if at < 0 {
			b.WriteString(rest)
			return b.String()
		}
		before, _ := utf8.DecodeLastRuneInString(text[:len(text)-len(rest)+at])
		after, _ := utf8.DecodeRuneInString(rest[at+len(value):])
		b.WriteString(rest[:at])
		if inWord(before) || inWord(after) {
			b.WriteString(value)
		} else {
			b.WriteByte('#')
		}
		rest = rest[at+len(value):]
	}
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }

// fieldText is the text that the event of a letter has in a field, "" where it has none there.
func fieldText(m *jetstream.RawStreamMsg, field string) string {
	if field == "" {
		return ""
	}
	body := valueOf(m.Data)
	if whole, ok := body.(map[string]any); ok && structured(m.Header) {
		body = whole["data"]
	}
	return textAt(body, stepsOf(field))
}

func textAt(value any, path []string) string {
	if len(path) == 0 {
		text, _ := value.(string)
		return text
	}
	switch v := value.(type) {
	case map[string]any:
		name, rest := stepIn(v, path)
		return textAt(v[name], rest)
	case []any:
		if i, err := strconv.Atoi(strings.Trim(path[0], "[]")); err == nil && i >= 0 && i < len(v) {
			return textAt(v[i], path[1:])
		}
	}
	return ""
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
