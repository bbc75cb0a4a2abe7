package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

const lettersSection = "/dead-letters"

// The forms on a letter's page.
const (
	formShow    = "show"
	formMend    = "mend"
	formReplay  = "replay"
	formDiscard = "discard"
)

// letterView is what one letter's page shows.
type letterView struct {
	whole
	masked json.RawMessage
	// shown is the body in the clear, where somebody has just said why; mend what they made of it.
	shown, mend string
	typed       typed
	// notice tells what came of the form.
	notice string
}

func letterAddress(sequence uint64) string { return fmt.Sprintf("/dead-letters/%d", sequence) }

func letterLink(sequence uint64) g.Node {
	return html.A(html.Href(letterAddress(sequence)), g.Text(fmt.Sprintf("#%d", sequence)))
}

func (d *desk) letterPage(r *httpdoor.Request, v letterView) *httpdoor.Response {
	operates := web.Person(r).Operates
	return web.Show(r, web.View{
		Title: fmt.Sprintf("Dead letter #%d", v.Sequence), Section: lettersSection, Status: v.typed.status(),
		Body: []g.Node{
			v.typed.summary(),
			g.If(v.notice != "", web.Notice("good", v.notice)),
			v.facts(),
			v.bodyPart(r, operates),
			g.Iff(operates && v.mend != "", func() g.Node { return v.mendPart(r) }),
			g.Iff(operates, func() g.Node { return v.decidePart(r) }),
			web.Part("history", "What was done", operationsTable("What was done with this dead letter", v.Operations)),
			web.Part("headers", "Headers", headersTable(v.Headers)),
		},
	})
}

// meanings say what is to be done about a class.
var meanings = map[fault.Class]string{
	fault.Invalid:   "the event breaks its contract: mend the body",
	fault.Refused:   "the vendor refuses what it says: mend the body, or what is missing at the vendor",
	fault.Person:    "a person must look and decide",
	fault.Exhausted: "it was tried until its time was over: see that the vendor works, then replay it",
}

func (v letterView) facts() g.Node {
	return web.Facts(
		web.Fact{Name: "State", Says: v.stateNode()},
		web.Fact{Name: "Reason", Says: g.Text(v.Reason)},
		web.Fact{Name: "Field", Says: codeOr(v.Field)},
		web.Fact{Name: "Class", Says: g.Text(strings.TrimSuffix(v.Class+": "+meanings[fault.Class(v.Class)], ": "))},
		web.Fact{Name: "Cause", Says: html.A(html.Href("/dead-letters?cause="+v.Cause), g.Text("all letters of the same cause"))},
		web.Fact{Name: "Service", Says: g.Text(v.Service)},
		web.Fact{Name: "Event", Says: g.Group{web.Code(v.Subject), g.Text(" "), web.Code(v.EventID)}},
		web.Fact{Name: "Loop", Says: loopLink(v.LoopID)},
		web.Fact{Name: "Rule", Says: codeOr(v.Rule)},
		web.Fact{Name: "Attempts", Says: web.Number(v.Attempts)},
		web.Fact{Name: "First seen", Says: web.Time(v.FirstSeen)},
		web.Fact{Name: "Failed", Says: web.Time(v.Time)},
		web.Fact{Name: "Came from", Says: g.Text(strings.TrimSuffix(fmt.Sprintf("%s, message %d", v.Original.Stream, v.Original.Sequence), ", message 0"))},
		web.Fact{Name: "Replay of", Says: linkOr(v.ReplayOf)},
		web.Fact{Name: "Came back as", Says: linkOr(v.FailedAgainAs)},
	)
}

func (v letterView) stateNode() g.Node {
	if v.Last == nil {
		return web.State(v.State)
	}
	return g.Group{web.State(v.State), g.Text(" by " + v.Last.By + ": " + v.Last.Why)}
}

func codeOr(text string) g.Node {
	if text == "" {
		return nil
	}
	return web.Code(text)
}

func linkOr(sequence uint64) g.Node {
	if sequence == 0 {
		return nil
	}
	return letterLink(sequence)
}

func loopLink(id string) g.Node {
	if id == "" {
		return nil
	}
	return html.A(html.Href(loopPath(id)), short(id))
}

func (v letterView) bodyPart(r *httpdoor.Request, operates bool) g.Node {
	if v.shown != "" {
		return web.Part("body", "Body", web.Block(v.shown))
	}
	part := []g.Node{html.P(g.Text("What may be about a person is masked.")), web.Block(indented(v.masked))}
	if operates {
		t := v.typed.of(formShow)
		part = append(part, html.H3(g.Text("Show personal fields")),
			html.P(g.Text("Who looks and why is recorded. The body can then be edited.")),
			web.Post(letterAddress(v.Sequence)+"/show", t.whoAndWhy(r, ""), web.Button("Show personal fields")))
	}
	return web.Part("body", "Body", part...)
}

