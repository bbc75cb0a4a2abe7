// Package marketing writes to SAP Marketing Cloud: interactions (API_MKT_INTERACTION_SRV), survey responses
// (CUAN_SURVEY_IMPORT_SRV) and contacts (API_MKT_CONTACT_SRV), as in sap-marketing-cloud.md. It writes many records in
// one call and looks many up in one.
package marketing

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/parallel"
)

// Paths of the services (sap-marketing-cloud.md §2, §4, §5).
const (
	InteractionService = "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV"
	ContactService     = "/sap/opu/odata/sap/API_MKT_CONTACT_SRV"
	SurveyService      = "/sap/opu/odata/sap/CUAN_SURVEY_IMPORT_SRV"
)

// WriteMode chooses how interactions are written.
type WriteMode string

// The write modes. Auto writes what fits into one batch as a batch, where the tenant is known to have that, and more, or a
// single one, by the deep insert of the published flow. It falls back to a batch, or to single calls, where the tenant has
// no such set (sap-marketing-cloud.md, rule 6), and writes a deep insert that is refused again as batches: there each
// record has an outcome of its own.
const (
	Auto         WriteMode = "auto"
	DeepInsert   WriteMode = "deep-insert"
	Batch        WriteMode = "batch"
	Interactions WriteMode = "interactions"
)

// Form is how values are written where tenants are assumed to differ (odata-v2.md §12).
type Form struct {
	// WrappedArrays writes {"results":[…]} in place of […].
	WrappedArrays bool
	// Ticks writes dates as /Date(ms)/ in place of ISO 8601.
	Ticks bool
}

func (f Form) array(items []any) any {
	if f.WrappedArrays {
		return map[string]any{"results": items}
	}
	return items
}

// offset is an Edm.DateTimeOffset: seconds are as fine as the published flow has it.
func (f Form) offset(t time.Time) any {
	if f.Ticks {
		return odata.Ticks(t.Truncate(time.Second))
	}
	return odata.DateTimeOffset{Time: t.Truncate(time.Second)}
}

// local is an Edm.DateTime, which has no zone.
func (f Form) local(t time.Time) any {
	if f.Ticks {
		return odata.Ticks(t.Truncate(time.Second))
	}
	return odata.DateTime{Time: t.Truncate(time.Second)}
}

// Options of a [Client].
type Options struct {
	// Interactions is a session for [InteractionService]. Required.
	Interactions *odata.Client
	// Surveys and Contacts are sessions for [SurveyService] and [ContactService], where they are written to.
	Surveys, Contacts *odata.Client
	// Mode of writing interactions. Default [Auto].
	Mode WriteMode
	// PerCall is the most interactions of one deep insert. Default 200.
	PerCall int
	// NoBatch says that the tenant has no $batch: look-ups are reads of their own, and so are writes but deep inserts.
	NoBatch bool
	// IDsPerFilter is the most ids that one filter asks for. Default 40.
	IDsPerFilter int
	// Survey says how survey responses are written.
	Survey Survey
	Form   Form
}

// Client writes and finds records. It is safe for concurrent use.
type Client struct {
	Options
	// Set when the tenant turned out not to have it.
	noDeepInsert, noBatch atomic.Bool
	// hasBatch is set when it has answered one.
	hasBatch atomic.Bool
}

const (
	defaultPerCall      = 200
	defaultIDsPerFilter = 40
	// singly is how many single writes count as one call: few enough to be done within the lease of the ledger.
	singly = 16
)

// New makes a client.
func New(o Options) *Client {
	o.Mode = cmp.Or(o.Mode, Auto)
	o.PerCall = cmp.Or(o.PerCall, defaultPerCall)
	o.IDsPerFilter = cmp.Or(o.IDsPerFilter, defaultIDsPerFilter)
	c := &Client{Options: o}
	c.noBatch.Store(o.NoBatch)
	return c
}

// Reach makes a cheap call that changes nothing, to find out whether the tenant is there and takes our credentials.
func (c *Client) Reach(ctx context.Context) error { return c.Interactions.Reach(ctx) }

