// Package loops is the console's read model: what happened to every loop, found by any id that a person may have in hand. It is
// built from the streams alone and kept in SQLite; it may fall behind, be deleted, and be built again, and nothing else notices.
//
// It is an index: it holds ids, times and counts, and for each loop where its messages are. What they say stays in the
// streams and is read from there when somebody looks ([Reader]).
//
// # How a loop stands
//
// A loop is the set of the messages that name it (ce-loopid, or what pkg/event puts in its place): its events in EVENTS, the
// dead letters of them, what was decided about these, and what services told of their attempts. How it stands is worked out
// from that set alone, never from the order in which the messages were read: streams have none between them. A loop is known
// as long as EVENTS or DEADLETTERS holds a message of it.
//
// An event is in hand of each service whose consumer takes it, until the latest of these says otherwise:
//
//   - A dead letter of it is open: the loop has failed. Discarded, the service is done with it; replayed, the service has it in
//     hand again from that moment. A replay that failed again is another letter. A replay that never could be sent, and a decision
//     about a letter that was stored after it, of a stream made anew, do not count.
//   - Its latest attempt: done and erased, it is done; retry, paused and suspect, it is tried again; held, it is in hand.
//   - The event that is published when it is done, where no attempt is known (ACTIVITY is told in passing, and kept for a
//     shorter time) or it was stored after the last: survey.link.created or .suppressed after .requested, interaction.written after what
//     is written, survey.response.received after .notified, what rules publish after that, task.created after feedback.*
//     (the second task of a response after its second feedback), recognition.submitted after recognition.requested.
//   - The service's own consumer, where nothing else is known: what it has acknowledged, or what came due before a moment at
//     which nothing waited for it, is done.
//
// The first that holds is the state: failed with an open letter; retry while something is tried again, has met a vendor that is out, or
// was never tried since its vendor is out (which is no matter of the set of messages: it is seen when somebody looks);
// processing while something is in hand, while a recognition waits for its approval, or while the customer can answer (there is a link, it has not expired, and there is no
// answer; a link that does not say when it expires is waited for 90 days, and one whose letter at sap-interaction-writer was
// discarded not at all, since it is never mailed); discarded when the last decision about a letter was to discard it; else completed.
//
// A loop has reached the stage link with survey.link.created, mailed with the link's interaction.written, answered with
// either survey.response event, acted on with the first feedback.* or recognition.requested, and closed when each of these has its
// task or recognition. Where the router is done with an answer and no rule fired, it is acted on and closed at once. The loop
// began when its first event says that it happened, or began (ce-loopstart).
//
// A recognition that a person in Awardco is to approve is closed by recognition.approved or .declined alone. Until then the loop is
// processing, for 90 days at most: where Awardco's webhook is not set up, nobody ever tells, and the loop stays acted on.
package loops

import (
	"errors"
	"time"
)

// State of a loop, in words that people know who come from SAP Integration Suite.
type State string

// The states of a loop. The first of these that holds is the state: Failed, Retry, Processing, Discarded, Completed.
const (
	// Completed: everything that was to be done is done, or the person was not to be invited.
	Completed State = "completed"
	// Processing: something is under way, or the customer has not answered.
	Processing State = "processing"
	// Retry: something failed or its vendor is out, and it is tried again without a person.
	Retry State = "retry"
	// Failed: a dead letter of it is open.
	Failed State = "failed"
	// Discarded: a person decided that nothing more is to be done.
	Discarded State = "discarded"
)

// States lists them in the order in which people look at them.
var States = []State{Failed, Retry, Processing, Completed, Discarded}

// Stage is how far a loop has come.
type Stage string

// The stages of a loop. A loop that begins with an answer has no invitation before it.
const (
	Invited    Stage = "invited"    // survey.link.requested
	Suppressed Stage = "suppressed" // survey.link.suppressed: not to be invited now
	Linked     Stage = "link"       // survey.link.created
	Mailed     Stage = "mailed"     // interaction.written of the link: Marketing Cloud mails it
	Answered   Stage = "answered"   // survey.response.notified, .received
	Acted      Stage = "acted on"   // feedback.*, recognition.requested; or no rule fired
	Closed     Stage = "closed"     // each of these has its task or recognition, approved or declined where a person decides
)

// Funnel lists the stages that a loop passes, in order.
var Funnel = []Stage{Invited, Linked, Mailed, Answered, Acted, Closed}

// IDKind names what an id is of.
type IDKind string

// The kinds of ids by which loops are found.
const (
	Order       IDKind = "order"       // transaction.externalId, serviceOrder
	Contact     IDKind = "contact"     // contact.externalId, contactId
	Request     IDKind = "request"     // requestId
	Response    IDKind = "response"    // responseId
	Task        IDKind = "task"        // taskId, objectId
	Recognition IDKind = "recognition" // recognitionId
	Interaction IDKind = "interaction" // interactionId
	Event       IDKind = "event"       // ce-id
)

// IDKinds lists those that a person searches by, in the order of the form.
var IDKinds = []IDKind{Order, Contact, Request, Response, Task, Recognition}

// Query selects loops. Empty fields select all.
type Query struct {
	// Any is an id of any kind, or the loop's own. Ids are found whatever their case, here and in IDs.
	Any      string
	IDs      map[IDKind]string
	State    State
	Stage    Stage // reached, whatever came after
	Campaign string
	Survey   string
	Rule     string // fired
	// From and To bound when the loop began: From <= start < To.
	From, To time.Time
	// Limit of a page, default 50; Before is the Next of the page before it.
	Limit  int
	Before string
}

