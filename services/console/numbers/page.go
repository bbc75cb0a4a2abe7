package numbers

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/chart"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/web"
)

// sheetNames are those of the parameter "table", the default first.
var sheetNames = []string{"funnel", "closing", "flow", "campaigns", "rules", "vendors"}

// barsMost is how many bars a picture has; the table has them all.
const barsMost = 15

func (p *Pages) numbersPage(ctx context.Context, r *httpdoor.Request, a asked, n loops.Numbers) (*httpdoor.Response, error) {
	campaigns, err := p.source.Campaigns(ctx)
	if err != nil {
		return nil, web.Unread(err)
	}
	return web.Show(r, web.View{Title: "Numbers", Section: "/numbers", Body: []g.Node{
		periodLinks(r, a), numbersFilter(r, a, campaigns), p.lagging(),
		html.P(g.Text("From "), web.Time(a.From), g.Text(" to "), web.Time(a.To), g.Text(" (UTC), in whole hours.")),
		funnelPart(r, a, n), closingPart(r, n), flowPart(r, a, n), campaignsPart(r, a, n), rulesPart(r, a, n), callsPart(r, a, n),
		html.P(html.Class("exports"), html.A(html.Href(web.With(r, "format", string(web.JSON))), g.Text("All of it as JSON"))),
	}}), nil
}

func periodLinks(r *httpdoor.Request, a asked) g.Node {
	return html.Nav(html.Class("periods"), html.Aria("label", "Period"), html.Ul(g.Map(periods, func(p period) g.Node {
		return html.Li(html.A(html.Href(web.With(r, "period", p.name, "from", "", "to", "")),
			g.If(p.name == a.period, html.Aria("current", "true")), g.Text(p.words)))
	})))
}

func numbersFilter(r *httpdoor.Request, a asked, campaigns []string) g.Node {
	moment := func(label, name string, t time.Time) g.Node {
		value := ""
		if a.period == "" {
			value = t.Format(web.FieldTime)
		}
		return web.Field(label, name, value, html.Type("datetime-local"))
	}
	return web.Filter("/numbers",
		g.If(r.Query.Get("period") != "", web.Hidden("period", r.Query.Get("period"))),
		moment("From (UTC)", "from", a.From), moment("To (UTC)", "to", a.To),
		web.Field("Campaign", "campaign", a.Campaign, html.List("known-campaigns"), html.AutoComplete("off")),
		html.DataList(html.ID("known-campaigns"), g.Map(campaigns, func(c string) g.Node { return html.Option(html.Value(c)) })),
		web.Field("Survey", "survey", a.Survey, html.AutoComplete("off")))
}

// laggingFrom is how many messages the read model may miss without a word: it always misses a few.
const laggingFrom = 1000

// lagging says that figures are not whole yet.
func (p *Pages) lagging() g.Node {
	behind := p.source.Progress().Behind
	if behind < laggingFrom {
		return nil
	}
	return web.Notice("warn", fmt.Sprintf("The read model is being brought up to date. %s messages are missing at most, and so the figures are too small.",
		web.Count(int(behind))))
}

// plate is a picture under its heading, with what it shows in words, and its table.
func plate(r *httpdoor.Request, about chart.About, picture g.Node, note string, s sheet) g.Node {
	return web.Part(about.ID+"-part", about.Title, html.P(html.Class("finding"), g.Text(about.Finding)), picture,
		g.If(note != "", html.P(html.Class("note"), g.Text(note))), s.behind(r, about.ID))
}

// numbersSheet is one of the tables.
func numbersSheet(a asked, n loops.Numbers, name string) sheet {
	switch name {
	case "closing":
		return closingSheet(n.Closing)
	case "flow":
		exact := func(subject string) string { return subject }
		return flowSheet(flowOf(n.Flow, hourly, a.From, a.To, exact))
	case "campaigns":
		return groupSheet(a, "campaigns", "Loops by campaign", "Campaign", n.Campaigns)
	case "rules":
		return groupSheet(a, "rules", "Loops by rule that fired", "Rule", n.Rules)
	case "vendors":
		return callSheet("vendors", "Calls of vendors", n.Vendors)
	default:
		return funnelSheet(a, n.Funnel)
	}
}

// reached is how many came to a stage.
func reached(funnel []loops.Count, stage loops.Stage) int {
	for _, c := range funnel {
		if c.Name == string(stage) {
			return c.Count
		}
	}
	return 0
}

// --- funnel

