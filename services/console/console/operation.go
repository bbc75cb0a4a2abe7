package console

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Kinds of operations.
const (
	Replay  = "replay"
	Discard = "discard"
	Look    = "look"
	// sentKind is no operation but the note that a replay has been published, or never can be.
	sentKind = "sent"
)

// OutcomeNotDone is what a person found who looked in the vendor's system for a change whose answer was lost.
const OutcomeNotDone = "not-done"

// Operation is what a person did with one letter. As JSON it is both the record in OPERATIONS and the answer to callers.
type Operation struct {
	// Sequence is its place in OPERATIONS.
	Sequence uint64 `json:"sequence,omitempty"`
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	// Letter is the sequence of the dead letter.
	Letter uint64    `json:"letter"`
	By     string    `json:"by"`
	Why    string    `json:"why"`
	At     time.Time `json:"at"`
	// Key is the request's Idempotency-Key.
	Key string `json:"key,omitempty"`
	// Again says that it was replayed although it had been before.
	Again bool `json:"again,omitempty"`
	// Outcome is [OutcomeNotDone], or empty.
	Outcome string `json:"outcome,omitempty"`
	// Edited says that another body than the letter's was sent.
	Edited bool `json:"edited,omitempty"`
	// Body is that body, in the record alone: what was promised must be kept after a crash too.
	Body json.RawMessage `json:"body,omitempty"`
	// Sent is when the replay was published; until then it is pending. Failed is why it never will be.
	Sent   time.Time `json:"sent,omitzero"`
	Failed string    `json:"failed,omitempty"`
}

// pending tells a replay that is decided and not published yet.
func (o *Operation) pending() bool { return o.Kind == Replay && o.Sent.IsZero() && o.Failed == "" }

// operationOf reads a record. One that somebody wrote by hand may lack its id, letter and time.
func operationOf(m *jetstream.RawStreamMsg) (*Operation, error) {
	o := &Operation{}
	if err := json.Unmarshal(m.Data, o); err != nil {
		return nil, err
	}
	o.Sequence = m.Sequence
	if o.ID == "" {
		o.ID = "OPERATIONS-" + strconv.FormatUint(m.Sequence, 10)
	}
	if o.Letter == 0 {
		o.Letter, _ = strconv.ParseUint(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:], 10, 64)
	}
	if o.At.IsZero() {
		o.At = m.Time.UTC()
	}
	o.Edited = o.Edited || len(o.Body) > 0
	return o, nil
}

// shown is the operation as callers see it: without the body.
func (o *Operation) shown() *Operation {
	copied := *o
	copied.Body = nil
	return &copied
}
