package loops

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// live is a broker with a store that follows it.
type live struct {
	*bustest.Broker
	t     *testing.T
	store *Store
	story *story
	path  string
	log   *logged
	stop  func()
}

// logged keeps what was logged.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

func follow(t *testing.T, broker *bustest.Broker) *live {
	t.Helper()
	l := &live{Broker: broker, t: t, path: filepath.Join(t.TempDir(), "loops.db"), log: &logged{}}
	l.story = newStory()
	l.story.history = newHistory(time.Now().Add(-time.Minute), func(m *nats.Msg) {
		if _, err := broker.JS.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	})
	l.start()
	return l
}

func (l *live) start() {
	l.t.Helper()
	var err error
	if l.store, err = Open(l.t.Context(), l.path); err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(l.t.Context())
	done := make(chan error, 1)
	f := NewFollower(l.store, l.Broker.Bus(topology.Console).JetStream(), slog.New(slog.NewTextHandler(l.log, nil)))
	go func() { done <- f.Run(ctx) }()
	l.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
		if err := l.store.Close(); err != nil {
			l.t.Error(err)
		}
	})
	l.t.Cleanup(l.stop)
}

// whole waits until all that the streams hold has been read.
func (l *live) whole() {
	l.t.Helper()
	bustest.Eventually(l.t, "the read model is up to date", func() bool {
		p := l.store.Progress()
		for _, name := range sources {
			s, err := l.JS.Stream(l.t.Context(), name)
			if err != nil || p.Read[name] != s.CachedInfo().State.LastSeq {
				return false
			}
		}
		return p.Behind == 0
	})
}

// eventually waits for a loop to stand so.
func (l *live) eventually(id string, s State) {
	l.t.Helper()
	bustest.Eventually(l.t, id+" is "+string(s), func() bool {
		loop, err := l.store.Loop(l.t.Context(), id)
		return err == nil && loop.State == s
	})
}

func (l *live) letter(service string, e event.Event) *jetstream.PubAck {
	l.t.Helper()
	m := must(event.Encode(e))
	header := []string{"Closeloop-Subject", e.Type, "Closeloop-Event-Id", e.ID, "Closeloop-Loop-Id", e.LoopID, "Closeloop-Class", "refused", "Closeloop-Reason", "no"}
	return l.Publish(topology.DeadLetterSubject(service), string(m.Data), header...)
}

func TestFollowsACampaign(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	changes := l.store.Watch(t.Context())
	l.story.play(8)
	l.whole()
	select {
	case ids := <-changes:
		if len(ids) == 0 {
			t.Error("no loop is said to have changed")
		}
	case <-time.After(30 * time.Second):
		t.Error("nothing was said to have changed")
	}
	page, err := l.store.Find(t.Context(), Query{Stage: Closed})
	if err != nil || len(page.Loops) != 2 {
		t.Fatalf("closed are %+v, %v", page, err)
	}
	for _, q := range []Query{
		{Any: "41000000"}, {IDs: map[IDKind]string{Task: "00163ETT001000000"}}, {IDs: map[IDKind]string{Order: "471000000"}}, {IDs: map[IDKind]string{Contact: "CID_1000000"}},
		{IDs: map[IDKind]string{Contact: "CGC_1000000", Request: "A1000000", Response: "R_1000000"}}, {Any: "00163EAA00001000000"}, {Rule: "delivery-too-late"},
	} {
		page, err := l.store.Find(t.Context(), q)
		if err != nil || len(page.Loops) != 1 || page.Loops[0].Order != "471000000" || page.Loops[0].Campaign != "0000000000" || page.Loops[0].State != Completed {
			t.Errorf("%+v: %+v, %v", q, page, err)
		}
	}
	loop := loopOf(t, l.store, page.Loops[0].ID)
	entries, err := NewReader(l.Broker.Bus(topology.Console).JetStream()).Read(t.Context(), loop.Places)
	if err != nil || len(entries) != len(loop.Places) || len(entries) < 12 {
		t.Fatalf("%d entries for %d places: %v", len(entries), len(loop.Places), err)
	}
	for _, e := range entries {
		switch {
		case e.Gone:
			t.Errorf("%+v is gone", e.Place)
		case e.Stream == topology.Events && (e.Event == nil || e.Event.LoopID != loop.ID || e.Event.Type != e.Type):
			t.Errorf("at %+v is %+v", e.Place, e.Event)
		case e.Stream == topology.Activity && (e.Attempt == nil || len(e.Attempt.Events) != 1 || e.Attempt.Events[0].LoopID != loop.ID || e.Body != nil):
			t.Errorf("at %+v is %+v", e.Place, e.Attempt)
		}
	}
	campaigns, err := l.store.Campaigns(t.Context())
	if err != nil || !slices.Equal(campaigns, []string{"0000000000"}) {
		t.Errorf("campaigns %q, %v", campaigns, err)
	}
	if l.log.has("WARN") {
		t.Errorf("it complains:\n%s", l.log.text.String())
	}
}

