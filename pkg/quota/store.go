package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// store is the record in the bucket, with a copy of what was read or written last.
type store struct {
	bucket Bucket
	key    string

	revision uint64 // of the copy; 0: there is none in the bucket
	value    []byte
	current  time.Time // when the copy was the newest; a write finds out whether it still is

	mu   sync.Mutex
	last *record // the copy, to look at
}

// seen is the record as it was read or written last. It must not be changed.
func (s *store) seen() *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		return &record{}
	}
	return s.last
}

// change repeats f on the newest record until it is written. f tells whether it changed anything; where it did not, the
// record that it saw may be as old as the horizon. One change at a time.
func (s *store) change(ctx context.Context, f func(*record) bool) error {
	for {
		if time.Since(s.current) > horizon {
			if err := s.read(ctx); err != nil {
				return err
			}
		}
		r := &record{}
		if len(s.value) > 0 {
			if err := json.Unmarshal(s.value, r); err != nil {
				return fmt.Errorf("the record %s cannot be read: %w", s.key, err)
			}
		}
		if !f(r) {
			s.current = time.Time{} // look for news the next time
			s.note(r)
			return nil
		}
		lost, err := s.write(ctx, r)
		if !lost {
			return err
		}
		// Others write as well. A moment apart, so that the same two do not meet again.
		if err := sleep(ctx, spread(5*time.Millisecond)); err != nil {
			return err
		}
	}
}

func (s *store) read(ctx context.Context) error {
	entry, err := s.bucket.Get(ctx, s.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		s.revision, s.value = 0, nil
	case err != nil:
		return err
	default:
		s.revision, s.value = entry.Revision(), entry.Value()
	}
	s.current = time.Now()
	return nil
}

// write tells whether another was faster. An error leaves open whether it was written: then turns are lost.
func (s *store) write(ctx context.Context, r *record) (lost bool, err error) {
	value, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	var revision uint64
	if s.revision == 0 {
		revision, err = s.bucket.Create(ctx, s.key, value)
	} else {
		revision, err = s.bucket.Update(ctx, s.key, value, s.revision)
	}
	if err != nil {
		s.current = time.Time{}
		return errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch), err
	}
	s.revision, s.value, s.current = revision, value, time.Now()
	s.note(r)
	return false, nil
}

func (s *store) note(r *record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = r
}

// spread is a random part of d.
func spread(d time.Duration) time.Duration { return rand.N(d) }
