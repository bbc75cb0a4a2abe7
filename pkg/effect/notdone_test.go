package effect_test

import (
	"context"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// decided is the event of a replay with a person's word that what was sent before then had not been done.
func decided(id string, at time.Time) event.Event {
	e := cause(id)
	e.NotDone = at
	return e
}

func TestWhatAPersonFoundNotDoneIsSentAgain(t *testing.T) {
	l, c := ledger(t)
	v := &vendor{fail: fault.New(fault.Unknown, "no answer")}
	if _, err := do(t.Context(), l, v, key, false); !fault.Is(err, fault.Unknown) {
		t.Fatal(err)
	}
	v.fail = nil
	again := func(at time.Time) error {
		_, err := effect.Do(t.Context(), l, key, decided("R_1", at), func(ctx context.Context, run *effect.Run) (string, error) {
			return effect.Step(ctx, run, "task", effect.Write[string]{Send: func(context.Context) (string, error) { return v.create("R_1") }})
		})
		return err
	}
	c.forward(time.Minute)
	early := c.now().Add(-time.Hour)
	if err := again(early); !fault.Is(err, fault.Person) || v.calls != 1 {
		t.Fatalf("a decision of before it was sent: %v, sent %d times", err, v.calls)
	}
	decision := c.now().Add(time.Minute) // by a clock that is ahead of ours
	v.lose = true                        // this time it acts, and its answer is lost again
	if err := again(decision); !fault.Is(err, fault.Unknown) || v.calls != 2 {
		t.Fatalf("%v, sent %d times, want 2", err, v.calls)
	}
	if err := again(decision); !fault.Is(err, fault.Person) || v.calls != 2 || v.count("R_1") != 1 {
		t.Fatalf("the decision was used twice: %v, sent %d times", err, v.calls)
	}
}

func TestWhatIsConfirmedStaysSoWhateverAPersonSays(t *testing.T) {
	l, c := ledger(t)
	v := &vendor{}
	if _, err := do(t.Context(), l, v, key, false); err != nil {
		t.Fatal(err)
	}
	c.forward(time.Hour)
	done, err := effect.Do(t.Context(), l, key, decided("R_1", c.now()), func(context.Context, *effect.Run) (string, error) {
		t.Error("run again")
		return "", nil
	})
	if err != nil || done.Result != "id-of-R_1" {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestManyOfWhichAPersonFoundOneNotDone(t *testing.T) {
	l, c := ledger(t)
	v, all := &crowd{lose: true}, items(2)
	effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 0))
	v.lose, v.made = false, nil // the vendor has lost both
	c.forward(time.Second)
	all[1].Cause.NotDone = c.now()
	ended := effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 0))
	if !fault.Is(ended[0].Err, fault.NotYet) { // still given time
		t.Errorf("the one that nobody looked for: %v", ended[0].Err)
	}
	if ended[1].Err != nil || ended[1].Result != "id-of-R_1" || v.made["R_1"] != 1 || v.made["R_0"] != 0 {
		t.Errorf("the other: %+v, made %v", ended[1], v.made)
	}
}
