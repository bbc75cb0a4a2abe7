package bus_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/logging"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

const (
	service = topology.C4CTasker
	subject = subjects.FeedbackDeliveryLate
)

// seen collects the events that a handler gets.
type seen struct {
	mu     sync.Mutex
	events []event.Event
}

func (s *seen) add(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
}

func (s *seen) count() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.events) }

func consume(t *testing.T, b *bus.Bus, c bus.Consumer) *bus.Consuming {
	t.Helper()
	consuming := b.Consume(t.Context(), c)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		consuming.Drain(ctx)
	})
	bustest.Eventually(t, "consumer bound", func() bool { return consuming.Ready() == nil })
	return consuming
}

func feedback(id string) *eventsv1.FeedbackRaised {
	return &eventsv1.FeedbackRaised{ResponseId: id, Subject: "Late"}
}

func TestBareMessageAndFullEnvelopeAreTheSameEvent(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var got seen
	consume(t, broker.Bus(service), bus.Consumer{Parallel: 1, Handle: func(_ context.Context, e event.Event) error { got.add(e); return nil }})

	body := `{"responseId":"R_1","subject":"Late"}`
	bare := broker.Publish(subject, body)
	broker.Publish(subject, body,
		"ce-specversion", "1.0", "ce-id", "E-1", "ce-type", subject, "ce-source", "cli", "ce-time", "2026-07-24T09:30:00Z",
		"Ce-LoopId", "L%C3%B6op", "content-type", "application/json")

	bustest.Eventually(t, "both handled", func() bool { return got.count() == 2 })
	first, second := got.events[0], got.events[1]
	if second.ID == "E-1" {
		first, second = second, first
	}
	if want := fmt.Sprintf("EVENTS-%d", bare.Sequence); second.ID != want || second.LoopID != want {
		t.Errorf("bare: id %q, loop %q, want both %q", second.ID, second.LoopID, want)
	}
	if first.LoopID != "Löop" || !first.Time.Equal(time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)) {
		t.Errorf("envelope not read: %+v", first)
	}
	for _, e := range got.events {
		if m := e.Data.(*eventsv1.FeedbackRaised); m.GetResponseId() != "R_1" {
			t.Errorf("body not read: %v", m)
		}
	}
}

func TestBadMessagesEndInTheDeadLettersWithTheFieldAndTheNextIsHandled(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var got seen
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(_ context.Context, e event.Event) error { got.add(e); return nil }})

	for _, c := range []struct{ name, body, field string }{
		{"misspelt field", `{"responseId":"R_1","subjekt":"Late"}`, "subjekt"},
		{"no JSON", `late!`, ""},
		{"empty", ``, ""},
		{"missing", `{"responseId":"R_1"}`, "subject"},
		{"contradicting type", `{"responseId":"R_1","subject":"x"}`, "ce-type"},
	} {
		before := len(broker.Messages(topology.DeadLetters, "deadletter."+service))
		header := []string{"X-Own", "kept"}
		if c.field == "ce-type" {
			header = append(header, "ce-type", "task.created")
		}
		ack := broker.Publish(subject, c.body, header...)
		var dead []*jetstream.RawStreamMsg
		bustest.Eventually(t, c.name+" dead-lettered", func() bool {
			dead = broker.Messages(topology.DeadLetters, "deadletter."+service)
			return len(dead) > before
		})
		letter := dead[len(dead)-1]
		if got := letter.Header.Get(bus.HeaderField); got != c.field {
			t.Errorf("%s: field %q, want %q", c.name, got, c.field)
		}
		if letter.Header.Get(bus.HeaderReason) == "" || letter.Header.Get(bus.HeaderClass) != string(fault.Invalid) ||
			letter.Header.Get(bus.HeaderSubject) != subject || letter.Header.Get(bus.HeaderAttempts) != "1" ||
			letter.Header.Get("X-Own") != "kept" || string(letter.Data) != c.body ||
			letter.Header.Get(bus.HeaderSequence) != fmt.Sprint(ack.Sequence) {
			t.Errorf("%s: dead letter is not the original with its reason: %v", c.name, letter.Header)
		}
	}
	broker.Publish(subject, `{"responseId":"R_good","subject":"Late"}`)
	bustest.Eventually(t, "the good one handled", func() bool { return got.count() == 1 })
}

