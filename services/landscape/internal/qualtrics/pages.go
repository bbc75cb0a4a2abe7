package qualtrics

import (
	"bytes"
	"net/http"
)

// page is what a person sees: questions, or a message.
type page struct {
	status    int
	title     string
	message   string
	questions []Question
	given     map[string]string // by question, what was typed in
	wrong     map[string]string // by question, what is wrong with it
}

// Pages serves the survey pages behind the links, /jfe/form/{survey}. A page opened without a personal link takes an
// anonymous answer.
//
// Statuses: 404 for a link or survey that is not there, 410 for one that was answered, has expired, or whose survey is
// closed, 422 for answers that cannot be taken.
func (s *Simulator) Pages() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jfe/form/{survey}", s.onPage(s.openPage))
	mux.HandleFunc("POST /jfe/form/{survey}", s.onPage(s.submitPage))
	return mux
}

func (s *Simulator) onPage(show func(*http.Request) page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "The form could not be read.", http.StatusBadRequest)
			return
		}
		writePage(w, show(r))
	}
}

func writePage(w http.ResponseWriter, p page) {
	var body bytes.Buffer
	_ = p.node().Render(&body) // a buffer takes all of it
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Referrer-Policy", "no-referrer") // the address is the person's key to the survey
	w.WriteHeader(p.status)
	_, _ = body.WriteTo(w) // the client may be gone; there is nobody else to tell
}

func (s *Simulator) openPage(r *http.Request) page {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, refused := s.session(r)
	if refused == nil && in.link.State == Consumed {
		refused = answeredBefore()
	}
	if refused != nil {
		return *refused
	}
	s.opened(in.link)
	return in.questions(nil, nil)
}

// opened books the first opening of a link.
func (s *Simulator) opened(link Link) {
	if link.State != Unopened {
		return
	}
	link.State, link.OpenedAt = Opened, s.now()
	if s.settings.Assumed.OpeningConsumes && link.LinkType == Individual {
		link.State = Consumed
	}
	must(s.books.links.Put(link.ID, link))
	s.announceStart(link)
}

func (s *Simulator) submitPage(r *http.Request) page {
	s.mu.Lock()
	defer s.mu.Unlock()
	in, refused := s.session(r)
	if refused != nil {
		return *refused
	}
	given, typed, wrong := answers{}, map[string]string{}, map[string]string{}
	for _, q := range in.survey.Questions {
		typed[q.ID] = r.PostForm.Get(q.ID)
		a, complaint := q.read(typed[q.ID])
		switch {
		case complaint != "":
			wrong[q.ID] = complaint
		case a.words != "":
			given[q.ID] = a
		}
	}
	if len(wrong) > 0 {
		return in.questions(typed, wrong)
	}
	response := s.record(in, given)
	s.complete(in.link, response)
	return page{status: http.StatusOK, title: "Thank you", message: "Your answers have been recorded. Thank you for your time."}
}

// complete books what follows from a stored response. It may be done again after a crash.
func (s *Simulator) complete(link Link, response Response) {
	if link.ID != "" {
		link.State, link.ResponseID = Answered, response.ID
		must(s.books.links.Put(link.ID, link))
	}
	s.announce(response)
}

// session finds out who is answering what, or gives the page that says why not.
func (s *Simulator) session(r *http.Request) (session, *page) {
	in := session{query: r.URL.Query()}
	survey, found := s.settings.survey(r.PathValue("survey"))
	if !found {
		return in, notThere()
	}
	in.survey = survey
	if id := in.query.Get("Q_DL"); id != "" {
		if in, found = s.personal(in, id); !found {
			return in, notThere()
		}
	}
	switch {
	case !survey.Active:
		return in, gone("This survey is closed", "This survey is not active at the moment.")
	case in.link.ID == "":
		return in, nil
	case !s.now().Before(in.link.ExpiresAt):
		return in, gone("This link has expired", "The time to take this survey is over.")
	case in.link.LinkType == Individual && in.link.State == Answered:
		return in, answeredBefore()
	}
	return in, nil
}

// personal adds link and contact to a session. A link dies with its distribution, its contact, and the contact's
// membership of the list (qualtrics.md §3.7 "Breakage").
func (s *Simulator) personal(in session, linkID string) (session, bool) {
	link, found := s.books.links.Get(linkID)
	if !found || link.SurveyID != in.survey.ID {
		return in, false
	}
	contact, found := s.books.contacts.Get(link.ContactID)
	_, member := contact.Memberships[link.ListID]
	distribution, _ := s.books.distributions.Get(link.DistributionID)
	if !found || !member || distribution.Deleted {
		return in, false
	}
	in.link, in.contact, in.startedAt = link, contact, link.OpenedAt
	return in, true
}

func (in session) questions(typed, wrong map[string]string) page {
	status := http.StatusOK
	if len(wrong) > 0 {
		status = http.StatusUnprocessableEntity
	}
	return page{status: status, title: in.survey.Name, questions: in.survey.Questions, given: typed, wrong: wrong}
}

func notThere() *page {
	return &page{status: http.StatusNotFound, title: "This survey was not found", message: "Please check that the link is complete."}
}

func answeredBefore() *page {
	return gone("You have already completed this survey", "This link can be used once, and the survey was already answered with it.")
}

func gone(title, message string) *page {
	return &page{status: http.StatusGone, title: title, message: message}
}
