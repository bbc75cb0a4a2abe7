package bus

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

func TestGateLetsOneFindOutWhetherTheVendorIsBackThenMore(t *testing.T) {
	now := time.Unix(1e9, 0)
	g := newGate(Vendor{}, 1, 1)
	entered := 0
	enter := func(wanted int) int {
		granted, round, _, _ := g.enter(now, wanted)
		if granted > 0 {
			entered = round
		}
		return granted
	}
	leave := func(n int) {
		for range n {
			g.reached()
			g.leave(entered)
		}
	}
	if enter(8) != 8 {
		t.Fatal("an open gate must let everybody in")
	}
	until, closes := g.shut(now, fault.Down, time.Minute)
	if !closes || !until.Equal(now.Add(time.Minute)) {
		t.Fatalf("until %s, closes %v", until, closes)
	}
	if shorter, closes := g.shut(now, fault.Down, time.Second); closes || !shorter.Equal(until) {
		t.Error("a shorter wait must not replace a longer one")
	}
	leave(8)
	if !g.outSince().Equal(now) {
		t.Error("calls that were sent before say nothing about now")
	}
	now = until
	if enter(1) != 0 {
		t.Error("in before anybody looked whether the vendor is back")
	}
	g.open(true)
	for _, want := range []int{1, 10, 100, 5000} {
		granted := enter(5000)
		if granted != want {
			t.Fatalf("%d at a time, want %d", granted, want)
		}
		if more := enter(1); want < 5000 && more != 0 {
			t.Errorf("more than %d at a time", want)
		}
		leave(granted)
	}
	if !g.outSince().IsZero() {
		t.Error("the vendor is back")
	}
}

func TestGateLeavesAVendorAloneLongerEachTime(t *testing.T) {
	for class, longest := range map[fault.Class]time.Duration{fault.Down: time.Minute, fault.Unauthorized: 5 * time.Minute} {
		now, g := time.Unix(1e9, 0), newGate(Vendor{}, 1, 1)
		until, _ := g.shut(now, class, 0)
		last := until.Sub(now)
		for range 12 {
			now = until
			until = g.stillOut(now, class, 0)
			if pause := until.Sub(now); pause < last || pause > longest {
				t.Fatalf("%s: pause %s after %s", class, pause, last)
			}
			last = until.Sub(now)
		}
		if last != longest {
			t.Errorf("%s: ends at %s, want %s", class, last, longest)
		}
	}
}

func TestOnlyAnswersLostInARowAreAVendorThatIsOut(t *testing.T) {
	g := newGate(Vendor{}, 1, 1)
	for range 3 {
		for range lostInARow - 1 {
			if g.lostAnswer() {
				t.Fatal("out too soon")
			}
		}
		g.reached()
	}
	for range lostInARow - 1 {
		g.lostAnswer()
	}
	if !g.lostAnswer() {
		t.Error("not out")
	}
}

func TestConsumerIsStuckWhenNothingIsSettledForLong(t *testing.T) {
	var p progress
	now := time.Unix(1e9, 0)
	if p.stuck(now) != nil {
		t.Error("stuck before anybody looked")
	}
	p.note(now)
	if p.stuck(now.Add(stuckAfter-time.Second)) != nil || p.stuck(now.Add(stuckAfter)) == nil {
		t.Error("want stuck after five minutes, not before")
	}
	p.patience = 2 * stuckAfter
	if p.stuck(now.Add(stuckAfter)) != nil || p.stuck(now.Add(2*stuckAfter)) == nil {
		t.Error("want stuck after twice the longest handling where that is more, not before")
	}
}

func TestRetriesSpanADay(t *testing.T) {
	var longest time.Duration
	attempts := 1
	for ; ; attempts++ {
		delay, again := retryDelay(attempts, rand.Float64())
		if !again {
			break
		}
		if full := delays[attempts-1]; delay < full/2 || delay > full {
			t.Errorf("attempt %d waits %s, want between %s and %s", attempts, delay, full/2, full)
		}
		longest += delays[attempts-1]
	}
	if attempts != 18 || longest < 23*time.Hour || longest > 26*time.Hour {
		t.Errorf("%d attempts over %s", attempts, longest)
	}
}
