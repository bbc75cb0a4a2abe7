// Package fault names the reasons why an event was not handled, as classes that one place decides upon.
//
// Handlers return errors; pkg/bus maps the class of an error to what happens to the message: held back and tried
// again, held back without counting an attempt while a vendor is out, or put into the dead letters at once. Nothing
// else in closeloop makes that decision. An error without a class counts as [Transient].
//
// The text of a fault is read by people, travels in headers and logs, and therefore never holds anything personal.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Class says whose fault it is and so what is to be done.
type Class string

const (
	// Invalid: the event itself breaks its contract. Dead letter at once.
	Invalid Class = "invalid"
	// Refused: the vendor refuses the content, in its own words. Dead letter at once.
	Refused Class = "refused"
	// Person: only a person can decide (an unknown id, an effect that can be neither probed nor repeated).
	// Dead letter at once.
	Person Class = "person"
	// Transient: something failed that may work later. Tried again with growing delay, attempts counted.
	Transient Class = "transient"
	// NotYet: all is well, but what is waited for is not there yet. Tried again after After or, where that is not given,
	// with growing delay, attempts counted.
	NotYet Class = "not-yet"
	// Unknown: a write was sent and its answer lost. Tried again; the ledger probes before anything is sent again.
	Unknown Class = "unknown"
	// Busy: another worker holds the same effect. Tried again soon, no attempt counted.
	Busy Class = "busy"
	// Throttled: the vendor's quota is used up. The consumer pauses, no attempt counted.
	Throttled Class = "throttled"
	// Down: the vendor does not answer, or answers that it cannot. The consumer pauses, no attempt counted.
	Down Class = "down"
	// Unauthorized: the vendor refuses our credentials. The consumer pauses, no attempt counted, people are told.
	Unauthorized Class = "unauthorized"
	// Forbidden: the vendor refuses us the right to this, or to everything. The consumer pauses as for Unauthorized, but
	// attempts are counted, since it may be this one record alone.
	Forbidden Class = "forbidden"
	// Erased: it is about a person who was forgotten. Nothing is done, and the event is settled as if it had been.
	Erased Class = "erased"
	// Exhausted: tried again as often as allowed. Never returned by handlers; the class of the dead letter.
	Exhausted Class = "exhausted"
)

// VendorOut tells the classes in which the message is not known to be at fault: the vendor is throttling, down, or
// refuses us.
func (c Class) VendorOut() bool {
	return c == Throttled || c == Down || c == Unauthorized || c == Forbidden
}

// Final tells the classes that no repetition can mend.
func (c Class) Final() bool { return c == Invalid || c == Refused || c == Person }

// Fault is an error with a class. The zero value of the optional fields means "not known".
type Fault struct {
	Class Class
	// Vendor is who answered: qualtrics, sap-marketing, sap-sales-cloud, awardco.
	Vendor string
	// Reason is a sentence that a person can act on. Nothing personal.
	Reason string
	// Field is the path of the field that is wrong: contact.email.
	Field string
	// Rule is the name of the rule that failed, where one did (docs/rules.md).
	Rule string
	// After is how long to wait at least, where the vendor or the handler knows.
	After time.Duration
	// Err is the cause, for errors.Is and errors.As.
	Err error
}

// Error gives vendor, reason and field as one sentence.
func (f *Fault) Error() string {
	s := f.Reason
	if f.Field != "" {
		s = f.Field + ": " + s
	}
	if f.Vendor != "" {
		s = f.Vendor + ": " + s
	}
	return s
}

// Unwrap gives the cause.
func (f *Fault) Unwrap() error { return f.Err }

// New makes a fault of class c with a formatted reason. A %w in the format becomes the cause.
func New(c Class, format string, args ...any) *Fault {
	err := fmt.Errorf(format, args...)
	return &Fault{Class: c, Reason: err.Error(), Err: errors.Unwrap(err)}
}

// At makes an [Invalid] fault about one field.
func At(field, format string, args ...any) *Fault {
	f := New(Invalid, format, args...)
	f.Field = field
	return f
}

// Later makes a [NotYet] fault that asks for a repetition after d, for a day at most; d of 0 leaves the delay, and the end,
// to the bus.
func Later(d time.Duration, format string, args ...any) *Fault {
	f := New(NotYet, format, args...)
	f.After = d
	return f
}

// From finds the fault in err's chain; an error without one is [Transient].
func From(err error) *Fault {
	if f, ok := errors.AsType[*Fault](err); ok {
		return f
	}
	return &Fault{Class: Transient, Reason: err.Error(), Err: err}
}

// Is tells whether err carries a fault of class c.
func Is(err error, c Class) bool {
	var f *Fault
	return errors.As(err, &f) && f.Class == c
}
