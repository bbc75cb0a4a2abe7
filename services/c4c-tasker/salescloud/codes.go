package salescloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
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
	// listStale is how long a list refuses anything that is not read anew, where tasks do not wait for that.
	listStale = 3 * listAge
	// listPages bounds a list; there are a few hundred time zones.
	listPages = 5
)

// Settings holds every setting that is a code against its list, and tells all that are wrong at once, with what would
// be allowed. With [ListsLenient] it reads the lists anew; a failure that is not one list's own ends the reading.
func (c *Client) Settings(ctx context.Context) (wrong []string, err error) {
	if c.options.Lists == ListsOff {
		return nil, nil
	}
	var unread []error
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
		l, failed := c.codes.get(ctx, s.list, s.value)
		if failed != nil {
			unread = append(unread, failed)
			if c.options.Lists == ListsStrict || fault.From(failed).Class.VendorOut() && !ofOneList(failed) {
				break
			}
			continue
		}
		switch {
		case l.missing && c.options.Lists == ListsStrict:
			wrong = append(wrong, fmt.Sprintf("the tenant has no code list %s: set C4C_CODE_LISTS=lenient to do without it", s.list))
		case l.refuses(s.value):
			wrong = append(wrong, fmt.Sprintf("%s is %q, but the tenant's %s has %s", s.name, s.value, s.list, strings.Join(l.values, ", ")))
		}
	}
	return wrong, errors.Join(unread...)
}

// checkSettings is for the path of an event, which waits for settings and lists with [ListsStrict] alone.
func (c *Client) checkSettings(ctx context.Context) error {
	if c.options.Lists != ListsStrict {
		return nil
	}
	wrong, err := c.Settings(ctx)
	if wrong == nil {
		return err
	}
	f := fault.New(fault.Unauthorized, "%s", strings.Join(wrong, "; "))
	f.Vendor = Vendor
	return f
}

// checkPriority refuses a priority of an event that the tenant does not have; "" is that of the settings.
func (c *Client) checkPriority(ctx context.Context, code string) error {
	if code == "" || c.options.Lists == ListsOff {
		return nil
	}
	l := c.codes.inHand(priorityList)
	if c.options.Lists == ListsStrict {
		var err error
		if l, err = c.codes.get(ctx, priorityList, code); err != nil {
			return err
		}
	}
	if !l.refuses(code) {
		return nil
	}
	return fault.At("priority", "is %q, but the tenant's %s has %s", code, priorityList, strings.Join(l.values, ", "))
}

// codes are the tenant's code lists, each read once in a while.
type codes struct {
	odata *odata.Client
	mode  Lists
	// reading is held while a list is read, so that callers at the same time share one read.
	reading chan struct{}
	mu      sync.Mutex
	lists   map[string]list
}

// list is a code list. Without values it refuses nothing: the tenant does not maintain it.
type list struct {
	values []string
	read   time.Time
	// missing says that the tenant does not have the list at all.
	missing bool
}

func newCodes(client *odata.Client, mode Lists) *codes {
	return &codes{odata: client, mode: mode, reading: make(chan struct{}, 1), lists: map[string]list{}}
}

// inHand gives a list without reading it; the zero list, which refuses nothing, where it was not read of late.
func (c *codes) inHand(name string) list {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.lists[name]; time.Since(l.read) < listStale {
		return l
	}
	return list{}
}

// get gives a list: with [ListsStrict] one that is fresh enough to be asked for the code, else a new one.
func (c *codes) get(ctx context.Context, name, code string) (list, error) {
	select {
	case c.reading <- struct{}{}:
		defer func() { <-c.reading }()
	case <-ctx.Done():
		return list{}, fault.New(fault.Transient, "waiting for the tenant's code lists, the work was ended: %w", ctx.Err())
	}
	if l := c.inHand(name); c.mode == ListsStrict && l.fresh(code) {
		return l, nil
	}
	l, err := c.read(ctx, name)
	if err != nil {
		return list{}, unreadable(name, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists[name] = l
	return l, nil
}

func (l list) fresh(code string) bool {
	age := time.Since(l.read)
	return age <= listDoubt || age <= listAge && !l.missing && !l.refuses(code)
}

func (l list) refuses(code string) bool { return len(l.values) > 0 && !slices.Contains(l.values, code) }

// read reads a list. Rows without a code are left out: stand-ins answer {"d":{}} to a set that they do not have.
func (c *codes) read(ctx context.Context, name string) (list, error) {
	l := list{read: time.Now()}
	for row, err := range odata.Pages[struct{ Code string }](ctx, c.odata, "read code list", name, url.Values{"$select": {"Code"}}, listPages) {
		if outbound.StatusOf(err) == http.StatusNotFound {
			l.missing = true
			return l, nil
		}
		if err != nil {
			return l, err
		}
		if row.Code != "" {
			l.values = append(l.values, row.Code)
		}
	}
	return l, nil
}

// ofOneList tells a refusal that says nothing about other lists.
func ofOneList(err error) bool {
	status := outbound.StatusOf(err)
	return status == http.StatusForbidden || outbound.Classify(status, false) == fault.Refused
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
