package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/console"
)

// tasker is a service that refuses what its rule does not let pass.
type tasker struct {
	mu     sync.Mutex
	refuse func(*eventsv1.FeedbackRaised) error
	done   []event.Event // what it accepted
}

func (s *tasker) handle(_ context.Context, e event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse != nil {
		if err := s.refuse(e.Data.(*eventsv1.FeedbackRaised)); err != nil {
			return err
		}
	}
	s.done = append(s.done, e)
	return nil
}

func (s *tasker) refuses(f func(*eventsv1.FeedbackRaised) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

func (s *tasker) accepted() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.done)
}

// unknownAccount is how a vendor refuses for the content.
func unknownAccount(m *eventsv1.FeedbackRaised) error {
	f := fault.New(fault.Refused, "account %s is unknown", m.GetAccountId())
	f.Vendor, f.Field = "sap-sales-cloud", "accountId"
	return f
}

// fixture is a broker, a service that handles events, and a console.
type fixture struct {
	*servicetest.Service
	t      *testing.T
	broker *bustest.Broker
	tasker *tasker
}

func newBroker(t *testing.T) (*bustest.Broker, *tasker) {
	t.Helper()
	t.Parallel()
	broker, tasks := bustest.Start(t, topology.Settings{}), &tasker{refuse: unknownAccount}
	consuming := broker.Bus(topology.C4CTasker).Consume(t.Context(), bus.Consumer{Handle: tasks.handle})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		consuming.Drain(ctx)
	})
	return broker, tasks
}

func start(t *testing.T) *fixture {
	t.Helper()
	broker, tasks := newBroker(t)
	return &fixture{servicetest.Start(t, broker, console.Define, nil), t, broker, tasks}
}

// feedback is the body of an event that the service refuses.
func feedback(n int) string {
	return fmt.Sprintf(`{"responseId":"R_%d","subject":"Late","accountId":"10%05d","text":"secret text"}`, n, n)
}

// fail publishes events that become dead letters, and waits until they are.
func (f *fixture) fail(from, to int) {
	f.t.Helper()
	for n := from; n <= to; n++ {
		f.broker.Publish(subjects.FeedbackDeliveryLate, feedback(n), "ce-loopid", fmt.Sprintf("L-%d", n), "Nats-Msg-Id", fmt.Sprint("once-", n))
	}
	f.waits(to)
}

// waits waits until DEADLETTERS holds that many.
func (f *fixture) waits(letters int) {
	f.t.Helper()
	bustest.Eventually(f.t, fmt.Sprintf("%d dead letters", letters), func() bool {
		return len(f.broker.Messages(topology.DeadLetters, ">")) >= letters
	})
}

// letter is one as the API shows it.
type letter struct {
	console.Letter
	State         console.State
	Replays       int
	Last          *console.Operation
	FailedAgainAs uint64
	ReplayOf      uint64
	Headers       map[string][]string
	Fields        []string
	Body          json.RawMessage
	Operations    []console.Operation
}

type list struct {
	Letters []letter
	Total   int
	Next    uint64
	Causes  []console.Cause
}

func (f *fixture) list(query string) list {
	f.t.Helper()
	var l list
	f.Get("/dead-letters" + query).Want(200).JSON(&l)
	return l
}

func (f *fixture) letter(sequence int) letter {
	f.t.Helper()
	var l letter
	f.Get(fmt.Sprint("/dead-letters/", sequence)).Want(200).JSON(&l)
	return l
}

func (f *fixture) replay(sequence int, body string, header ...string) servicetest.Answer {
	f.t.Helper()
	return f.Post(fmt.Sprintf("/dead-letters/%d/replay", sequence), body, header...)
}

func (f *fixture) many(what, body string) console.Many {
	f.t.Helper()
	var m console.Many
	f.Post("/dead-letters/"+what, body).Want(200).JSON(&m)
	return m
}

// replays counts what was published for services.
func (f *fixture) replays() int {
	return len(f.broker.Messages(topology.Retries, topology.DueSubject("*")))
}

func TestOneDeadLetterIsReplayedToItsServiceAlone(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	l := f.letter(1)
	if l.Service != topology.C4CTasker || l.Subject != subjects.FeedbackDeliveryLate || l.Class != "refused" || l.Field != "accountId" ||
		!strings.Contains(l.Reason, "1000001") || l.Attempts != 1 || l.LoopID != "L-1" || l.EventID == "" || l.State != console.Open ||
		l.Original != (console.Place{Stream: "EVENTS", Sequence: 1}) || l.FirstSeen.IsZero() || l.Time.IsZero() || len(l.Cause) != 10 {
		t.Errorf("the letter is shown as %+v", l)
	}
	f.tasker.refuses(nil)
	var done console.Done
	f.replay(1, `{"why":"the account is there now","by":"ada"}`).Want(200).JSON(&done)
	if done.Outcome != "replayed" || done.Operation.By != "ada" || done.Operation.Why != "the account is there now" || done.Operation.Sent.IsZero() {
		t.Errorf("answered %+v", done)
	}
	bustest.Eventually(t, "handled", func() bool { return len(f.tasker.accepted()) == 1 })
	e := f.tasker.accepted()[0]
	if e.ID != l.EventID || e.LoopID != "L-1" || e.Type != subjects.FeedbackDeliveryLate || e.Attempts != 0 {
		t.Errorf("the service got %+v", e)
	}
	if n := len(f.broker.Messages(topology.Events, ">")); n != 1 {
		t.Errorf("%d events: a replay is for one service and must not be published to all", n)
	}
	if l := f.letter(1); l.State != console.Replayed || l.Replays != 1 || l.Last.ID != done.Operation.ID || l.FailedAgainAs != 0 {
		t.Errorf("then it is shown as %+v", l)
	}
	if open := f.list(""); open.Total != 0 || len(open.Letters) != 0 {
		t.Errorf("still open: %+v", open)
	}
}

