package effect_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
)

// crowd is a vendor that takes many things in one call, all or none of them.
type crowd struct {
	mu    sync.Mutex
	made  map[string]int
	calls [][]string
	finds int
	lose  bool
	out   error
	bad   string // fails with every call that holds it
	// badErr is how. Default: the call is refused.
	badErr error
}

func (v *crowd) group(items []effect.Item, first bool, perCall int) effect.Group[string] {
	names := func(at []int) []string {
		all := make([]string, len(at))
		for n, i := range at {
			all[n] = items[i].Key.Business
		}
		return all
	}
	return effect.Group[string]{
		FindFirst: first, PerCall: perCall,
		Find: func(_ context.Context, at []int) ([]effect.Found[string], error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.finds++
			found := make([]effect.Found[string], len(at))
			for n, name := range names(at) {
				found[n] = effect.Found[string]{Result: "id-of-" + name, Found: v.made[name] > 0}
			}
			return found, nil
		},
		Send: func(_ context.Context, at []int) ([]effect.Result[string], error) {
			v.mu.Lock()
			defer v.mu.Unlock()
			all := names(at)
			v.calls = append(v.calls, all)
			if v.out != nil {
				return nil, v.out
			}
			if slices.Contains(all, v.bad) {
				return nil, cmp.Or[error](v.badErr, fault.New(fault.Refused, "one of them is wrong"))
			}
			results := make([]effect.Result[string], len(all))
			for n, name := range all {
				if v.made == nil {
					v.made = map[string]int{}
				}
				v.made[name]++
				results[n].Value = "id-of-" + name
			}
			if v.lose {
				return nil, fault.New(fault.Unknown, "no answer")
			}
			return results, nil
		},
	}
}

func items(n int) []effect.Item {
	all := make([]effect.Item, n)
	for i := range all {
		name := fmt.Sprint("R_", i)
		all[i] = effect.Item{Key: effect.Key{Effect: "sap.interaction", Business: name}, Cause: cause(name)}
	}
	return all
}

func (v *crowd) once(t *testing.T, n int) {
	t.Helper()
	if len(v.made) != n {
		t.Errorf("%d things were made, want %d", len(v.made), n)
	}
	for name, times := range v.made {
		if times != 1 {
			t.Errorf("%s was made %d times", name, times)
		}
	}
}

func TestManyAreMadeInFewCallsAndOnce(t *testing.T) {
	l, _ := ledger(t)
	all := append(items(50), items(1)...) // the last is the first again
	v := &crowd{}
	for round := range 2 {
		for i, ended := range effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 20)) {
			if want := "id-of-" + all[i].Key.Business; ended.Err != nil || ended.Result != want || ended.LoopID != "loop-"+all[i].Key.Business {
				t.Fatalf("round %d, item %d: %+v", round, i, ended)
			}
		}
	}
	if len(v.calls) != 3 || v.finds != 0 {
		t.Errorf("%d calls and %d look-ups, want 3 and none", len(v.calls), v.finds)
	}
	v.once(t, 50)
}

func TestManyWhoseAnswerWasLostAreLookedUpTogether(t *testing.T) {
	l, clock := ledger(t)
	all := items(30)
	v := &crowd{lose: true}
	for _, ended := range effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 10)) {
		if !fault.Is(ended.Err, fault.Unknown) {
			t.Fatalf("%+v", ended)
		}
	}
	v.lose = false
	delete(v.made, "R_3") // this one never arrived
	ends := effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 10))
	for i, ended := range ends {
		if late := i == 3; late != fault.Is(ended.Err, fault.NotYet) || !late && ended.Err != nil {
			t.Errorf("item %d: %+v", i, ended)
		}
	}
	clock.forward(effect.Settle)
	if ends = effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 10)); ends[3].Err != nil {
		t.Errorf("after the settling time: %+v", ends[3])
	}
	if v.finds != 2 {
		t.Errorf("%d look-ups, want 2", v.finds)
	}
	v.once(t, 30)
}

