// Package numbers shows numbers as pictures, each with its table: how far loops come, how long they take, what happens when, and
// how the vendors are.
package numbers

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/web"
)

// Source is what pictures are drawn from. [loops.Store] is one.
type Source interface {
	Numbers(ctx context.Context, span loops.Span) (loops.Numbers, error)
	Campaigns(ctx context.Context) ([]string, error)
	Vendors(ctx context.Context) ([]loops.VendorStatus, error)
	Progress() loops.Progress
}

// Pages are GET /numbers and GET /vendors, for people and programs.
type Pages struct {
	source Source
	now    func() time.Time
}

// New makes the pages; now is the clock.
func New(source Source, now func() time.Time) *Pages { return &Pages{source, now} }

// period is a span that ends now.
type period struct {
	name, words string
	long        time.Duration
}

var periods = []period{{"1d", "Last day", 24 * time.Hour}, {"7d", "7 days", 7 * 24 * time.Hour}, {"30d", "30 days", 30 * 24 * time.Hour}}

// periodUsual is that of who names none.
const periodUsual = "7d"

// asked is what numbers are wanted of.
type asked struct {
	loops.Span
	// period is the name of one of [periods], "" for a span with ends of its own.
	period string
	// table is the one that is wanted as CSV.
	table string
}

// Numbers are the answer of GET /numbers as JSON.
type Numbers struct {
	From     time.Time `json:"from"`
	To       time.Time `json:"to"`
	Campaign string    `json:"campaign,omitempty"`
	Survey   string    `json:"survey,omitempty"`
	loops.Numbers
}

// Numbers answers GET /numbers.
func (p *Pages) Numbers(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	a, err := askedOf(r.Query, p.now())
	if err != nil {
		return nil, err
	}
	n, err := p.source.Numbers(ctx, a.Span)
	if err != nil {
		return nil, web.Unread(err)
	}
	switch web.FormOf(r) {
	case web.Page:
		return p.numbersPage(ctx, r, a, n)
	case web.CSV:
		return numbersSheet(a, n, a.table).csv(), nil
	default:
		return &httpdoor.Response{Body: Numbers{a.From, a.To, a.Campaign, a.Survey, n}, Header: http.Header{"Cache-Control": {"no-store"}}}, nil
	}
}

func askedOf(q url.Values, now time.Time) (asked, error) {
	a := asked{period: cmp.Or(q.Get("period"), periodUsual), table: cmp.Or(q.Get("table"), sheetNames[0])}
	if err := web.Known(q, "from", "to", "period", "campaign", "survey", "table", "format"); err != nil {
		return a, err
	}
	if !slices.Contains(sheetNames, a.table) {
		return a, web.Wrong("table", "must be one of "+strings.Join(sheetNames, ", "))
	}
	at := slices.IndexFunc(periods, func(p period) bool { return p.name == a.period })
	if at < 0 {
		return a, web.Wrong("period", "must be 1d, 7d or 30d")
	}
	a.Campaign, a.Survey = strings.TrimSpace(q.Get("campaign")), strings.TrimSpace(q.Get("survey"))
	a.From, a.To = now.UTC().Add(-periods[at].long), now.UTC()
	if err := a.bounds(q); err != nil {
		return a, err
	}
	a.From, a.To = a.From.Truncate(time.Hour), a.To.Add(time.Hour-1).Truncate(time.Hour) // the read model counts whole hours
	return a, nil
}

// bounds are ends of its own, which count more than a period.
func (a *asked) bounds(q url.Values) (err error) {
	if q.Get("from") == "" && q.Get("to") == "" {
		return nil
	}
	long := a.To.Sub(a.From)
	a.period = ""
	if q.Get("to") != "" {
		if a.To, err = web.Instant(q, "to"); err != nil {
			return err
		}
		a.From = a.To.Add(-long)
	}
	if q.Get("from") != "" {
		if a.From, err = web.Instant(q, "from"); err != nil {
			return err
		}
	}
	if !a.From.Before(a.To) {
		return web.Wrong("from", "must be before to")
	}
	return nil
}