func TestAReplayThatFailsAgainIsShownOnTheFirstLetter(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	f.replay(1, `{"why":"try","by":"ada"}`).Want(200)
	f.waits(2)
	first, second := f.letter(1), f.letter(2)
	if first.State != console.Replayed || first.FailedAgainAs != 2 {
		t.Errorf("the first: %+v", first)
	}
	if second.State != console.Open || second.ReplayOf != 1 || second.Original != first.Original || second.Cause != first.Cause || second.LoopID != "L-1" {
		t.Errorf("the second: %+v", second)
	}
	if open := f.list(""); open.Total != 1 || open.Letters[0].Sequence != 2 {
		t.Errorf("open: %+v", open)
	}
	// Only the open one can be decided about, else it would stay open when the other is done.
	f.replay(2, `{"why":"it failed since, so that nobody has to insist","by":"ada"}`).Want(200)
	f.waits(3)
	for _, body := range []string{`{"why":"x","by":"ada"}`, `{"why":"x","by":"ada","again":true}`} {
		if a := f.replay(1, body).WantProblem(409); !strings.Contains(a.Body, "came back as #3: replay that") {
			t.Errorf("%s", a.Body)
		}
	}
	if first := f.letter(1); first.Replays != 1 || first.FailedAgainAs != 2 || f.letter(2).FailedAgainAs != 3 {
		t.Errorf("after a second replay: %+v", first)
	}
	f.tasker.refuses(nil)
	f.replay(3, `{"why":"mended","by":"grace"}`).Want(200)
	if f.list("").Total != 0 {
		t.Error("a letter is still open")
	}
	if a := f.replay(1, `{"why":"x","by":"ada"}`).WantProblem(409); !strings.Contains(a.Body, "came back as #3, which was replayed by grace") {
		t.Errorf("%s", a.Body)
	}
	f.replay(1, `{"why":"x","by":"ada","again":true}`).Want(200)
}

func TestASecondReplayNeedsToBeAskedForAgain(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	f.tasker.refuses(nil)
	var first, repeated console.Done
	f.replay(1, `{"why":"mended","by":"ada"}`, "Idempotency-Key", "K-1").Want(200).JSON(&first)
	if a := f.replay(1, `{"why":"me too","by":"grace"}`).WantProblem(409); !strings.Contains(a.Body, "ada") || !strings.Contains(a.Body, "mended") {
		t.Errorf("the conflict does not say who replayed it and why: %s", a.Body)
	}
	f.replay(1, `{"why":"mended","by":"ada"}`, "Idempotency-Key", "K-1").Want(200).JSON(&repeated)
	if repeated.Operation.ID != first.Operation.ID || f.replays() != 1 {
		t.Errorf("the same request again: %+v, %d replays", repeated, f.replays())
	}
	f.replay(1, `{"why":"once more","by":"grace","again":true}`).Want(200)
	if f.replays() != 2 || f.letter(1).Replays != 2 {
		t.Errorf("%d replays, want 2", f.replays())
	}
	// The same key with something else is a mistake, and not an answer to it.
	const mended = `{"responseId":"R_1","subject":"<Late>","accountId":"42"}`
	for _, other := range []string{`"by":"grace"`, `"by":"ada","body":` + mended} {
		f.replay(1, `{"why":"mended","again":true,`+other+`}`, "Idempotency-Key", "K-1").WantProblem(422, "Idempotency-Key")
	}
	f.Post("/dead-letters/1/discard", `{"why":"mended","by":"ada"}`, "Idempotency-Key", "K-1").WantProblem(422, "Idempotency-Key")
	f.replay(1, `{"why":"x","again":true,"by":"ada","body":`+mended+`}`, "Idempotency-Key", "K-2").Want(200)
	f.replay(1, `{"why":"x","again":true,"by":"ada","body":`+strings.Replace(mended, "42", "43", 1)+`}`, "Idempotency-Key", "K-2").WantProblem(422, "Idempotency-Key")
	f.replay(1, `{"why":"x","again":true,"by":"ada","body":`+strings.ReplaceAll(mended, ",", " , ")+`}`, "Idempotency-Key", "K-2").Want(200)
	if f.replays() != 3 {
		t.Errorf("%d replays, want 3", f.replays())
	}
	f.Stop() // another console knows the body from the record alone
	second := &fixture{servicetest.Start(t, f.broker, console.Define, nil), t, f.broker, f.tasker}
	second.replay(1, `{"why":"x","again":true,"by":"ada","body":`+mended+`}`, "Idempotency-Key", "K-2").Want(200)
	second.replay(1, `{"why":"x","again":true,"by":"ada"}`, "Idempotency-Key", "K-2").WantProblem(422, "Idempotency-Key")
	if f.replays() != 3 {
		t.Errorf("%d replays, want 3", f.replays())
	}
}

