// Package servicetest runs a service as its binary would, settings from the environment included, on an embedded broker
// and against stand-ins for its vendors. Tests see no more of it than its callers, its vendors and the broker do.
package servicetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Env are settings by variable.
type Env map[string]string

// Service is a running service.
type Service struct {
	// URL of its door.
	URL string

	t      testing.TB
	name   string
	broker *bustest.Broker
	log    *buffer
	stop   context.CancelFunc
	ended  chan error
	once   sync.Once
}

// Start starts the service and waits until it is ready; it ends with the test. Its door is open to everybody unless env
// has INGRESS_ variables of its own.
func Start(t testing.TB, broker *bustest.Broker, define func() service.Definition, env Env) *Service {
	t.Helper()
	env = maps.Clone(env)
	if env == nil {
		env = Env{}
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(env)), func(name string) bool {
		return strings.HasPrefix(name, "INGRESS_")
	}) {
		env["INGRESS_AUTH"] = "none"
	}
	d, common := define(), &service.Common{}
	maps.Copy(env, broker.Env(d.Name))
	if err := Load(env, d.Settings, common); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &Service{
		URL: "http://" + listener.Addr().String(), t: t, name: d.Name, broker: broker,
		log: &buffer{}, stop: stop, ended: make(chan error, 1),
	}
	log := slog.New(slog.NewJSONHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		s.ended <- service.RunAll(ctx, log, service.Shared{Common: common, Listener: listener}, d)
	}()
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("log of %s:\n%s", s.name, s.Log())
		}
	})
	bustest.Eventually(t, s.name+" ready", func() bool {
		select {
		case err := <-s.ended:
			t.Fatalf("%s did not start: %v", s.name, err)
		default:
		}
		return s.Get("/readyz").Status == http.StatusOK
	})
	return s
}

// reading keeps tests that run at the same time from reading each other's variables.
var reading sync.Mutex

// Load reads settings as a process with exactly these variables among those of closeloop would. Unlike t.Setenv it
// works in parallel tests, because nothing but settings reads them.
func Load(env Env, into ...any) error {
	reading.Lock()
	defer reading.Unlock()
	var errs []error
	for name, value := range env {
		before, was := os.LookupEnv(name)
		errs = append(errs, os.Setenv(name, value))
		defer func() {
			if was {
				_ = os.Setenv(name, before)
			} else {
				_ = os.Unsetenv(name)
			}
		}()
	}
	for _, s := range into {
		errs = append(errs, settings.Load(s))
	}
	return errors.Join(errs...)
}

// Stop stops the service as SIGTERM does and waits until it has drained.
func (s *Service) Stop() {
	s.once.Do(func() {
		s.stop()
		if err := <-s.ended; err != nil {
			s.t.Errorf("%s ended: %v", s.name, err)
		}
	})
}

// Log gives all that it has logged, a JSON object a line, debug included.
func (s *Service) Log() string { return s.log.String() }

// Answer is what its door answered.
type Answer struct {
	Status int
	Header http.Header
	Body   string
	t      testing.TB
}

// Get calls its door.
func (s *Service) Get(path string, header ...string) Answer {
	s.t.Helper()
	return s.Do(http.MethodGet, path, "", "", header...)
}

// Post sends JSON to its door.
func (s *Service) Post(path, body string, header ...string) Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, path, "application/json", body, header...)
}

// PostForm sends a form to its door, encoded already.
func (s *Service) PostForm(path, body string, header ...string) Answer {
	s.t.Helper()
	return s.Do(http.MethodPost, path, "application/x-www-form-urlencoded", body, header...)
}

// Do calls its door. Headers are name, value, name, value.
func (s *Service) Do(method, path, contentType, body string, header ...string) Answer {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Body: string(content), t: s.t}
}

// Want fails the test unless the answer has this status. It gives the answer.
func (a Answer) Want(status int) Answer {
	a.t.Helper()
	if a.Status != status {
		a.t.Fatalf("answered %d, want %d: %s", a.Status, status, a.Body)
	}
	return a
}

// JSON decodes the body.
func (a Answer) JSON(into any) {
	a.t.Helper()
	if err := json.Unmarshal([]byte(a.Body), into); err != nil {
		a.t.Fatalf("%v in %q", err, a.Body)
	}
}

// WantProblem fails the test unless the answer is a problem of this status that names each of the fields.
func (a Answer) WantProblem(status int, fields ...string) Answer {
	a.t.Helper()
	a.Want(status)
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		a.t.Errorf("content type %q, want application/problem+json", got)
	}
	var problem struct {
		Status int
		Detail string
		Errors []struct{ Field, Message string }
	}
	a.JSON(&problem)
	if problem.Status != status || problem.Detail == "" {
		a.t.Errorf("the problem does not say what is wrong: %s", a.Body)
	}
	for _, field := range fields {
		if !slices.ContainsFunc(problem.Errors, func(e struct{ Field, Message string }) bool { return e.Field == field && e.Message != "" }) {
			a.t.Errorf("the problem does not name %s: %s", field, a.Body)
		}
	}
	return a
}

