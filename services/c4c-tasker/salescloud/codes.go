package salescloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// The code lists of what we send (sap-sales-cloud.md §2). Those of texts have names of their own: there is no
// TasksTextCollectionTypeCodeCollection.
const (
	priorityList = "TasksPriorityCodeCollection"
	statusList   = "TasksStatusCollection"
	documentList = "TasksDocumentTypeCollection"
	zoneList     = "TasksDueDatetimeZoneCodeCollection"
	textTypeList = "ActivityTextCollectionTypeCodeCollection"
	languageList = "ActivityTextCollectionLanguageCodeCollection"
)

const (
	// listAge is how long a list is believed.
	listAge = time.Hour
	// listDoubt is how long it is believed when it refuses something: the tenant may have been mended.
	listDoubt = time.Minute
	// listPages bounds a list; there are a few hundred time zones.
	listPages = 5
)

// Settings holds every setting that is a code against its list, and tells all that are wrong at once, with what would
// be allowed. The class is [fault.Unauthorized]: people are told, work waits, and no event is given up.
func (c *Client) Settings(ctx context.Context) error {
	var wrong []string
	for _, s := range []struct{ name, value, list string }{
		{"C4C_PRIORITY", c.options.Priority, priorityList},
		{"C4C_STATUS", c.options.Status, statusList},
		{"C4C_DOCUMENT_TYPE", c.options.DocumentType, documentList},
		{"C4C_ZONE", c.options.Zone, zoneList},
		{"C4C_TEXT_TYPE", c.options.TextType, textTypeList},
		{"C4C_LANGUAGE", c.options.Language, languageList},
	} {
		if s.value == "" {
			continue
		}
		allowed, err := c.codes.refuses(ctx, s.list, s.value)
		if err != nil {
			return err
		}
		if allowed != nil {
			wrong = append(wrong, fmt.Sprintf("%s is %q, but the tenant's %s has %s", s.name, s.value, s.list, strings.Join(allowed, ", ")))
		}
	}
	if wrong == nil {
		return nil
	}
	f := fault.New(fault.Unauthorized, "%s", strings.Join(wrong, "; "))
	f.Vendor = Vendor
	return f
}

// checkPriority refuses a priority of an event that the tenant does not have; "" is that of the settings.
func (c *Client) checkPriority(ctx context.Context, code string) error {
	if code == "" {
		return nil
	}
	allowed, err := c.codes.refuses(ctx, priorityList, code)
	if err != nil || allowed == nil {
		return err
	}
	return fault.At("priority", "is %q, but the tenant's %s has %s", code, priorityList, strings.Join(allowed, ", "))
}

// codes are the tenant's code lists, each read once in a while.
type codes struct {
	odata *odata.Client
	mode  Lists
	// busy is held while a list is read, so that callers at the same time share one read.
	busy  chan struct{}
	lists map[string]list
}

// list is a code list. Without values it refuses nothing: the tenant does not maintain it.
type list struct {
	values []string
	read   time.Time
}

func newCodes(client *odata.Client, mode Lists) *codes {
	return &codes{odata: client, mode: mode, busy: make(chan struct{}, 1), lists: map[string]list{}}
}

// refuses gives the values of a list that does not have code, or nil where code is allowed.
func (c *codes) refuses(ctx context.Context, name, code string) ([]string, error) {
	if c.mode == ListsOff {
		return nil, nil
	}
	select {
	case c.busy <- struct{}{}:
		defer func() { <-c.busy }()
	case <-ctx.Done():
		return nil, fault.New(fault.Transient, "waiting for the tenant's code lists, the work was ended: %w", ctx.Err())
	}
	l, known := c.lists[name]
	age := time.Since(l.read)
	if !known || age > listAge || age > listDoubt && l.refuses(code) {
		var err error
		if l, err = c.read(ctx, name); err != nil {
			return nil, err
		}
		c.lists[name] = l
	}
	if l.refuses(code) {
		return l.values, nil
	}
	return nil, nil
}

func (l list) refuses(code string) bool { return len(l.values) > 0 && !slices.Contains(l.values, code) }

func (c *codes) read(ctx context.Context, name string) (list, error) {
	l := list{read: time.Now()}
	for code, err := range odata.Pages[struct{ Code string }](ctx, c.odata, "read code list", name, url.Values{"$select": {"Code"}}, listPages) {
		if outbound.StatusOf(err) == http.StatusNotFound {
			return l, c.missing(name)
		}
		if err != nil && c.mode == ListsLenient && (fault.From(err).Class.Final() || fault.Is(err, fault.Forbidden)) {
			return l, nil // the tenant does not let us read it, which says nothing about the codes
		}
		if err != nil {
			return l, unreadable(name, err)
		}
		l.values = append(l.values, code.Code)
	}
	return l, nil
}

func (c *codes) missing(name string) error {
	if c.mode == ListsLenient {
		return nil
	}
	f := fault.New(fault.Unauthorized, "the tenant has no code list %s: set C4C_CODE_LISTS=lenient to do without it", name)
	f.Vendor = Vendor
	return f
}

// unreadable: a list that is refused, or that nobody lets us read, says nothing about any event.
func unreadable(name string, err error) error {
	f := *fault.From(err)
	if f.Class.Final() || f.Class == fault.Forbidden {
		f.Class = fault.Unauthorized
		f.Reason = fmt.Sprintf("the code list %s cannot be read (C4C_CODE_LISTS=off does without): %s", name, f.Reason)
		f.Err = errors.Unwrap(err)
	}
	return &f
}
