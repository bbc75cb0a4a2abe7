package quota_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/quota"
)

func TestTheFleetKeepsToALimitAndUsesIt(t *testing.T) {
	for _, replicas := range []int{1, 4} {
		for _, limit := range []int{20, 100, 500, 3000} {
			t.Run(fmt.Sprintf("%d replicas, %d a minute", replicas, limit), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v, bucket := &vendor{latency: 400 * time.Millisecond}, &memory{delay: 2 * time.Millisecond}
					all := limitersOf(bucket, replicas, quota.Limits{Operations: map[string]int{"create": limit}})
					begun := time.Now()
					ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
					defer cancel()
					fleet(ctx, all, 48/replicas, "create", v)
					within(t, "calls of the busiest minute", v.busiest(), limit*94/100, limit)
					within(t, "calls of 3 minutes", v.passed(begun, begun.Add(3*time.Minute)), 3*limit*94/100, 3*limit)
					t.Logf("busiest %d, all %d, writes %d, lost races %d", v.busiest(), len(v.calls), bucket.writes, bucket.lost)
				})
			})
		}
	}
}

func TestTwoLimitsOfOneCallDoNotHoldEachOtherUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Both operations and the total are nearly used up.
		limits := quota.Limits{PerMinute: 1000, Operations: map[string]int{"make": 500, "pages": 500}, Groups: map[string]string{"create": "make", "update": "make", "list": "pages"}}
		made, listed := &vendor{latency: 400 * time.Millisecond}, &vendor{latency: 400 * time.Millisecond}
		all := limitersOf(&memory{delay: 2 * time.Millisecond}, 3, limits)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		var both sync.WaitGroup
		both.Go(func() { fleet(ctx, all[:1], 12, "create", made) })
		both.Go(func() { fleet(ctx, all[1:2], 12, "update", made) })
		both.Go(func() { fleet(ctx, all[1:], 12, "list", listed) })
		both.Wait()
		within(t, "calls of a group in the busiest minute", made.busiest(), 470, 500)
		within(t, "calls of the other", listed.busiest(), 470, 500)
		within(t, "calls of 3 minutes", len(made.calls)+len(listed.calls), 3*940, 3*1000)
	})
}

func TestClocksThatDifferDoNotMatter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket, v := &memory{delay: 2 * time.Millisecond, ahead: 3 * time.Hour}, &vendor{latency: 400 * time.Millisecond}
		limits := quota.Limits{PerMinute: 300}
		var all []*quota.Limiter
		for _, off := range []time.Duration{0, time.Hour, -time.Hour, 20 * time.Second} {
			all = append(all, quota.New(bucket, "acme", limits, quota.WithClock(func() time.Time { return time.Now().Add(off) })))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		fleet(ctx, all, 4, "create", v)
		within(t, "calls of the busiest minute", v.busiest(), 282, 300)
		within(t, "calls of 3 minutes", len(v.calls), 3*282, 900)
	})
}

func TestARefusalTeachesTheLimit(t *testing.T) {
	for name, window := range map[string]window{"fixed": fixed, "sliding": sliding} {
		for _, real := range []int{50, 200, 300, 450} {
			for _, replicas := range []int{1, 4} {
				if replicas == 1 && real != 300 {
					continue
				}
				t.Run(fmt.Sprintf("%s window of %d, %d replicas", name, real, replicas), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { learns(t, &vendor{limit: real, window: window}, replicas, 90) })
				})
			}
		}
	}
	for _, real := range []int{50, 200, 300} {
		t.Run(fmt.Sprintf("leaky bucket of %d", real), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { learns(t, &vendor{limit: real, window: leaking(float64(real))}, 4, 90) })
		})
	}
	t.Run("leaky bucket that holds few", func(t *testing.T) { // what it lets pass does not tell it from one with a lower limit
		synctest.Test(t, func(t *testing.T) { learns(t, &vendor{limit: 300, window: leaking(40)}, 4, 20) })
	})
	t.Run("sliding window of a vendor that does not say when", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { learns(t, &vendor{limit: 300, window: sliding, mute: true}, 4, 90) })
	})
}

