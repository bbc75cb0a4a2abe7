package console

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/web"
)

// loopPages show what happened to every loop.
type loopPages struct {
	store  *loops.Store
	reader *loops.Reader
	desk   *desk
	links  VendorLinks
}

func (p *loopPages) routes(s *site) {
	s.read("/loops", p.list)
	s.live("/loops/live", func(r *httpdoor.Request) error { _, err := p.query(r.Query); return err }, p.listLive)
	s.read("/loops/{id}", p.desk.fresh(p.one))
	s.live("/loops/{id}/live", func(r *httpdoor.Request) error { return nil }, p.oneLive)
}

// loopsPath is where the list of loops is.
const loopsPath = "/loops"

// loopPath is where a loop is shown, by what it is called.
func loopPath(called string) string { return loopsPath + "/" + url.PathEscape(called) }

// known are the parameters of a list of loops, beside those of ids.
var known = []string{"q", "state", "stage", "campaign", "survey", "rule", "from", "to", "limit", "before", "format"}

// query reads what a list is to show. The error names the parameter that is wrong.
func (p *loopPages) query(v url.Values) (loops.Query, error) {
	names := slices.Clone(known)
	for _, kind := range loops.IDKinds {
		names = append(names, string(kind))
	}
	if err := web.Known(v, names...); err != nil {
		return loops.Query{}, err
	}
	q := loops.Query{
		Any: strings.TrimSpace(v.Get("q")), IDs: map[loops.IDKind]string{}, State: loops.State(v.Get("state")), Stage: loops.Stage(v.Get("stage")),
		Campaign: v.Get("campaign"), Survey: v.Get("survey"), Rule: v.Get("rule"), Limit: page, Before: v.Get("before"),
	}
	for _, kind := range loops.IDKinds {
		if id := strings.TrimSpace(v.Get(string(kind))); id != "" {
			q.IDs[kind] = id
		}
	}
	if q.State != "" && !slices.Contains(loops.States, q.State) {
		return q, web.Wrong("state", "must be one of "+join(loops.States))
	}
	if stages := append(slices.Clone(loops.Funnel), loops.Suppressed); q.Stage != "" && !slices.Contains(stages, q.Stage) {
		return q, web.Wrong("stage", "must be one of "+join(stages))
	}
	for name, into := range map[string]*time.Time{"from": &q.From, "to": &q.To} {
		if v.Get(name) == "" {
			continue
		}
		var err error
		if *into, err = web.Instant(v, name); err != nil {
			return q, err
		}
	}
	if limit := v.Get("limit"); limit != "" {
		var err error
		if q.Limit, err = strconv.Atoi(limit); err != nil || q.Limit < 1 || q.Limit > pageMost {
			return q, web.Wrong("limit", "must be 1 to "+strconv.Itoa(pageMost))
		}
	}
	return q, nil
}

func join[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, v := range all {
		texts[i] = string(v)
	}
	return strings.Join(texts, ", ")
}

func (p *loopPages) list(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	q, err := p.query(r.Query)
	if err != nil {
		return nil, err
	}
	list := web.List[loops.Summary, string]{
		Name: "loops", Columns: loopColumns, Cells: loopRows,
		Find: func(ctx context.Context, before string, limit int) ([]loops.Summary, string, error) {
			part := q
			part.Before, part.Limit = before, limit
			found, err := p.find(ctx, part)
			return found.Loops, found.Next, err
		},
		Page: func(rows []loops.Summary, next string) (*httpdoor.Response, error) {
			return p.listPage(ctx, r, q, loops.Page{Loops: rows, Next: next})
		},
		JSON: func(rows []loops.Summary, next string) any { return loops.Page{Loops: rows, Next: next} },
	}
	return list.Answer(ctx, r, q.Before, q.Limit)
}

// find gives loops; an empty list is one in JSON too.
func (p *loopPages) find(ctx context.Context, q loops.Query) (loops.Page, error) {
	found, err := p.store.Find(ctx, q)
	if err != nil {
		return found, unreadable(err)
	}
	found.Loops = listed(found.Loops)
	for i := range found.Loops {
		found.Loops[i] = p.masked(found.Loops[i])
	}
	return found, nil
}

// masked leaves out of what a list shows ids that are not plain: some callers' ids of people are their addresses.
func (p *loopPages) masked(l loops.Summary) loops.Summary {
	l.ID = p.desk.called.of(l.ID)
	l.Order, l.Contact = shownID(l.Order), shownID(l.Contact)
	return l
}

func shownID(id string) string {
	if plain.MatchString(id) {
		return id
	}
	return dots(id)
}

// unreadable is the problem of a read model that does not answer.
func unreadable(err error) error {
	switch {
	case errors.Is(err, loops.ErrQuery):
		return web.Wrong("before", "must be the next of a page of the same list")
	case errors.Is(err, loops.ErrUnknown):
		return httpdoor.NotFound("no loop of this id is known; it may have expired, or the person was forgotten")
	}
	return web.Unread(err)
}

var loopColumns = []string{"loop", "state", "stage", "campaign", "survey", "order", "contact", "start", "last", "closed", "waits for", "since"}

