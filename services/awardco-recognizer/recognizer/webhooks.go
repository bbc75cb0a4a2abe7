package recognizer

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/service"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
	"github.com/closeloop/closeloop/services/awardco-recognizer/webhook"
)

// indexed is what leads from Awardco's id back to a response.
type indexed struct {
	ResponseID string `json:"responseId"`
	LoopID     string `json:"loopId"`
}

// index keeps the way back from an id. The first word stays: an id is given once.
func index(ctx context.Context, l *effect.Ledger, recognitionID string, to indexed) error {
	if recognitionID == "" {
		return nil
	}
	return effect.Change(ctx, l, effect.RecognitionIndex(recognitionID), func(old indexed) (indexed, bool) {
		return to, old.ResponseID == ""
	})
}

// heard is that Awardco itself spoke of the recognition of a response: it was made.
type heard struct {
	RecognitionID string `json:"recognitionId"`
}

const (
	// webhookTimeout is how long taking a delivery may last: Awardco gives up after 3 seconds (awardco.md §3.9).
	webhookTimeout = 2500 * time.Millisecond
	// secondLook is when an id is looked up again that nobody knows: Awardco may tell of a recognition before its answer
	// to us has been recorded.
	secondLook = time.Second
)

// webhooks takes what Awardco tells about recognitions.
type webhooks struct {
	source   string
	settings *Settings
	secrets  []string
	publish  accept.Publisher
	ledger   *effect.Ledger
	counted  *prometheus.CounterVec
}

func webhookDoor(h *service.Host, s *Settings, ledger *effect.Ledger) error {
	w := &webhooks{source: h.Name, settings: s, publish: h.Bus, ledger: ledger}
	for _, secret := range s.WebhookSecrets {
		w.secrets = append(w.secrets, secret.Reveal())
	}
	w.counted = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "closeloop_awardco_webhooks_total",
		Help: "Deliveries of Awardco's webhook, by what became of them: published, repeated, other_event, unknown_recognition, unsigned, broken, failed.",
	}, []string{"outcome"})
	if err := h.Metrics.Register(w.counted); err != nil {
		return err
	}
	access := httpdoor.Open
	switch s.WebhookScheme {
	case schemeAPIKey:
		access = httpdoor.Guarded
	case schemeNone:
		h.Log.Warn("anybody may tell of approvals, because AWARDCO_WEBHOOK_SCHEME=none")
	}
	h.Door.Handle(http.MethodPost, "/awardco/webhooks", access, w.receive)
	return nil
}

// receive answers 200 once what follows is stored, and for what is of no interest.
func (w *webhooks) receive(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	outcome, err := w.take(ctx, r)
	w.counted.WithLabelValues(outcome).Inc()
	if err != nil {
		return nil, err
	}
	return &httpdoor.Response{Status: http.StatusOK, Body: map[string]string{"outcome": outcome}}, nil
}

func (w *webhooks) take(ctx context.Context, r *httpdoor.Request) (outcome string, err error) {
	at := time.Now().UTC()
	if w.settings.WebhookScheme == schemeAwardco {
		if at, err = webhook.Verify(r.Header, r.Body, w.secrets, at); err != nil {
			return "unsigned", httpdoor.Unauthorized(err.Error())
		}
	}
	d, err := webhook.Read(r.Body)
	if err != nil {
		return "broken", httpdoor.BadRequest(err.Error())
	}
	decision := w.settings.WebhookEvents[d.Event]
	to, ours, err := w.correlate(ctx, d, decision)
	switch {
	case err != nil:
		return "failed", unstored(err)
	case decision != webhook.Approved && decision != webhook.Declined:
		return "other_event", nil
	case !ours:
		return "unknown_recognition", nil
	}
	return w.decided(ctx, r, d, decision, to, at)
}

