package effect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// vendor is a system that acts, and may lose its answer.
type vendor struct {
	mu    sync.Mutex
	made  map[string]int
	calls int
	lose  bool  // act, then say nothing
	fail  error // do not act
}

func (v *vendor) create(key string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	if v.fail != nil {
		return "", v.fail
	}
	if v.made == nil {
		v.made = map[string]int{}
	}
	v.made[key]++
	if v.lose {
		return "", fault.New(fault.Unknown, "no answer")
	}
	return "id-of-" + key, nil
}

func (v *vendor) find(key string) (string, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return "id-of-" + key, v.made[key] > 0
}

func (v *vendor) count(key string) int { v.mu.Lock(); defer v.mu.Unlock(); return v.made[key] }

// clock is a time that tests move.
type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) forward(d time.Duration) { c.offset.Add(int64(d)) }

func ledger(t *testing.T) (*effect.Ledger, *clock) {
	t.Helper()
	broker := bustest.Start(t, topology.Settings{})
	kv, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{}
	return effect.New(kv).WithClock(c.now), c
}

func cause(id string) event.Event { return event.Event{ID: id, LoopID: "loop-" + id} }

var key = effect.Key{Effect: "c4c.task", Business: "R_1"}

// do makes one thing at the vendor.
func do(ctx context.Context, l *effect.Ledger, v *vendor, k effect.Key, probe bool) (effect.Done[string], error) {
	return effect.Do(ctx, l, k, cause(k.Business), func(ctx context.Context, run *effect.Run) (string, error) {
		w := effect.Write[string]{Send: func(context.Context) (string, error) { return v.create(k.Business) }}
		if probe {
			w.Probe = func(context.Context) (string, bool, error) {
				id, ok := v.find(k.Business)
				return id, ok, nil
			}
		}
		return effect.Step(ctx, run, "task", w)
	})
}

func TestRepeatGivesTheFirstResultAndLoop(t *testing.T) {
	l, _ := ledger(t)
	v := &vendor{}
	for range 3 {
		done, err := do(t.Context(), l, v, key, true)
		if err != nil || done.Result != "id-of-R_1" || done.LoopID != "loop-R_1" {
			t.Fatalf("%+v, %v", done, err)
		}
	}
	if v.count("R_1") != 1 {
		t.Errorf("made %d times", v.count("R_1"))
	}
}

func TestLostAnswerIsProbedNotRepeated(t *testing.T) {
	l, _ := ledger(t)
	v := &vendor{lose: true}
	if _, err := do(t.Context(), l, v, key, true); !fault.Is(err, fault.Unknown) {
		t.Fatalf("want unknown, got %v", err)
	}
	record, err := l.Look(t.Context(), key)
	if err != nil || record.State != effect.Unknown {
		t.Fatalf("record %+v, %v", record, err)
	}
	v.lose = false
	done, err := do(t.Context(), l, v, key, true)
	if err != nil || done.Result != "id-of-R_1" {
		t.Fatalf("%+v, %v", done, err)
	}
	if v.count("R_1") != 1 || v.calls != 1 {
		t.Errorf("made %d times with %d calls, want one of each", v.count("R_1"), v.calls)
	}
}

func TestLostCallThatDidNothingIsSentAgainOnlyAfterTheVendorHadTime(t *testing.T) {
	l, c := ledger(t)
	v := &vendor{fail: fault.New(fault.Unknown, "no answer")}
	if _, err := do(t.Context(), l, v, key, true); !fault.Is(err, fault.Unknown) {
		t.Fatal(err)
	}
	v.fail = nil
	_, err := do(t.Context(), l, v, key, true)
	if f := fault.From(err); f.Class != fault.NotYet || f.After <= 0 {
		t.Fatalf("want a wait, got %v", err)
	}
	c.forward(effect.Settle + time.Second)
	if _, err := do(t.Context(), l, v, key, true); err != nil {
		t.Fatal(err)
	}
	if v.count("R_1") != 1 {
		t.Errorf("made %d times", v.count("R_1"))
	}
}

func TestLostAnswerWithoutAProbeWaitsForAPerson(t *testing.T) {
	l, c := ledger(t)
	v := &vendor{lose: true}
	if _, err := do(t.Context(), l, v, key, false); !fault.Is(err, fault.Unknown) {
		t.Fatal(err)
	}
	v.lose = false
	c.forward(time.Hour)
	for range 2 {
		if _, err := do(t.Context(), l, v, key, false); !fault.Is(err, fault.Person) {
			t.Fatalf("want a person, got %v", err)
		}
	}
	if v.calls != 1 {
		t.Errorf("sent %d times", v.calls)
	}
}

