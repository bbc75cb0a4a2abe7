package linker

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/event"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

func TestTheNewestOfThoseThatExpireSoonGoFirst(t *testing.T) {
	now := time.Now()
	request := func(id string, asked, expires time.Duration) event.Event {
		m := &eventsv1.SurveyLinkRequested{RequestId: id}
		if expires > 0 {
			m.Survey = &eventsv1.Survey{ExpiresAt: timestamppb.New(now.Add(expires))}
		}
		return event.Event{ID: id, Time: now.Add(-asked), Data: m}
	}
	const day = 24 * time.Hour
	events := []event.Event{
		request("old, has time", 9*day, 30*day), request("old, expires", 8*day, day),
		request("no expiry", 7*day, 0), request("new, expires", 1*day, day), request("new, has time", 0, 30*day),
	}
	slices.SortStableFunc(events, func(a, b event.Event) int {
		switch {
		case moreUrgent(a, b):
			return -1
		case moreUrgent(b, a):
			return 1
		}
		return 0
	})
	var got []string
	for _, e := range events {
		got = append(got, e.ID)
	}
	want := []string{"new, expires", "old, expires", "old, has time", "no expiry", "new, has time"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}
