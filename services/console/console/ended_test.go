package console

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestNoSessionIsTakenBeforeItIsKnownWhichAreOver(t *testing.T) {
	away := errors.New("the broker is away")
	var reads int
	e := &ended{now: time.Now, refresh: func(context.Context) error { reads++; return away }}
	if !e.has("S-1") {
		t.Error("a session is taken, and it is not known whether it is over")
	}
	away = nil
	for range 2 {
		if e.has("S-1") {
			t.Error("a session that is not over is refused")
		}
	}
	if reads != 2 {
		t.Errorf("OPERATIONS was read %d times", reads)
	}
}

func TestASessionIsOverHereEvenWhereThatCannotBeRecorded(t *testing.T) {
	at := time.Now()
	e := &ended{
		now: func() time.Time { return at }, whole: true,
		note: func(context.Context, string, string, []byte) (uint64, error) {
			return 0, errors.New("the broker is away")
		},
	}
	if err := e.end(t.Context(), session{ID: "S-1", Expiry: at.Add(time.Hour)}); err == nil || !e.has("S-1") {
		t.Errorf("%v, over: %v", err, e.has("S-1"))
	}
	at = at.Add(time.Hour) // its cookie is worth nothing now
	e.keep(endedSession{ID: "S-2", Expiry: at.Add(time.Hour)})
	if len(e.expiry) != 1 || !e.has("S-2") {
		t.Errorf("kept are %v", e.expiry)
	}
}
