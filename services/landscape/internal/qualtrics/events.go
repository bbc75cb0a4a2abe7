package qualtrics

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The topics that the simulator publishes (qualtrics.md §3.9); the survey's id follows.
const (
	startedTopic   = "surveyengine.startedRecipientSession."
	completedTopic = "surveyengine.completedResponse."
)

var knownTopic = regexp.MustCompile(`^(\*|controlpanel\.(\*|activateSurvey|deactivateSurvey)|threesixty\..+|` +
	`surveyengine\.(\*|(startedRecipientSession|partialResponse|completedResponse)\.(\*|SV_.+)))$`)

// message is what MSG holds, in the order in which Qualtrics writes it (qualtrics.md §3.10).
type message struct {
	Status               string `json:"Status"`
	SurveyID             string `json:"SurveyID"`
	ResponseID           string `json:"ResponseID,omitempty"`
	RecipientID          string `json:"RecipientID,omitempty"`
	ResponseEventContext string `json:"ResponseEventContext"`
	DistributionID       string `json:"DistributionID,omitempty"`
	StartedDate          string `json:"StartedDate,omitempty"`
	CompletedDate        string `json:"CompletedDate,omitempty"`
	BrandID              string `json:"BrandID"`
}

// field is one form field; forms keep their order.
type field struct{ name, value string }

// json gives the message as Qualtrics writes it: no spaces, nothing escaped that need not be.
func (m message) json() string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	must(encoder.Encode(m)) // texts only: cannot fail
	return strings.TrimSuffix(text.String(), "\n")
}

// fields gives the message as flat form fields, for subscriptions without a key.
func (m message) fields() []field {
	all := []field{
		{"Status", m.Status}, {"SurveyID", m.SurveyID}, {"ResponseID", m.ResponseID}, {"RecipientID", m.RecipientID},
		{"ResponseEventContext", m.ResponseEventContext}, {"DistributionID", m.DistributionID},
		{"StartedDate", m.StartedDate}, {"CompletedDate", m.CompletedDate}, {"BrandID", m.BrandID},
	}
	return slices.DeleteFunc(all, func(f field) bool { return f.value == "" })
}

// sign is the signature of qualtrics.md §3.10: over MSG before it is encoded for the form.
func sign(sharedKey, msg string) string {
	mac := hmac.New(sha512.New, []byte(sharedKey))
	mac.Write([]byte(msg))
	return hex.EncodeToString(mac.Sum(nil))
}

// eventBody is the form that a subscription gets. The topic has the brand in front, and is not signed.
func (s *Simulator) eventBody(sharedKey, topic string, m message) string {
	fields := []field{{"Topic", s.settings.Brand + "." + topic}}
	if sharedKey == "" || s.settings.Assumed.UnsignedEvents {
		return s.form(append(fields, m.fields()...))
	}
	msg := m.json()
	return s.form(append(fields, field{"HMAC", sign(sharedKey, msg)}, field{"MSG", msg}, field{"undefined", ""}))
}

// form encodes as a browser's encodeURIComponent does, a space being %20, or + where the settings say so.
func (s *Simulator) form(fields []field) string {
	var parts []string
	for _, f := range fields {
		value := url.QueryEscape(f.value)
		if !s.settings.Assumed.PlusForSpace {
			value = strings.ReplaceAll(value, "+", "%20")
		}
		parts = append(parts, f.name+"="+value)
	}
	return strings.Join(parts, "&")
}

// matches tells whether a subscription wants a topic; a star stands for the rest.
func (sub Subscription) matches(topic string) bool {
	prefix, wildcard := strings.CutSuffix(sub.Topics, "*")
	return sub.Topics == topic || wildcard && strings.HasPrefix(topic, prefix)
}

// publish queues an event for every subscription that wants it.
func (s *Simulator) publish(topic, responseID string, m message) {
	a := s.settings.Assumed
	for _, sub := range s.books.subscriptions.All() {
		if !sub.matches(topic) {
			continue
		}
		for range 1 + a.EventDuplicates {
			d := Delivery{
				Kind: EventDelivery, Name: topic, SubscriptionID: sub.ID, ResponseID: responseID,
				Method: http.MethodPost, URL: sub.URL, Header: map[string]string{"Content-Type": formType},
				Body: s.eventBody(sub.SharedKey, topic, m), State: Pending,
			}
			if s.chance(a.EventLoss) {
				d.State = Lost
			}
			s.enqueue(d, a.EventDelay+time.Duration(s.random.Int64N(int64(a.EventSpread)+1)))
		}
	}
}

// announce tells the world of a response: events to subscriptions, calls of workflows.
func (s *Simulator) announce(r Response) {
	eventContext := []rune(r.Embedded["ResponseEventContext"])
	s.publish(completedTopic+r.SurveyID, r.ID, message{
		Status: "Complete", SurveyID: r.SurveyID, ResponseID: r.ID, RecipientID: r.LookupID,
		ResponseEventContext: string(eventContext[:min(50, len(eventContext))]), // qualtrics.md §3.10: at most 50
		DistributionID:       r.DistributionID, CompletedDate: r.RecordedAt.Format(dateTime), BrandID: s.settings.Brand,
	})
	for _, task := range s.settings.Tasks {
		if task.wants(r) {
			s.enqueue(task.delivery(r), 0)
		}
	}
	r.Announced = true
	must(s.books.responses.Put(r.ID, r))
}

