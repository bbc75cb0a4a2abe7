package tasker

import (
	"context"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

// make makes the task and its text, in the steps of the ledger.
func (t *tasker) make(ctx context.Context, run *effect.Run, task sales.Task) (sales.Created, error) {
	w := effect.Write[sales.Created]{Send: func(ctx context.Context) (sales.Created, error) { return t.create(ctx, task) }}
	if t.cloud.CanFind() {
		w.Probe = func(ctx context.Context) (sales.Created, bool, error) { return t.cloud.Find(ctx, task) }
	}
	created, err := effect.Step(ctx, run, "task", w)
	if err != nil || t.settings.Texts != textsSeparate || task.Text == "" {
		return created, err
	}
	_, err = effect.Step(ctx, run, "text", effect.Write[sales.Text]{
		Send: func(ctx context.Context) (sales.Text, error) {
			return t.cloud.AddText(ctx, created, task)
		},
		Probe: func(ctx context.Context) (sales.Text, bool, error) { return t.cloud.FindText(ctx, created, task) },
	})
	return created, err
}

// create makes the task, for a guest as the settings say: each refusal for an account or contact that does not exist
// leads to one more call, for a task that names one party less.
func (t *tasker) create(ctx context.Context, task sales.Task) (sales.Created, error) {
	for {
		created, err := t.tryCreate(ctx, task)
		unknown := sales.UnknownParty(err)
		if unknown == nil {
			return created, err
		}
		next, ok := t.instead(task, unknown.Party)
		if !ok || !unknown.Missing {
			return created, err
		}
		task = next
	}
}

func (t *tasker) tryCreate(ctx context.Context, task sales.Task) (sales.Created, error) {
	if err := t.cloud.Check(ctx, task); err != nil {
		return sales.Created{}, err
	}
	return t.cloud.Create(ctx, task)
}

// instead gives the task to be made when a party is not known; false where there is none. Employees are no guests.
func (t *tasker) instead(task sales.Task, unknown sales.Party) (sales.Task, bool) {
	if unknown.Kind != sales.Account && unknown.Kind != sales.Contact || unknown.ID == t.settings.DefaultAccountID {
		return task, false
	}
	switch t.settings.Guests {
	case guestsDefault:
		task = task.Without(unknown.Kind)
		if unknown.Kind == sales.Account {
			task = task.Without(sales.Contact) // who belongs to another account
			task.AccountID = t.settings.DefaultAccountID
		}
	case guestsWithout:
		task = task.Without(unknown.Kind)
	default:
		return task, false
	}
	return task, true
}

// decide makes a refusal for an unknown party a matter for a person, with the id and its kind. It comes after the ledger,
// which is to know that nothing was done.
func (t *tasker) decide(err error) error {
	unknown := sales.UnknownParty(err)
	if unknown == nil {
		return err
	}
	f := *fault.From(err)
	f.Class = fault.Person
	if unknown.ID == t.settings.ProcessorID && (unknown.Kind == sales.Processor || unknown.Kind == sales.Owner) {
		f.Reason += " (perhaps that of C4C_PROCESSOR_ID)"
	}
	if unknown.ID == t.settings.DefaultAccountID {
		f.Reason += " (C4C_DEFAULT_ACCOUNT_ID)"
	}
	return &f
}

// dropped tells that the task is a guest's beyond doubt and that the settings want none made.
func (t *tasker) dropped(err error) bool {
	unknown := sales.UnknownParty(err)
	return unknown != nil && unknown.Missing && t.settings.Guests == guestsDrop && (unknown.Kind == sales.Account || unknown.Kind == sales.Contact)
}

// forGuest gives the default account to a task that names none.
func (t *tasker) forGuest(task sales.Task) sales.Task {
	if t.settings.Guests == guestsDefault && task.AccountID == "" {
		task.AccountID = t.settings.DefaultAccountID
	}
	return task
}
