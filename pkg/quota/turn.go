package quota

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	// gather is about how long calls are gathered for one write while the limits make them wait.
	gather = 50 * time.Millisecond
	// linger is how long a place is kept for the next call of this process.
	linger = 200 * time.Millisecond
	// look is how often a limiter whose calls hand places to each other looks whether others want them.
	look = 500 * time.Millisecond
	// turnover is how long a limiter keeps a place at most while others have none.
	turnover = time.Second
	// retell is how often it is tried to tell the fleet of a refusal.
	retell = time.Second
	// waitShut is the longest that a call waits here for a closed limit to open, instead of being handed back.
	waitShut = 2 * time.Second
)

// run gives turns until nobody waits and the fleet knows of no place of ours.
func (l *Limiter) run() {
	last := time.Time{}
	for {
		l.mu.Lock()
		if len(l.queue) == 0 && len(l.refusals) == 0 && !l.listed {
			l.running = false
			l.mu.Unlock()
			return
		}
		wait := l.due(last).Sub(l.clock.now())
		l.mu.Unlock()
		if wait <= 0 {
			if !l.turn() {
				_ = sleep(context.Background(), retell) // the bucket may answer at once that it cannot
			}
			last = l.clock.now()
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-l.kick:
			timer.Stop()
		}
	}
}

// due is when a turn may be of use, as far as is known here: others can only make it later. With mu held.
func (l *Limiter) due(last time.Time) time.Time {
	now := l.clock.now()
	at := now.Add(time.Hour)
	if len(l.refusals) > 0 { // the fleet could not be told
		at = now
	}
	if l.listed {
		at = earlier(at, last.Add(look))
		if len(l.queue) == 0 && (l.inUse == 0 || l.held > l.inUse) {
			at = earlier(at, l.idle.Add(linger))
		}
	}
	for _, w := range l.queue {
		at = earlier(at, l.dueFor(w, now, last))
	}
	return at
}

