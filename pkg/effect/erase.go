package effect

import (
	"encoding/json"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

// Erased is the state of an effect whose person was forgotten: nothing is known of it but that it must not be made again.
const Erased State = "erased"

// erased tells that the effect must not be made, since its person was forgotten.
func (r *Record) erased() error {
	if r.State != Erased {
		return nil
	}
	return &fault.Fault{Class: fault.Erased, Reason: "it is about a person who was forgotten: nothing is done under the same id again"}
}

// Whom names the person that an erasure is about, as [Forgetting] keeps it.
type Whom struct {
	Emails []string `json:"emails"`
}

// Tombstone gives what stays of a record when its person is forgotten: that it is settled. Nothing can be made under its
// key again, whatever is asked for.
func Tombstone(now time.Time) ([]byte, error) {
	return json.Marshal(Record{State: Erased, Changed: now.UTC()})
}

// ReadRecord reads a record as it stands in the bucket; false for what is none, such as what [Change] keeps.
func ReadRecord(value []byte) (Record, bool) {
	var r Record
	if err := json.Unmarshal(value, &r); err != nil || r.Changed.IsZero() {
		return Record{}, false
	}
	switch r.State {
	case Intended, Sent, Unknown, Confirmed, Rejected, Erased:
		return r, true
	}
	return Record{}, false
}

// InHand tells that a run may be making the effect at this moment.
func (r Record) InHand(now time.Time) bool {
	return r.Owner != "" && r.LeaseUntil.After(now) && r.State != Confirmed && r.State != Rejected
}

// Unsettled tells that something was sent for the effect, and not what came of it.
func (r Record) Unsettled() bool { return r.State != Confirmed && r.State != Erased && r.unsettled() }
