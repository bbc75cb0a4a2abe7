package web

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/demo"
	"github.com/closeloop/closeloop/services/landscape/internal/faults"
	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
	"github.com/closeloop/closeloop/services/landscape/internal/people"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
)

// The parts of the overview that a form leads back to, as ids in the page.
const (
	partCampaigns = "campaigns"
	partApprovals = "approvals"
	partFaults    = "faults"
)

// problem is why what somebody asked for was not done, and in which part of the overview.
type problem struct{ Part, Text string }

// overview is the page that shows it all.
type overview struct {
	Figures      []figure
	Campaigns    []demo.Campaign
	MaxMembers   int
	Mails        listing[mailRow]
	Answers      listing[answerRow]
	Interactions listing[interactionRow]
	Tasks        listing[taskRow]
	Recognitions listing[recognitionRow]
	Approvals    listing[recognitionRow]
	Deliveries   listing[qualtrics.Delivery]
	Told         listing[awardco.Delivery]
	Calls        []vendorCalls
	Faults       []faults.Fault
	Vendors      []string
	Methods      []string
	Kinds        []string
	Problem      problem
	Typed        faultForm
	WithPeople   bool
}

// figure is a number at the top: how many of how many.
type figure struct {
	Name, Part        string
	Reached, Expected int
}

// listing is the newest rows of a longer list, newest first.
type listing[T any] struct {
	Rows  []T
	Total int
}

const shown = 50

func newest[F, T any](all []F, row func(F) T) listing[T] {
	l := listing[T]{Total: len(all)}
	for _, one := range slices.Backward(all[max(0, len(all)-shown):]) {
		l.Rows = append(l.Rows, row(one))
	}
	return l
}

type mailRow struct {
	ID, To, Name, Subject, Link, State string
	At                                 time.Time
}

type answerRow struct {
	ID, Survey, By string
	At             time.Time
	Answers        []said
}

// said is one answer: to what, and in which words.
type said struct{ To, Words string }

type interactionRow struct {
	Type, Source, Contact, Link, Text string
	At                                time.Time
}

type taskRow struct {
	salescloud.Task
	Account, Contact, Processor, Urgency string
}

type recognitionRow struct {
	awardco.Recognition
	To []string
}

type vendorCalls struct {
	Vendor     string
	Operations []operation
}

type operation struct {
	Name  string
	Calls int
}

func (p *Pages) showOverview(w http.ResponseWriter, status int, wrong problem, typed faultForm) {
	q, m, s, a := p.Qualtrics.Books(), p.Marketing.Books(), p.SalesCloud.Books(), p.Awardco.Books()
	campaigns := p.Campaigns.All()
	o := overview{
		Figures: p.figures(campaigns), Campaigns: campaigns, MaxMembers: demo.MaxMembers,
		Mails:        p.mails(m.Mails, q.Links),
		Answers:      newest(q.Responses, p.answer),
		Interactions: newest(written(m.Interactions), interaction),
		Tasks:        newest(s.Tasks, task),
		Recognitions: recognitions(a, func(r awardco.Recognition) bool { return r.State != awardco.Pending }),
		Approvals:    recognitions(a, func(r awardco.Recognition) bool { return r.State == awardco.Pending }),
		Deliveries:   newest(q.Deliveries, func(d qualtrics.Delivery) qualtrics.Delivery { return d }),
		Told:         newest(a.Deliveries, func(d awardco.Delivery) awardco.Delivery { return d }),
		Calls:        calls(q, m, s, a),
		Faults:       p.Faults.List(), Vendors: p.Faults.Vendors(),
		Methods: []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete},
		Kinds:   faults.Kinds(),
		Problem: wrong, Typed: typed, WithPeople: p.People != nil,
	}
	show(w, status, o.page())
}

func (p *Pages) figures(campaigns []demo.Campaign) []figure {
	expected, reached := demo.Expectation{}, p.Reached()
	for _, c := range campaigns {
		expected = expected.Plus(p.Expected(c.Members))
	}
	return []figure{
		{"Survey links", "interactions", reached.Links, expected.Links},
		{"Link interactions", "interactions", reached.Interactions, expected.Interactions},
		{"Mails", "mails", reached.Mails, expected.Mails},
		{"Answers", "answers", reached.Answers, expected.Answers},
		{"Tasks", "tasks", reached.Tasks, expected.Tasks},
		{"Recognitions", "recognitions", reached.Recognitions, expected.Recognitions},
	}
}

