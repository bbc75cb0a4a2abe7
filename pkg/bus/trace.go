package bus

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/tracing"
)

var messagingSystem = semconv.MessagingSystemKey.String("nats")

// sending starts the span of a publish, which the event then carries to whoever takes it.
func (b *Bus) sending(ctx context.Context, e *event.Event) (context.Context, trace.Span) {
	if b.tracer == nil {
		return ctx, tracing.Nothing
	}
	ctx, span := b.tracer.InLoop(ctx, e.LoopID, tracing.Read(e.TraceParent, e.TraceState), "send "+e.Type,
		trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
			messagingSystem, semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("publish"),
			semconv.MessagingDestinationName(e.Type), tracing.ID(semconv.MessagingMessageIDKey, e.ID), tracing.ID(tracing.LoopID, e.LoopID),
		))
	e.TraceParent, e.TraceState = tracing.Write(span.SpanContext())
	return ctx, span
}

// trace starts the span of a delivery that is handled with so many others. What follows from the event has it as its parent.
func (c *Consuming) trace(d *delivery, wave int) {
	if c.bus.tracer == nil {
		return
	}
	attributes := append(c.consumed(d),
		tracing.ID(semconv.MessagingMessageIDKey, d.event.ID), tracing.ID(tracing.LoopID, d.event.LoopID), tracing.Attempt.Int(d.attempts+1))
	if wave > 1 {
		attributes = append(attributes, tracing.WaveSize.Int(wave))
	}
	_, d.span = c.bus.tracer.InLoop(context.Background(), d.event.LoopID, tracing.Read(d.event.TraceParent, d.event.TraceState),
		"process "+d.label(), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...))
	d.event.TraceParent, d.event.TraceState = tracing.Write(d.span.SpanContext())
}

func (c *Consuming) consumed(d *delivery) []attribute.KeyValue {
	return []attribute.KeyValue{
		messagingSystem, semconv.MessagingOperationTypeProcess, semconv.MessagingOperationName("process"),
		semconv.MessagingDestinationName(d.label()), semconv.MessagingConsumerGroupName(c.bus.service),
		attribute.Bool("closeloop.from_retries", d.meta.Stream == topology.Retries),
	}
}

// traceWave starts the span of what is done for several at once, in a trace of its own: it and the spans of its members link
// each other.
func (c *Consuming) traceWave(ctx context.Context, deliveries []*delivery) (context.Context, trace.Span) {
	if c.bus.tracer == nil {
		return ctx, tracing.Nothing
	}
	if len(deliveries) == 1 {
		return deliveries[0].within(ctx), tracing.Nothing
	}
	members := make([]trace.SpanContext, len(deliveries))
	for i, d := range deliveries {
		members[i] = d.span.SpanContext()
	}
	attributes := append(c.consumed(deliveries[0]), semconv.MessagingBatchMessageCount(len(deliveries)))
	ctx, span := c.bus.tracer.Apart(ctx, members, "process wave of "+deliveries[0].label(),
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...))
	for _, d := range deliveries {
		d.span.AddLink(trace.Link{SpanContext: span.SpanContext()})
	}
	return tracing.WithAttempt(ctx, deliveries[0].attempts+1), span
}

// within puts ctx into the delivery's span.
func (d *delivery) within(ctx context.Context) context.Context {
	if d.span == nil {
		return ctx
	}
	return tracing.WithAttempt(trace.ContextWithSpan(ctx, d.span), d.event.Attempts+1)
}

// label is the event's type, or one word for whatever somebody published: that is no name to be kept.
func (d *delivery) label() string {
	if d.event.Data == nil {
		return "undecodable"
	}
	return d.subject
}

// endTrace ends the delivery's span with what became of it.
func (d *delivery) endTrace(f *fault.Fault, outcome string, nextSeconds float64) {
	if d.span == nil {
		return
	}
	d.span.SetAttributes(tracing.Outcome.String(outcome))
	if nextSeconds > 0 {
		d.span.SetAttributes(tracing.NextSeconds.Float64(nextSeconds))
	}
	switch f.Class {
	case "":
	case fault.NotYet, fault.Busy: // nothing is wrong with waiting
		d.span.SetAttributes(attribute.String("closeloop.waits_for", f.Error()))
	default:
		tracing.Fail(d.span, f)
	}
	d.span.End()
}
