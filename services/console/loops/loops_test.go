package loops

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "console", "loops.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// story is a history with what goes wrong.
type story struct {
	*history
	messages []*spoken
	seqs     [len(sources)]uint64
}

// spoken is a message with its place and time.
type spoken struct {
	from source
	message
	// after are how far other streams must have been read before.
	after [len(sources)]uint64
}

func newStory() *story {
	s := &story{}
	s.history = newHistory(time.Now().Add(-48*time.Hour).Truncate(time.Hour), func(m *nats.Msg) { s.store(m) })
	return s
}

func (s *story) store(m *nats.Msg) uint64 {
	from := sourceOf(m)
	s.seqs[from]++
	s.at = s.at.Add(7 * time.Millisecond)
	t := &spoken{from: from, message: parse(from, raw(m, s.seqs[from], s.at))}
	switch from {
	case fromOperations:
		t.after[fromLetters] = s.seqs[fromLetters]
	case fromActivity:
		t.after[fromEvents], t.after[fromLetters] = s.seqs[fromEvents], s.seqs[fromLetters]
	}
	s.messages = append(s.messages, t)
	return t.seq
}

// tried tells an attempt that did not end well.
func (s *story) tried(service string, e event.Event, outcome string, class fault.Class, next time.Duration) {
	h := activity.Handled{
		EventID: e.ID, LoopID: e.LoopID, Type: e.Type, Stream: topology.Events, Sequence: s.where[e.ID], Attempt: 1, Outcome: outcome,
		Class: class, Vendor: vendorOf(service, e.Type), Reason: "503 Service Unavailable",
	}
	if next > 0 {
		h.Next = s.at.Add(next)
	}
	m := nats.NewMsg(topology.ActivitySubject(service, activity.KindAttempt))
	m.Data = must(json.Marshal(activity.Attempt{Service: service, At: s.at, Events: []activity.Handled{h}}))
	s.emit(m)
}

// letter stores a dead letter of an event.
func (s *story) letter(service string, e event.Event, replay string) uint64 {
	original := must(event.Encode(e))
	m := nats.NewMsg(topology.DeadLetterSubject(service))
	m.Data, m.Header = original.Data, original.Header
	for name, value := range map[string]string{
		bus.HeaderSubject: e.Type, bus.HeaderStream: topology.Events, bus.HeaderSequence: strconv.FormatUint(s.where[e.ID], 10), bus.HeaderEventID: e.ID,
		bus.HeaderLoopID: e.LoopID, bus.HeaderClass: string(fault.Refused), bus.HeaderReason: "account 42 does not exist", bus.HeaderReplay: replay,
	} {
		if value != "" {
			m.Header.Set(name, value)
		}
	}
	return s.store(m)
}

// decide records what a person did with a letter.
func (s *story) decide(kind string, letter uint64, id, failed string) {
	token := "deadletter"
	if kind == sent {
		token = "sent"
	}
	m := nats.NewMsg(topology.OperationSubject(token, letter))
	m.Data = must(json.Marshal(map[string]any{"id": id, "kind": kind, "letter": letter, "failed": failed, "by": "eve", "why": "because"}))
	s.store(m)
}

func (s *story) request(n int) event.Event {
	id := strconv.Itoa(n)
	return s.say(must(event.New(topology.Ingress, subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
		RequestId: "A" + id, Contact: &eventsv1.Contact{ExternalId: "P-" + id, Email: "person" + id + "@example.com"},
		Transaction: &eventsv1.Transaction{ExternalId: "47" + id}, Campaign: &eventsv1.Campaign{CampaignId: "C1"},
	})))
}

// link makes one that says when it expires, unless its lifetime is 0.
func (s *story) link(requested event.Event, n int, lifetime time.Duration) event.Event {
	id := strconv.Itoa(n)
	m := &eventsv1.SurveyLinkCreated{RequestId: "A" + id, Link: "https://survey.example.com/" + id, ContactId: "CID_" + id, ContactLookupId: "CGC_" + id, SurveyId: "SV_1"}
	if lifetime > 0 {
		m.ExpiresAt = timestamp(s.at.Add(lifetime))
	}
	return s.follow(requested, topology.QualtricsLinker, subjects.SurveyLinkCreated, m)
}

