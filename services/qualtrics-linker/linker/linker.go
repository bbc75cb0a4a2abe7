// Package linker is the service qualtrics-linker: requests for survey links in, personal links out, one for each
// request.
package linker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/service"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// maxRequests is how many invitations one call may ask for; more would not fit the door's body limit.
const maxRequests = 1000

// bodyLimit of a list of them, each of which becomes a message of its own.
const bodyLimit = 4 << 20

// Settings of qualtrics-linker.
type Settings struct {
	service.Common
	qualtrics.Settings
	DirectoryID     string        `envconfig:"QUALTRICS_DIRECTORY_ID" required:"true" desc:"XM Directory: POOL_…"`
	MailingListID   string        `envconfig:"QUALTRICS_MAILING_LIST_ID" desc:"mailing list of requests that name none: CG_…"`
	SurveyID        string        `envconfig:"QUALTRICS_SURVEY_ID" desc:"survey of requests that name none: SV_…"`
	LinkLifetime    time.Duration `envconfig:"QUALTRICS_LINK_LIFETIME" default:"1440h" desc:"how long links of requests that name no expiry are valid (60 days is Qualtrics' own default)"`
	HonourFrequency bool          `envconfig:"QUALTRICS_HONOUR_FREQUENCY" default:"true" desc:"suppress invitations to people who were asked too often (exceededContactFrequency)"`
	Parallel        int           `envconfig:"QUALTRICS_PARALLEL" default:"8" desc:"invitations made one by one at a time"`
	Bulk            bool          `envconfig:"QUALTRICS_BULK" default:"true" desc:"gather requests that come together and make them with one import; false makes each with five calls"`
	BulkFrom        int           `envconfig:"QUALTRICS_BULK_FROM" default:"3" desc:"from how many requests on an import is made of them"`
	BulkMax         int           `envconfig:"QUALTRICS_BULK_MAX" default:"10000" desc:"most requests of one import, at most 10,000"`
	GatherQuiet     time.Duration `envconfig:"QUALTRICS_GATHER_QUIET" default:"250ms" desc:"the gathering ends when no request has come for so long"`
	GatherWait      time.Duration `envconfig:"QUALTRICS_GATHER_WAIT" default:"5s" desc:"the gathering ends at the latest after so long"`
	BulkPhone       string        `envconfig:"QUALTRICS_BULK_PHONE" default:"leave-out" desc:"an import takes no phone number: leave-out leaves it out, direct makes requests that have one by themselves, with five calls"`
}

// What becomes of phone numbers, which an import does not take (qualtrics.md §3.5).
const (
	phoneLeaveOut = "leave-out"
	phoneDirect   = "direct"
)

// waveTimeout is how long the making of one wave may take; one that takes longer goes on where it stopped.
const waveTimeout = 15 * time.Minute

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	if s.Parallel < 1 || s.LinkLifetime <= 0 {
		return fmt.Errorf("QUALTRICS_PARALLEL and QUALTRICS_LINK_LIFETIME must be above 0")
	}
	if s.BulkFrom < 2 || s.BulkMax < s.BulkFrom || s.BulkMax > qualtrics.MaxImportRows {
		return fmt.Errorf("QUALTRICS_BULK_FROM must be at least 2, QUALTRICS_BULK_MAX between that and %d", qualtrics.MaxImportRows)
	}
	if s.GatherQuiet <= 0 || s.GatherWait < s.GatherQuiet {
		return fmt.Errorf("QUALTRICS_GATHER_QUIET must be above 0, QUALTRICS_GATHER_WAIT not below it")
	}
	if s.BulkPhone != phoneLeaveOut && s.BulkPhone != phoneDirect {
		return fmt.Errorf("QUALTRICS_BULK_PHONE must be %s or %s", phoneLeaveOut, phoneDirect)
	}
	return nil
}

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.QualtricsLinker,
		Doc: "Takes survey.link.requested, makes contact, transaction, batch, distribution and personal link in Qualtrics, and " +
			"publishes survey.link.created or survey.link.suppressed. POST /survey/links takes requests from your own systems, " +
			"GET /survey/links/{requestId} tells what became of one. Takes survey.erasure.requested, has Qualtrics forget the person, " +
			"and publishes survey.erasure.completed.",
		Settings: s,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

