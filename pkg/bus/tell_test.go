package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// told gives what a service has told of one kind, once there are n of it.
func told[T any](t *testing.T, broker *bustest.Broker, kind string, n int) []T {
	t.Helper()
	subject := topology.ActivitySubject(service, kind)
	bustest.Eventually(t, fmt.Sprint(n, " of ", kind, " told"), func() bool { return len(broker.Messages(topology.Activity, subject)) >= n })
	var all []T
	for _, m := range broker.Messages(topology.Activity, subject) {
		var one T
		if err := json.Unmarshal(m.Data, &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

func TestEachTryAtAnEventIsToldWithItsCalls(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	vendor := bus.Vendor{Name: "sap-sales-cloud"}
	consume(t, broker.Bus(service), bus.Consumer{Vendors: []bus.Vendor{vendor}, Handle: func(ctx context.Context, e event.Event) error {
		call := activity.Call{Vendor: "sap-sales-cloud", Operation: "create task", At: time.Now(), Outcome: "ok", Status: 201, Write: true}
		if e.Attempts > 0 {
			activity.Called(ctx, call)
			activity.Decided(ctx, activity.Decision{Rule: "late", Fired: true, Subject: subject})
			return nil
		}
		call.Outcome, call.Status, call.Reason = string(fault.Transient), 500, "create task: 500"
		activity.Called(ctx, call)
		return &fault.Fault{Class: fault.Transient, Vendor: "sap-sales-cloud", Reason: "create task: 500"}
	}})
	before := time.Now()
	ack := broker.Publish(subject, `{"responseId":"R_1","subject":"Late"}`, "ce-loopid", "L-1", "ce-id", "E-1")
	attempts := told[activity.Attempt](t, broker, activity.KindAttempt, 2)
	first, second := attempts[0], attempts[1]
	if first.Service != service || first.At.Before(before) || first.Took <= 0 || len(first.Events) != 1 || len(first.Calls) != 1 {
		t.Fatalf("the first: %+v", first)
	}
	h := first.Events[0]
	next := h.Next
	h.Next = time.Time{}
	want := activity.Handled{
		EventID: "E-1", LoopID: "L-1", Type: subject, Stream: topology.Events, Sequence: ack.Sequence, Attempt: 1, Outcome: activity.Retry,
		Class: fault.Transient, Vendor: "sap-sales-cloud", Reason: "sap-sales-cloud: create task: 500",
	}
	if h.Rules != nil || fmt.Sprint(h) != fmt.Sprint(want) || next.Before(first.At) {
		t.Errorf("the first is told as %+v, next %s, want %+v", h, next, want)
	}
	if c := first.Calls[0]; c.Operation != "create task" || c.Status != 500 || c.Outcome != "transient" || !c.Write || c.Reason == "" {
		t.Errorf("its call: %+v", c)
	}
	h = second.Events[0]
	if h.Attempt != 2 || h.Outcome != activity.Done || h.Stream != topology.Events || h.Sequence != ack.Sequence || !h.Next.IsZero() || h.Class != "" {
		t.Errorf("the second is told as %+v", h)
	}
	if len(h.Rules) != 1 || h.Rules[0].Rule != "late" || len(second.Calls) != 1 || second.Calls[0].Status != 201 {
		t.Errorf("what was noted in the second: %+v", second)
	}
}

func TestADeadLetterIsToldAlsoOfWhatCannotBeRead(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(context.Context, event.Event) error { return nil }})
	ack := broker.Publish(subject, `{"responseId":"R_1","subjekt":"Late"}`)
	a := told[activity.Attempt](t, broker, activity.KindAttempt, 1)[0]
	id := fmt.Sprintf("EVENTS-%d", ack.Sequence)
	if h := a.Events[0]; h.EventID != id || h.LoopID != id || h.Outcome != activity.DeadLetter || h.Class != fault.Invalid || !strings.Contains(h.Reason, "subjekt") || h.Attempt != 1 {
		t.Errorf("told as %+v", h)
	}
}

func TestAWaveIsToldOnceWithTheCallsThatItsEventsShare(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	for i := range 3 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x","accountId":"1"}`, i), "ce-id", fmt.Sprint("E-", i))
	}
	c := gathering(func(ctx context.Context, wave []event.Event) []error {
		activity.Called(ctx, activity.Call{Operation: "together", At: time.Now(), Outcome: "ok", InsteadOf: len(wave)})
		errs := make([]error, len(wave))
		for i, e := range wave {
			if e.ID == "E-1" {
				activity.Called(activity.About(ctx, e.ID), activity.Call{Operation: "alone", At: time.Now(), Outcome: "refused"})
				errs[i] = fault.New(fault.Refused, "not this one")
			}
		}
		return errs
	})
	consume(t, broker.Bus(service), c)
	a := told[activity.Attempt](t, broker, activity.KindAttempt, 1)[0]
	if a.Wave != 3 || len(a.Events) != 3 || len(a.Calls) != 2 {
		t.Fatalf("told as %+v", a)
	}
	for _, h := range a.Events {
		if want := map[bool]string{true: activity.DeadLetter, false: activity.Done}[h.EventID == "E-1"]; h.Outcome != want {
			t.Errorf("%s is %s, want %s", h.EventID, h.Outcome, want)
		}
	}
	if all, alone := a.Calls[0], a.Calls[1]; all.Operation != "together" || all.EventID != "" || all.InsteadOf != 3 || alone.EventID != "E-1" {
		t.Errorf("calls: %+v", a.Calls)
	}
}

