package awardco

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
)

// Operations that a key may be limited to.
const (
	Recognize = "recognize"
	Feed      = "feed"
	Reports   = "reports"
	Users     = "users"
)

// ErrorShape is the form of a refusal.
type ErrorShape string

// The forms of a refusal; which one Awardco has is assumed (awardco.md §10 row 5).
const (
	JSONError ErrorShape = ""     // the status and {"success":false,"message":…}
	OKError   ErrorShape = "200"  // the same body with status 200
	TextError ErrorShape = "text" // the status and the message as plain text
	HTMLError ErrorShape = "html" // the status and an HTML page
)

// Webhook is one that the company's administrator has set up (awardco.md §3.9). It is told of recognitions only.
type Webhook struct {
	// URL is called with POST.
	URL string
	// Scheme is what goes along. Default: [Signed].
	Scheme Scheme
	// Secret signs, or is the API key.
	Secret string
}

// Scheme is how a webhook proves where it comes from; which one Awardco has is assumed (awardco.md §10 row 13).
type Scheme string

// The schemes.
const (
	Signed Scheme = ""        // Awardco-Signature and Awardco-Timestamp (awardco.md §3.9)
	APIKey Scheme = "api-key" // the secret in X-API-Key
	Bare   Scheme = "none"
)

// EventNames are the names of the webhook's events (awardco.md §10 row 13).
type EventNames struct {
	Created  string `yaml:"created"`
	Approved string `yaml:"approved"`
	Denied   string `yaml:"denied"`
}

// Intake is the address that the company was given for external recognitions. Its path, body and answer are assumed
// (awardco.md §10 rows 9 and 10).
type Intake struct {
	// Token is the last part of the path, and what lets callers in. Empty: there is no intake.
	Token string `yaml:"token"`
	// Program, Recipient, Note and Tag name the fields of the body; Tag may hold one or a list. Program may be an id or a
	// name. Defaults: program, recipient, note, reference.
	Program   string `yaml:"program"`
	Recipient string `yaml:"recipient"`
	Note      string `yaml:"note"`
	Tag       string `yaml:"tag"`
	// TellID answers with the id of what was made. Default: {"success":true} alone.
	TellID bool `yaml:"tellId"`
}