func TestWhoAndWhyAreRequired(t *testing.T) {
	broker, tasks := newBroker(t)
	env := servicetest.Env{"INGRESS_BASIC_USERS": "ada:pass-a", "INGRESS_API_KEYS": "key-1"}
	f := &fixture{servicetest.Start(t, broker, console.Define, env), t, broker, tasks}
	f.fail(1, 1)
	key, ada := []string{"X-API-Key", "key-1"}, []string{"Authorization", "Basic YWRhOnBhc3MtYQ=="}
	f.replay(1, `{"why":"x","by":"ada"}`).WantProblem(401)
	f.Get("/dead-letters").WantProblem(401)
	f.replay(1, `{"by":"eve"}`, key...).WantProblem(400, "why")
	f.replay(1, `{"why":"x"}`, key...).WantProblem(400, "by")
	f.replay(1, `{"why":"x","by":"grace"}`, ada...).WantProblem(400, "by")
	f.replay(1, `{"why":"x","by":"eve","agian":true}`, key...).WantProblem(400, "agian")
	f.replay(1, `{"why":5,"by":"eve"}`, key...).WantProblem(400, "why")
	f.replay(1, `{"why":"x","by":"eve","outcome":"done"}`, key...).WantProblem(400, "outcome")
	f.replay(1, `{"why":"x","by":"eve","outcome":"not-done"}`, key...).WantProblem(422, "outcome")
	f.replay(9, `{"why":"x","by":"eve"}`, key...).WantProblem(404)
	for _, by := range []string{"ada", "Ada"} { // who has a password comes with it
		f.replay(1, `{"why":"x","by":"`+by+`"}`, key...).WantProblem(400, "by")
	}
	for body, want := range map[string]string{
		`[]`: "an object", `{"sequences":["1"]}`: "sequences must be a list of numbers", `{"sequences":1}`: "sequences must be a list of numbers",
		`{"again":"yes"}`: "again must be true or false", `{"limit":"1"}`: "limit must be a number", `{"why":1}`: "why must be a text",
	} {
		if a := f.Post("/dead-letters/replay", body, key...).WantProblem(400); !strings.Contains(a.Body, want) {
			t.Errorf("%s: %s", body, a.Body)
		}
	}
	if f.replays() != 0 || len(broker.Messages(topology.Operations, ">")) != 0 {
		t.Error("something was recorded or replayed all the same")
	}
	var done console.Done
	f.replay(1, `{"why":"x"}`, ada...).Want(200).JSON(&done)
	if done.Operation.By != "ada" || !done.Operation.Proven {
		t.Errorf("by %q, proven: %t", done.Operation.By, done.Operation.Proven)
	}
	f.waits(2)
	done = console.Done{}
	f.replay(2, `{"why":"x","by":"eve"}`, key...).Want(200).JSON(&done)
	if done.Operation.By != "eve" || done.Operation.Proven {
		t.Errorf("by %q, proven: %t", done.Operation.By, done.Operation.Proven)
	}
}

func TestAnEditedBodyIsCheckedAndSent(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	f.tasker.refuses(func(m *eventsv1.FeedbackRaised) error {
		if m.GetAccountId() == "42" {
			return nil
		}
		return unknownAccount(m)
	})
	f.replay(1, `{"why":"x","by":"ada","body":{"responseId":"R_1","subject":"Late","acountId":"42"}}`).WantProblem(400, "body.acountId")
	f.replay(1, `{"why":"x","by":"ada","body":{"subject":"Late"}}`).WantProblem(400, "body.responseId")
	for _, none := range []string{`null`, `"text"`, `[]`} {
		if a := f.replay(1, `{"why":"x","by":"ada","body":`+none+`}`).WantProblem(400, "body"); !strings.Contains(a.Body, "body must be an object") {
			t.Errorf("%s: %s", none, a.Body)
		}
	}
	f.replay(1, `{"why":"x","by":"ada","body":{"responseId":"R_9","subject":"Late","accountId":"42"}}`).WantProblem(400, "body.responseId")
	f.replay(1, `{"why":"x","by":"ada","outcome":"not-done","body":{"responseId":"R_1","subject":"Late"}}`).WantProblem(400, "outcome")
	if n := len(f.broker.Messages(topology.Operations, ">")); n != 0 || f.replays() != 0 {
		t.Fatalf("%d operations and %d replays of bodies that break the contract", n, f.replays())
	}
	f.replay(1, `{"why":"wrong account","by":"ada","body":{"responseId":"R_1","subject":"Late","accountId":"42"}}`).Want(200)
	bustest.Eventually(t, "accepted", func() bool { return len(f.tasker.accepted()) == 1 })
	if m := f.tasker.accepted()[0].Data.(*eventsv1.FeedbackRaised); m.GetAccountId() != "42" || m.GetText() != "" {
		t.Errorf("the service got %v", m)
	}
	if l := f.letter(1); !l.Last.Edited || len(l.Last.Body) > 0 {
		t.Errorf("shown as %+v: that it was edited, and not how", l.Last)
	}
}

func TestAWrongEnvelopeIsLeftOutOfWhatIsMended(t *testing.T) {
	f := start(t)
	f.tasker.refuses(nil)
	f.broker.Publish(subjects.FeedbackDeliveryLate, feedback(1), "Ce-Time", "yesterday", "ce-type", "order.completed", "ce-id", "E-1", "ce-loopid", "L-1")
	f.waits(1)
	f.replay(1, `{"why":"as it is","by":"ada"}`).Want(200)
	f.waits(2)
	f.replay(2, `{"why":"the time was wrong","by":"ada","body":`+feedback(9)+`}`).WantProblem(400, "body.responseId")
	f.replay(2, `{"why":"the time was wrong","by":"ada","body":`+feedback(1)+`}`).Want(200)
	bustest.Eventually(t, "accepted", func() bool { return len(f.tasker.accepted()) == 1 })
	if e := f.tasker.accepted()[0]; e.ID != "E-1" || e.LoopID != "L-1" || e.Type != subjects.FeedbackDeliveryLate || e.Time.IsZero() {
		t.Errorf("the service got %+v", e)
	}
}

