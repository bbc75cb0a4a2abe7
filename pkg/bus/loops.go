package bus

import "sync"

// loops lets the events of one loop be handled one after another, and those of others beside them: an event that takes
// long holds up nobody but its own loop.
type loops struct {
	mu sync.Mutex
	// waiting holds what has come for a loop while another of its events is being handled. A loop without an entry is
	// idle.
	waiting map[string][]*delivery
}

// join tells whether the delivery was queued behind another of its loop. If not, the loop is the caller's until next
// gives nil.
func (l *loops) join(d *delivery) (queued bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting == nil {
		l.waiting = map[string][]*delivery{}
	}
	queue, busy := l.waiting[d.event.LoopID]
	if busy {
		l.waiting[d.event.LoopID] = append(queue, d)
		return true
	}
	l.waiting[d.event.LoopID] = nil
	return false
}

// next gives the delivery after the one that is done, or nil and the loop is idle.
func (l *loops) next(done *delivery) *delivery {
	l.mu.Lock()
	defer l.mu.Unlock()
	queue := l.waiting[done.event.LoopID]
	if len(queue) == 0 {
		delete(l.waiting, done.event.LoopID)
		return nil
	}
	l.waiting[done.event.LoopID] = queue[1:]
	return queue[0]
}
