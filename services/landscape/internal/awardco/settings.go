package awardco

import "time"

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

// Settings are the switches of the simulator: what the contract marks as assumed. The zero value is the contract's
// default for each (awardco.md §10).
type Settings struct {
	// Keys are the API keys, each with the operations that it may call; none named: all. Default: "simulator" for all.
	Keys map[string][]string
	// MissingPermissionStatus is the status for a key that may not call an operation. Default: 403.
	MissingPermissionStatus int
	// Errors is the form of refusals. 401 and 403 keep their status in every form.
	Errors ErrorShape
	// RateLimit is the most calls of one second; more are answered 429. Default: 0, no limit.
	RateLimit int
	// NoRetryAfter leaves Retry-After out of a 429.
	NoRetryAfter bool
	// IdempotencyHeader names a request header whose repeated value gets the first answer again. Default: none; the
	// same call twice makes two recognitions.
	IdempotencyHeader string
	// PartialSuccess recognizes the known recipients of a call that names unknown ones too. Default: all or nothing.
	PartialSuccess bool
	// NoRecognitionID leaves recognitionId out of the answer.
	NoRecognitionID bool
	// Tags are the tags that exist. RefuseUnknownTags refuses any other. Default: any tag is taken.
	Tags              []string
	RefuseUnknownTags bool
	// AcceptUnknownFields ignores unknown fields of a body. Default: 400, so that a typing mistake shows.
	AcceptUnknownFields bool
	// ReportPolls is how many polls of a report answer "in progress" before it is completed. Default: 1; negative: none.
	ReportPolls int
	// ReportPageSize is the number of lines of a report's page. Default: 100.
	ReportPageSize int
	// Now is the clock. Default: time.Now.
	Now func() time.Time
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
	if s.Now == nil {
		s.Now = time.Now
	}
	return s
}
