package tasker

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
	"github.com/closeloop/closeloop/services/c4c-tasker/salescloud"
	"github.com/closeloop/closeloop/services/c4c-tasker/salescloud2"
)

// Settings of c4c-tasker.
type Settings struct {
	service.Common
	Fields   httpdoor.FieldSettings
	Version  int             `envconfig:"C4C_VERSION" default:"1" desc:"1: SAP Sales Cloud (C4C, OData); 2: SAP Sales Cloud Version 2 (REST), where all ids are UUIDs"`
	BaseURL  string          `envconfig:"C4C_BASE_URL" required:"true" desc:"SAP Sales Cloud: scheme and host"`
	Username string          `envconfig:"C4C_USERNAME" required:"true" desc:"technical user"`
	Password settings.Secret `envconfig:"C4C_PASSWORD" required:"true" desc:"its password"`
	Parallel int             `envconfig:"C4C_PARALLEL" default:"6" desc:"parallel calls of one replica, 9 at most"`

	ParallelCalls int `envconfig:"C4C_PARALLEL_CALLS" default:"6" desc:"parallel calls of all replicas together, 9 at most: a tenant takes fewer than 10 from everybody"`
	PerMinute     int `envconfig:"C4C_PER_MINUTE" default:"0" desc:"calls a minute of all replicas together; 0: no limit, as none is documented"`

	ProcessorID      string        `envconfig:"C4C_PROCESSOR_ID" desc:"employee who gets tasks that name nobody"`
	Priority         string        `envconfig:"C4C_PRIORITY" default:"3" desc:"priority of tasks that name none: one character of the tenant's code list"`
	DueAfter         time.Duration `envconfig:"C4C_DUE_AFTER" default:"72h" desc:"due time of tasks that name none, counted from the event"`
	TaskURL          string        `envconfig:"C4C_TASK_URL" desc:"address of a task for people, with {objectId}; default is the object in the API"`
	Texts            string        `envconfig:"C4C_TEXTS" default:"inline" desc:"inline: the text goes with the call that makes the task; separate: by a call of its own, for tenants that refuse the first"`
	Guests           string        `envconfig:"C4C_GUESTS" default:"park" desc:"what becomes of a task whose account or contact SAP does not know: park (dead letter), default-account, without (neither), or drop (no task, a line in the log)"`
	DefaultAccountID string        `envconfig:"C4C_DEFAULT_ACCOUNT_ID" desc:"account for C4C_GUESTS=default-account; it also gets tasks that name no account"`

	V1 SettingsV1
	V2 SettingsV2
}

// SettingsV1 are those of Version 1.
type SettingsV1 struct {
	CSRF           bool   `envconfig:"C4C_CSRF" default:"true" desc:"Version 1: fetch a CSRF token before writing"`
	Status         string `envconfig:"C4C_STATUS" default:"1" desc:"Version 1: status of a new task, of the tenant's code list"`
	DocumentType   string `envconfig:"C4C_DOCUMENT_TYPE" desc:"Version 1: DocumentType of tasks, such as 0006; default: not sent"`
	TextType       string `envconfig:"C4C_TEXT_TYPE" default:"10002" desc:"Version 1: type code of the text"`
	Language       string `envconfig:"C4C_LANGUAGE" default:"EN" desc:"Version 1: language code of the task's text"`
	Zone           string `envconfig:"C4C_ZONE" default:"UTC" desc:"Version 1: time zone code that goes with the due time, which is always sent in UTC"`
	Dates          string `envconfig:"C4C_DATES" default:"iso" desc:"Version 1: how dates are written, iso or ticks: /Date(…)/"`
	Reference      string `envconfig:"C4C_REFERENCE" default:"subject" desc:"Version 1: where the response id stands, in brackets, for the task to be found again: at the end of subject or text"`
	ReferenceField string `envconfig:"C4C_REFERENCE_FIELD" desc:"Version 1: the tenant's own field that holds the response id instead, such as ResponseID_KUT"`
	CodeLists      string `envconfig:"C4C_CODE_LISTS" default:"lenient" desc:"Version 1: check codes against the tenant's lists: lenient (in the background; what a list does not have is an alarm, and work goes on), strict (a list that is missing or does not have a setting is an alarm, and work waits) or off"`
	Parties        string `envconfig:"C4C_PARTY_LOOKUP" default:"refused" desc:"Version 1: look accounts, contacts and employees up: never, refused (when a refusal does not say which one is unknown, or C4C_GUESTS is not park) or before (each task, at up to 5 calls more)"`
}