func (p *Pages) mails(all []marketing.Mail, links []qualtrics.Link) listing[mailRow] {
	answered, visits := map[string]bool{}, map[string]string{}
	for _, link := range links {
		answered[link.URL] = link.State == qualtrics.Answered
	}
	if p.People != nil {
		for _, v := range p.People.Visits() {
			visits[v.ID] = v.State
		}
	}
	return newest(all, func(m marketing.Mail) mailRow {
		row := mailRow{ID: m.ID, To: m.To, Name: m.Name, Subject: m.Subject, Link: m.Link, At: m.At, State: "not answered yet"}
		switch {
		case m.To == "":
			row.State = "reached nobody"
		case answered[m.Link]:
			row.State = "answered"
		case visits[m.ID] == people.Ignored:
			row.State = "ignored"
		}
		return row
	})
}

func (p *Pages) answer(r qualtrics.Response) answerRow {
	row := answerRow{
		ID: r.ID, Survey: r.SurveyID, At: r.RecordedAt,
		By: cmp.Or(strings.TrimSpace(r.Recipient["FirstName"]+" "+r.Recipient["LastName"]), "anonymous"),
	}
	if survey, found := p.survey(r.SurveyID); found {
		row.Survey = survey.Name
		for _, question := range survey.Questions {
			if words := r.Words[question.ID]; words != "" {
				row.Answers = append(row.Answers, said{cmp.Or(question.Field, question.ID), words})
			}
		}
	}
	return row
}

func (p *Pages) survey(id string) (qualtrics.Survey, bool) {
	i := slices.IndexFunc(p.Surveys, func(s qualtrics.Survey) bool { return s.ID == id })
	if i < 0 {
		return qualtrics.Survey{}, false
	}
	return p.Surveys[i], true
}

// written are the interactions that came through the API, and not those that a campaign writes itself.
func written(all []marketing.Interaction) []marketing.Interaction {
	return slices.DeleteFunc(all, func(i marketing.Interaction) bool { return i.Type == "SURVEY_DISTRIBUTION" })
}

func interaction(i marketing.Interaction) interactionRow {
	return interactionRow{
		Type: i.Type, Source: i.SourceObject, Contact: i.ContactID, Link: i.Link, Text: i.Fields["InteractionContent"], At: i.CreatedAt,
	}
}

func task(t salescloud.Task) taskRow {
	return taskRow{
		Task: t, Account: t.Fields["Account"], Contact: t.Fields["PrimaryContact"], Processor: t.Fields["Processor"],
		Urgency: cmp.Or(t.Fields["PriorityCodeText"], t.Priority),
	}
}

func recognitions(b awardco.Books, keep func(awardco.Recognition) bool) listing[recognitionRow] {
	names := map[string]string{}
	for _, u := range b.Users {
		names[u.EmployeeID] = u.FirstName + " " + u.LastName
	}
	kept := slices.DeleteFunc(slices.Clone(b.Recognitions), func(r awardco.Recognition) bool { return !keep(r) })
	return newest(kept, func(r awardco.Recognition) recognitionRow {
		row := recognitionRow{Recognition: r}
		for _, id := range r.Recipients {
			row.To = append(row.To, cmp.Or(names[id], id))
		}
		return row
	})
}

func calls(q qualtrics.Books, m marketing.Books, s salescloud.Books, a awardco.Books) []vendorCalls {
	counted := map[string]int{}
	for _, c := range q.Calls {
		counted[c.Operation] = c.Count
	}
	return []vendorCalls{
		{"Qualtrics", operations(counted)},
		{"SAP Marketing Cloud", operations(m.Calls)},
		{"SAP Sales Cloud", operations(s.Calls)},
		{"Awardco", operations(a.Calls)},
	}
}

func operations(counted map[string]int) []operation {
	var list []operation
	for _, name := range slices.Sorted(maps.Keys(counted)) {
		list = append(list, operation{name, counted[name]})
	}
	return list
}
