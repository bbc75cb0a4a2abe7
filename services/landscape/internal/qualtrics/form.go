package qualtrics

import (
	_ "embed"
	"fmt"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

//go:embed page.css
var pageStyle string

// node is the page as HTML.
func (p page) node() g.Node {
	title := p.title
	if len(p.wrong) > 0 {
		title = "Error: " + title
	}
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.Meta(h.Name("robots"), h.Content("noindex")),
			h.TitleEl(g.Text(title)),
			h.StyleEl(g.Raw(pageStyle)),
		),
		h.Body(h.Main(
			h.H1(g.Text(p.title)),
			g.If(p.message != "", h.P(g.Text(p.message))),
			g.If(len(p.questions) > 0, p.form()),
		)),
	))
}

func (p page) form() g.Node {
	return g.Group{
		g.If(len(p.wrong) > 0, h.P(h.Class("wrong"), h.Role("alert"), g.Text("Some answers are missing or cannot be read. They are marked below."))),
		h.Form(h.Method("post"),
			g.Map(p.questions, func(q Question) g.Node {
				if options := q.options(); len(options) > 0 {
					return q.choice(options, p.given[q.ID], p.wrong[q.ID])
				}
				return q.field(p.given[q.ID], p.wrong[q.ID])
			}),
			h.Button(h.Type("submit"), g.Text("Submit")),
		),
	}
}

// choice asks a question by what can be chosen.
func (q Question) choice(options []option, given, wrong string) g.Node {
	return h.FieldSet(q.invalid(wrong),
		h.Legend(g.Text(q.title())),
		q.complaint(wrong),
		g.Map(options, func(o option) g.Node {
			return h.Label(h.Class("option"),
				h.Input(h.Type("radio"), h.Name(q.ID), h.Value(o.Value), g.If(o.Value == given, h.Checked()), g.If(q.Required, h.Required())),
				g.Text(" "+o.Label))
		}),
		g.If(q.LowText != "", h.P(h.Class("ends"),
			h.Span(g.Text(fmt.Sprintf("%d: %s", q.Low, q.LowText))), h.Span(g.Text(fmt.Sprintf("%d: %s", q.High, q.HighText))))),
	)
}

// field asks a question by what can be typed in.
func (q Question) field(given, wrong string) g.Node {
	common := g.Group{h.ID(q.ID), h.Name(q.ID)}
	state := g.Group{g.If(q.Required, h.Required()), q.invalid(wrong)}
	var input g.Node
	if q.Kind == Date {
		input = h.Input(h.Type("date"), common, h.Value(given), state)
	} else {
		input = h.Textarea(common, h.Rows("3"), state, g.Text(given))
	}
	return h.Div(h.Class("question"), h.Label(h.For(q.ID), g.Text(q.title())), q.complaint(wrong), input)
}

func (q Question) title() string {
	if q.Required {
		return q.Text + " (required)"
	}
	return q.Text
}

// complaint says what is wrong with an answer.
func (q Question) complaint(wrong string) g.Node {
	return g.If(wrong != "", h.P(h.Class("wrong"), h.ID(q.ID+"-wrong"), g.Text(wrong)))
}

// invalid are attributes that lead from an answer to what is wrong with it.
func (q Question) invalid(wrong string) g.Node {
	return g.If(wrong != "", g.Group{h.Aria("invalid", "true"), h.Aria("describedby", q.ID+"-wrong")})
}