// SettingsV2 are those of Version 2.
type SettingsV2 struct {
	Auth         string            `envconfig:"C4C_V2_AUTH" default:"basic" desc:"Version 2: basic, or token (a login, then a bearer token)"`
	Status       string            `envconfig:"C4C_V2_STATUS" default:"OPEN" desc:"Version 2: status of a new task"`
	Priorities   map[string]string `envconfig:"C4C_V2_PRIORITIES" default:"1:IMMEDIATE,2:URGENT,3:NORMAL,7:LOW" desc:"Version 2: its priority for each of the events' priorities"`
	Category     string            `envconfig:"C4C_V2_CATEGORY" desc:"Version 2: taskCategory of tasks, such as 0002; default: not sent"`
	ContactField string            `envconfig:"C4C_V2_CONTACT_FIELD" desc:"Version 2: name of a task's reference to its contact, which is not documented; default: tasks name no contact"`
	NotesPath    string            `envconfig:"C4C_V2_NOTES_PATH" default:"/task-service/tasks/{id}/notes" desc:"Version 2: where C4C_TEXTS=separate adds notes, below /sap/c4c/api/v1"`
	Find         string            `envconfig:"C4C_V2_FIND" desc:"Version 2: query that finds tasks by their description, with {marker}: $filter=… in the tenant's language; default: none, and a lost answer waits for a person"`
}

// The values of settings.
const (
	textsInline   = "inline"
	textsSeparate = "separate"
	datesISO      = "iso"
	datesTicks    = "ticks"
	authBasic     = "basic"
	authToken     = "token"

	guestsPark    = "park"
	guestsDefault = "default-account"
	guestsWithout = "without"
	guestsDrop    = "drop"
)

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	var wrong []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			wrong = append(wrong, fmt.Errorf(format, args...))
		}
	}
	one := func(name, value string, of ...string) {
		check(slices.Contains(of, value), "%s is %q; it may be %s", name, value, strings.Join(of, ", "))
	}
	check(s.Version == 1 || s.Version == 2, "C4C_VERSION is %d; it may be 1 or 2", s.Version)
	check(utf8.RuneCountInString(s.Priority) == 1, "C4C_PRIORITY must be one character")
	check(s.Parallel >= 1 && s.Parallel <= 9, "C4C_PARALLEL must be 1 to 9: a tenant takes fewer than 10 calls at a time")
	check(s.ParallelCalls >= 1 && s.ParallelCalls <= 9, "C4C_PARALLEL_CALLS must be 1 to 9: a tenant takes fewer than 10 calls at a time")
	check(s.PerMinute >= 0, "C4C_PER_MINUTE must not be below 0")
	one("C4C_TEXTS", s.Texts, textsInline, textsSeparate)
	one("C4C_GUESTS", s.Guests, guestsPark, guestsDefault, guestsWithout, guestsDrop)
	check((s.Guests == guestsDefault) == (s.DefaultAccountID != ""), "C4C_DEFAULT_ACCOUNT_ID belongs to C4C_GUESTS=%s: set both or neither", guestsDefault)
	if s.Version == 2 {
		s.validateV2(check, one)
	} else {
		s.validateV1(check, one)
	}
	return errors.Join(wrong...)
}

