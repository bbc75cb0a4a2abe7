package effect_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
)

// troubled is a bucket whose next update goes wrong in a way that one node never shows.
type troubled struct {
	jetstream.KeyValue
	update func(ctx context.Context) error // instead of the next update
	get    func() error                    // instead of the next read
}

func (b *troubled) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	if update := b.update; update != nil {
		b.update = nil
		if err := update(ctx); err != nil {
			return 0, err
		}
	}
	return b.KeyValue.Update(ctx, key, value, revision)
}

func (b *troubled) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	if get := b.get; get != nil {
		b.get = nil
		return nil, get()
	}
	return b.KeyValue.Get(ctx, key)
}

func inTrouble(t *testing.T) *troubled {
	t.Helper()
	kv, err := bustest.Start(t, topology.Settings{}).JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	return &troubled{KeyValue: kv}
}

// None of these effects can be looked up: what the ledger takes for lost waits for a person.
func TestTroubleOfTheLedgerIsNotTheEffects(t *testing.T) {
	for name, trouble := range map[string]func(context.Context) error{
		"a dead connection": func(ctx context.Context) error {
			<-ctx.Done() // it does not end before the try does
			return ctx.Err()
		},
		"a leader that is not elected yet": func(context.Context) error { return jetstream.ErrNoStreamResponse },
		"our own write on its way through the replicas": func(context.Context) error {
			return jetstream.ErrKeyRevisionMismatch // and the record is still as we know it
		},
	} {
		t.Run(name, func(t *testing.T) {
			bucket := inTrouble(t)
			l, v := effect.New(bucket), &vendor{}
			done, err := effect.Do(t.Context(), l, key, cause("1"), func(ctx context.Context, r *effect.Run) (string, error) {
				bucket.update = trouble // before it is sent
				return effect.Step(ctx, r, "task", effect.Write[string]{Send: func(context.Context) (string, error) {
					bucket.update = trouble // after it was made
					return v.create("R_1")
				}})
			})
			if err != nil || done.Result != "id-of-R_1" || v.count("R_1") != 1 {
				t.Errorf("%+v, %v, made %d times", done, err, v.count("R_1"))
			}
		})
	}
}

// Another run may take the record over when its lease has run out, which must not be while a call is on its way.
func TestCallBeginsWithALeaseThatOutlivesIt(t *testing.T) {
	bucket, c := inTrouble(t), &clock{}
	l := effect.New(bucket).WithClock(c.now)
	_, err := effect.Do(t.Context(), l, key, cause("1"), func(ctx context.Context, r *effect.Run) (string, error) {
		slow := func(context.Context) error { c.forward(15 * time.Second); return nil }
		bucket.update = slow
		return effect.Step(ctx, r, "task", effect.Write[string]{Send: func(ctx context.Context) (string, error) {
			record, err := l.Look(ctx, key)
			if err != nil {
				return "", err
			}
			deadline, _ := ctx.Deadline()
			if left := record.LeaseUntil.Sub(c.now()); left < time.Until(deadline) {
				t.Errorf("the call may take %s, the lease lasts for %s", time.Until(deadline), left)
			}
			return "done", nil
		}})
	})
	if err != nil {
		t.Error(err)
	}
}

// The winner's record is on its way through the replicas when the loser looks for it: that is no failure, and no attempt.
func TestLoserOfARaceThatSeesNothingYetComesBack(t *testing.T) {
	bucket := inTrouble(t)
	l, v := effect.New(bucket), &vendor{}
	if _, err := do(t.Context(), l, v, key, true); err != nil {
		t.Fatal(err)
	}
	bucket.get = func() error { return jetstream.ErrKeyNotFound }
	_, err := do(t.Context(), l, v, key, true)
	if f := fault.From(err); f.Class != fault.Busy || f.After <= 0 || !errors.Is(err, effect.ErrElsewhere) {
		t.Errorf("%v", err)
	}
}
