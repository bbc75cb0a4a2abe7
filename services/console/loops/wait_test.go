package loops

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// statusOf gives how a vendor is.
func statusOf(t *testing.T, s *Store, vendor string) VendorStatus {
	t.Helper()
	all, err := s.Vendors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Vendor == vendor {
			return v
		}
	}
	t.Fatalf("nothing is known of %s", vendor)
	return VendorStatus{}
}

// TestAWaitBeginsOnce: however often an event is tried and held during an outage, in list, page and at the vendor it waits since it
// was stored.
func TestAWaitBeginsOnce(t *testing.T) {
	for _, held := range []string{activity.Held, activity.Paused} {
		t.Run(held, func(t *testing.T) {
			s, tale := open(t), newStory()
			e := tale.request(1)
			tale.tell(t, s)
			begun := loopOf(t, s, e.LoopID).Places[0].At
			for i, next := range []func(){
				func() { tale.tried(topology.QualtricsLinker, e, activity.Retry, fault.Transient, 10*time.Second) },
				func() { tale.vendor(topology.QualtricsLinker, "qualtrics", activity.Out, tale.at) },
				func() { tale.tried(topology.QualtricsLinker, e, held, fault.Busy, 10*time.Second) },
				func() { tale.tried(topology.QualtricsLinker, e, held, fault.Busy, 10*time.Second) },
				func() { tale.tried(topology.QualtricsLinker, e, held, fault.Busy, 10*time.Second) },
				func() { tale.vendor(topology.QualtricsLinker, "qualtrics", activity.Healthy, tale.at) },
			} {
				tale.messages, tale.at = nil, tale.at.Add(10*time.Minute)
				next()
				tale.tell(t, s)
				l, page := loopOf(t, s, e.LoopID), must(s.Find(t.Context(), Query{}))
				oldest := statusOf(t, s, "qualtrics").OldestWaiting
				if len(l.Waiting) != 1 || !l.Waiting[0].Since.Equal(begun) || !page.Loops[0].Since.Equal(begun) || !oldest.Equal(begun) {
					t.Errorf("after %d it waits for %+v; in the list since %s, at the vendor since %s, want %s", i, l.Waiting, page.Loops[0].Since, oldest, begun)
				}
			}
		})
	}
}

// TestAReplayBeginsTheWaitAnew is of one that a person gave back to the service.
func TestAReplayBeginsTheWaitAnew(t *testing.T) {
	s, tale := open(t), newStory()
	e := tale.request(1)
	letter := tale.letter(topology.QualtricsLinker, e, "")
	tale.at = tale.at.Add(time.Hour)
	tale.decide(replayed, letter, "op1", "")
	replay := tale.at
	tale.at = tale.at.Add(time.Hour)
	tale.tried(topology.QualtricsLinker, e, activity.Retry, fault.Transient, time.Hour)
	tale.tell(t, s)
	if l := loopOf(t, s, e.LoopID); len(l.Waiting) != 1 || !l.Waiting[0].Since.Equal(replay) {
		t.Errorf("it waits for %+v, want since %s", l.Waiting, replay)
	}
}

// TestSubmittedIsNotAwarded is of recognitions that a person in Awardco approves, or does not.
func TestSubmittedIsNotAwarded(t *testing.T) {
	approved := func() (string, proto.Message) {
		return subjects.RecognitionApproved, &eventsv1.RecognitionApproved{ResponseId: "R_1", RecognitionId: "REC-1", Amount: 25}
	}
	declined := func() (string, proto.Message) {
		return subjects.RecognitionDeclined, &eventsv1.RecognitionDeclined{ResponseId: "R_1", Reason: "twice"}
	}
	other := func() (string, proto.Message) {
		return subjects.RecognitionApproved, &eventsv1.RecognitionApproved{ResponseId: "R_2", RecognitionId: "REC-2"}
	}
	for _, c := range []struct {
		name, state string
		ago         time.Duration
		decided     func() (string, proto.Message)
		first       bool // it is told before what was submitted
		want        State
		closed      bool
	}{
		{"nobody approves", "SUBMITTED", 0, nil, false, Completed, true},
		{"not decided", pendingApproval, 0, nil, false, Processing, false},
		{"approved", pendingApproval, 0, approved, false, Completed, true},
		{"declined", pendingApproval, 0, declined, false, Completed, true},
		{"approved before it is known to be submitted", pendingApproval, 0, approved, true, Completed, true},
		{"another is approved", pendingApproval, 0, other, false, Processing, false},
		{"nobody has told for long", pendingApproval, 100 * 24 * time.Hour, nil, false, Completed, false},
		{"told after long", pendingApproval, 100 * 24 * time.Hour, approved, false, Completed, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, tale := open(t), newStory()
			tale.at = tale.at.Add(-c.ago)
			e := tale.say(must(event.New(topology.FeedbackRouter, subjects.RecognitionRequested, &eventsv1.RecognitionRequested{
				ResponseId: "R_1", Recipient: &eventsv1.Recipient{EmployeeId: "E1"}, Score: 5, Note: "Thank you",
			})))
			decide := func() {
				if c.decided == nil {
					return
				}
				tale.at = tale.at.Add(time.Hour)
				subject, m := c.decided()
				tale.follow(e, topology.AwardcoRecognizer, subject, m)
			}
			if c.first {
				decide()
			}
			tale.follow(e, topology.AwardcoRecognizer, subjects.RecognitionSubmitted, &eventsv1.RecognitionSubmitted{ResponseId: "R_1", RecognitionId: "REC-1", State: c.state})
			submitted := tale.at
			tale.attempt(topology.AwardcoRecognizer, nil, e)
			if !c.first {
				decide()
			}
			tale.tell(t, s)
			tale.messages = nil
			for _, state := range []string{activity.Out, activity.Healthy} { // which is no matter of the person who approves
				tale.vendor(topology.AwardcoRecognizer, "awardco", state, tale.at)
				tale.tell(t, s)
				tale.messages = nil
				l := loopOf(t, s, e.LoopID)
				if l.State != c.want || l.Closed.IsZero() == c.closed || (l.Stage == Closed) != c.closed || l.Stage != Closed && l.Stage != Acted {
					t.Errorf("it is %s and %s, closed %s", l.State, l.Stage, l.Closed)
				}
				if got := stand(t, s, Query{State: c.want}); len(got) != 1 {
					t.Errorf("in the list of %s are %d", c.want, len(got))
				}
				if n := statusOf(t, s, "awardco").Waiting; n != 0 {
					t.Errorf("%d wait for the vendor", n)
				}
				if c.want != Processing {
					continue
				}
				if w := l.Waiting; len(w) != 1 || w[0].For != ForApproval || w[0].Vendor != "awardco" || w[0].Letter != 0 || !w[0].Since.Equal(submitted) || l.Waits != "the approval in Awardco" {
					t.Errorf("it waits for %+v, in words: %s", w, l.Waits)
				}
			}
			if l := loopOf(t, s, e.LoopID); c.closed && c.decided != nil && !c.first && l.Closed.Sub(submitted) < time.Hour-time.Minute {
				t.Errorf("it was closed at %s, submitted at %s", l.Closed, submitted)
			}
		})
	}
}
