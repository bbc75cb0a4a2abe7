// Package tasker is the service c4c-tasker: feedback in, tasks in SAP Sales Cloud out, one for each response.
package tasker

import (
	"cmp"
	"context"
	"fmt"
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
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/c4c-tasker/salescloud"
)

// Settings of c4c-tasker.
type Settings struct {
	service.Common
	Fields      httpdoor.FieldSettings
	BaseURL     string          `envconfig:"C4C_BASE_URL" required:"true" desc:"SAP Sales Cloud: scheme and host"`
	Username    string          `envconfig:"C4C_USERNAME" required:"true" desc:"technical user"`
	Password    settings.Secret `envconfig:"C4C_PASSWORD" required:"true" desc:"its password"`
	ProcessorID string          `envconfig:"C4C_PROCESSOR_ID" desc:"employee who gets tasks that name nobody"`
	Priority    string          `envconfig:"C4C_PRIORITY" default:"3" desc:"priority of tasks that name none: one character of the tenant's code list"`
	Language    string          `envconfig:"C4C_LANGUAGE" default:"EN" desc:"language code of the task's text"`
	DueAfter    time.Duration   `envconfig:"C4C_DUE_AFTER" default:"72h" desc:"due time of tasks that name none, counted from the event"`
	TaskURL     string          `envconfig:"C4C_TASK_URL" desc:"address of a task for people, with {objectId}; default is the object in the API"`
	CSRF        bool            `envconfig:"C4C_CSRF" default:"true" desc:"fetch a CSRF token before writing"`
	Parallel    int             `envconfig:"C4C_PARALLEL" default:"6" desc:"parallel calls, fewer than the 10 that a tenant takes in all"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	if len(s.Priority) != 1 {
		return fmt.Errorf("C4C_PRIORITY must be one character")
	}
	if s.Parallel < 1 || s.Parallel > 9 {
		return fmt.Errorf("C4C_PARALLEL must be 1 to 9: a tenant takes fewer than 10 calls at a time")
	}
	return nil
}

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
	calls, err := outbound.New(outbound.Options{
		Vendor: "sap-sales-cloud", BaseURL: s.BaseURL, Parallel: s.Parallel, Registerer: h.Metrics, Log: h.Log,
	})
	if err != nil {
		return fmt.Errorf("C4C_BASE_URL: %w", err)
	}
	session, err := odata.New(odata.Options{
		Outbound: calls, ServiceRoot: salescloud.ServiceRoot, Username: s.Username, Password: s.Password.Reveal(), NoCSRF: !s.CSRF,
	})
	if err != nil {
		return err
	}
	outcomes, err := h.Outcomes()
	if err != nil {
		return err
	}
	t := &tasker{settings: s, bus: h.Bus, ledger: h.Ledger(), sales: salescloud.New(session)}
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
		if err := check(m); err != nil {
			return nil, err
		}
		return accepting.One(ctx, r, subjects.FeedbackDeliveryLate, m)
	})
	h.Handle(bus.Consumer{Handle: t.handle, Parallel: s.Parallel})
	return nil
}

type tasker struct {
	settings *Settings
	bus      *bus.Bus
	ledger   *effect.Ledger
	sales    *salescloud.Client
}

// handle makes the task of one feedback event.
func (t *tasker) handle(ctx context.Context, e event.Event) error {
	feedback, ok := e.Data.(*eventsv1.FeedbackRaised)
	if !ok {
		return fault.New(fault.Invalid, "%s does not carry feedback, so no task can be made of it: check C4C_SUBJECTS", e.Type)
	}
	if err := check(feedback); err != nil {
		return err
	}
	task := t.task(e, feedback)
	done, err := effect.Do(ctx, t.ledger, key(e.Type, feedback.GetResponseId()), e,
		func(ctx context.Context, run *effect.Run) (salescloud.Created, error) {
			return effect.Step(ctx, run, "task", effect.Write[salescloud.Created]{
				Send:  func(ctx context.Context) (salescloud.Created, error) { return t.sales.Create(ctx, task) },
				Probe: func(ctx context.Context) (salescloud.Created, bool, error) { return t.sales.Find(ctx, task.Reference) },
			})
		})
	if err != nil {
		return err
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
func check(f *eventsv1.FeedbackRaised) error {
	if strings.Contains(f.GetResponseId(), "*") {
		return fault.At("responseId", "holds an asterisk, which SAP Sales Cloud takes for a wildcard: the task could not be found again")
	}
	if _, err := time.Parse(time.RFC3339, f.GetDueAt()); f.GetDueAt() != "" && err != nil {
		return fault.At("dueAt", "must be a time as in 2026-07-24T09:30:00Z")
	}
	return nil
}

func (t *tasker) task(e event.Event, f *eventsv1.FeedbackRaised) salescloud.Task {
	task := salescloud.Task{
		Reference: key(e.Type, f.GetResponseId()).Business,
		Subject:   f.GetSubject(), Text: f.GetText(), Language: t.settings.Language,
		AccountID: f.GetAccountId(), ContactID: f.GetContactId(),
		ProcessorID: cmp.Or(f.GetProcessorId(), t.settings.ProcessorID),
		Priority:    cmp.Or(f.GetPriority(), t.settings.Priority),
	}
	task.OwnerID = cmp.Or(f.GetOwnerId(), task.ProcessorID)
	if due, err := time.Parse(time.RFC3339, f.GetDueAt()); err == nil {
		task.Due = due
	} else if t.settings.DueAfter > 0 {
		task.Due = e.Time.Add(t.settings.DueAfter) // counted from the event, so that a retry asks for the same
	}
	return task
}

func (t *tasker) created(f *eventsv1.FeedbackRaised, c salescloud.Created) *eventsv1.TaskCreated {
	address := fmt.Sprintf("%s%s/TasksCollection('%s')", strings.TrimSuffix(t.settings.BaseURL, "/"), salescloud.ServiceRoot, c.ObjectID)
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
	task, ok := effect.Outcome[salescloud.Created](ctx, t.ledger, key(subjects.FeedbackDeliveryLate, feedback.GetResponseId()))
	return t.created(feedback, task), ok
}
