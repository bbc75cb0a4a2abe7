package bus_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

func TestNoEventIsRiskedBeforeALookFindsTheVendorBack(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	var looks, calls, tooSoon atomic.Int32
	var back atomic.Bool
	vendor := bus.Vendor{Name: "sap-sales-cloud", Reach: func(context.Context) error {
		if looks.Add(1) == 1 {
			return fault.New(fault.Down, "still nobody")
		}
		back.Store(true)
		return fault.New(fault.Refused, "what was asked for is not there, but somebody answers")
	}}
	consume(t, broker.Bus(service), bus.Consumer{Parallel: 1, Vendors: []bus.Vendor{vendor}, Handle: func(_ context.Context, e event.Event) error {
		switch {
		case calls.Add(1) == 1:
			return fault.New(fault.Down, "does not answer")
		case !back.Load():
			tooSoon.Add(1)
		}
		if e.Attempts != 0 {
			t.Errorf("%d attempts burnt", e.Attempts)
		}
		return nil
	}})
	for i := range 20 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	bustest.Eventually(t, "all handled", func() bool { return calls.Load() == 21 })
	if looks.Load() != 2 || tooSoon.Load() != 0 {
		t.Errorf("%d looks, %d events before the vendor was found to be back", looks.Load(), tooSoon.Load())
	}
}

func TestEventsThatNeedNoVendorGoOnWhileOneIsOut(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	var out atomic.Bool
	out.Store(true)
	var received, notified atomic.Int32
	vendor := bus.Vendor{Name: "qualtrics", Types: []string{subjects.SurveyResponseNotified}}
	consume(t, broker.Bus(topology.FeedbackRouter), bus.Consumer{Vendors: []bus.Vendor{vendor}, Handle: func(_ context.Context, e event.Event) error {
		switch {
		case e.Type == subjects.SurveyResponseReceived:
			received.Add(1)
		case out.Load():
			return fault.New(fault.Down, "does not answer")
		default:
			notified.Add(1)
		}
		return nil
	}})
	const n = 20
	for i := range n {
		broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(`{"surveyId":"SV_1","responseId":"R_%d"}`, i))
	}
	bustest.Eventually(t, "the others held", func() bool {
		return len(broker.Messages(topology.Retries, "retry.hold.>")) > 0
	})
	for i := range n {
		broker.Publish(subjects.SurveyResponseReceived, fmt.Sprintf(`{"surveyId":"SV_1","responseId":"R_%d"}`, n+i))
	}
	bustest.Eventually(t, "those that need no vendor", func() bool { return received.Load() == n })
	if notified.Load() != 0 {
		t.Error("the vendor was not out: this shows nothing")
	}
	out.Store(false)
	bustest.Eventually(t, "the others", func() bool { return notified.Load() == n })
}

// A vendor that takes what we send and never answers is out as well, though each event alone would be tried again.
func TestAnswersLostInARowAreAPause(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	var out atomic.Bool
	out.Store(true)
	var done, burnt atomic.Int32
	consume(t, broker.Bus(service), bus.Consumer{Parallel: 4, Handle: func(_ context.Context, e event.Event) error {
		if out.Load() {
			return fault.New(fault.Unknown, "the answer was lost")
		}
		done.Add(1)
		burnt.Add(int32(e.Attempts))
		return nil
	}})
	const n = 50
	for i := range n {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	bustest.Eventually(t, "paused", func() bool { return consumerInfo(t, broker, topology.Events).Paused })
	out.Store(false)
	bustest.Eventually(t, "all handled", func() bool { return done.Load() == n })
	if got := burnt.Load(); got > 8 {
		t.Errorf("%d attempts burnt, want those of the few calls that found out", got)
	}
}

// deliver has the broker deliver a message times times to somebody who never says what came of it.
func deliver(t *testing.T, broker *bustest.Broker, stream string, times int) {
	t.Helper()
	durable, err := broker.JS.Consumer(t.Context(), stream, service)
	if err != nil {
		t.Fatal(err)
	}
	for delivered := 0; delivered < times; {
		batch, err := durable.Fetch(1, jetstream.FetchMaxWait(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for range batch.Messages() {
			delivered++
		}
	}
}

func TestEventThatWasInHandWhenTheServiceEndedIsHeldApartAndHandled(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{AckWait: 500 * time.Millisecond})
	broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`)
	deliver(t, broker, topology.Events, 3)
	var calls atomic.Int32
	held := make(chan struct{})
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(context.Context, event.Event) error { <-held; calls.Add(1); return nil }})
	bustest.Eventually(t, "held apart", func() bool {
		for _, m := range broker.Messages(topology.Retries, "retry.hold.>") {
			return m.Header.Get(bus.HeaderSuspect) == "1" && m.Header.Get(bus.HeaderAttempts) == "0"
		}
		return false
	})
	close(held)
	bustest.Eventually(t, "handled", func() bool { return calls.Load() == 1 })
}

func TestEventThatKeepsEndingTheServiceWaitsForAPerson(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{AckWait: 500 * time.Millisecond})
	m := nats.NewMsg(topology.DueSubject(service))
	m.Data = []byte(`{"responseId":"R_1","subject":"x"}`)
	m.Header.Set(bus.HeaderSubject, subject)
	m.Header.Set(bus.HeaderSuspect, "9")
	if _, err := broker.JS.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	deliver(t, broker, topology.Retries, 1)
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(context.Context, event.Event) error {
		t.Error("it was run once more")
		return nil
	}})
	bustest.Eventually(t, "dead letter", func() bool {
		for _, m := range broker.Messages(topology.DeadLetters, "deadletter."+service) {
			return m.Header.Get(bus.HeaderClass) == string(fault.Person) && strings.Contains(m.Header.Get(bus.HeaderReason), "service ended")
		}
		return false
	})
}

func TestVendorThatIsSlowHoldsUpOnlyItsOwnEvents(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	answer := make(chan struct{})
	var received, notified atomic.Int32
	vendor := bus.Vendor{Name: "qualtrics", Types: []string{subjects.SurveyResponseNotified}}
	consume(t, broker.Bus(topology.FeedbackRouter), bus.Consumer{Parallel: 2, Vendors: []bus.Vendor{vendor}, Handle: func(_ context.Context, e event.Event) error {
		if e.Type == subjects.SurveyResponseReceived {
			received.Add(1)
			return nil
		}
		<-answer
		notified.Add(1)
		return nil
	}})
	const n = 100
	for i := range n {
		broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(`{"surveyId":"SV_1","responseId":"R_%d"}`, i))
	}
	broker.Publish(subjects.SurveyResponseReceived, `{"surveyId":"SV_1","responseId":"R_X"}`)
	bustest.Eventually(t, "the one behind them", func() bool { return received.Load() == 1 })
	if notified.Load() != 0 {
		t.Error("the vendor was not slow: this shows nothing")
	}
	close(answer)
	bustest.Eventually(t, "they", func() bool { return notified.Load() == n })
}
