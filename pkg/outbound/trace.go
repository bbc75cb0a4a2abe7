package outbound

import (
	"cmp"
	"context"
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/closeloop/closeloop/pkg/tracing"
)

// callSpan is the span of one call; without one where nothing is traced. It holds names, numbers and the redacted text of a
// fault: no address, header or body. The vendor is not told of it.
type callSpan struct{ span trace.Span }

// startSpan starts the span of a call inside that of the event in hand. Calls for no event, as those at the start, have none.
func (c *Client) startSpan(ctx context.Context, call Call) (context.Context, callSpan) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, callSpan{}
	}
	attributes := []attribute.KeyValue{
		tracing.Vendor.String(c.vendor), tracing.Operation.String(call.Operation),
		semconv.HTTPRequestMethodKey.String(cmp.Or(call.Method, http.MethodGet)),
	}
	if call.URL == "" {
		attributes = append(attributes, semconv.ServerAddress(c.base.Hostname()))
	}
	if attempt := tracing.AttemptOf(ctx); attempt > 0 {
		attributes = append(attributes, tracing.Attempt.Int(attempt))
	}
	//nolint:spancheck // callSpan.end ends it
	ctx, span := parent.TracerProvider().Tracer(tracing.Scope).Start(ctx, c.vendor+" "+call.Operation,
		trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attributes...))
	return ctx, callSpan{span} //nolint:spancheck // as above
}

// admitted notes that the call had its turn: what came before was waiting.
func (s callSpan) admitted() {
	if s.span != nil {
		s.span.AddEvent("admitted")
	}
}

func (s callSpan) end(a *Answer, err error) {
	if s.span == nil {
		return
	}
	if a != nil {
		s.span.SetAttributes(semconv.HTTPResponseStatusCode(a.Status))
	}
	s.span.SetAttributes(tracing.Outcome.String(outcomeOf(err)))
	tracing.Fail(s.span, err)
	s.span.End()
}
