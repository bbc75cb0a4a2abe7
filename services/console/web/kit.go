package web

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// Field is a line of text with its label. More are attributes of the input: its type, html.Required() and the like.
func Field(label, name, value string, more ...g.Node) g.Node {
	return labelled(label, html.Input(append([]g.Node{html.Name(name), html.Value(value)}, more...)...))
}

// Area is a text of several lines with its label.
func Area(label, name, value string, rows int, more ...g.Node) g.Node {
	attributes := append([]g.Node{html.Name(name), html.Rows(strconv.Itoa(rows)), g.Attr("spellcheck", "false")}, more...)
	return labelled(label, html.Textarea(append(attributes, g.Text("\n"+value))...)) // a first line break counts for nothing
}

// Option is one choice of a [Select].
type Option struct{ Value, Text string }

// Options are choices whose text is their value, after one that stands for all of them: "" with that text. An empty text leaves
// it out.
func Options[T ~string](all string, values ...T) []Option {
	var options []Option
	if all != "" {
		options = append(options, Option{"", all})
	}
	for _, v := range values {
		options = append(options, Option{string(v), string(v)})
	}
	return options
}

// Select is a choice with its label.
func Select(label, name, value string, options []Option, more ...g.Node) g.Node {
	attributes := append([]g.Node{html.Name(name)}, more...)
	return labelled(label, html.Select(append(attributes, g.Map(options, func(o Option) g.Node {
		return html.Option(html.Value(o.Value), g.If(o.Value == value, html.Selected()), g.Text(o.Text))
	}))...))
}

// Check is a box to tick with its label behind it.
func Check(label, name, value string, checked bool, more ...g.Node) g.Node {
	attributes := append([]g.Node{html.Type("checkbox"), html.Name(name), html.Value(value), g.If(checked, html.Checked())}, more...)
	return html.Label(html.Class("check"), html.Input(attributes...), html.Span(g.Text(label)))
}

// Hidden is a value that a form sends along.
func Hidden(name, value string) g.Node {
	return html.Input(html.Type("hidden"), html.Name(name), html.Value(value))
}

func labelled(label string, input g.Node) g.Node {
	return html.Label(html.Class("field"), html.Span(g.Text(label)), input)
}

// Button sends its form. html.Class("quiet") and html.Class("danger") change how it looks; html.Name, html.Value and
// html.FormAction what it sends, and where to.
func Button(text string, more ...g.Node) g.Node {
	return html.Button(append([]g.Node{html.Type("submit"), g.Text(text)}, more...)...)
}

// Post is a form that changes something. Only our own pages can send it: the routes check where a post comes from.
func Post(action string, children ...g.Node) g.Node {
	return html.Form(append([]g.Node{html.Class("post"), html.Method("post"), html.Action(action)}, children...)...)
}

// Filter is a form that selects what a list shows. What is in it becomes part of the address, which can be sent to a
// colleague.
func Filter(action string, children ...g.Node) g.Node {
	return html.Form(append([]g.Node{
		html.Class("filter"), html.Method("get"), html.Action(action), html.Role("search"), html.Aria("label", "Filter"),
	}, append(children, html.Div(html.Class("buttons"), Button("Show"), html.A(html.Href(action), g.Text("Reset"))))...)...)
}

// With is the address of a request with some parameters set to other values, and left out where those are empty: name, value,
// name, value.
func With(r *httpdoor.Request, set ...string) string {
	q := maps.Clone(r.Query)
	if q == nil {
		q = url.Values{}
	}
	for i := 0; i+1 < len(set); i += 2 {
		q.Set(set[i], set[i+1])
	}
	maps.DeleteFunc(q, func(_ string, values []string) bool {
		return !slices.ContainsFunc(values, func(v string) bool { return v != "" })
	})
	if len(q) == 0 {
		return r.Path
	}
	return r.Path + "?" + q.Encode()
}

// Pager leads to the next page of a list, whose address has next as its parameter "before", and back to the first; nothing
// where there is only one.
func Pager(r *httpdoor.Request, next string) g.Node {
	later := r.Query.Get("before") != ""
	if next == "" && !later {
		return nil
	}
	return html.Nav(html.Class("pager"), html.Aria("label", "Pages"),
		g.If(later, html.A(html.Href(With(r, "before", "")), g.Text("Newest"))),
		g.If(next != "", html.A(html.Rel("next"), html.Href(With(r, "before", next)), g.Text("Older"))),
	)
}

