package loops

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// Progress tells how far the read model is behind the streams, as the follower last saw them.
func (s *Store) Progress() Progress { return s.progress.now() }

// progress is safe for concurrent use.
type progress struct {
	mu         sync.Mutex
	read, last [len(sources)]uint64
	// started says that loops may have been worked out.
	started bool
}

// begin notes that the file was made for services whose consumers were asked; begun tells it.
func (p *progress) begin() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = true
}

func (p *progress) begun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.started
}

func (p *progress) now() Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := Progress{Read: map[string]uint64{}, Last: map[string]uint64{}}
	for i, name := range sources {
		out.Read[name], out.Last[name] = p.read[i], p.last[i]
		if p.last[i] > p.read[i] {
			out.Behind += p.last[i] - p.read[i]
		}
	}
	return out
}

func (p *progress) note(from source, read, last uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read[from], p.last[from], p.started = read, max(last, read), true
}

// reset notes that nothing has been read.
func (p *progress) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.read[:])
}

func (p *progress) applied(from source, read uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.read[from] = read
	p.last[from] = max(p.last[from], read)
}

// Watch gives the ids of loops that changed, several at a time, until ctx ends; then the channel is closed. Who is slow gets
// fewer and longer lists. An empty list says that so much has changed that it is not listed.
func (s *Store) Watch(ctx context.Context) <-chan []string {
	w := &watcher{wake: make(chan struct{}, 1)}
	s.watchers.add(w)
	out := make(chan []string)
	go func() {
		defer close(out)
		defer s.watchers.remove(w)
		for {
			select {
			case <-ctx.Done():
				return
			case <-w.wake:
			}
			ids, some := w.take()
			if !some {
				continue
			}
			select {
			case <-ctx.Done():
				return
			case out <- ids:
			}
		}
	}()
	return out
}

// watchedMost is how many loops are listed to a watcher.
const watchedMost = 1000

type watcher struct {
	wake    chan struct{}
	mu      sync.Mutex
	pending map[string]bool
	many    bool
}

// take gives what has changed, if anything has. What changes after that wakes the watcher again.
func (w *watcher) take() (ids []string, some bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.many {
		ids = slices.Sorted(maps.Keys(w.pending))
	}
	some = w.many || len(ids) > 0
	w.pending, w.many = nil, false
	return ids, some
}

func (w *watcher) tell(ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.pending == nil {
		w.pending = map[string]bool{}
	}
	for _, id := range ids {
		if len(w.pending) >= watchedMost {
			break
		}
		w.pending[id] = true
	}
	if ids == nil || len(w.pending) >= watchedMost {
		w.many = true
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

type watchers struct {
	mu  sync.Mutex
	set map[*watcher]bool
}

func (w *watchers) add(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set == nil {
		w.set = map[*watcher]bool{}
	}
	w.set[one] = true
}

func (w *watchers) remove(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.set, one)
}

// changed tells all of them; all, that everything may have changed.
func (w *watchers) changed(ids []string) {
	if len(ids) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.set {
		one.tell(ids)
	}
}

func (w *watchers) all() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range w.set {
		one.tell(nil)
	}
}