func (s *story) mail(created event.Event, n int) event.Event {
	return s.follow(created, topology.SAPInteractionWriter, subjects.InteractionWritten, &eventsv1.InteractionWritten{
		Kind: "SURVEY_LINK_CREATED", InteractionId: "INT-" + strconv.Itoa(n), RequestId: "A" + strconv.Itoa(n)})
}

func (s *story) received(loop string, n int) event.Event {
	id := strconv.Itoa(n)
	return s.say(must(event.New(topology.Ingress, subjects.SurveyResponseReceived, &eventsv1.SurveyResponseReceived{
		SurveyId: "SV_1", ResponseId: "R_" + id, RequestId: "A" + id})).InLoop(loop))
}

func (s *story) feedback(received event.Event, n int, subject string) event.Event {
	return s.follow(received, topology.FeedbackRouter, subject, &eventsv1.FeedbackRaised{ResponseId: "R_" + strconv.Itoa(n), Subject: "Late"})
}

func (s *story) task(feedback event.Event, n int) event.Event {
	id := strconv.Itoa(n)
	return s.follow(feedback, topology.C4CTasker, subjects.TaskCreated, &eventsv1.TaskCreated{ResponseId: "R_" + id, TaskId: "4" + id, ObjectId: "OBJ-" + id})
}

// tell puts the story into a store, in the order of the broker's clock.
func (s *story) tell(t testing.TB, into *Store) {
	t.Helper()
	for _, m := range s.messages {
		if err := into.apply(t.Context(), part{m.from, []message{m.message}, m.seq - 1, m.seq}); err != nil {
			t.Fatal(err)
		}
	}
}

func loopOf(t testing.TB, s *Store, id string) Loop {
	t.Helper()
	l, err := s.Loop(t.Context(), id)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return l
}

