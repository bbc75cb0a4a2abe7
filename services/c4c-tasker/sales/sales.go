// Package sales is what the tasker asks of SAP Sales Cloud, whichever version a tenant has: a task, and the calls that
// make it and find it again.
package sales

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Task is what is to be made. Empty fields are left out of the call, since the vendor takes an empty id for a wrong
// one.
type Task struct {
	// Reference is ours, written into the task so that a lost answer can be looked up: the response id.
	Reference string
	Subject   string
	Text      string
	// AccountID, ContactID name existing business partners; ProcessorID and OwnerID employees.
	AccountID, ContactID, ProcessorID, OwnerID string
	// Priority is a code of Version 1, one character; empty means that of the settings.
	Priority string
	Due      time.Time
}

// Personal is what must not be repeated in an error.
func (t Task) Personal() []string { return append(outbound.Answers(t.Text), t.Subject) }

// Created is a task that exists.
type Created struct {
	// ObjectID is the key, ID the number that people see. The names are part of the ledger.
	ObjectID string `json:"ObjectID"`
	ID       string `json:"ID"`
}

// Text is a note at a task.
type Text struct {
	// ID is empty where the vendor gave none.
	ID string `json:"id,omitempty"`
}

// Cloud is SAP Sales Cloud. Faults are those of pkg/outbound. A party that it does not know is [fault.Refused] with a
// [PartyError] as the cause, and nothing was done.
type Cloud interface {
	// Reach makes a cheap call that changes nothing, to find out whether the vendor is there and takes our credentials.
	Reach(ctx context.Context) error
	// Settings holds the settings against the tenant's code lists, which it reads. wrong tells of each setting that the
	// tenant does not have; err is why a list could not be read, so that nothing is known of its setting.
	Settings(ctx context.Context) (wrong []string, err error)
	// Vet refuses what no tenant of this version takes, as [fault.Invalid] with the event's field. It calls nobody.
	Vet(t Task) error
	// Check refuses what this tenant does not take, as far as that can be known before. It belongs before Create and
	// nowhere else: a task that may exist must not be given up for it.
	Check(ctx context.Context, t Task) error
	// Create makes the task. Not safe to repeat blindly.
	Create(ctx context.Context, t Task) (Created, error)
	// CanFind tells whether Find has a way; without one a lost answer waits for a person.
	CanFind() bool
	// Find looks for the task by its reference.
	Find(ctx context.Context, t Task) (Created, bool, error)
	// AddText adds the task's text, where Create does not send it along.
	AddText(ctx context.Context, to Created, t Task) (Text, error)
	// FindText looks for the text that AddText adds.
	FindText(ctx context.Context, to Created, t Task) (Text, bool, error)
	// Address is where the API has the task.
	Address(c Created) string
}

// Marker is the reference as it stands in a task.
func Marker(reference string) string { return "[" + reference + "]" }

// Marked puts the marker behind text, which is cut so that both have at most limit characters; 0 means no limit. It
// ends with the marker whatever its length, since that is what the task is found by.
func Marked(text, reference string, limit int) string {
	end := Marker(reference)
	if text == "" {
		return end
	}
	end = " " + end
	runes := []rune(text)
	if limit > 0 {
		runes = runes[:min(len(runes), max(limit-len([]rune(end)), 0))]
	}
	return string(runes) + end
}

// Locked makes a lock conflict [fault.Transient], whatever its status, which is not documented (odata-v2.md §3, KBA
// 3577788): the vendor refuses before it acts, so nothing is left open, and the lock goes away by itself. Other errors
// stay as they are.
func Locked(err error) error {
	status := outbound.StatusOf(err)
	refused := outbound.Classify(status, true) == fault.Refused || status == http.StatusInternalServerError
	if !refused || !strings.Contains(strings.ToLower(fault.From(err).Reason), "locked by") {
		return err
	}
	f := *fault.From(err)
	f.Class = fault.Transient
	return &f
}

// SameText tells whether two texts say the same: line ends and blanks may change on the way through a vendor.
func SameText(a, b string) bool {
	return strings.Join(strings.Fields(a), " ") == strings.Join(strings.Fields(b), " ")
}
