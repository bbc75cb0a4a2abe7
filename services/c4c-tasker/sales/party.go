package sales

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
)

// Kind is a kind of business partner.
type Kind string

// The parties of a task.
const (
	Account   Kind = "account"
	Contact   Kind = "contact"
	Processor Kind = "processor"
	Owner     Kind = "responsible employee"
)

// Party is somebody whom a task names.
type Party struct {
	Kind Kind
	ID   string
	// Field of the event.
	Field string
}

// Parties lists whom the task names. An id that two fields share is there twice.
func (t Task) Parties() []Party {
	var named []Party
	for _, p := range []Party{
		{Account, t.AccountID, "accountId"},
		{Contact, t.ContactID, "contactId"},
		{Processor, t.ProcessorID, "processorId"},
		{Owner, t.OwnerID, "ownerId"},
	} {
		if p.ID != "" {
			named = append(named, p)
		}
	}
	return named
}

// Without gives the task without the party of that kind.
func (t Task) Without(k Kind) Task {
	switch k {
	case Account:
		t.AccountID = ""
	case Contact:
		t.ContactID = ""
	case Processor:
		t.ProcessorID = ""
	case Owner:
		t.OwnerID = ""
	}
	return t
}

// PartyError is the cause of a refusal for one party's sake.
type PartyError struct {
	Party
	// Words are the vendor's, redacted; empty where a look-up found nobody.
	Words string
}

// Error says which id of which kind is not taken.
func (e *PartyError) Error() string {
	if e.Words == "" {
		return fmt.Sprintf("there is no %s %s in SAP Sales Cloud", e.Kind, e.ID)
	}
	return fmt.Sprintf("SAP Sales Cloud does not take the %s %s: %s", e.Kind, e.ID, e.Words)
}

// Refused makes the fault for a party that is not taken. from is the vendor's refusal, nil after a look-up.
func (e *PartyError) Refused(vendor string) *fault.Fault {
	f := fault.New(fault.Refused, "%w", error(e))
	f.Vendor, f.Field = vendor, e.Field
	return f
}

// UnknownParty finds the party for whose sake a task was refused, or nil.
func UnknownParty(err error) *PartyError {
	if e, ok := errors.AsType[*PartyError](err); ok {
		return e
	}
	return nil
}

// Blame finds the party of which a refusal speaks, by what the vendor calls its field or by its id; nil where it names
// neither, or where err is no refusal. Names of fields go first: an id may be part of any text.
func Blame(err error, t Task, fields map[Kind]string) *PartyError {
	f := fault.From(err)
	if f.Class != fault.Refused {
		return nil
	}
	for _, named := range []func(Party) string{
		func(p Party) string { return fields[p.Kind] },
		func(p Party) string { return p.ID },
	} {
		for _, p := range t.Parties() {
			if says(f.Reason, named(p)) {
				return &PartyError{Party: p, Words: f.Reason}
			}
		}
	}
	return nil
}

// says tells whether a text holds a word as a whole.
func says(text, word string) bool {
	return word != "" && strings.Contains(text, word) &&
		regexp.MustCompile(`(^|[^\w-])`+regexp.QuoteMeta(word)+`($|[^\w-])`).MatchString(text)
}