func funnelPart(r *httpdoor.Request, a asked, n loops.Numbers) g.Node {
	about := chart.About{ID: "funnel", Title: "Funnel", Finding: funnelFinding(n.Funnel), Empty: "No loop began in this period."}
	stages := make([]chart.Stage, len(n.Funnel))
	for i, c := range n.Funnel {
		stages[i] = chart.Stage{Name: c.Name, Count: c.Count}
	}
	return plate(r, about, chart.Funnel(about, stages),
		"Loops that began in this period, by how far they have come since. Solid came to the stage; hatched came to the stage before it and no further yet. "+
			"A loop that begins with an answer has no invitation, so a stage can have more than the one before.",
		funnelSheet(a, n.Funnel))
}

func funnelFinding(funnel []loops.Count) string {
	at := func(s loops.Stage) string { return web.Count(reached(funnel, s)) }
	rest := fmt.Sprintf("answered %s, acted on %s, closed %s.", at(loops.Answered), at(loops.Acted), at(loops.Closed))
	switch {
	case !slices.ContainsFunc(funnel, func(c loops.Count) bool { return c.Count > 0 }):
		return "No loop began in this period."
	case reached(funnel, loops.Invited) == 0:
		return "Nobody was invited; " + rest
	default:
		return fmt.Sprintf("%s of %s invited got a link; mailed %s, %s", at(loops.Linked), at(loops.Invited), at(loops.Mailed), rest)
	}
}

func funnelSheet(a asked, funnel []loops.Count) sheet {
	s := sheet{"funnel", "Loops by the stage that they reached", []column{{"Stage", "stage"}, {"Loops", "loops"}, {"Of the stage before", "share_of_stage_before"}}, nil}
	for i, c := range funnel {
		of := cell{g.Text("–"), ""}
		if i > 0 && funnel[i-1].Count > 0 {
			before := funnel[i-1].Count
			of = cell{g.Text(chart.Percent(c.Count, before)), strconv.FormatFloat(float64(c.Count)/float64(before), 'f', 4, 64)}
		}
		s.rows = append(s.rows, []cell{linked(a.loops("stage", c.Name), c.Name, c.Name), count(c.Count), of})
	}
	return s
}

// loops is the address of the list of loops that a number counts.
func (a asked) loops(name, value string) string {
	q := url.Values{}
	for k, v := range map[string]string{"from": stamp(a.From), "to": stamp(a.To), "campaign": a.Campaign, "survey": a.Survey, name: value} {
		if v != "" {
			q.Set(k, v)
		}
	}
	return "/loops?" + q.Encode()
}

// --- time to close

func closingPart(r *httpdoor.Request, n loops.Numbers) g.Node {
	about := chart.About{ID: "closing", Title: "Time to close", Finding: closingFinding(n.Closing), Empty: "No loop of this period is closed."}
	last := len(n.Closing) // columns beyond the last that has something say nothing
	for last > 0 && n.Closing[last-1].Count == 0 {
		last--
	}
	edges, counts := []string{"0"}, make([]int, last)
	for i, b := range n.Closing[:last] {
		edges, counts[i] = append(edges, edge(b.Most)), b.Count
	}
	return plate(r, about, chart.Histogram(about, edges, counts), "From the beginning of a loop until everything was done. The numbers on the columns are loops.",
		closingSheet(n.Closing))
}

// edge is the end of a column, in few letters.
func edge(d time.Duration) string {
	for _, u := range []struct {
		is   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "min"}, {time.Second, "s"}} {
		if d >= u.is && d%u.is == 0 {
			return strconv.Itoa(int(d/u.is)) + " " + u.name
		}
	}
	return "more"
}

// within says in words what a column holds.
func within(buckets []loops.Bucket, i int) string {
	var least time.Duration
	if i > 0 {
		least = buckets[i-1].Most
	}
	switch most := buckets[i].Most; {
	case most == 0:
		return "longer than " + edge(least)
	case least == 0:
		return "up to " + edge(most)
	default:
		return edge(least) + " to " + edge(most)
	}
}

func closingFinding(buckets []loops.Bucket) string {
	all, so := 0, 0
	for _, b := range buckets {
		all += b.Count
	}
	if all == 0 {
		return "No loop of this period is closed."
	}
	for i, b := range buckets {
		if so += b.Count; 2*so < all {
			continue
		}
		if b.Most == 0 {
			return fmt.Sprintf("%s; half of them or more took longer than %s.", closed(all), edge(buckets[max(0, i-1)].Most))
		}
		return fmt.Sprintf("%s; %s of them (%s) within %s.", closed(all), web.Count(so), chart.Percent(so, all), edge(b.Most))
	}
	return closed(all) + "."
}

func closed(n int) string {
	if n == 1 {
		return "1 loop is closed"
	}
	return web.Count(n) + " loops are closed"
}

