package web

import (
	"cmp"
	"net/http"
	"slices"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

// showMail shows a mail as its reader sees it.
func (p *Pages) showMail(w http.ResponseWriter, r *http.Request) {
	mails, id := p.Marketing.Books().Mails, r.PathValue("id")
	i := slices.IndexFunc(mails, func(m marketing.Mail) bool { return m.ID == id || m.OutboundID == id })
	if i < 0 {
		notThere(w, "There is no such mail")
		return
	}
	show(w, http.StatusOK, letter(mails[i], p.question(mails[i].Link)))
}

// question is the name of the survey behind a link, where it is known.
func (p *Pages) question(link string) string {
	links := p.Qualtrics.Books().Links
	i := slices.IndexFunc(links, func(l qualtrics.Link) bool { return l.URL == link })
	if i < 0 {
		return ""
	}
	survey, _ := p.survey(links[i].SurveyID)
	return survey.Name
}

func letter(m marketing.Mail, question string) g.Node {
	to := "nobody: no campaign knows this outbound id"
	if m.To != "" {
		to = m.Name + " <" + m.To + ">"
	}
	return sheet(m.Subject, "mails", "letter",
		h.Header(
			h.H1(g.Text(m.Subject)),
			h.Dl(
				entry("From", g.Text("Customer care <care@example.com>")),
				entry("To", g.Text(to)),
				entry("Sent", moment(m.At), g.Text(" UTC")),
			),
		),
		h.P(g.Text("Dear "+cmp.Or(m.Name, "customer")+",")),
		h.P(g.Text("thank you for being our customer. We would like to hear from you:")),
		g.If(question != "", h.P(h.Class("question"), g.Text(question))),
		h.P(g.Text("It takes a minute to answer, and somebody reads what you write.")),
		h.P(outside(m.Link, h.Class("button"), g.Text("Give your opinion"))),
		h.P(h.Class("fine"), g.Text("This link is yours alone. Please do not pass it on.")),
	)
}
