package odata

import (
	"encoding/json"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

// Quote makes a string literal for a filter or a key: quotes around it, quotes within doubled (odata-v2.md §5). What
// goes into the query is still to be encoded, as [outbound.Call] does; in a path use [url.PathEscape] on it.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// ErrWildcard is the cause of the fault of [QuoteExact].
var ErrWildcard = errors.New("a * would match anything in a filter of SAP Sales Cloud")

// QuoteExact is [Quote] for filters of C4C, in which * is a wildcard and cannot be escaped (odata-v2.md §7). A value
// with one is a fault of class [fault.Invalid] with cause [ErrWildcard], lest it find somebody else's records.
func QuoteExact(s string) (string, error) {
	if strings.Contains(s, "*") {
		return "", fault.New(fault.Invalid, "%w", ErrWildcard)
	}
	return Quote(s), nil
}

const (
	isoLocal = "2006-01-02T15:04:05.999"
	isoUTC   = isoLocal + "Z"
)

// DateTimeOffset is an Edm.DateTimeOffset. It reads /Date(ms+offset)/ with the offset in minutes, and ISO 8601; null and
// "" are the zero time. It writes ISO 8601 in UTC, milliseconds at most, and null for the zero time (odata-v2.md §5).
type DateTimeOffset struct{ time.Time }

// UnmarshalJSON reads both forms.
func (d *DateTimeOffset) UnmarshalJSON(data []byte) (err error) {
	d.Time, err = parseTime(data)
	return err
}

// MarshalJSON writes ISO 8601.
func (d DateTimeOffset) MarshalJSON() ([]byte, error) { return marshalTime(d.Time, isoUTC) }

// Literal gives the value for a filter: datetimeoffset'2026-07-24T09:30:00Z'.
func (d DateTimeOffset) Literal() string { return "datetimeoffset'" + d.UTC().Format(isoUTC) + "'" }

// DateTime is an Edm.DateTime, which has no zone and is taken as UTC. It reads what [DateTimeOffset] reads, and writes
// ISO 8601 without a zone (odata-v2.md §5).
type DateTime struct{ time.Time }

// UnmarshalJSON reads both forms.
func (d *DateTime) UnmarshalJSON(data []byte) (err error) {
	d.Time, err = parseTime(data)
	return err
}

// MarshalJSON writes ISO 8601 without a zone.
func (d DateTime) MarshalJSON() ([]byte, error) { return marshalTime(d.Time, isoLocal) }

// Literal gives the value for a filter: datetime'2026-07-24T09:30:00'.
func (d DateTime) Literal() string { return "datetime'" + d.UTC().Format(isoLocal) + "'" }

// Ticks gives a time in the other form that SAP reads, /Date(ms)/, for a tenant that takes no ISO 8601 (odata-v2.md §5, §12).
func Ticks(t time.Time) string { return "/Date(" + strconv.FormatInt(t.UnixMilli(), 10) + ")/" }

func marshalTime(t time.Time, layout string) ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return []byte(`"` + t.UTC().Format(layout) + `"`), nil
}

var (
	ticks      = regexp.MustCompile(`^/Date\((-?\d+)([+-]\d+)?\)/$`)
	errNotTime = errors.New("a date is neither /Date(…)/ nor ISO 8601")
)

func parseTime(data []byte) (time.Time, error) {
	var s string
	if err := json.Unmarshal(data, &s); err != nil {
		return time.Time{}, errNotTime
	}
	if s == "" {
		return time.Time{}, nil
	}
	if m := ticks.FindStringSubmatch(s); m != nil {
		return sayable(ticksTime(m[1], m[2]))
	}
	for _, layout := range []string{time.RFC3339Nano, isoLocal} {
		if t, err := time.Parse(layout, s); err == nil {
			return sayable(t, nil)
		}
	}
	return time.Time{}, errNotTime
}

// sayable refuses a time that neither ISO 8601 nor an event can say.
func sayable(t time.Time, err error) (time.Time, error) {
	if year := t.UTC().Year(); err == nil && (year < 1 || year > 9999) {
		return time.Time{}, errNotTime
	}
	return t, err
}

// ticksTime: the milliseconds are UTC, the offset in minutes only says in which zone to show them.
func ticksTime(millis, offset string) (time.Time, error) {
	ms, err := strconv.ParseInt(millis, 10, 64)
	if err != nil {
		return time.Time{}, errNotTime
	}
	t := time.UnixMilli(ms).UTC()
	if offset == "" {
		return t, nil
	}
	minutes, err := strconv.Atoi(offset)
	if err != nil {
		return time.Time{}, errNotTime
	}
	if minutes != 0 {
		t = t.In(time.FixedZone("", minutes*60))
	}
	return t, nil
}

// Decimal is an Edm.Decimal or Edm.Int64, kept as its digits, since both are strings in JSON (odata-v2.md §5). It reads
// a number as well, null as "", and writes a string, or null for "".
type Decimal string

var digits = regexp.MustCompile(`^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$`)

// UnmarshalJSON reads a string or a number.
func (d *Decimal) UnmarshalJSON(data []byte) error {
	s := strings.Trim(string(data), `"`)
	if s == "null" {
		s = ""
	}
	if *d = Decimal(s); s != "" && !digits.MatchString(s) {
		return errNotDecimal
	}
	return nil
}

// MarshalJSON writes a string; what is not a number is an error.
func (d Decimal) MarshalJSON() ([]byte, error) {
	if d == "" {
		return []byte("null"), nil
	}
	if !digits.MatchString(string(d)) {
		return nil, errNotDecimal
	}
	return []byte(`"` + d + `"`), nil
}

var errNotDecimal = errors.New("a decimal is not a number")
