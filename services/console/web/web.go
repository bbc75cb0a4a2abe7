// Package web is what the console's pages have in common: the frame around them, who is looking, one address for people and
// programs, lists, and forms that only our own pages can send.
//
// Pages are made on the server and can be read without JavaScript. There are no styles or scripts in them: the content
// security policy allows only our own files.
package web

import (
	"bytes"
	"io"
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
	// Live is an address of server-sent events: where scripts run, the parts of the page whose ids they name are replaced. Where they
	// cannot be heard, the page says so and asks again.
	Live string
	// Status defaults to 200.
	Status int
	Body   []g.Node
}

// Show answers with a page.
func Show(r *httpdoor.Request, v View) *httpdoor.Response {
	return &httpdoor.Response{
		Status: v.Status, ContentType: "text/html; charset=utf-8", Body: &Rendered{view: v, person: Person(r), at: localPath(r)},
		Header: http.Header{
			"Content-Security-Policy": {policy}, "Referrer-Policy": {"same-origin"}, "X-Content-Type-Options": {"nosniff"}, "Cache-Control": {"no-store"},
		},
	}
}

const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Rendered is a page as it is answered. It is written when the answer is, so that whoever serves the page can add to its frame.
type Rendered struct {
	// Links are shown in the header beside the sections.
	Links []NamedLink

	view   View
	person Who
	at     string
}

// NamedLink is a link with its text.
type NamedLink struct{ Name, URL string }

// WriteTo writes the page.
func (p *Rendered) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	if err := p.frame().Render(&b); err != nil {
		return 0, err
	}
	return b.WriteTo(w)
}

func (p *Rendered) frame() g.Node {
	return html.Doctype(html.HTML(html.Lang("en"),
		html.Head(
			html.Meta(html.Charset("utf-8")),
			html.Meta(html.Name("viewport"), html.Content("width=device-width, initial-scale=1")),
			html.Meta(html.Name("color-scheme"), html.Content("light dark")),
			html.TitleEl(g.Text(p.view.Title+" · closeloop")),
			html.Link(html.Rel("icon"), html.Href(asset("icon.svg")), html.Type("image/svg+xml")),
			html.Link(html.Rel("stylesheet"), html.Href(asset("console.css"))),
			html.Link(html.Rel("stylesheet"), html.Href(asset("charts.css"))),
			html.Script(html.Src(asset("console.js")), html.Defer()),
		),
		html.Body(
			html.A(html.Class("skip"), html.Href("#main"), g.Text("Skip to content")),
			p.header(),
			html.Main(html.ID("main"), html.TabIndex("-1"), p.live(),
				html.H1(g.Text(p.view.Title)), g.If(p.view.Live != "", html.P(html.Class("stale"), html.Role("status"))), g.Group(p.view.Body)),
			html.Footer(g.Text("All times are in UTC. "), html.A(html.Href("/openapi.yaml"), g.Text("API"))),
		),
	))
}

// listenAgain is after how many seconds at least a page asks again to be kept up to date where that was refused, and at most
// after twice as many: not all pages at once ask a console that is there again.
const listenAgain = 15

func (p *Rendered) live() g.Node {
	if p.view.Live == "" {
		return nil
	}
	return g.Group{html.Data("live", p.view.Live), html.Data("again", strconv.Itoa(listenAgain))}
}

func (p *Rendered) header() g.Node {
	return html.Header(html.Class("frame"),
		html.A(html.Class("brand"), html.Href("/"), g.Text("closeloop")),
		html.Nav(html.Aria("label", "Console"), html.Ul(g.Map(Sections, func(s Section) g.Node {
			return html.Li(html.A(html.Href(s.Path), g.If(s.Path == p.view.Section, html.Aria("current", "page")), g.Text(s.Name)))
		})...)),
		html.Div(html.Class("aside"),
			g.Map(p.Links, func(l NamedLink) g.Node { return Link(l.URL, l.Name) }),
			p.account(),
		),
	)
}

// account says who is signed in, and lets them sign out.
func (p *Rendered) account() g.Node {
	switch {
	case p.person.Session:
		return html.Form(html.Class("account"), html.Method("post"), html.Action("/sign-out"),
			html.Span(g.Text(p.person.Name+p.person.may())), Button("Sign out", html.Class("quiet")))
	case p.person.Name != "" && p.person.Proven:
		return html.Span(html.Class("account"), g.Text(p.person.Name+p.person.may()))
	}
	return nil
}

// localPath is the request's address on this host.
func localPath(r *httpdoor.Request) string {
	if q := r.Query.Encode(); q != "" {
		return r.Path + "?" + q
	}
	return r.Path
}
