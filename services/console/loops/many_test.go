package loops

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// together takes all that was not told yet, in one transaction for each stream.
func (s *story) together(t *testing.T, into *Store) {
	t.Helper()
	var parts [len(sources)]part
	for _, m := range s.messages {
		p := &parts[m.from]
		if p.read == 0 {
			p.from, p.was = m.from, m.seq-1
		}
		p.messages, p.read = append(p.messages, m.message), m.seq
	}
	s.messages = nil
	for _, p := range parts {
		if err := into.apply(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
}

// TestALoopOfMoreThanIsKept is of somebody who gives everything the same loop: what of it is not kept is found by its ids, counted
// and forgotten like the rest, and an open dead letter of it says that the loop has failed.
func TestALoopOfMoreThanIsKept(t *testing.T) {
	s, tale := open(t), newStory()
	const extra = 100
	ask := func(n int) event.Event {
		id := strconv.Itoa(n)
		return tale.say(must(event.New(topology.Ingress, subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
			RequestId: "A" + id, Contact: &eventsv1.Contact{ExternalId: "P-" + id, Email: "ada@example.com"}, Transaction: &eventsv1.Transaction{ExternalId: "47" + id},
		})).InLoop("L-all"))
	}
	for n := range eventsMost - extra {
		ask(n)
	}
	tale.together(t, s)
	before := loopOf(t, s, "L-all")
	var late event.Event
	for n := range 2 * extra {
		late = ask(eventsMost - extra + n)
	}
	last := tale.at
	letter := tale.letter(topology.QualtricsLinker, late, "")
	tale.at = tale.at.Add(-time.Hour)
	tale.tried(topology.QualtricsLinker, late, activity.DeadLetter, fault.Refused, 0)
	tale.at = last
	tale.together(t, s)

	find := func(q Query) int { return len(must(s.Find(t.Context(), q)).Loops) }
	lastID := strconv.Itoa(eventsMost + extra - 1)
	l := loopOf(t, s, "L-all")
	events := 0
	for _, p := range l.Places {
		if p.Stream == topology.Events {
			events++
		}
	}
	if before.Events != eventsMost-extra || l.Events != eventsMost+extra || events != eventsMost || l.Last.Before(last) {
		t.Errorf("%d events, then %d, of which %d are kept; the last at %s, want %s", before.Events, l.Events, events, l.Last, last)
	}
	if l.State != Failed || l.Waiting[0].Letter != letter || find(Query{State: Failed}) != 1 {
		t.Errorf("with an open dead letter it is %s and waits for %+v", l.State, l.Waiting[0])
	}
	for _, q := range []Query{{Any: "A" + lastID}, {IDs: map[IDKind]string{Order: "47" + lastID}}, {Any: "A0"}} {
		if find(q) != 1 {
			t.Errorf("%+v finds %d", q, find(q))
		}
	}
	numbers := must(s.Numbers(t.Context(), Span{}))
	flow := 0
	for _, h := range numbers.Flow {
		flow += h.Counts[subjects.SurveyLinkRequested]
	}
	if flow != eventsMost+extra {
		t.Errorf("%d events flowed", flow)
	}

	tale.decide(discarded, letter, "op1", "")
	tale.together(t, s)
	if l := loopOf(t, s, "L-all"); l.State == Failed {
		t.Errorf("the letter is discarded, and it is %s and waits for %+v", l.State, l.Waiting[0])
	}
	gone := []uint64{1, tale.seqs[fromEvents], tale.seqs[fromEvents] - 1} // of those kept, and of the others
	for range 2 {
		if err := s.withdraw(t.Context(), fromEvents, gone); err != nil {
			t.Fatal(err)
		}
		if l := loopOf(t, s, "L-all"); l.Events != eventsMost+extra-len(gone) {
			t.Errorf("%d are left", l.Events)
		}
	}
	forgotten := ID{Request, fmt.Sprint("A", eventsMost+extra/2)}
	if err := s.Forget(t.Context(), []ID{forgotten}, nil); err != nil || find(Query{Any: forgotten.Value}) != 0 {
		t.Errorf("an id that was forgotten finds %d, %v", find(Query{Any: forgotten.Value}), err)
	}
	if err := s.Forget(t.Context(), nil, []string{"L-all"}); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"id", "fresh", "name", "message", "loop"} {
		var rows int
		if err := s.read.QueryRowContext(t.Context(), "SELECT count(*) FROM "+table).Scan(&rows); err != nil || rows != 0 {
			t.Errorf("%d rows of %s are left, %v", rows, table, err)
		}
	}
}

// TestOfManyLettersTheLatestAreKept: they say whether a loop has failed.
func TestOfManyLettersTheLatestAreKept(t *testing.T) {
	all := make([]note, 0, lettersMost+eventsMost+attemptsMost+3)
	for source, n := range map[source]int{fromEvents: eventsMost + 1, fromActivity: attemptsMost + 1, fromLetters: lettersMost + 1} {
		for i := range n {
			all = append(all, note{source: source, seq: uint64(i + 1), at: int64(i + 1)})
		}
	}
	pointers := make([]*note, len(all))
	for i := range all {
		pointers[i] = &all[i]
	}
	all = merge(nil, pointers)
	r := record{notes: fewer(all)}
	r.without(all)
	first, last, count := map[source]uint64{}, map[source]uint64{}, map[source]int{}
	for _, n := range r.notes {
		if first[n.source] == 0 {
			first[n.source] = n.seq
		}
		last[n.source] = n.seq
		count[n.source]++
	}
	for from, want := range map[source][3]uint64{fromEvents: {1, eventsMost, eventsMost}, fromActivity: {2, attemptsMost + 1, attemptsMost}, fromLetters: {2, lettersMost + 1, lettersMost}} {
		if got := [3]uint64{first[from], last[from], uint64(count[from])}; got != want {
			t.Errorf("of %s are kept %v, want %v", sources[from], got, want)
		}
	}
	if r.beyond != 1 || r.last != eventsMost+1 {
		t.Errorf("beyond are %d, the last at %d", r.beyond, r.last)
	}
	packed, err := unpack((&packer{}).pack(&r))
	if err != nil || packed.beyond != r.beyond || packed.last != r.last || len(packed.notes) != len(r.notes) {
		t.Errorf("read again it has %d beyond, the last at %d, %v", packed.beyond, packed.last, err)
	}
}
