package bus

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestGateLetsOneCallFindOutWhetherTheVendorIsBack(t *testing.T) {
	now := time.Unix(1e9, 0)
	g := &gate{}
	enter := func() (bool, bool) {
		wait, probing := g.enter(now)
		return wait == 0, probing
	}
	if in, probing := enter(); !in || probing {
		t.Fatal("an open gate must let everybody in")
	}
	until, first := g.out(now, time.Minute)
	if !first || !until.Equal(now.Add(time.Minute)) {
		t.Fatalf("until %s, first %v", until, first)
	}
	if shorter, _ := g.out(now, time.Second); !shorter.Equal(until) {
		t.Error("a shorter wait must not replace a longer one")
	}
	if in, _ := enter(); in {
		t.Error("in while the vendor is out")
	}
	now = until
	if in, probing := enter(); !in || !probing {
		t.Fatal("after the pause one must go first")
	}
	if in, _ := enter(); in {
		t.Error("a second went along with the first")
	}
	g.release() // what became of the first said nothing
	if in, probing := enter(); !in || !probing {
		t.Error("the next must become the first")
	}
	if !g.reached() {
		t.Error("the vendor was out and is back")
	}
	if in, probing := enter(); !in || probing {
		t.Error("the gate must be open again")
	}
}

func TestGateLeavesAVendorAloneLongerEachTime(t *testing.T) {
	now, g := time.Unix(1e9, 0), &gate{}
	var last time.Duration
	for range 12 {
		until, _ := g.out(now, 0)
		pause := until.Sub(now)
		if pause < last || pause > 5*time.Minute {
			t.Fatalf("pause %s after %s", pause, last)
		}
		last, now = pause, until
		g.enter(now)
	}
	if last != 5*time.Minute {
		t.Errorf("ends at %s, want 5 minutes", last)
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
