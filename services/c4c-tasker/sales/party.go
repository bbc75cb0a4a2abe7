package sales

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
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
	// Missing says that there surely is no such party, which is more than words tell that only name it. Guests are
	// treated as such for nothing less.
	Missing bool
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

// partyWords are what vendors call a party of a kind; anyParty fits all kinds.
var (
	partyWords = map[Kind][]string{
		Account: {"account", "customer"}, Contact: {"contact"}, Processor: {"processor", "employee"}, Owner: {"owner", "responsible", "employee"},
	}
	anyParty = []string{"party", "partner"}
)

// near is how many words there may be from a party's id to what it is called.
const near = 6

// Blame finds the party of which the vendor's own words speak: by what it calls the field, or by an id next to a word
// for such a party. It is nil where they name neither, or where err is no refusal. Names of fields go first: an id may
// be part of any text. This is a guess, good enough to tell a person where to look; sure says that the words name both,
// field and id.
func Blame(err error, t Task, fields map[Kind]string) (blamed *PartyError, sure bool) {
	f := fault.From(err)
	if f.Class != fault.Refused {
		return nil, false
	}
	words := vendorsWords(f, t)
	for _, named := range []func(Party) bool{
		func(p Party) bool { return says(words, fields[p.Kind]) },
		func(p Party) bool { return speaksOf(words, p) },
	} {
		for _, p := range t.Parties() {
			if named(p) {
				return &PartyError{Party: p, Words: f.Reason}, says(words, fields[p.Kind]) && says(words, p.ID)
			}
		}
	}
	return nil, false
}

// quoted is a passage in quotes of more than one word: a vendor that quotes so much repeats what it was sent.
var quoted = regexp.MustCompile(`"[^"]*\s[^"]*"|'[^']*\s[^']*'|“[^”]*\s[^”]*”|„[^“]*\s[^“]*“`)

// vendorsWords takes from a refusal what pkg/outbound put before the vendor's words (operation, status, code), and
// what of the event is repeated in them.
func vendorsWords(f *fault.Fault, t Task) string {
	words := f.Reason
	if status, ok := errors.AsType[*outbound.StatusError](f.Err); ok {
		text := strings.TrimSpace(strconv.Itoa(status.Status) + " " + http.StatusText(status.Status))
		for _, ours := range []string{status.Operation, text, status.Code} {
			words = strings.TrimPrefix(strings.TrimPrefix(words, ours), ": ")
		}
	}
	return quoted.ReplaceAllString(outbound.Redact(words, t.Personal()...), "")
}

// speaksOf tells whether a text holds the party's id and, near it, a word for such a party.
func speaksOf(text string, p Party) bool {
	if !says(text, p.ID) {
		return false
	}
	words := strings.Fields(text)
	for i, word := range words {
		if !says(word, p.ID) {
			continue
		}
		for _, by := range words[max(i-near, 0):min(i+near+1, len(words))] {
			if isParty(by, p.Kind) {
				return true
			}
		}
	}
	return false
}

func isParty(word string, k Kind) bool {
	return slices.ContainsFunc(slices.Concat(partyWords[k], anyParty), func(of string) bool {
		return strings.Contains(strings.ToLower(word), of)
	})
}

// says tells whether a text holds a word as a whole.
func says(text, word string) bool {
	return word != "" && strings.Contains(text, word) &&
		regexp.MustCompile(`(^|[^\w-])`+regexp.QuoteMeta(word)+`($|[^\w-])`).MatchString(text)
}
