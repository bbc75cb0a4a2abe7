// Package recognizer is the service awardco-recognizer: requests for recognition in, recognitions in Awardco out, one
// for each response; and what Awardco tells about them later.
package recognizer

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/quota"
	"github.com/closeloop/closeloop/pkg/service"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recipients"
)

const vendor = "awardco"

// States of a submitted recognition.
const (
	submitted       = "SUBMITTED"
	pendingApproval = "PENDING_APPROVAL"
)

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.AwardcoRecognizer,
		Doc: "Takes recognition.requested, submits one recognition a response to Awardco and publishes recognition.submitted. " +
			"POST /awardco/recognitions takes the same from a Qualtrics workflow. POST /awardco/webhooks takes Awardco's decisions and " +
			"publishes recognition.approved or recognition.declined.",
		Settings: s,
		Start:    func(ctx context.Context, h *service.Host) error { return start(ctx, h, s) },
	}
}

func start(ctx context.Context, h *service.Host, s *Settings) error {
	rec := &recognizer{settings: s, bus: h.Bus, ledger: h.Ledger(), log: h.Log}
	rec.decisions = &decisions{source: h.Name, publish: h.Bus, ledger: rec.ledger}
	rec.points = &points{ledger: rec.ledger, perDay: s.MaxPerDay, now: time.Now, log: h.Log}
	if err := rec.connect(h); err != nil {
		return err
	}
	var err error
	if rec.recipients, err = rec.resolver(ctx, h); err != nil {
		return err
	}
	if err := rec.requestDoor(h); err != nil {
		return err
	}
	if err := webhookDoor(h, s, rec.decisions); err != nil {
		return err
	}
	h.Handle(bus.Consumer{Handle: rec.handle, Parallel: 4, Vendors: []bus.Vendor{{Name: vendor, Reach: rec.reach()}}})
	return nil
}

// reach is how to find out whether Awardco is back; its intake has nothing that could be asked.
func (r *recognizer) reach() func(context.Context) error {
	if r.settings.Mode == modeExternal {
		return nil
	}
	return r.awardco.Reach
}

type recognizer struct {
	settings   *Settings
	bus        *bus.Bus
	ledger     *effect.Ledger
	points     *points
	decisions  *decisions
	recipients recipients.Resolver
	log        *slog.Logger
	// awardco is nil where only the intake is used.
	awardco *awardco.Client
	submit  func(context.Context, awardco.Recognition) (awardco.Submitted, error)
}

// connect makes the clients of Awardco's API and of its intake, within limits that hold for the fleet.
func (r *recognizer) connect(h *service.Host) error {
	s := r.settings
	options := outbound.Options{
		Vendor: vendor, BaseURL: s.BaseURL, Parallel: s.Parallel, Registerer: h.Metrics, Log: h.Log,
		Limiter: h.Limiter(vendor, quota.Limits{PerMinute: s.PerMinute, Parallel: s.Parallel}),
	}
	if s.needsAPI() {
		calls, err := outbound.New(options)
		if err != nil {
			return fmt.Errorf("AWARDCO_BASE_URL: %w", err)
		}
		base, err := url.Parse(s.BaseURL)
		if err != nil {
			return fmt.Errorf("AWARDCO_BASE_URL: %w", err)
		}
		r.awardco = awardco.New(calls, base, s.APIKey)
	}
	if s.Mode != modeExternal {
		r.submit = r.awardco.Submit
		return nil
	}
	host, err := awardco.IntakeHost(s.IntakeURL.Reveal())
	if err != nil {
		return fmt.Errorf("AWARDCO_INTAKE_URL %w", err)
	}
	s.IntakeURL.Accept(func(address string) error { _, err := awardco.IntakeHost(address); return err })
	options.BaseURL = host
	calls, err := outbound.New(options)
	if err != nil {
		return fmt.Errorf("AWARDCO_INTAKE_URL: %w", err)
	}
	key := awardco.IntakeKey{Header: s.IntakeKeyHeader, Value: s.IntakeKey}
	intake, err := awardco.NewIntake(calls, s.IntakeURL, key, s.IntakeFields)
	if err != nil {
		return fmt.Errorf("AWARDCO_INTAKE_FIELDS: %w", err)
	}
	r.submit = intake.Submit
	return nil
}

func (r *recognizer) resolver(ctx context.Context, h *service.Host) (recipients.Resolver, error) {
	switch r.settings.directory() {
	case directoryFile:
		file, err := recipients.OpenFile(r.settings.DirectoryFile, h.Log)
		if err != nil {
			return nil, fmt.Errorf("AWARDCO_DIRECTORY_FILE: %w", err)
		}
		return file, nil
	case directoryUsers:
		return recipients.NewList(ctx, r.users, r.settings.UsersRefresh, h.Log), nil
	}
	return recipients.AsGiven{}, nil
}

func (r *recognizer) users(ctx context.Context) ([]recipients.Person, error) {
	users, err := r.awardco.Users(ctx)
	people := make([]recipients.Person, len(users))
	for i, u := range users {
		people[i] = recipients.Person(u)
	}
	return people, err
}