// learns lets a fleet that believes in 500 calls a minute find out that there are fewer. From the first refusal on, but for
// the calls that were under way then, none is refused, and least percent of the pace are used.
func learns(t *testing.T, v *vendor, replicas, least int) {
	t.Helper()
	pass(17 * time.Second) // of the bubble: into a window of the vendor's
	v.latency = 400 * time.Millisecond
	all := limitersOf(&memory{delay: 2 * time.Millisecond}, replicas, quota.Limits{Operations: map[string]int{"create": 500}})
	begun := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	fleet(ctx, all, 32/replicas, "create", v)
	if len(v.refusals) == 0 {
		t.Fatal("nothing was ever refused: the test shows nothing")
	}
	if n := v.refusedAfterTheFirst(time.Second); n > 0 {
		t.Errorf("%d calls were refused later than the first", n)
	}
	within(t, "calls of the last 4 minutes", v.passed(begun.Add(4*time.Minute), begun.Add(8*time.Minute)), 4*v.limit*least/100, 4*v.limit)
}

// admit asks for a turn without waiting long.
func admit(t *testing.T, l *quota.Limiter, operation string) (func(), *fault.Fault) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 6500*time.Millisecond) // leaves half a second for waiting
	defer cancel()
	release, err := l.Admit(ctx, operation)
	if err == nil {
		return release, nil
	}
	f := fault.From(err)
	if f.Class != fault.Busy || f.Vendor != "acme" || f.After <= 0 {
		t.Errorf("fault %+v, want Busy of acme with After", f)
	}
	return nil, f
}

func TestARefusalStopsTheFleetForThisOperationAlone(t *testing.T) {
	for _, after := range []time.Duration{5 * time.Minute, 0, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			all := limitersOf(&memory{delay: time.Millisecond}, 2, quota.Limits{PerMinute: 3000, Operations: map[string]int{"create": 500, "list": 500}})
			defer pass(time.Minute) // of the bubble: for the limiters to put everything away
			if _, f := admit(t, all[0], "create"); f != nil {
				t.Fatal(f)
			}
			begun := time.Now()
			all[0].Refused(t.Context(), "create", after)
			closed := cmp.Or(after, time.Minute)
			for _, l := range all {
				if _, f := admit(t, l, "create"); f == nil || f.After < closed-time.Since(begun) || f.After > closed*12/10+time.Second {
					t.Errorf("refused for %s: %v", after, f)
				}
				for _, other := range []string{"list", "something else"} {
					if _, f := admit(t, l, other); f != nil {
						t.Errorf("%s: %v", other, f)
					}
				}
			}
			pass(closed - time.Since(begun) - time.Second)
			if _, err := all[1].Admit(t.Context(), "create"); err != nil || time.Since(begun) < closed {
				t.Errorf("admitted after %s of %s: %v", time.Since(begun), closed, err)
			}
		})
	}
}

func TestTimeToComeBackTeachesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, all := &vendor{latency: 100 * time.Millisecond}, limitersOf(&memory{delay: time.Millisecond}, 2, quota.Limits{PerMinute: 600})
		all[0].Away(t.Context(), "create", 30*time.Second)
		if _, f := admit(t, all[1], "create"); f == nil {
			t.Error("admitted while the vendor was away")
		}
		pass(31 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		fleet(ctx, all, 4, "create", v)
		within(t, "calls of a minute", len(v.calls), 560, 600)
	})
}

func TestAWaitThatIsTooLongIsHandedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := limitersOf(&memory{delay: time.Millisecond}, 1, quota.Limits{PerMinute: 4})[0]
		defer pass(time.Minute) // of the bubble: for the limiter to put everything away
		if _, f := admit(t, l, "create"); f != nil {
			t.Fatal(f)
		}
		begun := time.Now()
		_, err := l.Admit(t.Context(), "create")
		f := fault.From(err)
		if f.Class != fault.Busy || f.After < 14*time.Second || f.After > 18*time.Second || time.Since(begun) > time.Second {
			t.Errorf("after %s: %v, After %s", time.Since(begun), err, f.After)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		if _, err := l.Admit(ctx, "create"); err == nil || !(fault.Is(err, fault.Transient) || fault.Is(err, fault.Busy)) {
			t.Errorf("ended work: %v", err)
		}
	})
}

func TestWithoutTheBucketNothingIsAdmitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := &memory{delay: time.Millisecond}
		all := limitersOf(bucket, 2, quota.Limits{PerMinute: 600, Operations: map[string]int{"create": 300}, Parallel: 2})
		defer pass(time.Minute) // of the bubble: for the limiters to put everything away
		bucket.fail(errors.New("no broker"))
		if _, f := admit(t, all[0], "create"); f == nil || !strings.Contains(f.Reason, "no broker") {
			t.Errorf("without a bucket: %v", f)
		}
		all[0].Refused(t.Context(), "create", 20*time.Second) // what cannot be told now is told later
		bucket.fail(nil)
		pass(3 * time.Second)
		if _, f := admit(t, all[1], "create"); f == nil || f.After < 10*time.Second {
			t.Errorf("the fleet was not told: %v", f)
		}
		release, f := admit(t, all[1], "list")
		if f != nil {
			t.Fatal(f)
		}
		release()
	})
}

func TestParallelCallsOfTheFleet(t *testing.T) {
	for _, c := range []struct{ replicas, parallel int }{{1, 6}, {4, 6}, {8, 6}, {4, 1}} {
		t.Run(fmt.Sprintf("%d replicas, %d places", c.replicas, c.parallel), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bucket, shared := &memory{delay: 2 * time.Millisecond}, &vendor{latency: 400 * time.Millisecond}
				counts := make([]int, c.replicas)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				var all sync.WaitGroup
				var mu sync.Mutex
				for i, l := range limitersOf(bucket, c.replicas, quota.Limits{Parallel: c.parallel}) {
					for range 6 {
						all.Go(func() { n := work(ctx, l, "create", shared); mu.Lock(); counts[i] += n; mu.Unlock() })
					}
				}
				all.Wait()
				pass(time.Minute) // of the bubble: for the limiters to put everything away
				within(t, "calls at once", shared.most, c.parallel, c.parallel)
				// A call takes 0.35 to 0.5 s.
				within(t, "calls", len(shared.calls), 2*60*c.parallel*2*85/100, 2*60*c.parallel*3)
				for i, n := range counts {
					if even := len(shared.calls) / c.replicas; n < even*2/3 || n > even*3/2 {
						t.Errorf("replica %d made %d calls, an even part is %d", i, n, even)
					}
				}
				t.Logf("calls %v, writes %d", counts, bucket.writes)
			})
		})
	}
}

func TestPlacesOfAKilledReplicaComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bucket := &memory{delay: time.Millisecond}
		killed := &cut{memory: bucket}
		victim := quota.New(killed, "acme", quota.Limits{Parallel: 2})
		other := quota.New(bucket, "acme", quota.Limits{Parallel: 2})
		var releases []func()
		for range 2 {
			release, err := victim.Admit(t.Context(), "create")
			if err != nil {
				t.Fatal(err)
			}
			releases = append(releases, release)
		}
		killed.dead.Store(true) // it never gives them back
		begun := time.Now()
		if _, f := admit(t, other, "create"); f == nil {
			t.Error("a third call was admitted")
		}
		for {
			if release, f := admit(t, other, "create"); f == nil {
				release()
				break
			}
			if time.Since(begun) > time.Minute {
				t.Fatal("never")
			}
		}
		if took := time.Since(begun); took < 15*time.Second || took > 32*time.Second {
			t.Errorf("taken over after %s", took)
		}
		killed.dead.Store(false)
		for _, release := range releases {
			release()
		}
		pass(time.Minute) // of the bubble: for the limiters to put everything away
	})
}
