// Package salescloud makes tasks in SAP Sales Cloud Version 1 (C4C, OData v2), as in sap-sales-cloud.md.
package salescloud

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

// ServiceRoot is the path of the standard service (sap-sales-cloud.md §1).
const ServiceRoot = "/sap/c4c/odata/v1/c4codataapi"

// Vendor is the name in faults and metrics.
const Vendor = "sap-sales-cloud"

// Reference says where a task carries our reference (sap-sales-cloud.md §3).
type Reference string

// The places of the reference. A tenant's own field goes before both: see [Options.ReferenceField].
const (
	InSubject Reference = "subject"
	InText    Reference = "text"
)

// Lookup says when parties are looked up.
type Lookup string

// The times of a look-up.
const (
	// LookupNever leaves it at the vendor's words.
	LookupNever Lookup = "never"
	// LookupRefused looks up whom a refusal does not name. It costs calls for refused tasks only.
	LookupRefused Lookup = "refused"
	// LookupBefore looks everybody up before each task as well: up to five calls more.
	LookupBefore Lookup = "before"
)

// Lists says what is checked against the tenant's code lists.
type Lists string

// The ways to check code lists.
const (
	// ListsStrict takes a list that the tenant does not have, or a code that its list does not have, for an alarm, and
	// has work wait for it.
	ListsStrict Lists = "strict"
	// ListsLenient never has a task wait for a list: lists are read by [Client.Settings] alone, and what cannot be read
	// refuses nothing.
	ListsLenient Lists = "lenient"
	// ListsOff reads none.
	ListsOff Lists = "off"
)

// Options are what a tenant decides (sap-sales-cloud.md §10). All but DocumentType, ReferenceField and the switches are
// required.
type Options struct {
	// Priority, Status, TextType, Language and Zone are codes of the tenant's lists; Priority is for tasks that name none.
	Priority, Status, TextType, Language, Zone string
	// DocumentType is sent where there is one.
	DocumentType string
	// SeparateTexts leaves the text out of the create call: see [Client.AddText].
	SeparateTexts bool
	// TicksDates sends /Date(ms)/ in place of ISO 8601.
	TicksDates bool
	Reference  Reference
	// ReferenceField is a field of the tenant that holds the reference and can be filtered by. It takes the place of
	// Reference.
	ReferenceField string
	Lists          Lists
	Lookup         Lookup
	// Guests says that something is done for parties that do not exist, so that a refusal must be confirmed by a look-up.
	Guests bool
	// BaseURL is scheme and host, for addresses.
	BaseURL string
}

// Client makes and finds tasks.
type Client struct {
	odata   *odata.Client
	options Options
	codes   *codes
}

var _ sales.Cloud = (*Client)(nil)

// New makes a client on a session for [ServiceRoot].
func New(session *odata.Client, o Options) *Client {
	return &Client{odata: session, options: o, codes: newCodes(session, o.Lists)}
}

// Reach reads the service root.
func (c *Client) Reach(ctx context.Context) error { return c.odata.Reach(ctx) }

// Vet refuses what is too long, and an asterisk in what we filter by: it is a wildcard and cannot be escaped
// (odata-v2.md §7).
func (c *Client) Vet(t sales.Task) error {
	if strings.Contains(t.Reference, "*") {
		return fault.At("responseId", "holds an asterisk, which SAP Sales Cloud takes for a wildcard: the task could not be found again")
	}
	for _, p := range t.Parties() {
		if strings.Contains(p.ID, "*") {
			return fault.At(p.Field, "holds an asterisk, which SAP Sales Cloud takes for a wildcard")
		}
	}
	return c.vetLengths(t)
}

// Check holds the priority against the tenant's list, and looks the parties up where the settings say so. With
// [ListsStrict] settings that do not fit are [fault.Unauthorized]: people are told, work waits, and no event is given up.
func (c *Client) Check(ctx context.Context, t sales.Task) error {
	if err := c.checkSettings(ctx); err != nil {
		return err
	}
	if err := c.checkPriority(ctx, t.Priority); err != nil {
		return err
	}
	if c.options.Lookup != LookupBefore {
		return nil
	}
	return c.lookUp(ctx, t)
}

