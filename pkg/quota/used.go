package quota

import (
	"context"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
)

// Names of the limits that are no operation's.
const (
	allCalls = "all"
	atOnce   = "parallel"
)

// Used tells how much of each limit the fleet uses, as this limiter last saw the record: calls of the last minute, and those
// under way now. The order is the same each time.
func (l *Limiter) Used() []activity.Limit {
	now, known := l.clock.now(), l.store.seen()
	var all []activity.Limit
	rates := func(limit, name string, configured int) {
		if configured == 0 {
			return
		}
		one := known.Rates[name]
		if one == nil {
			one = &rate{} // nobody was held to it yet
		}
		all = append(all, activity.Limit{Name: limit, Used: one.calls(now, minute), Most: one.limit(configured, now)})
	}
	rates(allCalls, total, l.limits.PerMinute)
	for _, name := range slices.Sorted(maps.Keys(l.limits.Operations)) {
		rates(name, name, l.limits.Operations[name])
	}
	if most := l.limits.Parallel; most > 0 {
		all = append(all, activity.Limit{Name: atOnce, Used: float64(most - known.free(most)), Most: float64(most)})
	}
	return all
}

const (
	// tellEvery is how often it is looked whether there is something to tell.
	tellEvery = 10 * time.Second
	// tellAgain is how often it is told although nothing has changed: what was told before is not kept for ever.
	tellAgain = time.Hour
	// tellChange is the part of a limit by which the use of it must have changed.
	tellChange = 0.01
)

// Tell tells how much of the limits is used, every few seconds while that changes by a hundredth of one, until ctx ends.
func (l *Limiter) Tell(ctx context.Context, service string, tell func(activity.Quota)) {
	ticker := time.NewTicker(tellEvery)
	defer ticker.Stop()
	var told activity.Quota
	for {
		if now, used := time.Now().UTC(), l.Used(); changed(told.Limits, used) || now.Sub(told.At) >= tellAgain {
			told = activity.Quota{Service: service, Vendor: l.vendor, At: now, Limits: used}
			tell(told)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// changed tells whether people would see a difference.
func changed(told, now []activity.Limit) bool {
	return !slices.EqualFunc(told, now, func(a, b activity.Limit) bool {
		return a.Name == b.Name && a.Most == b.Most && math.Abs(a.Used-b.Used) < tellChange*b.Most
	})
}