// TestWhatIsReadTogetherIsAllThere is of streams that are much longer than what is taken in together: each loop has all that was said
// of it.
func TestWhatIsReadTogetherIsAllThere(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	type where struct {
		stream   string
		sequence uint64
	}
	want := map[string]map[where]bool{}
	var seqs [len(sources)]uint64
	notes := 0
	h := newHistory(time.Now().Add(-time.Hour), func(m *nats.Msg) {
		if _, err := broker.JS.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
		from := sourceOf(m)
		seqs[from]++
		for _, n := range parse(from, raw(m, seqs[from], time.Now())).notes {
			if want[n.loop] == nil {
				want[n.loop] = map[where]bool{}
			}
			want[n.loop][where{sources[from], n.seq}] = true
			notes++
		}
		if notes%500 == 0 {
			<-broker.JS.PublishAsyncComplete()
		}
	})
	h.play(chunk + 200)
	<-broker.JS.PublishAsyncComplete()
	if notes < 2*applyNotes {
		t.Fatalf("%d notes are not many", notes)
	}
	l := follow(t, broker)
	l.whole()
	for id, places := range want {
		loop := loopOf(t, l.store, id)
		for _, p := range loop.Places {
			if !places[where{p.Stream, p.Sequence}] {
				t.Fatalf("%s has a place too many: %+v", id, p)
			}
		}
		if len(loop.Places) != len(places) {
			t.Fatalf("%s has %d places, want %d: %+v", id, len(loop.Places), len(places), loop.Places)
		}
	}
}

// TestGoesOnWhereItStopped counts nothing twice, and nothing never.
func TestGoesOnWhereItStopped(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	l.story.play(8)
	l.whole()
	l.stop()
	l.story.begin = l.story.begin.Add(time.Second)
	l.story.request(99)
	l.start()
	l.whole()
	if l.log.has("anew") {
		t.Errorf("it did not go on:\n%s", l.log.text.String())
	}
	l.invited(9)
}

// invited checks the number of those who were, as the loops say and as it was counted.
func (l *live) invited(want int) {
	l.t.Helper()
	n, err := l.store.Numbers(l.t.Context(), Span{})
	if err != nil {
		l.t.Fatal(err)
	}
	page, err := l.store.Find(l.t.Context(), Query{Stage: Invited, Limit: 1000})
	if err != nil {
		l.t.Fatal(err)
	}
	requested := 0
	for _, h := range n.Flow {
		requested += h.Counts[subjects.SurveyLinkRequested]
	}
	if n.Funnel[0].Count != want || len(page.Loops) != want || requested != want {
		l.t.Errorf("invited are %d, found %d, asked for %d, want %d", n.Funnel[0].Count, len(page.Loops), requested, want)
	}
}

