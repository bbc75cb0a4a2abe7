package quota_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/quota"
)

// memory is a bucket whose answers take a moment, and which can be out.
type memory struct {
	delay time.Duration
	ahead time.Duration // of its clock

	mu      sync.Mutex
	entries map[string]entry
	last    uint64
	out     error
	writes  int
	lost    int // races
}

// cut is a bucket that one replica can be cut off from.
type cut struct {
	*memory
	dead atomic.Bool
}

func (c *cut) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	if c.dead.Load() {
		return nil, errors.New("cut off")
	}
	return c.memory.Get(ctx, key)
}

type entry struct {
	jetstream.KeyValueEntry
	value    []byte
	revision uint64
	created  time.Time
}

func (e entry) Value() []byte      { return e.value }
func (e entry) Revision() uint64   { return e.revision }
func (e entry) Created() time.Time { return e.created }

func (m *memory) wait() { pass(m.delay/2 + rand.N(m.delay+1)) }

func (m *memory) fail(err error) { m.mu.Lock(); defer m.mu.Unlock(); m.out = err }

func (m *memory) Get(_ context.Context, key string) (jetstream.KeyValueEntry, error) {
	m.wait()
	defer m.wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out != nil {
		return nil, m.out
	}
	e, found := m.entries[key]
	if !found {
		return nil, jetstream.ErrKeyNotFound
	}
	return e, nil
}

func (m *memory) Create(_ context.Context, key string, value []byte, _ ...jetstream.KVCreateOpt) (uint64, error) {
	return m.write(key, value, 0, jetstream.ErrKeyExists)
}

func (m *memory) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return m.write(key, value, revision, jetstream.ErrKeyRevisionMismatch)
}

func (m *memory) write(key string, value []byte, revision uint64, lost error) (uint64, error) {
	m.wait()
	defer m.wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.out != nil {
		return 0, m.out
	}
	if m.entries[key].revision != revision {
		m.lost++
		return 0, lost
	}
	if m.entries == nil {
		m.entries = map[string]entry{}
	}
	m.last++
	m.writes++
	m.entries[key] = entry{value: value, revision: m.last, created: time.Now().Add(m.ahead)}
	return m.last, nil
}

// vendor counts calls as a vendor does, in books of its own.
type vendor struct {
	limit    int // calls a minute
	window   window
	mute     bool // says nothing about when to come back
	mu       sync.Mutex
	calls    []time.Time // that it let pass
	refusals []time.Time
	underway int
	most     int // under way at once
	latency  time.Duration
}

// window tells for how long from now on no call more may come, given those that came.
type window func(calls []time.Time, limit int, now time.Time) time.Duration

func fixed(calls []time.Time, limit int, now time.Time) time.Duration {
	began, n := now.Truncate(time.Minute), 0
	for _, at := range calls {
		if !at.Before(began) {
			n++
		}
	}
	if n < limit {
		return 0
	}
	return began.Add(time.Minute).Sub(now)
}

func sliding(calls []time.Time, limit int, now time.Time) time.Duration {
	if len(calls) < limit {
		return 0
	}
	return max(0, calls[len(calls)-limit].Add(time.Minute).Sub(now))
}

// leaking is a bucket that holds room calls.
func leaking(room float64) window {
	return func(calls []time.Time, limit int, now time.Time) time.Duration {
		level, drip := 0.0, time.Minute/time.Duration(limit)
		last := now
		if len(calls) > 0 {
			last = calls[0]
		}
		for _, at := range calls {
			level = max(0, level-float64(at.Sub(last))/float64(drip)) + 1
			last = at
		}
		level = max(0, level-float64(now.Sub(last))/float64(drip))
		return time.Duration(max(0, level+1-room) * float64(drip))
	}
}

// call gives how long to stay away, in whole seconds as in Retry-After, if the call was refused.
func (v *vendor) call() (after time.Duration, refused bool) {
	v.mu.Lock()
	v.underway++
	v.most = max(v.most, v.underway)
	v.mu.Unlock()
	pass(v.latency/4 + rand.N(v.latency/4+1))
	defer func() {
		pass(v.latency/2 + rand.N(v.latency/2+1))
		v.mu.Lock()
		defer v.mu.Unlock()
		v.underway--
	}()
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	if v.window != nil {
		if wait := v.window(v.calls, v.limit, now); wait > 0 {
			v.refusals = append(v.refusals, now)
			if v.mute {
				return 0, true
			}
			return (wait + time.Second - 1).Truncate(time.Second), true
		}
	}
	v.calls = append(v.calls, now)
	return 0, false
}

// busiest is the most calls of any minute, and so of any fixed window too.
func (v *vendor) busiest() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	most, first := 0, 0
	for i, at := range v.calls {
		for at.Sub(v.calls[first]) >= time.Minute {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// passed counts the calls from one moment to another.
func (v *vendor) passed(from, to time.Time) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, at := range v.calls {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// refusedAfterTheFirst counts the refusals later than grace after the first: those under way then are not to be helped.
func (v *vendor) refusedAfterTheFirst(grace time.Duration) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := 0
	for _, at := range v.refusals {
		if at.Sub(v.refusals[0]) > grace {
			n++
		}
	}
	return n
}

// work makes calls of one operation, one after another, until ctx ends, and comes back when it is told to, as the bus does.
func work(ctx context.Context, l *quota.Limiter, operation string, v *vendor) (calls int) {
	for ctx.Err() == nil {
		release, err := l.Admit(ctx, operation)
		if err != nil {
			var f *fault.Fault
			if errors.As(err, &f) && f.Class == fault.Busy {
				select {
				case <-ctx.Done():
				case <-time.After(max(f.After, time.Second)):
				}
			}
			continue
		}
		calls++
		after, refused := v.call()
		if refused {
			l.Refused(ctx, operation, after)
		}
		release()
	}
	return calls
}

// fleet lets workers of some limiters make calls until ctx ends, and waits for them.
func fleet(ctx context.Context, limiters []*quota.Limiter, workers int, operation string, v *vendor) {
	var all sync.WaitGroup
	for _, l := range limiters {
		for range workers {
			all.Go(func() { work(ctx, l, operation, v) })
		}
	}
	all.Wait()
	pass(time.Minute) // of the bubble: for the limiters to put everything away
}

// pass lets time pass, that of a bubble.
func pass(d time.Duration) { <-time.After(d) }

func limitersOf(b quota.Bucket, n int, limits quota.Limits) []*quota.Limiter {
	var all []*quota.Limiter
	for range n {
		all = append(all, quota.New(b, "acme", limits))
	}
	return all
}

func within(t *testing.T, what string, got, least, most int) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s: %d, want %d to %d", what, got, least, most)
	}
}
