package console

import (
	"context"
	"slices"
	"strconv"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// operationKinds are what people do with dead letters.
var operationKinds = []string{Replay, Discard, Look}

// history answers who did what and why, newest first.
func (d *desk) history(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	match, err := operationFilter(r)
	if err != nil {
		return nil, err
	}
	limit, before, err := pageOf(r.Query)
	if err != nil {
		return nil, err
	}
	shown, next := cut(d.book.done(match), limit, before, func(o *Operation) uint64 { return o.Sequence })
	switch web.FormOf(r) {
	case web.Page:
		return operationsPage(r, shown, next), nil
	case web.CSV:
		return web.Table("operations", operationColumns, operationRows(shown)), nil
	}
	return &httpdoor.Response{Body: struct {
		Operations []*Operation `json:"operations"`
		Next       uint64       `json:"next,omitempty"`
	}{listed(shown), next}}, nil
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
		return nil, web.Wrong("kind", "must be replay, discard or look")
	}
	return func(o *Operation) bool {
		return (letter == 0 || letter == o.Letter) && (by == "" || by == o.By) && (kind == "" || kind == o.Kind)
	}, nil
}

var operationColumns = []string{"operation", "at", "kind", "letter", "by", "proven", "why", "again", "edited", "outcome", "sent", "failed"}

func operationRows(all []*Operation) [][]string {
	var rows [][]string
	for _, o := range all {
		rows = append(rows, []string{
			o.ID, stamp(o.At), o.Kind, strconv.FormatUint(o.Letter, 10), o.By, strconv.FormatBool(o.Proven), o.Why, strconv.FormatBool(o.Again),
			strconv.FormatBool(o.Edited), o.Outcome, stamp(o.Sent), o.Failed,
		})
	}
	return rows
}

func operationsPage(r *httpdoor.Request, shown []*Operation, next uint64) *httpdoor.Response {
	q, older := r.Query, ""
	if next > 0 {
		older = strconv.FormatUint(next, 10)
	}
	return web.Show(r, web.View{Title: "Operations", Section: "/operations", Body: []g.Node{
		html.P(g.Text("What people did with dead letters, who they were, and why.")),
		web.Filter("/operations",
			web.Select("What", "kind", q.Get("kind"), web.Options("All", operationKinds...)),
			web.Field("Who", "by", q.Get("by"), html.AutoComplete("off")),
			web.Field("Dead letter", "letter", q.Get("letter"), g.Attr("inputmode", "numeric"), html.Pattern("[1-9][0-9]*")),
		),
		allOperations("Operations, newest first", shown),
		web.Pager(r, older),
		web.Exports(r),
	}})
}

// allOperations lists operations of any letters.
func allOperations(caption string, all []*Operation) g.Node {
	var rows []web.Row
	for _, o := range all {
		rows = append(rows, web.Cells(
			web.Time(o.At), letterLink(o.Letter), g.Text(o.says()), g.Text(whoDid(o)), g.Text(o.Why), jobLink(o.Job),
		))
	}
	return web.TableOf(caption, web.Texts("When", "Dead letter", "What", "Who", "Why", "Job"), rows)
}

// whoDid names who did it, and says where nothing proves the name.
func whoDid(o *Operation) string {
	if o.Proven {
		return o.By
	}
	return o.By + " (as they said)"
}
