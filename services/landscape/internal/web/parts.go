package web

import (
	"cmp"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/demo"
	"github.com/closeloop/closeloop/services/landscape/internal/faults"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

// page is the overview as its reader sees it.
func (o overview) page() g.Node {
	return framed("Simulated landscape", h.Body(
		h.A(h.Class("skip"), h.Href("#main"), g.Text("Skip to the content")),
		h.Header(h.Class("top"),
			h.Div(
				h.H1(g.Text("Simulated landscape")),
				h.P(g.Text("What SAP Marketing Cloud, Qualtrics, SAP Sales Cloud and Awardco hold. Times are in UTC. "),
					h.A(h.Href("/landscape/books.json"), g.Text("All books as JSON"))),
			),
			h.P(h.ID("live"), g.Attr("hidden"), h.Span(h.Role("status")), g.Text(" "), h.Button(h.Type("button"), h.Class("quiet"))),
		),
		h.Main(h.ID("main"),
			o.figures(), contents(), o.campaigns(), o.mails(), o.answers(), o.interactions(), o.tasks(), o.approvals(), o.recognitions(),
			o.deliveries(), o.told(), o.calls(), o.faults(),
		),
		h.Script(h.Src("/landscape/static/live.js"), h.Defer()),
	))
}

func (o overview) figures() g.Node {
	return h.Section(h.ID("figures"), h.Aria("label", "Totals"), live, h.Ul(h.Class("figures"), g.Map(o.Figures, func(f figure) g.Node {
		return h.Li(h.A(h.Href("#"+f.Part),
			h.Span(h.Class("count"), g.Text(strconv.Itoa(f.Reached)), g.If(f.Expected != 0, h.Small(g.Textf(" of %d", f.Expected)))),
			g.Text(" "), h.Span(g.Text(f.Name)),
		))
	})))
}

// contents leads to the parts of the page.
func contents() g.Node {
	parts := []struct{ id, name string }{
		{partCampaigns, "Campaigns"}, {"mails", "Mails"}, {"answers", "Answers"}, {"interactions", "Interactions"}, {"tasks", "Tasks"},
		{partApprovals, "Approvals"}, {"recognitions", "Recognitions"}, {"deliveries", "Webhooks"}, {"told", "Webhook of Awardco"},
		{"calls", "Calls"}, {partFaults, "Faults"},
	}
	return h.Nav(h.Aria("label", "Parts of this page"), h.Ul(g.Map(parts, func(p struct{ id, name string }) g.Node {
		return h.Li(h.A(h.Href("#"+p.id), g.Text(p.name)))
	})))
}

// part is one of the overview, with the vendor that it is about.
func part(id, name, vendor string, content ...g.Node) g.Node {
	title := h.H2(g.Text(name), g.If(vendor != "", g.Group{g.Text(" "), h.Span(h.Class("vendor"), g.Text(vendor))}))
	return h.Section(h.ID(id), title, g.Group(content))
}

// live marks what the script refreshes.
var live = g.Attr("data-live")

// list is a table that the script refreshes, or in words that it is empty.
func list(id, label, caption, none string, head, rows g.Group) g.Node {
	if len(rows) == 0 {
		return h.Div(h.ID(id), live, h.P(h.Class("none"), g.Text(none)))
	}
	return h.Div(h.ID(id), live, table(label, caption, head, rows))
}

func (l listing[T]) caption() string {
	if l.Total > len(l.Rows) {
		return fmt.Sprintf("The newest %d of %d, newest first", len(l.Rows), l.Total)
	}
	return strconv.Itoa(l.Total) + ", newest first"
}

// wrong says why what somebody asked for in that part was not done.
func (o overview) wrong(part string) g.Node {
	if o.Problem.Part != part || o.Problem.Text == "" {
		return nil
	}
	return h.P(h.Class("problem"), h.Role("alert"), g.Text(o.Problem.Text))
}

func (o overview) campaigns() g.Node {
	return part(partCampaigns, "Campaigns", "SAP Marketing Cloud",
		o.wrong(partCampaigns),
		post("/landscape/campaigns", h.Class("row"),
			wholeNumber("Members", "members", "25", 1, h.Max(strconv.Itoa(o.MaxMembers)), h.Required()),
			g.Text(" "), button("Run another campaign"),
		),
		list("campaign-list", "Campaigns", strconv.Itoa(len(o.Campaigns))+", oldest first", "No campaign was run yet.",
			g.Group{columns("Campaign", "Name"), numbers("Members"), columns("Asked for", "State")},
			g.Map(o.Campaigns, func(c demo.Campaign) g.Node {
				return h.Tr(rowHead(g.Text(c.ID)), cell(c.Name), numberCell(strconv.Itoa(c.Members)), timeCell(c.QueuedAt), h.Td(
					badge(c.State),
					g.If(c.State == "refused", g.Textf(" status %d", c.Status)),
					g.If(c.State == "queued", g.Text(" until ingress answers")),
				))
			})),
	)
}

func (o overview) mails() g.Node {
	answering := "Open one and answer."
	if o.WithPeople {
		answering = "Simulated customers answer most of them; those that are ignored are yours to answer."
	}
	return part("mails", "Mails", "SAP Marketing Cloud",
		h.P(g.Text("The trigger campaign mails a survey link for each interaction that brings one. "+answering)),
		list("mail-list", "Mails", o.Mails.caption(), "No mail was sent yet.",
			columns("Sent", "To", "Mail", "Survey", "State"), g.Map(o.Mails.Rows, mailRow.node)),
	)
}

func (m mailRow) node() g.Node {
	name := cmp.Or(m.Name, "nobody")
	return h.Tr(
		timeCell(m.At),
		h.Td(g.Text(m.Name), g.If(m.To != "", g.Group{g.Text(" "), dim(m.To)})),
		h.Td(h.A(h.Href(address("mail", m.ID)), h.Aria("label", "Mail to "+name+": "+m.Subject), g.Text(m.Subject))),
		h.Td(g.If(m.Link != "", outside(m.Link, h.Aria("label", "Survey of "+name), g.Text("Open the survey")))),
		h.Td(badge(m.State)),
	)
}

// address is that of one thing in the landscape, or of what can be done with it.
func address(kind, id string, deed ...string) string {
	return "/landscape/" + strings.Join(append([]string{kind, url.PathEscape(id)}, deed...), "/")
}

func (o overview) answers() g.Node {
	return part("answers", "Answers", "Qualtrics",
		list("answer-list", "Answers", o.Answers.caption(), "Nobody has answered yet.",
			columns("Recorded", "By", "Survey", "Answer", "Response"),
			g.Map(o.Answers.Rows, func(a answerRow) g.Node {
				words := g.Map(a.Answers, func(s said) g.Node { return entry(s.To, g.Text(s.Words)) })
				return h.Tr(timeCell(a.At), cell(a.By), cell(a.Survey), h.Td(h.Dl(h.Class("said"), words)), codeCell(a.ID))
			})),
	)
}

func (o overview) interactions() g.Node {
	return part("interactions", "Interactions", "SAP Marketing Cloud",
		h.P(g.Text("What was written through the API. The campaigns' own SURVEY_DISTRIBUTION is left out.")),
		list("interaction-list", "Interactions", o.Interactions.caption(), "No interaction was written yet.",
			columns("Written", "Type", "Source object", "Contact", "Content"),
			g.Map(o.Interactions.Rows, func(i interactionRow) g.Node {
				return h.Tr(timeCell(i.At), codeCell(i.Type), codeCell(i.Source), cell(i.Contact), h.Td(
					g.If(i.Link != "", outside(i.Link, h.Aria("label", "Survey link of "+i.Source), g.Text("Survey link"))),
					g.If(i.Text != "", h.Pre(g.Text(i.Text))),
				))
			})),
	)
}

func (o overview) tasks() g.Node {
	return part("tasks", "Tasks", "SAP Sales Cloud",
		list("task-list", "Tasks", o.Tasks.caption(), "No task was created yet.",
			columns("Task", "Created", "Subject and text", "Account", "Contact", "Processor", "Priority", "Due"),
			g.Map(o.Tasks.Rows, func(t taskRow) g.Node {
				return h.Tr(
					rowHead(h.A(h.Href(address("tasks", t.ID)), h.Aria("label", "Task "+t.ID), g.Text(t.ID))), timeCell(t.CreatedAt),
					h.Td(h.Strong(g.Text(t.Subject)), paragraphs(t.Texts)),
					h.Td(named(t.Account, t.AccountID)), h.Td(named(t.Contact, t.ContactID)), h.Td(named(t.Processor, t.ProcessorID)),
					cell(t.Urgency), timeCell(t.DueAt),
				)
			})),
	)
}

func (o overview) approvals() g.Node {
	var waiting g.Node
	if len(o.Approvals.Rows) == 0 {
		waiting = h.P(h.Class("none"), g.Text("Nothing waits for approval. With AWARDCO_APPROVAL=true the programme's recognitions do."))
	} else {
		waiting = h.Ul(h.Class("cards"), g.Map(o.Approvals.Rows, recognitionRow.card))
	}
	return part(partApprovals, "Approvals queue", "Awardco", o.wrong(partApprovals), h.Div(h.ID("approval-list"), live, waiting))
}

// card is a recognition that waits for approval, with what decides it.
func (r recognitionRow) card() g.Node {
	return h.Li(
		h.H3(named(strings.Join(r.To, ", "), r.ID)),
		h.P(g.Text(r.Note)),
		h.P(h.Class("dim"), g.Text(r.Program+" · "), moment(r.CreatedAt), g.Map(r.Tags, func(tag string) g.Node { return g.Text(" · " + tag) })),
		post(address("recognitions", r.ID, "approve"), h.Class("row"),
			wholeNumber("Points", "points", "0", 0), g.Text(" "), button("Approve", h.Aria("label", "Approve "+r.ID)),
		),
		post(address("recognitions", r.ID, "deny"), h.Class("row"),
			h.Label(g.Text("Reason "), h.Input(h.Type("text"), h.Name("reason"), h.MaxLength("200"), h.Required())),
			g.Text(" "), button("Deny", h.Class("quiet"), h.Aria("label", "Deny "+r.ID)),
		),
	)
}

func (o overview) recognitions() g.Node {
	return part("recognitions", "Recognitions", "Awardco",
		list("recognition-list", "Recognitions", o.Recognitions.caption(), "Nobody was recognised yet.",
			g.Group{columns("Recognition", "Created", "For", "Note", "Programme", "Tags"), numbers("Points"), columns("State")},
			g.Map(o.Recognitions.Rows, func(r recognitionRow) g.Node {
				return h.Tr(
					rowHead(h.A(h.Href(address("recognitions", r.ID)), h.Aria("label", "Recognition "+r.ID), g.Text(r.ID))),
					timeCell(r.CreatedAt), cell(strings.Join(r.To, ", ")), cell(r.Note), cell(r.Program), codeCell(strings.Join(r.Tags, ", ")),
					numberCell(strconv.Itoa(r.Amount)), h.Td(r.state()),
				)
			})),
	)
}

func (o overview) deliveries() g.Node {
	return part("deliveries", "Webhooks", "Qualtrics",
		h.P(g.Text("What Qualtrics sends to ingress: events of its subscription, and web service tasks of workflows that send the answers along.")),
		list("delivery-list", "Webhooks", o.Deliveries.caption(), "Nothing was sent yet.",
			g.Group{columns("Made", "Kind", "Name", "Response"), numbers("Attempts"), columns("State"), numbers("Last status")},
			g.Map(o.Deliveries.Rows, func(d qualtrics.Delivery) g.Node {
				last := status(d.LastStatus)
				if d.LastStatus == 0 && d.Attempts > 0 {
					last = "no answer"
				}
				return h.Tr(
					timeCell(d.CreatedAt), cell(d.Kind), cell(d.Name), codeCell(d.ResponseID), numberCell(strconv.Itoa(d.Attempts)),
					h.Td(badge(d.State), g.If(d.State == qualtrics.Pending, g.Group{g.Text(" next "), moment(d.DueAt)})), numberCell(last),
				)
			})),
	)
}

// status is that of the last answer; a dash where there was none.
func status(code int) string {
	if code == 0 {
		return "–"
	}
	return strconv.Itoa(code)
}

func (o overview) told() g.Node {
	return part("told", "Webhook", "Awardco",
		h.P(g.Text("What Awardco tells about recognitions: created, approved, denied.")),
		list("told-list", "Webhook of Awardco", o.Told.caption(), "Nothing was told yet.",
			g.Group{columns("Event", "Recognition", "Due"), numbers("Attempts"), columns("State"), numbers("Last status")},
			g.Map(o.Told.Rows, func(d awardco.Delivery) g.Node {
				return h.Tr(
					cell(d.Event), cell(d.RecognitionID), timeCell(d.DueAt), numberCell(strconv.Itoa(d.Attempts)), h.Td(badge(d.State)),
					numberCell(status(d.LastStatus)),
				)
			})),
	)
}

func (o overview) calls() g.Node {
	return part("calls", "Calls by operation", "", h.Div(h.ID("call-list"), h.Class("columns"), live, g.Map(o.Calls, func(c vendorCalls) g.Node {
		rows := g.Map(c.Operations, func(op operation) g.Node { return h.Tr(codeCell(op.Name), numberCell(strconv.Itoa(op.Calls))) })
		if len(rows) == 0 {
			rows = g.Group{h.Tr(h.Td(h.ColSpan("2"), h.Class("none"), g.Text("No call yet.")))}
		}
		return table("Calls of "+c.Vendor, c.Vendor, g.Group{columns("Operation"), numbers("Calls")}, rows)
	})))
}

func (o overview) faults() g.Node {
	return part(partFaults, "Faults on request", "",
		o.wrong(partFaults),
		list("fault-list", "Faults", "In force; a call meets the first that applies to it", "The vendors behave.",
			g.Group{
				columns("Fault", "Vendor", "Calls", "What happens", "How often"), numbers("Met"),
				h.Th(h.Scope("col"), h.Span(h.Class("hidden"), g.Text("Remove"))),
			},
			g.Map(o.Faults, faultRow)),
		o.addFault(),
		h.Div(h.Class("rows"),
			post("/landscape/sessions/expire", h.Class("row"), button("Expire all SAP sessions", h.Class("quiet"))),
			post("/landscape/locks", h.Class("row"),
				wholeNumber("Writes", "writes", "1", 0), g.Text(" "), button("Lock SAP Sales Cloud for these", h.Class("quiet"))),
		),
	)
}

func faultRow(f faults.Fault) g.Node {
	where := g.Text("every path")
	if f.Path != "" {
		where = h.Code(g.Text(f.Path))
	}
	return h.Tr(
		rowHead(g.Text(f.ID)), cell(cmp.Or(f.Vendor, "every")), h.Td(g.Text(cmp.Or(f.Method, "any method")+", "), where),
		cell(whatHappens(f)), cell(howOften(f)), numberCell(strconv.Itoa(f.Fired)),
		h.Td(post(address("faults", f.ID, "remove"), button("Remove", h.Class("quiet"), h.Aria("label", "Remove "+f.ID)))),
	)
}

func whatHappens(f faults.Fault) string {
	text := f.Kind
	if f.Status != 0 {
		text += fmt.Sprintf(" %d", f.Status)
	}
	if f.RetryAfter != 0 {
		text += fmt.Sprintf(", Retry-After %d s", f.RetryAfter)
	}
	if f.DelayMS != 0 {
		text += fmt.Sprintf(", after %d ms", f.DelayMS)
	}
	return text
}

func howOften(f faults.Fault) string {
	text := fmt.Sprintf("%d times", f.Times)
	switch f.Times {
	case 0:
		text = "until removed"
	case 1:
		text = "once"
	}
	if f.Rate != 0 {
		text += fmt.Sprint(", rate ", f.Rate)
	}
	return text
}

// addFault is the form for a fault, with what was typed into it when that is refused.
func (o overview) addFault() g.Node {
	described := func(id string) g.Node { return h.Aria("describedby", id) }
	return post("/landscape/faults/add", h.FieldSet(
		h.Legend(g.Text("Add a fault")),
		h.Div(h.Class("fields"),
			choice("Vendor", "vendor", "every", o.Vendors, o.Typed.Vendor),
			choice("Method", "method", "any", o.Methods, o.Typed.Method),
			field("Path contains", "text", "path", o.Typed.Path, described("path-help"), g.Attr("autocapitalize", "off"), g.Attr("spellcheck", "false")),
			choice("Kind", "kind", "", o.Kinds, o.Typed.Kind),
			wholeNumber("Status", "status", o.Typed.Status, 200, h.Max("599"), described("status-help")),
			wholeNumber("Retry-After in seconds", "retryAfter", o.Typed.RetryAfter, 0),
			wholeNumber("Delay in milliseconds", "delayMs", o.Typed.DelayMS, 0),
			field("Rate from 0 to 1", "number", "rate", o.Typed.Rate, h.Min("0"), h.Max("1"), h.Step("any")),
			wholeNumber("Times", "times", o.Typed.Times, 0, described("times-help")),
		),
		h.P(h.Class("dim"),
			h.Span(h.ID("path-help"), g.Text("The path is a regular expression, empty for every path.")), g.Text(" "),
			h.Span(h.ID("status-help"), g.Text("Status and Retry-After belong to the kinds status, late-status and html.")), g.Text(" "),
			h.Span(h.ID("times-help"), g.Text("Times left empty means until removed.")),
		),
		button("Add the fault"),
	))
}
