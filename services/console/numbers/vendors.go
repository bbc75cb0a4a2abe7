package numbers

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/chart"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/web"
)

// notCalled is the state of a vendor that no service has told anything of.
const notCalled = "not called yet"

// vendorNames are those of the vendors that closeloop calls, in the order in which a loop meets them.
var vendorNames = []struct{ vendor, name string }{
	{"qualtrics", "Qualtrics"}, {"sap-marketing", "SAP Marketing Cloud"}, {"sap-sales-cloud", "SAP Sales Cloud"}, {"awardco", "Awardco"},
}

// vendorName is how people call a vendor.
func vendorName(vendor string) string {
	for _, v := range vendorNames {
		if v.vendor == vendor {
			return v.name
		}
	}
	return vendor
}

// vendorSheets are the names of the parameter "table", the default first.
var vendorSheets = []string{"vendors", "limits", "calls"}

// VendorList is the answer of GET /vendors as JSON.
type VendorList struct {
	At      time.Time            `json:"at"`
	Vendors []loops.VendorStatus `json:"vendors"`
}

// Vendors answers GET /vendors.
func (p *Pages) Vendors(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := web.Known(r.Query, "table", "format"); err != nil {
		return nil, err
	}
	table := cmp.Or(r.Query.Get("table"), vendorSheets[0])
	if !slices.Contains(vendorSheets, table) {
		return nil, web.Wrong("table", "must be one of "+strings.Join(vendorSheets, ", "))
	}
	all, err := p.everyVendor(ctx)
	if err != nil {
		return nil, err
	}
	switch web.FormOf(r) {
	case web.Page:
		return p.vendorsPage(r, all), nil
	case web.CSV:
		return vendorSheet(all, table).csv(), nil
	default:
		return &httpdoor.Response{Body: VendorList{p.now(), all}, Header: http.Header{"Cache-Control": {"no-store"}}}, nil
	}
}

// everyVendor lists the vendors in their order, with those that were not called yet.
func (p *Pages) everyVendor(ctx context.Context) ([]loops.VendorStatus, error) {
	told, err := p.source.Vendors(ctx)
	if err != nil {
		return nil, web.Unread(err)
	}
	var all []loops.VendorStatus
	for _, known := range vendorNames {
		at := slices.IndexFunc(told, func(s loops.VendorStatus) bool { return s.Vendor == known.vendor })
		if at < 0 {
			all = append(all, loops.VendorStatus{Vendor: known.vendor, By: []string{}, Limits: []activity.Limit{}, Calls: []loops.Calls{}})
			continue
		}
		all = append(all, told[at])
		told = slices.Delete(slices.Clone(told), at, at+1)
	}
	all = append(all, told...)
	for i, s := range all {
		if s.QuotaAt.IsZero() && len(s.By) == 0 && len(s.Calls) == 0 {
			all[i].State = notCalled
		}
	}
	return all, nil
}

func (p *Pages) vendorsPage(r *httpdoor.Request, all []loops.VendorStatus) *httpdoor.Response {
	return web.Show(r, web.View{Title: "Vendors", Section: "/vendors", Live: "/vendors/live", Body: []g.Node{
		p.lagging(), g.Map(p.parts(all), func(part web.Piece) g.Node { return part.Node }),
		html.P(html.Class("exports"), g.Text("The same as CSV: "), g.Group(vendorExports(r)),
			html.A(html.Href(web.With(r, "format", string(web.JSON), "table", "")), g.Text("JSON"))),
	}})
}

func vendorExports(r *httpdoor.Request) (links []g.Node) {
	for _, name := range vendorSheets {
		links = append(links, html.A(html.Href(web.With(r, "format", string(web.CSV), "table", name)), html.Download(""), g.Text(name)), g.Text(" · "))
	}
	return links
}

// VendorParts are what the page of vendors is made of at this moment.
func (p *Pages) VendorParts(ctx context.Context) ([]web.Piece, error) {
	all, err := p.everyVendor(ctx)
	if err != nil {
		return nil, err
	}
	return p.parts(all), nil
}

