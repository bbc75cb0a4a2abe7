package tracing_test

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/pkg/tracing"
	"github.com/closeloop/closeloop/pkg/tracing/tracingtest"
)

const caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// record gives a tracer and what it has made when it is shut.
func record(t *testing.T) (*tracing.Tracer, func() map[string]sdktrace.ReadOnlySpan) {
	t.Helper()
	recorder := tracingtest.New(t)
	return recorder.Tracer("linker"), func() map[string]sdktrace.ReadOnlySpan {
		named := map[string]sdktrace.ReadOnlySpan{}
		for name, spans := range recorder.Spans() {
			named[name] = spans[0]
		}
		return named
	}
}

func linksOf(s sdktrace.ReadOnlySpan) map[trace.TraceID]bool {
	linked := map[trace.TraceID]bool{}
	for _, l := range s.Links() {
		linked[l.SpanContext.TraceID()] = true
	}
	return linked
}

func TestSpansOfOneLoopAreOneTraceWhateverWayTheyCame(t *testing.T) {
	tracer, end := record(t)
	outside := tracing.Read(caller, "")
	_, first := tracer.InLoop(t.Context(), "L-1", outside, "first")
	first.End()
	parent, state := tracing.Write(first.SpanContext())
	ctx, second := tracer.InLoop(t.Context(), "L-1", tracing.Read(parent, state), "second")
	_, third := tracer.InLoop(ctx, "L-1", trace.SpanContext{}, "third")
	_, other := tracer.InLoop(ctx, "L-2", second.SpanContext(), "other loop")
	_, again := tracer.InLoop(t.Context(), "L-1", trace.SpanContext{}, "back from a vendor")
	_, wave := tracer.Apart(ctx, []trace.SpanContext{second.SpanContext(), other.SpanContext()}, "wave")
	for _, s := range []trace.Span{second, third, other, again, wave} {
		s.End()
	}
	loop := tracing.TraceID("L-1")
	spans := end()
	for name, parent := range map[string]trace.SpanID{
		"first": {}, "second": first.SpanContext().SpanID(), "third": second.SpanContext().SpanID(), "back from a vendor": {},
	} {
		if s := spans[name]; s.SpanContext().TraceID() != loop || s.Parent().SpanID() != parent {
			t.Errorf("%s is in %s with the parent %s; want %s, %s", name, s.SpanContext().TraceID(), s.Parent().SpanID(), loop, parent)
		}
	}
	if !linksOf(spans["first"])[outside.TraceID()] {
		t.Error("the caller outside is not linked")
	}
	if s := spans["other loop"]; s.SpanContext().TraceID() != tracing.TraceID("L-2") || s.Parent().IsValid() || !linksOf(s)[loop] {
		t.Errorf("another loop is in %s, parent %s, links %v", s.SpanContext().TraceID(), s.Parent().SpanID(), s.Links())
	}
	if s := spans["wave"]; s.SpanContext().TraceID() == loop || s.Parent().IsValid() || !linksOf(s)[loop] || !linksOf(s)[tracing.TraceID("L-2")] {
		t.Errorf("the wave is in %s, parent %s, links %v", s.SpanContext().TraceID(), s.Parent().SpanID(), s.Links())
	}
}

func TestRequestJoinsTheLoopThatItBegins(t *testing.T) {
	tracer, end := record(t)
	outside := tracing.Read(caller, "")
	request := func(name string, handle func(context.Context)) {
		ctx, r := tracer.Request(t.Context(), name, outside)
		handle(ctx)
		r.Span().End()
	}
	publish := func(ctx context.Context, loop string) {
		_, s := tracer.InLoop(ctx, loop, outside, "publish "+loop)
		s.End()
	}
	request("one", func(ctx context.Context) {
		publish(ctx, "L-1")
		if got := tracing.Current(ctx).TraceID(); got != tracing.TraceID("L-1") {
			t.Errorf("the log would name %s", got)
		}
	})
	request("many", func(ctx context.Context) { tracing.Many(ctx); publish(ctx, "L-2"); publish(ctx, "L-3") })
	request("none", func(context.Context) {})
	spans := end()
	if one, p := spans["one"], spans["publish L-1"]; one.SpanContext().TraceID() != tracing.TraceID("L-1") || p.Parent().SpanID() != one.SpanContext().SpanID() ||
		!linksOf(one)[outside.TraceID()] || len(p.Links()) != 0 {
		t.Errorf("the request is in %s, links %v; what it published has the parent %s, links %v", one.SpanContext().TraceID(), one.Links(), p.Parent().SpanID(), p.Links())
	}
	for _, loop := range []string{"L-2", "L-3"} {
		if p := spans["publish "+loop]; p.SpanContext().TraceID() != tracing.TraceID(loop) || p.Parent().IsValid() || !linksOf(p)[spans["many"].SpanContext().TraceID()] {
			t.Errorf("%s is in %s, parent %s, links %v", loop, p.SpanContext().TraceID(), p.Parent().SpanID(), p.Links())
		}
	}
	if many := spans["many"].SpanContext().TraceID(); many == tracing.TraceID("L-2") || many == tracing.TraceID("L-3") {
		t.Error("a request for many loops is in one of them")
	}
	if none := spans["none"]; !none.SpanContext().TraceID().IsValid() || none.Parent().IsValid() {
		t.Error("a request that begins nothing has no trace of its own")
	}
}

