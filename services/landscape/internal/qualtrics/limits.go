package qualtrics

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Brand is the group of all calls together.
const Brand = "brand"

// published are the limits of qualtrics.md §4.1 in calls a minute, by group: a row of the table there.
var published = map[string]int{
	Brand:               3000,
	"whoami":            3000,
	"directoryContacts": 500,
	"contactReads":      3000,
	"listContacts":      500,
	"imports":           100,
	"importStatus":      500,
	"transactions":      500,
	"batches":           500,
	"batchContents":     3000,
	"distributions":     3000,
	"links":             500,
	"history":           300,
	"subscriptions":     120,
	"responses":         240,
	"erasures":          20,
}

// The kinds of limit.
const (
	// LeakyBucket fills with each call and empties evenly (qualtrics.md §2.7: so Qualtrics is said to behave).
	LeakyBucket = "bucket"
	// FixedWindow counts anew when a window begins, on the minute for windows of a minute.
	FixedWindow = "fixed"
	// SlidingWindow counts the calls of the last window, at every moment.
	SlidingWindow = "sliding"
)

var limitKinds = []string{"", LeakyBucket, FixedWindow, SlidingWindow}

// Limits are the brand's limits. A call must be within that of its group and within that of the brand; a refused call
// counts towards neither.
type Limits struct {
	// Enforced turns them on.
	Enforced bool `json:"enforced"`
	// Kind is bucket (or empty), fixed or sliding.
	Kind string `json:"kind"`
	// Calls are the calls allowed in a window by group, in place of the published ones; 0 lifts a limit.
	Calls map[string]int `json:"calls"`
	// Window is the time that Calls are for; 0 means a minute.
	Window time.Duration `json:"window"`
	// Burst is how many calls a bucket takes at once; 0 means those of a whole window.
	Burst int `json:"burst"`
	// NoRetryAfter leaves the header out of refusals.
	NoRetryAfter bool `json:"noRetryAfter"`
	// ErrorCode is the errorCode of refusals; empty leaves it out (qualtrics.md §9.7).
	ErrorCode string `json:"errorCode"`
}

func (l *Limits) check() error {
	if !slices.Contains(limitKinds, l.Kind) {
		return fmt.Errorf("limits.kind: %q is none of bucket, fixed, sliding", l.Kind)
	}
	if l.Window < 0 || l.Burst < 0 {
		return fmt.Errorf("limits.window, limits.burst: none may be negative")
	}
	for group, calls := range l.Calls {
		if _, known := published[group]; !known {
			return fmt.Errorf("limits.calls: %q is none of %s", group, strings.Join(slices.Sorted(maps.Keys(published)), ", "))
		}
		if calls < 0 {
			return fmt.Errorf("limits.calls.%s: must not be negative", group)
		}
	}
	l.Kind, l.Window = cmp.Or(l.Kind, LeakyBucket), cmp.Or(l.Window, time.Minute)
	return nil
}

// of gives the calls that a group may make in a window; 0 is no limit.
func (l Limits) of(group string) int {
	if calls, set := l.Calls[group]; set {
		return calls
	}
	return published[group]
}

// Limit is how one group of calls stands. Only groups that were called are in the books, and only while limits are
// enforced.
type Limit struct {
	Group string `json:"group"`
	// Calls is the limit, in calls a window.
	Calls    int `json:"calls"`
	Admitted int `json:"admitted"`
	Refused  int `json:"refused"`
	// Early are the calls, admitted or not, that came before the Retry-After of an earlier refusal was over. Calls that
	// were underway when the refusal was answered are among them.
	Early int `json:"early"`
	// Refusals are the first refusals, at most 10,000.
	Refusals []Refusal `json:"refusals"`
}

// Refusal is one call that was over the limit.
type Refusal struct {
	At        time.Time `json:"at"`
	Operation string    `json:"operation"`
	// RetryAfter is the wait that was named, or would have been with the header on, in seconds.
	RetryAfter int `json:"retryAfter"`
}

const refusalsKept = 10_000

// limiter counts the calls of all groups. It is guarded by the simulator's lock.
type limiter struct {
	limits Limits
	groups map[string]*group
}

type group struct {
	Limit
	gauge gauge
	until time.Time // the latest end of a Retry-After
}

func newLimiter(limits Limits) *limiter { return &limiter{limits: limits, groups: map[string]*group{}} }