// correlate finds the response that a recognition was made for: by the id that Awardco gave it, else by our reference in
// what is told, which external recognitions and lost answers need.
func (w *webhooks) correlate(ctx context.Context, d webhook.Delivery, decision webhook.Decision) (indexed, bool, error) {
	to, known, err := w.indexed(ctx, d.RecognitionID)
	if err != nil || known {
		return to, known, err
	}
	for _, reference := range awardco.References(d.Data) {
		record, err := w.ledger.Look(ctx, effect.Recognition(reference))
		if errors.Is(err, effect.ErrNotFound) {
			continue // somebody else's tag
		}
		if err != nil {
			return indexed{}, false, err
		}
		to := indexed{reference, record.LoopID}
		return to, true, w.hear(ctx, d.RecognitionID, to)
	}
	if d.RecognitionID == "" || decision != webhook.Approved && decision != webhook.Declined {
		return indexed{}, false, nil
	}
	select {
	case <-time.After(secondLook):
	case <-ctx.Done():
	}
	return w.indexed(ctx, d.RecognitionID)
}

func (w *webhooks) indexed(ctx context.Context, recognitionID string) (indexed, bool, error) {
	if recognitionID == "" {
		return indexed{}, false, nil
	}
	return effect.Kept[indexed](ctx, w.ledger, effect.RecognitionIndex(recognitionID))
}

// hear keeps that a recognition was made, for a try whose answer was lost, and the way back from its id.
func (w *webhooks) hear(ctx context.Context, recognitionID string, to indexed) error {
	err := effect.Change(ctx, w.ledger, effect.RecognitionHeard(to.ResponseID), func(old heard) (heard, bool) {
		return heard{recognitionID}, old.RecognitionID == ""
	})
	if err != nil {
		return err
	}
	return index(ctx, w.ledger, recognitionID, to)
}

// decided publishes a decision, once however often it is told: duplicates, in whatever order, find it in the ledger.
func (w *webhooks) decided(ctx context.Context, r *httpdoor.Request, d webhook.Delivery, decision webhook.Decision, to indexed, at time.Time) (string, error) {
	subject, m := decisionOf(d, decision, to, at)
	e, err := event.New(w.source, subject, m)
	if err != nil {
		return "broken", err
	}
	e = accept.Trace(e, r).InLoop(to.LoopID)
	outcome := "repeated"
	publish := func(ctx context.Context) error {
		outcome = "published"
		_, err := w.publish.Publish(ctx, e)
		return err
	}
	key := effect.RecognitionDecision(cmp.Or(d.RecognitionID, to.ResponseID), string(decision))
	_, err = effect.Do(ctx, w.ledger, key, e, func(ctx context.Context, _ *effect.Run) (struct{}, error) {
		return struct{}{}, publish(ctx)
	})
	if fault.Is(err, fault.Busy) { // another replica is at the same delivery: storing it here too is harmless, its id is the same
		err = publish(ctx)
	}
	if err != nil {
		return "failed", unstored(err)
	}
	return outcome, nil
}

// reasonMax is the longest reason that the event takes.
const reasonMax = 1000

// decisionOf leaves out what nobody needs: giver, recipient and note stay in Awardco.
func decisionOf(d webhook.Delivery, decision webhook.Decision, to indexed, at time.Time) (subject string, m proto.Message) {
	if decision == webhook.Approved {
		return subjects.RecognitionApproved, &eventsv1.RecognitionApproved{
			ResponseId: to.ResponseID, RecognitionId: d.RecognitionID, Amount: d.Amount, DecidedAt: timestamppb.New(at),
		}
	}
	reason := d.Reason
	if utf8.RuneCountInString(reason) > reasonMax {
		reason = string([]rune(reason)[:reasonMax-1]) + "…"
	}
	return subjects.RecognitionDeclined, &eventsv1.RecognitionDeclined{
		ResponseId: to.ResponseID, RecognitionId: d.RecognitionID, Reason: reason, DecidedAt: timestamppb.New(at),
	}
}

// unstored asks for the delivery to be repeated.
func unstored(err error) error {
	if fault.Is(err, fault.Invalid) {
		return err
	}
	return httpdoor.Unavailable("it could not be stored; sending it again is safe", 5*time.Second)
}
