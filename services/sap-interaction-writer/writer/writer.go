// Package writer is the service sap-interaction-writer: survey links and answers in, interactions in SAP Marketing
// Cloud out, each exactly once.
package writer

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/marketing"
)

// campaignOutbound is the source object type of what answers a campaign (sap-marketing-cloud.md §2.3).
const campaignOutbound = "CUAN_CAMPAIGN_OUTBOUND"

// Settings of sap-interaction-writer.
type Settings struct {
	service.Common
	BaseURL        string            `envconfig:"SAP_MARKETING_BASE_URL" required:"true" desc:"SAP Marketing Cloud: scheme and host"`
	Username       string            `envconfig:"SAP_MARKETING_USERNAME" required:"true" desc:"communication user"`
	Password       settings.Secret   `envconfig:"SAP_MARKETING_PASSWORD" required:"true" desc:"its password"`
	WriteMode      string            `envconfig:"SAP_MARKETING_WRITE_MODE" default:"auto" desc:"deep-insert, interactions, or auto: deep insert where the tenant has it"`
	CustomFields   map[string]string `envconfig:"SAP_MARKETING_CUSTOM_FIELDS" desc:"extension fields of link interactions, as in YY1_SurveyObjType_MIA:Q_SURVEY,YY1_SurveyObjId_MIA:{surveyId}"`
	ContactOrigin  string            `envconfig:"SAP_MARKETING_CONTACT_ORIGIN" desc:"origin of the contact ids in answers; without it answers name no contact"`
	Medium         string            `envconfig:"SAP_MARKETING_MEDIUM" default:"WEB" desc:"communication medium of answers"`
	ResponseFields []string          `envconfig:"SAP_MARKETING_RESPONSE_FIELDS" desc:"which values of an answer are written, separated by commas; default: all but Qualtrics' own and the recipient's"`
	ScoreField     string            `envconfig:"SAP_MARKETING_SCORE_FIELD" desc:"the value of an answer that becomes InteractionSentimentValue"`
	Parallel       int               `envconfig:"SAP_MARKETING_PARALLEL" default:"4" desc:"parallel calls"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	modes := []marketing.WriteMode{marketing.Auto, marketing.DeepInsert, marketing.Interactions}
	if !slices.Contains(modes, marketing.WriteMode(s.WriteMode)) {
		return fmt.Errorf("SAP_MARKETING_WRITE_MODE must be one of %v", modes)
	}
	if s.Parallel < 1 {
		return fmt.Errorf("SAP_MARKETING_PARALLEL must be at least 1")
	}
	return nil
}

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.SAPInteractionWriter,
		Doc: "Takes survey.link.created and survey.response.received, writes one interaction for each to SAP Marketing Cloud and " +
			"publishes interaction.written. POST /sap/interactions takes the same events from your own systems.",
		Settings: s,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

func start(h *service.Host, s *Settings) error {
	calls, err := outbound.New(outbound.Options{
		Vendor: "sap-marketing", BaseURL: s.BaseURL, Parallel: s.Parallel, Registerer: h.Metrics, Log: h.Log,
	})
	if err != nil {
		return fmt.Errorf("SAP_MARKETING_BASE_URL: %w", err)
	}
	session, err := odata.New(odata.Options{
		Outbound: calls, ServiceRoot: marketing.ServiceRoot, Username: s.Username, Password: s.Password.Reveal(),
	})
	if err != nil {
		return err
	}
	outcomes, err := h.Outcomes()
	if err != nil {
		return err
	}
	w := &writer{settings: s, bus: h.Bus, ledger: h.Ledger(), marketing: marketing.New(session, marketing.WriteMode(s.WriteMode))}
	accepting := &accept.Events{Source: h.Name, Bus: h.Bus, Outcomes: outcomes, Known: w.known}
	h.Door.Handle(http.MethodPost, "/sap/interactions", httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		subject, m := kindOf(r)
		if err := httpdoor.Decode(r, m, nil); err != nil {
			return nil, err
		}
		if _, _, err := w.interaction(event.Event{Data: m}); err != nil {
			return nil, err
		}
		return accepting.One(ctx, r, subject, m)
	})
	h.Handle(bus.Consumer{Handle: w.handle, Parallel: s.Parallel})
	return nil
}

// kindOf tells an answer from a link by the field that only answers have.
func kindOf(r *httpdoor.Request) (string, proto.Message) {
	var peek struct {
		ResponseID json.RawMessage `json:"responseId"`
	}
	// What is no JSON is refused when it is decoded for good.
	if err := json.Unmarshal(r.Body, &peek); err == nil && peek.ResponseID != nil {
		return subjects.SurveyResponseReceived, &eventsv1.SurveyResponseReceived{}
	}
	return subjects.SurveyLinkCreated, &eventsv1.SurveyLinkCreated{}
}

type writer struct {
	settings  *Settings
	bus       *bus.Bus
	ledger    *effect.Ledger
	marketing *marketing.Client
}

func (w *writer) handle(ctx context.Context, e event.Event) error {
	interaction, written, err := w.interaction(e)
	if err != nil {
		return err
	}
	done, err := effect.Do(ctx, w.ledger, key(interaction.Type, written), e,
		func(ctx context.Context, run *effect.Run) (marketing.Written, error) {
			return effect.Step(ctx, run, "interaction", effect.Write[marketing.Written]{
				Send: func(ctx context.Context) (marketing.Written, error) { return w.marketing.Write(ctx, interaction) },
				Probe: func(ctx context.Context) (marketing.Written, bool, error) {
					return w.marketing.Find(ctx, interaction.Type, interaction.SourceObject)
				},
				ProbeFirst: true, // the flow that closeloop replaces may have written it
			})
		})
	if err != nil {
		return err
	}
	written.InteractionId = done.Result.ID
	return w.bus.Follow(ctx, e.InLoop(done.LoopID), subjects.InteractionWritten, written)
}

// interaction says what is to be written for an event, and what is to be said when it was.
func (w *writer) interaction(e event.Event) (marketing.Interaction, *eventsv1.InteractionWritten, error) {
	switch m := e.Data.(type) {
	case *eventsv1.SurveyLinkCreated:
		i := w.linkInteraction(e, m)
		return i, &eventsv1.InteractionWritten{Kind: i.Type, RequestId: m.GetRequestId()}, named(i.Check(), map[string]string{
			"InteractionSourceObject": "campaign.outboundId",
		})
	case *eventsv1.SurveyResponseReceived:
		i := w.responseInteraction(e, m)
		return i, &eventsv1.InteractionWritten{Kind: i.Type, ResponseId: m.GetResponseId(), RequestId: m.GetRequestId()}, named(i.Check(), map[string]string{
			"InteractionSourceObject": "responseId", "InteractionSourceObjectAddlID": "surveyId", "InteractionContactId": "contact.externalId",
		})
	}
	return marketing.Interaction{}, nil, fault.New(fault.Invalid, "%s is not written to SAP Marketing Cloud", e.Type)
}

// named gives an error about a field of the interaction as one about the field of the event that it comes from.
func named(err error, fields map[string]string) error {
	if err == nil {
		return nil
	}
	f := *fault.From(err)
	f.Field = fields[f.Field]
	return &f
}

func (w *writer) linkInteraction(e event.Event, m *eventsv1.SurveyLinkCreated) marketing.Interaction {
	i := marketing.Interaction{
		Type: marketing.SurveyLinkCreated, At: e.Time, SourceObjectType: campaignOutbound,
		SourceObject: m.GetCampaign().GetOutboundId(), Link: m.GetLink(), Custom: map[string]string{},
	}
	if i.SourceObject == "" { // asked for by another system than a campaign
		i.SourceObject = m.GetRequestId()
	}
	for name, value := range w.settings.CustomFields {
		i.Custom[name] = strings.ReplaceAll(value, "{surveyId}", m.GetSurveyId())
	}
	return i
}

func (w *writer) responseInteraction(e event.Event, m *eventsv1.SurveyResponseReceived) marketing.Interaction {
	i := marketing.Interaction{
		Type: marketing.SurveyResponse, At: e.Time, SourceObjectType: marketing.SurveyResponse,
		SourceObject: m.GetResponseId(), AdditionalID: m.GetSurveyId(),
		ContactOrigin: w.settings.ContactOrigin, ContactID: m.GetContact().GetExternalId(),
		Medium: w.settings.Medium, ContentSubject: "Survey response " + m.GetResponseId(), Content: w.content(m),
	}
	if at := m.GetRecordedAt(); at.IsValid() {
		i.At = at.AsTime()
	}
	if score, err := strconv.ParseFloat(text(m.GetValues()[w.settings.ScoreField]), 64); err == nil && math.Abs(score) <= math.MaxInt16 {
		v := int16(math.Round(score))
		i.Sentiment = &v
	}
	return i
}

// content lists the answers, one a line.
func (w *writer) content(m *eventsv1.SurveyResponseReceived) string {
	var names []string
	for name := range m.GetValues() {
		if w.wanted(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var b strings.Builder
	for _, name := range names {
		value := text(m.GetLabels()[name])
		if value == "" {
			value = text(m.GetValues()[name])
		}
		fmt.Fprintf(&b, "%s: %s\n", name, value)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// technical are Qualtrics' own values beside the answers, and what is known of the recipient anyway
// (qualtrics.md §3.13).
var technical = []string{
	"startDate", "endDate", "recordedDate", "status", "finished", "progress", "duration", "distributionChannel",
	"userLanguage", "ipAddress", "locationLatitude", "locationLongitude", "externalDataReference",
	// Ours, which came back with the answer.
	"requestId", "loopId", "transactionExternalId",
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

func key(kind string, w *eventsv1.InteractionWritten) effect.Key {
	business := w.GetRequestId()
	if kind == marketing.SurveyResponse {
		business = w.GetResponseId()
	}
	return effect.Interaction(kind, business)
}

// known gives the interaction of a link or an answer that has one.
func (w *writer) known(ctx context.Context, m proto.Message) (proto.Message, bool) {
	interaction, written, err := w.interaction(event.Event{Data: m})
	if err != nil {
		return nil, false
	}
	result, ok := effect.Outcome[marketing.Written](ctx, w.ledger, key(interaction.Type, written))
	written.InteractionId = result.ID
	return written, ok
}
