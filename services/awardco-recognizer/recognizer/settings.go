package recognizer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
	"github.com/closeloop/closeloop/services/awardco-recognizer/webhook"
)

// The values of settings that choose.
const (
	modeRecognize = "recognize"
	modeExternal  = "external"

	directoryNone  = "none"
	directoryFile  = "file"
	directoryUsers = "users"

	readFeed   = "feed"
	readReport = "report"
	readNone   = "none"

	referenceTag  = "tag"
	referenceNote = "note"

	noteCut    = "cut"
	noteRefuse = "refuse"

	schemeAwardco = "awardco"
	schemeAPIKey  = "api-key"
	schemeNone    = "none"
)

// Settings of awardco-recognizer.
type Settings struct {
	service.Common
	Fields httpdoor.FieldSettings
	Mode   string `envconfig:"AWARDCO_MODE" default:"recognize" desc:"recognize: POST /recognize; external: post to AWARDCO_INTAKE_URL, where a person approves"`

	BaseURL   string          `envconfig:"AWARDCO_BASE_URL" desc:"Awardco's API; ends in /api; required but for AWARDCO_MODE=external"`
	APIKey    settings.Secret `envconfig:"AWARDCO_API_KEY" desc:"key of the header apikey; required with AWARDCO_BASE_URL"`
	PerMinute int             `envconfig:"AWARDCO_PER_MINUTE" default:"300" desc:"calls per minute of all replicas together (none is published; 5 a second is safe)"`
	Parallel  int             `envconfig:"AWARDCO_PARALLEL" default:"4" desc:"calls at once of all replicas together"`

	IntakeURL       settings.Secret   `envconfig:"AWARDCO_INTAKE_URL" desc:"address that Awardco supplies for external recognitions"`
	IntakeFields    map[string]string `envconfig:"AWARDCO_INTAKE_FIELDS" default:"program:program,recipient:recipient,note:note,reference:tag" desc:"body posted there, as name:value separated by commas; dots in a name make objects; values: recipient, note, program, title, reference (the response id), tag (ref- and the response id), tags (a list of it)"`
	IntakeKey       settings.Secret   `envconfig:"AWARDCO_INTAKE_KEY" desc:"key that goes there; default: none"`
	IntakeKeyHeader string            `envconfig:"AWARDCO_INTAKE_KEY_HEADER" default:"apikey" desc:"header of that key"`

	Directory     string        `envconfig:"AWARDCO_DIRECTORY" desc:"where recipients are looked up before anything is sent: file, users (Awardco's user list) or none (sent as given); default: file where AWARDCO_DIRECTORY_FILE is set, else none"`
	DirectoryFile string        `envconfig:"AWARDCO_DIRECTORY_FILE" desc:"YAML or CSV of employees: employeeId, email, username, firstName, lastName, active; read again when it changes"`
	UsersRefresh  time.Duration `envconfig:"AWARDCO_USERS_REFRESH" default:"1h" desc:"how old the user list of AWARDCO_DIRECTORY=users may become"`

	Program   string `envconfig:"AWARDCO_PROGRAM" desc:"name of the recognition programme of requests that name none"`
	ProgramID string `envconfig:"AWARDCO_PROGRAM_ID" desc:"its id instead, which goes before AWARDCO_PROGRAM"`
	Giver     string `envconfig:"AWARDCO_GIVER" desc:"employee id or e-mail address of the giver; default: the company's recognition bot"`
	Public    bool   `envconfig:"AWARDCO_PUBLIC" default:"true" desc:"whether recognitions are public"`
	Approval  bool   `envconfig:"AWARDCO_APPROVAL" default:"false" desc:"whether a person approves the programme's recognitions; they are then reported as PENDING_APPROVAL, as all are with AWARDCO_MODE=external"`
	Title     string `envconfig:"AWARDCO_TITLE" desc:"title of requests that have none, with {score} and {program} filled in; only for programmes with the title question on; default: none is sent"`
	NoteMax   int    `envconfig:"AWARDCO_NOTE_MAX" default:"0" desc:"longest note in characters; 0: no limit is known"`
	NoteLong  string `envconfig:"AWARDCO_NOTE_TOO_LONG" default:"cut" desc:"what happens to a longer one: cut (at a word) or refuse"`
	Reference string `envconfig:"AWARDCO_REFERENCE" desc:"where our reference goes: tag, or note where tags must exist beforehand; default: tag, with AWARDCO_MODE=external note, since that is what comes back with the decision"`

	MaxAmount     int64  `envconfig:"AWARDCO_MAX_AMOUNT" default:"0" desc:"highest amount of one recognition; 0: none may carry an amount"`
	MaxPerDay     int64  `envconfig:"AWARDCO_MAX_AMOUNT_PER_DAY" default:"0" desc:"highest amount of a day in UTC, of all recognitions and replicas together; needed with AWARDCO_MAX_AMOUNT"`
	Budget        string `envconfig:"AWARDCO_BUDGET" desc:"budget of recognitions with an amount"`
	CentralBudget bool   `envconfig:"AWARDCO_CENTRAL_BUDGET" default:"false" desc:"whether the programme pays from a central budget, so that an amount needs no AWARDCO_BUDGET"`

	ReadBack  string `envconfig:"AWARDCO_READBACK" default:"feed" desc:"where a recognition is looked for whose answer was lost: feed (GET /v1/custom-feed), report (report 5, private ones too) or none"`
	TrustFeed bool   `envconfig:"AWARDCO_TRUST_FEED" default:"false" desc:"whether a recognition that AWARDCO_READBACK does not show was not made, so that a lost answer may be sent again; otherwise only one without an amount, when the feed shows a later one of ours"`
	// LookFor is how long that takes at most.
	LookFor time.Duration `envconfig:"AWARDCO_LOOK_FOR" default:"1h" desc:"how long a recognition whose answer was lost is looked for before it waits for a person; a day at most"`

	WebhookScheme  string           `envconfig:"AWARDCO_WEBHOOK_SCHEME" default:"awardco" desc:"what a caller of POST /awardco/webhooks must prove: awardco (signature), api-key (credentials as for other doors) or none"`
	WebhookSecrets settings.Secrets `envconfig:"AWARDCO_WEBHOOK_SECRETS" desc:"secrets of the signature, separated by commas: two while one is replaced; without any, scheme awardco refuses everybody"`
	WebhookEvents  webhook.Events   `envconfig:"AWARDCO_WEBHOOK_EVENTS" default:"recognition.approved=approved,recognition.denied=declined,recognition.declined=declined,recognition.created=ignored" desc:"meaning of Awardco's events: approved, declined or ignored; others are ignored"`
}

