package recognizer

import (
	"cmp"
	"context"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/webhook"
)

// indexed is what leads from Awardco's id back to a response.
type indexed struct {
	ResponseID string `json:"responseId"`
	LoopID     string `json:"loopId"`
}

// index keeps the way back from an id. The first word stays: an id is given once.
func index(ctx context.Context, l *effect.Ledger, recognitionID string, to indexed) error {
	if recognitionID == "" {
		return nil
	}
	return effect.Change(ctx, l, effect.RecognitionIndex(recognitionID), func(old indexed) (indexed, bool) {
		return to, old.ResponseID == ""
	})
}

// told is what Awardco decided about a recognition: nothing of giver, recipient and note, which stay in Awardco.
type told struct {
	Decision webhook.Decision `json:"decision"`
	Amount   float64          `json:"amount,omitempty"`
	Reason   string           `json:"reason,omitempty"`
	At       time.Time        `json:"at"`
}

// reasonMax is the longest reason that the event takes.
const reasonMax = 1000

func toldOf(d webhook.Delivery, decision webhook.Decision, at time.Time) told {
	t := told{Decision: decision, At: at}
	if decision == webhook.Approved {
		t.Amount = d.Amount
		return t
	}
	t.Reason = d.Reason
	if utf8.RuneCountInString(t.Reason) > reasonMax {
		t.Reason = string([]rune(t.Reason)[:reasonMax-1]) + "…"
	}
	return t
}

// decisions publishes what Awardco decided, and keeps what it decided too early: a decision may overtake the answer to
// our own call, or the note of that answer.
type decisions struct {
	source  string
	publish accept.Publisher
	ledger  *effect.Ledger
}

func (d *decisions) indexed(ctx context.Context, recognitionID string) (indexed, bool, error) {
	if recognitionID == "" {
		return indexed{}, false, nil
	}
	return effect.Kept[indexed](ctx, d.ledger, effect.RecognitionIndex(recognitionID))
}

// keep keeps a decision about an id that nobody knows, for [decisions.catchUp]. Whoever learns the id indexes it and
// then reads what was told; here it is told and the index is read then: one of both sees the other.
func (d *decisions) keep(ctx context.Context, recognitionID string, said told) (indexed, bool, error) {
	if recognitionID == "" {
		return indexed{}, false, nil
	}
	err := effect.Change(ctx, d.ledger, effect.Told(recognitionID), func(all []told) ([]told, bool) {
		same := func(old told) bool { return old.Decision == said.Decision }
		return append(slices.Clone(all), said), !slices.ContainsFunc(all, same)
	})
	if err != nil {
		return indexed{}, false, err
	}
	return d.indexed(ctx, recognitionID)
}

// catchUp publishes what was told about an id before it was indexed.
func (d *decisions) catchUp(ctx context.Context, recognitionID string, to indexed) error {
	if recognitionID == "" {
		return nil
	}
	all, _, err := effect.Kept[[]told](ctx, d.ledger, effect.Told(recognitionID))
	if err != nil {
		return err
	}
	for _, said := range all {
		e, err := d.event(recognitionID, said, to)
		if err != nil {
			return err
		}
		if _, err := d.once(ctx, recognitionID, said, to, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *decisions) event(recognitionID string, said told, to indexed) (event.Event, error) {
	subject, m := said.message(recognitionID, to)
	e, err := event.New(d.source, subject, m)
	return e.InLoop(to.LoopID), err
}

func (t told) message(recognitionID string, to indexed) (subject string, m proto.Message) {
	if t.Decision == webhook.Approved {
		return subjects.RecognitionApproved, &eventsv1.RecognitionApproved{
			ResponseId: to.ResponseID, RecognitionId: recognitionID, Amount: t.Amount, DecidedAt: timestamppb.New(t.At),
		}
	}
	return subjects.RecognitionDeclined, &eventsv1.RecognitionDeclined{
		ResponseId: to.ResponseID, RecognitionId: recognitionID, Reason: t.Reason, DecidedAt: timestamppb.New(t.At),
	}
}

// once publishes a decision, once however often it is told: duplicates, in whatever order, find it in the ledger. It
// tells whether it was this time.
func (d *decisions) once(ctx context.Context, recognitionID string, said told, to indexed, e event.Event) (published bool, err error) {
	publish := func(ctx context.Context) error {
		published = true
		_, err := d.publish.Publish(ctx, e)
		return err
	}
	key := effect.RecognitionDecision(cmp.Or(recognitionID, to.ResponseID), string(said.Decision))
	_, err = effect.Do(ctx, d.ledger, key, e, func(ctx context.Context, _ *effect.Run) (struct{}, error) {
		return struct{}{}, publish(ctx)
	})
	if fault.Is(err, fault.Busy) { // another replica is at the same delivery: storing it here too is harmless, its id is the same
		err = publish(ctx)
	}
	return published, err
}
