package console

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/services/console/streamread"
)

// stale is how long what was read may be told while no more can be read.
const stale = 30 * time.Second

// follower reads a stream from its beginning, without a consumer: the service has no right to make one, and a stream that
// is read whole at each start needs no place kept.
type follower struct {
	js   jetstream.JetStream
	name string
	// add takes a message, perhaps more than once; forget drops those that gone tells of.
	add    func(*jetstream.RawStreamMsg)
	forget func(gone func(sequence uint64) bool)

	mu      sync.Mutex
	stream  jetstream.Stream
	read    uint64 // the last one
	created time.Time
	// first message and number of those missing behind it, when last looked.
	first   uint64
	missing int

	whole atomic.Pointer[time.Time] // when it was last known to its end, nil for never
	now   func() time.Time
}

func newFollower(js jetstream.JetStream, name string, add func(*jetstream.RawStreamMsg), forget func(func(uint64) bool)) *follower {
	return &follower{js: js, name: name, add: add, forget: forget, now: now}
}

// ready tells why the stream is not known to its end. It waits for no read.
func (f *follower) ready() error {
	whole := f.whole.Load()
	switch {
	case whole == nil:
		return fmt.Errorf("%s has not been read yet", f.name)
	case f.now().Sub(*whole) > stale:
		return fmt.Errorf("%s cannot be read since %s", f.name, whole.Format(time.RFC3339))
	}
	return nil
}

// catchUp reads what is new, and forgets what is gone.
func (f *follower) catchUp(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	info, err := f.look(ctx)
	if err != nil {
		return fmt.Errorf("reading %s: %w", f.name, err)
	}
	if !info.Created.Equal(f.created) || info.State.LastSeq < f.read { // somebody made it anew
		f.read, f.first, f.missing, f.created = 0, 0, 0, info.Created
		f.forget(func(uint64) bool { return true })
	}
	for more := true; more && f.read < info.State.LastSeq; {
		if more, err = f.batch(ctx); err != nil {
			return fmt.Errorf("reading %s: %w", f.name, err)
		}
	}
	if err := f.prune(ctx, info.State); err != nil {
		return fmt.Errorf("reading %s: %w", f.name, err)
	}
	at := f.now()
	f.whole.Store(&at)
	return nil
}

// look asks how the stream stands, and binds to it the first time.
func (f *follower) look(ctx context.Context) (*jetstream.StreamInfo, error) {
	if f.stream != nil {
		return f.stream.Info(ctx)
	}
	var err error
	if f.stream, err = f.js.Stream(ctx, f.name); err != nil {
		return nil, err
	}
	return f.stream.CachedInfo(), nil
}

// message reads one message whole.
func (f *follower) message(ctx context.Context, sequence uint64) (*jetstream.RawStreamMsg, error) {
	f.mu.Lock()
	stream := f.stream
	f.mu.Unlock()
	if stream == nil {
		return nil, f.ready()
	}
	return stream.GetMsg(ctx, sequence)
}

// batch reads what comes next, and tells whether there was any.
func (f *follower) batch(ctx context.Context) (more bool, err error) {
	messages, err := streamread.Next(ctx, f.js, f.name, f.read+1)
	for _, m := range messages {
		f.add(m)
		f.read = m.Sequence
	}
	return len(messages) > 0, err
}

// prune forgets what has expired and what somebody deleted.
func (f *follower) prune(ctx context.Context, state jetstream.StreamState) error {
	if state.FirstSeq == f.first && state.NumDeleted == f.missing {
		return nil
	}
	deleted := map[uint64]bool{}
	if state.NumDeleted > 0 {
		missing, _, err := streamread.Deleted(ctx, f.stream)
		if err != nil {
			return err
		}
		for _, sequence := range missing {
			deleted[sequence] = true
		}
	}
	f.forget(func(sequence uint64) bool { return sequence < state.FirstSeq || deleted[sequence] })
	f.first, f.missing = state.FirstSeq, state.NumDeleted
	return nil
}
