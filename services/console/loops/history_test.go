package loops

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// history makes the messages of many loops as services publish them, in the order in which they would.
type history struct {
	begin time.Time
	emit  func(*nats.Msg)
	// at is how late it is in the history.
	at time.Time
	// seq counts what goes into EVENTS, as attempts name it.
	seq   uint64
	where map[string]uint64
	// later are those who have not answered.
	later [][]invitation
}

// chunk is how many people are invited together, every chunkEvery; one in four answers, delayChunks later.
const (
	chunk       = 1000
	chunkEvery  = 30 * time.Minute
	delayChunks = 3
)

type invitation struct {
	requested event.Event
	n         int
}

func newHistory(begin time.Time, emit func(*nats.Msg)) *history {
	return &history{begin: begin, at: begin, emit: emit, where: map[string]uint64{}}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// say publishes an event.
func (h *history) say(e event.Event) event.Event {
	h.at = h.at.Add(20 * time.Millisecond)
	e.Time = h.at
	m := must(event.Encode(e))
	h.seq++
	h.where[e.ID] = h.seq
	h.emit(m)
	return e
}

func (h *history) follow(cause event.Event, service, subject string, data proto.Message) event.Event {
	return h.say(must(event.After(cause, service, subject, data)))
}

// attempt tells that a service is done with events.
func (h *history) attempt(service string, calls []activity.Call, events ...event.Event) {
	a := activity.Attempt{Service: service, At: h.at.Add(-300 * time.Millisecond), Took: 280 * time.Millisecond, Calls: calls, Wave: len(events)}
	for _, e := range events {
		handled := activity.Handled{
			EventID: e.ID, LoopID: e.LoopID, Type: e.Type, Stream: topology.Events, Sequence: h.where[e.ID], Attempt: 1, Outcome: activity.Done,
		}
		if service == topology.FeedbackRouter && e.Type == subjects.SurveyResponseReceived {
			late := must(strconv.Atoi(strings.TrimPrefix(e.Subject, "R_")))%8 == 0
			handled.Rules = []activity.Decision{
				{Rule: "delivery-too-late", Fired: late, Subject: subjects.FeedbackDeliveryLate, RuleSet: "abc"},
				{Rule: "csat-recognition", Fired: !late, Subject: subjects.RecognitionRequested, Why: "int(values.csat) >= 4", RuleSet: "abc"},
			}
		}
		a.Events = append(a.Events, handled)
		if service != topology.SAPInteractionWriter || e.Type != subjects.SurveyResponseReceived { // which the router speaks of too
			delete(h.where, e.ID)
		}
	}
	m := nats.NewMsg(topology.ActivitySubject(service, activity.KindAttempt))
	m.Data = must(json.Marshal(a))
	h.emit(m)
}

func (h *history) call(vendor, operation string, insteadOf int) activity.Call {
	return activity.Call{Vendor: vendor, Operation: operation, At: h.at, Took: 120 * time.Millisecond, Status: 200, Outcome: "ok", Write: true, InsteadOf: insteadOf}
}

// play invites n people and lets some answer.
func (h *history) play(n int) {
	for from := 0; from < n; from += chunk {
		h.at = h.begin.Add(time.Duration(from/chunk) * chunkEvery)
		h.later = append(h.later, h.invite(from, min(chunk, n-from)))
		if len(h.later) > delayChunks {
			h.answers(h.later[0])
			h.later = h.later[1:]
		}
	}
	for _, rest := range h.later {
		h.answers(rest)
	}
	h.later = nil
}

func (h *history) invite(from, n int) []invitation {
	campaign := &eventsv1.Campaign{CampaignId: fmt.Sprintf("00000%05d", from/(20*chunk)), Name: "Service survey", MarketingArea: "GLOBAL"}
	var all []invitation
	var requested, created []event.Event
	for i := from; i < from+n; i++ {
		id := strconv.Itoa(1_000_000 + i)
		e := h.say(must(event.New(topology.Ingress, subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
			RequestId: "A" + id,
			Contact: &eventsv1.Contact{
				ExternalId: "P-" + id, Email: "person" + id + "@example.com", FirstName: "Ada", LastName: "Lovelace", Language: "EN",
				Attributes: map[string]string{"Country": "GB"},
			},
			Transaction: &eventsv1.Transaction{ExternalId: "47" + id, OccurredAt: timestamppb.New(h.at), Data: map[string]*structpb.Value{"sourceObject": structpb.NewStringValue("SERVICE_ORDER")}},
			Survey:      &eventsv1.Survey{SurveyId: "SV_service", MailingListId: "CG_abc"}, Campaign: campaign,
		})))
		requested = append(requested, e)
		all = append(all, invitation{e, i})
	}
	for k, e := range requested {
		id := strconv.Itoa(1_000_000 + from + k)
		created = append(created, h.follow(e, topology.QualtricsLinker, subjects.SurveyLinkCreated, &eventsv1.SurveyLinkCreated{
			RequestId: "A" + id, Link: "https://survey.example.com/jfe/form/SV_service?Q_DL=" + id, ExpiresAt: timestamppb.New(h.at.Add(90 * 24 * time.Hour)),
			ContactId: "CID_" + id, ContactLookupId: "CGC_" + id, TransactionId: "CTR_" + id, DistributionId: "EMD_1", SurveyId: "SV_service",
			Campaign: campaign, Contact: &eventsv1.ContactRef{ExternalId: "P-" + id},
		}))
	}
	for part := 0; part < n; part += 500 {
		h.attempt(topology.QualtricsLinker, []activity.Call{h.call("qualtrics", "import", 500)}, requested[part:min(part+500, n)]...)
	}
	for part := 0; part < n; part += 100 {
		wave := created[part:min(part+100, n)]
		for k, e := range wave {
			id := strconv.Itoa(1_000_000 + from + part + k)
			h.follow(e, topology.SAPInteractionWriter, subjects.InteractionWritten, &eventsv1.InteractionWritten{Kind: "SURVEY_LINK_CREATED", InteractionId: "00163EAA0000" + id, RequestId: "A" + id})
		}
		h.attempt(topology.SAPInteractionWriter, []activity.Call{h.call("sap-marketing", "POST Interactions", len(wave))}, wave...)
	}
	return all
}

