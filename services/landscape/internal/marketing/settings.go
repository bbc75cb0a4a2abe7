package marketing

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// Settings are the switches of the simulator: what the contract marks as assumed, and what a tenant customises. The
// zero value is the contract's default for each (sap-marketing-cloud.md §12, odata-v2.md §12).
type Settings struct {
	// Username and Password are the communication user's. Default: "simulator" for each.
	Username, Password string `yaml:"-"`

	// SessionIdle is how long an unused session lives. Default: 30 minutes.
	SessionIdle time.Duration `yaml:"sessionIdle"`
	// NoRequiredHeader leaves x-csrf-token: Required out of the refusal of a token.
	NoRequiredHeader bool `yaml:"noRequiredHeader"`
	// CSRFBody is the form of that refusal. Default: plain text.
	CSRFBody odatasim.FaultBody `yaml:"csrfBody"`

	// NoDeepInsert removes the set InteractionsDeepInsert, which the published metadata does not have: 404.
	NoDeepInsert bool `yaml:"noDeepInsert"`
	// NoBatch removes $batch: 404.
	NoBatch bool `yaml:"noBatch"`
	// LongestAddress is the most characters of an address; 0: no limit.
	LongestAddress int `yaml:"longestAddress"`
	// DeepInsertStatus is the status of its answer: 201 (default), 200, or 204 without a body.
	DeepInsertStatus int `yaml:"deepInsertStatus"`
	// CustomFields are the tenant's extension fields YY1_…_MIA. Default: none, so that each is an unknown property.
	CustomFields []CustomField `yaml:"customFields"`
	// RefuseDuplicates refuses a second interaction of the same type and source object. Default: it is stored.
	RefuseDuplicates bool `yaml:"refuseDuplicates"`
	// RefuseUnknownSource refuses a SURVEY_LINK_CREATED whose OutboundId belongs to no campaign. Default: accepted.
	RefuseUnknownSource bool `yaml:"refuseUnknownSource"`
	// AllowDelete allows DELETE of interactions. Default: 405.
	AllowDelete bool `yaml:"allowDelete"`
	// CutLongValues cuts over-long values silently. Default: 400.
	CutLongValues bool `yaml:"cutLongValues"`
	// Dates are the forms of dates accepted on write. Default: ISO and /Date(ms)/.
	Dates odatasim.DateForms `yaml:"dates"`
	// Arrays are the forms of nested data accepted on write. Default: […], {"results":[…]} and a single object.
	Arrays odatasim.ArrayForms `yaml:"arrays"`
	// NoOffset leaves +0000 out of the dates in answers.
	NoOffset bool `yaml:"noOffset"`
	// Nested is the form of nested data in answers. Default: {"results":[…]}.
	Nested odatasim.NestedForm `yaml:"nested"`
	// InnerError adds innererror to faults.
	InnerError bool `yaml:"innerError"`
	// PageSize is the most rows of one answer. Default: 1,000.
	PageSize int `yaml:"pageSize"`
	// BatchLimit is the most operations of one $batch. Default: 100.
	BatchLimit int `yaml:"batchLimit"`
	// ContentID says where the answer to a $batch repeats a Content-ID. Default: nowhere.
	ContentID odatasim.ContentIDEcho `yaml:"contentId"`

	// VisibleAfter is how long SURVEY_DISTRIBUTION interactions stay invisible after the package was sent. Default: 5
	// seconds; negative: visible at once.
	VisibleAfter time.Duration `yaml:"visibleAfter"`
	// WrittenVisibleAfter is how long interactions that came through the API stay invisible: Marketing writes
	// asynchronously (§2.3). Default: not at all.
	WrittenVisibleAfter time.Duration `yaml:"writtenVisibleAfter"`
	// RepeatedResponse is what a response id does that the survey import has already. Default: it updates.
	RepeatedResponse RepeatedResponse `yaml:"repeatedResponse"`
	// RefuseEmptyOutboundKey refuses survey responses that name no outbound id. Default: accepted.
	RefuseEmptyOutboundKey bool `yaml:"refuseEmptyOutboundKey"`
	// RefuseContact refuses contacts whose id holds this text, as a blocked one. Default: none.
	RefuseContact string `yaml:"refuseContact"`
	// NoOutboundInteractions leaves SURVEY_DISTRIBUTION out, as where enhancement (5) is missing (§1.4).
	NoOutboundInteractions bool `yaml:"noOutboundInteractions"`
	// ContactOrigin is the origin of the contacts of a campaign. Default: "EXT_CONTACT".
	ContactOrigin string `yaml:"contactOrigin"`

	// Payload is the form of the Open Channel payload.
	Payload Payload `yaml:"payload"`
	// PackageRepeats is how often a package is repeated whose answer did not come or was not 2xx. Default: 0.
	PackageRepeats int `yaml:"packageRepeats"`
	// RepeatPause is the time before a repeat. Default: 1 second.
	RepeatPause time.Duration `yaml:"repeatPause"`
	// Client calls the Open Channel endpoint. Default: one with a time-out of 60 seconds.
	Client *http.Client `yaml:"-"`

	// MailSubject is the subject of the trigger campaign's mail.
	MailSubject string `yaml:"-"`
	// OnMail is told of each mail to somebody, after it was stored and before the write that caused it is answered; it
	// must return soon. After a restart Resume tells again of a mail whose call did not return.
	OnMail func(context.Context, Mail) `yaml:"-"`

	// Now is the clock. Default: time.Now.
	Now func() time.Time `yaml:"-"`
}

// CustomField is an extension field of the tenant: text of at most MaxLength characters (0: unbounded). Extension
// fields cannot be filtered by (sap-marketing-cloud.md §2.2).
type CustomField struct {
	Name      string `yaml:"name"`
	MaxLength int    `yaml:"maxLength"`
}

// Payload says how the Open Channel payload differs from the published form (sap-marketing-cloud.md §1.3).
type Payload struct {
	// Root is the name of the single root. Default: "d".
	Root string `yaml:"root"`
	// NoRoot sends the campaign without any root.
	NoRoot bool `yaml:"noRoot"`
	// TypedValues sends attribute values that look like numbers or Booleans as such, and empty ones as null.
	TypedValues bool `yaml:"typedValues"`
	// Twice sends every package that was accepted once more.
	Twice bool `yaml:"twice"`
}

// With gives the settings with those switches changed that text names, a YAML or JSON object by the names of the yaml
// tags; durations are written as 1m30s. It fails on names that are not there.
func (s Settings) With(text string) (Settings, error) {
	if strings.TrimSpace(text) == "" {
		return s, nil
	}
	err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict()).Decode(&s)
	return s, err
}

func (s Settings) withDefaults() Settings {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&s.Username, "simulator")
	set(&s.Password, "simulator")
	set(&s.ContactOrigin, "EXT_CONTACT")
	set(&s.Payload.Root, "d")
	set(&s.MailSubject, "How did we do?")
	if s.VisibleAfter == 0 {
		s.VisibleAfter = 5 * time.Second
	}
	if s.RepeatPause == 0 {
		s.RepeatPause = time.Second
	}
	if s.Client == nil {
		s.Client = &http.Client{Timeout: 60 * time.Second}
	}
	if s.OnMail == nil {
		s.OnMail = func(context.Context, Mail) {}
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	return s
}