// TestStates is how loops stand, one story each.
func TestStates(t *testing.T) {
	const long = 1000 * time.Hour
	for _, c := range []struct {
		name  string
		tell  func(*story) event.Event // the loop's event
		world world
		state State
		stage Stage
		waits []string // for, service
	}{
		{name: "just asked for", state: Processing, stage: Invited, waits: []string{"service qualtrics-linker"},
			tell: func(s *story) event.Event { return s.request(1) }},
		{name: "in hand again", state: Processing, stage: Invited, waits: []string{"service qualtrics-linker"},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.tried(topology.QualtricsLinker, e, activity.Held, fault.Busy, time.Second)
				return e
			}},
		{name: "tried again", state: Retry, stage: Invited, waits: []string{"retry qualtrics-linker"},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.tried(topology.QualtricsLinker, e, activity.Retry, fault.Transient, time.Hour)
				return e
			}},
		{name: "tried again before a time at which nothing was held any more", state: Completed, stage: Invited,
			world: world{idle: map[string]int64{topology.QualtricsLinker: time.Now().UnixNano()}},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.tried(topology.QualtricsLinker, e, activity.Retry, fault.Transient, time.Hour)
				return e
			}},
		{name: "the vendor is out", state: Retry, stage: Invited, waits: []string{"vendor qualtrics-linker"},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.tried(topology.QualtricsLinker, e, activity.Paused, fault.Down, time.Hour)
				return e
			}},
		{name: "not yet is no failure", state: Processing, stage: Linked, waits: []string{"service sap-interaction-writer", "customer "},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.tried(topology.SAPInteractionWriter, s.link(e, 1, long), activity.Retry, fault.NotYet, time.Hour)
				return e
			}},
		{name: "suppressed", state: Completed, stage: Suppressed,
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.follow(e, topology.QualtricsLinker, subjects.SurveyLinkSuppressed, &eventsv1.SurveyLinkSuppressed{RequestId: "A1", Reason: "UNSUBSCRIBED"})
				return e
			}},
		{name: "mailed", state: Processing, stage: Mailed, waits: []string{"customer "},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.mail(s.link(e, 1, long), 1)
				return e
			}},
		{name: "mailed, and never answered", state: Completed, stage: Mailed,
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.mail(s.link(e, 1, time.Hour), 1)
				return e
			}},
		{name: "mailed, and the link does not say when it expires", state: Processing, stage: Mailed, waits: []string{"customer "},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.mail(s.link(e, 1, 0), 1)
				return e
			}},
		{name: "mailed long ago, and the link does not say when it expires", state: Completed, stage: Mailed,
			tell: func(s *story) event.Event {
				s.at = s.at.Add(-90 * 24 * time.Hour)
				e := s.request(1)
				s.mail(s.link(e, 1, 0), 1)
				return e
			}},
		{name: "the mail is discarded", state: Discarded, stage: Linked,
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.decide(discarded, s.letter(topology.SAPInteractionWriter, s.link(e, 1, long), ""), "op1", "")
				return e
			}},
		{name: "the mail is discarded, then replayed", state: Processing, stage: Linked, waits: []string{"service sap-interaction-writer", "customer "},
			tell: func(s *story) event.Event {
				e := s.request(1)
				letter := s.letter(topology.SAPInteractionWriter, s.link(e, 1, long), "")
				s.decide(discarded, letter, "op1", "")
				s.decide(replayed, letter, "op2", "")
				return e
			}},
		{name: "the mail is discarded, and had gone out", state: Processing, stage: Mailed, waits: []string{"customer "},
			tell: func(s *story) event.Event {
				e := s.request(1)
				created := s.link(e, 1, long)
				s.decide(discarded, s.letter(topology.SAPInteractionWriter, created, ""), "op1", "")
				s.mail(created, 1)
				return e
			}},
		{name: "answered, and the services are silent", state: Processing, stage: Answered,
			waits: []string{"service feedback-router", "service sap-interaction-writer"},
			tell:  func(s *story) event.Event { return s.received("", 1) }},
		{name: "answered, and acknowledged by all", state: Completed, stage: Closed,
			world: world{handled: map[string]uint64{topology.FeedbackRouter: 1, topology.SAPInteractionWriter: 1}},
			tell:  func(s *story) event.Event { return s.received("", 1) }},
		{name: "no rule fired", state: Completed, stage: Closed,
			tell: func(s *story) event.Event {
				e := s.received("", 1)
				s.attempt(topology.SAPInteractionWriter, nil, e)
				s.attemptRules(e, activity.Decision{Rule: "late", Why: `values.QID1 == "late"`})
				return e
			}},
		{name: "a complaint", state: Processing, stage: Acted, waits: []string{"service c4c-tasker"},
			tell: func(s *story) event.Event {
				e := s.received("", 1)
				s.attempt(topology.SAPInteractionWriter, nil, e)
				s.feedback(e, 1, subjects.FeedbackDeliveryLate)
				return e
			}},
		{name: "a complaint that nobody takes", state: Completed, stage: Acted,
			tell: func(s *story) event.Event {
				e := s.received("", 1)
				s.attempt(topology.SAPInteractionWriter, nil, e)
				s.feedback(e, 1, "feedback.wrong_price")
				return e
			}},
		{name: "a task", state: Completed, stage: Closed,
			tell: func(s *story) event.Event {
				e := s.received("", 1)
				s.attempt(topology.SAPInteractionWriter, nil, e)
				s.task(s.feedback(e, 1, subjects.FeedbackDeliveryLate), 1)
				return e
			}},
		{name: "a task, after tries that failed", state: Completed, stage: Closed,
			tell: func(s *story) event.Event {
				e := s.received("", 1)
				s.attempt(topology.SAPInteractionWriter, nil, e)
				f := s.feedback(e, 1, subjects.FeedbackDeliveryLate)
				s.tried(topology.C4CTasker, f, activity.Retry, fault.Transient, time.Hour)
				s.task(f, 1)
				return e
			}},
		{name: "two complaints, one task", state: Processing, stage: Acted, waits: []string{"service c4c-tasker"},
			tell: func(s *story) event.Event {
				e := s.received("", 1)
				s.attempt(topology.SAPInteractionWriter, nil, e)
				f := s.feedback(e, 1, subjects.FeedbackDeliveryLate)
				s.say(must(event.After(e, topology.FeedbackRouter, subjects.FeedbackDeliveryLate, &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "Cold"})).Distinct("other"))
				s.task(f, 1)
				return e
			}},
		{name: "a dead letter", state: Failed, stage: Invited, waits: []string{"person qualtrics-linker"},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.tried(topology.QualtricsLinker, e, activity.DeadLetter, fault.Refused, 0)
				s.letter(topology.QualtricsLinker, e, "")
				return e
			}},
		{name: "a dead letter of which EVENTS says nothing any more", state: Failed, waits: []string{"person qualtrics-linker"},
			tell: func(s *story) event.Event {
				e := must(event.New(topology.Ingress, subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
					RequestId: "A1", Contact: &eventsv1.Contact{Email: "a@example.com"}}))
				s.letter(topology.QualtricsLinker, e, "")
				return e
			}},
		{name: "discarded", state: Discarded, stage: Invited,
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.decide(discarded, s.letter(topology.QualtricsLinker, e, ""), "op1", "")
				return e
			}},
		{name: "replayed", state: Processing, stage: Invited, waits: []string{"service qualtrics-linker"},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.decide(replayed, s.letter(topology.QualtricsLinker, e, ""), "op1", "")
				return e
			}},
		{name: "replayed, and done", state: Completed, stage: Invited,
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.decide(replayed, s.letter(topology.QualtricsLinker, e, ""), "op1", "")
				s.attempt(topology.QualtricsLinker, nil, e)
				return e
			}},
		{name: "replayed, and failed again", state: Failed, stage: Invited, waits: []string{"person qualtrics-linker"},
			tell: func(s *story) event.Event {
				e := s.request(1)
				s.decide(replayed, s.letter(topology.QualtricsLinker, e, ""), "op1", "")
				s.letter(topology.QualtricsLinker, e, "op1")
				return e
			}},
		{name: "a replay that never can be sent", state: Failed, stage: Invited, waits: []string{"person qualtrics-linker"},
			tell: func(s *story) event.Event {
				e := s.request(1)
				letter := s.letter(topology.QualtricsLinker, e, "")
				s.decide(replayed, letter, "op1", "")
				s.decide(sent, letter, "op1", "the letter has expired")
				return e
			}},
		{name: "discarded, then replayed all the same", state: Completed, stage: Linked,
			tell: func(s *story) event.Event {
				e := s.request(1)
				letter := s.letter(topology.QualtricsLinker, e, "")
				s.decide(discarded, letter, "op1", "")
				s.decide(replayed, letter, "op2", "")
				s.attempt(topology.SAPInteractionWriter, nil, s.link(e, 1, time.Hour))
				return e
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, tale := open(t), newStory()
			w := *s.world.Load()
			w.handled, w.idle = c.world.handled, c.world.idle
			s.world.Store(&w)
			e := c.tell(tale)
			tale.tell(t, s)
			l := loopOf(t, s, e.LoopID)
			waits := []string{}
			for _, w := range l.Waiting {
				waits = append(waits, w.For+" "+w.Service)
				if w.Since.IsZero() {
					t.Error("it waits since never")
				}
			}
			if l.State != c.state || l.Stage != c.stage || !slices.Equal(waits, c.waits) {
				t.Errorf("it is %s at %q and waits for %q, want %s at %q, and %q", l.State, l.Stage, waits, c.state, c.stage, c.waits)
			}
			if closed := l.Stage == Closed; closed == l.Closed.IsZero() {
				t.Errorf("closed at %v in stage %q", l.Closed, l.Stage)
			}
			page, err := s.Find(t.Context(), Query{State: c.state, Stage: c.stage})
			if err != nil || len(page.Loops) != 1 || page.Loops[0].ID != e.LoopID {
				t.Errorf("by state and stage are found %+v, %v", page, err)
			}
			for _, other := range States {
				if page, _ := s.Find(t.Context(), Query{State: other}); other != c.state && len(page.Loops) > 0 {
					t.Errorf("it is found as %s too", other)
				}
			}
		})
	}
}

