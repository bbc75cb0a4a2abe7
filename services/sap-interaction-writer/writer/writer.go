// Package writer is the service sap-interaction-writer: survey links and answers in, interactions and survey responses
// in SAP Marketing Cloud out, each exactly once and many in a call.
package writer

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/quota"
	"github.com/closeloop/closeloop/pkg/service"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/marketing"
)

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.SAPInteractionWriter,
		Doc: "Takes survey.link.created and survey.response.received, writes one interaction or survey response for each to SAP " +
			"Marketing Cloud, many in a call, and publishes interaction.written. POST /sap/interactions takes the same events from " +
			"your own systems.",
		Settings: s,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

const vendor = "sap-marketing"

func start(h *service.Host, s *Settings) error {
	client, err := connect(h, s)
	if err != nil {
		return err
	}
	outcomes, err := h.Outcomes()
	if err != nil {
		return err
	}
	w := &writer{settings: s, bus: h.Bus, ledger: h.Ledger(), marketing: client, log: h.Log, missing: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "closeloop_marketing_distribution_missing_total",
		Help: "Links that were given up because SAP Marketing Cloud never wrote SURVEY_DISTRIBUTION.",
	})}
	if err := h.Metrics.Register(w.missing); err != nil {
		return err
	}
	accepting := &accept.Events{Source: h.Name, Bus: h.Bus, Outcomes: outcomes, Known: w.known}
	h.Door.Handle(http.MethodPost, "/sap/interactions", httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		subject, m := kindOf(r)
		if err := httpdoor.Decode(r, m, nil); err != nil {
			return nil, err
		}
		if _, err := w.task(event.Event{Data: m}); err != nil {
			return nil, err
		}
		return accepting.One(ctx, r, subject, m)
	})
	h.Handle(bus.Consumer{Handle: w.handle, Parallel: s.Parallel, Waves: &bus.Waves{
		Key: w.wave, Handle: w.handleWave, Max: s.Wave, Few: 2, Quiet: s.WaveQuiet, Wait: s.WaveWait,
	}, Vendors: []bus.Vendor{{Name: vendor, Reach: client.Reach}}})
	return nil
}

// connect opens a session for each service of the tenant that is written to.
func connect(h *service.Host, s *Settings) (*marketing.Client, error) {
	calls, err := outbound.New(outbound.Options{
		Vendor: vendor, BaseURL: s.BaseURL, Parallel: s.Parallel, Registerer: h.Metrics, Log: h.Log,
		Limiter: h.Limiter(vendor, quota.Limits{Parallel: s.Parallel, PerMinute: s.PerMinute}),
	})
	if err != nil {
		return nil, fmt.Errorf("SAP_MARKETING_BASE_URL: %w", err)
	}
	o := marketing.Options{
		Mode: marketing.WriteMode(s.WriteMode), PerCall: s.PerCall, NoBatch: !s.Batch, IDsPerFilter: s.IDsPerFilter,
		Form: marketing.Form{WrappedArrays: s.Arrays == "results", Ticks: s.Dates == "ticks"},
		Survey: marketing.Survey{
			Set: s.SurveySet, Wrapped: s.SurveyWrapped, Provider: s.SurveyProvider, Definitions: s.surveys, Language: s.SurveyLanguage,
			MarketingArea: s.SurveyArea, QuestionType: s.QuestionType, RefuseLong: s.LongAnswers == "refuse",
			Repeats: marketing.Repeats(s.RepeatedResponse),
		},
	}
	for _, one := range []struct {
		variable, root string
		into           **odata.Client
	}{
		{"", marketing.InteractionService, &o.Interactions},
		{"SAP_MARKETING_CONTACT_SERVICE", s.ContactService, &o.Contacts},
		{"SAP_MARKETING_SURVEY_SERVICE", s.SurveyService, &o.Surveys},
	} {
		*one.into, err = odata.New(odata.Options{
			Outbound: calls, ServiceRoot: one.root, Username: s.Username, Password: s.Password, BatchLimit: s.BatchLimit,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.variable, err)
		}
	}
	return marketing.New(o), nil
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
	log       *slog.Logger
	missing   prometheus.Counter
	alarmed   sync.Map // campaigns that people were told of
}

// wave gathers what goes into the same calls: a deep insert of responses begins at their survey.
func (w *writer) wave(e event.Event) string {
	if m, ok := e.Data.(*eventsv1.SurveyResponseReceived); ok && w.settings.Responses == responsesAsSurvey {
		return "survey " + m.GetSurveyId()
	}
	return "interactions"
}

func (w *writer) handle(ctx context.Context, e event.Event) error {
	return w.handleWave(ctx, []event.Event{e})[0]
}

// followers is how many events are published at a time.
const followers = 32

// handleWave writes what the events ask for and says of each that it is written.
func (w *writer) handleWave(ctx context.Context, wave []event.Event) []error {
	errs := make([]error, len(wave))
	var tasks []task
	var of []int // the event of each task
	for i, e := range wave {
		t, err := w.task(e)
		if errs[i] = err; err == nil && !t.nothing {
			tasks, of = append(tasks, t), append(of, i)
		}
	}
	var following errgroup.Group
	following.SetLimit(followers)
	for n, o := range w.write(ctx, tasks) {
		if o.Err != nil {
			errs[of[n]] = o.Err
			continue
		}
		following.Go(func() error {
			tasks[n].written.InteractionId = o.Result.ID
			errs[of[n]] = w.bus.Follow(ctx, tasks[n].event.InLoop(o.LoopID), subjects.InteractionWritten, tasks[n].written)
			return nil
		})
	}
	_ = following.Wait() // each has its own error
	return errs
}

// write makes the effects of a wave, all of one kind.
func (w *writer) write(ctx context.Context, tasks []task) []effect.Ended[marketing.Written] {
	if len(tasks) == 0 {
		return nil
	}
	items := make([]effect.Item, len(tasks))
	for i, t := range tasks {
		items[i] = effect.Item{Key: t.key(), Cause: t.event}
	}
	if tasks[0].response != nil {
		return effect.DoMany(ctx, w.ledger, "survey response", items, w.responses(tasks))
	}
	return effect.DoMany(ctx, w.ledger, "interaction", items, w.interactions(tasks, items))
}

// known gives the outcome of a link or an answer that is written.
func (w *writer) known(ctx context.Context, m proto.Message) (proto.Message, bool) {
	t, err := w.task(event.Event{Data: m})
	if err != nil || t.nothing {
		return nil, false
	}
	result, ok := effect.Outcome[marketing.Written](ctx, w.ledger, t.key())
	t.written.InteractionId = result.ID
	return t.written, ok
}