func (s *Simulator) announceStart(link Link) {
	s.publish(startedTopic+link.SurveyID, "", message{
		Status: "Started", SurveyID: link.SurveyID, RecipientID: link.LookupID, DistributionID: link.DistributionID,
		StartedDate: link.OpenedAt.Format(dateTime), BrandID: s.settings.Brand,
	})
}

// Subscribe makes an event subscription as a person in the user interface would, and gives its id. Where topic and URL
// are subscribed already, it gives that subscription the key and makes no second.
func (s *Simulator) Subscribe(webhook Webhook) (id string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := checkWebhook(webhook); err != nil {
		return "", err
	}
	if sub, found := s.subscribed(webhook); found {
		sub.SharedKey = webhook.SharedKey
		must(s.books.subscriptions.Put(sub.ID, sub))
		return sub.ID, nil
	}
	return s.subscribe(webhook), nil
}

func checkWebhook(webhook Webhook) error {
	if !knownTopic.MatchString(webhook.Topics) {
		return badRequest("Invalid value for topics: %q is no topic.", webhook.Topics)
	}
	target, err := url.Parse(webhook.URL)
	if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
		return badRequest("Invalid value for publicationUrl: expected an absolute URL.")
	}
	return nil
}

func (s *Simulator) subscribed(webhook Webhook) (Subscription, bool) {
	found := s.books.subscriptions.Find(func(sub Subscription) bool {
		return sub.Topics == webhook.Topics && sub.URL == webhook.URL
	})
	if len(found) == 0 {
		return Subscription{}, false
	}
	return found[0], true
}

// subscribe stores a subscription and has its URL checked with one GET, which nothing depends on (qualtrics.md §3.9).
func (s *Simulator) subscribe(webhook Webhook) string {
	sub := Subscription{ID: newID("SUB_"), Topics: webhook.Topics, URL: webhook.URL, SharedKey: webhook.SharedKey}
	must(s.books.subscriptions.Put(sub.ID, sub))
	s.enqueue(Delivery{
		Kind: ValidationDelivery, Name: sub.Topics, SubscriptionID: sub.ID, Method: http.MethodGet, URL: sub.URL,
		State: Pending, NoRetry: true,
	}, 0)
	return sub.ID
}

func createSubscription(c *call) (any, error) {
	if c.switches.NoBrandAdmin {
		return nil, forbidden()
	}
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	body.need("topics", "publicationUrl")
	webhook := Webhook{Topics: body.text("topics"), URL: body.text("publicationUrl"), SharedKey: body.text("sharedKey")}
	encrypt := body.boolean("encrypt")
	if err := body.done(); err != nil {
		return nil, err
	}
	if encrypt != nil && *encrypt {
		return nil, badRequest("Invalid value for encrypt: this simulator does not encrypt events.")
	}
	if err := checkWebhook(webhook); err != nil {
		return nil, err
	}
	if _, found := c.subscribed(webhook); found && c.switches.RefuseSameSubscription {
		return nil, badRequest("The topic is subscribed for this URL already.")
	}
	return map[string]any{"id": c.subscribe(webhook)}, nil
}

func (c *call) subscription() (Subscription, error) {
	if c.switches.NoBrandAdmin {
		return Subscription{}, forbidden()
	}
	id := c.request.PathValue("u")
	sub, found := c.books.subscriptions.Get(id)
	if !found {
		missing := refuse(http.StatusNotFound, "ESSG_2", "%s not found", id)
		missing.noRequestID = true // qualtrics.md §2.5
		return Subscription{}, missing
	}
	return sub, nil
}

func (c *call) showSubscription(sub Subscription) any {
	return map[string]any{
		"id": sub.ID, "scope": c.settings.Brand, "topics": sub.Topics, "publicationUrl": sub.URL,
		"encrypted": false, "successfulCalls": sub.SuccessfulCalls,
	}
}

func listSubscriptions(c *call) (any, error) {
	if c.switches.NoBrandAdmin {
		return nil, forbidden()
	}
	return paged(c, c.books.subscriptions.All(), 100, 100,
		func(sub Subscription) (string, any) { return sub.ID, c.showSubscription(sub) })
}

func getSubscription(c *call) (any, error) {
	sub, err := c.subscription()
	if err != nil {
		return nil, err
	}
	return c.showSubscription(sub), nil
}

// deleteSubscription ends a subscription, and with it the events still on their way to it.
func deleteSubscription(c *call) (any, error) {
	sub, err := c.subscription()
	if err != nil {
		return nil, err
	}
	must(c.books.subscriptions.Delete(sub.ID))
	underway := func(d Delivery) bool { return d.State == Pending && d.SubscriptionID == sub.ID }
	for _, d := range c.books.deliveries.Find(underway) {
		d.State = GivenUp
		c.settle(d)
	}
	return nil, nil
}