func TestRefusedLookUpAfterALostAnswerWaitsForAPersonAndIsNotRejected(t *testing.T) {
	l, _ := ledger(t)
	v := &vendor{lose: true}
	run := func() error {
		_, err := effect.Do(t.Context(), l, key, cause("1"), func(ctx context.Context, run *effect.Run) (string, error) {
			return effect.Step(ctx, run, "task", effect.Write[string]{
				Send:  func(context.Context) (string, error) { return v.create("R_1") },
				Probe: func(context.Context) (string, bool, error) { return "", false, fault.New(fault.Refused, "404") },
			})
		})
		return err
	}
	if err := run(); !fault.Is(err, fault.Unknown) {
		t.Fatal(err)
	}
	if err := run(); !fault.Is(err, fault.Person) {
		t.Fatalf("want a person, got %v", err)
	}
	if record, err := l.Look(t.Context(), key); err != nil || record.State != effect.Unknown {
		t.Errorf("%+v, %v: what may have been done is not rejected", record, err)
	}
}

func TestRefusedEffectMayBeTriedAgain(t *testing.T) {
	l, _ := ledger(t)
	v := &vendor{fail: fault.New(fault.Refused, "account unknown")}
	if _, err := do(t.Context(), l, v, key, true); !fault.Is(err, fault.Refused) {
		t.Fatal(err)
	}
	record, err := l.Look(t.Context(), key)
	if err != nil || record.State != effect.Rejected || record.Reason != "account unknown" {
		t.Fatalf("%+v, %v", record, err)
	}
	v.fail = nil
	if done, err := do(t.Context(), l, v, key, true); err != nil || done.Result != "id-of-R_1" {
		t.Fatalf("%+v, %v", done, err)
	}
}

func TestMendedRequestBeginsWithItsFirstStep(t *testing.T) {
	l, _ := ledger(t)
	v := &vendor{}
	ask := func(person string, refuse bool) (effect.Done[string], error) {
		return effect.Do(t.Context(), l, key, cause("1"), func(ctx context.Context, run *effect.Run) (string, error) {
			contact, err := effect.Step(ctx, run, "contact", effect.Write[string]{Send: func(context.Context) (string, error) { return v.create(person) }})
			if err != nil {
				return "", err
			}
			return effect.Step(ctx, run, "distribution", effect.Write[string]{Send: func(context.Context) (string, error) {
				if refuse {
					return "", fault.New(fault.Refused, "survey not found")
				}
				return "link for " + contact, nil
			}})
		})
	}
	if _, err := ask("typo", true); !fault.Is(err, fault.Refused) {
		t.Fatal(err)
	}
	if done, err := ask("ada", false); err != nil || done.Result != "link for id-of-ada" {
		t.Errorf("%q, %v: the refused request's contact was taken", done.Result, err)
	}
}

func TestVendorOutLeavesNothingToProbe(t *testing.T) {
	l, _ := ledger(t)
	for _, class := range []fault.Class{fault.Throttled, fault.Down, fault.Unauthorized, fault.Forbidden, fault.Transient} {
		k := effect.Key{Effect: "c4c.task", Business: string(class)}
		v := &vendor{fail: fault.New(class, "out")}
		if _, err := do(t.Context(), l, v, k, false); !fault.Is(err, class) {
			t.Fatalf("%s: %v", class, err)
		}
		v.fail = nil
		if _, err := do(t.Context(), l, v, k, false); err != nil {
			t.Errorf("%s: after the vendor's return: %v", class, err)
		}
	}
}