// parts are an overview, and what is told of each.
func (p *Pages) parts(all []loops.VendorStatus) []web.Piece {
	const overview = "vendors-overview"
	parts := []web.Piece{{ID: overview, Node: web.Part(overview, "Overview", vendorSheet(all, "vendors").table())}}
	for _, s := range all {
		id := partID(s.Vendor)
		parts = append(parts, web.Piece{ID: id, Node: p.vendorPart(id, s)})
	}
	return parts
}

func partID(vendor string) string { return "vendor-" + anchor(vendor) }

func (p *Pages) vendorPart(id string, s loops.VendorStatus) g.Node {
	if s.State == notCalled {
		return web.Part(id, vendorName(s.Vendor), html.P(web.State(s.State)), html.P(g.Text(p.waiting(s))))
	}
	return web.Part(id, vendorName(s.Vendor),
		html.P(web.State(s.State), g.Text(" "+p.standing(s))),
		html.P(g.Text(p.waiting(s))),
		web.Facts(web.Fact{Name: "Reason", Says: said(s.Reason)}, web.Fact{Name: "Told by", Says: said(strings.Join(s.By, ", "))}),
		quota(s), callsOf(id, s))
}

// anchor makes a name fit for an id.
func anchor(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, name)
}

func said(text string) g.Node {
	if text == "" {
		return nil
	}
	return g.Text(text)
}

// standing says since when a vendor is as it is, and when it is asked again.
func (p *Pages) standing(s loops.VendorStatus) string {
	text := ""
	if !s.Since.IsZero() {
		text = "since " + p.at(s.Since) + " (" + web.Span(p.now().Sub(s.Since)) + ")"
	}
	switch {
	case s.State == activity.Healthy:
	case s.Until.After(p.now()):
		text += "; it is asked again at " + p.at(s.Until) + ", in " + web.Span(s.Until.Sub(p.now()))
	case !s.Until.IsZero():
		text += "; it has been asked again since " + p.at(s.Until)
	}
	return text
}

// at is a time of today without its day.
func (p *Pages) at(t time.Time) string {
	if t, now := t.UTC(), p.now().UTC(); t.Format(time.DateOnly) != now.Format(time.DateOnly) {
		return t.Format("2 Jan 2006, 15:04:05 UTC")
	}
	return t.UTC().Format("15:04:05 UTC")
}

// waiting says what waits for a vendor, and how long that will take.
func (p *Pages) waiting(s loops.VendorStatus) string {
	if s.Waiting == 0 {
		return "Nothing waits for it."
	}
	text := web.Plural(s.Waiting, "loop waits", "loops wait") + " for it"
	if !s.OldestWaiting.IsZero() {
		text += ", the oldest since " + p.at(s.OldestWaiting) + " (" + web.Span(p.now().Sub(s.OldestWaiting)) + ")"
	}
	if s.PerMinute <= 0 || s.Left <= 0 {
		return text + ". How long that will take cannot be told: nothing was done lately."
	}
	if s.State == activity.Out {
		return fmt.Sprintf("%s. Once it is back, about %s at the pace of before.", text, web.Span(s.Left))
	}
	return fmt.Sprintf("%s. At the recent pace of %s a minute that will take about %s.", text, decimal(s.PerMinute), web.Span(s.Left))
}