func start(h *service.Host, s *Settings) error {
	client, err := s.Client(qualtrics.ClientOptions{DirectoryID: s.DirectoryID, Limiter: h.Limiter(qualtrics.Vendor, s.Limits()), Registerer: h.Metrics, Log: h.Log})
	if err != nil {
		return err
	}
	outcomes, err := h.Outcomes()
	if err != nil {
		return err
	}
	startup, err := client.Startup(h.Log, h.Metrics)
	if err != nil {
		return err
	}
	h.Door.AddCheck(h.Name+" Qualtrics", nil, startup.Ready)
	h.Go("Qualtrics start-up", startup.Run)
	l := &linker{settings: s, bus: h.Bus, log: h.Log, ledger: h.Ledger(), qualtrics: client, startup: startup}
	accepting := &accept.Events{Source: h.Name, Bus: h.Bus, Outcomes: outcomes, Known: l.known, Ledger: l.ledger, Effect: effectOf}
	const route = "/survey/links"
	h.Door.Handle(http.MethodPost, route, httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		requests, err := httpdoor.DecodeMany[*eventsv1.SurveyLinkRequested](r, nil, maxRequests)
		if err != nil {
			return nil, err
		}
		many := bytes.HasPrefix(bytes.TrimSpace(r.Body), []byte("["))
		if err := l.check(requests, many); err != nil {
			return nil, err
		}
		if many {
			return accept.Many(ctx, accepting, r, subjects.SurveyLinkRequested, requests)
		}
		return accepting.One(ctx, r, subjects.SurveyLinkRequested, requests[0])
	}, httpdoor.BodyLimit(bodyLimit))
	h.Door.Handle(http.MethodGet, route+"/{requestId}", httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		return l.look(ctx, r.Param("requestId"))
	})
	h.Handle(bus.Consumer{
		Handle: l.handle, Parallel: s.Parallel, Waves: l.waves(),
		Vendors: []bus.Vendor{{Name: qualtrics.Vendor, Reach: client.Reach}},
	})
	return nil
}

// waves gathers requests for imports; nil where that is switched off.
func (l *linker) waves() *bus.Waves {
	s := l.settings
	if !s.Bulk {
		return nil
	}
	return &bus.Waves{
		Key: l.waveKey, Handle: l.handleMany, Max: s.BulkMax, Few: s.BulkFrom, Quiet: s.GatherQuiet, Wait: s.GatherWait, Timeout: waveTimeout,
		Before: moreUrgent,
	}
}

type linker struct {
	settings  *Settings
	bus       *bus.Bus
	log       *slog.Logger
	ledger    *effect.Ledger
	qualtrics *qualtrics.Client
	startup   *qualtrics.Startup
	lists     sync.Map // turns at each mailing list, by its id
	// oneByOne says that this brand takes no imports.
	oneByOne atomic.Bool
}

// handle makes the link of one request, or has a person forgotten.
func (l *linker) handle(ctx context.Context, e event.Event) error {
	if m, ok := e.Data.(*eventsv1.ErasureRequested); ok {
		return l.erase(ctx, e, m)
	}
	m, ok := e.Data.(*eventsv1.SurveyLinkRequested)
	if !ok {
		return notALink(e)
	}
	w, err := l.wanted(e, m)
	if err != nil {
		return err
	}
	j := &job{event: e, wanted: w}
	j.prepare()
	l.direct(ctx, []*job{j})
	return j.err
}

// single makes the link of one request by itself.
func (l *linker) single(ctx context.Context, e event.Event, w wanted) error {
	done, err := effect.Do(ctx, l.ledger, effect.Link(w.request.GetRequestId()), e, func(ctx context.Context, run *effect.Run) (made, error) {
		return l.make(ctx, run, w)
	})
	if err != nil {
		return err
	}
	return l.follow(ctx, e.InLoop(done.LoopID), done.Result)
}

