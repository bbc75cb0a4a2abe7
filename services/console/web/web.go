// Package web is what the console's pages have in common: the frame around them, who is looking, one address for people and
// programs, lists, and forms that only our own pages can send.
//
// Pages are made on the server and can be read without JavaScript. There are no styles or scripts in them: the content
// security policy allows only our own files.
package web

import (
	"bytes"
	"encoding/csv"
	"mime"
	"net/http"
	"strconv"
	"strings"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// Form of an answer.
type Form string

// The forms of an answer: a page for people, JSON and CSV for programs.
const (
	Page Form = "html"
	JSON Form = "json"
	CSV  Form = "csv"
)

// FormOf tells in which form a caller wants the answer: ?format= says so, else a page for whoever prefers text/html as browsers
// do, CSV for text/csv, and JSON for everybody else.
func FormOf(r *httpdoor.Request) Form {
	switch f := Form(r.Query.Get("format")); f {
	case Page, JSON, CSV:
		return f
	}
	for part := range strings.SplitSeq(r.Header.Get("Accept"), ",") {
		switch kind, _, _ := mime.ParseMediaType(strings.TrimSpace(part)); kind {
		case "text/html", "application/xhtml+xml":
			return Page
		case "text/csv":
			return CSV
		case "application/json":
			return JSON
		}
	}
	return JSON
}

// Table answers with rows as CSV. Cells that a spreadsheet would take for a formula are written as text.
func Table(name string, head []string, rows [][]string) *httpdoor.Response {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write(head) // a buffer always takes it
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = harmless(cell)
		}
		_ = w.Write(cells)
	}
	w.Flush()
	return &httpdoor.Response{
		ContentType: "text/csv; charset=utf-8", Body: b.Bytes(),
		Header: http.Header{"Content-Disposition": {`attachment; filename=` + strconv.Quote(name+".csv")}, "Cache-Control": {"no-store"}},
	}
}

func harmless(cell string) string {
	if cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
		if _, err := strconv.ParseFloat(cell, 64); err != nil {
			return "'" + cell
		}
	}
	return cell
}

// Section is one of the links at the top of each page.
type Section struct{ Path, Name string }

// Sections of the console.
var Sections = []Section{
	{"/loops", "Loops"}, {"/numbers", "Numbers"}, {"/vendors", "Vendors"}, {"/dead-letters", "Dead letters"},
	{"/rules", "Rules"}, {"/operations", "Operations"},
}

// View is one page.
type View struct {
	Title string
	// Section is the path of the section that the page belongs to.
	Section string
	// Live is an address of server-sent events: where scripts run, the parts of the page whose ids they name are replaced.
	Live string
	// Status defaults to 200.
	Status int
	Body   []g.Node
}

// Show answers with a page.
func Show(r *httpdoor.Request, v View) *httpdoor.Response {
	var b bytes.Buffer
	_ = frame(r, v).Render(&b) // a buffer always takes it
	return &httpdoor.Response{
		Status: v.Status, ContentType: "text/html; charset=utf-8", Body: b.Bytes(),
		Header: http.Header{
			"Content-Security-Policy": {policy}, "Referrer-Policy": {"same-origin"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"},
		},
	}
}

const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func frame(_ *httpdoor.Request, v View) g.Node {
	return html.Doctype(html.HTML(html.Lang("en"),
		html.Head(
			html.Meta(html.Charset("utf-8")),
			html.Meta(html.Name("viewport"), html.Content("width=device-width, initial-scale=1")),
			html.TitleEl(g.Text(v.Title+" · closeloop")),
			html.Link(html.Rel("stylesheet"), html.Href("/assets/console.css")),
			html.Script(html.Src("/assets/console.js"), html.Defer()),
		),
		html.Body(
			html.A(html.Class("skip"), html.Href("#main"), g.Text("Skip to content")),
			html.Header(html.Nav(html.Aria("label", "Console"), html.Ul(g.Map(Sections, func(s Section) g.Node {
				return html.Li(html.A(html.Href(s.Path), g.If(s.Path == v.Section, html.Aria("current", "page")), g.Text(s.Name)))
			})...))),
			html.Main(html.ID("main"), g.If(v.Live != "", html.Data("live", v.Live)), html.H1(g.Text(v.Title)), g.Group(v.Body)),
		),
	))
}
