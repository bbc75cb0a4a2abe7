package people

import (
	"errors"
	"io"
	"maps"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// errNoForm tells that a page has nothing to fill in.
var errNoForm = errors.New("the page has no form")

// form is what a person finds on a page to fill in.
type form struct {
	action    string // as written; empty means the page's own address
	hidden    url.Values
	questions []question
}

// question is one thing to fill in.
type question struct {
	name     string
	kind     string // radio, date, text, select, textarea
	required bool
	options  []option
}

// option is one thing to choose.
type option struct{ value, label string }

// offers tells whether an option says just that, in any case.
func (q question) offers(label string) bool {
	for _, o := range q.options {
		if strings.EqualFold(o.label, label) {
			return true
		}
	}
	return false
}

// readForm finds the first form of a page. It knows no more of HTML than a person sees: what there is to choose, to
// type in, and what it says beside it.
func readForm(page io.Reader) (form, error) {
	document, err := html.Parse(page)
	if err != nil {
		return form{}, err
	}
	element := find(document, atom.Form)
	if element == nil {
		return form{}, errNoForm
	}
	f := form{action: attribute(element, "action"), hidden: url.Values{}}
	for n := range element.Descendants() {
		f.read(n)
	}
	return f, nil
}

func (f *form) read(n *html.Node) {
	name := attribute(n, "name")
	if n.Type != html.ElementNode || name == "" {
		return
	}
	q := question{name: name, required: has(n, "required")}
	switch n.DataAtom {
	case atom.Textarea:
		q.kind = "textarea"
	case atom.Select:
		q.kind = "select"
		q.options = selectable(n)
	case atom.Input:
		if q.kind = attribute(n, "type"); q.kind == "hidden" {
			f.hidden.Add(name, attribute(n, "value"))
			return
		}
		if q.kind == "radio" {
			q.options = []option{{attribute(n, "value"), label(n)}}
		}
	default:
		return
	}
	f.add(q)
}

// add adds a question, or the option of one that is there.
func (f *form) add(q question) {
	for i := range f.questions {
		if f.questions[i].name == q.name {
			f.questions[i].options = append(f.questions[i].options, q.options...)
			return
		}
	}
	f.questions = append(f.questions, q)
}

// fill gives the form as the person fills it in.
func (f form) fill(p Person) url.Values {
	filled := url.Values{}
	maps.Copy(filled, f.hidden)
	for _, q := range f.questions {
		if answer := p.answer(q, f.questions); answer != "" {
			filled.Set(q.name, answer)
		}
	}
	return filled
}

func selectable(n *html.Node) []option {
	var options []option
	for o := range n.Descendants() {
		if o.DataAtom == atom.Option && attribute(o, "value") != "" {
			options = append(options, option{attribute(o, "value"), words(o)})
		}
	}
	return options
}

// label is what the label around an element says.
func label(n *html.Node) string {
	for around := range n.Ancestors() {
		if around.DataAtom == atom.Label {
			return words(around)
		}
	}
	return attribute(n, "value")
}

func words(n *html.Node) string {
	var text strings.Builder
	for part := range n.Descendants() {
		if part.Type == html.TextNode {
			text.WriteString(part.Data)
		}
	}
	return strings.Join(strings.Fields(text.String()), " ")
}

func find(n *html.Node, kind atom.Atom) *html.Node {
	for element := range n.Descendants() {
		if element.DataAtom == kind {
			return element
		}
	}
	return nil
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