func TestACauseIsGoneThroughOnceThoughItsLettersFailAgain(t *testing.T) {
	f := start(t)
	f.fail(1, 5)
	cause := f.list("").Causes[0].Cause
	first := f.many("replay", fmt.Sprintf(`{"why":"x","by":"ada","cause":%q,"limit":2}`, cause))
	if first.UpTo != 5 || first.Left != 3 {
		t.Fatalf("%+v", first)
	}
	f.waits(7)
	rest := f.many("replay", fmt.Sprintf(`{"why":"x","by":"ada","cause":%q,"upTo":%d}`, cause, first.UpTo))
	if rest.UpTo != 5 || rest.Done != 3 || rest.Left != 0 || f.replays() != 5 {
		t.Errorf("%+v, %d replays", rest, f.replays())
	}
	f.Post("/dead-letters/replay", `{"why":"x","by":"ada","sequences":[1],"upTo":1}`).WantProblem(400, "upTo")
}

func TestAllOfOneCauseAreReplayedASampleFirst(t *testing.T) {
	f := start(t)
	f.fail(1, 50)
	f.broker.Publish(subjects.FeedbackDeliveryLate, `{"subject":"no response"}`)
	f.waits(51)
	all := f.list("?limit=5")
	if all.Total != 51 || len(all.Letters) != 5 || all.Letters[0].Sequence != 51 || all.Next != 47 || len(all.Causes) != 2 || all.Causes[0].Open != 50 || all.Causes[1].Open != 1 {
		t.Fatalf("the list is %+v", all)
	}
	if next := f.list("?limit=5&before=47"); next.Letters[0].Sequence != 46 || next.Total != 51 {
		t.Errorf("the next page begins with %d", next.Letters[0].Sequence)
	}
	cause := all.Causes[0].Cause
	f.tasker.refuses(nil)
	sample := f.many("replay", fmt.Sprintf(`{"why":"sample","by":"ada","cause":%q,"limit":3}`, cause))
	if sample.Done != 3 || sample.Left != 47 || sample.Letters[0].Sequence != 1 {
		t.Errorf("the sample: %+v", sample)
	}
	bustest.Eventually(t, "the sample is accepted", func() bool { return len(f.tasker.accepted()) == 3 })
	rest := f.many("replay", fmt.Sprintf(`{"why":"the rest","by":"ada","cause":%q}`, cause))
	if rest.Done != 47 || rest.Left != 0 || rest.Skipped != 0 {
		t.Errorf("the rest: %d done, %d skipped, %d left", rest.Done, rest.Skipped, rest.Left)
	}
	bustest.Eventually(t, "all accepted", func() bool { return len(f.tasker.accepted()) == 50 })
	again := f.many("replay", fmt.Sprintf(`{"why":"the rest","by":"ada","cause":%q}`, cause))
	if again.Done != 0 || f.replays() != 50 {
		t.Errorf("asked again: %+v, %d replays", again, f.replays())
	}
	for i, m := range f.broker.Messages(topology.Retries, topology.DueSubject("*")) {
		if l := append(sample.Letters, rest.Letters...)[i]; l.Sequence != uint64(i+1) || l.Operation.ID != m.Header.Get(bus.HeaderReplay) {
			t.Fatalf("replay %d is of letter %d, or in another place", i, l.Sequence)
		}
	}
	var grouped struct{ Causes []console.Cause }
	f.Get("/dead-letters/causes?state=all").Want(200).JSON(&grouped)
	if len(grouped.Causes) != 2 || grouped.Causes[1].Replayed != 50 || grouped.Causes[1].Open != 0 {
		t.Errorf("causes: %+v", grouped.Causes)
	}
}

func TestASelectionTellsOfEachLetter(t *testing.T) {
	f := start(t)
	f.fail(1, 3)
	f.tasker.refuses(nil)
	f.replay(2, `{"why":"first","by":"ada"}`).Want(200)
	m := f.many("replay", `{"why":"all","by":"grace","sequences":[3,2,1,9,3]}`)
	outcomes := ""
	for _, l := range m.Letters {
		outcomes += fmt.Sprintf("%d %s,", l.Sequence, l.Outcome)
	}
	if outcomes != "1 replayed,2 skipped,3 replayed,9 failed," || m.Done != 2 || m.Skipped != 1 || m.Failed != 1 {
		t.Errorf("%s %+v", outcomes, m)
	}
	f.Post("/dead-letters/replay", `{"why":"x","by":"ada"}`).WantProblem(400, "sequences")
	f.Post("/dead-letters/replay", `{"why":"x","by":"ada","cause":"c","sequences":[1]}`).WantProblem(400, "cause")
	f.Post("/dead-letters/replay", `{"why":"x","by":"ada","cause":"0123456789"}`).WantProblem(404)
}

func TestDiscardedLettersAreOutOfTheWay(t *testing.T) {
	f := start(t)
	f.fail(1, 3)
	var done console.Done
	f.Post("/dead-letters/1/discard", `{"why":"a test","by":"ada"}`).Want(200).JSON(&done)
	if done.Outcome != "discarded" || f.letter(1).State != console.Discarded {
		t.Errorf("%+v, %+v", done, f.letter(1))
	}
	f.replay(1, `{"why":"x","by":"ada"}`).WantProblem(409)
	f.Post("/dead-letters/1/discard", `{"why":"x","by":"ada"}`).WantProblem(409)
	if m := f.many("discard", `{"why":"tests too","by":"ada","sequences":[1,2]}`); m.Done != 1 || m.Skipped != 1 {
		t.Errorf("%+v", m)
	}
	if f.list("").Total != 1 || f.list("?state=discarded").Total != 2 || f.replays() != 0 {
		t.Error("discarded letters are still open, or went out")
	}
	f.Post("/dead-letters/3/discard", `{"why":"x","by":"ada","body":{}}`).WantProblem(400, "body")
	f.tasker.refuses(nil)
	f.replay(1, `{"why":"no test after all","by":"ada","again":true}`).Want(200)
	bustest.Eventually(t, "accepted", func() bool { return len(f.tasker.accepted()) == 1 })
}

