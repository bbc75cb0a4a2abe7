package tracing

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// sender sends batches of spans by OTLP over HTTP, as a client of otlptrace. OpenTelemetry's own links gRPC, which would be a
// third of each of our binaries.
type sender struct {
	settings Settings
	address  string
	client   *http.Client
}

const (
	// sendTimeout is how long one request may take.
	sendTimeout = 10 * time.Second
	// firstAgain is the wait before a batch is sent again; each next one is twice as long.
	firstAgain = time.Second
	// mostAnswer is as much as is read of an answer, which is not used.
	mostAnswer = 64 << 10
)

// newSender makes a sender. Its error names the setting.
func newSender(s Settings) (*sender, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_CERTIFICATE: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, errors.New("OTEL_EXPORTER_OTLP_CERTIFICATE: no certificate in the file")
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	return &sender{
		settings: s, address: strings.TrimRight(s.Endpoint, "/") + "/v1/traces",
		client: &http.Client{Transport: transport, Timeout: sendTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// Start is that of otlptrace.Client. It connects to nothing.
func (s *sender) Start(context.Context) error { return nil }

// Stop is that of otlptrace.Client.
func (s *sender) Stop(context.Context) error {
	s.client.CloseIdleConnections()
	return nil
}

// UploadTraces is that of otlptrace.Client. It tries again until ctx ends while the collector is away or too busy.
func (s *sender) UploadTraces(ctx context.Context, spans []*tracepb.ResourceSpans) error {
	// The same on the wire as an ExportTraceServiceRequest.
	body, err := proto.Marshal(&tracepb.TracesData{ResourceSpans: spans})
	if err != nil {
		return err
	}
	for wait := firstAgain; ; wait *= 2 {
		again, after, err := s.send(ctx, body)
		if err == nil || !again {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(max(after, wait/2+rand.N(wait/2))):
		}
	}
}

// send makes one request. It tells whether the batch may be sent again, and how much later at least.
func (s *sender) send(ctx context.Context, body []byte) (again bool, after time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.address, bytes.NewReader(body))
	if err != nil {
		return false, 0, err
	}
	headers, err := s.settings.headers() // each time: the file of a secret is followed
	if err != nil {
		return false, 0, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	request.Header.Set("Content-Type", "application/x-protobuf")
	request.Header.Set("User-Agent", "closeloop")
	response, err := s.client.Do(request)
	if err != nil {
		return true, 0, err
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, mostAnswer)) // so that the connection can be used again
	switch response.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		seconds, _ := strconv.Atoi(response.Header.Get("Retry-After"))
		return true, time.Duration(seconds) * time.Second, fmt.Errorf("the collector answers %s", response.Status)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return false, 0, fmt.Errorf("the collector answers %s", response.Status)
	}
	return false, 0, nil
}
