package bus

import (
	"sync"
	"time"
)

// gates are one for each type of event: events of one type call the same vendor, and that one which does not call it
// succeeded says nothing about it.
type gates struct {
	mu    sync.Mutex
	gates map[string]*gate
}

func (g *gates) of(eventType string) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gates == nil {
		g.gates = map[string]*gate{}
	}
	if g.gates[eventType] == nil {
		g.gates[eventType] = &gate{}
	}
	return g.gates[eventType]
}

// allOpen tells that no vendor is known to be out.
func (g *gates) allOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, one := range g.gates {
		if !one.open() {
			return false
		}
	}
	return true
}

// gate keeps this replica's handlers away from a vendor that is out: messages that were delivered before the fleet
// paused would otherwise still call it. When the pause ends one call goes first; the others follow when it came through.
type gate struct {
	mu       sync.Mutex
	until    time.Time // closed before this
	told     time.Time // what the fleet was told last
	failures int       // in a row
	probing  bool      // one call is on its way after a pause
}

// probeWait is how long others wait while one call finds out whether the vendor is back.
const probeWait = 2 * time.Second

// enter gives 0 when the vendor may be called now, else how long to wait. probing tells the first call after a pause;
// it must give that back with release, whatever comes of it.
func (g *gate) enter(now time.Time) (wait time.Duration, probing bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case now.Before(g.until):
		return g.until.Sub(now), false
	case g.failures == 0:
		return 0, false
	case g.probing:
		return probeWait, false
	}
	g.probing = true
	return 0, true
}

// reached notes that the vendor answered. It tells whether it had been out.
func (g *gate) reached() (wasOut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failures > 0 && !g.probing {
		return false // sent before the vendor was found to be out
	}
	wasOut = g.failures > 0
	g.failures, g.probing, g.until = 0, false, time.Time{}
	return wasOut
}

// out notes that the vendor is out and gives the time until which nobody should call. after is what the vendor asked
// for. Calls that were under way together count as one failure.
func (g *gate) out(now time.Time, after time.Duration) (until time.Time, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	first = g.failures == 0
	if first || g.probing {
		g.failures++
	}
	g.probing = false
	pause := max(after, pauseDelay(g.failures))
	if proposed := now.Add(pause); proposed.After(g.until) {
		g.until = proposed
	}
	return g.until, first
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

func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.failures == 0
}

// release gives back the right to be the first call.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.probing = false
}
