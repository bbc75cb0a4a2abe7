package awardco

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// DeliveryState is how a delivery stands.
type DeliveryState string

// The states of a delivery.
const (
	Queued    DeliveryState = "queued"
	Delivered DeliveryState = "delivered"
	GivenUp   DeliveryState = "given up"
	Lost      DeliveryState = "lost" // never sent, because of a switch
)

// Delivery is one event on its way to one webhook.
type Delivery struct {
	ID            string        `json:"id"`
	Webhook       int           `json:"webhook"` // its place in the settings
	Event         string        `json:"event"`
	RecognitionID string        `json:"recognitionId"`
	Body          string        `json:"body"`
	State         DeliveryState `json:"state"`
	Attempts      int           `json:"attempts"`
	LastStatus    int           `json:"lastStatus"` // 0: no answer
	DueAt         time.Time     `json:"dueAt"`
}

const (
	webhookTimeout = 3 * time.Second // awardco.md §3.9
	webhooksAtOnce = 4
)

// event is the body of a webhook (awardco.md §3.9; the names within data are assumed).
type event struct {
	CompanyID   string    `json:"companyId"`
	CompanyName string    `json:"companyName"`
	EventType   string    `json:"eventType"`
	Data        eventData `json:"data"`
}

type eventData struct {
	RecognitionID string `json:"recognitionId"`
	Giver         string `json:"giver"`
	Recipient     string `json:"recipient"`
	Points        int    `json:"points"`
	Note          string `json:"note"`
	Program       string `json:"program"`
	Reason        string `json:"reason,omitempty"`
}

// announce queues an event about a recognition for every webhook, with the copies, delays and losses of the settings. A
// recognition of several people is told once for each.
func (s *Simulator) announce(name string, r Recognition) error {
	for _, recipient := range r.Recipients {
		body, err := json.Marshal(event{"C-100", "Simulated Company", name, eventData{
			r.ID, r.Giver, recipient, r.Amount, r.Note, r.Program, r.Reason,
		}})
		if err != nil {
			return err
		}
		for n := range s.settings.Webhooks {
			if err := s.queue(Delivery{Webhook: n, Event: name, RecognitionID: r.ID, Body: string(body), State: Queued}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Simulator) queue(d Delivery) error {
	number := s.nextDelivery()
	d.DueAt = time.Now().UTC() // the real time: a test's clock must not hold deliveries up
	if number%2 == 1 {
		d.DueAt = d.DueAt.Add(s.settings.WebhookLag)
	}
	if every := s.settings.LoseEveryWebhook; every > 0 && number%uint64(every) == 0 {
		d.State = Lost
	}
	for copied := range 1 + s.settings.WebhookCopies {
		d.ID = fmt.Sprintf("WH-%d.%d", number, copied)
		if err := s.settle(d); err != nil {
			return err
		}
	}
	return nil
}

// settle writes how a delivery stands, and puts it on the agenda while it waits.
func (s *Simulator) settle(d Delivery) error {
	if err := s.deliveries.Put(d.ID, d); err != nil {
		return err
	}
	if d.State == Queued {
		s.outbox.Put(d.ID, d.DueAt)
	}
	return nil
}

// resume puts what an earlier run left on the agenda again.
func (s *Simulator) resume() {
	for _, d := range s.deliveries.Find(func(d Delivery) bool { return d.State == Queued && d.Webhook < len(s.settings.Webhooks) }) {
		s.outbox.Put(d.ID, d.DueAt)
	}
}

// Run sends the webhook's events until ctx ends. What is not delivered by then is sent by the next Run, after a restart
// too.
func (s *Simulator) Run(ctx context.Context) error {
	s.outbox.Run(ctx, webhooksAtOnce, s.deliver)
	return nil
}

// deliver makes one attempt. One that the end of Run cuts off does not count.
func (s *Simulator) deliver(ctx context.Context, id string) {
	d, _ := s.deliveries.Get(id)
	status := s.send(ctx, s.settings.Webhooks[d.Webhook], d)
	if ctx.Err() == nil || status == http.StatusOK {
		d.Attempts++
		d.LastStatus = status
		switch {
		case status == http.StatusOK:
			d.State = Delivered
		case d.Attempts >= s.settings.WebhookAttempts:
			d.State = GivenUp
			s.log.Warn("awardco simulator: a delivery was given up", slog.String("event", d.Event), slog.Int("status", status))
		default:
			d.DueAt = time.Now().UTC().Add(s.settings.WebhookRetry)
		}
	}
	if err := s.settle(d); err != nil {
		s.log.Error("books not kept", "error", err)
	}
}

// send gives the status of the answer, 0 where there was none within three seconds.
func (s *Simulator) send(ctx context.Context, to Webhook, d Delivery) int {
	ctx, cancel := context.WithTimeout(ctx, webhookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to.URL, strings.NewReader(d.Body))
	if err != nil {
		return 0
	}
	request.Header.Set("Content-Type", "application/json")
	switch to.Scheme {
	case Signed:
		stamp := strconv.FormatInt(time.Now().Unix(), 10)
		request.Header.Set("Awardco-Timestamp", stamp)
		request.Header.Set("Awardco-Signature", signature(to.Secret, stamp, d.Body))
	case APIKey:
		request.Header.Set("X-API-Key", to.Secret)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// signature is base64(HMAC-SHA256(secret, timestamp + "." + body)) (awardco.md §3.9).
func signature(secret, stamp, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = mac.Write([]byte(stamp + "." + body)) // a hash takes everything
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
