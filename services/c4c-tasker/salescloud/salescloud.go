// Package salescloud makes tasks in SAP Sales Cloud Version 1 (C4C, OData v2), as in sap-sales-cloud.md.
package salescloud

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
)

// ServiceRoot is the path of the standard service (sap-sales-cloud.md §1).
const ServiceRoot = "/sap/c4c/odata/v1/c4codataapi"

const (
	// textType is the note that people see first in a task (sap-sales-cloud.md §2, known values).
	textType = "10002"
	// zone of all times that we send; every tenant has it.
	zone = "UTC"
	// maxSubject is the length of Subject in characters (sap-sales-cloud.md §2).
	maxSubject = 765
)

// Task is what is to be made. Empty fields are left out of the call, since the vendor takes an empty id for a wrong
// one.
type Task struct {
	// Reference is ours, written into Subject so that a lost answer can be looked up: the response id.
	Reference string
	Subject   string
	Text      string
	// Language of Text, two letters.
	Language string
	// AccountID, ContactID are numbers of existing business partners; ProcessorID and OwnerID of employees.
	AccountID, ContactID, ProcessorID, OwnerID string
	// Priority is one character of the tenant's code list.
	Priority string
	Due      time.Time
}

// Created is a task that exists.
type Created struct {
	// ObjectID is the key, ID the number that people see.
	ObjectID string `json:"ObjectID"`
	ID       string `json:"ID"`
}

// Client makes and finds tasks.
type Client struct {
	odata *odata.Client
}

// New makes a client on a session for [ServiceRoot].
func New(session *odata.Client) *Client { return &Client{odata: session} }

// body is the published example of a task (sap-sales-cloud.md, "What to build on").
type body struct {
	Subject                        string     `json:"Subject"`
	Status                         string     `json:"Status"`
	PriorityCode                   string     `json:"PriorityCode,omitempty"`
	MainAccountPartyID             string     `json:"MainAccountPartyID,omitempty"`
	MainContactPartyID             string     `json:"MainContactPartyID,omitempty"`
	ProcessorPartyID               string     `json:"ProcessorPartyID,omitempty"`
	MainEmployeeResponsiblePartyID string     `json:"MainEmployeeResponsiblePartyID,omitempty"`
	DueDateTime                    string     `json:"DueDateTime,omitempty"`
	DueDatetimeZoneCode            string     `json:"DueDatetimeZoneCode,omitempty"`
	TasksTextCollection            []textBody `json:"TasksTextCollection,omitempty"`
}

type textBody struct {
	TypeCode     string `json:"TypeCode"`
	LanguageCode string `json:"LanguageCode"`
	Text         string `json:"Text"`
}

// Create makes the task: POST TasksCollection with its text as a child. Not safe to repeat blindly: the vendor has no
// key of ours (sap-sales-cloud.md §3), so a lost answer is settled by [Client.Find].
func (c *Client) Create(ctx context.Context, t Task) (Created, error) {
	b := body{
		Subject: subject(t), Status: "1", PriorityCode: t.Priority,
		MainAccountPartyID: t.AccountID, MainContactPartyID: t.ContactID,
		ProcessorPartyID: t.ProcessorID, MainEmployeeResponsiblePartyID: t.OwnerID,
	}
	if !t.Due.IsZero() {
		b.DueDateTime, b.DueDatetimeZoneCode = t.Due.UTC().Format("2006-01-02T15:04:05Z"), zone
	}
	if t.Text != "" {
		b.TasksTextCollection = []textBody{{TypeCode: textType, LanguageCode: t.Language, Text: t.Text}}
	}
	var created Created
	if err := c.odata.Create(ctx, "create task", "TasksCollection", b, &created, t.Subject, t.Text); err != nil {
		return Created{}, err
	}
	if created.ObjectID == "" {
		return Created{}, fault.New(fault.Unknown, "the answer to the new task holds no ObjectID")
	}
	return created, nil
}

// Find looks for the task that carries the reference. It is found by what Subject ends with; an exact comparison would
// depend on the text of whoever made it first.
func (c *Client) Find(ctx context.Context, reference string) (Created, bool, error) {
	literal, err := odata.QuoteExact(marker(reference))
	if err != nil {
		return Created{}, false, err
	}
	q := url.Values{
		"$filter": {fmt.Sprintf("endswith(Subject,%s)", literal)},
		"$select": {"ObjectID,ID"},
		"$top":    {"1"},
	}
	var found odata.Array[Created]
	if err := c.odata.Get(ctx, "find task", "TasksCollection", q, &found); err != nil {
		return Created{}, false, err
	}
	if len(found) == 0 {
		return Created{}, false, nil
	}
	return found[0], true, nil
}

// subject ends with the marker whatever its length, since that is what the task is found by.
func subject(t Task) string {
	end := " " + marker(t.Reference)
	text := []rune(t.Subject)
	return string(text[:min(len(text), maxSubject-len([]rune(end)))]) + end
}

func marker(reference string) string { return "[" + reference + "]" }