// requestDoor takes requests. A name alone is taken too: it becomes a dead letter, where somebody finds out who is
// meant, instead of being lost with whoever called.
func (r *recognizer) requestDoor(h *service.Host) error {
	outcomes, err := h.Outcomes()
	if err != nil {
		return err
	}
	fields, err := r.settings.Fields.Load()
	if err != nil {
		return err
	}
	accepting := &accept.Events{Source: h.Name, Bus: h.Bus, Outcomes: outcomes, Known: r.known, Ledger: r.ledger, Effect: effectOf}
	const route = "/awardco/recognitions"
	h.Door.Handle(http.MethodPost, route, httpdoor.Guarded, func(ctx context.Context, q *httpdoor.Request) (*httpdoor.Response, error) {
		m := &eventsv1.RecognitionRequested{}
		if err := httpdoor.Decode(q, m, fields[route]); err != nil {
			return nil, err
		}
		if identityOf(m).Empty() {
			const needed = "needs employeeId, email or username"
			return nil, httpdoor.Unprocessable("it says nobody", httpdoor.FieldError{Field: "recipient", Message: needed})
		}
		return accepting.One(ctx, q, subjects.RecognitionRequested, m)
	})
	return nil
}

func (r *recognizer) handle(ctx context.Context, e event.Event) error {
	m, ok := e.Data.(*eventsv1.RecognitionRequested)
	if !ok {
		return fault.New(fault.Invalid, "%s does not ask for a recognition", e.Type)
	}
	a := &attempt{recognizer: r, request: m, at: e.Time}
	done, err := effect.Do(ctx, r.ledger, effect.Recognition(m.GetResponseId()), e, a.run)
	if a.held != nil {
		return a.held
	}
	if err != nil {
		return err
	}
	if err := r.bus.Follow(ctx, e.InLoop(done.LoopID), subjects.RecognitionSubmitted, r.submitted(m, done.Result)); err != nil {
		return err
	}
	// Last, so that the loop tells first that it was submitted, then what was decided.
	return r.decisions.catchUp(ctx, done.Result.ID, indexed{m.GetResponseId(), done.LoopID})
}

// attempt is one try at a recognition.
type attempt struct {
	*recognizer
	request *eventsv1.RecognitionRequested
	at      time.Time
	// sought: an earlier try has sent it, got no answer, and it was not found since. absent: it would have been, had it been
	// made.
	sought, absent bool
	// sentAt is when an earlier try sent it, or gave its answer up, and sent what that was.
	sentAt time.Time
	sent   sent
	// held is why it was not sent, for a person to decide.
	held     *fault.Fault
	reserved *reservation
}

func (a *attempt) run(ctx context.Context, run *effect.Run) (awardco.Submitted, error) {
	const step, as = "recognition", "as"
	a.sentAt = run.SentAt(step)
	if a.sent, _ = effect.Marked[sent](run, as); !run.Begun(step) {
		a.sent = a.describe()
		if err := effect.Mark(ctx, run, as, a.sent); err != nil {
			return awardco.Submitted{}, err
		}
	}
	s, err := effect.Step(ctx, run, step, effect.Write[awardco.Submitted]{
		Send:  a.send,
		Probe: a.probe,
	})
	if err != nil {
		return s, err
	}
	a.reserved.spent(ctx)
	return s, index(ctx, a.ledger, s.ID, indexed{a.request.GetResponseId(), run.LoopID()})
}

// send makes the recognition. An award is hard to take back: one whose answer was lost, and which nothing shows after a
// while either, waits for a person, unless it is clear that it was not made.
func (a *attempt) send(ctx context.Context) (awardco.Submitted, error) {
	if a.sought && !a.absent && !a.settings.TrustFeed {
		return awardco.Submitted{}, fault.New(fault.Person,
			"the answer to the recognition was lost and nothing shows it was made: look for %s in Awardco before replaying",
			awardco.Tag(a.request.GetResponseId()))
	}
	rec, err := a.prepare(ctx, a.request)
	if err == nil && rec.Amount > 0 {
		a.reserved, err = a.points.reserve(ctx, rec.Reference, rec.Amount)
	}
	if err != nil {
		return awardco.Submitted{}, a.hold(err)
	}
	begun := time.Now()
	s, err := a.submit(ctx, rec)
	switch {
	case err == nil:
		a.noteConfirmed(ctx, a.sent.Kind, begun)
	case fault.Is(err, fault.Refused):
		a.reserved.giveBack(ctx)
	}
	return s, err
}

// hold keeps an error of before anything was sent. To the ledger what a person must decide is a refusal, since nothing
// was done, and a mended request begins anew.
func (a *attempt) hold(err error) error {
	f := *fault.From(err)
	if f.Class == fault.Person {
		held := f
		a.held, f.Class = &held, fault.Refused
	}
	return &f
}

// probe looks for what an earlier try has sent: in what Awardco told by itself, then where the settings say.
func (a *attempt) probe(ctx context.Context) (awardco.Submitted, bool, error) {
	a.sought = true
	reference := a.request.GetResponseId()
	told, ok, err := effect.Kept[heard](ctx, a.ledger, effect.RecognitionHeard(reference))
	if err != nil || ok {
		return awardco.Submitted{ID: told.RecognitionID}, ok, err
	}
	switch a.settings.readBack() {
	case readFeed:
		return a.findInFeed(ctx)
	case readReport:
		const early = 7 * 24 * time.Hour // the event may be a later copy of the one that was sent
		return a.awardco.FindInReport(ctx, reference, a.at.Add(-early))
	}
	return awardco.Submitted{}, false, nil
}

func (r *recognizer) submitted(m *eventsv1.RecognitionRequested, s awardco.Submitted) *eventsv1.RecognitionSubmitted {
	state := submitted
	if r.settings.Approval || r.settings.Mode == modeExternal {
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