// Published gives the events under a subject, once there are at least as many as wanted. It fails the test at once
// when something of this service ends in the dead letters instead.
func (s *Service) Published(subject string, wanted int) []event.Event {
	s.t.Helper()
	var events []event.Event
	bustest.Eventually(s.t, fmt.Sprintf("%d × %s", wanted, subject), func() bool {
		if dead := s.deadLetters(); len(dead) > 0 {
			s.t.Fatalf("a dead letter instead of %s: %+v", subject, dead[0])
		}
		events = Events(s.t, s.broker, subject)
		return len(events) >= wanted
	})
	return events
}

// Events gives what EVENTS holds under a subject.
func Events(t testing.TB, broker *bustest.Broker, subject string) []event.Event {
	t.Helper()
	var events []event.Event
	for _, m := range broker.Messages(topology.Events, subject) {
		e, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{Stream: topology.Events, Sequence: m.Sequence, Time: m.Time})
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		events = append(events, e)
	}
	return events
}

// DeadLetter is what waits for a person.
type DeadLetter struct {
	Reason, Class, Field, Rule, Subject, LoopID string
	Body                                        string
}

// Dead gives its dead letters, once there are at least as many as wanted.
func (s *Service) Dead(wanted int) []DeadLetter {
	s.t.Helper()
	var letters []DeadLetter
	bustest.Eventually(s.t, fmt.Sprintf("%d dead letters", wanted), func() bool {
		letters = s.deadLetters()
		return len(letters) >= wanted
	})
	return letters
}

func (s *Service) deadLetters() []DeadLetter {
	var letters []DeadLetter
	for _, m := range s.broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(s.name)) {
		letters = append(letters, DeadLetter{
			Reason: m.Header.Get(bus.HeaderReason), Class: m.Header.Get(bus.HeaderClass), Field: m.Header.Get(bus.HeaderField),
			Rule: m.Header.Get(bus.HeaderRule), Subject: m.Header.Get(bus.HeaderSubject), LoopID: m.Header.Get(bus.HeaderLoopID), Body: string(m.Data),
		})
	}
	return letters
}

// Told gives the rounds of work that the service told of, once as many events as wanted are told to be done.
func (s *Service) Told(wanted int) []activity.Attempt {
	s.t.Helper()
	var all []activity.Attempt
	bustest.Eventually(s.t, fmt.Sprintf("%d events told to be done", wanted), func() bool {
		all = nil
		done := 0
		for _, m := range s.broker.Messages(topology.Activity, topology.ActivitySubject(s.name, activity.KindAttempt)) {
			var a activity.Attempt
			if err := json.Unmarshal(m.Data, &a); err != nil {
				s.t.Fatal(err)
			}
			for _, e := range a.Events {
				if e.Outcome == activity.Done {
					done++
				}
			}
			all = append(all, a)
		}
		return done >= wanted
	})
	return all
}

// Settled waits until the service has nothing in hand, nothing before it and nothing held: what is counted then stays.
func (s *Service) Settled() {
	s.t.Helper()
	bustest.Eventually(s.t, s.name+" done with everything", func() bool {
		for _, stream := range []string{topology.Events, topology.Retries} {
			consumer, err := s.broker.JS.Consumer(s.t.Context(), stream, s.name)
			if err != nil {
				s.t.Fatal(err)
			}
			info := consumer.CachedInfo()
			// The count of what is pending lags behind what was published a moment ago; sequences do not.
			if info.NumPending > 0 || info.NumAckPending > 0 || info.Delivered.Stream < s.last(stream, info.Config) {
				return false
			}
		}
		return len(s.broker.Messages(topology.Retries, topology.HoldSubject(s.name, "*"))) == 0
	})
}

// last is the sequence of the newest message that a consumer is for, 0 if there is none.
func (s *Service) last(stream string, config jetstream.ConsumerConfig) (sequence uint64) {
	from, err := s.broker.JS.Stream(s.t.Context(), stream)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, filter := range append(config.FilterSubjects, config.FilterSubject) {
		if filter == "" {
			continue
		}
		newest, err := from.GetLastMsgForSubject(s.t.Context(), filter)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			s.t.Fatal(err)
		}
		sequence = max(sequence, newest.Sequence)
	}
	return sequence
}

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }
func (b *buffer) String() string              { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }
