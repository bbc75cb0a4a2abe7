// Package webhook reads what Awardco sends about recognitions (awardco.md §3.9). Its scheme is known from one third-party
// text only, so signature and names of events are settings.
package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// The headers of the signed scheme.
const (
	HeaderSignature = "Awardco-Signature"
	HeaderTimestamp = "Awardco-Timestamp"
)

// Window is how far the timestamp of a delivery may be from now, on either side.
const Window = 5 * time.Minute

// ErrSignature is returned for a delivery that is not signed with one of the secrets, or not within the window.
var ErrSignature = errors.New("not signed with a secret of this webhook, or not within five minutes")

// Verify checks a delivery: Awardco-Signature is base64(HMAC-SHA256(secret, timestamp + "." + body)), the timestamp in
// unix seconds. Any of the secrets may have signed it, so that one can be replaced while both are in use. It gives when
// the delivery was signed.
func Verify(header http.Header, body []byte, secrets []string, now time.Time) (time.Time, error) {
	stamp := header.Get(HeaderTimestamp)
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return time.Time{}, ErrSignature
	}
	given, err := base64.StdEncoding.DecodeString(header.Get(HeaderSignature))
	if err != nil {
		return time.Time{}, ErrSignature
	}
	valid := false
	for _, secret := range secrets { // all of them, so that the time taken says nothing about which
		valid = hmac.Equal(sign(secret, stamp, body), given) || valid
	}
	at := time.Unix(seconds, 0).UTC()
	if off := now.Sub(at); !valid || off > Window || off < -Window {
		return time.Time{}, ErrSignature
	}
	return at, nil
}

func sign(secret, stamp string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// Decision is what an event means to us.
type Decision string

// The decisions, as they stand in the setting.
const (
	Approved Decision = "approved"
	Declined Decision = "declined"
	Ignored  Decision = "ignored"
)

// Events gives the meaning of each name of an event. It decodes name=meaning, separated by commas. Names that are not in
// it are ignored: third-party lists exceed what the help page offers (awardco.md §9 trap 9).
type Events map[string]Decision

// Decode reads the setting.
func (e *Events) Decode(value string) error {
	*e = Events{}
	for entry := range strings.SplitSeq(value, ",") {
		name, meaning, ok := strings.Cut(strings.TrimSpace(entry), "=")
		if !ok || name == "" || !slices.Contains([]Decision{Approved, Declined, Ignored}, Decision(meaning)) {
			return fmt.Errorf("%q is not name=approved, name=declined or name=ignored", entry)
		}
		(*e)[name] = Decision(meaning)
	}
	return nil
}

// String gives the setting again.
func (e Events) String() string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(e)) {
		all = append(all, name+"="+string(e[name]))
	}
	return strings.Join(all, ",")
}

// Delivery is what Awardco tells about a recognition.
type Delivery struct {
	// Event is its name, as recognition.approved.
	Event         string
	RecognitionID string
	// Amount that was granted; 0 where it is not told, or none.
	Amount float64
	// Reason why it was denied; empty where it is not told.
	Reason string
	// Data is all of it, to look for our reference in.
	Data map[string]any
}

// idMax is the longest id that is taken. Ids are short; one of any length would become a subject of the broker, which
// ends the connection of whoever sends one that is too long.
const idMax = 200

// Read takes a delivery apart. The names within data are assumed (awardco.md §3.9, §10 row 13), so more than one is
// understood. The error says what is missing.
func Read(body []byte) (Delivery, error) {
	var raw struct {
		EventType string         `json:"eventType"`
		Data      map[string]any `json:"data"`
	}
	if err := json.Unmarshal(body, &raw); err != nil {
		return Delivery{}, errors.New("the body is no JSON object with eventType and data")
	}
	if raw.EventType == "" {
		return Delivery{}, errors.New("eventType is missing")
	}
	id := text(raw.Data, "recognitionId", "id")
	if utf8.RuneCountInString(id) > idMax {
		return Delivery{}, fmt.Errorf("recognitionId is longer than %d characters", idMax)
	}
	return Delivery{
		Event: raw.EventType, Data: raw.Data,
		RecognitionID: id,
		Amount:        number(raw.Data, "points", "amount"),
		Reason:        text(raw.Data, "reason", "denialReason", "deniedReason"),
	}, nil
}

func text(data map[string]any, names ...string) string {
	for _, name := range names {
		switch v := data[name].(type) {
		case string:
			if v = strings.TrimSpace(v); v != "" {
				return v
			}
		case float64:
			return strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	return ""
}

func number(data map[string]any, names ...string) float64 {
	for _, name := range names {
		n, err := strconv.ParseFloat(text(data, name), 64)
		if err == nil && n > 0 && !math.IsInf(n, 0) {
			return n
		}
	}
	return 0
}