func closingSheet(buckets []loops.Bucket) sheet {
	s := sheet{"closing", "Closed loops by the time that they took", []column{{"Time to close", "time_to_close"}, {"At most", "at_most_seconds"}, {"Loops", "loops"}}, nil}
	for i, b := range buckets {
		s.rows = append(s.rows, []cell{words(within(buckets, i)), lasting(b.Most), count(b.Count)})
	}
	return s
}

// --- flow

func flowPart(r *httpdoor.Request, a asked, n loops.Numbers) g.Node {
	f := flowOf(n.Flow, unitOf(a.From, a.To), a.From, a.To, kindOf)
	about := chart.About{ID: "flow", Title: "Flow per " + f.unit.name, Finding: f.finding(), Empty: "Nothing happened in this period."}
	strips := make([]chart.Strip, len(f.kinds))
	for i, k := range f.kinds {
		sum, most, _ := f.sum(k)
		strips[i] = chart.Strip{Name: k, Values: f.counts[k], Says: fmt.Sprintf("%s, up to %s", web.Count(sum), web.Count(most))}
	}
	note := "Events by type. Each row has a scale of its own, from zero to the number at its end. The first and the last column may be only a part of their " + f.unit.name + "."
	switch f.unit {
	case daily:
		note += " Seven days and less are shown by hour; the CSV always is."
	case weekly:
		note += " Half a year and less are shown by day, seven days and less by hour; the CSV always is by hour."
	}
	return plate(r, about, chart.Strips(about, len(f.starts), f.ticks(), strips), note, flowSheet(f))
}

func (f flow) finding() string {
	sum, most, at := 0, 0, 0
	for i, n := range f.all() {
		if sum += n; n > most {
			most, at = n, i
		}
	}
	if sum == 0 {
		return "Nothing happened in this period."
	}
	return fmt.Sprintf("%s; most of them in the %s from %s: %s.", web.Plural(sum, "event"), f.unit.name, f.starts[at].Format(f.unit.format), web.Count(most))
}

func flowSheet(f flow) sheet {
	s := sheet{"flow", "Events per " + f.unit.name, []column{{"From (UTC)", "from"}}, nil}
	for _, k := range f.kinds {
		s.head = append(s.head, column{k, k})
	}
	for i, at := range f.starts {
		row := []cell{moment(at, at.Format(f.unit.format))}
		for _, k := range f.kinds {
			row = append(row, count(f.counts[k][i]))
		}
		s.rows = append(s.rows, row)
	}
	return s
}

// --- by campaign and by rule

// size of a group is the count of its widest stage: not every loop begins with an invitation.
func size(group loops.Group) (most int) {
	for _, c := range group.Funnel {
		most = max(most, c.Count)
	}
	return most
}

// largest sorts groups by their size and gives as many as a picture has room for.
func largest(groups []loops.Group) (shown []loops.Group, more string) {
	shown = slices.SortedStableFunc(slices.Values(groups), func(a, b loops.Group) int { return size(b) - size(a) })
	if left := len(shown) - barsMost; left > 0 {
		shown, more = shown[:barsMost], fmt.Sprintf(" The %d largest are drawn; %d more are in the table.", barsMost, left)
	}
	return shown, more
}

// named stands in for a name that is not there.
func named(name, none string) string {
	if strings.TrimSpace(name) == "" {
		return none
	}
	return name
}

func campaignsPart(r *httpdoor.Request, a asked, n loops.Numbers) g.Node {
	const none = "No loop began in this period."
	groups, more := largest(n.Campaigns)
	about := chart.About{ID: "campaigns", Title: "By campaign", Finding: none, Empty: none}
	if len(groups) > 0 {
		first := groups[0]
		about.Finding = fmt.Sprintf("%s; the largest is %s, where %s of %s answered.", web.Plural(len(n.Campaigns), "campaign"), named(first.Name, noCampaign),
			web.Count(reached(first.Funnel, loops.Answered)), web.Count(size(first)))
	}
	return plate(r, about, groupBars(about, groups, loops.Answered), "Solid answered; hatched did not."+more,
		groupSheet(a, "campaigns", "Loops by campaign", "Campaign", n.Campaigns))
}

const noCampaign = "no campaign"

func rulesPart(r *httpdoor.Request, a asked, n loops.Numbers) g.Node {
	const none = "No rule fired for a loop of this period."
	groups, more := largest(n.Rules)
	about := chart.About{ID: "rules", Title: "By rule", Finding: none, Empty: none}
	if len(groups) > 0 {
		first := groups[0]
		about.Finding = fmt.Sprintf("%s fired; most often %s, for %s, %s closed.", web.Plural(len(n.Rules), "rule"), first.Name,
			web.Plural(size(first), "loop"), web.Count(reached(first.Funnel, loops.Closed)))
	}
	return plate(r, about, groupBars(about, groups, loops.Closed), "Loops for which the rule fired. Solid is closed; hatched is not yet."+more,
		groupSheet(a, "rules", "Loops by rule that fired", "Rule", n.Rules))
}