// TestCrashAtEachStepResumes ends a run of three steps at every point where the process could die, and lets another
// finish: each thing is made once.
func TestCrashAtEachStepResumes(t *testing.T) {
	l, c := ledger(t)
	steps := []string{"contact", "transaction", "distribution"}
	for crashAt := range steps {
		for _, acted := range []bool{false, true} {
			v := &vendor{}
			k := effect.Key{Effect: "qualtrics.link", Business: fmt.Sprintf("A%d-%v", crashAt, acted)}
			run := func(crash bool) error {
				_, err := effect.Do(t.Context(), l, k, cause(k.Business), func(ctx context.Context, r *effect.Run) (string, error) {
					for i, name := range steps {
						_, err := effect.Step(ctx, r, name, effect.Write[string]{
							Send: func(context.Context) (string, error) {
								if crash && i == crashAt {
									if acted {
										_, _ = v.create(name) // what it answered died with the process
									}
									panic("killed")
								}
								return v.create(name)
							},
							Probe: func(context.Context) (string, bool, error) {
								id, ok := v.find(name)
								return id, ok, nil
							},
						})
						if err != nil {
							return "", err
						}
					}
					return "link", nil
				})
				return err
			}
			func() {
				defer func() { _ = recover() }()
				_ = run(true)
			}()
			if err := run(false); !fault.Is(err, fault.Busy) {
				t.Fatalf("the dead run's lease should still hold, got %v", err)
			}
			c.forward(effect.Lease + effect.Settle + time.Second)
			if err := run(false); err != nil {
				t.Fatal(err)
			}
			for _, name := range steps {
				if n := v.count(name); n != 1 {
					t.Errorf("crash at %s, acted %v: %s made %d times", steps[crashAt], acted, name, n)
				}
			}
		}
	}
}

func TestManyWorkersOneEffect(t *testing.T) {
	l, _ := ledger(t)
	race(t, l, 8, 50)
}

// race lets workers compete for keys until each is confirmed.
func race(t *testing.T, l *effect.Ledger, workers, keys int) {
	t.Helper()
	v := &vendor{}
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			for n := range keys {
				k := effect.Key{Effect: "c4c.task", Business: fmt.Sprintf("R_%d", n)}
				for {
					_, err := do(t.Context(), l, v, k, true)
					if err == nil {
						break
					}
					if !fault.Is(err, fault.Busy) && !fault.Is(err, fault.Transient) {
						t.Errorf("key %d: %v", n, err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	for n := range keys {
		if made := v.count(fmt.Sprintf("R_%d", n)); made != 1 {
			t.Errorf("R_%d made %d times", n, made)
		}
	}
}

func TestKeysHoldWhatJetStreamTakes(t *testing.T) {
	l, _ := ledger(t)
	v := &vendor{}
	for _, business := range []string{"ada@example.com", "a b.c", "..", "*>", "ünï", "=41", "A", "x/y"} {
		k := effect.Key{Effect: "c4c.task", Business: business}
		if _, err := do(t.Context(), l, v, k, true); err != nil {
			t.Errorf("%q: %v", business, err)
		}
	}
	if n := len(v.made); n != 8 {
		t.Errorf("%d different effects, want 8", n)
	}
}

// flaky loses the answers of writes that took place.
type flaky struct {
	jetstream.KeyValue
	lose atomic.Int32
}

var errLost = errors.New("answer lost")

func (f *flaky) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	revision, err := f.KeyValue.Create(ctx, key, value, opts...)
	if err == nil && f.lose.Add(-1) >= 0 {
		return 0, errLost
	}
	return revision, err
}

func (f *flaky) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	revision, err := f.KeyValue.Update(ctx, key, value, revision)
	if err == nil && f.lose.Add(-1) >= 0 {
		return 0, errLost
	}
	return revision, err
}

func TestLedgerThatLosesAnswersStillKnowsItsOwnWrites(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	kv, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	bucket := &flaky{KeyValue: kv}
	l := effect.New(bucket)
	run := func() error {
		v := &vendor{}
		_, err := effect.Do(t.Context(), l, key, cause("1"), func(ctx context.Context, r *effect.Run) (string, error) {
			bucket.lose.Store(1) // the answer to the next write of the ledger
			return effect.Step(ctx, r, "task", effect.Write[string]{Send: func(context.Context) (string, error) { return v.create("R_1") }})
		})
		return err
	}
	if err := run(); err != nil {
		t.Errorf("our own write was taken for somebody else's: %v", err)
	}
}

// A key is a subject, and a very long subject ends the connection.
func TestVeryLongKeysFitAndDiffer(t *testing.T) {
	l, _ := ledger(t)
	long := strings.Repeat("ö", 3000)
	v := &vendor{}
	for _, business := range []string{long, long + "x", long} {
		if _, err := do(t.Context(), l, v, effect.Key{Effect: "c4c.task", Business: business}, true); err != nil {
			t.Fatal(err)
		}
	}
	if v.calls != 2 {
		t.Errorf("%d calls for two different keys", v.calls)
	}
}