// Settings are the switches of the simulator: what the contract marks as assumed. The zero value is the contract's
// default for each (awardco.md §10).
type Settings struct {
	// Keys are the API keys, each with the operations that it may call; none named: all. Default: "simulator" for all.
	Keys map[string][]string `yaml:"-"`
	// MissingPermissionStatus is the status for a key that may not call an operation. Default: 403.
	MissingPermissionStatus int `yaml:"missingPermissionStatus"`
	// Errors is the form of refusals. 401 and 403 keep their status in every form.
	Errors ErrorShape `yaml:"errors"`
	// RateLimit is the most calls of one second; more are answered 429. Default: 0, no limit.
	RateLimit int `yaml:"rateLimit"`
	// NoRetryAfter leaves Retry-After out of a 429.
	NoRetryAfter bool `yaml:"noRetryAfter"`
	// IdempotencyHeader names a request header whose repeated value gets the first answer again. Default: none; the
	// same call twice makes two recognitions.
	IdempotencyHeader string `yaml:"idempotencyHeader"`
	// PartialSuccess recognizes the known recipients of a call that names unknown ones too. Default: all or nothing.
	PartialSuccess bool `yaml:"partialSuccess"`
	// NoRecognitionID leaves recognitionId out of the answer.
	NoRecognitionID bool `yaml:"noRecognitionId"`
	// Tags are the tags that exist. RefuseUnknownTags refuses any other. Default: any tag is taken.
	Tags              []string `yaml:"tags"`
	RefuseUnknownTags bool     `yaml:"refuseUnknownTags"`
	// NoteMax is the longest note in characters. Default: 0, no limit, since none is published.
	NoteMax int `yaml:"noteMax"`
	// ListArchived shows archived users in GET /users, with the field archived. Default: they are left out.
	ListArchived bool `yaml:"listArchived"`
	// SnakeCaseUsers spells the fields of GET /users employee_id, first_name, … Default: as in awardco.md §3.6.
	SnakeCaseUsers bool `yaml:"snakeCaseUsers"`
	// HideUsernames leaves username out of GET /users, which awardco.md §3.6 does not list. Default: it is there.
	HideUsernames bool `yaml:"hideUsernames"`
	// Intake is the address for external recognitions.
	Intake Intake `yaml:"intake"`
	// Webhooks are told of recognitions.
	Webhooks []Webhook `yaml:"-"`
	// EventNames default to recognition.created, recognition.approved and recognition.denied.
	EventNames EventNames `yaml:"eventNames"`
	// CreatedWhilePending sends the created event when a recognition enters the approvals queue, too. Default: only when
	// one is granted at once.
	CreatedWhilePending bool `yaml:"createdWhilePending"`
	// WebhookCopies is how often each event is sent beside the first time. Default: 0.
	WebhookCopies int `yaml:"webhookCopies"`
	// LoseEveryWebhook loses every n-th event for good: 1 all, 2 every second. Default: 0, none.
	LoseEveryWebhook int `yaml:"loseEveryWebhook"`
	// WebhookLag holds every first, third, fifth … event back, so that the next one overtakes it. Default: 0.
	WebhookLag time.Duration `yaml:"webhookLag"`
	// WebhookAttempts is how often a delivery is tried that is not answered 200 within 3 seconds. Default: 3.
	WebhookAttempts int `yaml:"webhookAttempts"`
	// WebhookRetry is the time between two tries. Default: 2 s.
	WebhookRetry time.Duration `yaml:"webhookRetry"`
	// AcceptUnknownFields ignores unknown fields of a body. Default: 400, so that a typing mistake shows.
	AcceptUnknownFields bool `yaml:"acceptUnknownFields"`
	// ReportPolls is how many polls of a report answer "in progress" before it is completed. Default: 1; negative: none.
	ReportPolls int `yaml:"reportPolls"`
	// ReportPageSize is the number of lines of a report's page. Default: 100.
	ReportPageSize int `yaml:"reportPageSize"`
	// Users, Programs and Budgets exist from the beginning, beside those that are added later.
	Users    []User    `yaml:"users"`
	Programs []Program `yaml:"programs"`
	Budgets  []Budget  `yaml:"budgets"`
	// Now is the clock. Default: time.Now.
	Now func() time.Time `yaml:"-"`
}

// With gives the settings with what a YAML or JSON object changes: {noteMax: 200, webhookLag: 1s}. It fails on names and
// values that are wrong.
func (s Settings) With(text []byte) (Settings, error) {
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&s)
	if err != nil && !errors.Is(err, io.EOF) {
		return s, err
	}
	if !slices.Contains([]ErrorShape{JSONError, OKError, TextError, HTMLError}, s.Errors) {
		return s, fmt.Errorf("errors: %q is none of 200, text, html", s.Errors)
	}
	return s, nil
}

func (s Settings) withDefaults() Settings {
	if len(s.Keys) == 0 {
		s.Keys = map[string][]string{"simulator": nil}
	}
	if s.MissingPermissionStatus == 0 {
		s.MissingPermissionStatus = 403
	}
	if s.ReportPolls == 0 {
		s.ReportPolls = 1
	}
	if s.ReportPageSize == 0 {
		s.ReportPageSize = 100
	}
	if s.EventNames == (EventNames{}) {
		s.EventNames = EventNames{"recognition.created", "recognition.approved", "recognition.denied"}
	}
	if s.WebhookAttempts == 0 {
		s.WebhookAttempts = 3
	}
	if s.WebhookRetry == 0 {
		s.WebhookRetry = 2 * time.Second
	}
	i := &s.Intake
	i.Program, i.Recipient = cmp.Or(i.Program, "program"), cmp.Or(i.Recipient, "recipient")
	i.Note, i.Tag = cmp.Or(i.Note, "note"), cmp.Or(i.Tag, "reference")
	if s.Now == nil {
		s.Now = time.Now
	}
	return s
}
