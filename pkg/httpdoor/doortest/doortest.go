// Package doortest knocks at a door without a network, and holds what every answer of a door promises, for tests that hunt
// for requests which it cannot take.
package doortest

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/event"
)

// Store keeps events as a bus would that takes everything it can send.
type Store struct {
	mu     sync.Mutex
	events []event.Event
}

// Publish stores an event, unless it cannot be sent or nobody could read it.
func (s *Store) Publish(_ context.Context, e event.Event) (duplicate bool, err error) {
	if _, err := event.Encode(e); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	return false, nil
}

// Events gives what is stored.
func (s *Store) Events() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events
}

// Slow is longer than any answer may take in which nobody waits for an outcome.
const Slow = 30 * time.Second

// Knock sends a request and holds the answer to what doors promise, whatever was sent: in time, never an error of ours,
// and either all of the request is taken and what is stored can be read again, or a problem says what is wrong without
// repeating an address or a link, and nothing is stored.
func Knock(t testing.TB, door http.Handler, store *Store, method, path string, header http.Header, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/", bytes.NewReader(body))
	r.URL.Path, r.Header = path, header
	before, began, answer := len(store.Events()), time.Now(), httptest.NewRecorder()
	door.ServeHTTP(answer, r)
	if took := time.Since(began); took > Slow {
		t.Errorf("answered after %s", took)
	}
	stored := store.Events()[before:]
	switch {
	case answer.Code >= 500:
		t.Errorf("answered %d: %s", answer.Code, answer.Body)
	case answer.Code >= 400:
		sound(t, answer)
		if len(stored) > 0 {
			t.Errorf("answered %d, and stored %d events", answer.Code, len(stored))
		}
	default:
		readable(t, stored)
	}
	return answer
}

func sound(t testing.TB, answer *httptest.ResponseRecorder) {
	t.Helper()
	var problem struct {
		Status int
		Title  string
		Detail string
		Errors []struct{ Field, Message string }
	}
	if err := json.Unmarshal(answer.Body.Bytes(), &problem); err != nil || problem.Status != answer.Code || problem.Title == "" || problem.Detail == "" {
		t.Errorf("no problem: %v in %d %s", err, answer.Code, answer.Body)
	}
	for _, e := range problem.Errors {
		if e.Message == "" {
			t.Errorf("nothing is said about %q", e.Field)
		}
	}
	// What a caller sent shows itself by these; nothing that we say has them.
	if text := answer.Body.String(); strings.Contains(text, "@") || strings.Contains(text, "://") {
		t.Errorf("repeats what was sent: %s", text)
	}
}

func readable(t testing.TB, stored []event.Event) {
	t.Helper()
	for _, e := range stored {
		m, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		back, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{})
		if err != nil {
			t.Errorf("stored, but its service would refuse it: %v", err)
		}
		if back.ID != e.ID || back.LoopID != e.LoopID || back.DedupeKey() == "" {
			t.Errorf("stored as %+v, read as %+v", e, back)
		}
	}
}
