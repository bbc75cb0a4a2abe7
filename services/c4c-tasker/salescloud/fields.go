package salescloud

import (
	"slices"
	"unicode/utf8"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

// maxSubject is the length of Subject in characters.
const maxSubject = 765

// field is a property of Tasks that we send.
type field struct {
	// name and max, its length in characters, are those of the metadata (sap-sales-cloud.md §2; C4C_TASKS.xml).
	name string
	max  int
	// event is the field of the event that it comes from, setting what it comes from where the event says nothing.
	event, setting string
	value          func(*Client, sales.Task) string
}

// fields are all that is sent of a task, the one table of names and lengths. Read-only properties are not among them:
// they make the request fail (sap-sales-cloud.md, rule 4).
var fields = []field{
	{"Subject", maxSubject, "subject", "", (*Client).subject},
	{"Status", 2, "", "C4C_STATUS", func(c *Client, _ sales.Task) string { return c.options.Status }},
	{"PriorityCode", 1, "priority", "C4C_PRIORITY", (*Client).priority},
	{"DocumentType", 4, "", "C4C_DOCUMENT_TYPE", func(c *Client, _ sales.Task) string { return c.options.DocumentType }},
	{accountField, 60, "accountId", "C4C_DEFAULT_ACCOUNT_ID", func(_ *Client, t sales.Task) string { return t.AccountID }},
	{contactField, 60, "contactId", "", func(_ *Client, t sales.Task) string { return t.ContactID }},
	{processorField, 60, "processorId", "C4C_PROCESSOR_ID", func(_ *Client, t sales.Task) string { return t.ProcessorID }},
	{ownerField, 60, "ownerId", "", func(_ *Client, t sales.Task) string { return t.OwnerID }},
	{"DueDateTime", 0, "dueAt", "", (*Client).due},
	{"DueDatetimeZoneCode", 10, "", "C4C_ZONE", (*Client).zone},
}

// textFields are all that is sent of a text, beside ParentObjectID where it goes alone.
var textFields = []field{
	{"TypeCode", 5, "", "C4C_TEXT_TYPE", func(c *Client, _ sales.Task) string { return c.options.TextType }},
	{"LanguageCode", 2, "", "C4C_LANGUAGE", func(c *Client, _ sales.Task) string { return c.options.Language }},
	{"Text", 0, "text", "", (*Client).text},
}

// parentField attaches a text to its task; the human number would do as well (sap-sales-cloud.md §2).
const (
	parentField = "ParentObjectID"
)

// The fields that hold parties.
const (
	accountField   = "MainAccountPartyID"
	contactField   = "MainContactPartyID"
	processorField = "ProcessorPartyID"
	ownerField     = "MainEmployeeResponsiblePartyID"
)

var partyFields = map[sales.Kind]string{
	sales.Account: accountField, sales.Contact: contactField, sales.Processor: processorField, sales.Owner: ownerField,
}

// body is what is sent of a task in these fields; what is empty is left out.
func (c *Client) body(t sales.Task, of []field) map[string]any {
	body := map[string]any{}
	for _, f := range of {
		if v := f.value(c, t); v != "" {
			body[f.name] = v
		}
	}
	return body
}

// Limits are the lengths of what settings put into fields, by the name of the setting.
func Limits() map[string]int {
	limits := map[string]int{}
	for _, f := range slices.Concat(fields, textFields) {
		if f.setting != "" {
			limits[f.setting] = f.max
		}
	}
	return limits
}

// vetLengths refuses what is too long for its field.
func (c *Client) vetLengths(t sales.Task) error {
	for _, f := range slices.Concat(fields, textFields) {
		if n := utf8.RuneCountInString(f.value(c, t)); f.max > 0 && n > f.max {
			return fault.At(f.event, "has %d characters; %s in SAP Sales Cloud takes %d", n, f.name, f.max)
		}
	}
	return nil
}