// Page is a part of a list, newest first.
type Page struct {
	Loops []Summary `json:"loops"`
	// Next is the Before of the next page, "" for none.
	Next string `json:"next,omitempty"`
}

// Summary is one loop in a list.
type Summary struct {
	ID    string    `json:"loopId"`
	State State     `json:"state"`
	Stage Stage     `json:"stage"`
	Start time.Time `json:"start"`
	Last  time.Time `json:"last"` // of what happened last
	// Closed is when it was, zero while it is not.
	Closed   time.Time `json:"closed,omitzero"`
	Campaign string    `json:"campaign,omitempty"`
	Survey   string    `json:"survey,omitempty"`
	Order    string    `json:"order,omitempty"`
	Contact  string    `json:"contact,omitempty"`
	// Waits is what it waits for first, in a few words, and Since when.
	Waits string    `json:"waits,omitempty"`
	Since time.Time `json:"since,omitzero"`
}

// ID is one id of a loop.
type ID struct {
	Kind  IDKind `json:"kind"`
	Value string `json:"value"`
}

// Loop is one loop with where all of its messages are.
type Loop struct {
	Summary
	IDs []ID `json:"ids"`
	// Reached has the time at which each stage was first reached.
	Reached map[Stage]time.Time `json:"reached"`
	Waiting []Wait              `json:"waiting"`
	// Places of its messages in EVENTS, ACTIVITY, DEADLETTERS and OPERATIONS, in the order of time. Of a loop of very many they are
	// the first 2,000 of EVENTS, the latest 500 tries, and the latest 3,000 dead letters and decisions.
	Places []Place `json:"places"`
	// Events is how many of its messages EVENTS has, those included that Places leaves out.
	Events int `json:"events"`
}

// What a loop waits for.
const (
	// ForPerson: somebody must decide about a dead letter.
	ForPerson = "person"
	// ForVendor: it is out.
	ForVendor = "vendor"
	// ForRetry: it failed and is tried again.
	ForRetry = "retry"
	// ForService: it has the event in hand, or has not come to it.
	ForService = "service"
	// ForApproval: a person in Awardco is to approve a recognition, and nobody has told yet that it was decided.
	ForApproval = "approval"
	// ForCustomer: the survey is not answered.
	ForCustomer = "customer"
)

// Wait is one thing that a loop waits for.
type Wait struct {
	// For is one of [ForPerson], [ForVendor], [ForRetry], [ForService], [ForApproval], [ForCustomer].
	For     string `json:"for"`
	Service string `json:"service,omitempty"`
	// Vendor that the service asks for it, where it asks one.
	Vendor  string `json:"vendor,omitempty"`
	EventID string `json:"eventId,omitempty"`
	// Since is when the wait for the step began: when its event was stored, or a person had it replayed. Tries that fail, and a
	// vendor that goes out, do not begin it anew.
	Since time.Time `json:"since"`
	// Until is when it is tried again, where that is known.
	Until  time.Time `json:"until,omitzero"`
	Class  string    `json:"class,omitempty"`
	Reason string    `json:"reason,omitempty"`
	// Letter is the dead letter that a person must decide about, 0 for none.
	Letter uint64 `json:"letter,omitempty"`
}

// Place is a message in a stream.
type Place struct {
	Stream   string    `json:"stream"`
	Sequence uint64    `json:"sequence"`
	Type     string    `json:"type"` // its subject
	At       time.Time `json:"at"`

	loop string // that it is a place of
}

// ErrUnknown is that of a loop that the read model does not have.
var ErrUnknown = errors.New("no such loop is known")

// Span is a time and what is counted in it: From <= t < To, of one campaign and survey where they are named.
type Span struct {
	From, To         time.Time
	Campaign, Survey string
}

// Count is a number with its name.
type Count struct {
	Name  string `json:"name"`
	Count int    `json:"count"`
}

// Bucket is one column of a histogram: Most is its upper end, 0 for all beyond.
type Bucket struct {
	Most  time.Duration `json:"most"`
	Count int           `json:"count"`
}

// Hour is what happened in one hour, by type of event.
type Hour struct {
	At     time.Time      `json:"at"`
	Counts map[string]int `json:"counts"`
}

// Numbers are the counts of a span.
type Numbers struct {
	Funnel  []Count  `json:"funnel"` // loops that began in the span, by stage reached
	Closing []Bucket `json:"closing"`
	Flow    []Hour   `json:"flow"`
	// Campaigns and Rules: loops by campaign, and by rule that fired.
	Campaigns []Group `json:"campaigns"`
	Rules     []Group `json:"rules"`
	Vendors   []Calls `json:"vendors"`
}

// Group are loops that have something in common.
type Group struct {
	Name   string  `json:"name"`
	Funnel []Count `json:"funnel"`
	Failed int     `json:"failed"`
	// Median time to close, 0 where none is closed.
	Median time.Duration `json:"median"`
}

// Calls of one operation of a vendor.
type Calls struct {
	Vendor    string `json:"vendor"`
	Operation string `json:"operation"`
	Calls     int    `json:"calls"`
	// Saved is how many more calls it would have been one by one.
	Saved  int `json:"saved"`
	Failed int `json:"failed"`
	// Mean time of a call.
	Mean time.Duration `json:"mean"`
}

// Progress is how far the read model is behind the streams.
type Progress struct {
	// Read and Last are, by stream, the sequence that was read last and the last that there is.
	Read map[string]uint64 `json:"read"`
	Last map[string]uint64 `json:"last"`
	// Behind is how many messages are missing at most.
	Behind uint64 `json:"behind"`
}