// Exports are links to the whole list as CSV, and to what is shown of it as JSON.
func Exports(r *httpdoor.Request) g.Node {
	return html.P(html.Class("exports"), g.Text("The whole list as "),
		html.A(html.Href(With(r, "format", string(CSV), "before", "", "limit", "")), html.Download(""), g.Text("CSV")), g.Text(", what is shown as "),
		html.A(html.Href(With(r, "format", string(JSON))), g.Text("JSON")))
}

// Time is a moment, in UTC; a dash where it is zero.
func Time(t time.Time) g.Node {
	if t.IsZero() {
		return g.Text("–")
	}
	return html.Time(html.DateTime(t.UTC().Format(time.RFC3339Nano)), g.Text(t.UTC().Format("2006-01-02 15:04:05")))
}

// Ago is how long a moment is past, or will take to come; the moment itself is its title. Where scripts run it is kept up to
// date. A dash where it is zero.
func Ago(t time.Time) g.Node {
	if t.IsZero() {
		return g.Text("–")
	}
	return html.Time(html.DateTime(t.UTC().Format(time.RFC3339Nano)), html.Data("ago", ""),
		html.Title(t.UTC().Format("2006-01-02 15:04:05 UTC")), g.Text(AgoText(t, time.Now())))
}

// AgoText says how long a moment is past, or will take to come: "just now", "5 minutes ago", "in 2 hours".
func AgoText(t, now time.Time) string {
	passed := now.Sub(t)
	if passed.Abs() < 5*time.Second {
		return "just now"
	}
	if passed < 0 {
		return "in " + Span(-passed)
	}
	return Span(passed) + " ago"
}

// Span is a long duration in words, as "3 minutes".
func Span(d time.Duration) string {
	for _, unit := range []struct {
		name string
		is   time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(d / unit.is); n >= 2 || n == 1 && unit.name != "day" {
			return Plural(n, unit.name)
		}
	}
	return Plural(int(d/time.Second), "second")
}

// Took is a short duration, as "85 ms" or "2.4 s".
func Took(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "< 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return Span(d)
}

// Plural is a number with what it counts: "1 call", "2 calls". Names that end in y or do not take an s name their plural too.
func Plural(n int, name string, plural ...string) string {
	switch {
	case n == 1:
		return "1 " + name
	case len(plural) > 0:
		return Count(n) + " " + plural[0]
	}
	return Count(n) + " " + name + "s"
}

