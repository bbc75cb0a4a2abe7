// Package subscription reads the events that Qualtrics' event subscription delivers (qualtrics.md §3.9, §3.10).
package subscription

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
)

// ErrSignature is returned for an event that is not signed, or not with one of the keys.
var ErrSignature = errors.New("no valid signature")

// Notification is what an event says. Everything but survey and response may be missing; unknown keys are ignored.
type Notification struct {
	Topic                string `json:"-"`
	Status               string `json:"Status"`
	SurveyID             string `json:"SurveyID"`
	ResponseID           string `json:"ResponseID"`
	RecipientID          string `json:"RecipientID"`
	DistributionID       string `json:"DistributionID"`
	ResponseEventContext string `json:"ResponseEventContext"`
	CompletedDate        string `json:"CompletedDate"`
}

// Completed tells a completed response from sessions that began, partial responses and changes of surveys. It goes by
// the signed Status where there is one: the topic is not signed, and carries the brand's name in front.
func (n Notification) Completed() bool {
	if n.Status != "" {
		return strings.EqualFold(n.Status, "Complete") || strings.EqualFold(n.Status, "Completed")
	}
	return strings.Contains(n.Topic, "surveyengine.completedResponse")
}

// The kinds of events that are of no interest, for a metric: whatever else a status says is [KindOther].
const (
	KindNone  = "none"
	KindOther = "other"
)

// Kinds lists what [Notification.Kind] may give.
func Kinds() []string { return []string{"started", "partial", "active", KindNone, KindOther} }

// Kind names the status of an event in one of a few words: nothing that a sender could make up.
func (n Notification) Kind() string {
	if n.Status == "" {
		return KindNone
	}
	if status := strings.ToLower(n.Status); slices.Contains(Kinds(), status) && status != KindNone {
		return status
	}
	return KindOther
}

// idMax is the longest id that the contract of the event takes.
const idMax = 100

// Clean gives the event with nothing in its auxiliary fields that could keep it from being stored: what a survey's flow
// has put into them must never cost us the response.
func (n Notification) Clean() Notification {
	n.ResponseEventContext = strings.ToValidUTF8(n.ResponseEventContext, "\uFFFD")
	for _, id := range []*string{&n.RecipientID, &n.DistributionID} {
		if *id = strings.ToValidUTF8(*id, "\uFFFD"); utf8.RuneCountInString(*id) > idMax {
			*id = "" // no id of Qualtrics
		}
	}
	return n
}

// Check reports an id that is longer than any of Qualtrics is, as *contract.Violations: such a one would become a subject
// of the broker, which ends the connection of whoever sends one that is too long.
func (n Notification) Check() error {
	for name, id := range map[string]string{"SurveyID": n.SurveyID, "ResponseID": n.ResponseID} {
		if len(id) > idMax {
			return contract.Broken(name, "is longer than %d characters", idMax)
		}
	}
	return nil
}

// Parse reads a delivery. With keys the signed form is demanded: fields Topic, HMAC and MSG, the digest being
// HMAC-SHA512 over MSG as decoded from the form; any of the keys may have signed. Without keys both forms are read and
// nothing is verified. Errors: [ErrSignature], or *contract.Violations naming the form field.
func Parse(body []byte, keys []string) (Notification, error) {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return Notification{}, contract.Broken("", "is no valid form")
	}
	signed := form.Has("MSG")
	if len(keys) > 0 && !(signed && verify(form.Get("MSG"), form.Get("HMAC"), keys)) {
		return Notification{}, ErrSignature
	}
	n := Notification{Topic: form.Get("Topic")}
	if !signed {
		n.Status, n.SurveyID, n.ResponseID = form.Get("Status"), form.Get("SurveyID"), form.Get("ResponseID")
		n.RecipientID, n.DistributionID = form.Get("RecipientID"), form.Get("DistributionID")
		n.ResponseEventContext, n.CompletedDate = form.Get("ResponseEventContext"), form.Get("CompletedDate")
	} else if err := json.Unmarshal([]byte(form.Get("MSG")), &n); err != nil {
		return n, contract.Broken("MSG", "is no valid JSON of an event")
	}
	if n.Topic == "" && n.Status == "" {
		return n, contract.Broken("Topic", "is missing, and Status too: nothing says what happened")
	}
	return n, nil
}

func verify(message, digest string, keys []string) bool {
	given, err := hex.DecodeString(digest)
	if err != nil || len(given) == 0 {
		return false
	}
	valid := false
	for _, key := range keys { // all of them, so that the time says nothing about which
		mac := hmac.New(sha512.New, []byte(key))
		mac.Write([]byte(message))
		valid = hmac.Equal(mac.Sum(nil), given) || valid
	}
	return valid
}

// Renamed gives an error about the event's fields in the names that Qualtrics uses.
func Renamed(err error) error {
	f := fault.From(err)
	if f.Class != fault.Invalid {
		return err
	}
	names := map[string]string{"surveyId": "SurveyID", "responseId": "ResponseID"}
	if name, ok := names[f.Field]; ok {
		return contract.Broken(name, "%s", f.Reason)
	}
	return err
}
