// Package linker is the service qualtrics-linker: requests for survey links in, personal links out, one for each
// request.
package linker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
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
	Parallel        int           `envconfig:"QUALTRICS_PARALLEL" default:"8" desc:"invitations made at a time"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	if s.Parallel < 1 || s.LinkLifetime <= 0 {
		return fmt.Errorf("QUALTRICS_PARALLEL and QUALTRICS_LINK_LIFETIME must be above 0")
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
			"GET /survey/links/{requestId} tells what became of one.",
		Settings: s,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

func start(h *service.Host, s *Settings) error {
	client, err := s.Client(qualtrics.ClientOptions{DirectoryID: s.DirectoryID, Registerer: h.Metrics, Log: h.Log})
	if err != nil {
		return err
	}
	outcomes, err := h.Outcomes()
	if err != nil {
		return err
	}
	l := &linker{settings: s, bus: h.Bus, ledger: h.Ledger(), qualtrics: client}
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
	h.Handle(bus.Consumer{Handle: l.handle, Parallel: s.Parallel})
	return nil
}

type linker struct {
	settings  *Settings
	bus       *bus.Bus
	ledger    *effect.Ledger
	qualtrics *qualtrics.Client
}

// handle makes the link of one request.
func (l *linker) handle(ctx context.Context, e event.Event) error {
	m, ok := e.Data.(*eventsv1.SurveyLinkRequested)
	if !ok {
		return fault.New(fault.Invalid, "%s does not ask for a link", e.Type)
	}
	w, err := l.wanted(e, m)
	if err != nil {
		return err
	}
	done, err := effect.Do(ctx, l.ledger, effect.Link(m.GetRequestId()), e, func(ctx context.Context, run *effect.Run) (made, error) {
		return l.make(ctx, run, w)
	})
	if err != nil {
		return err
	}
	follows, err := done.Result.message()
	if err != nil {
		return err
	}
	return l.bus.Follow(ctx, e.InLoop(done.LoopID), done.Result.Subject, follows)
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
// is not known (yet).
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
		result, err := effect.Result[made](record)
		if err != nil {
			return nil, err
		}
		body, err := result.message()
		return &httpdoor.Response{Status: http.StatusOK, Body: body}, err
	case effect.Rejected:
		return &httpdoor.Response{Status: http.StatusOK, Body: Status{requestID, record.State, record.Reason}}, nil
	default:
		return &httpdoor.Response{Status: http.StatusAccepted, Body: Status{requestID, record.State, record.Reason}}, nil
	}
}
