package recognizer

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
	"github.com/closeloop/closeloop/services/awardco-recognizer/webhook"
)

// heard is that Awardco itself spoke of the recognition of a response: it was made.
type heard struct {
	RecognitionID string `json:"recognitionId"`
}

// webhookTimeout is how long taking a delivery may last: Awardco gives up after 3 seconds (awardco.md §3.9).
const webhookTimeout = 2500 * time.Millisecond

// webhooks takes what Awardco tells about recognitions.
type webhooks struct {
	*decisions
	settings *Settings
	counted  *prometheus.CounterVec
}

func webhookDoor(h *service.Host, s *Settings, d *decisions) error {
	w := &webhooks{decisions: d, settings: s}
	w.counted = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "closeloop_awardco_webhooks_total",
		Help: "Deliveries of Awardco's webhook, by what became of them: published, repeated, other_event, unknown_recognition (kept until the id is known), unsigned, broken, failed.",
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
		if at, err = webhook.Verify(r.Header, r.Body, w.settings.WebhookSecrets.Reveal(), at); err != nil {
			return "unsigned", httpdoor.Unauthorized(err.Error())
		}
	}
	d, err := webhook.Read(r.Body)
	if err != nil {
		return "broken", httpdoor.BadRequest(err.Error())
	}
	to, ours, err := w.correlate(ctx, d)
	if err != nil {
		return "failed", unstored(err)
	}
	decision := w.settings.WebhookEvents[d.Event]
	if decision != webhook.Approved && decision != webhook.Declined {
		return "other_event", nil
	}
	said := toldOf(d, decision, at)
	if !ours {
		if to, ours, err = w.keep(ctx, d.RecognitionID, said); err != nil {
			return "failed", unstored(err)
		}
	}
	if !ours {
		return "unknown_recognition", nil
	}
	return w.decided(ctx, r, d.RecognitionID, said, to)
}

// correlate finds the response that a recognition was made for: by the id that Awardco gave it, else by our reference in
// what is told, which external recognitions and lost answers need.
func (w *webhooks) correlate(ctx context.Context, d webhook.Delivery) (indexed, bool, error) {
	to, known, err := w.indexed(ctx, d.RecognitionID)
	if err != nil || known {
		return to, known, err
	}
	for _, reference := range awardco.References(d.Data) {
		if len(reference) > referenceMax {
			continue
		}
		record, err := w.ledger.Look(ctx, effect.Recognition(reference))
		if errors.Is(err, effect.ErrNotFound) || record.State == effect.Erased {
			continue // somebody else's tag, or of a person who was forgotten
		}
		if err != nil {
			return indexed{}, false, err
		}
		to := indexed{reference, record.LoopID}
		return to, true, w.hear(ctx, d.RecognitionID, to)
	}
	return indexed{}, false, nil
}

// referenceMax is more than the id of any response: what is longer is no tag of ours, and would not do as a key.
const referenceMax = 200

// hear keeps that a recognition was made, for a try whose answer was lost, and the way back from its id.
func (w *webhooks) hear(ctx context.Context, recognitionID string, to indexed) error {
	err := effect.Change(ctx, w.ledger, effect.RecognitionHeard(to.ResponseID), func(old heard) (heard, bool) {
		return heard{recognitionID}, old.RecognitionID == ""
	})
	if err != nil {
		return err
	}
	if err := index(ctx, w.ledger, recognitionID, to); err != nil {
		return err
	}
	return w.catchUp(ctx, recognitionID, to)
}

// decided publishes a decision that was just told.
func (w *webhooks) decided(ctx context.Context, r *httpdoor.Request, recognitionID string, said told, to indexed) (string, error) {
	e, err := w.event(recognitionID, said, to)
	if err != nil {
		return "broken", err
	}
	published, err := w.once(ctx, recognitionID, said, to, accept.Trace(e, r))
	switch {
	case err != nil:
		return "failed", unstored(err)
	case !published:
		return "repeated", nil
	}
	return "published", nil
}

// unstored asks for the delivery to be repeated, unless that cannot help.
func unstored(err error) error {
	if fault.Is(err, fault.Invalid) || fault.Is(err, fault.Erased) {
		return err
	}
	return httpdoor.Unavailable("it could not be stored; sending it again is safe", 5*time.Second)
}
