package activity_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
)

func TestWhatIsNotedBelongsToItsRoundAndItsEvent(t *testing.T) {
	ctx, recorder := activity.Record(t.Context())
	began := time.Now()
	var work sync.WaitGroup
	for i := range 50 {
		work.Go(func() {
			one := activity.About(ctx, fmt.Sprint("E-", i%2))
			activity.Called(one, activity.Call{Operation: "alone", At: began.Add(time.Duration(50-i) * time.Second)})
			activity.Decided(one, activity.Decision{Rule: fmt.Sprint("R-", i)})
		})
	}
	work.Wait()
	activity.Called(ctx, activity.Call{Operation: "together", At: began})
	activity.Called(context.Background(), activity.Call{Operation: "outside"})
	a := activity.Attempt{Events: []activity.Handled{{EventID: "E-0"}, {EventID: "E-1"}}}
	recorder.End(&a)
	activity.Called(ctx, activity.Call{Operation: "too late"})
	activity.Decided(ctx, activity.Decision{Rule: "too late"})
	if len(a.Calls) != 51 || a.Calls[0].Operation != "together" || a.Calls[0].EventID != "" {
		t.Fatalf("%d calls, the first %+v", len(a.Calls), a.Calls[0])
	}
	for i, c := range a.Calls[1:] {
		if c.EventID == "" || c.At.Before(a.Calls[i].At) {
			t.Errorf("call %d: %+v after %s", i, c, a.Calls[i].At)
		}
	}
	for _, e := range a.Events {
		if len(e.Rules) != 25 {
			t.Errorf("%d decisions about %s, want 25", len(e.Rules), e.EventID)
		}
	}
}

func TestADecisionThatNamesNoEventIsThatOfTheOneInHand(t *testing.T) {
	ctx, recorder := activity.Record(t.Context())
	activity.Decided(ctx, activity.Decision{Rule: "a"}, activity.Decision{Rule: "b"})
	a := activity.Attempt{Events: []activity.Handled{{EventID: "E-1"}}}
	recorder.End(&a)
	if got := a.Events[0].Rules; len(got) != 2 || got[0].Rule != "a" || got[1].Rule != "b" {
		t.Errorf("%+v", got)
	}
}

// large is a round with so many events, calls for each of them, and calls for all.
func large(events, each, all int) activity.Attempt {
	reason := strings.Repeat("ж", 320)
	a := activity.Attempt{Service: "qualtrics-linker", Wave: events}
	for i := range all {
		a.Calls = append(a.Calls, activity.Call{Operation: fmt.Sprint("all ", i), Outcome: "refused", Reason: reason})
	}
	for i := range events {
		id := fmt.Sprint("survey.link.requested-A1B2C3D4E5F60718293A4B5C6D7E8F90-", i)
		a.Events = append(a.Events, activity.Handled{EventID: id, LoopID: id, Type: "survey.link.requested", Outcome: activity.Retry, Reason: reason})
		for n := range each {
			a.Calls = append(a.Calls, activity.Call{EventID: id, Operation: fmt.Sprint("own ", n), Outcome: "transient", Reason: reason})
		}
	}
	return a
}

func TestARoundIsToldInPartsThatFitAndHoldAllOfIt(t *testing.T) {
	for name, a := range map[string]activity.Attempt{
		"one": large(1, 3, 2), "as many as fit": large(500, 0, 250), "many events": large(1700, 0, 20), "each by itself": large(1000, 5, 3),
		"many calls for all": large(3, 1, 900), "one with many calls": large(1, 400, 0),
	} {
		t.Run(name, func(t *testing.T) {
			parts := a.Parts()
			if fits := len(a.Events) <= 500 && len(a.Calls) <= 250; fits && len(parts) != 1 {
				t.Errorf("%d parts of what fits into one", len(parts))
			}
			events, calls := map[string]int{}, map[string]int{}
			for i, p := range parts {
				body, err := json.Marshal(p)
				if err != nil || len(body) > 900<<10 {
					t.Errorf("part %d has %d bytes, %v", i, len(body), err)
				}
				if p.Wave != a.Wave || p.Service != a.Service {
					t.Errorf("part %d is of another round: %+v", i, p)
				}
				here := map[string]bool{}
				for _, e := range p.Events {
					events[e.EventID]++
					here[e.EventID] = true
				}
				for _, c := range p.Calls {
					if c.EventID != "" && !here[c.EventID] {
						t.Errorf("part %d has a call of %s and not that event", i, c.EventID)
					}
					if !c.Repeated {
						calls[c.EventID+" "+c.Operation]++
					}
				}
			}
			for _, e := range a.Events {
				if events[e.EventID] != 1 {
					t.Fatalf("%s is told %d times", e.EventID, events[e.EventID])
				}
			}
			for _, c := range a.Calls {
				if n := calls[c.EventID+" "+c.Operation]; n != 1 {
					t.Fatalf("%s of %q counts %d times", c.Operation, c.EventID, n)
				}
			}
		})
	}
}

func TestCallsForAllAreShownWithEachPart(t *testing.T) {
	parts := large(1200, 0, 4).Parts()
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	for i, p := range parts {
		if len(p.Calls) != 4 || p.Calls[0].Repeated != (i > 0) {
			t.Errorf("part %d: %d calls, repeated %v", i, len(p.Calls), p.Calls[0].Repeated)
		}
	}
}

func TestWhatIsSaidOfOneEventHasItsCallsAndThoseForAll(t *testing.T) {
	whole := large(3, 2, 4)
	id := whole.Events[1].EventID
	one := whole.Only(func(h activity.Handled) bool { return h.EventID == id })
	if len(one.Events) != 1 || one.Events[0].EventID != id || len(one.Calls) != 6 || one.Wave != 3 {
		t.Errorf("%d events, %d calls of a wave of %d", len(one.Events), len(one.Calls), one.Wave)
	}
	for _, c := range one.Calls {
		if c.EventID != "" && c.EventID != id {
			t.Errorf("a call of %s", c.EventID)
		}
	}
	if len(whole.Calls) != 10 {
		t.Error("the whole has changed")
	}
}