// TestIdsAreFoundInAnyCase searches as people paste; loops whose names differ in case alone are two all the same.
func TestIdsAreFoundInAnyCase(t *testing.T) {
	s, tale := open(t), newStory()
	tale.received("By-Hand", 1)
	tale.received("by-hand", 2)
	tale.task(tale.feedback(tale.received("", 3), 3, subjects.FeedbackDeliveryLate), 3) // OBJ-3
	third := tale.messages[len(tale.messages)-1].notes[0].loop
	tale.tell(t, s)
	both := []string{"By-Hand", "by-hand"}
	found := func(q Query, want ...string) {
		t.Helper()
		page, err := s.Find(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		got := []string{}
		for _, l := range page.Loops {
			got = append(got, l.ID)
		}
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%+v: found %q, want %q", q, got, want)
		}
	}
	found(Query{Any: "obj-3"}, third)
	found(Query{Any: "r_1"}, "By-Hand")
	found(Query{IDs: map[IDKind]string{Response: "r_2"}}, "by-hand")
	found(Query{IDs: map[IDKind]string{Task: "Obj-3", Response: "r_3"}}, third)
	found(Query{Any: "BY-HAND"}, both...)
	found(Query{IDs: map[IDKind]string{loopID: "BY-HAND"}}, both...)
	for i, loop := range both {
		if l := loopOf(t, s, loop); len(l.Places) != 1 || !slices.Contains(l.IDs, ID{Response, "R_" + strconv.Itoa(i+1)}) {
			t.Errorf("%s has %+v of %+v", loop, l.Places, l.IDs)
		}
	}
	if err := s.Forget(t.Context(), []ID{{Task, "obj-3"}}, []string{"by-hand"}); err != nil {
		t.Fatal(err)
	}
	found(Query{Any: "BY-HAND"}, "By-Hand")
	found(Query{Any: "OBJ-3"}, []string{}...)
}