func (v letterView) mendPart(r *httpdoor.Request) g.Node {
	t := v.typed.of(formMend)
	at := letterAddress(v.Sequence)
	area := t.input("body", func(attributes ...g.Node) g.Node {
		return web.Area("Body, as JSON", "body", v.mend, min(max(strings.Count(v.mend, "\n")+2, 8), 30), append(attributes, html.Required())...)
	})
	return web.Part("mend", "Edit and replay", html.Div(html.Class("columns"),
		web.Post(at+"/replay", web.Hidden("form", formMend), t.key(), v.again(), area,
			web.Button("Check", html.Class("quiet"), html.FormAction(at+"/check"), g.Attr("formnovalidate")),
			t.whoAndWhy(r, ""), web.Button("Replay with this body")),
		contractTable(v.Subject),
	))
}

// again insists, where the letter has been decided about already: a person who sees that has been told.
func (v letterView) again() g.Node {
	if v.State == Open {
		return nil
	}
	return web.Check("Replay it although it was "+string(v.State)+" already", "again", "true", false, html.Required())
}

func (v letterView) decidePart(r *httpdoor.Request) g.Node {
	if v.cameBack != nil && v.cameBack.State == Open {
		return web.Part("decide", "Decide", html.P(g.Text("It came back as "), letterLink(v.cameBack.Sequence), g.Text(", which is to be decided about.")))
	}
	replay, discard := v.typed.of(formReplay), v.typed.of(formDiscard)
	at := letterAddress(v.Sequence)
	return web.Part("decide", "Decide",
		html.H3(g.Text("Replay it as it is")),
		html.P(g.Text("Its service tries it again. What was done already is not done twice.")),
		web.Post(at+"/replay", web.Hidden("form", formReplay), replay.key(), v.again(), v.notDone(),
			replay.whoAndWhy(r, ""), web.Button("Replay")),
		g.If(v.State == Open, g.Group{
			html.H3(g.Text("Discard it")),
			html.P(g.Text("Nothing is to be done about it. The letter stays where it is.")),
			web.Post(at+"/discard", discard.key(), discard.whoAndWhy(r, ""), web.Button("Discard", html.Class("danger"))),
		}),
	)
}

func (v letterView) notDone() g.Node {
	if fault.Class(v.Class) != fault.Person {
		return nil
	}
	return web.Check("I have looked in the vendor's system: what was sent was not done, and is to be sent again", "outcome", OutcomeNotDone, false)
}

// contractTable shows the fields of an event beside its body.
func contractTable(subject string) g.Node {
	fields := contractOf(subject)
	if len(fields) == 0 {
		return html.P(g.Text("No event is known under this subject, so that no replay can be taken."))
	}
	var rows []web.Row
	for _, f := range fields {
		required := ""
		if f.Required {
			required = "yes"
		}
		rows = append(rows, web.Cells(web.Code(f.Path), g.Text(f.Type), g.Text(required), g.Text(f.Rules)))
	}
	return web.TableOf("Fields of "+subject, web.Texts("Field", "Type", "Required", "Limits"), rows)
}

func operationsTable(caption string, all []*Operation) g.Node {
	var rows []web.Row
	for _, o := range slices.Backward(all) {
		rows = append(rows, web.Cells(web.Time(o.At), g.Text(o.says()), g.Text(whoSaid(o.By, o.Proven)), g.Text(o.Why), jobLink(o.Job)))
	}
	return web.TableOf(caption, web.Texts("When", "What", "Who", "Why", "Job"), rows)
}

// says tells in words what was done.
func (o *Operation) says() string {
	text := map[string]string{Replay: "replayed", Discard: "discarded", Look: "looked at the body", Try: "tried rules"}[o.Kind]
	if o.Edited {
		text += " with another body"
	}
	if o.Outcome == OutcomeNotDone {
		text += ", as not done"
	}
	switch {
	case o.Failed != "":
		text += ", which failed: " + o.Failed
	case o.pending():
		text += ", to be sent as soon as the broker takes it"
	}
	return text
}

func jobLink(id string) g.Node {
	if id == "" {
		return g.Text("–")
	}
	return html.A(html.Href("/dead-letters/jobs/"+id), g.Text("of many"))
}

// plainHeaders are those that say nothing about people; others may hold anything.
var plainHeaders = []string{"ce-source", "ce-type", "ce-time", "ce-specversion", "ce-datacontenttype", "content-type", "traceparent"}

// idHeaders hold ids that a caller may have chosen.
var idHeaders = []string{"ce-id", "ce-loopid", strings.ToLower(bus.HeaderEventID), strings.ToLower(bus.HeaderLoopID)}