func (h *history) answers(of []invitation) {
	for _, i := range of {
		if i.n%4 == 0 {
			h.answer(i)
		}
	}
}

func (h *history) answer(i invitation) {
	id := strconv.Itoa(1_000_000 + i.n)
	notified := h.say(must(event.New(topology.Ingress, subjects.SurveyResponseNotified, &eventsv1.SurveyResponseNotified{
		SurveyId: "SV_service", ResponseId: "R_" + id, RecipientId: "CGC_" + id, DistributionId: "EMD_1", CompletedAt: timestamppb.New(h.at),
	})).InLoop(i.requested.LoopID))
	received := h.follow(notified, topology.FeedbackRouter, subjects.SurveyResponseReceived, &eventsv1.SurveyResponseReceived{
		SurveyId: "SV_service", ResponseId: "R_" + id, RecordedAt: timestamppb.New(h.at), RequestId: "A" + id, Contact: &eventsv1.ContactRef{ExternalId: "P-" + id},
		Values: map[string]*structpb.Value{
			"QID1": structpb.NewStringValue("Delivery too late"), "csat": structpb.NewNumberValue(2), "contact_me": structpb.NewStringValue("yes"),
			"product_name": structpb.NewStringValue("Espresso machine, the red one"), "desired_date": structpb.NewStringValue("2026-08-01"),
			"startDate": structpb.NewStringValue("2026-07-24T09:30:00Z"), "endDate": structpb.NewStringValue("2026-07-24T09:33:00Z"), "finished": structpb.NewNumberValue(1),
		},
	})
	h.attempt(topology.FeedbackRouter, []activity.Call{h.call("qualtrics", "response", 1)}, notified)
	h.follow(received, topology.SAPInteractionWriter, subjects.InteractionWritten, &eventsv1.InteractionWritten{Kind: "SURVEY_RESPONSE", InteractionId: "00163EBB0000" + id, ResponseId: "R_" + id})
	h.attempt(topology.SAPInteractionWriter, []activity.Call{h.call("sap-marketing", "POST SurveyResponses", 1)}, received)
	h.attempt(topology.FeedbackRouter, nil, received)
	if i.n%8 == 0 {
		late := h.follow(received, topology.FeedbackRouter, subjects.FeedbackDeliveryLate, &eventsv1.FeedbackRaised{
			ResponseId: "R_" + id, Subject: "Cart Abandonment - Check Delivery Time", Text: "Wanted by 2026-08-01: Espresso machine", AccountId: "1000123", ContactId: "1000456",
		})
		h.follow(late, topology.C4CTasker, subjects.TaskCreated, &eventsv1.TaskCreated{ResponseId: "R_" + id, TaskId: "4" + id, ObjectId: "00163ETT00" + id, Url: "https://c4c.example.com/task/" + id})
		h.attempt(topology.C4CTasker, []activity.Call{h.call("sap-sales-cloud", "POST Tasks", 1)}, late)
		return
	}
	thanks := h.follow(received, topology.FeedbackRouter, subjects.RecognitionRequested, &eventsv1.RecognitionRequested{
		ResponseId: "R_" + id, Recipient: &eventsv1.Recipient{Email: "rep@example.com"}, Score: 5, Note: "Thank you", Program: "Qualtrics CSAT Recognition",
	})
	h.follow(thanks, topology.AwardcoRecognizer, subjects.RecognitionSubmitted, &eventsv1.RecognitionSubmitted{ResponseId: "R_" + id, RecognitionId: "AW-" + id, State: "SUBMITTED"})
	h.attempt(topology.AwardcoRecognizer, []activity.Call{h.call("awardco", "POST Recognitions", 1)}, thanks)
}

func timestamp(t time.Time) *timestamppb.Timestamp { return timestamppb.New(t) }

// raw is a message as its stream would give it.
func raw(m *nats.Msg, seq uint64, at time.Time) *jetstream.RawStreamMsg {
	return &jetstream.RawStreamMsg{Subject: m.Subject, Sequence: seq, Header: m.Header, Data: m.Data, Time: at}
}

// sourceOf tells into which stream a message goes.
func sourceOf(m *nats.Msg) source {
	switch m.Subject[:4] {
	case "acti":
		return fromActivity
	case "dead":
		return fromLetters
	case "oper":
		return fromOperations
	}
	return fromEvents
}