func TestADamagedFileIsBuiltAnew(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	l.story.play(8)
	l.whole()
	for name, damage := range map[string]func() error{
		"gone":            func() error { return os.Remove(l.path) },
		"no database":     func() error { return os.WriteFile(l.path, []byte("once upon a time there was a file\n"), 0o600) },
		"empty":           func() error { return os.Truncate(l.path, 0) },
		"another version": func() error { return execFile(l.path, "PRAGMA user_version = 999") },
		"pages missing":   func() error { return halve(l.path) },
	} {
		t.Run(name, func(t *testing.T) {
			l.stop()
			if err := damage(); err != nil {
				t.Fatal(err)
			}
			l.t = t
			l.start()
			l.whole()
			l.invited(8)
			l.stop()
		})
	}
}

func execFile(path, statement string) error {
	s := &Store{path: path}
	s.world.Store(&world{})
	if err := s.open(context.Background()); err != nil {
		return err
	}
	defer s.Close()
	_, err := s.write.Exec(statement)
	return err
}

func halve(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return os.Truncate(path, info.Size()/2)
}

// TestIsDeletedWhileItRuns takes the file away under it.
func TestIsDeletedWhileItRuns(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	l.story.play(8)
	l.whole()
	if err := os.RemoveAll(filepath.Dir(l.path)); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the file is there again", func() bool { _, err := os.Stat(l.path); return err == nil })
	l.whole()
	l.invited(8)
}

func TestAStreamIsMadeAnew(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	l.story.play(8)
	l.whole()
	stream, err := l.JS.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	if err := l.JS.DeleteStream(t.Context(), topology.Events); err != nil {
		t.Fatal(err)
	}
	if _, err := l.JS.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	e := l.story.request(1)
	bustest.Eventually(t, "the new loop is the only one", func() bool {
		page, err := l.store.Find(t.Context(), Query{})
		return err == nil && len(page.Loops) == 1 && page.Loops[0].ID == e.LoopID
	})
	l.invited(1)
}

func TestWhatExpiresIsForgotten(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	l.story.play(8)
	last := l.story.request(1)
	l.whole()
	events, err := l.JS.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	if err := events.Purge(t.Context(), jetstream.WithPurgeSequence(5)); err != nil { // half of the requests
		t.Fatal(err)
	}
	bustest.Eventually(t, "half of the requests are forgotten", func() bool {
		n, err := l.store.Numbers(t.Context(), Span{})
		return err == nil && n.Funnel[0].Count == 5
	})
	if page, err := l.store.Find(t.Context(), Query{}); err != nil || len(page.Loops) != 9 { // their links are there still
		t.Errorf("%d loops, %v", len(page.Loops), err)
	}
	if err := events.Purge(t.Context(), jetstream.WithPurgeKeep(1)); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "one loop is left", func() bool {
		page, err := l.store.Find(t.Context(), Query{})
		return err == nil && len(page.Loops) == 1 && page.Loops[0].ID == last.LoopID
	})
	l.invited(1)
	if page, _ := l.store.Find(t.Context(), Query{Any: "R_1000000"}); len(page.Loops) > 0 {
		t.Error("an id of a loop that has expired is found")
	}
}

// TestLettersAreFollowed goes from failure over replay to the end.
func TestLettersAreFollowed(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	e := l.story.request(1)
	l.eventually(e.LoopID, Processing)
	first := l.letter(topology.QualtricsLinker, e)
	l.eventually(e.LoopID, Failed)
	l.Publish(topology.OperationSubject("deadletter", first.Sequence), `{"kind":"replay","id":"op1","by":"eve","why":"mended"}`)
	l.eventually(e.LoopID, Processing)
	second := l.letter(topology.QualtricsLinker, e)
	l.eventually(e.LoopID, Failed)
	l.Publish(topology.OperationSubject("deadletter", second.Sequence), `{"kind":"discard","id":"op2","by":"eve","why":"a test"}`)
	l.eventually(e.LoopID, Discarded)
	loop := loopOf(t, l.store, e.LoopID)
	entries, err := NewReader(l.Broker.Bus(topology.Console).JetStream()).Read(t.Context(), loop.Places)
	if err != nil || len(entries) != 5 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, e := range entries {
		if e.Gone || len(e.Body) == 0 {
			t.Errorf("%+v has no body", e.Place)
		}
	}
}