// TestAnIDLeavesWithItsLastCase takes back one of two spellings of an id: the other is still found, and then none.
func TestAnIDLeavesWithItsLastCase(t *testing.T) {
	s, tale := open(t), newStory()
	for _, id := range []string{"R_ab", "R_AB"} {
		tale.say(must(event.New(topology.Ingress, subjects.SurveyResponseReceived, &eventsv1.SurveyResponseReceived{SurveyId: "SV_1", ResponseId: id})).InLoop("one"))
	}
	tale.say(must(event.New(topology.Ingress, subjects.SurveyResponseReceived, &eventsv1.SurveyResponseReceived{SurveyId: "SV_1", ResponseId: "R_c"})).InLoop("one"))
	tale.tell(t, s)
	for seq, want := range []int{1, 1, 0} {
		if seq > 0 {
			if err := s.withdraw(t.Context(), fromEvents, []uint64{uint64(seq)}); err != nil {
				t.Fatal(err)
			}
		}
		page, err := s.Find(t.Context(), Query{IDs: map[IDKind]string{Response: "r_Ab"}})
		if err != nil || len(page.Loops) != want {
			t.Errorf("%d taken back: found %d, want %d, %v", seq, len(page.Loops), want, err)
		}
	}
}

// attemptRules tells an answer that the router is done with, and what the rules said.
func (s *story) attemptRules(e event.Event, rules ...activity.Decision) {
	m := nats.NewMsg(topology.ActivitySubject(topology.FeedbackRouter, activity.KindAttempt))
	m.Data = must(json.Marshal(activity.Attempt{Service: topology.FeedbackRouter, At: s.at, Events: []activity.Handled{{
		EventID: e.ID, LoopID: e.LoopID, Type: e.Type, Outcome: activity.Done, Rules: rules,
	}}}))
	s.emit(m)
}

// everything is a story of many loops in which all goes wrong that can.
func everything(loops int) *story {
	s := newStory()
	var requested, created, received []event.Event
	for i := range loops {
		requested = append(requested, s.request(i))
	}
	for i, e := range requested {
		switch i % 5 {
		case 1:
			s.tried(topology.QualtricsLinker, e, activity.Paused, fault.Throttled, time.Minute)
		case 2:
			letter := s.letter(topology.QualtricsLinker, e, "")
			s.tried(topology.QualtricsLinker, e, activity.DeadLetter, fault.Refused, 0)
			if i%2 == 0 {
				continue
			}
			s.decide(replayed, letter, "op"+strconv.Itoa(i), "")
		case 3:
			s.decide(discarded, s.letter(topology.QualtricsLinker, e, ""), "op"+strconv.Itoa(i), "")
			continue
		}
		created = append(created, s.link(e, i, 2000*time.Hour))
		s.attempt(topology.QualtricsLinker, []activity.Call{s.call("qualtrics", "import", 3)}, e)
	}
	for i, e := range created {
		n := must(strconv.Atoi(strings.TrimPrefix(e.Subject, "A")))
		if i%3 == 0 {
			s.tried(topology.SAPInteractionWriter, e, activity.Retry, fault.Transient, time.Hour)
			continue
		}
		s.mail(e, n)
		s.attempt(topology.SAPInteractionWriter, nil, e)
		if i%2 == 0 {
			received = append(received, s.received(e.LoopID, n))
		}
	}
	for i, e := range received {
		n := must(strconv.Atoi(strings.TrimPrefix(e.Subject, "R_")))
		if i%4 == 0 {
			s.attemptRules(e, activity.Decision{Rule: "late", Why: "false"})
			continue
		}
		f := s.feedback(e, n, subjects.FeedbackDeliveryLate)
		s.attemptRules(e, activity.Decision{Rule: "late", Fired: true})
		if i%4 == 1 {
			s.letter(topology.C4CTasker, f, "")
			continue
		}
		s.task(f, n)
	}
	return s
}