// titleMax is the longest title (awardco.md §3.1).
const titleMax = 50

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	var wrong []error
	say := func(bad bool, format string, args ...any) {
		if bad {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	for _, choice := range []struct {
		name, value string
		of          []string
	}{
		{"AWARDCO_MODE", s.Mode, []string{modeRecognize, modeExternal}},
		{"AWARDCO_DIRECTORY", s.directory(), []string{directoryNone, directoryFile, directoryUsers}},
		{"AWARDCO_NOTE_TOO_LONG", s.NoteLong, []string{noteCut, noteRefuse}},
		{"AWARDCO_REFERENCE", s.reference(), []string{referenceTag, referenceNote}},
		{"AWARDCO_READBACK", s.ReadBack, []string{readFeed, readReport, readNone}},
		{"AWARDCO_WEBHOOK_SCHEME", s.WebhookScheme, []string{schemeAwardco, schemeAPIKey, schemeNone}},
	} {
		say(!slices.Contains(choice.of, choice.value), "%s is %q; it may be %s", choice.name, choice.value, strings.Join(choice.of, ", "))
	}
	api := s.needsAPI()
	say(api && s.BaseURL == "", "AWARDCO_BASE_URL is required: Awardco's API; ends in /api")
	say(api && !s.APIKey.IsSet(), "AWARDCO_API_KEY is required: key of the header apikey (or AWARDCO_API_KEY_FILE)")
	// Elsewhere every recognition would be refused with 404.
	say(s.BaseURL != "" && !strings.HasSuffix(strings.TrimSuffix(s.BaseURL, "/"), "/api"), "AWARDCO_BASE_URL must end in /api")
	if s.Mode == modeExternal {
		_, err := awardco.IntakeHost(s.IntakeURL.Reveal())
		say(err != nil, "AWARDCO_INTAKE_URL %w", err)
		_, err = awardco.NewIntake(nil, settings.SecretOf("https://host"), awardco.IntakeKey{}, s.IntakeFields)
		say(err != nil, "AWARDCO_INTAKE_FIELDS: %w", err)
		say(s.TrustFeed, "AWARDCO_TRUST_FEED cannot be with AWARDCO_MODE=external: nothing shows what waits for approval")
	}
	say(s.TrustFeed && s.ReadBack == readNone, "AWARDCO_TRUST_FEED needs an AWARDCO_READBACK to be trusted")
	say(s.directory() == directoryFile && s.DirectoryFile == "", "AWARDCO_DIRECTORY_FILE is required for AWARDCO_DIRECTORY=file")
	say(s.directory() == directoryUsers && s.UsersRefresh <= 0, "AWARDCO_USERS_REFRESH must be above 0")
	say(utf8.RuneCountInString(s.Title) > titleMax, "AWARDCO_TITLE is longer than %d characters", titleMax)
	say(s.NoteMax < 0 || s.NoteMax > 0 && s.NoteMax < 150, "AWARDCO_NOTE_MAX must be 0, or 150 or more: our reference may have to fit")
	say(s.LookFor < 0 || s.LookFor > 24*time.Hour, "AWARDCO_LOOK_FOR must be between 0 and 24h")
	say(s.MaxAmount < 0, "AWARDCO_MAX_AMOUNT must not be below 0")
	say(s.MaxAmount > 0 && s.MaxPerDay < s.MaxAmount, "AWARDCO_MAX_AMOUNT_PER_DAY must be at least AWARDCO_MAX_AMOUNT: points are not taken back")
	say(s.PerMinute < 0 || s.Parallel < 0, "AWARDCO_PER_MINUTE and AWARDCO_PARALLEL must not be below 0")
	return errors.Join(wrong...)
}

// needsAPI tells that Awardco's API is called, and not its intake alone.
func (s *Settings) needsAPI() bool { return s.Mode != modeExternal || s.directory() == directoryUsers }

func (s *Settings) directory() string {
	switch {
	case s.Directory != "":
		return s.Directory
	case s.DirectoryFile != "":
		return directoryFile
	}
	return directoryNone
}

func (s *Settings) reference() string {
	switch {
	case s.Reference != "":
		return s.Reference
	case s.Mode == modeExternal:
		return referenceNote
	}
	return referenceTag
}

// readBack is where a lost recognition is looked for: what waits for approval is shown nowhere.
func (s *Settings) readBack() string {
	if s.Mode == modeExternal {
		return readNone
	}
	return s.ReadBack
}
