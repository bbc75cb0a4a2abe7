package chaos

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/closeloop/closeloop/proto-events/subjects"
)

// kind of an input.
type kind int

const (
	invitation kind = iota
	answer
	cart
)

// outcome is what the rules make of an answer.
type outcome int

const (
	nothing outcome = iota
	complaint
	praise
)

// poison is what is wrong with an input on purpose.
type poison string

const (
	sound    poison = ""
	invalid  poison = "invalid"  // the event breaks its contract
	refused  poison = "refused"  // the vendor refuses what it says
	unlucky  poison = "unlucky"  // the vendor fails whenever it is about this one, until it is mended
	poisoned        = "-poison-" // in the keys of the unlucky
)

// input is one event that the system is given, or for real answers the filling in of a survey page.
type input struct {
	kind kind
	// key is the request id of an invitation, else the response id. A real answer's is given by Qualtrics: until then it
	// is empty.
	key string
	// person is the reference of whom it is about.
	person string
	// outboundID of an invitation of a campaign.
	outboundID string
	survey     string
	outcome    outcome
	// of is the invitation that a real answer is given to.
	of *input
	// answered is the real answer to an invitation.
	answered *input
	// door says that cart feedback goes to the tasker's door instead of the broker.
	door   bool
	poison poison
	// stretch is the part of a measurement that it belongs to.
	stretch int

	// accepted: the broker has acknowledged it, the door has said 202, or the page has thanked.
	accepted bool
	// stored is when the broker stored the event.
	stored time.Time
	// link is what survey.link.created said.
	link string
}

// mix is how many of a hundred inputs are of each kind.
type mix struct{ invitations, answers, carts int }

var usual = mix{45, 30, 25}

const (
	realAnswers = 10 // one in so many answers is given on the survey's page
	byCampaign  = 2  // one in so many invitations is a campaign's
	byDoor      = 2  // one in so many cart feedbacks goes to the door
)

// workload is everything that a run puts in.
type workload struct {
	inputs []*input
}

// plan makes n inputs of a mix, the same for the same seed.
func plan(seed uint64, n int, m mix) *workload {
	random := rand.New(rand.NewPCG(seed, 1))
	w, prefix := &workload{}, fmt.Sprintf("X%d", seed)
	total := m.invitations + m.answers + m.carts
	invitations := n * m.invitations / total
	answers := n * m.answers / total
	var asked []*input
	for i := range n {
		in := &input{key: fmt.Sprintf("%s-%06d", prefix, i), person: fmt.Sprintf("%s-P-%06d", prefix, i)}
		switch {
		case i < invitations:
			in.kind, in.survey = invitation, []string{"SV_service", "SV_cart"}[random.IntN(2)]
			if random.IntN(byCampaign) == 0 {
				in.outboundID = "OB-" + in.key
			}
			asked = append(asked, in)
		case i < invitations+answers:
			in.kind, in.outcome = answer, outcome(random.IntN(3))
			in.survey = map[outcome]string{nothing: "SV_cart", complaint: "SV_cart", praise: "SV_service"}[in.outcome]
			in.key = "R_" + in.key
		default:
			in.kind, in.door, in.key = cart, random.IntN(byDoor) == 0, "R_"+in.key
		}
		w.inputs = append(w.inputs, in)
	}
	for _, in := range w.inputs {
		if in.kind == answer && random.IntN(realAnswers) == 0 {
			in.give(asked[random.IntN(len(asked))])
		}
	}
	random.Shuffle(n, func(i, j int) { w.inputs[i], w.inputs[j] = w.inputs[j], w.inputs[i] })
	return w
}

// give makes an answer one that is given on the page of an invitation, unless that is answered already.
func (in *input) give(to *input) {
	if to.answered != nil {
		return
	}
	in.of, in.key, in.survey, in.person, to.answered = to, "", to.survey, to.person, in
	if in.survey == "SV_service" && in.outcome == complaint || in.survey == "SV_cart" && in.outcome == praise {
		in.outcome = nothing
	}
}