// decimal is a number without more letters than it needs.
func decimal(v float64) string {
	if v >= 10 || v == math.Trunc(v) {
		return web.Count(int(math.Round(v)))
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

// quota is a meter for each limit, with its numbers.
func quota(s loops.VendorStatus) g.Node {
	if len(s.Limits) == 0 {
		return nil
	}
	return g.Group{
		html.H3(g.Text("Quota used")),
		html.Ul(html.Class("meters"), g.Map(s.Limits, func(l activity.Limit) g.Node { return html.Li(meter(s.Vendor, l)) })),
		html.P(html.Class("note"), g.Text("By the whole fleet, as told at "), web.Time(s.QuotaAt), g.Text(" UTC.")),
	}
}

func meter(vendor string, l activity.Limit) g.Node {
	name, of := limitWords(l)
	if l.Most <= 0 {
		return g.Group{html.Strong(g.Text(name)), html.Br(), g.Text(decimal(l.Used) + of + ", without a limit")}
	}
	id := "limit-" + anchor(vendor+"-"+l.Name)
	number := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	return html.Label(html.For(id), html.Strong(g.Text(name)), html.Br(),
		g.Textf("%s of %s%s (%s)", decimal(l.Used), decimal(l.Most), of, chart.Percent(int(l.Used*1000), int(l.Most*1000))),
		html.Meter(html.ID(id), html.Min("0"), html.Max(number(l.Most)), g.Attr("high", number(l.Most*0.8)), g.Attr("optimum", "0"), html.Value(number(min(l.Used, l.Most)))))
}

// limitWords name a limit, and say of what time its numbers are.
func limitWords(l activity.Limit) (name, of string) {
	switch l.Name {
	case "parallel":
		return "Calls at the same time", " now"
	case "all":
		return "All calls", " a minute"
	default:
		return l.Name, " a minute"
	}
}

func callsOf(id string, s loops.VendorStatus) g.Node {
	about := chart.About{ID: id + "-calls", Title: "Calls of " + vendorName(s.Vendor) + " in the last hour", Finding: callFinding(s.Calls), Empty: noCalls}
	if len(s.Calls) == 0 {
		return g.Group{html.H3(g.Text("Calls of the last hour")), html.P(g.Text("It was not called."))}
	}
	return g.Group{
		html.H3(g.Text("Calls of the last hour")),
		html.P(html.Class("finding"), g.Text(about.Finding)),
		callBars(about, s.Calls, false),
		html.P(html.Class("note"), g.Text(callNote)),
		web.Details(about.ID+"-table", "Table", callSheet("calls", about.Title, s.Calls).table()),
	}
}

func vendorSheet(all []loops.VendorStatus, name string) sheet {
	switch name {
	case "limits":
		return limitSheet(all)
	case "calls":
		var calls []loops.Calls
		for _, s := range all {
			calls = append(calls, s.Calls...)
		}
		return callSheet("calls", "Calls of the last hour", calls)
	default:
		return overviewSheet(all)
	}
}

func limitSheet(all []loops.VendorStatus) sheet {
	s := sheet{"limits", "Limits of vendors", []column{{"Vendor", "vendor"}, {"Limit", "limit"}, {"Used", "used"}, {"Most", "most"}, {"At", "at"}}, nil}
	number := func(v float64) cell { return words(strconv.FormatFloat(v, 'f', -1, 64)) }
	for _, v := range all {
		for _, l := range v.Limits {
			s.rows = append(s.rows, []cell{{g.Text(vendorName(v.Vendor)), v.Vendor}, words(l.Name), number(l.Used), number(l.Most), {web.Time(v.QuotaAt), stamp(v.QuotaAt)}})
		}
	}
	return s
}

func overviewSheet(all []loops.VendorStatus) sheet {
	s := sheet{"vendors", "Vendors and what waits for them", []column{
		{"Vendor", "vendor"}, {"State", "state"}, {"Since", "since"}, {"Asked again", "until"}, {"Waiting", "waiting"}, {"Oldest", "oldest_waiting"},
		{"A minute", "per_minute"}, {"Will take", "left_seconds"}, {"Calls", "calls_last_hour"}, {"Saved", "saved_last_hour"}, {"Failed", "failed_last_hour"},
	}, nil}
	for _, v := range all {
		made, _, failed := totals(v.Calls)
		s.rows = append(s.rows, []cell{
			{html.A(html.Href("#"+partID(v.Vendor)), g.Text(vendorName(v.Vendor))), v.Vendor}, {web.State(v.State), v.State},
			{web.Ago(v.Since), stamp(v.Since)}, {web.Ago(v.Until), stamp(v.Until)}, count(v.Waiting), {web.Ago(v.OldestWaiting), stamp(v.OldestWaiting)},
			pace(v), left(v), count(made), count(v.Saved), count(failed),
		})
	}
	return s
}

func pace(v loops.VendorStatus) cell {
	if v.PerMinute <= 0 {
		return cell{g.Text("–"), ""}
	}
	return cell{g.Text(decimal(v.PerMinute)), strconv.FormatFloat(v.PerMinute, 'f', 2, 64)}
}

func left(v loops.VendorStatus) cell {
	switch {
	case v.Waiting == 0:
		return cell{g.Text("–"), ""}
	case v.Left <= 0:
		return cell{g.Text("cannot be told"), ""}
	default:
		c := lasting(v.Left)
		if v.State == activity.Out {
			c.shown = g.Group{c.shown, g.Text(" once it is back")}
		}
		return c
	}
}
