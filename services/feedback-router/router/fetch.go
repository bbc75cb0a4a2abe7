package router

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/rules"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

type router struct {
	settings  *Settings
	bus       *bus.Bus
	ledger    *effect.Ledger
	qualtrics *qualtrics.Client
	rules     *rules.Live
	log       *slog.Logger
	// unstated warns, once, of responses without a status.
	unstated sync.Once
	// sweep is nil where it is off.
	sweep *sweeper
}

// fetch reads the answer and publishes it. While Qualtrics says "not yet" the event comes back later.
func (r *router) fetch(ctx context.Context, e event.Event, m *eventsv1.SurveyResponseNotified) error {
	_, err := effect.Do(ctx, r.ledger, effect.Received(m.GetResponseId()), e, func(ctx context.Context, _ *effect.Run) (published, error) {
		response, err := r.qualtrics.Response(ctx, m.GetSurveyId(), m.GetResponseId())
		if err != nil {
			return published{}, err
		}
		if !response.Stated() {
			r.unstated.Do(func() {
				r.log.Warn("Qualtrics gives no status with its responses: those that are finished are taken for normal ones, also previews and tests")
			})
		}
		if kind := response.Status(); !slices.Contains(r.settings.Statuses, kind) {
			// Previews, tests, imports and spam (qualtrics.md §3.13) are no customer's answer.
			r.log.Info("response ignored: not a normal one", "status", kind, "loopId", e.LoopID)
			return published{}, nil
		}
		received, err := r.received(m, response)
		if err != nil {
			return published{}, err
		}
		follows, err := event.After(e.InLoop(r.loopOf(response, received)), topology.FeedbackRouter, subjects.SurveyResponseReceived, received)
		if err != nil {
			return published{}, err
		}
		return published{EventID: follows.ID}, r.bus.Emit(ctx, follows)
	})
	return err
}

// noteReceived remembers a response that came with its answers, so that its notification is not fetched any more.
func (r *router) noteReceived(ctx context.Context, e event.Event, m *eventsv1.SurveyResponseReceived) error {
	_, err := effect.Do(ctx, r.ledger, effect.Received(m.GetResponseId()), e, func(context.Context, *effect.Run) (published, error) {
		return published{EventID: e.ID}, nil
	})
	if fault.Is(err, fault.Busy) {
		return nil // whoever holds it is publishing this very response
	}
	return err
}

// received makes the event of a fetched answer.
func (r *router) received(m *eventsv1.SurveyResponseNotified, response *qualtrics.Response) (*eventsv1.SurveyResponseReceived, error) {
	values, err := toValues(response.Values)
	if err != nil {
		return nil, fault.New(fault.Refused, "the answer's values cannot be read: %w", err)
	}
	labels, err := toValues(response.Labels)
	if err != nil {
		return nil, fault.New(fault.Refused, "the answer's labels cannot be read: %w", err)
	}
	received := &eventsv1.SurveyResponseReceived{
		SurveyId: m.GetSurveyId(), ResponseId: m.GetResponseId(), Values: values, Labels: labels,
		RequestId: requestOf(text(response.Values[r.settings.RequestIDField]), m.GetContext()),
		Contact: &eventsv1.ContactRef{
			ExternalId: text(response.Values["externalDataReference"]), Email: text(response.Values["recipientEmail"]),
		},
	}
	if at, err := time.Parse(time.RFC3339, text(response.Values["recordedDate"])); err == nil {
		received.RecordedAt = timestamppb.New(at)
	}
	return received, nil
}

// requestOf gives the request that an answer belongs to: what travelled with the transaction, else what the survey put
// into ResponseEventContext (qualtrics.md §1.3, rule 9). What is too long for a request id is something else under its
// name; the answer counts all the same.
func requestOf(candidates ...string) string {
	for _, id := range candidates {
		if n := utf8.RuneCountInString(id); n > 0 && n <= maxRequestID {
			return id
		}
	}
	return ""
}

// maxRequestID is the length that survey.link.requested allows.
const maxRequestID = 50

// loopOf finds the loop that an answer belongs to: the one that travelled with the transaction, else the one that a
// request of that id began.
func (r *router) loopOf(response *qualtrics.Response, received *eventsv1.SurveyResponseReceived) string {
	if loop := text(response.Values[r.settings.LoopIDField]); loop != "" {
		return loop
	}
	if id := received.GetRequestId(); id != "" {
		return event.IDOf(subjects.SurveyLinkRequested, id)
	}
	return ""
}

func toValues(m map[string]any) (map[string]*structpb.Value, error) {
	values := make(map[string]*structpb.Value, len(m))
	for name, v := range m {
		value, err := structpb.NewValue(v)
		if err != nil {
			return nil, err
		}
		values[name] = value
	}
	return values, nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
