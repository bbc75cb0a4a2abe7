package bus_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

func TestOnlyWhatIsSoonHandledIsTakenFromTheBroker(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	finish := make(chan struct{})
	var release sync.Once
	t.Cleanup(func() { release.Do(func() { close(finish) }) })
	var atWork, most, done atomic.Int32
	const parallel = 4
	consume(t, broker.Bus(service), bus.Consumer{Parallel: parallel, Handle: func(context.Context, event.Event) error {
		n := atWork.Add(1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		<-finish
		atWork.Add(-1)
		done.Add(1)
		return nil
	}})
	for i := range 200 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	bustest.Eventually(t, "all workers busy", func() bool { return atWork.Load() == parallel })
	taken := func() int { return consumerInfo(t, broker, topology.Events).NumAckPending }
	bustest.Eventually(t, "the queue is full", func() bool { return taken() >= 2*parallel })
	if n := taken(); n > 2*parallel+8 { // one in the callback, six in the client, one on its way
		t.Errorf("%d taken from the broker with %d workers", n, parallel)
	}
	release.Do(func() { close(finish) })
	bustest.Eventually(t, "all handled", func() bool { return done.Load() == 200 })
	if most.Load() != parallel {
		t.Errorf("%d handlers at a time, want %d", most.Load(), parallel)
	}
}

func TestEventsOfOneLoopComeOneAfterAnotherAndHoldUpNoOther(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	finish := make(chan struct{})
	var inLoop, together, others atomic.Int32
	consume(t, broker.Bus(service), bus.Consumer{Parallel: 4, Handle: func(_ context.Context, e event.Event) error {
		if e.LoopID != "L" {
			others.Add(1)
			return nil
		}
		if inLoop.Add(1) > 1 {
			together.Add(1)
		}
		<-finish
		inLoop.Add(-1)
		return nil
	}})
	for i := range 3 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"L_%d","subject":"x"}`, i), "ce-loopid", "L")
	}
	for i := range 50 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	bustest.Eventually(t, "all other loops are done while one hangs", func() bool { return others.Load() == 50 })
	close(finish)
	bustest.Eventually(t, "nothing pending", func() bool { return consumerInfo(t, broker, topology.Events).NumAckPending == 0 })
	if together.Load() > 0 {
		t.Error("two events of one loop were handled at the same time")
	}
}

func TestTwoEventsWithOneIDAreHeldSideBySide(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var mu sync.Mutex
	tries := map[string]int{}
	done := 0
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(_ context.Context, e event.Event) error {
		mu.Lock()
		defer mu.Unlock()
		id := e.Data.(*eventsv1.FeedbackRaised).GetResponseId()
		if tries[id]++; tries[id] == 1 {
			return fault.New(fault.Transient, "not today")
		}
		done++
		return nil
	}})
	broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`, "ce-id", "same")
	broker.Publish(subject, `{"responseId":"R_2","subject":"x"}`, "ce-id", "same")
	bustest.Eventually(t, "both came back", func() bool { mu.Lock(); defer mu.Unlock(); return done == 2 })
}

func TestEventTooLargeToCopyStillReachesAPerson(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	const service = topology.QualtricsLinker
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(context.Context, event.Event) error {
		return fault.New(fault.Transient, "not today")
	}})
	ack := broker.Publish(subjects.SurveyLinkRequested,
		`{"requestId":"A1","contact":{"email":"ada@example.com"},"transaction":{"data":{"x":"`+strings.Repeat("x", 1<<20-300)+`"}}}`)
	var dead []*jetstream.RawStreamMsg
	bustest.Eventually(t, "dead letter", func() bool {
		dead = broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(service))
		return len(dead) == 1
	})
	h := dead[0].Header
	if !strings.Contains(h.Get(bus.HeaderReason), "too large") || h.Get(bus.HeaderStream) != topology.Events || h.Get(bus.HeaderSequence) != fmt.Sprint(ack.Sequence) {
		t.Errorf("the dead letter does not lead to the original: %v", h.Get(bus.HeaderReason))
	}
}

func TestForbiddenRecordCountsItsAttempts(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var good atomic.Int32
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(_ context.Context, e event.Event) error {
		if e.Data.(*eventsv1.FeedbackRaised).GetResponseId() == "R_forbidden" {
			return &fault.Fault{Class: fault.Forbidden, Vendor: "qualtrics", Reason: "403 Forbidden"}
		}
		good.Add(1)
		return nil
	}})
	broker.Publish(subject, `{"responseId":"R_forbidden","subject":"x"}`)
	broker.Publish(subject, `{"responseId":"R_good","subject":"x"}`)
	bustest.Eventually(t, "the good one is done", func() bool { return good.Load() == 1 })
	bustest.Eventually(t, "attempts of the other are counted", func() bool {
		for _, held := range broker.Messages(topology.Retries, "retry.hold."+service+".*") {
			if held.Header.Get(bus.HeaderAttempts) != "0" {
				return true
			}
		}
		return false
	})
}
