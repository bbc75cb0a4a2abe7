// Package agenda does things when their time has come, a few at once.
//
// An agenda lives in memory and holds ids only. Whoever owns the things keeps them in a table and puts those still to
// be done on the agenda again at every start; that is what makes them survive a restart.
package agenda

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Agenda is a set of ids, each with the time at which it is due. It is safe for concurrent use.
type Agenda struct {
	mu    sync.Mutex
	times map[string]time.Time // the truth: what is on the agenda
	queue queue                // every id ever put, those outdated are skipped
	wake  chan struct{}        // the queue has changed
}

// New makes an empty agenda.
func New() *Agenda { return &Agenda{times: map[string]time.Time{}, wake: make(chan struct{}, 1)} }

// Put has an id done at that time, instead of any time put before.
func (a *Agenda) Put(id string, at time.Time) {
	a.mu.Lock()
	a.times[id] = at
	heap.Push(&a.queue, entry{id, at})
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default: // somebody was woken already and has not looked yet
	}
}

// Drop takes an id off, if it is there and not being done already.
func (a *Agenda) Drop(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.times, id)
}

// Run does what is due, the longest due first and so many at once, until ctx ends and the last do has returned. An id
// is off the agenda when do is called with it; do puts it on again where it has to be repeated. One Run at a time.
func (a *Agenda) Run(ctx context.Context, atOnce int, do func(ctx context.Context, id string)) {
	var working sync.WaitGroup
	defer working.Wait()
	slots := make(chan struct{}, atOnce)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		id, ok := a.next(ctx)
		if !ok {
			return
		}
		working.Go(func() {
			defer func() { <-slots }()
			do(ctx, id)
		})
	}
}

// next waits for the next id that is due; false when ctx ends first.
func (a *Agenda) next(ctx context.Context) (string, bool) {
	for ctx.Err() == nil {
		id, wait := a.take()
		if id != "" {
			return id, true
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-a.wake:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return "", false
}

// take takes the first id off that is due, or tells how long there is none.
func (a *Agenda) take() (id string, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for len(a.queue) > 0 {
		first := a.queue[0]
		at, there := a.times[first.id]
		if there && at.Equal(first.at) {
			if wait = time.Until(at); wait > 0 {
				return "", wait
			}
			delete(a.times, first.id)
			id = first.id
		}
		heap.Pop(&a.queue)
		if id != "" {
			return id, 0
		}
	}
	return "", time.Hour // Put wakes
}

type entry struct {
	id string
	at time.Time
}

// queue is a heap of entries, the earliest first.
type queue []entry

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].at.Before(q[j].at) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(entry)) }
func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	return last
}
