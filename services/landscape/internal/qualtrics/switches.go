package qualtrics

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"time"

	"github.com/goccy/go-yaml"
)

// Switches are the questions that no document answers and the ways in which the vendor misbehaves (qualtrics.md §9,
// §10). The zero value of each is what the contract assumes, and a vendor in its best mood. They may be changed at any
// time, see [Simulator.Change].
type Switches struct {
	// Limits are the brand's rates.
	Limits Limits `json:"limits"`
	// ErrorRate is the part of the calls, from 0 to 1, that is answered 500: Qualtrics calls 0.01 within specification
	// (qualtrics.md §2.8). ErrorActs lets these calls act before.
	ErrorRate float64 `json:"errorRate"`
	ErrorActs bool    `json:"errorActs"`
	// TimeoutRate is the part of the calls, from 0 to 1, that acts and is answered 504.
	TimeoutRate float64 `json:"timeoutRate"`
	// Latency is how long a call takes. One that would take longer than ServerTimeout acts and is answered 504 after
	// it; 0 means 5 s (qualtrics.md §4.1).
	Latency       time.Duration `json:"latency"`
	ServerTimeout time.Duration `json:"serverTimeout"`
	// ProxiedTo adds the notice that the call went to the wrong data centre, with that host; empty adds none.
	ProxiedTo string `json:"proxiedTo"`
	// Seed makes what happens at random repeatable.
	Seed uint64 `json:"seed"`

	// TokenRevoked refuses the API token with 401, as after it was made anew.
	TokenRevoked bool `json:"tokenRevoked"`
	// NoBrandAdmin forbids event subscriptions and erasures with 403 (qualtrics.md §3.9, §3.14: a brand administrator is
	// required).
	NoBrandAdmin bool `json:"noBrandAdmin"`
	// TokenLife is how long an access token holds; 0 means 24 hours.
	TokenLife time.Duration `json:"tokenLife"`
	// OAuthFormOnly refuses a token call in multipart form.
	OAuthFormOnly bool `json:"oauthFormOnly"`
	// EnforceScopes gives no token for no scope or a malformed one, and answers 403 to an access token that lacks the
	// scope of an operation. manage:all allows everything, manage:x what read:x does.
	EnforceScopes bool `json:"enforceScopes"`
	// GrantedScopes are what the OAuth client may ask for under EnforceScopes; none means every scope.
	GrantedScopes []string `json:"grantedScopes"`
	// ScopeNames give resources of scopes other names: contact_transactions, directory_contacts, directories, users (all
	// documented), transaction_batches, distributions, event_subscriptions, survey_responses, erasure_requests (assumed).
	ScopeNames map[string]string `json:"scopeNames"`

	// MaxTransactions is how many transactions one call may create, MaxBatch how many ids a batch; 0 means any number.
	MaxTransactions int `json:"maxTransactions"`
	MaxBatch        int `json:"maxBatch"`
	// RefuseEmptyBatch answers 400 to transactionIds: [].
	RefuseEmptyBatch bool `json:"refuseEmptyBatch"`
	// TolerantAction reads the action of a distribution in any case.
	TolerantAction bool `json:"tolerantAction"`
	// CreateWindow is how long a new contact is not found by its id.
	CreateWindow time.Duration `json:"createWindow"`
	// UnknownDirectoryIsEmpty answers 200 with nothing created to transactions in an unknown directory.
	UnknownDirectoryIsEmpty bool `json:"unknownDirectoryIsEmpty"`

	// ImportDuration is how long an import takes at least, ImportPerRow what each of its rows adds.
	ImportDuration time.Duration `json:"importDuration"`
	ImportPerRow   time.Duration `json:"importPerRow"`
	// ImportQueueStatus is the status with a full queue of imports; 0 means 429.
	ImportQueueStatus int `json:"importQueueStatus"`
	// UnprocessedAsText gives the indexes of unprocessed rows as strings.
	UnprocessedAsText bool `json:"unprocessedAsText"`

	// LinkContactID is the kind of contactId in links: CID (or empty), CGC, or MLRP (CGC in its older spelling).
	LinkContactID string `json:"linkContactId"`
	// LinkDelay is how long a new distribution has no links yet; LinkDelayReads how many readings of it find none.
	LinkDelay      time.Duration `json:"linkDelay"`
	LinkDelayReads int           `json:"linkDelayReads"`
	// LinkPages are the sizes of one page of links after the other, repeated; none means 100.
	LinkPages []int `json:"linkPages"`
	// EmptyLastPage adds an empty page of links after the last full one.
	EmptyLastPage bool `json:"emptyLastPage"`
	// OmitNextPage leaves nextPage out on a last page instead of giving null.
	OmitNextPage bool `json:"omitNextPage"`
	// NextPageBaseURL is another host for nextPage, which gets the parameters of a proxied call (qualtrics.md §2.1) as
	// well; empty means APIURL.
	NextPageBaseURL string `json:"nextPageBaseUrl"`
	// MissingLinks leaves every nth link out of the answers; 0 leaves out none. They are missing for good, or for
	// MissingFor after the distribution was made, or from as many of its readings as MissingReads says.
	MissingLinks int           `json:"missingLinks"`
	MissingFor   time.Duration `json:"missingFor"`
	MissingReads int           `json:"missingReads"`
	// UnsubscribedAsText gives unsubscribed in links as "0" and "1".
	UnsubscribedAsText bool `json:"unsubscribedAsText"`
	// OmitTransactionID gives links without transactionId, as in 2019.
	OmitTransactionID bool `json:"omitTransactionId"`
	// FrequencyLimit is how many invitations a contact may get within FrequencyWindow; each reading of its link counts
	// as one. 0 means no rule. A window of 0 means 24 hours.
	FrequencyLimit  int           `json:"frequencyLimit"`
	FrequencyWindow time.Duration `json:"frequencyWindow"`
	// FrequencyNullLink gives no link to a contact over the limit.
	FrequencyNullLink bool `json:"frequencyNullLink"`
	// LinkMaxDays refuses expiration dates further away than that; 0 means no maximum.
	LinkMaxDays int `json:"linkMaxDays"`
	// OpeningConsumes uses up a single-use link when its page is opened, as a mail scanner might.
	OpeningConsumes bool `json:"openingConsumes"`
	// HistoryPages are the sizes of the pages of a distribution's history, as LinkPages are.
	HistoryPages []int `json:"historyPages"`

	// ErasureDuration is how long an erasure takes; ErasureKeepsLinks leaves the rows of personal links in distributions
	// (qualtrics.md §6.3 has it so, in words that can be read both ways).
	ErasureDuration   time.Duration `json:"erasureDuration"`
	ErasureKeepsLinks bool          `json:"erasureKeepsLinks"`

	// NotReadyReads is how many reads of a new response are answered 202; NotReadyFor how long they all are.
	NotReadyReads int           `json:"notReadyReads"`
	NotReadyFor   time.Duration `json:"notReadyFor"`
	// ResponseStatuses are the statuses of one response after the other, repeated: 0 normal, 1 preview, 2 test,
	// 4 imported, 8 spam (qualtrics.md §3.13); none means 0.
	ResponseStatuses []int `json:"responseStatuses"`
	// DistributionChannel is that of responses by generated links; empty means gl.
	DistributionChannel string `json:"distributionChannel"`

	// EventAttempts is how often an event is sent before it is given up; 0 means 10, 1 means no retry.
	EventAttempts int `json:"eventAttempts"`
	// EventBackoff is the wait before the first retry, doubled for each further one up to 5 minutes; 0 means 1 s.
	EventBackoff time.Duration `json:"eventBackoff"`
	// EventTimeout is how long an answer to an event is waited for; 0 means 10 s.
	EventTimeout time.Duration `json:"eventTimeout"`
	// EventDuplicates is how many times more each event is sent.
	EventDuplicates int `json:"eventDuplicates"`
	// EventLoss is the part of the events, from 0 to 1, that is never sent.
	EventLoss float64 `json:"eventLoss"`
	// EventDelay holds each event back, EventSpread by a random time up to this more, which reorders them.
	EventDelay  time.Duration `json:"eventDelay"`
	EventSpread time.Duration `json:"eventSpread"`
	// UnsignedEvents sends events as subscriptions without a key get them, whatever the subscription.
	UnsignedEvents bool `json:"unsignedEvents"`
	// PlusForSpace encodes spaces in MSG as + instead of %20.
	PlusForSpace bool `json:"plusForSpace"`
	// RefuseSameSubscription answers 400 to a topic and URL that are subscribed already.
	RefuseSameSubscription bool `json:"refuseSameSubscription"`
	// TaskBackoff is the wait before a task's first retry, doubled for each further one up to an hour; 0 means 5 s.
	TaskBackoff time.Duration `json:"taskBackoff"`
}

