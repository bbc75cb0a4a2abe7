package marketing

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
)

// Ref is what an interaction is found by: its type and its source object, both of which are filterable (§2.2).
type Ref struct{ Type, SourceObject string }

// Found is what a look-up tells of a [Ref].
type Found struct {
	Written Written
	Found   bool
	// Err says that this one could not be looked up.
	Err error
}

const (
	// longestFilter keeps a request line well below the 4 kB that some gateways take, as it is encoded.
	longestFilter = 3000
	// morePages bounds what is read where a filter finds more than a page. Duplicates are few: a tenant with so many of
	// them needs a person.
	morePages = 100
)

// Find looks interactions up, the guard before every post (§2.3), and gives what it found of each. It asks for many at a
// time, all in one call where the tenant has $batch. Its error counts for all.
//
// Marketing writes asynchronously and keeps duplicates: what is not found may still appear, and of several the first
// is given.
func (c *Client) Find(ctx context.Context, refs []Ref) (map[Ref]Found, error) {
	found := make(map[Ref]Found, len(refs))
	err := c.look(ctx, c.lookUps(refs, c.IDsPerFilter), found)
	if err != nil {
		return nil, err
	}
	// A refusal is about one id among those of its filter, or about filters for many: each by itself tells.
	var again []Ref
	for ref, f := range found {
		if fault.Is(f.Err, fault.Refused) {
			again = append(again, ref)
		}
	}
	if len(again) > 0 && len(refs) > 1 && c.IDsPerFilter > 1 {
		return found, c.look(ctx, c.lookUps(again, 1), found)
	}
	return found, nil
}

// lookUp is one read: ids of one type.
type lookUp struct {
	kind string
	ids  []string
	rows odata.List[created]
}

// lookUps puts refs into as few reads as the length of an address allows.
func (c *Client) lookUps(refs []Ref, most int) []*lookUp {
	var all []*lookUp
	open := map[string]*lookUp{} // by type
	length := map[string]int{}
	seen := map[Ref]bool{}
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		seen[ref] = true
		size := len(url.PathEscape(" or InteractionSourceObject eq ")) + len(url.QueryEscape(odata.Quote(ref.SourceObject)))
		l := open[ref.Type]
		if l == nil || len(l.ids) >= most || length[ref.Type]+size > longestFilter {
			l = &lookUp{kind: ref.Type}
			open[ref.Type], length[ref.Type], all = l, 0, append(all, l)
		}
		l.ids, length[ref.Type] = append(l.ids, ref.SourceObject), length[ref.Type]+size
	}
	return all
}

func (l *lookUp) query() url.Values {
	terms := make([]string, len(l.ids))
	for i, id := range l.ids {
		terms[i] = "InteractionSourceObject eq " + odata.Quote(id)
	}
	q := url.Values{"$select": {"InteractionUUID,InteractionSourceObject"}}
	condition := strings.Join(terms, " or ")
	if len(terms) == 1 {
		q.Set("$top", "1")
	} else {
		condition = "(" + condition + ")"
	}
	q.Set("$filter", "InteractionType eq "+odata.Quote(l.kind)+" and "+condition)
	return q
}

// look makes the reads and notes what they tell.
func (c *Client) look(ctx context.Context, all []*lookUp, found map[Ref]Found) error {
	for len(all) > 0 {
		n := min(len(all), c.Options.Interactions.BatchLimit())
		errs, err := c.read(ctx, all[:n])
		if err != nil {
			return err
		}
		for i, l := range all[:n] {
			if errs[i] != nil && !fault.Is(errs[i], fault.Refused) {
				return errs[i] // no matter of these ids
			}
			l.note(found, errs[i])
		}
		all = all[n:]
	}
	return nil
}

// read makes the reads in one call, or in one each where that is as good: a single id needs no $batch.
func (c *Client) read(ctx context.Context, all []*lookUp) ([]error, error) {
	if c.noBatch.Load() || !slices.ContainsFunc(all, func(l *lookUp) bool { return len(l.ids) > 1 }) && len(all) <= 2 {
		return c.readEach(ctx, all), nil
	}
	steps := make([]odata.Step, len(all))
	for i, l := range all {
		steps[i] = odata.Step{{Path: "Interactions", Query: l.query(), Into: &l.rows}}
	}
	errs, err := c.Options.Interactions.Batch(ctx, "find interactions", steps)
	if c.batchMissing(err) || fault.Is(err, fault.Refused) { // the ids are not at fault
		return c.readEach(ctx, all), nil
	}
	if err != nil {
		return nil, err
	}
	for i, l := range all {
		if errs[i] == nil {
			errs[i] = c.more(ctx, l)
		}
	}
	return errs, nil
}

func (c *Client) readEach(ctx context.Context, all []*lookUp) []error {
	errs := make([]error, len(all))
	var reads sync.WaitGroup
	for i, l := range all {
		reads.Go(func() {
			if errs[i] = c.Options.Interactions.Get(ctx, "find interaction", "Interactions", l.query(), &l.rows); errs[i] == nil {
				errs[i] = c.more(ctx, l)
			}
		})
	}
	reads.Wait()
	return errs
}

// more reads what did not fit on the first page. Of a single id the first row is enough.
func (c *Client) more(ctx context.Context, l *lookUp) error {
	if len(l.ids) == 1 {
		return nil
	}
	for row, err := range odata.Follow[created](ctx, c.Options.Interactions, "find interactions", l.rows.Next, morePages) {
		if err != nil {
			return err
		}
		l.rows.Items = append(l.rows.Items, row)
	}
	return nil
}

func (l *lookUp) note(found map[Ref]Found, err error) {
	for _, id := range l.ids {
		found[Ref{l.kind, id}] = Found{Err: err}
	}
	for _, row := range l.rows.Items {
		if row.UUID == "" {
			continue // nothing was found, said in a form of its own
		}
		id := row.SourceObject
		if len(l.ids) == 1 && id == "" {
			id = l.ids[0] // the filter says so
		}
		if known := found[Ref{l.kind, id}]; !known.Found && slices.Contains(l.ids, id) {
			found[Ref{l.kind, id}] = Found{Written: Written{row.UUID}, Found: true}
		}
	}
}