// Create makes the task: POST TasksCollection, with its text as a child unless texts go separately. Not safe to repeat
// blindly: the vendor has no key of ours (sap-sales-cloud.md §3), so a lost answer is settled by [Client.Find].
func (c *Client) Create(ctx context.Context, t sales.Task) (sales.Created, error) {
	body := c.body(t, fields)
	if c.options.ReferenceField != "" {
		body[c.options.ReferenceField] = t.Reference
	}
	records := 1
	if !c.options.SeparateTexts && c.text(t) != "" {
		body["TasksTextCollection"] = []any{c.body(t, textFields)}
		records++
	}
	var created sales.Created
	if err := c.create(ctx, "create task", "TasksCollection", records, body, &created, t); err != nil {
		return sales.Created{}, c.explain(ctx, err, t)
	}
	if created.ObjectID == "" {
		return sales.Created{}, fault.New(fault.Unknown, "the answer to the new task holds no ObjectID")
	}
	return created, nil
}

func (c *Client) create(ctx context.Context, operation, set string, records int, body map[string]any, into any, t sales.Task) error {
	return sales.Locked(c.odata.DeepInsert(ctx, operation, set, records, body, into, t.Personal()...))
}

const textSet = "TasksTextCollectionCollection"

// AddText adds the text to a task that exists: POST TasksTextCollectionCollection (sap-sales-cloud.md §2).
func (c *Client) AddText(ctx context.Context, to sales.Created, t sales.Task) (sales.Text, error) {
	body := c.body(t, textFields)
	body[parentField] = to.ObjectID
	var created struct{ ObjectID string }
	err := c.create(ctx, "add text", textSet, 1, body, &created, t)
	return sales.Text{ID: created.ObjectID}, err
}

// FindText reads the texts of the task: they are not in the answer to its creation (sap-sales-cloud.md, rule 3).
func (c *Client) FindText(ctx context.Context, to sales.Created, t sales.Task) (sales.Text, bool, error) {
	parent, err := odata.QuoteExact(to.ObjectID)
	if err != nil {
		return sales.Text{}, false, err
	}
	q := url.Values{"$filter": {parentField + " eq " + parent}, "$select": {"ObjectID,ParentObjectID,Text"}}
	for text, err := range odata.Pages[struct{ ObjectID, ParentObjectID, Text string }](ctx, c.odata, "find text", textSet, q, 10) {
		if err != nil {
			return sales.Text{}, false, err
		}
		if text.ObjectID != "" && text.ParentObjectID == to.ObjectID && sales.SameText(text.Text, c.text(t)) {
			return sales.Text{ID: text.ObjectID}, true, nil
		}
	}
	return sales.Text{}, false, nil
}

// Address is the task in the API.
func (c *Client) Address(created sales.Created) string {
	return strings.TrimSuffix(c.options.BaseURL, "/") + ServiceRoot + "/TasksCollection('" + created.ObjectID + "')"
}

func (c *Client) subject(t sales.Task) string {
	if c.options.ReferenceField != "" || c.options.Reference == InText {
		return t.Subject
	}
	return sales.Marked(t.Subject, t.Reference, maxSubject)
}

func (c *Client) text(t sales.Task) string {
	if c.options.ReferenceField == "" && c.options.Reference == InText {
		return sales.Marked(t.Text, t.Reference, 0)
	}
	return t.Text
}

func (c *Client) priority(t sales.Task) string {
	if t.Priority == "" {
		return c.options.Priority
	}
	return t.Priority
}

// due has no milliseconds: none are worth inventing (odata-v2.md §5).
func (c *Client) due(t sales.Task) string {
	switch {
	case t.Due.IsZero():
		return ""
	case c.options.TicksDates:
		return odata.Ticks(t.Due.Truncate(time.Second))
	}
	return t.Due.UTC().Format("2006-01-02T15:04:05Z")
}

func (c *Client) zone(t sales.Task) string {
	if t.Due.IsZero() {
		return ""
	}
	return c.options.Zone
}
