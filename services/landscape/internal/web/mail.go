package web

import (
	"net/http"
	"slices"

	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

// letter is a mail as its reader sees it.
type letter struct {
	marketing.Mail
	// Question is the name of the survey behind the link, where it is known.
	Question string
}

func (p *Pages) showMail(w http.ResponseWriter, r *http.Request) {
	mails, id := p.Marketing.Books().Mails, r.PathValue("id")
	i := slices.IndexFunc(mails, func(m marketing.Mail) bool { return m.ID == id || m.OutboundID == id })
	if i < 0 {
		p.notThere(w, "There is no such mail")
		return
	}
	p.show(w, http.StatusOK, "mail", letter{mails[i], p.question(mails[i].Link)})
}

// message is a page that says one thing.
type message struct{ Title, Text string }

func (p *Pages) question(link string) string {
	links := p.Qualtrics.Books().Links
	i := slices.IndexFunc(links, func(l qualtrics.Link) bool { return l.URL == link })
	if i < 0 {
		return ""
	}
	survey, _ := p.survey(links[i].SurveyID)
	return survey.Name
}
