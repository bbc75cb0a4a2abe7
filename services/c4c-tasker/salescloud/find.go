package salescloud

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

// The filters, of a field and a quoted value. The first is the one of sap-sales-cloud.md §3; endswith is that of
// odata-v2.md §7, and not every tenant has it.
const (
	equals = "%s eq %s"
	ends   = "endswith(%s,%s)"
)

// searchRows is how many rows of a search are read: one is enough, the others tell whether the filter was heeded.
const searchRows = 5

// CanFind is always so.
func (c *Client) CanFind() bool { return true }

// Find looks for the task that carries the reference, which never holds a wildcard, and believes no row that does not
// show it. Subject and text are asked for as they were sent, then by the marker that they end with, since somebody else
// may have written them. When the tenant searches by neither, [fault.Person]: nothing can be concluded, and to send the
// task again might make a second one.
func (c *Client) Find(ctx context.Context, t sales.Task) (sales.Created, bool, error) {
	marker := sales.Marker(t.Reference)
	switch field := c.options.ReferenceField; {
	case field != "":
		s := search{set: taskSet, key: "ObjectID", also: "ID", field: field, value: t.Reference, matches: same}
		s.ways = []way{{equals, t.Reference}}
		return c.task(ctx, s, t)
	case c.options.Reference == InText:
		return c.findByText(ctx, t)
	}
	s := search{set: taskSet, key: "ObjectID", also: "ID", field: "Subject", value: marker, matches: endsWith}
	s.ways = waysTo(c.subject(t), marker)
	return c.task(ctx, s, t)
}

func (c *Client) task(ctx context.Context, s search, t sales.Task) (sales.Created, bool, error) {
	found, err := c.search(ctx, "find task", s, t)
	return sales.Created{ObjectID: found["ObjectID"], ID: found["ID"]}, found != nil, err
}

// findByText reads the text that ends with the marker, then the task above it: its number is wanted.
func (c *Client) findByText(ctx context.Context, t sales.Task) (sales.Created, bool, error) {
	marker := sales.Marker(t.Reference)
	text, err := c.search(ctx, "find text", search{
		set: textSet, key: parentField, field: "Text", value: marker, matches: endsWith, ways: waysTo(c.text(t), marker),
	}, t)
	if err != nil || text == nil {
		return sales.Created{}, false, err
	}
	id := text[parentField]
	return c.task(ctx, search{
		set: taskSet, key: "ObjectID", also: "ID", field: "ObjectID", value: id, matches: same, ways: []way{{equals, id}},
	}, t)
}

const taskSet = "TasksCollection"

// search is what to look for: a row with a key, the field of which matches the value.
type search struct {
	set, key, also, field, value string
	matches                      func(field, value string) bool
	// ways are tried in order until one finds something.
	ways []way
}

// way is a filter and the value that it is given.
type way struct{ filter, value string }

// waysTo a text that was sent with the marker at its end. One with a wildcard, line ends, or more than an address
// takes can only be asked for by its end.
func waysTo(sent, marker string) []way {
	byEnd := way{ends, marker}
	if strings.ContainsRune(sent, '*') || strings.ContainsFunc(sent, unicode.IsControl) || len([]rune(sent)) > maxSubject {
		return []way{byEnd}
	}
	return []way{{equals, sent}, byEnd}
}

func endsWith(field, marker string) bool { return strings.HasSuffix(strings.TrimSpace(field), marker) }

func same(field, value string) bool { return field == value }

// search gives the row that is looked for, or nil when the vendor knows none.
func (c *Client) search(ctx context.Context, operation string, s search, t sales.Task) (map[string]string, error) {
	told := false // whether any of the ways can be believed
	for _, w := range s.ways {
		rows, err := query[map[string]any](ctx, c, operation, s.set, w.filter, s.field, w.value, s.selects(), searchRows)
		if fault.Is(err, fault.Refused) || outbound.StatusOf(err) == http.StatusNotImplemented {
			continue // not by this way
		}
		if err != nil {
			return nil, err
		}
		found, heeded := s.pick(rows)
		if found != nil {
			return found, nil
		}
		told = told || heeded
	}
	if told {
		return nil, nil
	}
	f := fault.New(fault.Person, "%s: the tenant does not search %s by %s, so whether the task was made cannot be told: look for %s there",
		operation, s.set, s.field, sales.Marker(t.Reference))
	f.Vendor = Vendor
	return nil, f
}

func (s search) selects() string {
	names := []string{s.key}
	for _, name := range []string{s.also, s.field} {
		if name != "" && name != s.key {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// pick gives the row that is looked for. The filter was heeded unless a row shows something else; another case is
// another response, but not another filter. A row without a key is none: stand-ins answer {"d":{}} to whatever they do
// not know.
func (s search) pick(rows []map[string]any) (found map[string]string, heeded bool) {
	heeded = true
	for _, row := range rows {
		key, field := text(row[s.key]), text(row[s.field])
		switch {
		case key == "":
		case s.matches(field, s.value):
			return map[string]string{s.key: key, s.also: text(row[s.also]), s.field: field}, true
		case !s.matches(strings.ToLower(field), strings.ToLower(s.value)):
			heeded = false
		}
	}
	return nil, heeded
}

// text gives a value that is a text; null and all else are empty.
func text(value any) string {
	s, _ := value.(string)
	return s
}

// query reads the first rows whose field has the value, quoted, as the filter puts it.
func query[T any](ctx context.Context, c *Client, operation, set, filter, field, value, selects string, rows int) (odata.Array[T], error) {
	literal, err := odata.QuoteExact(value)
	if err != nil {
		return nil, err
	}
	var found odata.Array[T]
	err = c.odata.Get(ctx, operation, set, url.Values{
		"$filter": {fmt.Sprintf(filter, field, literal)}, "$select": {selects}, "$top": {fmt.Sprint(rows)},
	}, &found)
	return found, err
}