// Outcome of one record of many.
type Outcome struct {
	Written Written
	Err     error
}

// Written is a record that exists. ID is empty where the tenant's answer does not tell it.
type Written struct {
	ID string `json:"id"`
}

// one is a write that has a session, a request and what is personal in it.
type one struct {
	request  odata.Request
	personal []string
}

func personalOf(records []one) []string {
	var all []string
	for _, r := range records {
		all = append(all, r.personal...)
	}
	return all
}

// independently writes records that have nothing to do with each other: in batches with a changeset for each, or by
// single calls where there are few or no $batch. It gives an error or nil for each.
func (c *Client) independently(ctx context.Context, session *odata.Client, operation string, records []one) []error {
	chunks := slices.Collect(slices.Chunk(records, session.BatchLimit()))
	errs := make([][]error, len(chunks))
	parallel.Times(len(chunks), atATime, func(i int) { errs[i] = c.together(ctx, session, operation, chunks[i]) })
	return slices.Concat(errs...)
}

func (c *Client) together(ctx context.Context, session *odata.Client, operation string, records []one) []error {
	if len(records) == 1 || c.noBatch.Load() {
		return c.oneByOne(ctx, session, operation, records)
	}
	steps := make([]odata.Step, len(records))
	for i, r := range records {
		steps[i] = odata.Step{r.request}
	}
	errs, err := c.batch(ctx, session, operation, steps, personalOf(records)...)
	if c.batchMissing(err) {
		return c.oneByOne(ctx, session, operation, records)
	}
	if fault.Is(err, fault.Refused) { // for one of them, or because there are too many: nothing was done
		half := len(records) / 2
		var first []error
		var work sync.WaitGroup
		work.Go(func() { first = c.together(ctx, session, operation, records[:half]) })
		second := c.together(ctx, session, operation, records[half:])
		work.Wait()
		return append(first, second...)
	}
	if err != nil {
		errs = make([]error, len(records))
		for i := range errs {
			errs[i] = err
		}
	}
	return errs
}

// batch sends steps in one call, and notes that the tenant takes such calls.
func (c *Client) batch(ctx context.Context, session *odata.Client, operation string, steps []odata.Step, personal ...string) ([]error, error) {
	errs, err := session.Batch(ctx, operation, steps, personal...)
	if err == nil {
		c.hasBatch.Store(true)
	}
	return errs, err
}

// batchMissing notes that the tenant has no $batch.
func (c *Client) batchMissing(err error) bool {
	if isMissing(err) {
		c.noBatch.Store(true)
		return true
	}
	return false
}

// oneByOne makes a call for each, and none when the tenant turns out not to take any: what it said then is told of all of
// them, so that it may hold nothing personal of any.
func (c *Client) oneByOne(ctx context.Context, session *odata.Client, operation string, records []one) []error {
	errs := make([]error, len(records))
	personal := personalOf(records)
	var out atomic.Pointer[error]
	parallel.Times(len(records), atATime, func(i int) {
		if err := out.Load(); err != nil {
			errs[i] = *err
			return
		}
		if r := records[i]; r.request.Method == http.MethodPut {
			errs[i] = session.Put(ctx, operation, r.request.Path, r.request.Body, personal...)
		} else {
			errs[i] = session.Create(ctx, operation, r.request.Path, r.request.Body, r.request.Into, personal...)
		}
		if errs[i] != nil && fault.From(errs[i]).Class.VendorOut() {
			out.CompareAndSwap(nil, &errs[i])
		}
	})
	return errs
}

// atATime is how many single calls wait for their turn within the session's limits.
const atATime = 8

// isMissing tells that the tenant does not have the entity set, or no $batch: nothing was done.
func isMissing(err error) bool {
	if !fault.Is(err, fault.Refused) {
		return false
	}
	var status *outbound.StatusError
	if !errors.As(err, &status) {
		return false
	}
	return status.Status == http.StatusNotFound || status.Status == http.StatusMethodNotAllowed || status.Status == http.StatusNotImplemented
}