func (l *Limiter) dueFor(w *waiter, now, last time.Time) time.Time {
	known := l.store.seen()
	next := known.next(w.names, now).Add(-horizon)
	switch {
	case known.closed(w.names, now) > waitShut, next.Sub(now) > time.Until(w.deadline):
		return now // to be handed back
	case next.After(now):
		// Spread out, so that each replica is first now and then.
		return later(next, last.Add(gather)).Add(spread(gather))
	case l.short && l.inUse >= l.held:
		return last.Add(2*gather + spread(2*gather))
	}
	return now
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// given are the answers of one turn.
type given struct {
	turns    map[*waiter]turn
	taken    int     // places that they take
	short    bool    // there were too few
	places   *places // ours, as the record has it
	refusals []refusal
	news     []string
}

// turn changes the record once: refusals go in, places come and go, and whoever may start now gets its turn. It
// tells whether the record could be read and written.
func (l *Limiter) turn() bool {
	l.turning <- struct{}{}
	defer func() { <-l.turning }()
	ctx, cancel := context.WithTimeout(context.Background(), changeTimeout)
	defer cancel()
	l.mu.Lock()
	queue, refusals := slices.Clone(l.queue), slices.Clone(l.refusals)
	l.mu.Unlock()
	err := l.clock.sync(ctx)
	var g given
	if err == nil {
		err = l.store.change(ctx, func(r *record) bool {
			g = given{turns: map[*waiter]turn{}, refusals: refusals}
			return l.work(r, queue, l.clock.now(), &g)
		})
	}
	if err != nil {
		l.fail(queue, err)
		return false
	}
	l.deliver(g)
	return true
}

// work is what a turn does with the record.
func (l *Limiter) work(r *record, queue []*waiter, now time.Time, g *given) (changed bool) {
	changed = l.refuse(r, g)
	if l.limits.Parallel > 0 {
		changed = l.keepPlaces(r, len(queue), now) || changed
	}
	changed = l.give(r, queue, now, g) || changed
	g.places = r.Places[l.owner]
	if mine := g.places; mine != nil && mine.Wants != g.short {
		mine.Wants, changed = g.short, true
		if mine.Held == 0 {
			mine.Since = now
		}
	}
	return changed
}

// fail answers all who wait while the record cannot be changed. Refusals stay for later, while they matter.
func (l *Limiter) fail(queue []*waiter, err error) {
	g := given{turns: map[*waiter]turn{}}
	for _, w := range queue {
		g.turns[w] = turn{err: l.unreachable(w, err)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.now()
	l.refusals = slices.DeleteFunc(l.refusals, func(r refusal) bool { return now.After(r.until()) })
	if now.Sub(l.told) > placesLease && l.inUse == 0 {
		l.listed, l.held = false, 0 // the fleet has taken them back
	}
	l.answer(g)
}

func (l *Limiter) deliver(g given) {
	for _, news := range g.news {
		l.log.Warn("the vendor refuses calls for a while", "vendor", l.vendor, "limit", news)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refusals, l.told = l.refusals[len(g.refusals):], l.clock.now()
	l.listed, l.held, l.short = g.places != nil, 0, g.short
	if l.listed {
		l.held = g.places.Held
	}
	l.answer(g)
}

// answer answers those who still wait, with mu held.
func (l *Limiter) answer(g given) {
	l.queue = slices.DeleteFunc(l.queue, func(w *waiter) bool {
		got, found := g.turns[w]
		if found {
			w.turn <- got
		}
		if found && got.err == nil && l.limits.Parallel > 0 {
			l.inUse++
		}
		return found
	})
}

func (l *Limiter) refuse(r *record, g *given) (changed bool) {
	for _, f := range g.refusals {
		changed = true
		one, configured := r.rate(f.name), l.limits.of(f.name)
		if !one.refuse(f, configured) {
			continue
		}
		name := f.name
		if name == total {
			name = "all calls"
		}
		news := fmt.Sprintf("%s: closed for %s", name, one.Closed.Sub(f.at).Round(time.Millisecond))
		if f.quota && one.Learned > 0 {
			news += fmt.Sprintf("; from then on %.0f calls a minute in place of %d", one.Learned, configured)
		}
		g.news = append(g.news, news)
	}
	return changed
}

// give answers those of the queue that can be answered, oldest first.
func (l *Limiter) give(r *record, queue []*waiter, now time.Time, g *given) (changed bool) {
	ahead := map[string]int{} // of those who wait on, by limit
	for _, w := range queue {
		if wait := r.closed(w.names, now); wait > waitShut {
			g.turns[w] = turn{err: l.busy(w, wait, "the vendor wants no such call for now")}
			continue
		}
		at := r.next(w.names, now)
		took, ok := false, at.Sub(now) <= horizon
		if ok {
			took, ok = l.place(r, now, g)
		}
		if !ok {
			if wait := l.queued(r, w, at, ahead).Sub(now); wait > time.Until(w.deadline) {
				g.turns[w] = turn{err: l.busy(w, wait, "the fleet makes as many calls as the limits allow")}
			}
			continue
		}
		g.turns[w] = turn{at: at}
		paced := r.take(w.names, l.limits, at)
		changed = changed || took || paced
	}
	return changed
}

// queued is about when a waiter gets its turn, behind those who wait here for the same limits.
func (l *Limiter) queued(r *record, w *waiter, at time.Time, ahead map[string]int) time.Time {
	for _, name := range w.names {
		configured := l.limits.of(name)
		if configured == 0 {
			continue
		}
		one := r.rate(name)
		at = later(at, one.Next.Add(time.Duration(ahead[name])*interval(one.limit(configured, at))))
		ahead[name]++
	}
	return at
}

// place finds a place for one more call, if there is a limit of parallel calls: ours, or a new one.
func (l *Limiter) place(r *record, now time.Time, g *given) (took, ok bool) {
	if l.limits.Parallel == 0 {
		return false, true
	}
	mine := r.Places[l.owner]
	l.mu.Lock()
	inUse := l.inUse
	l.mu.Unlock()
	switch {
	case inUse+g.taken < mine.Held:
	case r.free(l.limits.Parallel) > r.first(mine):
		mine.Held++
		mine.Since, took = now, true
	default:
		g.short = true
		return false, false
	}
	g.taken++
	return took, true
}

// keepPlaces brings our part of the places up to date: a lease that lasts for a call, and no more than we need, or than
// others have.
func (l *Limiter) keepPlaces(r *record, waiting int, now time.Time) (changed bool) {
	changed = r.sweep(now)
	l.mu.Lock()
	inUse, idle := l.inUse, l.idle
	l.mu.Unlock()
	need := inUse + waiting
	mine := r.Places[l.owner]
	if mine == nil {
		if need == 0 {
			return changed
		}
		mine = &places{Held: inUse, Since: now, Of: self()} // in use and not ours: the lease was lost meanwhile
		r.put(l.owner, mine)
	}
	if need > 0 && mine.Until.Sub(now) < renewBelow {
		mine.Until, changed = now.Add(placesLease), true
	}
	if keep := keep(r, mine, inUse, need, now.Sub(idle) >= linger, now); keep < mine.Held {
		mine.Held, mine.Since, changed = keep, now, true
	}
	if need == 0 && mine.Held == 0 {
		delete(r.Places, l.owner)
		changed = true
	}
	return changed
}

// keep is how many of our places we keep: all that we need, but one less if another has fewer and wants more. If it has just
// one less, we take turns.
func keep(r *record, mine *places, inUse, need int, idle bool, now time.Time) int {
	keep := mine.Held
	if idle {
		keep = min(keep, need)
	}
	switch poorest := r.poorest(mine, mine.Held); {
	case mine.Held-poorest > 1, mine.Held-poorest == 1 && now.Sub(mine.Since) >= turnover:
		return max(inUse, min(keep, mine.Held-1))
	}
	return keep
}
