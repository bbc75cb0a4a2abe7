// Package tasker is the service c4c-tasker: feedback in, tasks in SAP Sales Cloud out, one for each response.
package tasker

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/quota"
	"github.com/closeloop/closeloop/pkg/service"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
	"github.com/closeloop/closeloop/services/c4c-tasker/salescloud"
	"github.com/closeloop/closeloop/services/c4c-tasker/salescloud2"
)

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.C4CTasker,
		Doc: "Takes feedback.delivery_late (and what C4C_SUBJECTS in the topology adds), makes one task a response in SAP Sales Cloud " +
			"and publishes task.created. POST /c4c/task takes the same from a Qualtrics survey flow.",
		Settings: s,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

func start(h *service.Host, s *Settings) error {
	cloud, err := connect(h, s)
	if err != nil {
		return err
	}
	outcomes, err := h.Outcomes()
	if err != nil {
		return err
	}
	t := &tasker{settings: s, bus: h.Bus, ledger: h.Ledger(), cloud: cloud, log: h.Log}
	fields, err := s.Fields.Load()
	if err != nil {
		return err
	}
	accepting := &accept.Events{Source: h.Name, Bus: h.Bus, Outcomes: outcomes, Known: t.known, Ledger: t.ledger, Effect: effectOf}
	h.Door.Handle(http.MethodPost, "/c4c/task", httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		m := &eventsv1.FeedbackRaised{}
		if err := httpdoor.Decode(r, m, fields["/c4c/task"]); err != nil {
			return nil, err
		}
		if err := t.check(m); err != nil {
			return nil, err
		}
		return accepting.One(ctx, r, subjects.FeedbackDeliveryLate, m)
	})
	h.Go("settings", t.checkSettings)
	h.Handle(bus.Consumer{Handle: t.handle, Parallel: s.Parallel, Vendors: []bus.Vendor{{Name: salescloud.Vendor, Reach: cloud.Reach}}})
	return nil
}

// connect makes the client of the version that the settings name.
func connect(h *service.Host, s *Settings) (sales.Cloud, error) {
	calls, err := outbound.New(outbound.Options{
		Vendor: salescloud.Vendor, BaseURL: s.BaseURL, Parallel: s.Parallel, Registerer: h.Metrics, Log: h.Log,
		Limiter: h.Limiter(salescloud.Vendor, quota.Limits{Parallel: s.ParallelCalls, PerMinute: s.PerMinute}),
	})
	if err != nil {
		return nil, fmt.Errorf("C4C_BASE_URL: %w", err)
	}
	if s.Version == 2 {
		return salescloud2.New(calls, s.version2()), nil
	}
	session, err := odata.New(odata.Options{
		Outbound: calls, ServiceRoot: salescloud.ServiceRoot, Username: s.Username, Password: s.Password, NoCSRF: !s.V1.CSRF,
	})
	if err != nil {
		return nil, err
	}
	return salescloud.New(session, s.version1()), nil
}

type tasker struct {
	settings *Settings
	bus      *bus.Bus
	ledger   *effect.Ledger
	cloud    sales.Cloud
	log      *slog.Logger
}

// handle makes the task of one feedback event.
func (t *tasker) handle(ctx context.Context, e event.Event) error {
	feedback, ok := e.Data.(*eventsv1.FeedbackRaised)
	if !ok {
		return fault.New(fault.Invalid, "%s does not carry feedback, so no task can be made of it: check C4C_SUBJECTS", e.Type)
	}
	if err := t.check(feedback); err != nil {
		return err
	}
	task := t.task(key(e.Type, feedback.GetResponseId()), e.Time, feedback)
	done, err := effect.Do(ctx, t.ledger, key(e.Type, feedback.GetResponseId()), e,
		func(ctx context.Context, run *effect.Run) (sales.Created, error) { return t.make(ctx, run, task) })
	if t.dropped(err) {
		t.log.WarnContext(ctx, "no task for a guest", "loopId", e.LoopID, "eventId", e.ID, "reason", fault.From(err).Error())
		return nil
	}
	if err != nil {
		return t.decide(err)
	}
	return t.bus.Follow(ctx, e.InLoop(done.LoopID), subjects.TaskCreated, t.created(feedback, done.Result))
}

// key of the effect: one task a response. A subject that is not about late deliveries is another matter and gets a
// task of its own.
func key(subject, responseID string) effect.Key {
	matter := ""
	if subject != subjects.FeedbackDeliveryLate {
		matter = strings.TrimPrefix(subject, subjects.FeedbackPrefix)
	}
	return effect.Task(responseID, matter)
}

// check refuses what the event's contract cannot rule out and SAP Sales Cloud cannot take.
func (t *tasker) check(f *eventsv1.FeedbackRaised) error {
	if _, err := time.Parse(time.RFC3339, f.GetDueAt()); f.GetDueAt() != "" && err != nil {
		return fault.At("dueAt", "must be a time as in 2026-07-24T09:30:00Z")
	}
	return t.cloud.Vet(t.task(effectOf(f), time.Time{}, f))
}

// task is what is to be made, worked out from the event and the settings alone.
func (t *tasker) task(k effect.Key, at time.Time, f *eventsv1.FeedbackRaised) sales.Task {
	task := sales.Task{
		Reference: k.Business,
		Subject:   f.GetSubject(), Text: f.GetText(),
		AccountID: f.GetAccountId(), ContactID: f.GetContactId(),
		ProcessorID: cmp.Or(f.GetProcessorId(), t.settings.ProcessorID),
		Priority:    f.GetPriority(),
	}
	task.OwnerID = cmp.Or(f.GetOwnerId(), task.ProcessorID)
	if due, err := time.Parse(time.RFC3339, f.GetDueAt()); err == nil {
		task.Due = due
	} else if t.settings.DueAfter > 0 {
		task.Due = at.Add(t.settings.DueAfter) // counted from the event, so that a retry asks for the same
	}
	return t.forGuest(task)
}

func (t *tasker) created(f *eventsv1.FeedbackRaised, c sales.Created) *eventsv1.TaskCreated {
	address := t.cloud.Address(c)
	if t.settings.TaskURL != "" {
		address = strings.ReplaceAll(t.settings.TaskURL, "{objectId}", c.ObjectID)
	}
	return &eventsv1.TaskCreated{ResponseId: f.GetResponseId(), TaskId: c.ID, ObjectId: c.ObjectID, Url: address}
}

// effectOf names the task that a request at the door asks for.
func effectOf(m proto.Message) effect.Key {
	feedback, _ := m.(*eventsv1.FeedbackRaised)
	return key(subjects.FeedbackDeliveryLate, feedback.GetResponseId())
}

// known gives the task of a response that has one.
func (t *tasker) known(ctx context.Context, m proto.Message) (proto.Message, bool) {
	feedback, ok := m.(*eventsv1.FeedbackRaised)
	if !ok {
		return nil, false
	}
	task, ok := effect.Outcome[sales.Created](ctx, t.ledger, key(subjects.FeedbackDeliveryLate, feedback.GetResponseId()))
	return t.created(feedback, task), ok
}
