package console

import (
	"crypto/sha256"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/services/console/rulebook"
)

// Kinds of operations.
const (
	Replay  = "replay"
	Discard = "discard"
	Look    = "look"
	// Try is no operation on a letter, but a trial of rules over recorded answers.
	Try = "try"
	// sentKind is no operation but the note that a replay has been published, or never can be.
	sentKind = "sent"
)

// OutcomeNotDone is what a person found who looked in the vendor's system for a change whose answer was lost.
const OutcomeNotDone = "not-done"

// Operation is what a person did with one letter, or that they tried rules. As JSON it is both the record in OPERATIONS and the answer
// to callers.
type Operation struct {
	// Sequence is its place in OPERATIONS.
	Sequence uint64 `json:"sequence,omitempty"`
	ID       string `json:"id"`
	Kind     string `json:"kind"`
	// Letter is the sequence of the dead letter, 0 for what is about none.
	Letter uint64 `json:"letter,omitempty"`
	// Tried is the trial, nil for all else.
	Tried *rulebook.Tried `json:"tried,omitempty"`
	By    string          `json:"by"`
	// Proven says that the password of By was checked; without it, By is what the caller said.
	Proven bool      `json:"proven,omitempty"`
	Why    string    `json:"why"`
	At     time.Time `json:"at"`
	// Key is the request's Idempotency-Key; of a job's operation, the job's id.
	Key string `json:"key,omitempty"`
	// Job is the id of the [Job] that did it, empty for what was asked of one letter.
	Job string `json:"job,omitempty"`
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

	// changes make the body from the letter's own.
	changes []Change
	// stored is when the broker stored the record, zero until it was read back.
	stored time.Time
	// bodySum stands for the body where that is not kept.
	bodySum [sha256.Size]byte
}

// before tells an operation that was recorded before that time at the broker: one on a letter of the same sequence, in a
// stream that was made anew since.
func (o *Operation) before(letter time.Time) bool {
	return !o.stored.IsZero() && letter.After(o.stored)
}

// saysAsMuch tells that two operations are of one person and do the same.
func (o *Operation) saysAsMuch(other *Operation) bool {
	x, y := o.shown(), other.shown()
	return x.Kind == y.Kind && x.By == y.By && x.Outcome == y.Outcome && x.Edited == y.Edited && x.bodySum == y.bodySum
}

// pending tells a replay that is decided and not published yet.
func (o *Operation) pending() bool { return o.Kind == Replay && o.Sent.IsZero() && o.Failed == "" }

// operationOf reads a record. One that somebody wrote by hand may lack its id, letter and time.
func operationOf(m *jetstream.RawStreamMsg) (*Operation, error) {
	o := &Operation{}
	if err := json.Unmarshal(m.Data, o); err != nil {
		return nil, err
	}
	o.Sequence, o.stored = m.Sequence, m.Time
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
	if compact, err := json.Marshal(o.Body); err == nil && len(o.Body) > 0 { // as the record holds it
		copied.bodySum = sha256.Sum256(compact)
	}
	copied.Body = nil
	return &copied
}