func TestAShareOfTracesIsTheSameShareOfLoopsEverywhere(t *testing.T) {
	t.Setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
	t.Setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
	linker, _ := record(t)
	tasker, _ := record(t)
	sampled := 0
	for i := range 1000 {
		loop := hex.EncodeToString([]byte{byte(i >> 8), byte(i)})
		_, here := linker.InLoop(t.Context(), loop, trace.SpanContext{}, "here")
		_, there := tasker.InLoop(t.Context(), loop, trace.SpanContext{}, "there")
		_, after := tasker.InLoop(t.Context(), loop, tracing.Read(tracing.Write(here.SpanContext())), "after")
		if here.IsRecording() != there.IsRecording() || here.IsRecording() != after.IsRecording() {
			t.Fatalf("loop %s is kept by some alone", loop)
		}
		if here.IsRecording() {
			sampled++
		}
	}
	if sampled < 400 || sampled > 600 {
		t.Errorf("%d of 1000 loops at a share of a half", sampled)
	}
}

func TestWithoutACollectorNothingIsMade(t *testing.T) {
	x, err := tracing.Open(t.Context(), tracing.Settings{}, "v1", slog.New(slog.DiscardHandler))
	if x != nil || err != nil {
		t.Fatalf("%v, %v", x, err)
	}
	tracer, ctx := x.For("linker"), t.Context()
	if spent := testing.AllocsPerRun(100, func() {
		ctx, span := tracer.InLoop(ctx, "L-1", trace.SpanContext{}, "x")
		tracing.Fail(span, nil)
		span.End()
		ctx, r := tracer.Request(ctx, "x", trace.SpanContext{})
		tracing.Many(ctx)
		if r != nil || tracing.Current(ctx).IsValid() {
			t.Error("a request is traced")
		}
	}); spent != 0 {
		t.Errorf("%g allocations for nothing", spent)
	}
	if err := x.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestWhatMayBeAnAddressIsNoID(t *testing.T) {
	for id, shown := range map[string]bool{
		"EVENTS-42": true, "5d2f6e9c-2a0b-5f60-9a51-3b1c8f0d7e42": true, "OB-1/2": true,
		"ada@example.com": false, "Ada Lovelace": false, "ada%40example.com": false, "": false, strings.Repeat("x", 200): false,
	} {
		if got := tracing.ID(tracing.LoopID, id).Value.AsString(); (got == id) != shown {
			t.Errorf("%q is shown as %q", id, got)
		}
	}
}

// receiver is a collector that refuses the first requests.
type receiver struct {
	mu     sync.Mutex
	refuse []int
	keys   []string
	spans  []*tracepb.Span
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.keys = append(r.keys, request.Header.Get("X-Key"))
	if len(r.refuse) > 0 {
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(r.refuse[0])
		r.refuse = r.refuse[1:]
		return
	}
	body, err := io.ReadAll(request.Body)
	var data tracepb.TracesData
	if err := errors.Join(err, proto.Unmarshal(body, &data)); err != nil || request.URL.Path != "/base/v1/traces" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	for _, resource := range data.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			r.spans = append(r.spans, scope.GetSpans()...)
		}
	}
}

func TestABatchIsSentAgainWhileTheCollectorIsBusy(t *testing.T) {
	collector := &receiver{refuse: []int{http.StatusServiceUnavailable}}
	server := httptest.NewServer(collector)
	defer server.Close()
	file := filepath.Join(t.TempDir(), "headers")
	if err := os.WriteFile(file, []byte("X-Key=a%2Cb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.URL+"/base/")
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS_FILE", file)
	var s tracing.Settings
	if err := settings.Load(&s); err != nil {
		t.Fatal(err)
	}
	x, err := tracing.Open(t.Context(), s, "v1", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, span := x.For("linker").InLoop(t.Context(), "L-1", trace.SpanContext{}, "x")
	tracing.Fail(span, &fault.Fault{Class: fault.Refused, Reason: "no such list"})
	span.End()
	if err := x.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(collector.spans) != 1 || strings.Join(collector.keys, " ") != "a,b a,b" {
		t.Fatalf("%d spans, keys %v", len(collector.spans), collector.keys)
	}
	id := tracing.TraceID("L-1")
	if got := collector.spans[0]; hex.EncodeToString(got.GetTraceId()) != id.String() || got.GetStatus().GetMessage() != "no such list" {
		t.Errorf("%v", got)
	}
}

func TestSettingsThatCannotWorkAreNamedWithoutTheirValue(t *testing.T) {
	for name, s := range map[string]tracing.Settings{
		"no scheme":      {Endpoint: "collector:4318"},
		"a password":     {Endpoint: "http://ada:hunter2@collector"},
		"no header":      {Endpoint: "http://collector", Headers: settings.SecretOf("hunter2")},
		"bad encoding":   {Endpoint: "http://collector", Headers: settings.SecretOf("X-Key=hunter2%zz")},
		"header no name": {Headers: settings.SecretOf("=hunter2")},
	} {
		if err := s.Validate(); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_") {
			t.Errorf("%s: %v", name, err)
		}
	}
	missing := tracing.Settings{Endpoint: "https://collector", CAFile: filepath.Join(t.TempDir(), "none")}
	if _, err := tracing.Open(t.Context(), missing, "v1", slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_CERTIFICATE") {
		t.Errorf("a missing file: %v", err)
	}
}
