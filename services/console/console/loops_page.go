package console

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/web"
)

func (p *loopPages) onePage(r *httpdoor.Request, s *story) *httpdoor.Response {
	view := web.View{Title: "Loop " + p.desk.called.title(s.ID), Section: "/loops", Live: loopPath(s.ID) + "/live"}
	for _, part := range p.storyParts(s) {
		view.Body = append(view.Body, part.Node)
	}
	view.Body = append(view.Body, html.P(html.Class("exports"), g.Text("The same as "),
		html.A(html.Href(loopPath(s.ID)+"?format=json"), g.Text("JSON"))))
	return web.Show(r, view)
}

// storyParts are the sections of a loop's page.
func (p *loopPages) storyParts(s *story) []web.Piece {
	return []web.Piece{
		{ID: "loop-summary", Node: web.Part("loop-summary", "Where it stands", summary(s))},
		{ID: "loop-ids", Node: web.Part("loop-ids", "Ids", idTable(s))},
		{ID: "loop-timeline", Node: web.Part("loop-timeline", "What happened", timelineNode(s))},
	}
}

func summary(s *story) g.Node {
	return g.Group{
		web.Facts(
			web.Fact{Name: "State", Says: web.State(s.State)},
			web.Fact{Name: "Began", Says: web.Time(s.Start)},
			web.Fact{Name: "Last", Says: web.Ago(s.Last)},
			fact("Closed", !s.Closed.IsZero(), web.Time(s.Closed)),
			fact("Campaign", s.Campaign != "", html.A(html.Href("/loops?campaign="+url.QueryEscape(s.Campaign)), web.Code(s.Campaign))),
			fact("Survey", s.Survey != "", web.Code(s.Survey)),
		),
		stages(s),
		waitsFor(s.Waiting),
	}
}

// fact is one that says nothing unless it is there.
func fact(name string, there bool, says g.Node) web.Fact {
	if !there {
		return web.Fact{Name: name}
	}
	return web.Fact{Name: name, Says: says}
}

// stages show how far a loop has come, and when.
func stages(s *story) g.Node {
	steps := loops.Funnel
	if _, ok := s.Reached[loops.Suppressed]; ok {
		steps = []loops.Stage{loops.Invited, loops.Suppressed}
	}
	if _, invited := s.Reached[loops.Invited]; !invited && !s.Reached[loops.Answered].IsZero() {
		steps = []loops.Stage{loops.Answered, loops.Acted, loops.Closed} // it began with an answer
	}
	return html.Ol(html.Class("stages"), html.Aria("label", "Stages"), g.Map(steps, func(stage loops.Stage) g.Node {
		at, reached := s.Reached[stage]
		return html.Li(g.If(reached, html.Class("reached")), g.If(stage == s.Stage, html.Aria("current", "step")),
			html.Span(html.Span(html.Aria("hidden", "true"), g.Text(mark(reached)+" ")), g.Text(capital(string(stage)))),
			g.If(reached, web.Time(at)), g.If(!reached, html.Span(html.Class("muted"), g.Text("not yet"))))
	}))
}

func mark(reached bool) string {
	if reached {
		return "✓"
	}
	return "○"
}

