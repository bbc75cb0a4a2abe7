package effect_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
)

func TestManyWorkersChangeOneNoteWithoutLosingAny(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	kv, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	key := effect.Key{Effect: "test.note", Business: "one"}
	if _, there, err := effect.Kept[int](t.Context(), effect.New(kv), key); there || err != nil {
		t.Fatalf("there before it was written: %v, %v", there, err)
	}
	var workers sync.WaitGroup
	for n := range 8 {
		workers.Go(func() {
			ledger := effect.New(kv)
			for i := range 10 {
				err := effect.Change(t.Context(), ledger, key, func(old map[string]int) (map[string]int, bool) {
					if old == nil {
						old = map[string]int{}
					}
					old[fmt.Sprintf("%d/%d", n, i)]++
					return old, true
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	got, _, err := effect.Kept[map[string]int](t.Context(), effect.New(kv), key)
	if err != nil || len(got) != 80 {
		t.Errorf("%d changes kept, want 80: %v", len(got), err)
	}
	untouched := effect.Change(t.Context(), effect.New(kv), key, func(old map[string]int) (map[string]int, bool) { return nil, false })
	if again, _, _ := effect.Kept[map[string]int](t.Context(), effect.New(kv), key); untouched != nil || len(again) != 80 {
		t.Errorf("a change that was not wanted was made: %d left, %v", len(again), untouched)
	}
}

func TestNoteThatCannotBeReadIsNotOverwritten(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	kv, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	key := effect.Key{Effect: "test.note", Business: "broken"}
	if _, err := kv.Create(t.Context(), key.String(), []byte("{")); err != nil {
		t.Fatal(err)
	}
	if err := effect.Change(t.Context(), effect.New(kv), key, func(int) (int, bool) { return 1, true }); err == nil {
		t.Error("a record that cannot be read was changed")
	}
	if entry, err := kv.Get(t.Context(), key.String()); err != nil || string(entry.Value()) != "{" {
		t.Errorf("it is %v now, %v", entry, err)
	}
}
