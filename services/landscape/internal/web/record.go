package web

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
)

func (p *Pages) showTask(w http.ResponseWriter, r *http.Request) {
	tasks, id := p.SalesCloud.Books().Tasks, r.PathValue("id")
	i := slices.IndexFunc(tasks, func(t salescloud.Task) bool { return t.ObjectID == id || t.ID == id })
	if i < 0 {
		notThere(w, "There is no such task")
		return
	}
	show(w, http.StatusOK, taskSheet(task(tasks[i])))
}

func (p *Pages) showRecognition(w http.ResponseWriter, r *http.Request) {
	one := recognitions(p.Awardco.Books(), func(one awardco.Recognition) bool { return one.ID == r.PathValue("id") })
	if one.Total == 0 {
		notThere(w, "There is no such recognition")
		return
	}
	show(w, http.StatusOK, recognitionSheet(one.Rows[0]))
}

func notThere(w http.ResponseWriter, what string) {
	show(w, http.StatusNotFound, message(what, "Perhaps the landscape was started anew and forgot it."))
}

func taskSheet(t taskRow) g.Node {
	return sheet("Task "+t.ID, "tasks", "letter record",
		h.Header(
			h.H1(g.Text(t.Subject)),
			h.P(h.Class("vendor"), g.Text("Task "+t.ID+" in SAP Sales Cloud")),
		),
		paragraphs(t.Texts),
		h.Dl(
			entry("Account", named(t.Account, t.AccountID)),
			entry("Contact", named(t.Contact, t.ContactID)),
			entry("Processor", named(t.Processor, t.ProcessorID)),
			entry("Priority", g.Text(t.Urgency)),
			entry("Due", moment(t.DueAt)),
			entry("Created", moment(t.CreatedAt)),
			entry("Object", h.Code(g.Text(t.ObjectID))),
		),
	)
}

func recognitionSheet(r recognitionRow) g.Node {
	return sheet("Recognition "+r.ID, "recognitions", "letter record",
		h.Header(
			h.H1(g.Text("For "+strings.Join(r.To, ", "))),
			h.P(h.Class("vendor"), g.Text("Recognition "+r.ID+" in Awardco")),
		),
		h.P(g.Text(r.Note)),
		h.Dl(
			entry("State", r.state()),
			entry("Programme", g.Text(r.Program)),
			entry("Points", g.Text(strconv.Itoa(r.Amount))),
			entry("Tags", h.Code(g.Text(strings.Join(r.Tags, ", ")))),
			entry("Created", moment(r.CreatedAt)),
		),
	)
}

func paragraphs(texts []string) g.Node {
	return g.Map(texts, func(text string) g.Node { return h.P(g.Text(text)) })
}

// state is how it stands, and why it was denied.
func (r recognitionRow) state() g.Node {
	return g.Group{badge(r.State), g.If(r.Reason != "", g.Text(" "+r.Reason))}
}