// plainOf gives the headers of the bus, and of the envelope those that are nobody's.
func (d *desk) plainOf(h nats.Header) map[string][]string {
	plain := map[string][]string{}
	for name, values := range h {
		if slices.Contains(idHeaders, strings.ToLower(name)) {
			plain[name] = called(values, d.called.of)
		} else if strings.HasPrefix(name, "Closeloop-") || slices.Contains(plainHeaders, strings.ToLower(name)) {
			plain[name] = values
		}
	}
	return plain
}

func called(ids []string, alias func(string) string) []string {
	all := make([]string, len(ids))
	for i, id := range ids {
		all[i] = alias(id)
	}
	return all
}

func headersTable(plain map[string][]string) g.Node {
	var rows []web.Row
	for _, name := range slices.Sorted(maps.Keys(plain)) {
		rows = append(rows, web.Cells(web.Code(name), g.Text(strings.Join(plain[name], ", "))))
	}
	return web.TableOf("Headers of the event, and of its way", web.Texts("Header", "Value"), rows)
}

// indented gives a body in lines; what is no JSON as it is.
func indented(body []byte) string {
	var b bytes.Buffer
	if json.Indent(&b, body, "", "  ") != nil {
		return string(body)
	}
	return b.String()
}

func (d *desk) letterView(ctx context.Context, r *httpdoor.Request) (letterView, []byte, error) {
	sequence, err := sequenceOf(r)
	if err != nil {
		return letterView{}, nil, err
	}
	w, body, err := d.whole(ctx, sequence)
	return letterView{whole: w, masked: maskBody(body)}, body, err
}

func (d *desk) showForm(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	t, err := formOf(r, formShow)
	if err != nil {
		return nil, err
	}
	v, body, err := d.letterView(ctx, r)
	if err != nil {
		return nil, err
	}
	look, err := d.person(r, t.values.Get("by"), "why", t.values.Get("why"))
	if err == nil {
		err = d.looked(ctx, v.Sequence, look)
	}
	if err != nil {
		return refused(err, func(p *httpdoor.Problem) *httpdoor.Response {
			v.typed = t.because(p)
			return d.letterPage(r, v)
		})
	}
	v.shown, v.Operations = indented(body), d.book.history(v.Letter)
	if v.mend = v.shown; v.mend == "" { // so that a body can be given to a letter that has none
		v.shown, v.mend = "There is none.", "{}"
	}
	return d.letterPage(r, v), nil
}

// checkForm shows the form again as it was typed, with what the contract says to it.
func (d *desk) checkForm(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	t, err := formOf(r, formMend)
	if err != nil {
		return nil, err
	}
	v, _, err := d.letterView(ctx, r)
	if err != nil {
		return nil, err
	}
	v.typed, v.mend = t, t.values.Get("body")
	body, err := t.body()
	if err == nil {
		err = d.checked(ctx, v.Sequence, body)
	}
	if err != nil {
		return refused(err, func(p *httpdoor.Problem) *httpdoor.Response {
			v.typed = t.because(p)
			return d.letterPage(r, v)
		})
	}
	v.notice = "The body keeps the contract. Nothing was recorded or sent."
	return d.letterPage(r, v), nil
}

// body reads the body that was typed, which is to be JSON before anything else.
func (t typed) body() (json.RawMessage, error) {
	body := []byte(strings.TrimSpace(t.values.Get("body")))
	if _, _, err := contract.Items(body); err != nil {
		return nil, under("body", err)
	}
	return body, nil
}

// singleForm replays or discards one letter.
func (d *desk) singleForm(ctx context.Context, r *httpdoor.Request, kind string) (*httpdoor.Response, error) {
	t, err := formOf(r, kind)
	if err != nil {
		return nil, err
	}
	if t.values.Get("form") == formMend {
		t.form = formMend
	}
	a := asked{Why: t.values.Get("why"), By: t.values.Get("by"), Again: t.values.Get("again") != "", Outcome: t.values.Get("outcome")}
	if t.form == formMend {
		a.Body, err = t.body()
	}
	var wanted Operation
	if err == nil {
		wanted, err = d.operation(r, kind, a)
	}
	if err == nil {
		if wanted.Letter, err = sequenceOf(r); err != nil {
			return nil, err
		}
		_, err = d.decide(ctx, wanted)
	}
	if err == nil {
		return web.Redirect(r.Path[:strings.LastIndexByte(r.Path, '/')]), nil
	}
	return refused(err, func(p *httpdoor.Problem) *httpdoor.Response {
		v, _, err := d.letterView(ctx, r)
		if err != nil { // it is gone: the problem says so
			return web.Problem(r, p)
		}
		v.typed, v.mend = t.because(p), t.values.Get("body")
		return d.letterPage(r, v)
	})
}
