// Package router is the service feedback-router: it fetches the answer where only its id came, and applies the rules.
package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/rules"
	"github.com/closeloop/closeloop/pkg/service"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// Settings of feedback-router.
type Settings struct {
	service.Common
	qualtrics.Settings
	RulesFile      string        `envconfig:"RULES_FILE" desc:"YAML file of rules; default: the two rules that come with closeloop"`
	RulesInterval  time.Duration `envconfig:"RULES_INTERVAL" default:"2s" desc:"how often the file is looked at for changes"`
	RequestIDField string        `envconfig:"QUALTRICS_REQUEST_FIELD" default:"requestId" desc:"value of an answer that holds the request id of its invitation"`
	LoopIDField    string        `envconfig:"QUALTRICS_LOOP_FIELD" default:"loopId" desc:"value of an answer that holds its loop id"`
	Statuses       []int         `envconfig:"QUALTRICS_RESPONSE_STATUSES" default:"0" desc:"statuses of responses that are a customer's answer, separated by commas; the others (1 preview, 2 test, 4 imported, 8 spam, 16 offline) are ignored"`
	Sweep          SweepSettings
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	if s.RulesInterval <= 0 {
		return fmt.Errorf("RULES_INTERVAL must be above 0")
	}
	if s.RulesFile == "" {
		return nil
	}
	source, err := os.ReadFile(s.RulesFile)
	if err == nil {
		_, err = rules.Parse(s.RulesFile, source)
	}
	if err != nil {
		return fmt.Errorf("RULES_FILE: %w", err)
	}
	return nil
}

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.FeedbackRouter,
		Doc: "Takes survey.response.notified, fetches the answer from Qualtrics and publishes survey.response.received; takes that, " +
			"applies the rules of RULES_FILE, and publishes what they say: feedback.* and recognition.requested.",
		Settings: s,
		Start:    func(ctx context.Context, h *service.Host) error { return start(ctx, h, s) },
	}
}

func start(ctx context.Context, h *service.Host, s *Settings) error {
	client, err := s.Client(qualtrics.ClientOptions{Limiter: h.Limiter(qualtrics.Vendor, s.Limits()), Registerer: h.Metrics, Log: h.Log})
	if err != nil {
		return err
	}
	live, err := rules.Watch(ctx, s.RulesFile, s.RulesInterval, h.Log)
	if err != nil {
		return fmt.Errorf("RULES_FILE: %w", err)
	}
	startup, err := client.Startup(h.Log, h.Metrics)
	if err != nil {
		return err
	}
	h.Door.AddCheck(h.Name+" Qualtrics", nil, startup.Ready)
	h.Go("Qualtrics start-up", startup.Run)
	r := &router{settings: s, bus: h.Bus, ledger: h.Ledger(), qualtrics: client, rules: live, log: h.Log}
	h.Go("rules in force", r.tellRules)
	if s.Sweep.Interval > 0 {
		r.sweep = newSweeper(r, h.Metrics)
		h.Go("sweep", func(ctx context.Context) error {
			if _, err := startup.Wait(ctx); err != nil { // stopped before Qualtrics let us in
				return nil
			}
			return r.sweep.run(ctx)
		})
	}
	// Answers that came whole need no vendor: they go on while Qualtrics is out.
	h.Handle(bus.Consumer{Handle: r.handle, Vendors: []bus.Vendor{
		{Name: qualtrics.Vendor, Types: []string{subjects.SurveyResponseNotified}, Reach: client.Reach},
	}})
	return nil
}

func (r *router) handle(ctx context.Context, e event.Event) error {
	switch m := e.Data.(type) {
	case *eventsv1.SurveyResponseNotified:
		r.sweep.saw(ctx, m.GetSurveyId())
		return r.fetch(ctx, e, m)
	case *eventsv1.SurveyResponseReceived:
		r.sweep.saw(ctx, m.GetSurveyId())
		return r.apply(ctx, e, m)
	}
	return fault.New(fault.Invalid, "%s is not an answer", e.Type)
}

// apply publishes what the rules say, each rule at most once for a response.
func (r *router) apply(ctx context.Context, e event.Event, m *eventsv1.SurveyResponseReceived) error {
	if err := r.noteReceived(ctx, e, m); err != nil {
		return err
	}
	set, status := r.rules.InForce()
	outcomes := set.Evaluate(m)
	for _, outcome := range outcomes {
		activity.Decided(ctx, decisionOf(outcome, status.Hash))
	}
	var errs []error
	for _, outcome := range outcomes {
		switch {
		case outcome.Err != nil:
			errs = append(errs, outcome.Err)
		case outcome.Matched:
			errs = append(errs, r.publish(ctx, e, m, outcome))
		}
	}
	return worst(errs)
}

// publish says what one rule says, unless it has said so before.
func (r *router) publish(ctx context.Context, e event.Event, m *eventsv1.SurveyResponseReceived, o rules.Outcome) error {
	_, err := effect.Do(ctx, r.ledger, effect.Rule(m.GetResponseId(), o.Rule), e, func(ctx context.Context, _ *effect.Run) (published, error) {
		follows, err := event.After(e, topology.FeedbackRouter, o.Subject, o.Message)
		if err != nil {
			return published{}, err
		}
		follows = follows.Distinct(o.Rule) // two rules may publish to one subject
		return published{EventID: follows.ID}, r.bus.Emit(ctx, follows)
	})
	return err
}

// published is what the ledger keeps about an event that was published once.
type published struct {
	EventID string `json:"eventId"`
}

// worst gives the error that decides what happens to the event: one that may pass goes before one that never will, so
// that a rule that was stopped by a passing fault gets its turn before the event ends in the dead letters.
func worst(errs []error) error {
	joined := errors.Join(errs...)
	if joined == nil {
		return nil
	}
	for _, err := range errs {
		if err != nil && !fault.From(err).Class.Final() {
			return err
		}
	}
	return joined
}
