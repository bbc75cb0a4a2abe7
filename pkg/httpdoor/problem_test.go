package httpdoor_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
)

func TestErrorsMeanWhatTheyAre(t *testing.T) {
	const internal = "dial tcp 10.0.0.7"
	field := httpdoor.FieldError{Field: "contact.email", Message: "is wrong"}
	two := &contract.Violations{Fields: []contract.Violation{field, {Field: "requestId", Message: "is empty"}}}
	tests := []struct {
		name       string
		err        error
		status     int
		detail     string
		fields     []httpdoor.FieldError
		retryAfter string
	}{
		{name: "bad request", err: httpdoor.BadRequest("d", field), status: 400, detail: "d", fields: []httpdoor.FieldError{field}},
		{name: "unauthorized", err: httpdoor.Unauthorized("d"), status: 401, detail: "d"},
		{name: "not found", err: httpdoor.NotFound("d"), status: 404, detail: "d"},
		{name: "conflict", err: httpdoor.Conflict("d"), status: 409, detail: "d"},
		{name: "unprocessable", err: httpdoor.Unprocessable("d", field), status: 422, detail: "d", fields: []httpdoor.FieldError{field}},
		{name: "unavailable", err: httpdoor.Unavailable("d", 1500*time.Millisecond), status: 503, detail: "d", retryAfter: "2"},
		{name: "any other", err: httpdoor.NewProblem(418, "d"), status: 418, detail: "d"},
		{name: "wrapped", err: fmt.Errorf("%s: %w", internal, httpdoor.NotFound("d")), status: 404, detail: "d"},

		{name: "violations", err: two, status: 400, detail: "the body breaks its contract", fields: two.Fields},
		{name: "violation of the whole", err: contract.Broken("", "the body is empty"), status: 400, detail: "the body is empty"},
		{name: "invalid", err: fault.New(fault.Invalid, "no such event"), status: 400, detail: "no such event"},
		{name: "invalid field", err: fault.At("contact.email", "is wrong"), status: 400, detail: "is wrong", fields: []httpdoor.FieldError{field}},
		{name: "invalid by violations", err: fault.New(fault.Invalid, "%w", two), status: 400, detail: "the body breaks its contract", fields: two.Fields},
		{name: "refused", err: &fault.Fault{Class: fault.Refused, Vendor: "awardco", Reason: "no such programme"}, status: 422, detail: "awardco: no such programme"},
		{name: "refused field", err: &fault.Fault{Class: fault.Refused, Field: "contact.email", Reason: "is wrong"}, status: 422, detail: "is wrong", fields: []httpdoor.FieldError{field}},
		{name: "person", err: fault.New(fault.Person, "unknown id"), status: 422, detail: "unknown id"},
		{name: "refused by violations", err: fault.New(fault.Refused, "%w", two), status: 422, detail: two.Error()},

		{name: "transient", err: fault.New(fault.Transient, internal), status: 503, retryAfter: "10"},
		{name: "throttled", err: &fault.Fault{Class: fault.Throttled, Reason: internal, After: time.Minute}, status: 503, retryAfter: "60"},
		{name: "down", err: fault.New(fault.Down, internal), status: 503, retryAfter: "10"},
		{name: "vendor refuses us", err: fault.New(fault.Unauthorized, internal), status: 503, retryAfter: "10"},
		{name: "not yet", err: fault.Later(5*time.Second, internal), status: 503, retryAfter: "5"},
		{name: "busy", err: fault.New(fault.Busy, internal), status: 503, retryAfter: "10"},
		{name: "unknown", err: fault.New(fault.Unknown, internal), status: 503, retryAfter: "10"},
		{name: "deadline", err: fmt.Errorf("%s: %w", internal, context.DeadlineExceeded), status: 503, retryAfter: "10"},
		{name: "cancelled", err: context.Canceled, status: 503, retryAfter: "10"},

		{name: "without a class", err: errors.New(internal), status: 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := httpdoor.New(httpdoor.Options{})
			d.Handle(http.MethodGet, "/", httpdoor.Open, failing(tt.err))
			got := call(t, d, http.MethodGet, "/", nil)
			p := got.problem(t)
			if p.Status != tt.status || (tt.detail != "" && p.Detail != tt.detail) || p.Detail == "" || !slices.Equal(p.Errors, tt.fields) {
				t.Errorf("got %+v", p)
			}
			if got.Header().Get("Retry-After") != tt.retryAfter {
				t.Errorf("Retry-After: %q", got.Header().Get("Retry-After"))
			}
			if strings.Contains(got.Body.String(), internal) {
				t.Errorf("internal text in %s", got.Body)
			}
		})
	}
}

func TestEachRequestMakesOneLineWithoutAnythingPersonal(t *testing.T) {
	const personal = "ada@example.com"
	tests := map[string]struct {
		method, path string
		handler      httpdoor.Handler
		level, route string
		status       int
		says         string
	}{
		"success":        {"POST", "/things/" + personal, ok, "INFO", "/things/{id}", 200, ""},
		"problem":        {"POST", "/things/" + personal, failing(httpdoor.BadRequest("d")), "INFO", "/things/{id}", 400, ""},
		"unavailable":    {"POST", "/things/" + personal, failing(fault.New(fault.Down, "no connection")), "WARN", "/things/{id}", 503, "no connection"},
		"failure":        {"POST", "/things/" + personal, failing(errors.New("internal text")), "ERROR", "/things/{id}", 500, "internal text"},
		"unknown path":   {"POST", "/" + personal, ok, "INFO", "unmatched", 404, ""},
		"unknown method": {"X-" + "ADA", "/things/" + personal, ok, "INFO", "/things/{id}", 405, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			d := httpdoor.New(httpdoor.Options{Log: slog.New(slog.NewJSONHandler(&log, nil))})
			d.Handle(http.MethodPost, "/things/{id}", httpdoor.Open, tt.handler)
			call(t, d, tt.method, tt.path+"?mail="+personal, strings.NewReader(personal), "X-Request-ID", "id-1", "User-Agent", personal)
			var line struct {
				Level, Msg, Method, Route, RequestID, Error string
				Status                                      int
				Took                                        string
			}
			if err := json.Unmarshal(log.Bytes(), &line); err != nil {
				t.Fatalf("%s: %v", &log, err)
			}
			method := tt.method
			if name == "unknown method" {
				method = "other"
			}
			if line.Level != tt.level || line.Msg != "request" || line.Method != method || line.Route != tt.route ||
				line.RequestID != "id-1" || line.Status != tt.status || line.Took == "" {
				t.Errorf("logged %s", &log)
			}
			if !strings.Contains(line.Error, tt.says) || (tt.says == "") != (line.Error == "") {
				t.Errorf("logged error %q", line.Error)
			}
			if strings.Contains(log.String(), personal) || strings.Contains(log.String(), "ADA") {
				t.Errorf("logged %s", &log)
			}
		})
	}
}

func TestAPanicIsAnsweredAndLogged(t *testing.T) {
	var log bytes.Buffer
	d := httpdoor.New(httpdoor.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	d.Handle(http.MethodGet, "/", httpdoor.Open, func(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
		panic("out of range")
	})
	got := call(t, d, http.MethodGet, "/", nil, "X-Request-ID", "id-1")
	if p := got.problem(t); p.Status != 500 || strings.Contains(p.Detail, "range") || !strings.Contains(p.Detail, "id-1") {
		t.Errorf("%+v", p)
	}
	for _, want := range []string{"level=ERROR", "out of range", "problem_test.go"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no %q in %s", want, &log)
		}
	}
}

func TestHalfAnAnswerIsCutOff(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Mount("/", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic("the other half is missing")
	}))
	server := httptest.NewServer(d)
	defer server.Close()
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	answer, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	if body, err := io.ReadAll(answer.Body); err == nil {
		t.Errorf("read %q as a whole", body)
	}
}

func TestRequestsAreMeasuredByRoute(t *testing.T) {
	registry := prometheus.NewRegistry()
	options := httpdoor.Options{Name: "one", Registerer: registry, Gatherer: registry}
	one := httpdoor.New(options)
	options.Name = "two"
	two := httpdoor.New(options)
	for _, d := range []*httpdoor.Door{one, two} {
		d.Handle(http.MethodGet, "/things/{id}", httpdoor.Open, ok)
		d.Health()
	}
	call(t, one, http.MethodGet, "/things/1", nil)
	call(t, one, http.MethodGet, "/things/2", nil)
	call(t, one, "ODD", "/nothing", nil)
	call(t, two, http.MethodGet, "/things/1", nil)
	got := call(t, one, http.MethodGet, "/metrics", nil)
	for _, want := range []string{
		`closeloop_http_request_duration_seconds_count{door="one",method="GET",route="/things/{id}",status="200"} 2`,
		`closeloop_http_request_duration_seconds_count{door="one",method="other",route="unmatched",status="404"} 1`,
		`closeloop_http_request_duration_seconds_count{door="two",method="GET",route="/things/{id}",status="200"} 1`,
	} {
		if !strings.Contains(got.Body.String(), want) {
			t.Errorf("no %s in\n%s", want, got.Body)
		}
	}
}
