package tracing

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"regexp"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/closeloop/closeloop/pkg/fault"
)

// Tracer makes the spans of one service. A nil Tracer makes none.
type Tracer struct{ tracer trace.Tracer }

// TraceID is the trace of a loop: the beginning of the SHA-256 of its id. Equally spread as it is, a share of all traces
// (OTEL_TRACES_SAMPLER=parentbased_traceidratio) is the same share of loops at every service.
func TraceID(loopID string) trace.TraceID {
	sum := sha256.Sum256([]byte(loopID))
	return trace.TraceID(sum[:16])
}

// InLoop starts a span in the trace of a loop. Its parent is the span of ctx or else the carried one, as far as they are of
// that trace; without either it has none. What is of another trace is linked. A request at a door that has no trace yet
// gets that of the loop.
func (t *Tracer) InLoop(ctx context.Context, loopID string, carried trace.SpanContext, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t == nil {
		return ctx, Nothing
	}
	loop := TraceID(loopID)
	ctx, door := doorOf(ctx, loop)
	current := trace.SpanContextFromContext(ctx)
	switch {
	case current.TraceID() == loop:
		if carried.TraceID() != loop && !door { // what came with a request is linked there
			options = linked(options, carried)
		}
	case carried.TraceID() == loop:
		options = linked(options, current)
		ctx = trace.ContextWithRemoteSpanContext(ctx, carried)
	default:
		options = linked(options, current)
		if !door {
			options = linked(options, carried)
		}
		options = append(options, trace.WithNewRoot())
		ctx = context.WithValue(ctx, traceKey{}, loop)
	}
	return t.tracer.Start(ctx, name, options...) //nolint:spancheck // the caller ends it
}

// Apart starts a span in a trace of its own, for what belongs to many loops, which it links.
func (t *Tracer) Apart(ctx context.Context, loops []trace.SpanContext, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t == nil {
		return ctx, Nothing
	}
	return t.tracer.Start(ctx, name, append(linked(options, loops...), trace.WithNewRoot())...) //nolint:spancheck // the caller ends it
}

// Nothing is the span where nothing is traced.
var Nothing = trace.SpanFromContext(context.Background())

func linked(options []trace.SpanStartOption, to ...trace.SpanContext) []trace.SpanStartOption {
	links := make([]trace.Link, 0, len(to))
	for _, sc := range to {
		if sc.IsValid() {
			links = append(links, trace.Link{SpanContext: sc})
		}
	}
	if len(links) == 0 {
		return options
	}
	return append(options, trace.WithLinks(links...))
}

// traceKey holds the trace that a span without a parent is to begin.
type traceKey struct{}

// ids gives a span without a parent the id of the loop's trace.
type ids struct{}

// NewIDs is that of [sdktrace.IDGenerator].
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	id, ok := ctx.Value(traceKey{}).(trace.TraceID)
	for !ok || !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64())
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64())
		ok = true
	}
	return id, newSpanID()
}

// NewSpanID is that of [sdktrace.IDGenerator].
func (ids) NewSpanID(context.Context, trace.TraceID) trace.SpanID { return newSpanID() }

func newSpanID() (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64())
	}
	return id
}

// Read reads a W3C trace context, which is not valid where there is none.
func Read(traceParent, traceState string) trace.SpanContext {
	if traceParent == "" {
		return trace.SpanContext{}
	}
	carrier := propagation.MapCarrier{"traceparent": traceParent, "tracestate": traceState}
	return trace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), carrier))
}

// Write gives what [Read] reads, empty for a context that is not valid.
func Write(sc trace.SpanContext) (traceParent, traceState string) {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), sc), carrier)
	return carrier["traceparent"], carrier["tracestate"]
}

// Current gives the context of the span that ctx is in, or of the request at a door, for a line in the log.
func Current(ctx context.Context) trace.SpanContext {
	if sc := trace.SpanContextFromContext(ctx); sc.IsValid() {
		return sc
	}
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return r.context()
	}
	return trace.SpanContext{}
}

// Fail notes a fault: its class, and its text, which is redacted where it is made. Nil changes nothing.
func Fail(span trace.Span, err error) {
	if err == nil || !span.IsRecording() {
		return
	}
	f := fault.From(err)
	span.SetAttributes(semconv.ErrorTypeKey.String(string(f.Class)))
	span.SetStatus(codes.Error, f.Error())
}

// plain is an id as we and most systems make them. Others may be anything that somebody outside chose, an address too.
var plain = regexp.MustCompile(`^[A-Za-z0-9._:/-]{1,128}$`)

// ID is an attribute for the id of an event or a loop. One that may be more than an id is left out.
func ID(key attribute.Key, id string) attribute.KeyValue {
	if !plain.MatchString(id) {
		id = "(not shown)"
	}
	return key.String(id)
}

// The attributes that OpenTelemetry has no name for.
const (
	// LoopID is the loop that a span belongs to.
	LoopID = attribute.Key("closeloop.loop.id")
	// Outcome is what became of an event, or of a call: ok or the class of the fault.
	Outcome = attribute.Key("closeloop.outcome")
	// Attempt is how often the event has been tried, this time included.
	Attempt = attribute.Key("closeloop.attempt")
	// NextSeconds is how long the event is held until it is tried again.
	NextSeconds = attribute.Key("closeloop.next_seconds")
	// WaveSize is how many events are handled together.
	WaveSize = attribute.Key("closeloop.wave.size")
	// Vendor is whom a call goes to, Operation what it is for.
	Vendor    = attribute.Key("closeloop.vendor")
	Operation = attribute.Key("closeloop.operation")
)

type attemptKey struct{}

// WithAttempt notes which attempt at its event the work in ctx is, for [AttemptOf].
func WithAttempt(ctx context.Context, attempt int) context.Context {
	return context.WithValue(ctx, attemptKey{}, attempt)
}

// AttemptOf gives what [WithAttempt] noted, 0 for work without an event.
func AttemptOf(ctx context.Context) int {
	attempt, _ := ctx.Value(attemptKey{}).(int)
	return attempt
}
