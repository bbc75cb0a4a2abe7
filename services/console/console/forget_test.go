package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/streamread"
)

// newForgetter gives one whose clock moves at each look by so much.
func newForgetter(t *testing.T, broker *bustest.Broker, step time.Duration) *forgetter {
	t.Helper()
	clock := time.Now()
	bucket, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	return &forgetter{
		bus: broker.Bus(topology.Console), ledger: effect.New(bucket), book: newErasures(), log: logging.Discard(), me: "this",
		now: func() time.Time { clock = clock.Add(step); return clock },
	}
}

func newErasure(emails ...string) *Erasure {
	p := newPerson()
	p.Emails.add(emails...)
	return &Erasure{
		ID: "E1", Kind: erasureKind, State: erasureWorking, Deleted: map[string]int{}, LookedAt: map[string]uint64{}, Vendors: []AtVendor{},
		Work: &work{Person: p, Fence: map[string]uint64{}, Letters: map[uint64]bool{}, Made: map[string]int{}},
	}
}

// Another console takes over from one that says nothing for a while, and both would begin for ever anew.
func TestAConsoleThatLooksForLongSaysThatItIsAtIt(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	const batches = 6
	for i := range batches * streamread.Most {
		if _, err := broker.JS.PublishAsync(subjects.SurveyLinkRequested, fmt.Appendf(nil, `{"requestId":"%d","contact":{"email":"ben@example.com"}}`, i)); err != nil {
			t.Fatal(err)
		}
	}
	<-broker.JS.PublishAsyncComplete()
	f, e := newForgetter(t, broker, takeOver/3), newErasure("ada@example.com")
	if err := f.begin(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := f.save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if found, err := f.search(t.Context(), e); err != nil || found {
		t.Fatal(found, err)
	}
	if e.LookedAt[topology.Events] != batches*streamread.Most {
		t.Fatalf("looked at %v", e.LookedAt)
	}
	if e.sequence < 2+batches/2 {
		t.Errorf("%d records of it", e.sequence)
	}
	if n := len(broker.Messages(topology.Operations, topology.ErasureSubject(">"))); n != 1 {
		t.Errorf("%d records are left", n)
	}
	// One that has been overtaken notices while it looks.
	other := newForgetter(t, broker, 0)
	other.me = "other"
	theirs, err := e.copied()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.save(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	clear(e.LookedAt)
	if _, err := f.search(t.Context(), e); !errors.Is(err, errElsewhere) {
		t.Errorf("it did not notice: %v", err)
	}
}

// A console that was killed between the two writes of a tombstone has not pushed out what it replaces.
func TestATombstoneInALedgerThatForbidsDeletingIsPushedOutAfterAKill(t *testing.T) {
	t.Parallel()
	broker := bustest.Bare(t)
	if _, err := broker.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: topology.Effects, History: 1}); err != nil {
		t.Fatal(err)
	}
	if err := topology.Of(topology.Settings{}).Apply(t.Context(), broker.JS, logging.Discard()); err != nil {
		t.Fatal(err)
	}
	f, e := newForgetter(t, broker, 0), newErasure("ada@example.com")
	key := effect.Link("Q1")
	_, err := effect.Do(t.Context(), f.ledger, key, event.Event{ID: "1", LoopID: "L"},
		func(context.Context, *effect.Run) (string, error) { return "ada@example.com", nil })
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), key.String())
	if err != nil {
		t.Fatal(err)
	}
	tombstone, err := effect.Tombstone(f.now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Update(t.Context(), key.String(), tombstone, entry.Revision()); err != nil {
		t.Fatal(err)
	}
	if err := f.begin(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	e.Work.Keys = map[string]action{key.String(): bury}
	if left, err := f.rewrite(t.Context(), e); err != nil || left != 0 || e.Ledger.Tombstones != 1 {
		t.Fatal(left, err, e.Ledger)
	}
	for _, m := range broker.Messages(ledgerStream, ">") {
		if string(m.Data) != string(tombstone) {
			t.Errorf("the ledger still holds %s", m.Data)
		}
	}
}

func TestWhatIsKeptOfAResponseIsFoundByItsID(t *testing.T) {
	p := newPerson()
	p.Responses.add("R_1")
	keyed := p.keyed()
	for _, key := range []effect.Key{
		effect.Notified("R_1"), effect.Received("R_1"), effect.Swept("R_1"), effect.Rule("R_1", "late"), effect.Task("R_1", ""),
		effect.Task("R_1", "refund"), effect.Recognition("R_1"), effect.Interaction("SURVEY_RESPONSE", "R_1"),
	} {
		if !keyed(key.String()) {
			t.Errorf("%s is not found", key)
		}
	}
	if keyed(effect.Notified("R_10").String()) || keyed(effect.Task("R_10", "").String()) {
		t.Error("another response is found")
	}
}

// What a service takes while others of the doomed are being deleted is in its hands too.
func TestWhatIsTakenDuringTheDeletionStays(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	const all, before, taken = 3 * askAgain, askAgain / 2, askAgain
	e := newErasure("ada@example.com")
	for i := range all {
		broker.Publish(subjects.FeedbackDeliveryLate, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
		e.Work.Doomed = map[string][]uint64{topology.Events: append(e.Work.Doomed[topology.Events], uint64(i)+1)}
	}
	consumer, err := broker.JS.Consumer(t.Context(), topology.Events, topology.C4CTasker)
	if err != nil {
		t.Fatal(err)
	}
	f := newForgetter(t, broker, 0)
	if err := f.begin(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	f.patience = time.Hour
	e.Work.Touched, e.Work.DoomedAt = time.Now(), time.Now()
	var last uint64
	looks, now := 0, f.now
	f.now = func() time.Time {
		at := now()
		state, err := broker.JS.Stream(t.Context(), topology.Events)
		if err != nil {
			t.Error(err)
			return at
		}
		if looks++; last > 0 || state.CachedInfo().State.Msgs != all-before {
			return at
		}
		batch, err := consumer.Fetch(taken)
		if err != nil {
			t.Error(err)
			return at
		}
		for m := range batch.Messages() {
			meta, err := m.Metadata()
			if err != nil {
				t.Error(err)
				return at
			}
			last = meta.Sequence.Stream
		}
		return at
	}
	if err := f.execute(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if last <= askAgain {
		t.Fatalf("the service took up to %d, which shows nothing", last)
	}
	left := e.Work.Doomed[topology.Events]
	if len(left) != int(last)-askAgain || left[0] != askAgain+1 || e.Deleted[topology.Events] != all-len(left) || e.WaitsFor == "" {
		t.Errorf("left are %v of those taken up to %d, %d deleted, waits for %q", left, last, e.Deleted[topology.Events], e.WaitsFor)
	}
}

// An erasure may wait for days, and two consoles must not take it from each other all the while.
func TestAConsoleThatWaitsKeepsTheErasure(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	f, other, e := newForgetter(t, broker, 0), newForgetter(t, broker, 0), newErasure("ada@example.com")
	other.me, f.qualtrics, other.qualtrics = "other", true, true
	clock := time.Now()
	f.now = func() time.Time { return clock }
	other.now = f.now
	if err := f.begin(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	look := func(g *forgetter) *Erasure {
		t.Helper()
		for _, m := range broker.Messages(topology.Operations, topology.ErasureSubject(">")) {
			g.book.add(&jetstream.RawStreamMsg{Subject: m.Subject, Sequence: m.Sequence, Data: m.Data})
		}
		known, _ := g.book.find("E1")
		if err := g.advance(t.Context(), known); err != nil {
			t.Fatal(err)
		}
		known, _ = g.book.find("E1")
		return known
	}
	if e = look(f); e.WaitsFor == "" || e.Work.Owner != "this" {
		t.Fatalf("owned by %s, waits for %q", e.Work.Owner, e.WaitsFor)
	}
	for range 10 {
		clock = clock.Add(2 * takeOver)
		if look(other).Work.Owner != "this" {
			t.Fatal("it was taken over")
		}
		before := e.sequence
		if e = look(f); e.sequence > before+1 {
			t.Errorf("%d records in %s", e.sequence-before, 2*takeOver)
		}
	}
	f.release(t.Context())
	if e = look(other); e.Work.Owner != "other" {
		t.Error("what was left to others was not taken over")
	}
	clock = clock.Add(takeOverWaiting)
	if e = look(f); e.Work.Owner != "this" {
		t.Error("one that says nothing keeps it for ever")
	}
}

func TestMoreRecordsThanAMessageHoldsAreChangedInSeveralGoes(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	const loops = keysMost + 10
	f, e := newForgetter(t, broker, 0), newErasure("ada@example.com")
	e.Work.Person.Loops.add("L")
	if err := f.begin(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	if err := f.save(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(effect.Record{State: effect.Confirmed, LoopID: "L", Changed: f.now()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range loops {
		if _, err := broker.JS.PublishAsync(ledgerSubject+effect.Link(fmt.Sprint(i)).String(), record); err != nil {
			t.Fatal(err)
		}
	}
	<-broker.JS.PublishAsyncComplete()
	goes := 0
	for more := true; more && !e.Work.Ledgered; {
		if len(e.Work.Keys) > keysMost {
			t.Fatalf("%d at once", len(e.Work.Keys))
		}
		if len(e.Work.Keys) > 0 {
			goes++
		}
		if more, err = f.step(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	if goes != 2 || e.Ledger.Tombstones != loops {
		t.Errorf("%d tombstones in %d goes, want %d in 2", e.Ledger.Tombstones, goes, loops)
	}
}

func TestAnErasureThatAnEarlierVersionBeganGoesOn(t *testing.T) {
	p := &person{}
	if err := json.Unmarshal([]byte(`{"emails":["ada@example.com"],"phones":["442079460000"],"loops":["L-1"]}`), p); err != nil {
		t.Fatal(err)
	}
	s := sight{loop: "camp-ada@example.com", leaves: leavesOf([]byte(`{"requestId":"1","contact":{"phone":"+44 20 7946 0000"}}`))}
	if p.judge(s) != theirs || !p.Loops["L-1"] || !p.Named["camp-ada@example.com"] {
		t.Errorf("it is not theirs: %+v", p)
	}
}

// Whoever may publish may publish anything: looking at it ends, and finds what stands in it.
func TestWhatIsDeepOrEscapedOverAndOverIsLookedAt(t *testing.T) {
	p := newPerson()
	p.Emails.add("ada@example.com")
	const deep = 200_000
	for name, body := range map[string]string{
		"objects":   strings.Repeat(`{"a":`, deep) + `"ada@example.com"` + strings.Repeat("}", deep),
		"lists":     strings.Repeat("[", deep) + `"ada@example.com"` + strings.Repeat("]", deep),
		"not ended": strings.Repeat(`{"a":`, deep) + `"ada@example.com"`,
		"escaped":   `{"u":"` + strings.Repeat("%25", deep) + `40 ada%2540example.com"}`,
	} {
		if !p.mentions(sight{leaves: leavesOf([]byte(body))}) {
			t.Errorf("%s: not found", name)
		}
	}
}
