package logging

import (
	"context"
	"log/slog"

	"github.com/closeloop/closeloop/pkg/tracing"
)

// traced adds the trace, where there is one, to lines that are written within a span.
type traced struct{ slog.Handler }

// Handle is that of [slog.Handler].
func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if sc := tracing.Current(ctx); sc.IsValid() {
		r.AddAttrs(slog.String("trace_id", sc.TraceID().String()), slog.String("span_id", sc.SpanID().String())) //nolint:sloglint // the names that collectors know
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs is that of [slog.Handler].
func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }

// WithGroup is that of [slog.Handler].
func (h traced) WithGroup(name string) slog.Handler { return traced{h.Handler.WithGroup(name)} }
