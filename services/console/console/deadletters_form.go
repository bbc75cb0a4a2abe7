package console

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// typed is a form as somebody sent it, with what is wrong with it. The zero value is one that nobody has filled in.
type typed struct {
	// form names it on its page, where there are several.
	form   string
	values url.Values
	wrong  *httpdoor.Problem
}

// of gives what was typed into the form of that name: nothing where another one was sent.
func (t typed) of(form string) typed {
	if t.form == form {
		return t
	}
	return typed{form: form}
}

// get gives what was typed, else a default.
func (t typed) get(name, otherwise string) string {
	if t.values.Has(name) {
		return t.values.Get(name)
	}
	return otherwise
}

// messages says what is wrong with a field, or within it.
func (t typed) messages(name string) []string {
	if t.wrong == nil {
		return nil
	}
	var all []string
	for _, e := range t.wrong.Errors {
		switch at := fieldOfForm(e.Field); {
		case at == name:
			all = append(all, e.Message)
		case strings.HasPrefix(at, name+".") || strings.HasPrefix(at, name+"["):
			all = append(all, at[len(name)+1:]+": "+e.Message)
		}
	}
	return all
}

// fieldOfForm is the name in a form of what a request in JSON calls otherwise.
func fieldOfForm(path string) string { return strings.TrimPrefix(path, "edit[0].") }

// input is a field of the form, made by make with the attributes that tie it to what is wrong with it.
func (t typed) input(name string, make func(attributes ...g.Node) g.Node) g.Node {
	id := t.form + "-" + name
	wrong := t.messages(name)
	if len(wrong) == 0 {
		return make(html.ID(id))
	}
	return g.Group{
		make(html.ID(id), html.Aria("invalid", "true"), html.Aria("describedby", id+"-wrong")),
		html.P(html.Class("error"), html.ID(id+"-wrong"), g.Text(strings.Join(wrong, "; "))),
	}
}

func (t typed) text(label, name, otherwise string, more ...g.Node) g.Node {
	return t.input(name, func(attributes ...g.Node) g.Node {
		return web.Field(label, name, t.get(name, otherwise), append(attributes, more...)...)
	})
}

// whoAndWhy asks what every operation is recorded with. The reason is given where there is one already.
func (t typed) whoAndWhy(r *httpdoor.Request, why string) g.Node {
	who := web.Person(r)
	return g.Group{
		t.text("Why", "why", why, html.Required(), html.MaxLength(strconv.Itoa(whyMost)), html.AutoComplete("off")),
		g.If(!who.Proven, t.text("Your name", "by", who.Name, html.Required(), html.MaxLength(strconv.Itoa(byMost)), html.AutoComplete("name"))),
	}
}

// key is what makes a form that is sent twice do its work once.
func (t typed) key() g.Node { return web.Hidden("key", t.get("key", uuid.NewString())) }

// summary tells above a form that was refused what is wrong, and leads to the fields.
func (t typed) summary() g.Node {
	if t.wrong == nil {
		return nil
	}
	return html.Div(html.Class("notice bad"), html.Role("alert"), html.TabIndex("-1"), html.AutoFocus(),
		html.P(g.Text(web.Sentence(t.wrong.Detail))),
		g.If(len(t.wrong.Errors) > 0, html.Ul(g.Map(t.wrong.Errors, func(e httpdoor.FieldError) g.Node {
			return html.Li(t.link(e.Field), g.Text(" "+e.Message))
		}))),
	)
}

// link leads to the field that is wrong, where the form has it.
func (t typed) link(path string) g.Node {
	name := fieldOfForm(path)
	if end := strings.IndexAny(name, ".["); end >= 0 {
		name = name[:end]
	}
	if !slices.Contains(formFields, name) {
		return html.Code(g.Text(path))
	}
	return html.A(html.Href("#"+t.form+"-"+name), html.Code(g.Text(path)))
}

// formFields are the fields of all forms of ours.
var formFields = []string{"why", "by", "body", "op", "field", "value", "to", "text", "with", "outcome", "email", "externalId", "contactId", "phone", sure}

// refused shows a form again with what is wrong, whatever kind of error says so; other errors it gives back.
func refused(err error, show func(*httpdoor.Problem) *httpdoor.Response) (*httpdoor.Response, error) {
	if p, ok := errors.AsType[*httpdoor.Problem](err); ok {
		return show(p), nil
	}
	if f, ok := errors.AsType[*fault.Fault](err); ok && f.Class.Final() {
		return show(httpdoor.Unprocessable(f.Error())), nil
	}
	return nil, err
}

// formOf reads a form of our pages. What one of them did under its key is not done again when it is sent again.
func formOf(r *httpdoor.Request, name string) (typed, error) {
	values, err := web.Values(r)
	if err != nil {
		return typed{}, err
	}
	if key := values.Get("key"); key != "" {
		r.Header = r.Header.Clone()
		r.Header.Set("Idempotency-Key", key)
	}
	return typed{form: name, values: values}, nil
}

// because is the form with what is wrong. A key that has been used for something else is not sent again.
func (t typed) because(wrong *httpdoor.Problem) typed {
	t.wrong = wrong
	if slices.ContainsFunc(wrong.Errors, func(e httpdoor.FieldError) bool { return e.Field == "Idempotency-Key" }) {
		t.values.Del("key")
	}
	return t
}

// The ways to say what a field is set to.
const (
	asText = "text"
	asJSON = "json"
)

// manyOf reads what a form asks for of a selection.
func (t typed) manyOf() (askedMany, error) {
	v := t.values
	a := askedMany{Why: v.Get("why"), By: v.Get("by"), Cause: v.Get("cause"), Again: v.Get("again") != "", Job: true}
	for _, text := range v["sequences"] {
		sequence, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return a, web.Wrong("sequences", "must be numbers")
		}
		a.Sequences = append(a.Sequences, sequence)
	}
	var err error
	if text := v.Get("upTo"); text != "" {
		if a.UpTo, err = strconv.ParseUint(text, 10, 64); err != nil {
			return a, web.Wrong("upTo", "must be a number")
		}
	}
	if text := v.Get("sample"); text != "" {
		if a.Sample, err = strconv.Atoi(text); err != nil {
			return a, web.Wrong("sample", "must be a number")
		}
	}
	if v.Has("op") {
		a.Edit = []Change{t.change()}
	}
	return a, nil
}

// change is the one change that a form asks for. Fields that do not belong to its kind are left out.
func (t typed) change() Change {
	v := t.values
	c := Change{Op: v.Get("op"), Field: strings.TrimSpace(v.Get("field"))}
	switch c.Op {
	case opSet:
		c.Value = json.RawMessage(strings.TrimSpace(v.Get("value")))
		if v.Get("as") != asJSON {
			c.Value, _ = json.Marshal(v.Get("value")) // a text always can
		}
	case opRename:
		c.To = strings.TrimSpace(v.Get("to"))
	case opReplace:
		c.Text, c.With = v.Get("text"), v.Get("with")
	}
	return c
}

// statusOf is that of a page with a form on it.
func (t typed) status() int {
	if t.wrong == nil {
		return http.StatusOK
	}
	return t.wrong.Status
}