func (s *Settings) validateV1(check func(bool, string, ...any), one func(string, string, ...string)) {
	v := s.V1
	one("C4C_DATES", v.Dates, datesISO, datesTicks)
	one("C4C_REFERENCE", v.Reference, string(salescloud.InSubject), string(salescloud.InText))
	one("C4C_CODE_LISTS", v.CodeLists, string(salescloud.ListsStrict), string(salescloud.ListsLenient), string(salescloud.ListsOff))
	one("C4C_PARTY_LOOKUP", v.Parties, string(salescloud.LookupNever), string(salescloud.LookupRefused), string(salescloud.LookupBefore))
	check(v.Reference != string(salescloud.InText) || s.Texts == textsInline || v.ReferenceField != "",
		"C4C_REFERENCE=text needs C4C_TEXTS=inline: a task without its text could not be found again")
	check(s.Guests == guestsPark || v.Parties != string(salescloud.LookupNever),
		"C4C_GUESTS=%s needs C4C_PARTY_LOOKUP=refused or before: only a look-up tells for sure who is a guest", s.Guests)
	limits := salescloud.Limits()
	for name, value := range map[string]string{
		"C4C_STATUS": v.Status, "C4C_DOCUMENT_TYPE": v.DocumentType, "C4C_TEXT_TYPE": v.TextType, "C4C_LANGUAGE": v.Language,
		"C4C_ZONE": v.Zone, "C4C_PROCESSOR_ID": s.ProcessorID, "C4C_DEFAULT_ACCOUNT_ID": s.DefaultAccountID,
	} {
		check(utf8.RuneCountInString(value) <= limits[name], "%s must have at most %d characters", name, limits[name])
	}
}

func (s *Settings) validateV2(check func(bool, string, ...any), one func(string, string, ...string)) {
	v := s.V2
	one("C4C_V2_AUTH", v.Auth, authBasic, authToken)
	check(v.Priorities[s.Priority] != "", "C4C_V2_PRIORITIES has nothing for C4C_PRIORITY %q", s.Priority)
	check(strings.HasPrefix(v.NotesPath, "/") && strings.Contains(v.NotesPath, "{id}"), "C4C_V2_NOTES_PATH must be a path with {id}")
	check(v.Find == "" || strings.Contains(v.Find, "{marker}"), "C4C_V2_FIND must hold {marker}")
	for name, id := range map[string]string{"C4C_PROCESSOR_ID": s.ProcessorID, "C4C_DEFAULT_ACCOUNT_ID": s.DefaultAccountID} {
		check(id == "" || salescloud2.IsUUID(id), "%s must be a UUID with C4C_VERSION=2", name)
	}
}

func (s *Settings) version1() salescloud.Options {
	return salescloud.Options{
		Priority: s.Priority, Status: s.V1.Status, TextType: s.V1.TextType, Language: s.V1.Language, Zone: s.V1.Zone,
		DocumentType: s.V1.DocumentType, SeparateTexts: s.Texts == textsSeparate, TicksDates: s.V1.Dates == datesTicks,
		Reference: salescloud.Reference(s.V1.Reference), ReferenceField: s.V1.ReferenceField,
		Lists: salescloud.Lists(s.V1.CodeLists), Lookup: salescloud.Lookup(s.V1.Parties), Guests: s.Guests != guestsPark, BaseURL: s.BaseURL,
	}
}

func (s *Settings) version2() salescloud2.Options {
	return salescloud2.Options{
		Username: s.Username, Password: s.Password, Token: s.V2.Auth == authToken,
		Priorities: s.V2.Priorities, Priority: s.V2.Priorities[s.Priority], Status: s.V2.Status, Category: s.V2.Category,
		ContactField: s.V2.ContactField, SeparateTexts: s.Texts == textsSeparate, NotesPath: s.V2.NotesPath,
		FindQuery: s.V2.Find, BaseURL: s.BaseURL,
	}
}
