package writer

import (
	"cmp"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/marketing"
)

// campaignOutbound is the source object type of what answers a campaign (sap-marketing-cloud.md §2.3).
const campaignOutbound = "CUAN_CAMPAIGN_OUTBOUND"

// task is what an event asks for: an interaction or a survey response, and what is said when it is written.
type task struct {
	event event.Event
	// nothing says that nothing is to be written.
	nothing     bool
	interaction *marketing.Interaction
	response    *marketing.Response
	// contact is made or refreshed before.
	contact *marketing.Contact
	// outboundID and campaignID are of a link that a campaign asked for.
	outboundID, campaignID string
	written                *eventsv1.InteractionWritten
}

// key is what the interaction is found by: two requests for one outbound id are one interaction, and one mail
// (sap-marketing-cloud.md, order of work 5).
func (t task) key() effect.Key {
	business := t.written.GetResponseId()
	if t.written.GetKind() == marketing.SurveyLinkCreated {
		business = t.interaction.SourceObject
	}
	return effect.Interaction(t.written.GetKind(), business)
}

// distribution is Marketing's own interaction for the link's member.
func (t task) distribution() marketing.Ref {
	return marketing.Ref{Type: marketing.SurveyDistribution, SourceObject: t.outboundID}
}

// task works out what an event asks for. Its error is about the event.
func (w *writer) task(e event.Event) (task, error) {
	switch m := e.Data.(type) {
	case *eventsv1.SurveyLinkCreated:
		return w.linkTask(e, m)
	case *eventsv1.SurveyResponseReceived:
		if w.settings.Responses == responsesOff {
			return task{event: e, nothing: true}, nil
		}
		return w.responseTask(e, m)
	}
	return task{}, fault.New(fault.Invalid, "%s is not written to SAP Marketing Cloud", e.Type)
}

func (w *writer) linkTask(e event.Event, m *eventsv1.SurveyLinkCreated) (task, error) {
	t := task{
		event: e, outboundID: m.GetCampaign().GetOutboundId(), campaignID: m.GetCampaign().GetCampaignId(),
		written: &eventsv1.InteractionWritten{Kind: marketing.SurveyLinkCreated, RequestId: m.GetRequestId()},
	}
	t.interaction = &marketing.Interaction{
		Type: marketing.SurveyLinkCreated, At: e.Time, SourceObjectType: campaignOutbound,
		// Without a campaign another system asked for it.
		SourceObject: cmp.Or(t.outboundID, m.GetRequestId()), Link: m.GetLink(),
		Custom: filled(w.settings.CustomFields, linkPlaceholders, map[string]string{
			"surveyId": m.GetSurveyId(), "requestId": m.GetRequestId(), "outboundId": t.outboundID, "campaignId": t.campaignID,
			"contactId": m.GetContact().GetExternalId(),
		}),
	}
	field := "campaign.outboundId"
	if t.outboundID == "" {
		field = "requestId"
	}
	return t, named(t.interaction.Check(), map[string]string{"InteractionSourceObject": field})
}

// responseFields are SAP's names of what comes from an answer.
var responseFields = map[string]string{
	"InteractionSourceObject": "responseId", "InteractionSourceObjectAddlID": "surveyId", "InteractionContactId": "contact.externalId",
	"ResponseId": "responseId", "SurveyId": "surveyId", "Id": "contact.externalId", "OutboundKey": "requestId",
	"ContactID": "contact.externalId", "EmailAddress": "contact.email",
	"FirstName": "values." + firstName, "LastName": "values." + lastName,
	"QuestionId": "values", "ResponseText": "values", "ResponseIdRow": "values",
}

// Values of an answer that name the recipient (qualtrics.md §3.13).
const firstName, lastName = "recipientFirstName", "recipientLastName"

func (w *writer) responseTask(e event.Event, m *eventsv1.SurveyResponseReceived) (task, error) {
	at := e.Time
	if recorded := m.GetRecordedAt(); recorded.IsValid() {
		at = recorded.AsTime()
	}
	t := task{event: e, written: &eventsv1.InteractionWritten{
		Kind: marketing.SurveyResponse, ResponseId: m.GetResponseId(), RequestId: m.GetRequestId(),
	}}
	if w.settings.Contacts && m.GetContact().GetExternalId() != "" {
		t.contact = w.contact(at, m)
		if err := t.contact.Check(); err != nil {
			return t, named(err, responseFields)
		}
	}
	if w.settings.Responses == responsesAsSurvey {
		t.response = w.response(at, m)
		return t, named(w.marketing.CheckResponse(*t.response), responseFields)
	}
	t.interaction = w.responseInteraction(at, m)
	return t, named(t.interaction.Check(), responseFields)
}

// named gives an error about a field of SAP's as one about the field of the event that it comes from.
func named(err error, fields map[string]string) error {
	if err == nil {
		return nil
	}
	f := *fault.From(err)
	f.Field = cmp.Or(fields[f.Field], f.Field)
	return &f
}

