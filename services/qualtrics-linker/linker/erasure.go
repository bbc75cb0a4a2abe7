package linker

import (
	"context"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// What became of an erasure at Qualtrics.
const (
	erased = "ERASED"
	// byPerson: Qualtrics refuses it to us.
	byPerson = "PERSON"
)

// stepErase is part of the ledger and must not change.
const stepErase = "erase"

// erasure is how one ended. It is kept by the ledger.
type erasure struct {
	State     string `json:"state"`
	RequestID string `json:"requestId,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// erase has Qualtrics forget whom an erasure is about, and says so when it has.
func (l *linker) erase(ctx context.Context, e event.Event, m *eventsv1.ErasureRequested) error {
	id := m.GetErasureId()
	done, err := effect.Do(ctx, l.ledger, effect.Erasure(id), e, func(ctx context.Context, run *effect.Run) (erasure, error) {
		whom, found, err := effect.Kept[effect.Whom](ctx, l.ledger, effect.Forgetting(id))
		if err != nil {
			return erasure{}, err
		}
		if !found || len(whom.Emails) == 0 {
			return erasure{}, fault.New(fault.Person, "whom the erasure %s is about is not kept any more: ask for the erasure again", id)
		}
		return l.eraseAt(ctx, run, whom.Emails)
	})
	if err != nil {
		return err
	}
	return l.bus.Follow(ctx, e, subjects.ErasureCompleted, &eventsv1.ErasureCompleted{
		ErasureId: id, Vendor: qualtrics.Vendor, State: done.Result.State, VendorRequestId: done.Result.RequestID, Reason: done.Result.Reason,
	})
}

// eraseAt asks once and then looks until it is done. That we may not is an answer too, and no reason to leave Qualtrics
// alone, as it would be of any other call: a person must do it there.
func (l *linker) eraseAt(ctx context.Context, run *effect.Run, emails []string) (erasure, error) {
	id, err := effect.Step(ctx, run, stepErase, effect.Write[string]{
		Send:       func(ctx context.Context) (string, error) { return l.qualtrics.ErasePersonalData(ctx, emails) },
		Repeatable: true, // who is forgotten already is forgotten once more
	})
	if err != nil {
		return denied("", err)
	}
	completed, err := l.qualtrics.Erased(ctx, id)
	if err != nil {
		return denied(id, err)
	}
	if !completed {
		return erasure{}, fault.Later(0, "Qualtrics is at the erasure %s", id)
	}
	return erasure{State: erased, RequestID: id}, nil
}

// denied makes a refusal an outcome; every other error stays one.
func denied(id string, err error) (erasure, error) {
	if !fault.Is(err, fault.Forbidden) && !fault.Is(err, fault.Refused) {
		return erasure{}, err
	}
	return erasure{State: byPerson, RequestID: id, Reason: fault.From(err).Error()}, nil
}