func loopRows(all []loops.Summary) [][]string {
	var rows [][]string
	for _, l := range all {
		rows = append(rows, []string{
			l.ID, string(l.State), string(l.Stage), l.Campaign, l.Survey, l.Order, l.Contact, stamp(l.Start), stamp(l.Last), stamp(l.Closed), l.Waits, stamp(l.Since),
		})
	}
	return rows
}

// stamp is a time in a table of text, "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// rowsID is the body of the table whose rows are kept up to date.
const rowsID = "loops-rows"

// pagerID is what leads to the next page, and is there where there is none too.
const pagerID = "loops-pager"

func loopPager(r *httpdoor.Request, next string) g.Node {
	return html.Div(html.ID(pagerID), web.Pager(r, next))
}

var loopHead = web.Texts("State", "Loop", "Stage", "Waits for", "Order", "Contact", "Campaign", "Began", "Last")

func (p *loopPages) listPage(ctx context.Context, r *httpdoor.Request, q loops.Query, found loops.Page) (*httpdoor.Response, error) {
	campaigns, err := p.store.Campaigns(ctx)
	if err != nil {
		return nil, unreadable(err)
	}
	rows := make([]web.Row, len(found.Loops))
	for i, l := range found.Loops {
		rows[i] = loopRow(l)
	}
	view := web.View{Title: "Loops", Section: "/loops", Body: []g.Node{
		behind(p.store.Progress()),
		loopFilter(r.Query, q, campaigns),
		web.TableOf("Loops, newest first", loopHead, rows, html.ID(rowsID)),
		loopPager(r, found.Next),
		web.Exports(r),
	}}
	if q.Before == "" { // what is new belongs to the first page
		view.Live = loopsPath + "/live?" + r.Query.Encode()
	}
	return web.Show(r, view), nil
}

// behindMost is how many messages the read model may be behind without a word about it.
const behindMost = 1000

// behind says that the read model is being built.
func behind(p loops.Progress) g.Node {
	if p.Behind <= behindMost {
		return nil
	}
	return web.Notice("warn", "The list is being built: up to "+web.Plural(int(min(p.Behind, 1<<50)), "message")+" are not in it yet.")
}

// loopFilter is the form above the list.
func loopFilter(v url.Values, q loops.Query, campaigns []string) g.Node {
	stages := append(slices.Clone(loops.Funnel), loops.Suppressed)
	fields := []g.Node{
		web.Field("Any id", "q", q.Any, html.Type("search"), g.Attr("spellcheck", "false"), g.Attr("autocapitalize", "none")),
		web.Select("State", "state", string(q.State), web.Options("All", loops.States...)),
		web.Select("Stage reached", "stage", string(q.Stage), web.Options("All", stages...)),
		campaignField(q.Campaign, campaigns),
		web.Field("Began from", "from", v.Get("from"), dateOr(v.Get("from"))),
		web.Field("to", "to", v.Get("to"), dateOr(v.Get("to"))),
	}
	var ids []g.Node
	for _, kind := range loops.IDKinds {
		ids = append(ids, web.Field(strings.ToUpper(string(kind[:1]))+string(kind[1:]), string(kind), q.IDs[kind], g.Attr("spellcheck", "false")))
	}
	ids = append(ids, web.Field("Survey", "survey", q.Survey), web.Field("Rule that fired", "rule", q.Rule))
	special := len(q.IDs) > 0 || q.Survey != "" || q.Rule != ""
	return web.Filter("/loops", append(fields, html.Details(html.ID("more-filters"), html.Class("more"), g.If(special, g.Attr("open")),
		html.Summary(g.Text("More")), html.Div(html.Class("fields"), g.Group(ids))))...)
}

// dateOr asks for a date, unless there is already something more exact than one.
func dateOr(value string) g.Node {
	if _, err := time.Parse(time.DateOnly, value); value != "" && err != nil {
		return html.Type("text")
	}
	return html.Type("date")
}

// campaignField chooses a campaign, or names one where there are too many to choose from.
func campaignField(value string, campaigns []string) g.Node {
	const most = 200
	if len(campaigns) > most {
		return web.Field("Campaign", "campaign", value)
	}
	if value != "" && !slices.Contains(campaigns, value) {
		campaigns = append(slices.Clone(campaigns), value)
	}
	return web.Select("Campaign", "campaign", value, web.Options("All", campaigns...))
}

// rowID is the id of a loop's row in the page.
func rowID(id string) string { return "loop-" + url.QueryEscape(id) }

func loopRow(l loops.Summary) web.Row {
	waits := g.Text("–")
	if l.Waits != "" {
		waits = g.Group{g.Text(l.Waits + ", since "), web.Ago(l.Since)}
	}
	return web.Row{ID: rowID(l.ID), Cells: []g.Node{
		web.State(l.State), html.A(html.Href(loopPath(l.ID)), short(l.ID)), g.Text(string(l.Stage)), waits, short(l.Order), short(l.Contact),
		short(l.Campaign), web.Time(l.Start), web.Ago(l.Last),
	}}
}

// short is an id of which a narrow column shows the beginning.
func short(id string) g.Node {
	if id == "" {
		return g.Text("–")
	}
	return html.Code(html.Class("short"), html.Title(id), g.Text(id))
}
