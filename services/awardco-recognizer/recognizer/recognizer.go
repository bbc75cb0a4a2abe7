// Package recognizer is the service awardco-recognizer: requests for recognition in, recognitions in Awardco out, one
// for each response.
package recognizer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
)

// States of a submitted recognition.
const (
	submitted       = "SUBMITTED"
	pendingApproval = "PENDING_APPROVAL"
)

// Settings of awardco-recognizer.
type Settings struct {
	service.Common
	Fields    httpdoor.FieldSettings
	BaseURL   string          `envconfig:"AWARDCO_BASE_URL" required:"true" desc:"Awardco's API; ends in /api"`
	APIKey    settings.Secret `envconfig:"AWARDCO_API_KEY" required:"true" desc:"key of the header apikey"`
	Program   string          `envconfig:"AWARDCO_PROGRAM" desc:"recognition programme of requests that name none"`
	Giver     string          `envconfig:"AWARDCO_GIVER" desc:"employee id or e-mail address of the giver; default: the company's recognition bot"`
	Budget    string          `envconfig:"AWARDCO_BUDGET" desc:"budget of recognitions with an amount"`
	Public    bool            `envconfig:"AWARDCO_PUBLIC" default:"true" desc:"whether recognitions are public"`
	Approval  bool            `envconfig:"AWARDCO_APPROVAL" default:"false" desc:"whether a person approves the programme's recognitions; they are then reported as PENDING_APPROVAL"`
	TrustFeed bool            `envconfig:"AWARDCO_TRUST_FEED" default:"false" desc:"whether a recognition that the feed does not show was not made, so that a lost answer may be sent again; otherwise it waits for a person"`
	PerMinute int             `envconfig:"AWARDCO_PER_MINUTE" default:"300" desc:"calls per minute of this replica (none is published; 5 a second is safe)"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	if s.BaseURL != "" && !strings.HasSuffix(strings.TrimSuffix(s.BaseURL, "/"), "/api") {
		return errors.New("AWARDCO_BASE_URL must end in /api") // elsewhere every recognition would be refused with 404
	}
	return nil
}

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.AwardcoRecognizer,
		Doc: "Takes recognition.requested, submits one recognition a response to Awardco and publishes recognition.submitted. " +
			"POST /awardco/recognitions takes the same from a Qualtrics workflow.",
		Settings: s,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

func start(h *service.Host, s *Settings) error {
	calls, err := outbound.New(outbound.Options{
		Vendor: "awardco", BaseURL: s.BaseURL, PerMinute: s.PerMinute, Registerer: h.Metrics, Log: h.Log,
	})
	if err != nil {
		return fmt.Errorf("AWARDCO_BASE_URL: %w", err)
	}
	outcomes, err := h.Outcomes()
	if err != nil {
		return err
	}
	fields, err := s.Fields.Load()
	if err != nil {
		return err
	}
	rec := &recognizer{settings: s, bus: h.Bus, ledger: h.Ledger(), awardco: awardco.New(calls, s.APIKey.Reveal())}
	accepting := &accept.Events{Source: h.Name, Bus: h.Bus, Outcomes: outcomes, Known: rec.known, Ledger: rec.ledger, Effect: effectOf}
	const route = "/awardco/recognitions"
	h.Door.Handle(http.MethodPost, route, httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		m := &eventsv1.RecognitionRequested{}
		if err := httpdoor.Decode(r, m, fields[route]); err != nil {
			return nil, err
		}
		if _, err := recipient(m); err != nil {
			return nil, err
		}
		return accepting.One(ctx, r, subjects.RecognitionRequested, m)
	})
	h.Handle(bus.Consumer{Handle: rec.handle, Parallel: 4})
	return nil
}

type recognizer struct {
	settings *Settings
	bus      *bus.Bus
	ledger   *effect.Ledger
	awardco  *awardco.Client
}

func (r *recognizer) handle(ctx context.Context, e event.Event) error {
	m, ok := e.Data.(*eventsv1.RecognitionRequested)
	if !ok {
		return fault.New(fault.Invalid, "%s does not ask for a recognition", e.Type)
	}
	recognition, err := r.recognition(m)
	if err != nil {
		return err
	}
	done, err := effect.Do(ctx, r.ledger, effect.Recognition(m.GetResponseId()), e,
		func(ctx context.Context, run *effect.Run) (awardco.Submitted, error) {
			return effect.Step(ctx, run, "recognition", r.submit(recognition))
		})
	if err != nil {
		return err
	}
	return r.bus.Follow(ctx, e.InLoop(done.LoopID), subjects.RecognitionSubmitted, r.submitted(m, done.Result))
}

// submit makes the recognition. An award is hard to take back: one whose answer was lost, and which the feed does not
// show after a while either, waits for a person.
func (r *recognizer) submit(recognition awardco.Recognition) effect.Write[awardco.Submitted] {
	sought := false
	return effect.Write[awardco.Submitted]{
		Probe: func(ctx context.Context) (awardco.Submitted, bool, error) {
			sought = true
			return r.awardco.Find(ctx, recognition.Reference)
		},
		Send: func(ctx context.Context) (awardco.Submitted, error) {
			if sought && !r.settings.TrustFeed {
				return awardco.Submitted{}, fault.New(fault.Person,
					"the answer to the recognition was lost and the feed does not show it: look for the tag %s in Awardco before replaying",
					awardco.Tag(recognition.Reference))
			}
			return r.awardco.Submit(ctx, recognition)
		},
	}
}

func (r *recognizer) recognition(m *eventsv1.RecognitionRequested) (awardco.Recognition, error) {
	to, err := recipient(m)
	if err != nil {
		return awardco.Recognition{}, err
	}
	program := m.GetProgram()
	if program == "" {
		program = r.settings.Program
	}
	if program == "" {
		return awardco.Recognition{}, fault.At("program", "is empty and AWARDCO_PROGRAM is not set")
	}
	return awardco.Recognition{
		Reference: m.GetResponseId(), Recipient: to, Giver: r.settings.Giver, Note: m.GetNote(), Program: program,
		Amount: int64(m.GetAmount()), Budget: r.budget(m), Public: r.settings.Public,
	}, nil
}

// budget is only sent with an amount (awardco.md §3.1).
func (r *recognizer) budget(m *eventsv1.RecognitionRequested) string {
	if m.GetAmount() == 0 {
		return ""
	}
	return r.settings.Budget
}

// recipient is the employee id, else the e-mail address; a name alone could reward somebody else (awardco.md §6).
func recipient(m *eventsv1.RecognitionRequested) (string, error) {
	switch to := m.GetRecipient(); {
	case to.GetEmployeeId() != "":
		return to.GetEmployeeId(), nil
	case to.GetEmail() != "":
		return to.GetEmail(), nil
	}
	f := fault.New(fault.Person, "needs employeeId or email: a name alone is never enough to recognise somebody")
	f.Field = "recipient"
	return "", f
}

func (r *recognizer) submitted(m *eventsv1.RecognitionRequested, s awardco.Submitted) *eventsv1.RecognitionSubmitted {
	state := submitted
	if r.settings.Approval {
		state = pendingApproval
	}
	return &eventsv1.RecognitionSubmitted{ResponseId: m.GetResponseId(), RecognitionId: s.ID, State: state}
}

// effectOf names the recognition that a request asks for.
func effectOf(m proto.Message) effect.Key {
	wanted, _ := m.(*eventsv1.RecognitionRequested)
	return effect.Recognition(wanted.GetResponseId())
}

// known gives the recognition of a response that has one.
func (r *recognizer) known(ctx context.Context, m proto.Message) (proto.Message, bool) {
	wanted, ok := m.(*eventsv1.RecognitionRequested)
	if !ok {
		return nil, false
	}
	result, ok := effect.Outcome[awardco.Submitted](ctx, r.ledger, effect.Recognition(wanted.GetResponseId()))
	return r.submitted(wanted, result), ok
}
