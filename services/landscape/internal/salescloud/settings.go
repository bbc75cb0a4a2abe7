package salescloud

import (
	"net/http"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// Settings are the switches of the simulator: what the contract marks as assumed, and what a tenant customises. The
// zero value is the contract's default for each (sap-sales-cloud.md §10, odata-v2.md §12).
type Settings struct {
	// Username and Password are the integration user's. Default: "simulator" for each.
	Username, Password string

	// NoCSRF switches the CSRF check off, as for server-to-server calls. Default: on.
	NoCSRF bool
	// SessionIdle is how long an unused session lives. Default: 30 minutes.
	SessionIdle time.Duration
	// RequiredHeader puts x-csrf-token: Required into the refusal of a token. Default: only its text says so.
	RequiredHeader bool
	// CSRFBody is the form of that refusal. Default: plain text.
	CSRFBody odatasim.FaultBody

	// CodeLists replaces the values of code lists, by the name of the set, such as TasksPriorityCodeCollection. A list
	// without values is not checked. Default: the known values of sap-sales-cloud.md §2; PriorityCode 5 is not one.
	CodeLists map[string][]Code
	// ExtensionFields are the tenant's own fields of a task; they can be filtered by. Default: none.
	ExtensionFields []ExtensionField
	// AcceptUnknownParties accepts ids of accounts, contacts and employees that do not exist. Default: 400.
	AcceptUnknownParties bool
	// RefuseInlineTexts refuses texts in the call that creates the task. Default: allowed.
	RefuseInlineTexts bool
	// Dates are the forms of dates accepted on write. Default: ISO and /Date(ms)/.
	Dates odatasim.DateForms
	// ErrorBody is the form of faults for callers that asked for JSON. Default: JSON.
	ErrorBody odatasim.FaultBody
	// InnerError adds innererror to faults in JSON.
	InnerError bool
	// LockStatus is the status of a lock conflict. Default: 409.
	LockStatus int
	// MaxParallel is how many calls the tenant answers at the same time; one more is answered TooManyStatus. Default:
	// 10 (KBA 3577788); negative: any number.
	MaxParallel int
	// TooManyStatus is the status of a call too many. Default: 429; the vendor documents none.
	TooManyStatus int
	// BatchLimit is the most operations of one $batch. Default: 100.
	BatchLimit int
	// ContentID says where the answer to a $batch repeats a Content-ID. Default: nowhere.
	ContentID odatasim.ContentIDEcho

	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Code is a value of a code list. Context is for the contextual list TasksCategoryCollection alone.
type Code struct {
	Code        string
	Description string
	Context     string
}

// ExtensionField is a field of the tenant: text of at most MaxLength characters (0: unbounded).
type ExtensionField struct {
	Name      string
	MaxLength int
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
