package console

import (
	"context"
	"slices"
	"strconv"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/rulebook"
	"github.com/closeloop/closeloop/services/console/web"
)

// operationsSection is where it is shown what people did; erasures belong to it.
const operationsSection = "/operations"

// operationKinds are what people do with dead letters, and with recorded answers.
var operationKinds = []string{Replay, Discard, Look, Try}

// history answers who did what and why, newest first.
func (d *desk) history(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	match, err := operationFilter(r)
	if err != nil {
		return nil, err
	}
	limit, before, err := pageOf(r.Query)
	if err != nil {
		return nil, err
	}
	list := web.List[*Operation, uint64]{
		Name: "operations", Columns: operationColumns, Cells: operationRows,
		Find: func(_ context.Context, before uint64, limit int) ([]*Operation, uint64, error) {
			shown, next := d.book.done(match, before, limit)
			return shown, next, nil
		},
		Page: func(shown []*Operation, next uint64) (*httpdoor.Response, error) {
			return operationsPage(r, shown, next), nil
		},
		JSON: func(shown []*Operation, next uint64) any {
			return struct {
				Operations []*Operation `json:"operations"`
				Next       uint64       `json:"next,omitempty"`
			}{listed(shown), next}
		},
	}
	return list.Answer(ctx, r, before, limit)
}

// operationFilter reads which operations are asked for.
func operationFilter(r *httpdoor.Request) (func(*Operation) bool, error) {
	q := r.Query
	if err := web.Known(q, "letter", "by", "kind", "limit", "before", "format"); err != nil {
		return nil, err
	}
	by, kind, letter := q.Get("by"), q.Get("kind"), uint64(0)
	if v := q.Get("letter"); v != "" {
		var err error
		if letter, err = strconv.ParseUint(v, 10, 64); err != nil || letter == 0 {
			return nil, web.Wrong("letter", "must be the sequence of a dead letter")
		}
	}
	if kind != "" && !slices.Contains(operationKinds, kind) {
		return nil, web.Wrong("kind", "must be replay, discard, look or try")
	}
	return func(o *Operation) bool {
		return (letter == 0 || letter == o.Letter) && (by == "" || by == o.By) && (kind == "" || kind == o.Kind)
	}, nil
}

var operationColumns = []string{
	"operation", "at", "kind", "letter", "by", "proven", "why", "again", "edited", "outcome", "sent", "failed",
	"rules", "rules before", "answers from", "answers to", "survey", "job",
}

func operationRows(all []*Operation) [][]string {
	var rows [][]string
	for _, o := range all {
		letter, tried := "", rulebook.Tried{}
		if o.Letter != 0 {
			letter = strconv.FormatUint(o.Letter, 10)
		}
		if o.Tried != nil {
			tried = *o.Tried
		}
		rows = append(rows, []string{
			o.ID, stamp(o.At), o.Kind, letter, o.By, strconv.FormatBool(o.Proven), o.Why, strconv.FormatBool(o.Again),
			strconv.FormatBool(o.Edited), o.Outcome, stamp(o.Sent), o.Failed,
			tried.Rules, tried.Before, stamp(tried.From), stamp(tried.To), tried.Survey, o.Job,
		})
	}
	return rows
}

func operationsPage(r *httpdoor.Request, shown []*Operation, next uint64) *httpdoor.Response {
	q, older := r.Query, ""
	if next > 0 {
		older = strconv.FormatUint(next, 10)
	}
	return web.Show(r, web.View{Title: "Operations", Section: operationsSection, Body: []g.Node{
		html.P(g.Text("What people did with dead letters and with recorded answers, who they were, and why. "),
			html.A(html.Href("/erasures"), g.Text("Erasures, and how to ask for one"))),
		web.Filter(operationsSection,
			web.Select("What", "kind", q.Get("kind"), web.Options("All", operationKinds...)),
			web.Field("Who", "by", q.Get("by"), html.AutoComplete("off")),
			web.Field("Dead letter", "letter", q.Get("letter"), g.Attr("inputmode", "numeric"), html.Pattern("[1-9][0-9]*")),
		),
		allOperations("Operations, newest first", shown),
		web.Pager(r, older),
		web.Exports(r),
	}})
}

// allOperations lists operations of all kinds.
func allOperations(caption string, all []*Operation) g.Node {
	var rows []web.Row
	for _, o := range all {
		rows = append(rows, web.Cells(
			web.Time(o.At), o.about(), g.Text(o.says()), g.Text(whoSaid(o.By, o.Proven)), g.Text(o.Why), jobLink(o.Job),
		))
	}
	return web.TableOf(caption, web.Texts("When", "About", "What", "Who", "Why", "Job"), rows)
}

// about is what it was done with.
func (o *Operation) about() g.Node {
	if o.Tried == nil {
		return letterLink(o.Letter)
	}
	survey := ""
	if o.Tried.Survey != "" {
		survey = " to " + o.Tried.Survey
	}
	return g.Group{
		g.Text("Answers" + survey + " from "), web.Time(o.Tried.From), g.Text(" to "), web.Time(o.Tried.To), g.Text(", rules "), short(o.Tried.Rules),
	}
}

// whoSaid names who did something, and says where nothing proves the name.
func whoSaid(by string, proven bool) string {
	if proven {
		return by
	}
	return by + " (as they said)"
}