func notALink(e event.Event) error {
	return fault.New(fault.Invalid, "%s does not ask for a link", e.Type)
}

// check refuses at the door what would end in the dead letters.
func (l *linker) check(requests []*eventsv1.SurveyLinkRequested, many bool) error {
	for i, m := range requests {
		_, err := l.wanted(event.Unchecked(topology.QualtricsLinker, subjects.SurveyLinkRequested, m), m)
		if err == nil {
			continue
		}
		f := *fault.From(err)
		if many {
			f.Field = fmt.Sprintf("[%d].%s", i, f.Field)
		}
		return &f
	}
	return nil
}

// wanted fills in from the settings what the request leaves out.
func (l *linker) wanted(e event.Event, m *eventsv1.SurveyLinkRequested) (wanted, error) {
	w := wanted{
		request: m, loopID: e.LoopID,
		surveyID:      cmp.Or(m.GetSurvey().GetSurveyId(), l.settings.SurveyID),
		mailingListID: cmp.Or(m.GetSurvey().GetMailingListId(), l.settings.MailingListID),
		// Counted from the event, so that a retry asks for the same.
		expiresAt: e.Time.Add(l.settings.LinkLifetime),
	}
	if at := m.GetSurvey().GetExpiresAt(); at.IsValid() {
		w.expiresAt = at.AsTime()
	}
	switch {
	case w.surveyID == "":
		return w, fault.At("survey.surveyId", "is empty and QUALTRICS_SURVEY_ID is not set")
	case w.mailingListID == "":
		return w, fault.At("survey.mailingListId", "is empty and QUALTRICS_MAILING_LIST_ID is not set")
	}
	var err error
	w.data, err = transactionData(w)
	return w, err
}

// effectOf names the link that a request asks for.
func effectOf(m proto.Message) effect.Key {
	wanted, _ := m.(*eventsv1.SurveyLinkRequested)
	return effect.Link(wanted.GetRequestId())
}

// known gives the outcome of a request that has one.
func (l *linker) known(ctx context.Context, m proto.Message) (proto.Message, bool) {
	wanted, ok := m.(*eventsv1.SurveyLinkRequested)
	if !ok {
		return nil, false
	}
	result, ok := effect.Outcome[made](ctx, l.ledger, effect.Link(wanted.GetRequestId()))
	if !ok {
		return nil, false
	}
	follows, err := result.message()
	return follows, err == nil
}

// Status is what GET /survey/links/{requestId} answers while there is no link.
type Status struct {
	RequestID string       `json:"requestId"`
	State     effect.State `json:"state"`
	// Reason for a request that was refused or waits for a person.
	Reason string `json:"reason,omitempty"`
}

// look tells what became of a request: 200 with the link or why there is none, 202 while it is being made, 404 when it
// is not known (yet), 410 when its person was forgotten.
func (l *linker) look(ctx context.Context, requestID string) (*httpdoor.Response, error) {
	record, err := l.ledger.Look(ctx, effect.Link(requestID))
	if errors.Is(err, effect.ErrNotFound) {
		return nil, httpdoor.NotFound("no link was asked for under this requestId, or its turn has not come yet")
	}
	if err != nil {
		return nil, httpdoor.Unavailable("the ledger cannot be read now", 5*time.Second)
	}
	switch record.State {
	case effect.Confirmed:
		result, err := effect.ResultOf[made](record)
		if err != nil {
			return nil, err
		}
		body, err := result.message()
		return &httpdoor.Response{Status: http.StatusOK, Body: body}, err
	case effect.Erased:
		return nil, httpdoor.Gone("whoever was invited under this requestId was forgotten")
	case effect.Rejected:
		return &httpdoor.Response{Status: http.StatusOK, Body: Status{requestID, record.State, record.Reason}}, nil
	default:
		return &httpdoor.Response{Status: http.StatusAccepted, Body: Status{requestID, record.State, record.Reason}}, nil
	}
}