func groupBars(about chart.About, groups []loops.Group, part loops.Stage) g.Node {
	bars := make([]chart.Bar, len(groups))
	for i, group := range groups {
		n, all := reached(group.Funnel, part), size(group)
		bars[i] = chart.Bar{Name: named(group.Name, noCampaign), Value: all, Part: n, Says: web.Count(n) + " of " + web.Count(all)}
	}
	return chart.Bars(about, bars)
}

func groupSheet(a asked, name, caption, of string, groups []loops.Group) sheet {
	one := strings.ToLower(of)
	s := sheet{name, caption, []column{{of, one}}, nil}
	for _, stage := range loops.Funnel {
		s.head = append(s.head, column{capital(string(stage)), strings.ReplaceAll(string(stage), " ", "_")})
	}
	s.head = append(s.head, column{"Failed", "failed"}, column{"Median time to close", "median_seconds"})
	for _, group := range groups {
		row := []cell{words(named(group.Name, noCampaign))}
		if group.Name != "" {
			row[0] = linked(a.loops(one, group.Name), group.Name, group.Name)
		}
		for _, stage := range loops.Funnel {
			row = append(row, count(reached(group.Funnel, stage)))
		}
		s.rows = append(s.rows, append(row, count(group.Failed), lasting(group.Median)))
	}
	return s
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// --- calls

func callsPart(r *httpdoor.Request, a asked, n loops.Numbers) g.Node {
	about := chart.About{ID: "calls", Title: "By vendor", Finding: callFinding(n.Vendors), Empty: noCalls}
	note := callNote
	if a.Campaign != "" || a.Survey != "" {
		note += " Calls are counted for all campaigns and surveys together."
	}
	return plate(r, about, callBars(about, n.Vendors, true), note, callSheet("vendors", "Calls of vendors", n.Vendors))
}

const (
	noCalls  = "No vendor was called."
	callNote = "Solid are calls that were made; hatched are those that batching saved: one by one there would have been all of them."
)

// totals of calls.
func totals(calls []loops.Calls) (made, saved, failed int) {
	for _, c := range calls {
		made, saved, failed = made+c.Calls, saved+c.Saved, failed+c.Failed
	}
	return made, saved, failed
}

func callFinding(calls []loops.Calls) string {
	made, saved, failed := totals(calls)
	if made == 0 {
		return noCalls
	}
	said := web.Plural(made, "call")
	if saved > 0 {
		said += fmt.Sprintf(" did the work of %s: batching saved %s of them", web.Count(made+saved), chart.Percent(saved, made+saved))
	}
	if failed > 0 {
		return fmt.Sprintf("%s. %s failed.", said, web.Count(failed))
	}
	return said + ". None failed."
}

// callBars draws one bar for each operation.
func callBars(about chart.About, calls []loops.Calls, vendor bool) g.Node {
	sorted := slices.SortedStableFunc(slices.Values(calls), func(a, b loops.Calls) int { return b.Calls + b.Saved - a.Calls - a.Saved })
	bars := make([]chart.Bar, 0, barsMost)
	for _, c := range sorted[:min(len(sorted), barsMost)] {
		name, says := c.Operation, web.Count(c.Calls)
		if vendor {
			name = vendorName(c.Vendor) + ": " + c.Operation
		}
		if c.Saved > 0 {
			says += " instead of " + web.Count(c.Calls+c.Saved)
		}
		bars = append(bars, chart.Bar{Name: name, Value: c.Calls + c.Saved, Part: c.Calls, Says: says})
	}
	return chart.Bars(about, bars)
}

func callSheet(name, caption string, calls []loops.Calls) sheet {
	s := sheet{name, caption, []column{
		{"Vendor", "vendor"}, {"Operation", "operation"}, {"Calls", "calls"}, {"One by one", "one_by_one"}, {"Saved", "saved"}, {"Failed", "failed"}, {"Mean time", "mean_seconds"},
	}, nil}
	for _, c := range calls {
		s.rows = append(s.rows, []cell{
			{g.Text(vendorName(c.Vendor)), c.Vendor}, words(c.Operation), count(c.Calls), count(c.Calls + c.Saved), count(c.Saved), count(c.Failed), lasting(c.Mean),
		})
	}
	return s
}
