package outbound_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/tracing"
	"github.com/closeloop/closeloop/pkg/tracing/tracingtest"
)

func TestACallIsASpanOfTheEventAndHoldsNothingPersonal(t *testing.T) {
	told := false
	client := serve(t, func(w http.ResponseWriter, r *http.Request) {
		told = told || r.Header.Get("Traceparent") != ""
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, "Ada Lovelace <ada@example.com> wrote: it came too late")
	})
	recorder := tracingtest.New(t)
	ctx, event := recorder.Tracer("linker").InLoop(t.Context(), "L-1", trace.SpanContext{}, "event")
	call := outbound.Call{
		Operation: "create contact", Method: http.MethodPost, Path: "/people/ada@example.com", Query: url.Values{"name": {"Ada Lovelace"}},
		Header: http.Header{"X-Api-Token": {"hunter2-token"}}, Body: []byte("ada@example.com"), Write: true,
		Personal: []string{"Ada Lovelace", "it came too late"},
	}
	if _, err := client.Do(tracing.WithAttempt(ctx, 3), call); err == nil {
		t.Fatal("want a fault")
	}
	if _, err := client.Do(t.Context(), call); err == nil { // for no event
		t.Fatal("want a fault")
	}
	event.End()
	spans := recorder.Spans()["acme create contact"]
	if len(spans) != 1 {
		t.Fatalf("%d spans", len(spans))
	}
	span := spans[0]
	said := everything(span)
	for _, want := range []string{"closeloop.attempt=3", "http.response.status_code=400", "closeloop.outcome=refused", "error.type=refused", "http.request.method=POST", "admitted"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %s", want, said)
		}
	}
	for _, personal := range []string{"ada", "Lovelace", "too late", "@", "/people", "hunter2"} {
		if strings.Contains(said, personal) {
			t.Errorf("%q is in %s", personal, said)
		}
	}
	if span.Parent().SpanID() != event.SpanContext().SpanID() || span.SpanKind() != trace.SpanKindClient {
		t.Errorf("parent %s, kind %s", span.Parent().SpanID(), span.SpanKind())
	}
	if told {
		t.Error("the vendor was told of the trace")
	}
}

// everything that a span says.
func everything(s sdktrace.ReadOnlySpan) string {
	said := s.Name() + " " + s.Status().Description
	for _, a := range s.Attributes() {
		said += " " + string(a.Key) + "=" + a.Value.String()
	}
	for _, e := range s.Events() {
		said += " " + e.Name + fmt.Sprint(e.Attributes)
	}
	return said
}

func TestACallForNoEventCostsNothingForTracing(t *testing.T) {
	client := newClient(t, outbound.Options{BaseURL: "http://127.0.0.1"})
	ctx := context.Background()
	if spent := testing.AllocsPerRun(100, func() { outbound.TraceNothing(client, ctx) }); spent != 0 {
		t.Errorf("%g allocations", spent)
	}
}