func TestFailedEventComesBackWithItsAttemptsAndHoldsNoSlot(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var attempts atomic.Int32
	var others seen
	consume(t, broker.Bus(service), bus.Consumer{Parallel: 1, Handle: func(_ context.Context, e event.Event) error {
		if e.Data.(*eventsv1.FeedbackRaised).GetResponseId() != "R_bad" {
			others.add(e)
			return nil
		}
		if attempts.Add(1) < 3 {
			return fault.New(fault.Transient, "not today")
		}
		others.add(e)
		return nil
	}})
	broker.Publish(subject, `{"responseId":"R_bad","subject":"x"}`)
	for i := range 50 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	bustest.Eventually(t, "all handled", func() bool { return others.count() == 51 })
	last := others.events[len(others.events)-1]
	if last.Data.(*eventsv1.FeedbackRaised).GetResponseId() != "R_bad" || last.ID != "EVENTS-1" {
		t.Errorf("the failing event should come last, with the id of its first message; last is %s", last.ID)
	}
	info := consumerInfo(t, broker, topology.Events)
	if info.NumAckPending != 0 || info.NumPending != 0 {
		t.Errorf("slots still held: %d in flight, %d pending", info.NumAckPending, info.NumPending)
	}
}

func TestTwoFailingEventsDoNotReplaceEachOther(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var mu sync.Mutex
	tries := map[string]int{}
	done := 0
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(_ context.Context, e event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		if tries[e.ID]++; tries[e.ID] == 1 {
			return fault.New(fault.NotYet, "wait")
		}
		done++
		return nil
	}})
	for i := range 20 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	bustest.Eventually(t, "all came back", func() bool { mu.Lock(); defer mu.Unlock(); return done == 20 })
}

func TestTwoServicesHoldAndDeadLetterTheSameEventEachForItself(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var tried [2]atomic.Int32
	for i, name := range []string{topology.SAPInteractionWriter, topology.FeedbackRouter} {
		consume(t, broker.Bus(name), bus.Consumer{Handle: func(context.Context, event.Event) error {
			if tried[i].Add(1) == 1 {
				return fault.New(fault.Transient, "not today")
			}
			return fault.New(fault.Refused, "never")
		}})
	}
	broker.Publish(subjects.SurveyResponseReceived, `{"surveyId":"SV_1","responseId":"R_1"}`)
	bustest.Eventually(t, "a dead letter of each", func() bool {
		return len(broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(topology.SAPInteractionWriter))) == 1 &&
			len(broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(topology.FeedbackRouter))) == 1
	})
	for i := range tried {
		if n := tried[i].Load(); n != 2 {
			t.Errorf("service %d tried %d times, want 2", i, n)
		}
	}
}

func TestRefusedEventIsDeadAtOnceInTheVendorsWords(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var calls atomic.Int32
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(context.Context, event.Event) error {
		calls.Add(1)
		return &fault.Fault{Class: fault.Refused, Vendor: "sap-sales-cloud", Reason: "account 4711 is unknown", Field: "accountId"}
	}})
	broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`)
	var dead []*jetstream.RawStreamMsg
	bustest.Eventually(t, "dead letter", func() bool {
		dead = broker.Messages(topology.DeadLetters, "deadletter."+service)
		return len(dead) == 1
	})
	if got := dead[0].Header.Get(bus.HeaderReason); got != "sap-sales-cloud: accountId: account 4711 is unknown" {
		t.Errorf("reason %q", got)
	}
	if calls.Load() != 1 {
		t.Errorf("tried %d times, want once", calls.Load())
	}
}

func TestVendorOutPausesTheFleetAndBurnsNoAttempt(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var out atomic.Bool
	out.Store(true)
	var calls, done atomic.Int32
	consume(t, broker.Bus(service), bus.Consumer{Parallel: 4, Handle: func(context.Context, event.Event) error {
		calls.Add(1)
		if out.Load() {
			return &fault.Fault{Class: fault.Down, Vendor: "sap-sales-cloud", Reason: "does not answer"}
		}
		done.Add(1)
		return nil
	}})
	for i := range 100 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	bustest.Eventually(t, "both durables paused", func() bool {
		return consumerInfo(t, broker, topology.Events).Paused && consumerInfo(t, broker, topology.Retries).Paused
	})
	if n := calls.Load(); n > 8 {
		t.Errorf("%d calls to a vendor that is out, want no more than were under way", n)
	}
	for _, held := range broker.Messages(topology.Retries, "retry.hold."+service+".*") {
		if got := held.Header.Get(bus.HeaderAttempts); got != "0" {
			t.Errorf("an attempt was burnt: %s", got)
		}
	}
	out.Store(false)
	bustest.Eventually(t, "everything done after the pause", func() bool { return done.Load() == 100 })
	if dead := broker.Messages(topology.DeadLetters, "deadletter."+service); len(dead) != 0 {
		t.Errorf("%d dead letters, want none", len(dead))
	}
}

func TestPanicIsAnAttemptNotTheEndOfTheService(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var calls atomic.Int32
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(context.Context, event.Event) error {
		if calls.Add(1) == 1 {
			panic("boom")
		}
		return nil
	}})
	broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`)
	bustest.Eventually(t, "tried again", func() bool { return calls.Load() == 2 })
}

