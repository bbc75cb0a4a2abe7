// Package activity is what services tell people about their work, beside the events that the work is about: each try to
// handle an event with the vendor calls that it made, what the rules said, how vendors are, and which rules are in force.
//
// It is told once and in passing, under activity.<service>.<kind>, which the stream ACTIVITY keeps for a while: nothing waits
// for it, nothing is decided by it, and what is lost is missed by nobody but who looks. It holds ids, names, numbers and the
// redacted texts of faults, and nothing personal but what callers put into the ids that they choose.
package activity

import (
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

// Kinds of activity, the last token of its subject.
const (
	// KindAttempt is that of [Attempt].
	KindAttempt = "attempt"
	// KindVendor is that of [Vendor].
	KindVendor = "vendor"
	// KindQuota is that of [Quota].
	KindQuota = "quota"
	// KindRules is that of [RuleSet].
	KindRules = "rules"
)

// Outcomes of a try, as pkg/bus settles it.
const (
	Done       = "done"
	Erased     = "erased"
	Retry      = "retry"       // it failed, and is tried again at Next
	Held       = "held"        // somebody else is at it, it waits for its turn, or it is handed back: Reason says which
	Paused     = "paused"      // its vendor is out, which it found, or was known (class busy) so that it was not tried
	Suspect    = "suspect"     // it was in hand when a process ended
	DeadLetter = "dead letter" // a person must decide
	NotSettled = "not settled" // the broker delivers it again
)

// Attempt is one round of work: with one event, or with a wave of them. A large one is told in parts, each with some of the
// events, the calls that were made for them alone, and those that were made for all.
type Attempt struct {
	Service string    `json:"service"`
	At      time.Time `json:"at"` // when it began
	// Took is from then until the last event was settled, in nanoseconds.
	Took   time.Duration `json:"took"`
	Calls  []Call        `json:"calls,omitempty"`
	Events []Handled     `json:"events"`
	// Wave is how many events were handled together, in all parts; 0 and 1 are one.
	Wave int `json:"wave,omitempty"`
}

// Handled is what became of one event.
type Handled struct {
	EventID string `json:"eventId"`
	LoopID  string `json:"loopId"`
	Type    string `json:"type"`
	// Stream and Sequence are where the event was first stored.
	Stream   string `json:"stream,omitempty"`
	Sequence uint64 `json:"sequence,omitempty"`
	// Attempt counts from 1, those that burnt none left out.
	Attempt int         `json:"attempt"`
	Outcome string      `json:"outcome"`
	Class   fault.Class `json:"class,omitempty"`
	// Vendor whose fault it was, and Reason in words that are fit for a log.
	Vendor string `json:"vendor,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Next is when it is tried again, zero for never.
	Next  time.Time  `json:"next,omitzero"`
	Rules []Decision `json:"rules,omitempty"`
}

// Call is one call of a vendor's interface.
type Call struct {
	Vendor    string    `json:"vendor"`
	Operation string    `json:"operation"`
	At        time.Time `json:"at"`
	// Waited is how long it waited for its turn, and Took how long the vendor took, in nanoseconds.
	Waited time.Duration `json:"waited,omitempty"`
	Took   time.Duration `json:"took"`
	// Status of the answer, 0 where there was none.
	Status int `json:"status,omitempty"`
	// Outcome is ok, or the class of the fault.
	Outcome string `json:"outcome"`
	Reason  string `json:"reason,omitempty"`
	Write   bool   `json:"write,omitempty"`
	// InsteadOf is how many calls would have been made one by one for what this one did; 0 and 1 are one.
	// A call that failed did nothing.
	InsteadOf int `json:"insteadOf,omitempty"`
	// EventID is the one event of a wave that it was made for, "" where it was for all of them.
	EventID string `json:"eventId,omitempty"`
	// Repeated says that an earlier part of the same round has it too: it is not to be counted again.
	Repeated bool `json:"repeated,omitempty"`
}

// Decision is what one rule said of one answer.
type Decision struct {
	Rule string `json:"rule"`
	// Fired says that its condition was true, and Subject what it published to.
	Fired   bool   `json:"fired,omitempty"`
	Subject string `json:"subject,omitempty"`
	// Why it did not fire: the condition that was false, in the words of the rules file; or why it could not be worked out.
	Why string `json:"why,omitempty"`
	// RuleSet is the hash of the rules in force.
	RuleSet string `json:"ruleSet,omitempty"`
}

// States of a vendor.
const (
	Healthy   = "healthy"
	Throttled = "throttled"
	Out       = "out"
)

// Vendor is how a vendor is, as one service sees it, told whenever that changes.
type Vendor struct {
	Service string      `json:"service"`
	Vendor  string      `json:"vendor"`
	State   string      `json:"state"`
	Since   time.Time   `json:"since"`
	Until   time.Time   `json:"until,omitzero"` // when it is asked again
	Class   fault.Class `json:"class,omitempty"`
	Reason  string      `json:"reason,omitempty"`
	At      time.Time   `json:"at"`
}

// Quota is how much of a vendor's limits the fleet has used, told every few seconds while it is used.
type Quota struct {
	Service string    `json:"service"`
	Vendor  string    `json:"vendor"`
	At      time.Time `json:"at"`
	Limits  []Limit   `json:"limits"`
}

// Limit is one limit of a vendor.
type Limit struct {
	// Name is an operation, or "all", or "parallel" for calls at the same time.
	Name string `json:"name"`
	// Used in the last minute (parallel: now), and Most that may be.
	Used float64 `json:"used"`
	Most float64 `json:"most"`
}

// RuleSet is a file of rules as its service has it in force, told when that changes and every hour.
type RuleSet struct {
	Service string `json:"service"`
	Name    string `json:"name"` // of the file
	Hash    string `json:"hash"`
	Source  string `json:"source"`
	// Since is when the service that tells it loaded it: at its start, or when the file had changed.
	Since time.Time `json:"since"`
	// Refused is why a later file was not put in force, "" where the latest is in force.
	Refused string    `json:"refused,omitempty"`
	At      time.Time `json:"at"`
}
