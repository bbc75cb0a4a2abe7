package marketing

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/parallel"
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
// time, all in one call where the tenant has $batch, and where that fails again for fewer, until the one that it fails for
// is alone. Its error counts for all: the tenant is out.
//
// Marketing writes asynchronously and keeps duplicates: what is not found may still appear, and of several the first
// is given.
func (c *Client) Find(ctx context.Context, refs []Ref) (map[Ref]Found, error) {
	all := &search{client: c, found: make(map[Ref]Found, len(refs))}
	for parts := [][]Ref{refs}; len(parts) > 0; all.again = true {
		errs := make([]error, len(parts))
		parallel.Times(len(parts), divideBy, func(i int) { errs[i] = all.look(ctx, parts[i], c.IDsPerFilter) })
		var next [][]Ref
		failed := 0
		for i, err := range errs {
			if err == nil {
				continue
			}
			if fault.From(err).Class.VendorOut() {
				return nil, err
			}
			failed++
			for _, ref := range parts[i] {
				all.found[ref] = Found{Err: err}
			}
			if n := len(parts[i]); n > 1 && fault.From(err).Class == fault.Transient {
				next = slices.AppendSeq(next, slices.Chunk(parts[i], (n+divideBy-1)/divideBy))
			}
		}
		// Parts that all fail show that it is no matter of single ids.
		if ctx.Err() != nil || len(next) > mostParts || len(parts) > 1 && failed == len(parts) {
			break
		}
		parts = next
	}
	return all.found, nil
}

const (
	// divideBy is how many parts take the place of a call that failed. They are asked for at the same time.
	divideBy = 4
	// mostParts bounds the calls that are made to find out for which ids a call fails.
	mostParts = 64
	// mostAlone bounds the ids that are asked for one by one since reads of several fail; where reads of several are refused
	// nothing does.
	mostAlone = 400
)

// search is a look-up that takes several calls.
type search struct {
	client *Client
	// again says that a call has failed.
	again bool

	mu    sync.Mutex
	found map[Ref]Found
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

// look asks for refs, so many to a read, and notes what that tells. A read that fails beside others is made again for each
// of its ids. Its error is about the call, or says that the vendor is out.
func (s *search) look(ctx context.Context, refs []Ref, most int) error {
	var alone []Ref
	refused := false
	for reads := range slices.Chunk(s.client.lookUps(refs, most), s.client.Options.Interactions.BatchLimit()) {
		errs, err := s.read(ctx, reads)
		if err != nil {
			return err
		}
		for i, l := range reads {
			if errs[i] != nil && fault.From(errs[i]).Class.VendorOut() {
				return errs[i]
			}
			if errs[i] != nil && len(l.ids) > 1 {
				alone = append(alone, l.refs()...)
				refused = refused || fault.Is(errs[i], fault.Refused)
			}
			s.note(l, errs[i])
		}
	}
	if len(alone) == 0 || len(alone) > mostAlone && !refused { // so many are no matter of single ids
		return nil
	}
	return s.look(ctx, alone, 1)
}

// read makes the reads in one call: a single id needs no $batch. What has failed is asked for again in the way in which it
// failed: what a tenant chokes on in a $batch may do no harm in an address, and would spoil the writing of others next.
func (s *search) read(ctx context.Context, all []*lookUp) ([]error, error) {
	c := s.client
	if c.noBatch.Load() || !s.again && len(all) == 1 && len(all[0].ids) == 1 {
		return c.readEach(ctx, all), nil
	}
	steps := make([]odata.Step, len(all))
	for i, l := range all {
		steps[i] = odata.Step{{Path: "Interactions", Query: l.query(), Into: &l.rows, Records: len(l.ids)}}
	}
	errs, err := c.batch(ctx, c.Options.Interactions, "find interactions", steps)
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

func (l *lookUp) refs() []Ref {
	refs := make([]Ref, len(l.ids))
	for i, id := range l.ids {
		refs[i] = Ref{l.kind, id}
	}
	return refs
}

func (s *search) note(l *lookUp, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.found
	for _, ref := range l.refs() {
		found[ref] = Found{Err: err}
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
