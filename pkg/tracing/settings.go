package tracing

import (
	"errors"
	"net/url"
	"os"
	"strings"

	"github.com/closeloop/closeloop/pkg/settings"
)

// Settings of tracing, to be part of a service's. What OpenTelemetry's SDK reads by itself holds as well: OTEL_TRACES_SAMPLER,
// OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME, OTEL_BSP_… and OTEL_SPAN_… .
type Settings struct {
	Endpoint string          `envconfig:"OTEL_EXPORTER_OTLP_ENDPOINT" desc:"where traces are sent to, by OTLP over HTTP: http://collector:4318; empty: none are made (docs/observability.md)"`
	Headers  settings.Secret `envconfig:"OTEL_EXPORTER_OTLP_HEADERS" desc:"headers that the collector asks for: name=value, separated by commas, values percent-encoded"`
	CAFile   string          `envconfig:"OTEL_EXPORTER_OTLP_CERTIFICATE" desc:"file with the CA certificates that the collector's is checked by; default: the system's"`
}

// Validate reports what cannot work, without the values: they may be secret.
func (s *Settings) Validate() error {
	if s.Endpoint != "" {
		u, err := url.Parse(s.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
			return errors.New("OTEL_EXPORTER_OTLP_ENDPOINT must be as http://collector:4318, without user and query")
		}
	}
	_, err := s.headers()
	return err
}

// on tells whether spans are to be made.
func (s *Settings) on() bool {
	return s.Endpoint != "" && !strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") && os.Getenv("OTEL_TRACES_EXPORTER") != "none"
}

// headers reads the list as it is now.
func (s *Settings) headers() (map[string]string, error) {
	headers := map[string]string{}
	for entry := range strings.SplitSeq(s.Headers.Reveal(), ",") {
		if strings.TrimSpace(entry) == "" {
			continue
		}
		name, value, found := strings.Cut(entry, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if name = strings.TrimSpace(name); !found || name == "" || err != nil {
			return nil, errors.New("OTEL_EXPORTER_OTLP_HEADERS must be name=value, separated by commas, values percent-encoded")
		}
		headers[name] = value
	}
	return headers, nil
}