// With gives the switches with those changed that text names, a YAML or JSON object by the names that [Switches.JSON]
// uses; durations are written as 1m30s, and a list or map takes the place of the one before. It fails on names that are not there and on values that make no sense.
func (a Switches) With(text []byte) (Switches, error) {
	a.Limits.Calls, a.ScopeNames = maps.Clone(a.Limits.Calls), maps.Clone(a.ScopeNames)
	err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&a)
	if err != nil && !errors.Is(err, io.EOF) {
		return a, err
	}
	return a, a.check()
}

// JSON gives the switches as a JSON object.
func (a Switches) JSON() ([]byte, error) { return yaml.MarshalWithOptions(a, yaml.JSON()) }

// check tells what is wrong with the switches, and fills in the defaults of what is 0 or empty.
func (a *Switches) check() error {
	if !slices.Contains([]string{"", "CID", "CGC", "MLRP"}, a.LinkContactID) {
		return fmt.Errorf("linkContactId: %q is none of CID, CGC, MLRP", a.LinkContactID)
	}
	for name, part := range map[string]float64{
		"errorRate": a.ErrorRate, "timeoutRate": a.TimeoutRate, "eventLoss": a.EventLoss,
	} {
		if part < 0 || part > 1 {
			return fmt.Errorf("%s: %v is not between 0 and 1", name, part)
		}
	}
	for name, sizes := range map[string][]int{"linkPages": a.LinkPages, "historyPages": a.HistoryPages} {
		if slices.ContainsFunc(sizes, func(n int) bool { return n < 1 || n > linkPage }) {
			return fmt.Errorf("%s: sizes are 1 to %d", name, linkPage)
		}
	}
	for _, status := range a.ResponseStatuses {
		if _, known := statusLabels[status]; !known {
			return fmt.Errorf("responseStatuses: %d is none of 0, 1, 2, 4, 8", status)
		}
	}
	if next, err := url.Parse(a.NextPageBaseURL); a.NextPageBaseURL != "" && (err != nil || next.Host == "") {
		return fmt.Errorf("nextPageBaseUrl: needs scheme and host")
	}
	if a.ErasureDuration < 0 {
		return fmt.Errorf("erasureDuration: must not be negative")
	}
	if a.EventDelay < 0 || a.EventSpread < 0 {
		return fmt.Errorf("eventDelay, eventSpread: none may be negative")
	}
	a.ServerTimeout = cmp.Or(a.ServerTimeout, 5*time.Second)
	a.TokenLife = cmp.Or(a.TokenLife, 24*time.Hour)
	a.FrequencyWindow = cmp.Or(a.FrequencyWindow, 24*time.Hour)
	a.ImportQueueStatus = cmp.Or(a.ImportQueueStatus, http.StatusTooManyRequests)
	a.DistributionChannel = cmp.Or(a.DistributionChannel, "gl")
	a.EventAttempts = cmp.Or(a.EventAttempts, 10)
	a.EventBackoff = cmp.Or(a.EventBackoff, time.Second)
	a.EventTimeout = cmp.Or(a.EventTimeout, 10*time.Second)
	a.TaskBackoff = cmp.Or(a.TaskBackoff, 5*time.Second)
	return a.Limits.check()
}

// Switches gives the switches in force, with their defaults filled in.
func (s *Simulator) Switches() Switches {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.settings.Assumed
}

// Change puts the switches in force that text changes, see [Switches.With]. It fails, and changes nothing, where they
// make no sense.
func (s *Simulator) Change(text []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, err := s.settings.Assumed.With(text)
	if err != nil {
		return err
	}
	return s.set(a)
}

// Set puts other switches in force. It fails, and changes nothing, where they make no sense. Other limits, or another
// seed, begin anew.
func (s *Simulator) Set(a Switches) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.set(a)
}

func (s *Simulator) set(a Switches) error {
	if err := a.check(); err != nil {
		return err
	}
	old := s.settings.Assumed
	s.settings.Assumed = a
	if a.Seed != old.Seed {
		s.random = newRandom(a.Seed)
	}
	if !reflect.DeepEqual(a.Limits, old.Limits) {
		s.limiter = newLimiter(a.Limits)
	}
	return nil
}