// told is all that a store says.
func says(t *testing.T, s *Store) string {
	t.Helper()
	var all []any
	for q := (Query{Limit: 7}); ; {
		page, err := s.Find(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, sum := range page.Loops {
			all = append(all, sum, loopOf(t, s, sum.ID))
		}
		if q.Before = page.Next; q.Before == "" {
			break
		}
	}
	slices.SortStableFunc(all, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) // those that began at once are in any order
	numbers, err := s.Numbers(t.Context(), Span{})
	if err != nil {
		t.Fatal(err)
	}
	vendors, err := s.Vendors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range vendors { // of the last minutes
		vendors[i].Calls, vendors[i].Saved, vendors[i].PerMinute, vendors[i].Left = nil, 0, 0, 0
	}
	counts := map[string]int{}
	for _, table := range []string{"loop", "id", "message", "fired", "waiting"} {
		var n int
		if err := s.read.QueryRow("SELECT count(*) FROM " + table).Scan(&n); err != nil {
			t.Fatal(err)
		}
		counts[table] = n
	}
	text, err := json.MarshalIndent([]any{all, numbers, vendors, counts}, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestAnyOrder puts one story into stores in many orders and in parts of many sizes: all of them say the same.
func TestAnyOrder(t *testing.T) {
	tale := everything(40)
	straight := open(t)
	tale.tell(t, straight)
	want := says(t, straight)
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := open(t)
		var streams [len(sources)][]*spoken
		for _, m := range tale.messages {
			streams[m.from] = append(streams[m.from], m)
		}
		var was [len(sources)]uint64
		for left := len(tale.messages); left > 0; {
			from := source(random.IntN(len(sources)))
			var some []message
			for n := random.IntN(30); n > 0 && len(streams[from]) > 0; n-- {
				m := streams[from][0]
				if !ready(m.after, was) {
					break
				}
				some = append(some, m.message)
				streams[from] = streams[from][1:]
			}
			if len(some) == 0 {
				continue
			}
			to := some[len(some)-1].seq
			if err := s.apply(t.Context(), part{from, some, was[from], to}); err != nil {
				t.Fatal(err)
			}
			was[from] = to
			left -= len(some)
		}
		if got := says(t, s); got != want {
			t.Fatalf("seed %d: in another order it says otherwise:\n%s", seed, firstDifference(got, want))
		}
	}
}

func ready(after, was [len(sources)]uint64) bool {
	for i := range after {
		if was[i] < after[i] {
			return false
		}
	}
	return true
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return strings.Join(x[max(0, i-6):min(len(x), i+3)], "\n") + "\n--- want\n" + strings.Join(y[max(0, i-6):min(len(y), i+3)], "\n")
		}
	}
	return "one is longer"
}

