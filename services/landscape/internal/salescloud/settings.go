package salescloud

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// Settings are the switches of the simulator: what the contract marks as assumed, and what a tenant customises. The
// zero value is the contract's default for each (sap-sales-cloud.md §10, odata-v2.md §12).
type Settings struct {
	// Username and Password are the integration user's. Default: "simulator" for each.
	Username string `yaml:"-"`
	Password string `yaml:"-"`

	// NoCSRF switches the CSRF check off, as for server-to-server calls. Default: on.
	NoCSRF bool `yaml:"noCsrf"`
	// SessionIdle is how long an unused session lives. Default: 30 minutes.
	SessionIdle time.Duration `yaml:"sessionIdle"`
	// RequiredHeader puts x-csrf-token: Required into the refusal of a token. Default: only its text says so.
	RequiredHeader bool `yaml:"requiredHeader"`
	// CSRFBody is the form of that refusal. Default: plain text.
	CSRFBody odatasim.FaultBody `yaml:"csrfBody"`

	// CodeLists replaces the values of code lists, by the name of the set, such as TasksPriorityCodeCollection. A list
	// without values is not checked. Default: the known values of sap-sales-cloud.md §2; PriorityCode 5 is not one.
	CodeLists map[string][]Code `yaml:"codeLists"`
	// ExtensionFields are the tenant's own fields of a task; they can be filtered by. Default: none.
	ExtensionFields []ExtensionField `yaml:"extensionFields"`
	// AcceptUnknownParties accepts ids of accounts, contacts and employees that do not exist. Default: 400.
	AcceptUnknownParties bool `yaml:"acceptUnknownParties"`
	// PartyWords is what the refusal of an unknown party tells of it. Default: the name of the property.
	PartyWords PartyWords `yaml:"partyWords"`
	// NeedAccount refuses tasks that name no account: a task needs an existing business partner (sap-sales-cloud.md §8).
	// Default: accepted.
	NeedAccount bool `yaml:"needAccount"`
	// MissingSets are sets that the tenant does not have: 404. Default: none is missing.
	MissingSets []string `yaml:"missingSets"`
	// RefuseInlineTexts refuses texts in the call that creates the task. Default: allowed.
	RefuseInlineTexts bool `yaml:"refuseInlineTexts"`
	// Dates are the forms of dates accepted on write. Default: ISO and /Date(ms)/.
	Dates odatasim.DateForms `yaml:"dates"`
	// ErrorBody is the form of faults for callers that asked for JSON. Default: JSON.
	ErrorBody odatasim.FaultBody `yaml:"errorBody"`
	// InnerError adds innererror to faults in JSON.
	InnerError bool `yaml:"innerError"`
	// LockStatus is the status of a lock conflict. Default: 409.
	LockStatus int `yaml:"lockStatus"`
	// MaxParallel is how many calls the tenant answers at the same time; one more is answered TooManyStatus. Default:
	// 10 (KBA 3577788); negative: any number.
	MaxParallel int `yaml:"maxParallel"`
	// TooManyStatus is the status of a call too many. Default: 429; the vendor documents none.
	TooManyStatus int `yaml:"tooManyStatus"`
	// PerSecond is how many calls the tenant answers in a second; one more is 429. Default: any number.
	PerSecond int `yaml:"perSecond"`
	// BatchLimit is the most operations of one $batch. Default: 100.
	BatchLimit int `yaml:"batchLimit"`
	// ContentID says where the answer to a $batch repeats a Content-ID. Default: nowhere.
	ContentID odatasim.ContentIDEcho `yaml:"contentId"`

	// Now is the clock. Default: time.Now.
	Now func() time.Time `yaml:"-"`
}

// PartyWords is what the refusal of an unknown party tells of it; the vendor's words are not documented.
type PartyWords string

// The words about an unknown party.
const (
	WordsField   PartyWords = ""      // the name of the property
	WordsID      PartyWords = "id"    // its id
	WordsNothing PartyWords = "quiet" // neither
)

// Code is a value of a code list. Context is for the contextual list TasksCategoryCollection alone.
type Code struct {
	Code        string `yaml:"code"`
	Description string `yaml:"description"`
	Context     string `yaml:"context"`
}

// ExtensionField is a field of the tenant: text of at most MaxLength characters (0: unbounded).
type ExtensionField struct {
	Name      string `yaml:"name"`
	MaxLength int    `yaml:"maxLength"`
}

// With gives the settings with what a YAML or JSON object changes: {lockStatus: 500, dates: epoch}. It fails on names and values that
// are wrong.
func (s Settings) With(text []byte) (Settings, error) {
	if len(bytes.TrimSpace(text)) == 0 { // which the decoder takes for a wish to clear everything
		return s, nil
	}
	if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&s); err != nil {
		return s, err
	}
	return s, s.check()
}

func (s Settings) check() error {
	for name, ok := range map[string]bool{
		"partyWords": slices.Contains([]PartyWords{WordsField, WordsID, WordsNothing}, s.PartyWords),
		"dates":      slices.Contains([]odatasim.DateForms{odatasim.BothDateForms, odatasim.ISODatesOnly, odatasim.EpochDatesOnly}, s.Dates),
		"errorBody":  slices.Contains([]odatasim.FaultBody{"", odatasim.JSONFault, odatasim.XMLFault, odatasim.TextFault}, s.ErrorBody),
		"csrfBody":   slices.Contains([]odatasim.FaultBody{"", odatasim.JSONFault, odatasim.XMLFault, odatasim.TextFault}, s.CSRFBody),
	} {
		if !ok {
			return fmt.Errorf("%s has a value that there is not", name)
		}
	}
	return nil
}

func (s Settings) withDefaults() Settings {
	if s.Username == "" {
		s.Username = "simulator"
	}
	if s.Password == "" {
		s.Password = "simulator"
	}
	if s.LockStatus == 0 {
		s.LockStatus = http.StatusConflict
	}
	if s.MaxParallel == 0 {
		s.MaxParallel = 10
	}
	if s.TooManyStatus == 0 {
		s.TooManyStatus = http.StatusTooManyRequests
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	return s
}