func TestOneBadItemOfManyIsFoundByHalves(t *testing.T) {
	l, _ := ledger(t)
	all := items(64)
	v := &crowd{bad: "R_17"}
	for i, ended := range effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 0)) {
		if bad := i == 17; bad != fault.Is(ended.Err, fault.Refused) || !bad && ended.Err != nil {
			t.Errorf("item %d: %+v", i, ended)
		}
	}
	if len(v.calls) != 13 { // all of them, then two halves each time
		t.Errorf("%d calls, want 13", len(v.calls))
	}
	v.once(t, 63)
	record, err := l.Look(t.Context(), all[17].Key)
	if err != nil || record.State != effect.Rejected || record.Owner != "" {
		t.Errorf("record %+v, %v", record, err)
	}
}

func TestHalvesOfARefusedCallAreSentAtTheSameTime(t *testing.T) {
	l, _ := ledger(t)
	all := items(8)
	v := &crowd{}
	g := v.group(all, false, 0)
	send, both := g.Send, make(chan struct{})
	var calls atomic.Int32
	g.Send = func(ctx context.Context, at []int) ([]effect.Result[string], error) {
		switch calls.Add(1) {
		case 1:
			return nil, fault.New(fault.Refused, "one of them is wrong")
		case 3:
			close(both)
		}
		select {
		case <-both:
		case <-time.After(10 * time.Second):
			t.Error("one half waits for the other")
		}
		return send(ctx, at)
	}
	for i, ended := range effect.DoMany(t.Context(), l, "interaction", all, g) {
		if ended.Err != nil {
			t.Errorf("item %d: %+v", i, ended)
		}
	}
	v.once(t, 8)
}

func TestOneForWhichAnswersAreLostIsSoonAlone(t *testing.T) {
	l, clock := ledger(t)
	all := items(60)
	v := &crowd{bad: "R_17", badErr: fault.New(fault.Unknown, "500")}
	lost := func() (n int) {
		for _, ended := range effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 20)) {
			if ended.Err != nil {
				n++
			}
		}
		clock.forward(effect.Settle)
		return n
	}
	if got := []int{lost(), lost(), lost(), lost()}; !slices.Equal(got, []int{20, 2, 1, 1}) {
		t.Errorf("%v without an outcome, want 20, a tenth, and the one alone", got)
	}
	v.bad = ""
	if n := lost(); n != 0 {
		t.Errorf("%d without an outcome in the end", n)
	}
	v.once(t, 60)
}

func TestWhatCannotBeLookedUpHoldsUpNoOther(t *testing.T) {
	l, _ := ledger(t)
	all := items(5)
	v := &crowd{}
	g := v.group(all, true, 0)
	find := g.Find
	g.Find = func(ctx context.Context, at []int) ([]effect.Found[string], error) {
		found, err := find(ctx, at)
		found[2].Err = fault.New(fault.Transient, "500")
		return found, err
	}
	for i, ended := range effect.DoMany(t.Context(), l, "interaction", all, g) {
		if failed := i == 2; failed != fault.Is(ended.Err, fault.Transient) || !failed && ended.Err != nil {
			t.Errorf("item %d: %+v", i, ended)
		}
	}
	v.once(t, 4)
}

func TestWhatIsRefusedForAllIsNotDividedForEver(t *testing.T) {
	l, _ := ledger(t)
	all := items(400)
	v := &crowd{out: fault.New(fault.Refused, "the field is not known")}
	for _, ended := range effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 200)) {
		if !fault.Is(ended.Err, fault.Refused) {
			t.Fatalf("%+v", ended)
		}
	}
	if len(v.calls) > 60 {
		t.Errorf("%d calls to be told the same", len(v.calls))
	}
}

