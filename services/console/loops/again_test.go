package loops

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// TestAWaveInPartsIsCountedOnce is of a wave that is told in several messages, each with the calls that were made for all.
func TestAWaveInPartsIsCountedOnce(t *testing.T) {
	s, tale := open(t), newStory()
	a := activity.Attempt{Service: topology.QualtricsLinker, At: tale.at, Wave: 1200, Calls: []activity.Call{tale.call("qualtrics", "import", 1200)}}
	for n := range 1200 {
		e := tale.request(n)
		a.Events = append(a.Events, activity.Handled{EventID: e.ID, LoopID: e.LoopID, Type: e.Type, Attempt: 1, Outcome: activity.Done})
	}
	parts := a.Parts()
	for _, part := range parts {
		m := nats.NewMsg(topology.ActivitySubject(topology.QualtricsLinker, activity.KindAttempt))
		m.Data = must(json.Marshal(part))
		tale.emit(m)
	}
	tale.tell(t, s)
	n, err := s.Numbers(t.Context(), Span{})
	if err != nil || len(n.Vendors) != 1 || n.Vendors[0].Calls != 1 || n.Vendors[0].Saved != 1199 {
		t.Errorf("of a call in %d parts is counted %+v, %v", len(parts), n.Vendors, err)
	}
}

// TestOthersOfAWaveAreLeftOut reads a wave with a call for each of its events: a loop is shown its own.
func TestOthersOfAWaveAreLeftOut(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	mine, other := l.story.request(1), l.story.request(2)
	all := l.story.call("qualtrics", "import", 2)
	first, second := l.story.call("qualtrics", "link", 1), l.story.call("qualtrics", "link", 1)
	first.EventID, second.EventID = mine.ID, other.ID
	l.story.attempt(topology.QualtricsLinker, []activity.Call{all, first, second}, mine, other)
	var loop Loop
	bustest.Eventually(t, "the attempt is there", func() bool {
		var err error
		loop, err = l.store.Loop(t.Context(), mine.LoopID)
		return err == nil && len(loop.Places) == 2
	})
	entries, err := NewReader(l.Broker.Bus(topology.Console).JetStream()).Read(t.Context(), loop.Places)
	if err != nil {
		t.Fatal(err)
	}
	a := entries[1].Attempt
	if a == nil || len(a.Events) != 1 || len(a.Calls) != 2 || slices.ContainsFunc(a.Calls, func(c activity.Call) bool { return c.EventID == other.ID }) {
		t.Errorf("the loop is shown %+v", a)
	}
}

// TestWhatIsSaidLate are states that depend on who says something last.
func TestWhatIsSaidLate(t *testing.T) {
	idle := map[string]int64{topology.QualtricsLinker: time.Now().UnixNano()}
	for _, c := range []struct {
		name  string
		world world
		tell  func(*story) event.Event
		state State
	}{
		{"a replay that is not sent yet", world{idle: idle}, func(s *story) event.Event {
			e := s.request(1)
			s.decide(replayed, s.letter(topology.QualtricsLinker, e, ""), "op1", "")
			return e
		}, Processing},
		{"a replay that was sent, and nothing is held any more", world{idle: idle}, func(s *story) event.Event {
			e := s.request(1)
			letter := s.letter(topology.QualtricsLinker, e, "")
			s.decide(replayed, letter, "op1", "")
			s.decide(sent, letter, "op1", "")
			return e
		}, Completed},
		{"what was not settled is still with the broker", world{idle: idle}, func(s *story) event.Event {
			e := s.request(1)
			s.tried(topology.QualtricsLinker, e, activity.NotSettled, fault.Transient, time.Minute)
			return e
		}, Processing},
		{"what was not settled, and is acknowledged", world{idle: idle, handled: map[string]uint64{topology.QualtricsLinker: 1}}, func(s *story) event.Event {
			e := s.request(1)
			s.tried(topology.QualtricsLinker, e, activity.NotSettled, fault.Transient, time.Minute)
			return e
		}, Completed},
		{"the attempt that made the letter is told after its replay", world{}, func(s *story) event.Event {
			e := s.request(1)
			s.decide(replayed, s.letter(topology.QualtricsLinker, e, ""), "op1", "")
			s.tried(topology.QualtricsLinker, e, activity.DeadLetter, fault.Refused, 0)
			return e
		}, Processing},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, tale := open(t), newStory()
			w := *s.world.Load()
			w.handled, w.idle = c.world.handled, c.world.idle
			s.world.Store(&w)
			e := c.tell(tale)
			tale.tell(t, s)
			if l := loopOf(t, s, e.LoopID); l.State != c.state {
				t.Errorf("it is %s and waits for %+v, want %s", l.State, l.Waiting, c.state)
			}
		})
	}
}

// TestAComplaintThatNobodyTakesHasNoTask is of a response with two, of which the second is taken: the task is that one's.
func TestAComplaintThatNobodyTakesHasNoTask(t *testing.T) {
	s, tale := open(t), newStory()
	e := tale.received("", 1)
	tale.attempt(topology.SAPInteractionWriter, nil, e)
	tale.feedback(e, 1, "feedback.wrong_price")
	tale.task(tale.feedback(e, 1, subjects.FeedbackDeliveryLate), 1)
	tale.tell(t, s)
	if l := loopOf(t, s, e.LoopID); l.State != Completed {
		t.Errorf("it is %s and waits for %+v", l.State, l.Waiting)
	}
}

// TestAnotherProcessHasWritten is of two stores on one file: what one has written since is not undone by what the other remembers.
func TestAnotherProcessHasWritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "loops.db")
	var stores [2]*Store
	for i := range stores {
		stores[i] = must(Open(t.Context(), path))
		defer stores[i].Close()
	}
	tale := newStory()
	e := tale.request(1)
	created := tale.link(e, 1, time.Hour)
	tale.mail(created, 1)
	tale.follow(e, topology.QualtricsLinker, subjects.SurveyLinkSuppressed, &eventsv1.SurveyLinkSuppressed{RequestId: "A1", Reason: "UNSUBSCRIBED"})
	for i, m := range tale.messages {
		which := stores[[]int{0, 1, 1, 0}[i]]
		positions, err := which.positions(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := which.apply(t.Context(), part{m.from, []message{m.message}, positions[m.from].read, m.seq}); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range stores {
		if l := loopOf(t, s, e.LoopID); len(l.Places) != len(tale.messages) {
			t.Errorf("of %d messages are left %+v", len(tale.messages), l.Places)
		}
	}
}

// TestAConsumerIsGoneForAMoment: what its service takes is not forgotten, which would have the file built anew, and again when it is back.
func TestAConsumerIsGoneForAMoment(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{TaskSubjects: []string{"feedback.wrong_price"}}))
	l.story.request(1)
	l.whole()
	l.stop()
	if err := l.JS.DeleteConsumer(t.Context(), topology.Events, topology.C4CTasker); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.whole()
	if filters := l.store.world.Load().filters[topology.C4CTasker]; !slices.Contains(filters, "feedback.wrong_price") || l.log.has("built anew") {
		t.Errorf("the tasker takes %v", filters)
	}
}
