package demo

import "github.com/closeloop/closeloop/services/landscape/internal/people"

// Expectation is what campaigns lead to, or have led to so far.
type Expectation struct {
	// Links are personal survey links.
	Links int `json:"links"`
	// Interactions are those of type SURVEY_LINK_CREATED; each answer leads to one of type SURVEY_RESPONSE besides.
	Interactions int `json:"interactions"`
	// Mails are those that reached somebody.
	Mails int `json:"mails"`
	// Answers are completed survey responses.
	Answers int `json:"answers"`
	// Tasks are those in SAP Sales Cloud.
	Tasks int `json:"tasks"`
	// Recognitions are those in Awardco, pending and denied ones included.
	Recognitions int `json:"recognitions"`
}

// Plus adds up what two campaigns lead to.
func (e Expectation) Plus(o Expectation) Expectation {
	return Expectation{
		Links: e.Links + o.Links, Interactions: e.Interactions + o.Interactions, Mails: e.Mails + o.Mails,
		Answers: e.Answers + o.Answers, Tasks: e.Tasks + o.Tasks, Recognitions: e.Recognitions + o.Recognitions,
	}
}

// Expected is what one campaign of so many members leads to under the two rules that come with closeloop: a customer
// whose cart was left because of the delivery and who wants to be contacted gets a task, a representative marked 4 or
// better a recognition. Without people nobody answers.
func Expected(members int, withPeople bool) Expectation {
	e := Expectation{Links: members, Interactions: members, Mails: members}
	for i := range members {
		p := people.PersonAt(Seed, i)
		switch {
		case !withPeople || !p.Answers:
			continue
		case aboutService(i) && p.Score >= 4:
			e.Recognitions++
		case !aboutService(i) && p.Reason == "Delivery too late" && p.ContactMe:
			e.Tasks++
		}
		e.Answers++
	}
	return e
}