// TestConsumersSayWhatIsDone is of services that tell nothing: what their consumers have acknowledged is done.
func TestConsumersSayWhatIsDone(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{}))
	silent := l.story.received("", 1)
	l.eventually(silent.LoopID, Processing)
	for _, service := range []string{topology.FeedbackRouter, topology.SAPInteractionWriter} {
		b := l.Broker.Bus(service)
		consumer, err := b.JetStream().Consumer(t.Context(), topology.Events, service)
		if err != nil {
			t.Fatal(err)
		}
		m, err := consumer.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if err := m.DoubleAck(t.Context()); err != nil { //nolint:forbidigo // as the service would
			t.Fatal(err)
		}
	}
	bustest.Eventually(t, "the loop is closed", func() bool {
		loop, err := l.store.Loop(t.Context(), silent.LoopID)
		return err == nil && loop.State == Completed && loop.Stage == Closed
	})
}

// TestTakersAreAsked has c4c-tasker take another subject.
func TestTakersAreAsked(t *testing.T) {
	l := follow(t, bustest.Start(t, topology.Settings{TaskSubjects: []string{"feedback.wrong_price"}}))
	e := l.story.received("", 1)
	l.story.attempt(topology.SAPInteractionWriter, nil, e)
	l.story.feedback(e, 1, "feedback.wrong_price")
	l.eventually(e.LoopID, Processing)
	bustest.Eventually(t, "the tasker is waited for", func() bool {
		loop, err := l.store.Loop(t.Context(), e.LoopID)
		return err == nil && len(loop.Waiting) == 1 && loop.Waiting[0].Service == topology.C4CTasker && loop.Waiting[0].Vendor == "sap-sales-cloud"
	})
}

// TestForgets has a person's messages deleted: their ids are nowhere in any console's file, and come back with none that is built.
func TestForgets(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	l := follow(t, broker)
	other := follow(t, broker)
	ada := l.story.say(must(event.New(topology.Ingress, subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
		RequestId: "REQ-ADA", Contact: &eventsv1.Contact{ExternalId: "ada@example.com", Email: "ada@example.com"}, Transaction: &eventsv1.Transaction{ExternalId: "ORDER-ADA"},
	})).InLoop("loop-of-ada@example.com"))
	bob := l.story.say(must(event.New(topology.Ingress, subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
		RequestId: "REQ-BOB", Contact: &eventsv1.Contact{ExternalId: "BOB-1", Email: "bob@example.com"},
	})))
	// A loop of both, as somebody may make one: of this, only what names ada goes.
	shared := l.story.say(must(event.New(topology.Ingress, subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
		RequestId: "REQ-ADA2", Contact: &eventsv1.Contact{ExternalId: "ada@example.com", Email: "ada@example.com"},
	})).InLoop(bob.LoopID))
	l.story.tried(topology.QualtricsLinker, ada, activity.Retry, fault.Transient, time.Hour)
	l.story.tried(topology.QualtricsLinker, bob, activity.Retry, fault.Transient, time.Hour)
	l.letter(topology.QualtricsLinker, ada)
	l.whole()
	other.whole()
	for _, one := range []*live{l, other} {
		page, err := one.store.Find(t.Context(), Query{IDs: map[IDKind]string{Contact: "ada@example.com"}})
		if err != nil || len(page.Loops) != 2 {
			t.Fatalf("before: %+v, %v", page, err)
		}
		one.inFile("ada@example.com", "REQ-ADA", "ORDER-ADA")
	}
	for stream, sequence := range map[string]uint64{topology.Events: 1, topology.DeadLetters: 1} {
		s := must(broker.JS.Stream(t.Context(), stream))
		if err := s.SecureDeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}
	if err := must(broker.JS.Stream(t.Context(), topology.Events)).SecureDeleteMsg(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "the other console has noticed", func() bool {
		page, err := other.store.Find(t.Context(), Query{Any: "ada@example.com"})
		return err == nil && len(page.Loops) == 0 && !other.store.dirty.Load()
	})
	if err := l.store.Forget(t.Context(), []ID{{Contact, "ada@example.com"}, {Request, "REQ-ADA"}}, []string{ada.LoopID}); err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "this one has too", func() bool {
		loop, err := l.store.Loop(t.Context(), shared.LoopID)
		return err == nil && len(loop.Places) == 2 && !l.store.dirty.Load()
	})
	for _, one := range []*live{l, other} {
		one.gone("ada@example.com", "REQ-ADA", "ORDER-ADA", "REQ-ADA2")
		if loop := loopOf(t, one.store, bob.LoopID); loop.State != Retry || loop.Contact != "BOB-1" {
			t.Errorf("the other's loop is %+v", loop)
		}
	}
	l.stop()
	if err := os.Remove(l.path); err != nil {
		t.Fatal(err)
	}
	l.start()
	l.whole()
	l.gone("ada@example.com", "REQ-ADA", "ORDER-ADA", "REQ-ADA2")
	l.inFile("BOB-1")
}

