package web

import (
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// framed is a whole page.
func framed(title string, body g.Node) g.Node {
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.Meta(h.Name("robots"), h.Content("noindex")),
			h.TitleEl(g.Text(title)),
			h.Link(h.Rel("icon"), h.Href("/landscape/static/icon.svg"), h.Type("image/svg+xml")),
			h.Link(h.Rel("stylesheet"), h.Href("/landscape/static/landscape.css")),
		),
		body,
	))
}

// sheet is a page about one thing, with the way back to the part of the overview that it comes from.
func sheet(title, part, class string, content ...g.Node) g.Node {
	return framed(title, h.Body(h.Class("plain"),
		h.P(h.Class("back"), h.A(h.Href("/landscape/#"+part), g.Text("Back to the overview"))),
		h.Main(h.Class(class), g.Group(content)),
	))
}

// message is a page that says one thing.
func message(title, text string) g.Node {
	return framed(title, h.Body(h.Class("plain"), h.Main(
		h.H1(g.Text(title)),
		h.P(g.Text(text)),
		h.P(h.A(h.Href("/landscape/"), g.Text("Back to the overview"))),
	)))
}

// table scrolls by itself, also by key.
func table(label, caption string, head, rows g.Group) g.Node {
	return h.Div(h.Class("scroll"), h.Role("region"), h.Aria("label", label), h.TabIndex("0"), h.Table(
		h.Caption(g.Text(caption)),
		h.THead(h.Tr(head)),
		h.TBody(rows),
	))
}

// columns are heads of a table.
func columns(names ...string) g.Group {
	return g.Map(names, func(name string) g.Node { return h.Th(h.Scope("col"), g.Text(name)) })
}

// numbers is the head of a column of numbers.
func numbers(name string) g.Node {
	return h.Th(h.Scope("col"), h.Class("number"), g.Text(name))
}

// rowHead is the cell that names its row.
func rowHead(content ...g.Node) g.Node { return h.Th(h.Scope("row"), g.Group(content)) }

func cell(text string) g.Node { return h.Td(g.Text(text)) }

func codeCell(text string) g.Node { return h.Td(h.Code(g.Text(text))) }

func timeCell(t time.Time) g.Node { return h.Td(moment(t)) }

func numberCell(text string) g.Node { return h.Td(h.Class("number"), g.Text(text)) }

// entry is a term of a definition list with what is said of it.
func entry(term string, content ...g.Node) g.Node {
	return h.Div(h.Dt(g.Text(term)), h.Dd(content...))
}

// moment is a time, in UTC; a dash where it is zero.
func moment(t time.Time) g.Node {
	if t.IsZero() {
		return g.Text("–")
	}
	t = t.UTC()
	return h.Time(h.DateTime(t.Format(time.RFC3339)), g.Text(t.Format("2 Jan 15:04:05")))
}

func dim(text string) g.Node { return h.Span(h.Class("dim"), g.Text(text)) }

// named is a name with the id that it has.
func named(name, id string) g.Node { return g.Group{g.Text(name + " "), dim(id)} }

// badge shows a state; its colour says nothing that its name does not.
func badge[T ~string](state T) g.Node {
	return h.Span(h.Class(strings.TrimSpace("state "+stateClass(string(state)))), g.Text(string(state)))
}

func stateClass(state string) string {
	switch state {
	case "answered", "sent", "delivered", "granted":
		return "good"
	case "not answered yet", "queued", "running", "pending":
		return "wait"
	case "refused", "given up", "reached nobody", "denied", "lost":
		return "bad"
	}
	return ""
}

// post is a form that changes something.
func post(action string, children ...g.Node) g.Node {
	return h.Form(h.Method("post"), h.Action(action), g.Group(children))
}

// field is an input within its label.
func field(label, kind, name, value string, more ...g.Node) g.Node {
	return h.Label(g.Text(label+" "), h.Input(h.Type(kind), h.Name(name), h.Value(value), g.Group(more)))
}

func wholeNumber(label, name, value string, low int, more ...g.Node) g.Node {
	return field(label, "number", name, value, h.Min(strconv.Itoa(low)), g.Group(more))
}

// choice is one of the values, after the one that stands for all of them where that has a name.
func choice(label, name, all string, values []string, chosen string) g.Node {
	return h.Label(g.Text(label+" "), h.Select(h.Name(name),
		g.If(all != "", h.Option(h.Value(""), g.Text(all))),
		g.Map(values, func(v string) g.Node { return h.Option(g.If(v == chosen, h.Selected()), g.Text(v)) }),
	))
}

func button(text string, more ...g.Node) g.Node {
	return h.Button(h.Type("submit"), g.Group(more), g.Text(text))
}

// outside is a link to an address that somebody else gave. It leads nowhere unless it is one of the web or of a mailbox: others
// can be scripts.
func outside(address string, children ...g.Node) g.Node {
	return h.A(g.If(harmless(address), h.Href(address)), g.Group(children))
}

func harmless(address string) bool {
	scheme, _, found := strings.Cut(address, ":")
	if !found || strings.ContainsAny(scheme, "/?#") {
		return true // it is relative
	}
	switch strings.ToLower(scheme) {
	case "http", "https", "mailto":
		return true
	}
	return false
}