func capital(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// waitsFor says what a loop waits for.
func waitsFor(waits []loops.Wait) g.Node {
	if len(waits) == 0 {
		return nil
	}
	return g.Group{
		html.H3(g.Text("What it waits for")),
		html.Ul(g.Map(waits, func(w loops.Wait) g.Node {
			return html.Li(
				html.Strong(g.Text(capital(w.For))), g.Text(", since "), web.Ago(w.Since),
				g.If(w.Service != "", g.Text(" at "+w.Service)),
				g.If(!w.Until.IsZero(), g.Group{g.Text("; next try "), web.Ago(w.Until)}),
				g.If(w.Reason != "", g.Text(": "+w.Reason)),
				g.If(w.Letter != 0, g.Group{g.Text(" "), g.Text("Decide about dead letter "), letterLink(w.Letter)}),
			)
		})),
	}
}

// opened says what a vendor's page shows where that is not what the id is of.
var opened = map[loops.IDKind]string{loops.Request: "invitation", loops.Response: "answer"}

// idTable lists the ids, with the vendors' own pages where there are some.
func idTable(s *story) g.Node {
	address := map[loops.ID]string{}
	for _, l := range s.Links {
		address[l.ID] = l.URL
	}
	var rows []web.Row
	for _, id := range s.IDs {
		if id.Kind == loops.Event { // they are in the timeline
			continue
		}
		link := g.Text("–")
		if to := address[id]; to != "" {
			link = web.Link(to, "Open the "+cmp.Or(opened[id.Kind], string(id.Kind))+" "+id.Value)
		}
		rows = append(rows, web.Cells(g.Text(capital(string(id.Kind))), web.Code(id.Value), link))
	}
	return web.TableOf("Ids of this loop", web.Texts("Kind", "Id", "At its vendor"), rows)
}

func timelineNode(s *story) g.Node {
	return g.Group{leftOut(s), html.Ol(html.Class("timeline"), g.Map(s.Timeline, func(h happening) g.Node {
		return html.Li(html.ID(anchorOf(h)), html.Class(classOf(h)), happened(h))
	}))}
}

// leftOut says that a loop has more events than are shown.
func leftOut(s *story) g.Node {
	shown := 0
	for _, p := range s.Places {
		if p.Stream == topology.Events {
			shown++
		}
	}
	return g.If(shown < s.Events, html.P(html.Class("muted"),
		g.Text(fmt.Sprintf("Shown are the first %s of its %s events, and the latest tries and dead letters.", web.Count(shown), web.Count(s.Events)))))
}

// anchorOf is the id of an entry in the page. One round of work may have been for several events.
func anchorOf(h happening) string {
	if h.Kind == anAttempt {
		return fmt.Sprintf("%s-%d", anchorAt(h.Place), h.Attempts[0].Sequence)
	}
	return anchorAt(h.Place)
}

func anchorAt(at loops.Place) string {
	return fmt.Sprintf("at-%s-%d", strings.ToLower(at.Stream), at.Sequence)
}

func classOf(h happening) string {
	switch h.Kind {
	case aLetter:
		return "letter"
	case anOperation:
		return "person"
	}
	return h.Kind
}

// happened is one entry of the timeline.
func happened(h happening) g.Node {
	switch h.Kind {
	case aLetter:
		return letterHappened(h)
	case anOperation:
		return operationHappened(h)
	case anAttempt:
		return g.Group{html.H3(html.Code(g.Text(h.Type))), html.P(html.Class("muted"), triedAlone(h)), attempts(h)}
	}
	return g.Group{
		html.H3(html.Code(g.Text(h.Type))),
		html.P(web.Time(h.At), g.If(h.By != "", g.Text(" by "+h.By)), g.If(!h.Happened.IsZero(), g.Group{g.Text("; it happened at "), web.Time(h.Happened)})),
		g.If(h.Gone, html.P(html.Class("muted"), g.Text("Its content is not there any more: it has expired, or the person was forgotten."))),
		g.If(h.TooLarge, html.P(html.Class("muted"), g.Text("Its content is too large to be shown here."))),
		g.If(h.Untaken, html.P(html.Class("muted"), g.Text("No service takes events of this type: nothing follows from it."))),
		g.If(!h.Gone, g.Iff(len(h.Fields) > 0, func() g.Node { return fieldsNode(h) })),
		attempts(h),
	}
}

// triedAlone says of which event a try is that stands by itself.
func triedAlone(h happening) g.Node {
	if h.Event == nil {
		return g.Text("The event itself is not there any more.")
	}
	return g.Group{g.Text("Tried again after its dead letter; it is the event of "), html.A(html.Href("#"+anchorAt(*h.Event)), web.Time(h.Event.At))}
}

// operationHappened is what a person did with a dead letter, in the words of the letter's page.
func operationHappened(h happening) g.Node {
	o := h.Done
	return g.Group{
		html.H3(g.Text("Dead letter "), letterLink(o.Letter), g.Text(": "+o.says())),
		html.P(web.Time(h.At), g.Text(" by "+whoSaid(o.By, o.Proven)+": "+o.Why)),
		g.If(o.Job != "", html.P(g.Text("Done as one "), jobLink(o.Job), g.If(len(h.Changes) > 0, g.Text(": "+changesInWords(h.Changes))))),
	}
}

func letterHappened(h happening) g.Node {
	if h.Letter == nil {
		return g.Group{html.H3(g.Text("Dead letter")), html.P(web.Time(h.At), g.Text(". It is not there any more."))}
	}
	l := h.Letter
	return g.Group{
		html.H3(g.Text("Dead letter "), letterLink(l.Sequence)),
		html.P(web.Time(h.At), g.Text(" by "+l.Service+" "), web.State(l.State)),
		html.P(g.Text(l.Reason), g.If(l.Field != "", g.Group{g.Text(" Field "), web.Code(l.Field), g.Text(".")})),
	}
}

// fieldsNode shows an event's fields, masked.
func fieldsNode(h happening) g.Node {
	var facts []web.Fact
	for _, f := range flatFields(h.Fields) {
		facts = append(facts, web.Fact{Name: f.path, Says: g.Text(f.value)})
	}
	count := web.Plural(len(facts), "field")
	if len(facts) == flatMost {
		count = "The first " + count
	}
	return web.Details(fmt.Sprintf("fields-%d", h.Place.Sequence), count+" (personal ones masked)", web.Facts(facts...), html.P(g.Text("Event "), web.Code(h.ID)))
}

func attempts(h happening) g.Node {
	return g.Map(h.Attempts, func(a attempt) g.Node { return attemptNode(a) })
}

// outcomes are those of attempts in the words for states, and what they mean.
var outcomes = map[string]struct {
	state loops.State
	says  string
}{
	activity.Done: {loops.Completed, ""}, activity.Erased: {loops.Discarded, "the person was forgotten"}, activity.Retry: {loops.Retry, ""},
	activity.Held: {loops.Processing, ""}, activity.Paused: {loops.Retry, "waiting for its vendor to come back"},
	activity.Suspect: {loops.Retry, "it was in hand when a process ended"}, activity.DeadLetter: {loops.Failed, "a person must decide"},
	activity.NotSettled: {loops.Processing, "the broker delivers it again"},
}

func attemptNode(a attempt) g.Node {
	outcome, known := outcomes[a.Outcome]
	if !known {
		outcome.state = loops.State(a.Outcome)
	}
	if a.Outcome == activity.Paused && a.Vendor != "" {
		outcome.says = "waiting for " + a.Vendor + " to come back"
	}
	return html.Div(html.Class("attempt"),
		html.P(web.State(outcome.state), g.Text(" "), html.Strong(g.Text(a.Service)), g.Text(", attempt "+web.Count(a.Attempt)+", "), web.Time(a.At),
			g.Text(", took "+web.Took(a.Took)), g.If(outcome.says != "", g.Text("; "+outcome.says)),
			g.If(a.Wave > 1, g.Text(fmt.Sprintf("; one of %s handled together", web.Count(a.Wave))))),
		g.If(a.Reason != "", html.P(g.Text(blamed(a)), g.If(a.Class != "", g.Text(" ("+string(a.Class)+")")))),
		g.If(!a.Next.IsZero(), html.P(g.Text("Next try at "), web.Time(a.Next), g.Text(", "), web.Ago(a.Next))),
		g.Iff(len(a.Calls) > 0, func() g.Node { return calls(a) }),
		g.Iff(len(a.Rules) > 0, func() g.Node { return decisions(a) }),
	)
}

// blamed is the reason with the vendor before it, once.
func blamed(a attempt) string {
	if prefix := a.Vendor + ": "; a.Vendor != "" && !strings.HasPrefix(a.Reason, prefix) {
		return prefix + a.Reason
	}
	return a.Reason
}

// calls lists what vendors were asked.
func calls(a attempt) g.Node {
	var rows []web.Row
	for _, c := range a.Calls {
		status := "no answer"
		if c.Status != 0 {
			status = strconv.Itoa(c.Status)
		}
		kind := "read"
		if c.Write {
			kind = "write"
		}
		rows = append(rows, web.Cells(
			web.Time(c.At), web.Code(c.Vendor), g.Text(c.Operation), g.Text(kind), unbroken(status),
			g.Group{web.State(c.Outcome), g.If(c.Reason != "", g.Text(" "+c.Reason))},
			unbroken(web.Took(c.Took)), unbroken(waited(c.Waited)), g.Text(shared(a, c)),
		))
	}
	return web.TableOf(fmt.Sprintf("%s of %s, attempt %d", web.Plural(len(a.Calls), "vendor call"), a.Service, a.Attempt),
		web.Texts("At", "Vendor", "Operation", "Kind", "Status", "Outcome", "Took", "Waited for its turn", "Shared"), rows)
}

// unbroken is a text that stays on one line.
func unbroken(text string) g.Node { return g.Text(strings.ReplaceAll(text, " ", "\u00a0")) }

func waited(d time.Duration) string {
	if d < time.Millisecond {
		return "–"
	}
	return web.Took(d)
}

// shared tells that a call was for others as well, and how many it would have been one by one.
func shared(a attempt, c activity.Call) string {
	var parts []string
	if a.Wave > 1 && c.EventID == "" {
		parts = append(parts, "one of "+web.Count(a.Wave)+" in this call")
	}
	if c.InsteadOf > 1 {
		parts = append(parts, "instead of "+web.Plural(c.InsteadOf, "call"))
	}
	return cmp.Or(strings.Join(parts, ", "), "–")
}

// decisions list what the rules said: which fired, and for each other the condition that was false.
func decisions(a attempt) g.Node {
	var rows []web.Row
	for _, d := range a.Rules {
		if d.Fired {
			rows = append(rows, web.Cells(html.A(html.Href("/loops?rule="+url.QueryEscape(d.Rule)), web.Code(d.Rule)), web.Badge("good", "✓", "fired"), g.Group{g.Text("published "), web.Code(d.Subject)}))
			continue
		}
		rows = append(rows, web.Cells(web.Code(d.Rule), web.Badge("off", "–", "not fired"), web.Code(d.Why)))
	}
	return web.TableOf(fmt.Sprintf("Rules of %s, attempt %d", a.Service, a.Attempt), web.Texts("Rule", "Outcome", "Published, or the condition that was false"), rows)
}
