package bus_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/tracing"
	"github.com/closeloop/closeloop/pkg/tracing/tracingtest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// watched is a service whose spans and metrics are kept.
func watched(t *testing.T, broker *bustest.Broker) (*bus.Bus, *tracingtest.Recorder, *prometheus.Registry) {
	t.Helper()
	spans, metrics := tracingtest.New(t), prometheus.NewRegistry()
	b, err := bus.Connect(t.Context(), bus.Options{Service: service, Connection: broker.Connection(service), Tracer: spans.Tracer(service), Registerer: metrics})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b, spans, metrics
}

func attributeOf(s sdktrace.ReadOnlySpan, key attribute.Key) string {
	for _, a := range s.Attributes() {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}

// settled waits until nothing is in hand or held, and ends consuming so that all spans are ended.
func settled(t *testing.T, broker *bustest.Broker, c *bus.Consuming) {
	t.Helper()
	bustest.Eventually(t, "all settled", func() bool {
		events := consumerInfo(t, broker, topology.Events)
		return events.NumPending == 0 && events.NumAckPending == 0
	})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	c.Drain(ctx)
}

func TestABareMessageBeginsATraceThatItsRetriesAndWhatFollowsGoOnWith(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	b, spans, metrics := watched(t, broker)
	var tries atomic.Int32
	c := consume(t, b, bus.Consumer{Handle: func(ctx context.Context, e event.Event) error {
		if tries.Add(1) == 1 {
			return &fault.Fault{Class: fault.Transient, Vendor: "acme", Reason: "reset"}
		}
		return b.Follow(ctx, e, subjects.TaskCreated, &eventsv1.TaskCreated{ResponseId: "R_1", TaskId: "1"})
	}})
	ack := broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`)
	bustest.Eventually(t, "the task is told", func() bool { return len(broker.Messages(topology.Events, subjects.TaskCreated)) == 1 })
	settled(t, broker, c)

	told := broker.Messages(topology.Events, subjects.TaskCreated)[0].Header
	loop := fmt.Sprint("EVENTS-", ack.Sequence)
	named := spans.Spans()
	processed, sent := named["process "+subject], named["send "+subjects.TaskCreated]
	if len(processed) != 2 || len(sent) != 1 {
		t.Fatalf("%d handlings, %d publishes", len(processed), len(sent))
	}
	for i, want := range []struct {
		attempt, outcome string
		status           codes.Code
	}{{"1", "retry", codes.Error}, {"2", "done", codes.Unset}} {
		s := processed[i]
		if s.SpanContext().TraceID() != tracing.TraceID(loop) || s.Parent().IsValid() || s.SpanKind() != trace.SpanKindConsumer ||
			attributeOf(s, tracing.Attempt) != want.attempt || attributeOf(s, tracing.Outcome) != want.outcome || s.Status().Code != want.status {
			t.Errorf("handling %d is %v of %s, parent %v, %v", i, s.Attributes(), s.SpanContext().TraceID(), s.Parent().SpanID(), s.Status())
		}
	}
	if first := processed[0]; first.Status().Description != "acme: reset" || attributeOf(first, tracing.NextSeconds) == "" {
		t.Errorf("the first is %v, %v", first.Status(), first.Attributes())
	}
	if sent[0].Parent().SpanID() != processed[1].SpanContext().SpanID() || !strings.Contains(told["traceparent"][0], sent[0].SpanContext().SpanID().String()) {
		t.Errorf("the publish has the parent %s, and its event says %v", sent[0].Parent().SpanID(), told["traceparent"])
	}
	began, err := time.Parse(time.RFC3339Nano, told["ce-loopstart"][0])
	if original := broker.Messages(topology.Events, subject)[0]; err != nil || !began.Equal(original.Time) {
		t.Errorf("the loop began %s: %v", began, err)
	}
	if n := testutil.CollectAndCount(metrics, "closeloop_loop_seconds"); n != 1 {
		t.Errorf("%d stages", n)
	}
	if n := testutil.CollectAndCount(metrics, "closeloop_accepted_total"); n != 0 {
		t.Error("what a handler publishes is no accepted work")
	}
}

func TestAWaveAndItsMembersLinkEachOther(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	b, spans, _ := watched(t, broker)
	const n = 300
	for i := range n {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x","accountId":"1"}`, i))
	}
	var got tide
	c := consume(t, b, gathering(func(ctx context.Context, wave []event.Event) []error {
		if err := b.Follow(ctx, wave[0], subjects.TaskCreated, &eventsv1.TaskCreated{ResponseId: "R_0", TaskId: "1"}); err != nil {
			t.Error(err)
		}
		return got.add(wave)
	}))
	bustest.Eventually(t, "all handled", func() bool { events, _ := got.sizes(); return events == n })
	settled(t, broker, c)
	named := spans.Spans()
	links := 0
	for _, wave := range named["process wave of "+subject] {
		links += len(wave.Links())
	}
	if links != n {
		t.Errorf("waves link %d members of %d", links, n)
	}
	first := map[trace.SpanID]bool{}
	for _, member := range named["process "+subject] {
		first[member.SpanContext().SpanID()] = true
		if len(member.Links()) != 1 || attributeOf(member, tracing.WaveSize) == "" {
			t.Fatalf("a member links %d, size %q", len(member.Links()), attributeOf(member, tracing.WaveSize))
		}
	}
	for _, follows := range named["send "+subjects.TaskCreated] {
		if !first[follows.Parent().SpanID()] || len(follows.Links()) != 1 {
			t.Errorf("what follows from a member has the parent %s, links %d", follows.Parent().SpanID(), len(follows.Links()))
		}
	}
}

func TestADoorCountsWhatItStoredOnce(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	b, _, metrics := watched(t, broker)
	e, err := event.New(service, subjects.FeedbackDeliveryLate, feedback("R_1"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	want := "# HELP closeloop_accepted_total Work that a door has stored, by type of the event. Repeats of the same request are not counted.\n" +
		"# TYPE closeloop_accepted_total counter\n" +
		`closeloop_accepted_total{service="` + service + `",type="feedback.delivery_late"} 1` + "\n"
	if err := testutil.GatherAndCompare(metrics, strings.NewReader(want), "closeloop_accepted_total"); err != nil {
		t.Error(err)
	}
}