func TestHeadersAboutPeopleAreShownWithTheBody(t *testing.T) {
	f := start(t)
	f.broker.Publish(subjects.FeedbackDeliveryLate, feedback(1), "ce-loopid", "L-1", "ce-customer", "Ada Lovelace", "X-Mail", "ada@example.com")
	f.waits(1)
	if got := f.Get("/dead-letters/1").Want(200).Body; strings.Contains(got, "Ada") || strings.Contains(got, "ada@") || !strings.Contains(got, "L-1") {
		t.Error(got)
	}
	for _, got := range []string{
		f.Get("/dead-letters/1?by=eve&body=why").Want(200).Body, f.Post("/dead-letters/1/show", `{"by":"eve","why":"why"}`).Want(200).Body,
	} {
		if !strings.Contains(got, "Ada Lovelace") || !strings.Contains(got, "ada@example.com") {
			t.Error(got)
		}
	}
}

func TestABodyIsShownToWhoSaysWhyAndThatIsKept(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	plain := f.Get("/dead-letters/1").Want(200)
	if strings.Contains(plain.Body, "secret text") {
		t.Error("the body is shown to whoever asks")
	}
	if l := f.letter(1); !slices.Equal(l.Fields, []string{"accountId", "responseId", "subject", "text"}) || l.Headers["Ce-Loopid"] == nil && l.Headers["ce-loopid"] == nil {
		t.Errorf("fields %v, headers %v", l.Fields, l.Headers)
	}
	for _, browser := range [][]string{{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-origin"}, {"Cookie", "closeloop-by=ada"}} {
		f.Get("/dead-letters/1?by=ada&format=json&body=led+here", browser...).WantProblem(403)
	}
	if n := len(f.letter(1).Operations); n != 0 {
		t.Errorf("a link had %d looks recorded", n)
	}
	f.Get("/dead-letters/1?body=&by=ada").WantProblem(400, "body")
	f.Get("/dead-letters/1?body=curious").WantProblem(400, "by")
	var l letter
	f.Get("/dead-letters/1?by=ada&body=" + url.QueryEscape("which account?")).Want(200).JSON(&l)
	if !strings.Contains(string(l.Body), "secret text") || l.State != console.Open {
		t.Errorf("%+v", l)
	}
	if len(l.Operations) != 1 || l.Operations[0].Kind != console.Look || len(f.letter(1).Operations) != 1 {
		t.Errorf("what was done with the letter: %+v", l.Operations)
	}
	for query, field := range map[string]string{"letter=abc": "letter", "letter=0": "letter", "kind=foo": "kind", "limit=x": "limit"} {
		f.Get("/operations?"+query).WantProblem(400, field)
	}
	var history struct{ Operations []console.Operation }
	f.Get("/operations?kind=look&letter=1").Want(200).JSON(&history)
	if len(history.Operations) != 1 || history.Operations[0].By != "ada" || history.Operations[0].Why != "which account?" || history.Operations[0].Letter != 1 {
		t.Errorf("kept: %+v", history)
	}
}

func TestLettersAreFoundByWhatTheyAre(t *testing.T) {
	f := start(t)
	f.fail(1, 3)
	f.broker.Publish("deadletter.qualtrics-linker", `{}`, "Closeloop-Reason", "no such survey", "Closeloop-Class", "person", "Closeloop-Subject", "survey.link.requested")
	for query, want := range map[string]int{
		"": 4, "?service=c4c-tasker": 3, "?class=person": 1, "?subject=survey.link.requested": 1, "?loop=L-2": 1, "?state=replayed": 0,
		"?state=all": 4, "?service=c4c-tasker&class=person": 0,
	} {
		if got := f.list(query).Total; got != want {
			t.Errorf("%s: %d letters, want %d", query, got, want)
		}
	}
	for query, name := range map[string]string{"?state=closed": "state", "?limit=0": "limit", "?before=x": "before", "?servcie=x": "servcie", "?class=bogus": "class"} {
		f.Get("/dead-letters"+query).WantProblem(400, name)
	}
	f.replay(4, `{"why":"x","by":"ada"}`).Want(200)
	f.broker.Publish("deadletter.nobody", `{}`, "Closeloop-Subject", "survey.link.requested")
	f.broker.Publish("deadletter.c4c-tasker", `{}`)
	f.replay(5, `{"why":"x","by":"ada"}`).WantProblem(422)
	f.replay(6, `{"why":"x","by":"ada"}`).WantProblem(422)
}

func TestMetricsTellWhatWaits(t *testing.T) {
	f := start(t)
	f.fail(1, 3)
	f.Post("/dead-letters/1/discard", `{"why":"x","by":"ada"}`).Want(200)
	metrics := f.Get("/metrics").Want(200).Body
	for _, line := range []string{
		`closeloop_dead_letters_open{class="refused",of="c4c-tasker",service="console"} 2`,
		`closeloop_operations_total{kind="discard",service="console"} 1`,
		`closeloop_dead_letters_oldest_seconds{of="c4c-tasker",service="console"} `,
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("no line %s in\n%s", line, metrics)
		}
	}
}

