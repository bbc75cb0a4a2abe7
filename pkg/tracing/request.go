package tracing

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// Request is the span of a request at a door. It is made when it is known which loop the request belongs to, or when it
// ends: then it is in a trace of its own.
type Request struct {
	tracer  *Tracer
	ctx     context.Context
	name    string
	options []trace.SpanStartOption

	mu   sync.Mutex
	span trace.Span
}

type requestKey struct{}

// Request begins the span of a request, whose caller is linked; nil where nothing is traced. It must be ended.
func (t *Tracer) Request(ctx context.Context, name string, caller trace.SpanContext, options ...trace.SpanStartOption) (context.Context, *Request) {
	if t == nil {
		return ctx, nil
	}
	options = append(linked(options, caller), trace.WithTimestamp(time.Now()), trace.WithSpanKind(trace.SpanKindServer), trace.WithNewRoot())
	r := &Request{tracer: t, ctx: ctx, name: name, options: options}
	return context.WithValue(ctx, requestKey{}, r), r
}

// Many puts the request in ctx, if there is one, into a trace of its own: it is about to begin several loops.
func Many(ctx context.Context) {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		r.begun(trace.TraceID{})
	}
}

// Span gives the span, which from then on has a trace.
func (r *Request) Span() trace.Span { return r.begun(trace.TraceID{}) }

// begun starts the span, in that trace, unless it has been before.
func (r *Request) begun(in trace.TraceID) trace.Span {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.span == nil {
		_, r.span = r.tracer.tracer.Start(context.WithValue(r.ctx, traceKey{}, in), r.name, r.options...) //nolint:spancheck // whoever has the request ends it
	}
	return r.span
}

func (r *Request) context() trace.SpanContext {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.span == nil {
		return trace.SpanContext{}
	}
	return r.span.SpanContext()
}

// doorOf puts ctx into the span of its request, and tells whether there is one.
func doorOf(ctx context.Context, loop trace.TraceID) (context.Context, bool) {
	r, ok := ctx.Value(requestKey{}).(*Request)
	if !ok {
		return ctx, false
	}
	if !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = trace.ContextWithSpan(ctx, r.begun(loop))
	}
	return ctx, true
}
