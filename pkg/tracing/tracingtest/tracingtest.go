// Package tracingtest keeps the spans that tests make.
package tracingtest

import (
	"context"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/closeloop/closeloop/pkg/tracing"
)

// Recorder keeps spans in place of a collector.
type Recorder struct {
	t        testing.TB
	exporter *tracing.Exporter

	mu    sync.Mutex
	spans []sdktrace.ReadOnlySpan
}

// New makes a recorder.
func New(t testing.TB) *Recorder {
	r := &Recorder{t: t}
	r.exporter = tracing.NewExporter(r, "v1")
	return r
}

// Tracer is that of a service.
func (r *Recorder) Tracer(service string) *tracing.Tracer { return r.exporter.For(service) }

// Spans ends the recording and gives what was ended before, by name; of several of one name, all.
func (r *Recorder) Spans() map[string][]sdktrace.ReadOnlySpan {
	r.t.Helper()
	if err := r.exporter.Shutdown(context.WithoutCancel(r.t.Context())); err != nil {
		r.t.Fatal(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	named := map[string][]sdktrace.ReadOnlySpan{}
	for _, s := range r.spans {
		named[s.Name()] = append(named[s.Name()], s)
	}
	return named
}

// ExportSpans is that of [sdktrace.SpanExporter].
func (r *Recorder) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, spans...)
	return nil
}

// Shutdown is that of [sdktrace.SpanExporter].
func (r *Recorder) Shutdown(context.Context) error { return nil }