func TestDrainFinishesWhatIsInHandAndLeavesTheRest(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{AckWait: 2 * time.Second})
	started, finish := make(chan struct{}, 1), make(chan struct{})
	var handled atomic.Int32
	b := broker.Bus(service)
	first := b.Consume(t.Context(), bus.Consumer{Parallel: 1, Handle: func(context.Context, event.Event) error {
		select {
		case started <- struct{}{}:
		default:
		}
		<-finish
		handled.Add(1)
		return nil
	}})
	for i := range 30 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	<-started
	drained := make(chan struct{})
	go func() { defer close(drained); first.Drain(context.WithoutCancel(t.Context())) }()
	close(finish)
	<-drained
	if n := handled.Load(); n == 0 || n > 10 {
		t.Errorf("%d handled while draining, want what was in hand", n)
	}
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(context.Context, event.Event) error { handled.Add(1); return nil }})
	bustest.Eventually(t, "the rest handled by the next", func() bool { return handled.Load() == 30 })
}

func TestServiceBindsWhenTheTopologyComesLater(t *testing.T) {
	broker := bustest.Bare(t)
	var got seen
	consuming := broker.Bus(service).Consume(t.Context(), bus.Consumer{Handle: func(_ context.Context, e event.Event) error { got.add(e); return nil }})
	if consuming.Ready() == nil {
		t.Fatal("ready without a consumer")
	}
	if err := topology.Of(topology.Settings{}).Apply(t.Context(), broker.JS, discard); err != nil {
		t.Fatal(err)
	}
	broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`)
	bustest.Eventually(t, "handled", func() bool { return got.count() == 1 })
	consuming.Drain(t.Context())
}

func TestPublishIsStoredOnceHoweverOften(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	b := broker.Bus(service)
	e, err := event.New(service, subject, feedback("R_1"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		duplicate, err := b.Publish(t.Context(), e)
		if err != nil || duplicate != (i > 0) {
			t.Fatalf("publish %d: duplicate %v, error %v", i, duplicate, err)
		}
	}
	if n := len(broker.Messages(topology.Events, subject)); n != 1 {
		t.Errorf("%d stored, want 1", n)
	}
}

func TestPublishWithoutABrokerFailsWithinFiveSeconds(t *testing.T) {
	b, err := bus.Connect(t.Context(), bus.Options{Service: service, Connection: bus.Connection{URL: "nats://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	e, err := event.New(service, subject, feedback("R_1"))
	if err != nil {
		t.Fatal(err)
	}
	started := time.Now()
	if _, err := b.Publish(t.Context(), e); err == nil {
		t.Fatal("published without a broker")
	}
	if took := time.Since(started); took > 7*time.Second {
		t.Errorf("took %s", took)
	}
}

func consumerInfo(t *testing.T, broker *bustest.Broker, stream string) *jetstream.ConsumerInfo {
	t.Helper()
	c, err := broker.JS.Consumer(t.Context(), stream, service)
	if err != nil {
		t.Fatal(err)
	}
	return c.CachedInfo()
}

var discard = logging.Discard()