func TestManyStopAtAVendorThatIsOut(t *testing.T) {
	l, _ := ledger(t)
	all := items(30)
	v := &crowd{out: fault.New(fault.Throttled, "enough")}
	for _, ended := range effect.DoMany(t.Context(), l, "interaction", all, v.group(all, true, 10)) {
		if !fault.Is(ended.Err, fault.Throttled) {
			t.Fatalf("%+v", ended)
		}
	}
	if len(v.calls) != 1 {
		t.Errorf("%d calls to a vendor that is out", len(v.calls))
	}
	v.out = nil
	for _, ended := range effect.DoMany(t.Context(), l, "interaction", all, v.group(all, false, 10)) {
		if ended.Err != nil {
			t.Errorf("afterwards: %v", ended.Err)
		}
	}
	v.once(t, 30)
}

func TestManyAtTheSameTimeAreMadeOnce(t *testing.T) {
	l, _ := ledger(t)
	v := &crowd{}
	var racing sync.WaitGroup
	for range 4 {
		racing.Go(func() {
			all := items(40)
			for _, ended := range effect.DoMany(context.Background(), l, "interaction", all, v.group(all, false, 7)) {
				if ended.Err != nil && !fault.Is(ended.Err, fault.Busy) {
					t.Errorf("%v", ended.Err)
				}
			}
		})
	}
	racing.Wait()
	v.once(t, 40)
}

func TestMemberOfAWaveIsMadeByTheWaveAlone(t *testing.T) {
	l, _ := ledger(t)
	item := items(1)[0]
	m, err := l.Enlist(t.Context(), item, effect.Place{Wave: "W1"})
	if err != nil || m.Record().Wave != "W1" {
		t.Fatalf("%+v, %v", m, err)
	}
	v := &vendor{}
	_, err = do(t.Context(), l, v, item.Key, true)
	if in, ok := errors.AsType[*effect.InWaveError](err); !ok || in.Wave != "W1" || !fault.Is(err, fault.Busy) {
		t.Fatalf("by itself: %v", err)
	}
	other, err := l.Enlist(t.Context(), item, effect.Place{Wave: "W2"})
	if err != nil || other.Record().Wave != "W1" {
		t.Fatalf("in another wave: %+v, %v", other.Record(), err)
	}
	if err := m.Confirm(t.Context(), "made"); err != nil {
		t.Fatal(err)
	}
	if err := other.Confirm(t.Context(), "again"); !fault.Is(err, fault.Busy) {
		t.Errorf("confirmed twice: %v", err)
	}
	done, err := do(t.Context(), l, v, item.Key, true)
	if err != nil || done.Result != "made" || v.calls != 0 {
		t.Errorf("afterwards: %+v, %v, %d calls", done, err, v.calls)
	}
}

func TestMemberThatLeavesAWaveIsFree(t *testing.T) {
	l, _ := ledger(t)
	all := items(2)
	for i, leave := range []bool{true, false} {
		m, err := l.Enlist(t.Context(), all[i], effect.Place{Wave: "W1"})
		if err != nil {
			t.Fatal(err)
		}
		if leave {
			if err := m.Leave(t.Context(), "too few"); err != nil {
				t.Fatal(err)
			}
		} else if m, err = l.Enlist(t.Context(), all[i], effect.Place{Wave: "W2", From: "W1"}); err != nil || m.Record().Wave != "W2" {
			t.Errorf("taken out of a wave that is over: %+v, %v", m.Record(), err)
		}
	}
	v := &vendor{}
	if done, err := do(t.Context(), l, v, all[0].Key, true); err != nil || !strings.HasPrefix(done.Result, "id-of-") {
		t.Errorf("%+v, %v", done, err)
	}
}

func TestHalfMadeEffectIsNotTakenIntoAWave(t *testing.T) {
	l, _ := ledger(t)
	item := items(1)[0]
	v := &vendor{lose: true}
	if _, err := do(t.Context(), l, v, item.Key, true); err == nil {
		t.Fatal("the answer was not lost")
	}
	if m, err := l.Enlist(t.Context(), item, effect.Place{Wave: "W1"}); err != nil || m.Record().Wave != "" {
		t.Errorf("%+v, %v", m.Record(), err)
	}
}
