package httpdoor

import (
	"net/http"
	"strconv"

	"github.com/labstack/echo/v4"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/closeloop/closeloop/pkg/tracing"
)

// trace begins the span of a request that a handler answers; nil for others, and where nothing is traced. It knows the route
// and not the path, which may name somebody.
func (d *Door) trace(c echo.Context) *tracing.Request {
	if d.options.Tracer == nil {
		return nil
	}
	to := d.routes[c.Path()]
	if to.quiet || len(to.methods) == 0 {
		return nil
	}
	in := c.Request()
	ctx, span := d.options.Tracer.Request(in.Context(), methodOf(in)+" "+to.pattern,
		tracing.Read(in.Header.Get("Traceparent"), in.Header.Get("Tracestate")),
		trace.WithAttributes(semconv.HTTPRequestMethodKey.String(methodOf(in)), semconv.HTTPRoute(to.pattern)))
	c.SetRequest(in.WithContext(ctx))
	return span
}

func endTrace(r *tracing.Request, status int) {
	if r == nil {
		return
	}
	span := r.Span()
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
