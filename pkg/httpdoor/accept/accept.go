// Package accept turns what came in through a door into durable events, and answers only then: 202 once JetStream has
// acknowledged, or with Prefer: wait=N the outcome, where it is known within N seconds.
package accept

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/tracing"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// Receipt is the answer to accepted work.
type Receipt struct {
	// ID of the event, the same for every repeat of the request.
	ID string `json:"id"`
	// LoopID of the loop that it belongs to.
	LoopID string `json:"loopId"`
}

// Publisher stores events durably before it returns. [bus.Bus] is one.
type Publisher interface {
	Publish(ctx context.Context, e event.Event) (duplicate bool, err error)
}

// Events is one service's way of accepting.
type Events struct {
	// Source of the events: the service's name.
	Source string
	Bus    Publisher
	// Outcomes answer callers who wait; nil means that waiting is not offered and Prefer is ignored.
	Outcomes *bus.Outcomes
	// Known gives the outcome of work that was done before, so that nobody waits for an event that will not come again.
	// Optional.
	Known func(ctx context.Context, m proto.Message) (proto.Message, bool)
	// Ledger and Effect tell a request that was refused, and may be sent again, from one that is under way. Optional.
	Ledger *effect.Ledger
	Effect func(m proto.Message) effect.Key
}

// parallel publishes of one request: JetStream acknowledges concurrent ones far faster than one after another.
const parallel = 64

// One accepts one message for a subject.
func (a *Events) One(ctx context.Context, r *httpdoor.Request, subject string, m proto.Message) (*httpdoor.Response, error) {
	results, err := a.all(ctx, r, subject, []proto.Message{m})
	if err != nil {
		return nil, err
	}
	return results[0].response()
}

// Many accepts a list of messages for a subject. The answer lists one receipt or outcome for each, in their order; it
// is 201 when every outcome is known, else 202.
func Many[M proto.Message](ctx context.Context, a *Events, r *httpdoor.Request, subject string, ms []M) (*httpdoor.Response, error) {
	messages := make([]proto.Message, len(ms))
	for i, m := range ms {
		messages[i] = m
	}
	results, err := a.all(ctx, r, subject, messages)
	if err != nil {
		return nil, err
	}
	status := http.StatusCreated
	bodies := make([]any, len(results))
	for i, result := range results {
		if result.outcome == nil {
			status, bodies[i] = http.StatusAccepted, result.body()
			continue
		}
		content, err := contract.Marshal(result.outcome) // encoding/json would write it its own way
		if err != nil {
			return nil, err
		}
		bodies[i] = json.RawMessage(content)
	}
	return &httpdoor.Response{Status: status, Body: bodies}, nil
}