// TestForgetDoesItAtOnce, while the messages are still there.
func TestForgetDoesItAtOnce(t *testing.T) {
	s, tale := open(t), everything(50)
	tale.tell(t, s)
	l := &live{t: t, store: s, path: s.path}
	l.inFile("P-21", "CID_21", "47")
	var loop string
	if page, err := s.Find(t.Context(), Query{Any: "P-21"}); err != nil || len(page.Loops) != 1 {
		t.Fatal(err)
	} else {
		loop = page.Loops[0].ID
	}
	before, _ := s.Numbers(t.Context(), Span{})
	if err := s.Forget(t.Context(), []ID{{Contact, "P-22"}}, []string{loop}); err != nil {
		t.Fatal(err)
	}
	l.gone("P-21", "CID_21", "P-22", loop)
	after, _ := s.Numbers(t.Context(), Span{})
	if after.Funnel[0].Count != before.Funnel[0].Count-1 {
		t.Errorf("%d are counted after %d", after.Funnel[0].Count, before.Funnel[0].Count)
	}
	if page, err := s.Find(t.Context(), Query{Any: "A22"}); err != nil || len(page.Loops) != 1 || page.Loops[0].Contact == "P-22" {
		t.Errorf("the loop that has lost an id: %+v, %v", page, err)
	}
}

// files reads all that the read model has on disk.
func (l *live) files() []byte {
	l.t.Helper()
	var all []byte
	for _, suffix := range []string{"", "-wal", "-shm"} {
		content, err := os.ReadFile(l.path + suffix)
		if err != nil && !os.IsNotExist(err) {
			l.t.Fatal(err)
		}
		all = append(all, content...)
	}
	return all
}

func (l *live) inFile(texts ...string) {
	l.t.Helper()
	content := l.files()
	for _, text := range texts {
		if !bytes.Contains(content, []byte(text)) {
			l.t.Errorf("%s is not in the file: what is looked for would never be found", text)
		}
	}
}

func (l *live) gone(texts ...string) {
	l.t.Helper()
	content := l.files()
	for _, text := range texts {
		if bytes.Contains(content, []byte(text)) {
			l.t.Errorf("%s is still in the file", text)
		}
		if page, err := l.store.Find(l.t.Context(), Query{Any: text}); err != nil || len(page.Loops) > 0 {
			l.t.Errorf("%s is found: %+v, %v", text, page, err)
		}
	}
}

// TestTwoConsolesShareAFile, as nobody should have them do: what each reads is counted once.
func TestTwoConsolesShareAFile(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	l := follow(t, broker)
	other := &live{Broker: broker, t: t, path: l.path, log: &logged{}}
	other.start()
	l.story.play(8)
	for i := range 30 {
		l.story.request(100 + i)
	}
	l.whole()
	other.whole()
	l.invited(38)
	other.invited(38)
}
