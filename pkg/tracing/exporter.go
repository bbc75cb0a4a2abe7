package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Exporter sends the spans of all services of a process. A nil Exporter is tracing that is off.
type Exporter struct {
	version string
	sender  sdktrace.SpanExporter

	mu      sync.Mutex
	tracers map[string]*Tracer
	all     []*sdktrace.TracerProvider
}

// Open makes the exporter, or nil where the settings name no collector. It does not connect: a collector that is away costs
// spans and nothing else. The error names the setting.
func Open(ctx context.Context, s Settings, version string, log *slog.Logger) (*Exporter, error) {
	if !s.on() {
		return nil, nil
	}
	way, err := newSender(s)
	if err != nil {
		return nil, err
	}
	spans, err := otlptrace.New(ctx, way)
	if err != nil {
		return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_ENDPOINT: %w", err)
	}
	// Of the whole process: the SDK knows no other place for what goes wrong in the background.
	otel.SetErrorHandler(&complaints{log: log})
	return NewExporter(spans, version), nil
}

// NewExporter makes an exporter that sends by another way, for tests.
func NewExporter(sender sdktrace.SpanExporter, version string) *Exporter {
	return &Exporter{version: version, sender: sender, tracers: map[string]*Tracer{}}
}

// For gives the tracer of a service, whose spans are told apart by its name.
func (x *Exporter) For(service string) *Tracer {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if t, ok := x.tracers[service]; ok {
		return t
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(shared{x.sender}),
		sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithRawSpanLimits(limits()),
		sdktrace.WithResource(describe(service, x.version)),
	)
	t := &Tracer{provider.Tracer(Scope)}
	x.tracers[service], x.all = t, append(x.all, provider)
	return t
}

// Scope names what makes the spans.
const Scope = "github.com/closeloop/closeloop"

// describe says who makes spans. What the environment says (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) goes first.
func describe(service, version string) *resource.Resource {
	r, err := resource.New(context.Background(),
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName(service), semconv.ServiceVersion(version), semconv.ServiceInstanceID(uuid.NewString())),
		resource.WithFromEnv(),
	)
	if err != nil {
		otel.Handle(err) // what could be found out is in r
	}
	return r
}

// mostLinks is the most events of a wave, each of which is a link of its span.
const mostLinks = 1000

func limits() sdktrace.SpanLimits {
	l := sdktrace.NewSpanLimits() // as the environment says
	if os.Getenv("OTEL_SPAN_LINK_COUNT_LIMIT") == "" {
		l.LinkCountLimit = mostLinks
	}
	return l
}

// Shutdown sends what is left, until ctx ends.
func (x *Exporter) Shutdown(ctx context.Context) error {
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	errs := make([]error, len(x.all))
	var work sync.WaitGroup
	for i, provider := range x.all {
		work.Go(func() { errs[i] = provider.Shutdown(ctx) })
	}
	work.Wait()
	return errors.Join(append(errs, x.sender.Shutdown(ctx))...)
}

// shared is one way out for many providers, none of which closes it.
type shared struct{ sdktrace.SpanExporter }

// Shutdown leaves the way open.
func (shared) Shutdown(context.Context) error { return nil }

// complainEvery is how often it is said that spans are lost.
const complainEvery = time.Minute

// complaints says that spans are lost, now and then: a collector that is away is so at every batch.
type complaints struct {
	log *slog.Logger

	mu   sync.Mutex
	said time.Time
}

// Handle is that of [otel.ErrorHandler].
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); now.Sub(c.said) >= complainEvery {
		c.said = now
		c.log.Warn("spans could not be sent; events are not held up by it", "error", err)
	}
}