// TestCounted holds what is counted as it goes against what the loops say when each is asked.
func TestCounted(t *testing.T) {
	s, tale := open(t), everything(60)
	tale.tell(t, s)
	reached, failed, rules := map[Stage]int{}, 0, map[string]int{}
	closed := 0
	err := scan(t.Context(), s.read, "SELECT record FROM loop", nil, func(rows *sql.Rows) error {
		var packed []byte
		if err := rows.Scan(&packed); err != nil {
			return err
		}
		r, err := unpack(packed)
		if err != nil {
			return err
		}
		stands := s.today().derive(r.notes)
		for stage := range stands.reached {
			reached[stage]++
		}
		if stands.state == Failed {
			failed++
		}
		if stands.closed != 0 {
			closed++
		}
		for _, rule := range stands.rules {
			rules[rule]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	n, err := s.Numbers(t.Context(), Span{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range n.Funnel {
		if c.Count != reached[Stage(c.Name)] {
			t.Errorf("%s: counted %d, but %d loops say so", c.Name, c.Count, reached[Stage(c.Name)])
		}
	}
	if len(n.Campaigns) != 1 || n.Campaigns[0].Name != "C1" || n.Campaigns[0].Failed != failed || failed == 0 {
		t.Errorf("campaigns %+v, but %d failed", n.Campaigns, failed)
	}
	if len(n.Rules) != 1 || n.Rules[0].Name != "late" || rules["late"] == 0 || n.Rules[0].Median <= 0 {
		t.Errorf("rules %+v, want %v", n.Rules, rules)
	}
	total := 0
	for _, b := range n.Closing {
		total += b.Count
	}
	if total != closed || closed == 0 {
		t.Errorf("the histogram has %d, but %d are closed", total, closed)
	}
	flow := 0
	for _, h := range n.Flow {
		for _, count := range h.Counts {
			flow += count
		}
	}
	if flow != int(tale.seqs[fromEvents]) {
		t.Errorf("%d events have flowed, want %d", flow, tale.seqs[fromEvents])
	}
	if len(n.Vendors) == 0 || n.Vendors[0].Saved != 2*n.Vendors[0].Calls || n.Vendors[0].Mean != 120*time.Millisecond {
		t.Errorf("calls %+v", n.Vendors)
	}
	none, err := s.Numbers(t.Context(), Span{To: tale.begin.Add(-time.Hour)})
	if err != nil || none.Funnel[0].Count != 0 || len(none.Flow) != 0 {
		t.Errorf("before it began: %+v, %v", none, err)
	}
}

func TestRecordsSurvivePacking(t *testing.T) {
	tale := everything(30)
	byLoop := map[string][]*note{}
	for _, m := range tale.messages {
		for _, n := range m.notes {
			byLoop[n.loop] = append(byLoop[n.loop], &n.note)
		}
	}
	p := packer{}
	for loop, notes := range byLoop {
		r := record{loop: loop, entry: entry{1, 2, 3, 4, 5, 6, []int64{7}, []vendorWait{{8, 9}}}, notes: merge(nil, notes)}
		got, err := unpack(p.pack(&r))
		if err != nil {
			t.Fatal(err)
		}
		if len(got.notes[0].ids) == 0 {
			got.notes[0].ids = r.notes[0].ids
		}
		if !reflect.DeepEqual(*got, r) {
			t.Fatalf("packed\n%+v\nunpacked\n%+v", r, *got)
		}
	}
}

func FuzzUnpack(f *testing.F) {
	p := packer{}
	for _, m := range everything(10).messages {
		for _, n := range m.notes {
			f.Add(p.pack(&record{loop: n.loop, notes: []note{n.note}}))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte) {
		r, err := unpack(packed)
		if err != nil {
			return
		}
		again, err := unpack((&packer{}).pack(r))
		if err != nil || len(again.notes) != len(r.notes) {
			t.Fatalf("what was read cannot be kept: %v", err)
		}
		(&world{filters: declared()}).derive(r.notes)
	})
}

// TestSearchGoesByIndexes asks SQLite how it would answer: never by looking at every loop.
func TestSearchGoesByIndexes(t *testing.T) {
	s := open(t)
	fill(t, s, 5000)
	from := time.Now().Add(-100 * time.Hour)
	for name, q := range map[string]Query{
		"order": {IDs: map[IDKind]string{Order: "471000007"}}, "two ids": {IDs: map[IDKind]string{Order: "471000007", Contact: "P-1000007"}},
		"any": {Any: "A1000007"}, "state": {State: Processing}, "stage": {Stage: Closed}, "campaign": {Campaign: "0000000000"},
		"campaign and state": {Campaign: "0000000000", State: Completed}, "survey": {Survey: "SV_service"}, "time": {From: from},
		"survey, stage and time": {Survey: "SV_service", Stage: Answered, From: from}, "rule": {Rule: "delivery-too-late"},
		"rule and all else": {Rule: "delivery-too-late", Campaign: "0000000000", Survey: "SV_service", State: Completed, From: from}, "all": {},
	} {
		plans := 0
		explained = func(ctx context.Context, db *sql.DB, text string, args []any) {
			plans++
			var plan []string
			err := scan(ctx, db, "EXPLAIN QUERY PLAN "+text, args, func(rows *sql.Rows) error {
				var id, parent, unused int
				var detail string
				err := rows.Scan(&id, &parent, &unused, &detail)
				plan = append(plan, detail)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range plan {
				if strings.HasPrefix(step, "SCAN loop") || strings.HasPrefix(step, "SCAN fired") || strings.HasPrefix(step, "SCAN id") ||
					strings.HasPrefix(step, "USE TEMP B-TREE") && len(q.IDs) == 0 && q.Any == "" {
					t.Errorf("%s: %s\nof %q\n%s", name, step, plan, text)
				}
			}
		}
		page, err := s.Find(t.Context(), q)
		explained = nil
		if err != nil || len(page.Loops) == 0 || plans == 0 {
			t.Errorf("%s: %d loops with %d queries, %v", name, len(page.Loops), plans, err)
		}
	}
}

// TestFindIsRight holds every combination of conditions against loops looked at one by one.
func TestFindIsRight(t *testing.T) {
	s, tale := open(t), everything(60)
	tale.tell(t, s)
	w := s.today()
	type known struct {
		Summary
		reached map[Stage]int64
		rules   []string
	}
	var all []known
	err := scan(t.Context(), s.read, "SELECT record FROM loop ORDER BY start DESC, n DESC", nil, func(rows *sql.Rows) error {
		var packed []byte
		if err := rows.Scan(&packed); err != nil {
			return err
		}
		r, err := unpack(packed)
		if err == nil {
			stands := w.derive(r.notes)
			all = append(all, known{stands.summary(r.loop, r.notes), stands.reached, stands.rules})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(7, 7))
	pick := func(of ...string) string { return of[random.IntN(len(of))] }
	found := 0
	for range 300 {
		q := Query{
			State: State(pick("", "", "completed", "processing", "retry", "failed", "discarded")), Campaign: pick("", "C1", "C2"), Survey: pick("", "", "SV_1"),
			Stage: Stage(pick("", "", "invited", "link", "answered", "closed")), Rule: pick("", "", "late"), Limit: 1 + random.IntN(9),
		}
		switch random.IntN(4) {
		case 0:
			q.From = all[random.IntN(len(all))].Start
		case 1:
			q.To = all[random.IntN(len(all))].Start
		}
		if random.IntN(5) == 0 {
			q.IDs = map[IDKind]string{Contact: "P-" + strconv.Itoa(random.IntN(60))}
		}
		var want, got []string
		for _, l := range all {
			_, reached := l.reached[q.Stage]
			if (q.State == "" || l.State == q.State) && (q.Stage == "" || reached) && (q.Campaign == "" || l.Campaign == q.Campaign) &&
				(q.Survey == "" || l.Survey == q.Survey) && (q.Rule == "" || slices.Contains(l.rules, q.Rule)) && !l.Start.Before(q.From) &&
				(q.To.IsZero() || l.Start.Before(q.To)) && (q.IDs == nil || l.Contact == q.IDs[Contact]) {
				want = append(want, l.ID)
			}
		}
		for {
			page, err := s.Find(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range page.Loops {
				got = append(got, l.ID)
			}
			if q.Before = page.Next; q.Before == "" {
				break
			}
		}
		if found += len(got); !slices.Equal(got, want) {
			t.Fatalf("%+v: found %d, want %d\n%v\n%v", q, len(got), len(want), got, want)
		}
	}
	if found == 0 {
		t.Error("nothing was ever found")
	}
	if _, err := s.Find(t.Context(), Query{Before: "yesterday"}); err == nil {
		t.Error("a page that there is not is no error")
	}
	if _, err := s.Loop(t.Context(), "no such loop"); err != ErrUnknown { //nolint:errorlint // it is promised as it is
		t.Errorf("an unknown loop: %v", err)
	}
}
