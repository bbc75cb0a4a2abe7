package qualtrics

import (
	"context"
	"net/http"
	"slices"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// CompletedResponses is the topic of completed responses of a survey, or of all surveys for "*" (qualtrics.md §3.9).
func CompletedResponses(surveyID string) string { return "surveyengine.completedResponse." + surveyID }

// Subscription is an event subscription. Its shared key cannot be read (qualtrics.md §3.9).
type Subscription struct {
	ID     string `json:"id"`
	Topics string `json:"topics"`
	// URL is the publicationUrl that the events are sent to. It may hold a password: never log it.
	URL string `json:"publicationUrl"`
	// SuccessfulCalls is how many deliveries were answered well.
	SuccessfulCalls int `json:"successfulCalls"`
}

// Subscriptions lists all event subscriptions of the brand, of whatever integration (qualtrics.md §3.9). It is a read.
// All calls about subscriptions need a brand administrator; without, they are [fault.Forbidden].
func (c *Client) Subscriptions(ctx context.Context) ([]Subscription, error) {
	var all []Subscription
	for page, err := range pages[Subscription](ctx, c, outbound.Call{Operation: "list subscriptions", Path: path("eventsubscriptions")}) {
		if err != nil {
			return nil, administrators(err)
		}
		all = append(all, page...)
	}
	return all, nil
}

// NewSubscription asks for the events of a topic.
type NewSubscription struct {
	Topics string
	// URL takes the events, and answers a GET with 200.
	URL string
	// SharedKey signs the events; empty means that they are not signed (qualtrics.md §3.10).
	SharedKey string
}

// CreateSubscription subscribes and gives the id, SUB_… (qualtrics.md §3.9). Neither survey nor URL are checked by
// Qualtrics. An encrypted subscription is never made: how its events are to be read is not documented (§3.10).
//
// A repeat makes a second one, and each event then comes twice. The probe is [Client.FindSubscription].
func (c *Client) CreateSubscription(ctx context.Context, s NewSubscription) (string, error) {
	call := post("create subscription", path("eventsubscriptions"), struct {
		Topics    string `json:"topics"`
		URL       string `json:"publicationUrl"`
		Encrypt   bool   `json:"encrypt"`
		SharedKey string `json:"sharedKey,omitempty"`
	}{s.Topics, s.URL, false, s.SharedKey})
	call.Write = true
	call.Personal = []string{s.SharedKey, s.URL}
	id, err := c.create(ctx, call)
	return id, administrators(err)
}

// FindSubscription looks for a subscription of topic and URL that is none of those known before. It is the probe of
// [Client.CreateSubscription] (qualtrics.md §2.9): a key that is being changed cannot be told from its predecessor but
// by its subscription being new.
func (c *Client) FindSubscription(ctx context.Context, topics, url string, before ...string) (string, bool, error) {
	all, err := c.Subscriptions(ctx)
	if err != nil {
		return "", false, err
	}
	i := slices.IndexFunc(all, func(s Subscription) bool {
		return s.Topics == topics && s.URL == url && !slices.Contains(before, s.ID)
	})
	if i < 0 {
		return "", false, nil
	}
	return all[i].ID, true, nil
}

// DeleteSubscription ends a subscription (qualtrics.md §3.9). One that is gone already is a success, so it may be
// repeated.
func (c *Client) DeleteSubscription(ctx context.Context, id string) error {
	_, err := c.do(ctx, outbound.Call{Operation: "delete subscription", Method: http.MethodDelete, Path: path("eventsubscriptions", id)})
	if outbound.StatusOf(err) == http.StatusNotFound {
		return nil
	}
	return administrators(err)
}

// administrators says what a refusal most likely means.
func administrators(err error) error {
	return explained(err, fault.Forbidden, "event subscriptions need the credentials of a brand administrator")
}

// explained adds our own words to a fault of that class; every other error stays as it is.
func explained(err error, class fault.Class, words string) error {
	if !fault.Is(err, class) {
		return err
	}
	f := *fault.From(err)
	f.Reason += ": " + words
	return &f
}