// admit lets a call pass, or refuses it with 429 (qualtrics.md §2.7).
func (l *limiter) admit(operation, groupName string, now time.Time) error {
	if !l.limits.Enforced {
		return nil
	}
	var all []*group
	for _, name := range slices.Compact([]string{Brand, groupName}) {
		if l.limits.of(name) > 0 {
			all = append(all, l.group(name))
		}
	}
	var binding *group
	var longest time.Duration
	for _, g := range all {
		if now.Before(g.until) {
			g.Early++
		}
		if wait := g.gauge.wait(now); wait > longest {
			binding, longest = g, wait
		}
	}
	if binding != nil {
		return l.refuse(binding, operation, now, longest)
	}
	for _, g := range all {
		g.gauge.take(now)
		g.Admitted++
	}
	return nil
}

func (l *limiter) group(name string) *group {
	if g, found := l.groups[name]; found {
		return g
	}
	calls := l.limits.of(name)
	g := &group{Limit: Limit{Group: name, Calls: calls, Refusals: []Refusal{}}, gauge: l.limits.gauge(calls)}
	l.groups[name] = g
	return g
}

func (l *limiter) refuse(g *group, operation string, now time.Time, wait time.Duration) error {
	seconds := int(math.Ceil(wait.Seconds()))
	g.Refused++
	if len(g.Refusals) < refusalsKept {
		g.Refusals = append(g.Refusals, Refusal{At: now, Operation: operation, RetryAfter: seconds})
	}
	if until := now.Add(time.Duration(seconds) * time.Second); until.After(g.until) && !l.limits.NoRetryAfter {
		g.until = until
	}
	refused := refuse(http.StatusTooManyRequests, l.limits.ErrorCode, "Too many requests: the limit of %s is reached.", g.Group)
	if !l.limits.NoRetryAfter {
		refused.retryAfter = seconds
	}
	return refused
}

// book gives how the groups stand, by name.
func (l *limiter) book() []Limit {
	all := make([]Limit, 0, len(l.groups))
	for _, name := range slices.Sorted(maps.Keys(l.groups)) {
		limit := l.groups[name].Limit
		limit.Refusals = slices.Clone(limit.Refusals)
		all = append(all, limit)
	}
	return all
}

// forget begins the counts anew and leaves the gauges.
func (l *limiter) forget() {
	for _, g := range l.groups {
		g.Limit, g.until = Limit{Group: g.Group, Calls: g.Calls, Refusals: []Refusal{}}, time.Time{}
	}
}

// gauge measures the calls of one group.
type gauge interface {
	// wait tells how long from now on no further call is admitted.
	wait(now time.Time) time.Duration
	// take counts an admitted call.
	take(now time.Time)
}

func (l Limits) gauge(calls int) gauge {
	switch l.Kind {
	case FixedWindow:
		return &fixed{calls: calls, window: l.Window}
	case SlidingWindow:
		return &sliding{calls: calls, window: l.Window}
	}
	return &bucket{room: float64(min(cmp.Or(l.Burst, calls), calls)), drip: l.Window / time.Duration(calls)}
}

// bucket holds room calls and loses one each drip.
type bucket struct {
	room, level float64
	drip        time.Duration
	at          time.Time
}

func (b *bucket) wait(now time.Time) time.Duration {
	b.level = max(0, b.level-float64(now.Sub(b.at))/float64(b.drip))
	b.at = now
	return time.Duration((b.level + 1 - b.room) * float64(b.drip))
}

func (b *bucket) take(time.Time) { b.level++ }

type fixed struct {
	calls, taken int
	window       time.Duration
	began        time.Time
}

func (f *fixed) wait(now time.Time) time.Duration {
	if began := now.Truncate(f.window); !began.Equal(f.began) {
		f.began, f.taken = began, 0
	}
	if f.taken < f.calls {
		return 0
	}
	return f.began.Add(f.window).Sub(now)
}

func (f *fixed) take(time.Time) { f.taken++ }

type sliding struct {
	calls  int
	window time.Duration
	taken  []time.Time // oldest first, those of the last window
}

func (s *sliding) wait(now time.Time) time.Duration {
	old := 0
	for old < len(s.taken) && now.Sub(s.taken[old]) >= s.window {
		old++
	}
	s.taken = s.taken[old:]
	if len(s.taken) < s.calls {
		return 0
	}
	return s.taken[0].Add(s.window).Sub(now)
}

func (s *sliding) take(now time.Time) { s.taken = append(s.taken, now) }
