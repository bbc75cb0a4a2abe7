package console

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// record is long work as OPERATIONS tells of it: under a subject of its own, the latest message says how far it is, and
// replaces those before.
type record interface {
	comparable
	key() string
	// place is the sequence of its message; stored sets it.
	place() uint64
	stored(at uint64)
}

// records are those of one kind, by id.
type records[T record] struct {
	prefix string // of their subjects
	read   func(content []byte) (T, error)

	mu     sync.Mutex
	latest map[string]T
	places map[string][]uint64 // of all their messages
}

func newRecords[T record](prefix string, read func([]byte) (T, error)) *records[T] {
	return &records[T]{prefix: prefix, read: read, latest: map[string]T{}, places: map[string][]uint64{}}
}

// add takes what OPERATIONS holds, if it is one of these. One that is known stays as it is: it may be further than its
// message says.
func (b *records[T]) add(m *jetstream.RawStreamMsg) {
	id, ours := strings.CutPrefix(m.Subject, b.prefix)
	if !ours {
		return
	}
	r, err := b.read(m.Data)
	if err != nil || r.key() != id {
		return
	}
	r.stored(m.Sequence)
	if known, ok := b.find(id); ok && known.place() == m.Sequence {
		return
	}
	b.keep(r)
}

// keep takes a record, unless a later one is known.
func (b *records[T]) keep(r T) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.places[r.key()] = insert(b.places[r.key()], r.place())
	if known, ok := b.latest[r.key()]; !ok || known.place() <= r.place() {
		b.latest[r.key()] = r
	}
}

func (b *records[T]) forget(gone func(uint64) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id, r := range b.latest {
		if b.places[id] = slices.DeleteFunc(b.places[id], gone); gone(r.place()) {
			delete(b.latest, id)
			delete(b.places, id)
		}
	}
}

func (b *records[T]) find(id string) (T, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.latest[id]
	return r, ok
}

// all gives the records, newest first.
func (b *records[T]) all() []T {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.SortedFunc(maps.Values(b.latest), func(x, y T) int { return cmp.Compare(y.place(), x.place()) })
}

// outdated gives the places of messages about one that a later one replaces.
func (b *records[T]) outdated(id string) []uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.latest[id]
	return slices.DeleteFunc(slices.Clone(b.places[id]), func(s uint64) bool { return !ok || s >= r.place() })
}

func (b *records[T]) forgetPlace(id string, sequence uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.places[id] = slices.DeleteFunc(b.places[id], func(s uint64) bool { return s == sequence })
}
