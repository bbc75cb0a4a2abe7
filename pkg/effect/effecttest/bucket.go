package effecttest

import (
	"context"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// Bucket is a ledger's bucket in memory, for tests that need no broker. It is changed by compare-and-set as the broker's
// is, and expires nothing.
type Bucket struct {
	mu      sync.Mutex
	entries map[string]entry
	last    uint64
}

type entry struct {
	jetstream.KeyValueEntry // none: what the ledger does not ask for
	value                   []byte
	revision                uint64
}

func (e entry) Value() []byte    { return e.value }
func (e entry) Revision() uint64 { return e.revision }

// Set writes a value under a key, whatever stands there, as somebody with the nats CLI may.
func (b *Bucket) Set(key string, value []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(key, value)
}

func (b *Bucket) put(key string, value []byte) uint64 {
	if b.entries == nil {
		b.entries = map[string]entry{}
	}
	b.last++
	b.entries[key] = entry{value: value, revision: b.last}
	return b.last
}

// Get reads.
func (b *Bucket) Get(_ context.Context, key string) (jetstream.KeyValueEntry, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.entries[key]
	if !ok {
		return nil, jetstream.ErrKeyNotFound
	}
	return e, nil
}

// Create writes what is not there yet.
func (b *Bucket) Create(_ context.Context, key string, value []byte, _ ...jetstream.KVCreateOpt) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, there := b.entries[key]; there {
		return 0, jetstream.ErrKeyExists
	}
	return b.put(key, value), nil
}

// Update writes over that revision.
func (b *Bucket) Update(_ context.Context, key string, value []byte, revision uint64) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.entries[key].revision != revision {
		return 0, jetstream.ErrKeyRevisionMismatch
	}
	return b.put(key, value), nil
}