// outboundIDs are those of campaigns, for which SAP Marketing Cloud writes interactions of its own.
func (w *workload) outboundIDs() []string {
	var ids []string
	for _, in := range w.inputs {
		if in.outboundID != "" {
			ids = append(ids, in.outboundID)
		}
	}
	return ids
}

// realAnswers counts the answers that are given on survey pages.
func (w *workload) realAnswers() (n int) {
	for _, in := range w.inputs {
		if in.of != nil {
			n++
		}
	}
	return n
}

// subject that the input is published to.
func (in *input) subject() string {
	switch in.kind {
	case invitation:
		return subjects.SurveyLinkRequested
	case answer:
		return subjects.SurveyResponseReceived
	}
	return subjects.FeedbackDeliveryLate
}

// The demonstration's account, contact and employee, whom the simulated vendors know.
const (
	account  = "1000123"
	contact  = "1000456"
	employee = "rep@example.com"
)

type object = map[string]any

// body of the event.
func (in *input) body() []byte {
	var b object
	switch in.kind {
	case invitation:
		b = in.request()
	case answer:
		b = object{
			"surveyId": in.survey, "responseId": in.key, "recordedAt": "2026-07-24T09:30:00Z", "values": in.values(),
			"contact": object{"externalId": in.person, "email": in.email()},
		}
	case cart:
		b = object{
			"responseId": in.key, "subject": "Cart Abandonment - Check Delivery Time", "text": "Wanted by 24 December: a trail bike",
			"accountId": account, "contactId": contact,
		}
	}
	in.spoil(b)
	text, err := json.Marshal(b)
	if err != nil {
		panic(err) // texts and numbers only
	}
	return text
}

// spoil puts the poison in. The unlucky are told by their keys.
func (in *input) spoil(b object) {
	switch {
	case in.poison == invalid:
		b["mistyped"] = "yes"
	case in.poison == refused && in.kind == cart:
		b["accountId"] = "9999999"
	case in.poison == refused && in.kind == answer:
		b["values"].(object)["rep_email"] = "nobody@example.com"
	case in.poison == refused && in.kind == invitation:
		b["survey"].(object)["surveyId"] = "SV_unknown"
	}
}

func (in *input) email() string { return in.person + "@example.com" }

func (in *input) request() object {
	b := object{
		"requestId": in.key,
		"contact":   object{"externalId": in.person, "email": in.email(), "firstName": "Ada", "lastName": "Nr " + in.person},
		"transaction": object{"externalId": "T-" + in.key, "data": object{
			"sourceObject": "SERVICE_ORDER", "rep_email": employee, "rep_name": "Robin Example",
			"product_name": "Trail bike", "account_id": account, "contact_id": contact,
		}},
		"survey": object{"surveyId": in.survey},
	}
	if in.outboundID != "" {
		b["campaign"] = object{"campaignId": "0000012345", "outboundId": in.outboundID}
	}
	return b
}

// values of an answer for which a rule, or none, says something.
func (in *input) values() object {
	switch in.outcome {
	case complaint:
		return object{
			"QID1": "Delivery too late", "contact_me": "yes", "desired_date": "2026-12-24", "product_name": "Trail bike",
			"account_id": account, "contact_id": contact,
		}
	case praise:
		return object{"csat": 5, "rep_email": employee, "rep_name": "Robin Example", "why": "Called me back within an hour."}
	}
	return object{"QID1": "Just browsing", "contact_me": "no"}
}

// page is what is filled in on the survey's page for the same.
func (in *input) page() map[string]string {
	if in.survey == "SV_service" {
		csat := "2"
		if in.outcome == praise {
			csat = "5"
		}
		return map[string]string{"QID1": csat, "QID2": "1", "QID3": "Called me back within an hour."}
	}
	if in.outcome == complaint {
		return map[string]string{"QID1": "1", "QID2": "1", "QID3": "2026-12-24"}
	}
	return map[string]string{"QID1": "3", "QID2": "2"}
}
