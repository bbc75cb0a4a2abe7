package web

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// FieldTime is how browsers send a date with its time.
const FieldTime = "2006-01-02T15:04"

// Instant reads a time from a query or a form; without an offset it is UTC, and a date is its beginning, or for "to" its end. The plus of
// an offset may have been left unescaped, so that it arrives as a space.
func Instant(q url.Values, name string) (time.Time, error) {
	v := strings.Replace(strings.TrimSpace(q.Get(name)), " ", "+", 1)
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", FieldTime} {
		if t, err := time.Parse(layout, v); err == nil {
			return t.UTC(), nil
		}
	}
	t, err := time.Parse(time.DateOnly, v)
	if err != nil {
		return t, Wrong(name, "must be a date or a time, as 2026-07-24, 2026-07-24T09:30 or 2026-07-24T09:30:00Z")
	}
	if name == "to" {
		t = t.AddDate(0, 0, 1)
	}
	return t, nil
}

// again is when somebody may ask again who was not answered.
const again = 5 * time.Second

// Unread is the answer while the read model cannot be asked. Why goes to the log alone.
func Unread(err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return httpdoor.Unavailable("the read model cannot be asked now", again).Because(err)
}