func TestWhatIsDeletedOrExpiredIsForgotten(t *testing.T) {
	f := start(t)
	f.fail(1, 4)
	if f.list("").Total != 4 {
		t.Fatal("not all are seen")
	}
	stream, err := f.broker.JS.Stream(t.Context(), topology.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	for _, sequence := range []uint64{1, 3} {
		if err := stream.DeleteMsg(t.Context(), sequence); err != nil {
			t.Fatal(err)
		}
	}
	if l := f.list(""); l.Total != 2 || l.Letters[0].Sequence != 4 || l.Letters[1].Sequence != 2 {
		t.Errorf("left: %+v", l)
	}
	f.replay(3, `{"why":"x","by":"ada"}`).WantProblem(404)
	f.Get("/dead-letters/1").WantProblem(404)
}

func TestAConsoleThatDiedBetweenRecordAndReplayFinishesItAtItsNextStart(t *testing.T) {
	broker, tasks := newBroker(t)
	for n := 1; n <= 2; n++ {
		broker.Publish(subjects.FeedbackDeliveryLate, feedback(n))
		bustest.Eventually(t, "dead letter", func() bool { return len(broker.Messages(topology.DeadLetters, ">")) == n })
	}
	tasks.refuses(nil)
	// What it had written when it died: a replay as it is, one with another body, and one that had gone out.
	record := func(letter int, more string) {
		broker.Publish(fmt.Sprint("operation.deadletter.", letter), fmt.Sprintf(`{"id":"OP-%d","kind":"replay","letter":%d,"by":"ada","why":"x","at":"2026-07-24T09:30:00Z"%s}`, letter, letter, more))
	}
	record(1, "")
	record(2, `,"edited":true,"body":{"responseId":"R_2","subject":"Late","accountId":"42"}`)
	f := &fixture{servicetest.Start(t, broker, console.Define, nil), t, broker, tasks}
	bustest.Eventually(t, "both accepted", func() bool { return len(tasks.accepted()) == 2 })
	accounts := map[string]bool{}
	for _, e := range tasks.accepted() {
		accounts[e.Data.(*eventsv1.FeedbackRaised).GetAccountId()] = true
	}
	if !accounts["1000001"] || !accounts["42"] {
		t.Errorf("sent with %v", accounts)
	}
	bustest.Eventually(t, "noted", func() bool { return f.letter(1).Last.Sent.IsZero() == false && !f.letter(2).Last.Sent.IsZero() })
	f.Stop()
	second := servicetest.Start(t, broker, console.Define, nil)
	second.Get("/dead-letters").Want(200)
	if f.replays() != 2 {
		t.Errorf("%d replays after another start, want 2", f.replays())
	}
	var history struct{ Operations []console.Operation }
	second.Get("/operations").Want(200).JSON(&history)
	if len(history.Operations) != 2 || history.Operations[0].ID != "OP-2" || history.Operations[0].Sent.IsZero() {
		t.Errorf("operations: %+v", history.Operations)
	}
}

func TestAReplayThatCanNeverGoOutIsNotTriedForEver(t *testing.T) {
	broker, tasks := newBroker(t)
	broker.Publish(topology.DeadLetterSubject(topology.C4CTasker), `{}`) // says not what it is
	broker.Publish("operation.deadletter.1", `{"id":"OP-1","kind":"replay","letter":1,"by":"ada","why":"x"}`)
	f := &fixture{servicetest.Start(t, broker, console.Define, nil), t, broker, tasks}
	bustest.Eventually(t, "given up", func() bool { return len(f.letter(1).Operations) == 1 && f.letter(1).Operations[0].Failed != "" })
	if l := f.letter(1); l.State != console.Open || !strings.Contains(l.Operations[0].Failed, bus.HeaderSubject) || !l.Operations[0].Sent.IsZero() {
		t.Errorf("%+v", l)
	}
}

func TestAReplayThatCannotGoOutYetHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	// The first needs its original, and EVENTS is not there.
	broker.Publish(topology.DeadLetterSubject(topology.C4CTasker), "", bus.HeaderSubject, subjects.FeedbackDeliveryLate, bus.HeaderStream, topology.Events, bus.HeaderSequence, "1")
	broker.Publish(topology.DeadLetterSubject(topology.C4CTasker), feedback(2), bus.HeaderSubject, subjects.FeedbackDeliveryLate)
	for n := 1; n <= 2; n++ {
		broker.Publish(fmt.Sprint("operation.deadletter.", n), fmt.Sprintf(`{"id":"OP-%d","kind":"replay","by":"ada","why":"x"}`, n))
	}
	if err := broker.JS.DeleteStream(t.Context(), topology.Events); err != nil {
		t.Fatal(err)
	}
	f := &fixture{servicetest.Start(t, broker, console.Define, nil), t, broker, nil}
	bustest.Eventually(t, "the second goes out", func() bool { return f.replays() == 1 && !f.letter(2).Last.Sent.IsZero() })
	if n := strings.Count(f.Log(), "cannot be sent yet"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// remade deletes DEADLETTERS and makes it anew, empty.
func (f *fixture) remade() {
	f.t.Helper()
	stream, err := f.broker.JS.Stream(f.t.Context(), topology.DeadLetters)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.broker.JS.DeleteStream(f.t.Context(), topology.DeadLetters); err != nil {
		f.t.Fatal(err)
	}
	if _, err := f.broker.JS.CreateStream(f.t.Context(), stream.CachedInfo().Config); err != nil {
		f.t.Fatal(err)
	}
}

func TestLettersOfAStreamThatWasMadeAnewAreUndecided(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	f.Get("/dead-letters/1?by=ada&body=which").Want(200)
	f.replay(1, `{"why":"of the old one","by":"ada"}`, "Idempotency-Key", "K-1").Want(200)
	f.waits(2)
	f.remade()
	f.broker.Publish(subjects.FeedbackDeliveryLate, feedback(2), "ce-loopid", "L-2")
	f.waits(1)
	if l := f.letter(1); l.State != console.Open || l.LoopID != "L-2" || l.Last != nil || l.Replays != 0 || len(l.Operations) != 0 || f.list("").Total != 1 {
		t.Errorf("%+v", l)
	}
	f.tasker.refuses(nil)
	var done console.Done
	f.replay(1, `{"why":"of the new one","by":"ada"}`, "Idempotency-Key", "K-1").Want(200).JSON(&done)
	bustest.Eventually(t, "accepted", func() bool { return len(f.tasker.accepted()) == 1 })
	if l := f.letter(1); l.State != console.Replayed || l.Last.ID != done.Operation.ID || l.Last.Why != "of the new one" || len(l.Operations) != 1 {
		t.Errorf("%+v", l)
	}
}

func TestAReplayOfALetterThatIsGoneIsNotThatOfItsSuccessor(t *testing.T) {
	broker, tasks := newBroker(t)
	broker.Publish("operation.deadletter.1", `{"id":"OP-1","kind":"replay","by":"ada","why":"of the old one"}`)
	broker.Publish(subjects.FeedbackDeliveryLate, feedback(1))
	bustest.Eventually(t, "dead letter", func() bool { return len(broker.Messages(topology.DeadLetters, ">")) == 1 })
	f := &fixture{servicetest.Start(t, broker, console.Define, nil), t, broker, tasks}
	var history struct{ Operations []console.Operation }
	bustest.Eventually(t, "given up", func() bool {
		f.Get("/operations").Want(200).JSON(&history)
		return len(history.Operations) == 1 && history.Operations[0].Failed != ""
	})
	if f.replays() != 0 || f.letter(1).State != console.Open {
		t.Errorf("%d replays, %+v", f.replays(), f.letter(1))
	}
}

func TestABodyTooLargeForACopyIsReadFromEvents(t *testing.T) {
	f := start(t)
	head, tail := `{"responseId":"R_1","subject":"Late","text":"`, `"}`
	body := head + strings.Repeat("x", 1_048_488-len(head)-len(tail)) + tail
	f.broker.Publish(subjects.FeedbackDeliveryLate, body)
	f.waits(1)
	if n := len(f.broker.Messages(topology.DeadLetters, ">")[0].Data); n != 0 {
		t.Fatalf("the letter has a body of %d bytes", n)
	}
	var l letter
	f.Get("/dead-letters/1?by=ada&body=why").Want(200).JSON(&l)
	if string(l.Body) != body || !slices.Equal(l.Fields, []string{"responseId", "subject", "text"}) {
		t.Errorf("shown are %d bytes, fields %v", len(l.Body), l.Fields)
	}
	var done console.Done
	f.replay(1, `{"why":"x","by":"ada"}`).Want(200).JSON(&done)
	if done.Outcome != "failed" || !strings.Contains(done.Reason, "too large") || !done.Operation.Sent.IsZero() {
		t.Errorf("%+v", done)
	}
	f.replay(1, `{"why":"shorter","by":"ada","body":`+feedback(1)+`}`).Want(200)
	if n := f.replays(); n != 1 {
		t.Errorf("%d replays", n)
	}
}

func TestOfTwoConsolesOneReplaysAndTheOtherSaysSo(t *testing.T) {
	f := start(t)
	second := servicetest.Start(t, f.broker, console.Define, nil)
	const letters = 20
	f.fail(1, letters)
	f.tasker.refuses(nil)
	for n := 1; n <= letters; n++ {
		var wait sync.WaitGroup
		answers := make([]servicetest.Answer, 2)
		for i, c := range []*servicetest.Service{f.Service, second} {
			wait.Go(func() {
				answers[i] = c.Post(fmt.Sprintf("/dead-letters/%d/replay", n), fmt.Sprintf(`{"why":"race","by":"person-%d"}`, i))
			})
		}
		wait.Wait()
		said := map[string]bool{}
		for _, a := range answers {
			switch a.Status {
			case 200, 202:
				var done console.Done
				a.JSON(&done)
				said[done.Operation.By] = true
			case 409: // came a moment later
				for _, by := range []string{"person-0", "person-1"} {
					if strings.Contains(a.Body, by) {
						said[by] = true
					}
				}
			default:
				t.Fatalf("answered %d: %s", a.Status, a.Body)
			}
		}
		if len(said) != 1 {
			t.Errorf("letter %d: the two answers name %v", n, said)
		}
	}
	if n := f.replays(); n != letters {
		t.Errorf("%d replays of %d letters", n, letters)
	}
}

func TestAMessageWhoseDeliveriesRanOutBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	f := &fixture{servicetest.Start(t, broker, console.Define, nil), t, broker, nil}
	consumer, err := broker.JS.Consumer(t.Context(), topology.Events, topology.C4CTasker)
	if err != nil {
		t.Fatal(err)
	}
	limited := consumer.CachedInfo().Config
	limited.MaxDeliver, limited.AckWait = 2, 200*time.Millisecond
	if consumer, err = broker.JS.UpdateConsumer(t.Context(), topology.Events, limited); err != nil {
		t.Fatal(err)
	}
	original := broker.Publish(subjects.FeedbackDeliveryLate, feedback(7), "ce-loopid", "L-7", "ce-id", "E-7")
	// A process that takes it, dies, is started again and takes it again.
	for range 2 {
		m, err := consumer.Next()
		if err != nil || len(m.Data()) == 0 {
			t.Fatalf("not delivered: %v", err)
		}
	}
	if _, err := consumer.Next(jetstream.FetchMaxWait(2 * time.Second)); err == nil { // the broker says so when somebody asks for more
		t.Error("delivered a third time")
	}
	f.waits(1)
	l := f.letter(1)
	if l.Class != "person" || l.Service != topology.C4CTasker || !strings.Contains(l.Reason, "delivered 2 times") || l.LoopID != "L-7" || l.EventID != "E-7" ||
		l.Subject != subjects.FeedbackDeliveryLate || l.Original != (console.Place{Stream: "EVENTS", Sequence: original.Sequence}) {
		t.Errorf("%+v", l)
	}
	dead := broker.Messages(topology.DeadLetters, ">")[0]
	if string(dead.Data) != feedback(7) || dead.Header.Get(nats.MsgIdHdr) != fmt.Sprintf("dead:c4c-tasker:EVENTS:%d", original.Sequence) || dead.Header.Get("ce-id") != "E-7" {
		t.Errorf("%v %s", dead.Header, dead.Data)
	}
	// The same of one that is gone, and of a consumer that is nobody's.
	advisory := func(consumer string, sequence int) {
		broker.Publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVENTS."+consumer,
			fmt.Sprintf(`{"type":"io.nats.jetstream.advisory.v1.max_deliver","stream":"EVENTS","consumer":%q,"stream_seq":%d,"deliveries":2}`, consumer, sequence))
	}
	advisory("c4c-tasker", 99)
	advisory("somebody", 1)
	bustest.Eventually(t, "counted", func() bool {
		metrics := f.Get("/metrics").Body
		return strings.Contains(metrics, `closeloop_deliveries_ran_out_total{outcome="gone",service="console"} 1`) &&
			strings.Contains(metrics, `closeloop_deliveries_ran_out_total{outcome="not-ours",service="console"} 1`) &&
			strings.Contains(metrics, `closeloop_deliveries_ran_out_total{outcome="rescued",service="console"} 1`)
	})
	bustest.Eventually(t, "advisories acknowledged", func() bool {
		c, err := broker.JS.Consumer(t.Context(), topology.Advisories, topology.Console)
		return err == nil && c.CachedInfo().NumAckPending == 0 && c.CachedInfo().NumPending == 0
	})
	if n := len(broker.Messages(topology.DeadLetters, ">")); n != 1 {
		t.Errorf("%d dead letters, want 1", n)
	}
}

func TestTheREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", console.Settings{})
}

// award is a vendor's change that can be neither looked up nor taken back.
type award struct {
	mu   sync.Mutex
	sent int
	lose bool
}

func (a *award) send(context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sent++
	if a.lose {
		return "", fault.New(fault.Unknown, "no answer")
	}
	return "made", nil
}

func (a *award) answers(again bool) { a.mu.Lock(); defer a.mu.Unlock(); a.lose = !again }
func (a *award) calls() int         { a.mu.Lock(); defer a.mu.Unlock(); return a.sent }

func TestWhatAPersonFoundNotDoneIsSentAgain(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	bucket, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	vendor, ledger := &award{lose: true}, effect.New(bucket)
	key := effect.Key{Effect: "c4c.test", Business: "R_1"}
	consuming := broker.Bus(topology.C4CTasker).Consume(t.Context(), bus.Consumer{Handle: func(ctx context.Context, e event.Event) error {
		_, err := effect.Do(ctx, ledger, key, e, func(ctx context.Context, run *effect.Run) (string, error) {
			return effect.Step(ctx, run, "award", effect.Write[string]{Send: vendor.send})
		})
		return err
	}})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		consuming.Drain(ctx)
	})
	f := &fixture{servicetest.Start(t, broker, console.Define, nil), t, broker, nil}
	// A decision that comes with an event is nobody's: only what is replayed carries one.
	broker.Publish(subjects.FeedbackDeliveryLate, feedback(1), bus.HeaderOutcome, "not-done 2036-07-24T09:30:00Z")
	f.waits(1)
	if l := f.letter(1); l.Class != "person" || vendor.calls() != 1 {
		t.Fatalf("%+v, sent %d times", l.Letter, vendor.calls())
	}
	f.replay(1, `{"why":"try","by":"ada"}`).Want(200)
	f.waits(2)
	if vendor.calls() != 1 {
		t.Fatalf("a replay without a decision sent it again")
	}
	f.replay(2, `{"why":"not in their system","by":"ada","outcome":"not-done"}`).Want(200)
	bustest.Eventually(t, "sent again", func() bool { return vendor.calls() == 2 }) // its answer is lost as well
	f.waits(3)
	f.replay(3, `{"why":"try","by":"ada"}`).Want(200)
	f.waits(4)
	if vendor.calls() != 2 {
		t.Fatalf("a decision was used for what was sent after it: sent %d times", vendor.calls())
	}
	vendor.answers(true)
	f.replay(4, `{"why":"not there either","by":"ada","outcome":"not-done"}`).Want(200)
	bustest.Eventually(t, "confirmed", func() bool {
		record, err := ledger.Look(t.Context(), key)
		return err == nil && record.State == effect.Confirmed
	})
	if vendor.calls() != 3 {
		t.Errorf("sent %d times, want 3", vendor.calls())
	}
}
