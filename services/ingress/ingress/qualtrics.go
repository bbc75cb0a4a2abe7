package ingress

import (
	"context"
	"errors"
	"net/http"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/ingress/subscription"
)

func (i *ingress) qualtricsDoors(door *httpdoor.Door) {
	const events, responses = "/qualtrics/events", "/qualtrics/responses"
	door.Handle(http.MethodGet, events, httpdoor.Open, ok) // Qualtrics' health ping (qualtrics.md §3.10)
	switch {
	case i.settings.SharedKey.IsSet():
		door.Handle(http.MethodPost, events, httpdoor.Open, i.notified) // the signature is the credential
	case i.settings.Unsigned:
		door.Handle(http.MethodPost, events, httpdoor.Guarded, i.notified)
	default:
		door.Handle(http.MethodPost, events, httpdoor.Open, unsignedRefused)
	}
	door.Handle(http.MethodPost, responses, httpdoor.Guarded, i.received)
}

// unsignedRefused answers events as long as nobody has said how they are to be trusted: unsigned, anybody who knows the
// address can make them up (qualtrics.md §3.10).
func unsignedRefused(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
	return nil, httpdoor.Unauthorized("events of Qualtrics are not taken here: set QUALTRICS_SHARED_KEY to the key of the subscription, " +
		"or QUALTRICS_UNSIGNED_EVENTS=true for one without")
}

// notified takes an event of the subscription. Only completed responses are stored; the others are answered well, so
// that Qualtrics does not send them again.
func (i *ingress) notified(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if r.ContentType != "application/x-www-form-urlencoded" {
		return nil, httpdoor.NewProblem(http.StatusUnsupportedMediaType, "Qualtrics sends its events as application/x-www-form-urlencoded")
	}
	n, err := subscription.Parse(r.Body, i.settings.SharedKey.Reveal())
	if errors.Is(err, subscription.ErrSignature) {
		return nil, httpdoor.Unauthorized("the event is not signed with the shared key of this subscription")
	}
	if err != nil {
		return nil, err
	}
	if !n.Completed() {
		i.ignored.WithLabelValues(n.Kind()).Inc()
		return &httpdoor.Response{Status: http.StatusOK, Body: map[string]string{"ignored": "only completed responses are of interest"}}, nil
	}
	if err := n.Check(); err != nil {
		return nil, err
	}
	n = n.Clean()
	m := &eventsv1.SurveyResponseNotified{
		SurveyId: n.SurveyID, ResponseId: n.ResponseID, RecipientId: n.RecipientID,
		DistributionId: n.DistributionID, Context: n.ResponseEventContext,
	}
	if at, err := time.Parse(time.DateTime, n.CompletedDate); err == nil && at.Year() > 0 { // an event can say no year 0
		m.CompletedAt = timestamppb.New(at)
	}
	e, err := event.New(i.accepting.Source, subjects.SurveyResponseNotified, m)
	if err != nil {
		return nil, subscription.Renamed(err)
	}
	e = accept.Trace(e, r).InLoop(loopOf(n.ResponseEventContext))
	asked, cancel := context.WithTimeout(ctx, noticeTimeout)
	defer cancel()
	answer, before, err := i.once(asked, effect.Notified(n.ResponseID), e)
	switch {
	case errors.Is(err, errUnconfirmed): // perhaps the ledger alone is away, and Qualtrics may never deliver it again
		return i.stored(ctx, e)
	case before:
		i.repeated.Inc()
	}
	return answer, err
}

// received takes a response with its answers, from a web service task. Qualtrics repeats it for up to 24 hours, and the
// subscription tells of the same response: one event comes of them all.
func (i *ingress) received(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	m := &eventsv1.SurveyResponseReceived{}
	if err := httpdoor.Decode(r, m, i.fields["/qualtrics/responses"]); err != nil {
		return nil, err
	}
	e, err := event.New(i.accepting.Source, subjects.SurveyResponseReceived, m)
	if err != nil {
		return nil, err
	}
	loop := m.GetValues()["loopId"].GetStringValue() // travelled with the transaction
	if loop == "" {
		loop = loopOf(m.GetRequestId())
	}
	answer, _, err := i.once(ctx, effect.Received(m.GetResponseId()), accept.Trace(e, r).InLoop(loop))
	if errors.Is(err, errUnconfirmed) {
		return nil, httpdoor.Unavailable("it could not be confirmed as stored; sending it again is safe", 5*time.Second)
	}
	return answer, err
}

// once stores an event unless it was stored before, however long ago: JetStream itself knows a repeat for two minutes
// only. The answer is the same either way; before tells which. The error may be errUnconfirmed.
func (i *ingress) once(ctx context.Context, key effect.Key, e event.Event) (answer *httpdoor.Response, before bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	before = true
	done, err := effect.Do(ctx, i.ledger, key, e, func(ctx context.Context, _ *effect.Run) (published, error) {
		before = false
		_, err := i.accepting.Bus.Publish(ctx, e)
		return published{EventID: e.ID}, err
	})
	switch {
	case err == nil:
		return accepted(accept.Receipt{ID: e.ID, LoopID: done.LoopID}), before, nil
	case fault.Is(err, fault.Busy):
		// Somebody else is storing it at this moment: another delivery of it, or feedback-router, which has fetched this very
		// response. Storing it here as well is harmless: it has the same id.
		answer, err = i.stored(ctx, e)
		return answer, false, err
	case contractual(err), fault.Is(err, fault.Erased):
		return nil, false, err
	}
	return nil, false, errUnconfirmed
}

// errUnconfirmed says that it is not known whether an event is stored; to store it again is safe.
var errUnconfirmed = errors.New("it could not be confirmed as stored")

const (
	// storeTimeout is how long storing may take: Qualtrics gives up on a task after 16 seconds (qualtrics.md §3.11).
	storeTimeout = 5 * time.Second
	// noticeTimeout is that of the ledger for a notification, which is stored without it then: after 10 seconds Qualtrics may
	// have given up (qualtrics.md §9, row 10).
	noticeTimeout = 3 * time.Second
)

func contractual(err error) bool {
	_, broken := contract.AsViolations(err)
	return broken || fault.Is(err, fault.Invalid)
}

func (i *ingress) stored(ctx context.Context, e event.Event) (*httpdoor.Response, error) {
	receipts, err := i.accepting.Store(ctx, []event.Event{e})
	if err != nil {
		return nil, err
	}
	return accepted(receipts[0]), nil
}

func accepted(r accept.Receipt) *httpdoor.Response {
	return &httpdoor.Response{Status: http.StatusAccepted, Body: r}
}

// loopOf gives the loop that a request began at a door. Surveys carry the request id in ResponseEventContext
// (qualtrics.md §1.3, rule 9), so that even the notification is told to its loop.
func loopOf(requestID string) string {
	if requestID == "" {
		return ""
	}
	return event.IDOf(subjects.SurveyLinkRequested, requestID)
}