func (w *writer) contact(at time.Time, m *eventsv1.SurveyResponseReceived) *marketing.Contact {
	c := &marketing.Contact{
		Origin: w.settings.ContactOrigin, ID: m.GetContact().GetExternalId(), At: at, Email: m.GetContact().GetEmail(),
		FirstName: text(m.GetValues()[firstName]), LastName: text(m.GetValues()[lastName]),
	}
	if language := text(m.GetValues()["userLanguage"]); len(language) == 2 { // longer ones are Qualtrics' own
		c.Language = strings.ToUpper(language)
	}
	return c
}

func (w *writer) responseInteraction(at time.Time, m *eventsv1.SurveyResponseReceived) *marketing.Interaction {
	i := &marketing.Interaction{
		Type: marketing.SurveyResponse, At: at, SourceObjectType: marketing.SurveyResponse,
		SourceObject: m.GetResponseId(), AdditionalID: m.GetSurveyId(),
		ContactOrigin: w.settings.ContactOrigin, ContactID: m.GetContact().GetExternalId(),
		Medium: w.settings.Medium, ContentSubject: "Survey response " + m.GetResponseId(), Content: w.content(m),
		Custom: filled(w.settings.ResponseCustomFields, responsePlaceholders, placeholdersOf(m)),
	}
	if score, err := strconv.ParseFloat(text(m.GetValues()[w.settings.ScoreField]), 64); err == nil && math.Abs(score) <= math.MaxInt16 {
		v := int16(math.Round(score))
		i.Sentiment = &v
	}
	return i
}

func (w *writer) response(at time.Time, m *eventsv1.SurveyResponseReceived) *marketing.Response {
	r := &marketing.Response{
		SurveyID: m.GetSurveyId(), ID: m.GetResponseId(), OutboundID: m.GetRequestId(), At: at,
		ContactOrigin: w.settings.ContactOrigin, ContactID: m.GetContact().GetExternalId(),
	}
	definition := w.settings.surveys[r.SurveyID]
	for _, name := range w.answers(m) {
		if !definition.Asks(name) {
			continue
		}
		d := marketing.Detail{QuestionID: name, Text: said(m, name)}
		if value := text(m.GetValues()[name]); d.Text != value && !strings.Contains(value, ", ") {
			d.Choice = value // one choice, by its number
		}
		r.Details = append(r.Details, d)
	}
	return r
}

// content lists the answers, one a line.
func (w *writer) content(m *eventsv1.SurveyResponseReceived) string {
	var lines []string
	for _, name := range w.answers(m) {
		lines = append(lines, name+": "+said(m, name))
	}
	return strings.Join(lines, "\n")
}

// answers are the names of the values that are written, in order.
func (w *writer) answers(m *eventsv1.SurveyResponseReceived) []string {
	var names []string
	for name := range m.GetValues() {
		if w.wanted(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// said is the answer in words: its label, where it has one.
func said(m *eventsv1.SurveyResponseReceived, name string) string {
	return cmp.Or(text(m.GetLabels()[name]), text(m.GetValues()[name]))
}

// technical are Qualtrics' own values beside the answers, and what is known of the recipient anyway
// (qualtrics.md §3.13).
var technical = []string{
	"startDate", "endDate", "recordedDate", "status", "finished", "progress", "duration", "distributionChannel",
	"userLanguage", "ipAddress", "locationLatitude", "locationLongitude", "externalDataReference",
	// Ours, which came back with the answer.
	"requestId", "loopId", "transactionExternalId", "occurredAt",
}

func (w *writer) wanted(name string) bool {
	if len(w.settings.ResponseFields) > 0 {
		return slices.Contains(w.settings.ResponseFields, name)
	}
	return !slices.Contains(technical, name) && !strings.HasPrefix(name, "recipient") && !strings.HasSuffix(name, "_DO")
}

func text(v *structpb.Value) string {
	switch v := v.AsInterface().(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		parts := make([]string, len(v))
		for i, part := range v {
			parts[i] = fmt.Sprint(part)
		}
		return strings.Join(parts, ", ")
	default:
		return fmt.Sprint(v)
	}
}

// What may stand in the value of an extension field.
var (
	linkPlaceholders     = regexp.MustCompile(`\{(surveyId|requestId|outboundId|campaignId|contactId)\}`)
	responsePlaceholders = regexp.MustCompile(`\{(surveyId|responseId|requestId|contactId|values\.[^{}]+|labels\.[^{}]+)\}`)
)

func placeholdersOf(m *eventsv1.SurveyResponseReceived) map[string]string {
	all := map[string]string{
		"surveyId": m.GetSurveyId(), "responseId": m.GetResponseId(), "requestId": m.GetRequestId(), "contactId": m.GetContact().GetExternalId(),
	}
	for name, value := range m.GetValues() {
		all["values."+name] = text(value)
	}
	for name, value := range m.GetLabels() {
		all["labels."+name] = text(value)
	}
	return all
}

// filled gives the extension fields with their placeholders replaced.
func filled(fields map[string]string, placeholders *regexp.Regexp, values map[string]string) map[string]string {
	custom := make(map[string]string, len(fields))
	for name, value := range fields {
		custom[name] = placeholders.ReplaceAllStringFunc(value, func(p string) string { return values[strings.Trim(p, "{}")] })
	}
	return custom
}
