package logging_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/tracing"
	"github.com/closeloop/closeloop/pkg/tracing/tracingtest"
)

func TestLinesWithinASpanNameTheirTrace(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	log, err := logging.New(file, logging.Settings{Format: logging.JSON})
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := tracingtest.New(t).Tracer("linker").InLoop(t.Context(), "L-1", trace.SpanContext{}, "x")
	log.With("service", "linker").InfoContext(ctx, "inside")
	log.InfoContext(t.Context(), "outside")
	content, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	inside, outside, _ := strings.Cut(string(content), "\n")
	for _, want := range []string{`"trace_id":"` + tracing.TraceID("L-1").String(), `"span_id":"` + span.SpanContext().SpanID().String(), `"service":"linker"`} {
		if !strings.Contains(inside, want) {
			t.Errorf("%s is not in %s", want, inside)
		}
	}
	if !strings.Contains(outside, "outside") || strings.Contains(outside, "trace_id") {
		t.Errorf("outside: %s", outside)
	}
}