func TestWhatIsNotTriedSinceItsVendorIsOutIsToldSo(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	for i := range 2 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x"}`, i))
	}
	var calls atomic.Int32
	consume(t, broker.Bus(service), bus.Consumer{Parallel: 1, Vendors: []bus.Vendor{{Name: "sap-sales-cloud"}}, Handle: func(context.Context, event.Event) error {
		calls.Add(1)
		return &fault.Fault{Class: fault.Throttled, Vendor: "sap-sales-cloud", Reason: "429", After: time.Hour}
	}})
	attempts := told[activity.Attempt](t, broker, activity.KindAttempt, 2)
	for i, class := range []fault.Class{fault.Throttled, fault.Busy} {
		if h := attempts[i].Events[0]; h.Outcome != activity.Paused || h.Class != class || h.Vendor != "sap-sales-cloud" || h.Next.Before(time.Now().Add(time.Minute)) {
			t.Errorf("%d is told as %+v", i, h)
		}
	}
	if calls.Load() != 1 {
		t.Errorf("%d were tried", calls.Load())
	}
}

func TestAVendorIsToldOutUntilItIsBack(t *testing.T) {
	t.Parallel()
	for class, state := range map[fault.Class]string{fault.Down: activity.Out, fault.Throttled: activity.Throttled} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			broker := bustest.Start(t, topology.Settings{})
			var calls, looks atomic.Int32
			vendor := bus.Vendor{Name: "sap-sales-cloud", Reach: func(context.Context) error {
				if looks.Add(1) == 1 {
					return fault.New(class, "still nobody")
				}
				return nil
			}}
			consume(t, broker.Bus(service), bus.Consumer{Vendors: []bus.Vendor{vendor}, Handle: func(context.Context, event.Event) error {
				if calls.Add(1) == 2 {
					return fault.New(class, "does not answer")
				}
				return nil
			}})
			broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`)
			told[activity.Vendor](t, broker, activity.KindVendor, 1) // else they may be handled in either order
			broker.Publish(subject, `{"responseId":"R_2","subject":"x"}`)
			want := []string{activity.Healthy, state, state, activity.Healthy}
			if class == fault.Throttled { // it is not asked whether it is back
				want = slices.Delete(want, 1, 2)
			}
			all := told[activity.Vendor](t, broker, activity.KindVendor, len(want))
			var states []string
			for _, v := range all {
				states = append(states, v.State)
				if v.Service != service || v.Vendor != vendor.Name || v.Since.IsZero() || v.At.IsZero() {
					t.Errorf("told: %+v", v)
				}
			}
			if !slices.Equal(states, want) {
				t.Fatalf("told %v, want %v", states, want)
			}
			if v := all[1]; v.Class != class || v.Reason != "does not answer" || !v.Until.After(v.At) {
				t.Errorf("when it went out: %+v", v)
			}
			if v := all[len(all)-2]; !v.Since.Equal(all[1].Since) || v.Until.Before(all[1].Until) {
				t.Errorf("while it is out: %+v", v)
			}
			if v := all[len(all)-1]; !v.Until.IsZero() || v.Reason != "" || v.Class != "" {
				t.Errorf("when it is back: %+v", v)
			}
		})
	}
}

// A broker with users of an earlier version denies the right to tell.
func TestWhoMayNotTellWorksAllTheSame(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	metrics := prometheus.NewRegistry()
	b, err := bus.Connect(t.Context(), bus.Options{
		Service: topology.Ingress, Connection: broker.Connection(topology.Console), Registerer: metrics, // another's user
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	b.Tell(activity.KindVendor, activity.Vendor{})
	bustest.Eventually(t, "the broker refuses", func() bool { return dropped(t, metrics, "ingress") == 1 })
	for range 3 {
		b.Tell(activity.KindVendor, activity.Vendor{})
	}
	if err := b.Ready(); err != nil {
		t.Errorf("it is no reason not to work: %v", err)
	}
	if n := dropped(t, metrics, "ingress"); n != 4 {
		t.Errorf("%v dropped, want 4", n)
	}
	if lines := broker.Refused(); len(lines) != 1 {
		t.Errorf("the broker was asked again: %v", lines)
	}
}

func TestWhatCannotBeToldIsDropped(t *testing.T) {
	t.Parallel()
	broker := bustest.Bare(t) // without the stream: into nothing
	metrics := prometheus.NewRegistry()
	b, err := bus.Connect(t.Context(), bus.Options{Service: service, Connection: broker.Connection(service), Registerer: metrics})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	b.Tell(activity.KindVendor, activity.Vendor{})
	if n := dropped(t, metrics, service); n != 0 || b.Ready() != nil {
		t.Errorf("%v dropped, %v", n, b.Ready())
	}
	b.Tell(activity.KindVendor, strings.Repeat("x", 2<<20))
	if n := dropped(t, metrics, service); n != 1 {
		t.Errorf("%v dropped, want the one that is too large", n)
	}
	broker.Stop()
	bustest.Eventually(t, "the broker is gone", func() bool { return b.Ready() != nil })
	b.Tell(activity.KindVendor, activity.Vendor{})
	b.Tell(activity.KindVendor, unwritable{})
	if n := dropped(t, metrics, service); n != 3 {
		t.Errorf("%v dropped, want 3", n)
	}
}

type unwritable struct{}

func (unwritable) MarshalJSON() ([]byte, error) { return nil, errors.New("no") }

func dropped(t *testing.T, metrics prometheus.Gatherer, service string) float64 {
	t.Helper()
	all, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		if family.GetName() == "closeloop_activity_dropped_total" && family.GetMetric()[0].GetLabel()[0].GetValue() == service {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatal("no such metric")
	return 0
}

func TestWhatIsToldLastIsNotLostWhenTheServiceStops(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	b, begun, end := broker.Bus(service), make(chan struct{}), make(chan struct{})
	consuming := b.Consume(t.Context(), bus.Consumer{Handle: func(context.Context, event.Event) error {
		close(begun)
		<-end
		return nil
	}})
	broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`)
	<-begun
	drained := make(chan struct{})
	go func() { consuming.Drain(t.Context()); close(drained) }()
	close(end)
	<-drained
	b.Close()
	if a := told[activity.Attempt](t, broker, activity.KindAttempt, 1); a[0].Events[0].Outcome != activity.Done {
		t.Errorf("told %+v", a)
	}
}