// Count is a number with its thousands apart.
func Count(n int) string {
	if n < 0 {
		return "-" + Count(-n)
	}
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// Number is one in a table: it stands at the right of its cell.
func Number(n int) g.Node { return html.Span(html.Class("number"), g.Text(Count(n))) }

// shapes stand before the words of states, so that they differ by more than their colour.
var shapes = map[string]struct{ kind, shape string }{
	"completed": {"good", "✓"}, "processing": {"busy", "…"}, "retry": {"wait", "↻"}, "failed": {"bad", "✕"}, "discarded": {"off", "–"},
	"open": {"bad", "!"}, "replayed": {"busy", "↻"}, "recorded": {"wait", "…"}, "skipped": {"off", "–"},
	"healthy": {"good", "✓"}, "throttled": {"wait", "≈"}, "out": {"bad", "✕"},
	"done": {"good", "✓"}, "ok": {"good", "✓"}, "erased": {"off", "–"}, "held": {"wait", "…"}, "paused": {"wait", "‖"},
	"suspect": {"wait", "?"}, "asked": {"wait", "…"}, "dead letter": {"bad", "✕"}, "not settled": {"wait", "?"},
}

// State is a state in its colour, with its shape and its word: the states of loops, letters, vendors and attempts.
func State[T ~string](state T) g.Node {
	s, ok := shapes[string(state)]
	if !ok {
		s.kind, s.shape = "off", "·"
	}
	return Badge(s.kind, s.shape, string(state))
}

// Badge is a word in a colour: good, busy, wait, bad or off, with a shape before it that a screen reader leaves out.
func Badge(kind, shape, text string) g.Node {
	return html.Span(html.Class("badge "+kind), html.Span(html.Aria("hidden", "true"), g.Text(shape)), g.Text(" "+text))
}

// Row of a table.
type Row struct {
	// ID lets live updates replace the row; "" for none.
	ID    string
	Cells []g.Node
}

// Cells is a row of these.
func Cells(cells ...g.Node) Row { return Row{Cells: cells} }

// Texts is a row, or the head of a table, of plain texts.
func Texts(texts ...string) []g.Node {
	return g.Map(texts, func(t string) g.Node { return g.Text(t) })
}

// Node is the row in its table.
func (r Row) Node() g.Node { return r.With() }

// With is the row with more attributes.
func (r Row) With(more ...g.Node) g.Node {
	return html.Tr(g.If(r.ID != "", html.ID(r.ID)), g.Group(more), g.Map(r.Cells, func(c g.Node) g.Node { return html.Td(c) }))
}

// TableOf is a table; where it is wider than the page it scrolls by itself, also by keyboard. Its caption says what it shows.
// More are attributes of its body, as the id by which its rows are kept up to date. Without rows, it says so.
func TableOf(caption string, head []g.Node, rows []Row, more ...g.Node) g.Node {
	return html.Div(html.Class("scroll"), html.TabIndex("0"), html.Role("region"), html.Aria("label", caption),
		html.Table(
			html.Caption(g.Text(caption)),
			html.THead(html.Tr(g.Map(head, func(h g.Node) g.Node { return html.Th(html.Scope("col"), h) }))),
			html.TBody(append(more, g.Map(rows, Row.Node))...),
		),
		g.If(len(rows) == 0 || len(more) > 0, html.P(html.Class("empty"), g.If(len(rows) > 0, g.Attr("hidden")), g.Text("There are none."))),
	)
}

// Pick is the box that selects a row; several of one name are sent together.
func Pick(name, value, label string) g.Node {
	return html.Input(html.Type("checkbox"), html.Name(name), html.Value(value), html.Aria("label", label))
}

// PickAll selects all boxes of that name in its form. It is there where scripts run.
func PickAll(name string) g.Node {
	return html.Input(html.Type("checkbox"), html.Data("all", name), html.Aria("label", "Select all"), g.Attr("hidden"))
}

// Notice tells something above the rest: of kind info, good, warn or bad.
func Notice(kind, text string, more ...g.Node) g.Node {
	role := "status"
	if kind == "bad" {
		role = "alert"
	}
	return html.Div(html.Class("notice "+kind), html.Role(role), html.P(g.Text(text)), g.Group(more))
}

// Part is a section of the page under a heading of its own. Its id lets live updates replace it, and links lead to it.
func Part(id, heading string, children ...g.Node) g.Node {
	return html.Section(append([]g.Node{html.ID(id), html.Aria("labelledby", id+"-heading"), html.H2(html.ID(id+"-heading"), g.Text(heading))}, children...)...)
}

// Piece is what live updates replace of a page, by the id that is within.
type Piece struct {
	ID   string
	Node g.Node
}

// Fact is a name with what it says.
type Fact struct {
	Name string
	Says g.Node
}

// Facts is a list of names and what they say; those that say nothing (nil) are left out.
func Facts(facts ...Fact) g.Node {
	return html.Dl(html.Class("facts"), g.Map(facts, func(f Fact) g.Node {
		if f.Says == nil {
			return nil
		}
		return html.Div(html.Dt(g.Text(f.Name)), html.Dd(f.Says))
	}))
}

// Details is more that is shown on demand. Live updates leave it open by its id.
func Details(id, summary string, children ...g.Node) g.Node {
	return html.Details(append([]g.Node{html.ID(id), html.Summary(g.Text(summary))}, children...)...)
}

// Code is an id, or something else that is to be read letter by letter.
func Code(text string) g.Node {
	if text == "" {
		return g.Text("–")
	}
	return html.Code(g.Text(text))
}

// Block is a text of several lines as it is.
func Block(text string) g.Node {
	return html.Pre(html.TabIndex("0"), html.Role("region"), html.Aria("label", "Text"), html.Code(g.Text(text)))
}

// Link leads to a path of ours, or by http or https to another place; anything else is shown as a text.
func Link(address, text string) g.Node {
	if Local(address) {
		return html.A(html.Href(address), g.Text(text))
	}
	if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return g.Text(text)
	}
	return html.A(html.Href(address), html.Rel("noopener noreferrer external"), g.Text(text))
}

// Local tells an address that is a path of this host and of no other.
func Local(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasPrefix(address, "/") && u.Scheme == "" && u.Host == "" && u.User == nil &&
		!strings.HasPrefix(address, "//") && !strings.ContainsAny(address, "\\\t\r\n")
}