// Store publishes events and gives their receipts; either all are stored or the error says that the request is to be
// repeated, which is harmless.
func (a *Events) Store(ctx context.Context, events []event.Event) ([]Receipt, error) {
	receipts := make([]Receipt, len(events))
	if slices.ContainsFunc(events, func(e event.Event) bool { return e.LoopID != events[0].LoopID }) {
		tracing.Many(ctx)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallel)
	for i, e := range events {
		group.Go(func() error {
			receipts[i] = Receipt{ID: e.ID, LoopID: e.LoopID}
			_, err := a.Bus.Publish(ctx, e)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, Refusal(err)
	}
	return receipts, nil
}

// Refusal makes an answer of why an event could not be stored.
func Refusal(err error) error {
	if fault.Is(err, fault.Invalid) {
		return err
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		return httpdoor.NewProblem(http.StatusRequestEntityTooLarge, "the event is larger than the broker takes")
	}
	if errors.Is(err, bus.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return httpdoor.Unavailable("the event could not be confirmed as stored; sending it again is safe", 5*time.Second)
	}
	return err
}

// Trace gives the event the trace of the caller.
func Trace(e event.Event, r *httpdoor.Request) event.Event {
	e.TraceParent, e.TraceState = r.Header.Get("Traceparent"), r.Header.Get("Tracestate")
	return e
}

func (a *Events) all(ctx context.Context, r *httpdoor.Request, subject string, ms []proto.Message) ([]result, error) {
	results := make([]result, len(ms))
	events := make([]event.Event, len(ms))
	for i, m := range ms {
		e, err := event.New(a.Source, subject, m)
		if err != nil {
			return nil, err
		}
		if events[i], err = a.again(ctx, Trace(e, r).AsSaid()); err != nil {
			return nil, err
		}
		results[i] = result{message: m, receipt: Receipt{ID: e.ID, LoopID: e.LoopID}}
	}
	if r.Wait() <= 0 || a.Outcomes == nil {
		_, err := a.Store(ctx, events)
		return results, err
	}
	return results, a.await(ctx, r, results, events)
}

// again lets a request that was refused be handled once more, even when it says the same: the vendor's side may have
// been mended, and JetStream would take it for a repeat of the first. One whose person was forgotten is refused: to store it
// would keep what nobody will ever use.
func (a *Events) again(ctx context.Context, e event.Event) (event.Event, error) {
	if a.Ledger == nil || a.Effect == nil {
		return e, nil
	}
	record, err := a.Ledger.Look(ctx, a.Effect(e.Data))
	switch {
	case err != nil:
		return e, nil // the ledger is asked again before anything is done
	case record.State == effect.Erased:
		return e, httpdoor.Gone("this was asked for before, for a person who was forgotten: nothing is done under the same id again")
	case record.State == effect.Rejected:
		return e.Again(record.Changed), nil
	}
	return e, nil
}

// await stores what is not known yet, and waits for its outcome.
func (a *Events) await(ctx context.Context, r *httpdoor.Request, results []result, events []event.Event) error {
	var unknown []event.Event
	var waits []func(context.Context)
	for i := range results {
		if a.look(ctx, &results[i]) {
			continue
		}
		unknown = append(unknown, events[i])
		hear := a.Outcomes.Expect(events[i].LoopID) // before publishing, so that nothing is missed
		waits = append(waits, func(ctx context.Context) {
			if outcome, heard := hear(ctx); heard {
				results[i].take(outcome)
			}
		})
	}
	_, err := a.Store(ctx, unknown)
	until, cancel := r.Waiting(ctx)
	defer cancel()
	if err != nil {
		cancel() // nothing to wait for; the listeners below still have to be given back
	}
	for _, wait := range waits {
		wait(until)
	}
	for i := range results {
		a.look(ctx, &results[i]) // the outcome may have been told to another loop, which asked for it first
	}
	return err
}

// look finds the outcome of work that is done already, and tells whether there is one.
func (a *Events) look(ctx context.Context, r *result) bool {
	if a.Known == nil || r.outcome != nil || r.problem != nil {
		return r.outcome != nil
	}
	if known, ok := a.Known(ctx, r.message); ok {
		r.outcome = known
	}
	return r.outcome != nil
}

type result struct {
	message proto.Message
	receipt Receipt
	outcome proto.Message
	problem *httpdoor.Problem
}

func (r *result) take(o bus.Outcome) {
	switch {
	case !o.Dead:
		r.outcome = o.Event.Data
	case o.Field == "":
		r.problem = httpdoor.Unprocessable(o.Reason)
	default:
		r.problem = httpdoor.Unprocessable(o.Reason, httpdoor.FieldError{Field: o.Field, Message: o.Reason})
	}
}

func (r *result) response() (*httpdoor.Response, error) {
	if r.problem != nil {
		return nil, r.problem
	}
	status := http.StatusAccepted
	if r.outcome != nil {
		status = http.StatusCreated
		if r.outcome.ProtoReflect().Descriptor() == suppressed {
			status = http.StatusOK // known, but nothing was made
		}
	}
	return &httpdoor.Response{Status: status, Body: r.body()}, nil
}

func (r *result) body() any {
	switch {
	case r.problem != nil:
		return r.problem
	case r.outcome != nil:
		return r.outcome
	}
	return r.receipt
}

var suppressed = func() any {
	c, _ := subjects.Find(subjects.SurveyLinkSuppressed)
	return c.New().ProtoReflect().Descriptor()
}()
