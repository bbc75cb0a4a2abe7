package quota

import (
	"maps"
	"time"
)

const (
	minute = time.Minute
	// pace is the part of a limit that is used. The rest, nearly two seconds of a minute, is for calls that take longer
	// than others to reach the vendor: no window of a minute, wherever it begins, sees more than the limit.
	pace = 0.97
	// horizon is how far ahead turns are given: long enough to hide how long a change of the record takes, short enough
	// that few calls are under way when one is refused.
	horizon = 250 * time.Millisecond
	// tolerance is by how much a limit may catch up on turns that nobody took. It is also what keeps two limits of one
	// call from pushing each other into the future.
	tolerance = horizon
	// burst is how many turns are caught up on at the most: a vendor's bucket may hold no more.
	burst = 4
)

// record is what the fleet knows of a vendor. It is changed by compare-and-set only.
type record struct {
	// Rates by the name of a limit. One that nobody was held to is not here.
	Rates map[string]*rate `json:"rates,omitempty"`
	// Places by the limiter that has them.
	Places map[string]*places `json:"places,omitempty"`
}

// rate is how far a limit is used: the theoretical arrival time of the generic cell rate algorithm, less the tolerance.
type rate struct {
	// Next is when the next call may start.
	Next time.Time `json:"next,omitzero"`
	// Closed is until when no call may start.
	Closed time.Time `json:"closed,omitzero"`

	// What follows is for learning from refusals.

	// Since is when calls began to come without a break, and Count how many have since.
	Since time.Time `json:"since,omitzero"`
	Count int       `json:"count,omitzero"`
	// Last is the second, since 1970, that History ends with: calls of each of the last seconds.
	Last    int64 `json:"last,omitzero"`
	History []int `json:"history,omitempty"`
	// Learned is the vendor's limit as it showed itself, 0 where it never did; at Refused, and believed for Hold.
	Learned float64       `json:"learned,omitzero"`
	Refused time.Time     `json:"refused,omitzero"`
	Hold    time.Duration `json:"hold,omitzero"`
}

func (r *record) rate(name string) *rate {
	if r.Rates == nil {
		r.Rates = map[string]*rate{}
	}
	if r.Rates[name] == nil {
		r.Rates[name] = &rate{}
	}
	return r.Rates[name]
}

// closed tells for how long from now on a call that these limits hold for must not be made.
func (r *record) closed(names []string, now time.Time) time.Duration {
	var longest time.Duration
	for _, name := range names {
		if one := r.Rates[name]; one != nil {
			longest = max(longest, one.Closed.Sub(now))
		}
	}
	return longest
}

// next is when a call that these limits hold for may start.
func (r *record) next(names []string, now time.Time) time.Time {
	at := now
	for _, name := range names {
		if one := r.Rates[name]; one != nil {
			at = later(at, later(one.Next, one.Closed))
		}
	}
	return at
}

// take uses up a call of these limits that starts at this time. It tells whether there are any.
func (r *record) take(names []string, limits Limits, at time.Time) (changed bool) {
	for _, name := range names {
		if limits.of(name) == 0 {
			continue
		}
		one := r.rate(name)
		one.take(at, interval(one.limit(limits.of(name), at)))
		changed = true
	}
	return changed
}

func (r *rate) take(at time.Time, interval time.Duration) {
	if at.Sub(r.Next) > breakAfter {
		r.Since, r.Count = at, 0
	}
	r.Count++
	r.note(at)
	r.Next = later(r.Next, at.Add(-min(tolerance, burst*interval))).Add(interval)
}

// interval is the time between two calls at the pace of a limit.
func interval(perMinute float64) time.Duration {
	return time.Duration(float64(minute) / (perMinute * pace))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// places are what one limiter has of the calls that may run at once.
type places struct {
	Held int `json:"held,omitzero"`
	// Wants tells that calls wait for more.
	Wants bool `json:"wants,omitzero"`
	// Since is when Held changed last, or the first call began to wait.
	Since time.Time `json:"since,omitzero"`
	// Until is when the fleet takes them back from a limiter that does not show itself.
	Until time.Time `json:"until"`
	// Of is the process that has them.
	Of process `json:"of,omitzero"`
}

const (
	// placesLease is how long places stay with a limiter that was killed. It outlives the longest call.
	placesLease = 30 * time.Second
	// renewBelow is when a limiter with calls under way renews its lease.
	renewBelow = 24 * time.Second
)

func (r *record) put(owner string, p *places) {
	if r.Places == nil {
		r.Places = map[string]*places{}
	}
	r.Places[owner] = p
}

// sweep forgets limiters that do not show themselves, and those of processes that ended beside us.
func (r *record) sweep(now time.Time) (changed bool) {
	before := len(r.Places)
	maps.DeleteFunc(r.Places, func(_ string, p *places) bool { return now.After(p.Until) || p.Of.endedBeside(self()) })
	return len(r.Places) != before
}

// free is how many of the parallel calls nobody holds.
func (r *record) free(parallel int) int {
	for _, p := range r.Places {
		parallel -= p.Held
	}
	return max(parallel, 0)
}

// first tells how many others come before mine when a place is free: those that want one and have fewer, or have waited
// longer.
func (r *record) first(mine *places) (n int) {
	for _, p := range r.Places {
		if p != mine && p.Wants && (p.Held < mine.Held || p.Held == mine.Held && p.Since.Before(mine.Since)) {
			n++
		}
	}
	return n
}

// poorest is the fewest places that another has who wants more; all if nobody does.
func (r *record) poorest(mine *places, all int) int {
	for _, p := range r.Places {
		if p != mine && p.Wants {
			all = min(all, p.Held)
		}
	}
	return all
}
