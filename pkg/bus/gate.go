package bus

import (
	"slices"
	"sync"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/fault"
)

// gates are one for each vendor, by the events that need it.
type gates struct {
	all  []*gate
	none *gate // of events that need no vendor
}

// crowd is how many events of one vendor may be in hand where events of others must not wait behind them.
const crowd = 1000

// newGates makes a gate for each vendor, with workers of its own: one that is slow, or whose limits bind, holds up only its own
// events.
func newGates(vendors []Vendor, parallel, inHand int) gates {
	if len(vendors) == 0 {
		vendors = []Vendor{{}}
	}
	g := gates{none: newGate(Vendor{}, parallel, inHand)}
	for _, v := range vendors {
		most := inHand
		if len(v.Types) > 0 {
			most += crowd
		}
		one := newGate(v, parallel, most)
		one.whole = len(v.Types) == 0
		g.all = append(g.all, one)
	}
	return g
}

// of gives the gate of an event's type.
func (g *gates) of(eventType string) *gate {
	for _, one := range g.all {
		if len(one.vendor.Types) == 0 || slices.Contains(one.vendor.Types, eventType) {
			return one
		}
	}
	return g.none
}

// closed tells that some vendor is out.
func (g *gates) closed() bool {
	return slices.ContainsFunc(g.every(), func(one *gate) bool { return !one.isOpen() })
}

func (g *gates) every() []*gate { return append([]*gate{g.none}, g.all...) }

// idle tells that no event is in hand.
func (g *gates) idle() bool {
	return !slices.ContainsFunc(g.every(), func(one *gate) bool { return len(one.slots) > 0 })
}

const (
	// lostInARow is how many calls in a row may lose their answers before that is taken for the vendor being out. Single
	// ones do get lost; each more would be one more that has to be looked up.
	lostInARow = 5
	// fullFlow is how many events at a time are no longer told apart from all.
	fullFlow = 1000
	// rise is how many more events may go for each that came through: with the one, ten times as many.
	rise = 9
)

// gate keeps this replica's handlers away from a vendor that is out: messages that were delivered before the fleet
// paused would otherwise still call it. It is a circuit breaker, with closed and open the other way round: a closed gate lets
// nobody through. Once closed it stays so until [gate.open]. Then one event goes first, and for each that
// came through more may go at a time, so that the backlog does not throw the vendor over again.
type gate struct {
	vendor  Vendor
	whole   bool          // all events of the service need it, so that its consumers can pause
	slots   chan struct{} // messages in hand, waiting ones included
	workers chan struct{} // handlers at work

	mu       sync.Mutex
	closed   bool
	until    time.Time     // when to look whether the vendor is back
	since    time.Time     // it is out, zero if it is not
	back     bool          // it was opened since, and not to find out
	told     time.Time     // what the fleet was told last
	class    fault.Class   // why it is out
	failures int           // in a row
	lost     int           // answers in a row
	limit    int           // events at a time, 0 for no limit
	inFlight int           // events that have entered since it was last open, and not left
	round    int           // begins with 1 and ends when it is shut: what entered in an earlier one says nothing about now
	changed  chan struct{} // closed at each change that may let somebody in

	telling sync.Mutex // people are told of one state after the other
	known   activity.Vendor
}

func newGate(v Vendor, parallel, inHand int) *gate {
	return &gate{
		vendor: v, round: 1, slots: make(chan struct{}, inHand), workers: make(chan struct{}, parallel), changed: make(chan struct{}),
	}
}

// turnWait is how long somebody waits in hand for the gate to change, where nobody knows when it will.
const turnWait = 2 * time.Second

// enter lets up to wanted events in and tells how many; each must [gate.leave]. If it lets none in, it tells how long to wait,
// or until changed is closed.
func (g *gate) enter(now time.Time, wanted int) (granted, round int, wait time.Duration, changed <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		if wait = g.until.Sub(now); wait <= 0 {
			wait = turnWait // somebody is looking whether it is back
		}
		return 0, 0, wait, g.changed
	}
	granted = wanted
	if room := g.limit - g.inFlight; g.limit > 0 && room < wanted {
		// A wave is divided only when nothing else is under way: else it would go in crumbs.
		if granted = room; g.inFlight > 0 {
			return 0, 0, turnWait, g.changed
		}
	}
	g.inFlight += granted
	return granted, g.round, 0, nil
}

// leave makes room for another event.
func (g *gate) leave(round int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if round == g.round {
		g.inFlight--
		g.change()
	}
}

func (g *gate) change() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// reached notes that the vendor answered. back is since when it had been out, if this is the first answer since.
func (g *gate) reached() (back time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return time.Time{} // sent before the vendor was found to be out
	}
	back = g.since
	g.failures, g.lost, g.since = 0, 0, time.Time{}
	if g.limit > 0 {
		if g.limit += rise; g.limit >= fullFlow {
			g.limit = 0
		}
		g.change()
	}
	return back
}

// lostAnswer notes a call whose answer was lost, and tells whether the vendor must be taken to be out.
func (g *gate) lostAnswer() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost++
	return g.closed || g.lost >= lostInARow
}

// shut notes that the vendor is out and gives the time until which nobody should call. after is what the vendor asked
// for. Calls that were under way together count as one failure. closes tells that the gate was open: somebody must see to
// it that it is opened again.
func (g *gate) shut(now time.Time, class fault.Class, after time.Duration) (until time.Time, closes bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	closes = !g.closed
	if g.since.IsZero() {
		g.since = now
	}
	g.closed, g.limit, g.lost = true, 1, 0
	if closes {
		g.failures++
		g.round, g.inFlight = g.round+1, 0 // what is on its way still, perhaps for long, is not waited for
	}
	g.prolong(now, class, after)
	return g.until, closes
}

// stillOut notes that a look found the vendor out.
func (g *gate) stillOut(now time.Time, class fault.Class, after time.Duration) (until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failures++
	g.prolong(now, class, after)
	return g.until
}

func (g *gate) prolong(now time.Time, class fault.Class, after time.Duration) {
	g.class = class
	if proposed := now.Add(max(after, pauseDelay(class, g.failures))); proposed.After(g.until) {
		g.until = proposed
	}
}

// open lets events in again, one at first. back says that nothing speaks against the vendor any more.
func (g *gate) open(back bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed, g.back = false, back
	g.change()
}

// due is when to look whether the vendor is back, and why it is out.
func (g *gate) due() (time.Time, fault.Class) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.until, g.class
}

// state is how the vendor is for people who ask.
func (g *gate) state(now time.Time) activity.Vendor {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := activity.Vendor{Vendor: g.vendor.Name, At: now.UTC()}
	switch {
	case g.closed, !g.since.IsZero() && !g.back:
		v.State, v.Since, v.Class = activity.Out, g.since.UTC(), g.class
	default:
		v.State, v.Since = activity.Healthy, now.UTC()
		return v
	}
	if g.class == fault.Throttled {
		v.State = activity.Throttled
	}
	if g.closed { // else it is asked now
		v.Until = g.until.UTC()
	}
	return v
}

// outSince is since when the vendor is out, zero if it is not.
func (g *gate) outSince() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.since
}

// tellFleet tells whether the fleet must hear of a new end of the pause: all events of a wave that meets a vendor that is
// out come here within moments, and need not all tell it.
func (g *gate) tellFleet(until time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if until.Sub(g.told) < 100*time.Millisecond {
		return false
	}
	g.told = until
	return true
}

func (g *gate) isOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.closed
}

// rising tells that events may go only a few at a time.
func (g *gate) rising() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit > 0
}
