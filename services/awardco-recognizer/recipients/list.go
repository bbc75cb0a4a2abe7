package recipients

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

// List is a directory that is fetched, and kept for a while.
type List struct {
	ctx     context.Context
	fetch   func(context.Context) ([]Person, error)
	refresh time.Duration
	log     *slog.Logger
	now     func() time.Time

	mu      sync.Mutex
	current *Directory
	fetched time.Time
	err     error         // of the last fetch
	loading chan struct{} // closed when the fetch under way is done; nil when there is none
}

// missRefresh is how old a list must be to be fetched again for somebody who is not in it: new people join on any day.
const missRefresh = 5 * time.Minute

// NewList makes a directory of what fetch gives, fetched at its first use, and again at the first use after it has become
// older than refresh. Fetching goes on until it is done or ctx ends, whoever waits for it.
func NewList(ctx context.Context, fetch func(context.Context) ([]Person, error), refresh time.Duration, log *slog.Logger) *List {
	return &List{ctx: ctx, fetch: fetch, refresh: refresh, log: log, now: time.Now}
}

// WithClock gives the list another clock, for tests. It must not be in use yet.
func (l *List) WithClock(now func() time.Time) *List { l.now = now; return l }

// Resolve looks into the list, which it waits for where it is missing or old. One that cannot be fetched anew goes on
// being used; without any, the error is that of fetching it, or [fault.NotYet] when ctx ends first.
func (l *List) Resolve(ctx context.Context, i Identity) (string, error) {
	if loading := l.load(i); loading != nil {
		select {
		case <-loading:
		case <-ctx.Done():
			return "", fault.Later(missRefresh/10, "the vendor's user list is still being read")
		}
	}
	l.mu.Lock()
	d, err := l.current, l.err
	l.mu.Unlock()
	if d == nil {
		return "", err
	}
	return d.Resolve(i)
}

// load has the list fetched where it does not do for the identity, and gives what to wait for.
func (l *List) load(i Identity) <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	age := l.now().Sub(l.fetched)
	if l.current != nil && age <= l.refresh && (age <= missRefresh || l.current.knows(i)) {
		return nil
	}
	if l.loading == nil {
		l.loading = make(chan struct{})
		go l.run(l.loading)
	}
	return l.loading
}

func (l *List) run(done chan struct{}) {
	people, err := l.fetch(l.ctx)
	if err == nil && len(people) == 0 {
		err = fault.New(fault.Transient, "the vendor's user list is empty: may the key read it?")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.log.Warn("the user list could not be fetched", "error", err, "old", l.current != nil)
	} else {
		l.current, l.fetched = NewDirectory(people), l.now()
	}
	l.err, l.loading = err, nil
	close(done)
}
