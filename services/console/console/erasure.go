package console

import (
	"encoding/json"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

// erasureKind is the kind of records about erasures in OPERATIONS.
const erasureKind = "erasure"

// The states of an erasure.
const (
	erasureWorking = "working"
	erasureDone    = "done"
)

// Erasure is the forgetting of one person. As JSON it is the record in OPERATIONS and, without the work, the answer to
// callers; when it is done, the receipt. Nothing in it but the work is personal.
type Erasure struct {
	ID   string `json:"id"`
	Kind string `json:"kind"`
	// State is working or done.
	State string `json:"state"`
	// WaitsFor says what keeps it from going on.
	WaitsFor string `json:"waitsFor,omitempty"`
	By       string `json:"by"`
	// Proven says that the password of By was checked.
	Proven bool      `json:"proven,omitempty"`
	Why    string    `json:"why"`
	At     time.Time `json:"at"`
	DoneAt time.Time `json:"doneAt,omitzero"`
	// Deleted is how many messages were deleted and overwritten, by stream.
	Deleted map[string]int `json:"deleted"`
	// LookedAt is the last sequence that was looked at, by stream. What came later is another matter.
	LookedAt map[string]uint64 `json:"lookedAt"`
	Ledger   LedgerCounts      `json:"ledger"`
	Vendors  []AtVendor        `json:"vendors"`
	// Work is what it takes to go on, and whom it is about; it is deleted when the erasure is done.
	Work *work `json:"work,omitempty"`

	sequence uint64 // of its record
}

// LedgerCounts is what was done in the effect ledger.
type LedgerCounts struct {
	// Tombstones are records of which only is kept that they must not be made again.
	Tombstones int `json:"tombstones"`
	// Cut are records about many people from which what is about this one was taken.
	Cut int `json:"cut"`
	// Dropped are those that were only remembered.
	Dropped int `json:"dropped"`
	// Unsettled are tombstones of changes of which it was not known whether they were made: look for them at the vendors.
	Unsettled int `json:"unsettled,omitempty"`
	// PersonalKeys are tombstones whose key itself is or holds an address of the person, since a caller chose such an id.
	PersonalKeys int `json:"personalKeys,omitempty"`
	// NotOverwritten are those whose old content the broker has removed but may still have on disk until it rewrites the file.
	NotOverwritten int `json:"notOverwritten,omitempty"`
}

// AtVendor is what becomes of the person at one vendor.
type AtVendor struct {
	Vendor string `json:"vendor"`
	// Outcome is erased, or person where somebody must do it there: Where says how.
	Outcome string `json:"outcome"`
	// Made is how many things were made there for the person and are known here: interactions, tasks, recognitions.
	Made int `json:"made,omitempty"`
	// RequestID is the vendor's id of the request.
	RequestID string `json:"requestId,omitempty"`
	Where     string `json:"where,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// The outcomes at a vendor.
const (
	atVendorErased = "erased"
	atVendorPerson = "person"
)

// work is how far an erasure is.
type work struct {
	// Owner is the console that is at it, Touched when it last said so.
	Owner   string    `json:"owner"`
	Touched time.Time `json:"touched"`
	// Waiting says that there was nothing to do then but to wait: for so long the claim holds longer.
	Waiting bool    `json:"waiting,omitempty"`
	Person  *person `json:"person"`
	// Fence is the last sequence of each stream when it was asked for: what came later is deleted only where it follows
	// from what was there.
	Fence map[string]uint64 `json:"fence"`
	// Doomed are messages that are being deleted, Keys records of the ledger that are being changed: noted before, so that
	// each is counted once whatever happens.
	Doomed map[string][]uint64 `json:"doomed,omitempty"`
	Keys   map[string]action   `json:"keys,omitempty"`
	// DoomedAt is when the oldest of the doomed were found.
	DoomedAt time.Time `json:"doomedAt,omitzero"`
	// Letters are the dead letters that were deleted; Unheard those of the request to the vendors.
	Letters map[uint64]bool `json:"letters"`
	Unheard map[uint64]bool `json:"unheard,omitempty"`
	// Ledgered says that the ledger is done, which what is found later takes back.
	Ledgered bool `json:"ledgered,omitempty"`
	// MoreKeys says that the ledger held more than Keys took.
	MoreKeys bool `json:"moreKeys,omitempty"`
	// AskedAt is when the vendors were asked.
	AskedAt time.Time `json:"askedAt,omitzero"`
	// Made counts what was made at vendors.
	Made map[string]int `json:"made"`
}

// claim is how long others leave the erasure to its owner without a word.
func (w *work) claim() time.Duration {
	if w.Waiting {
		return takeOverWaiting
	}
	return takeOver
}

// action is what becomes of a record of the ledger.
type action string

const (
	bury action = "bury" // a tombstone in its place
	trim action = "trim" // without what is about the person
	drop action = "drop" // away with it
)

// shown is the erasure as callers see it.
func (e *Erasure) shown() *Erasure {
	copied := *e
	copied.Work = nil
	return &copied
}

// copied is a copy that can be changed.
func (e *Erasure) copied() (*Erasure, error) {
	content, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	c := &Erasure{sequence: e.sequence}
	return c, json.Unmarshal(content, c)
}

// erasures are those that OPERATIONS tells of, by id.
type erasures = records[*Erasure]

func newErasures() *erasures {
	return newRecords(topology.ErasureSubject(""), func(content []byte) (*Erasure, error) {
		e := &Erasure{}
		return e, json.Unmarshal(content, e)
	})
}

func (e *Erasure) key() string      { return e.ID }
func (e *Erasure) place() uint64    { return e.sequence }
func (e *Erasure) stored(at uint64) { e.sequence = at }
