package quota

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// syncEvery is how long the difference to the broker's clock is believed.
	syncEvery = 30 * time.Second
	// syncWithin is how far the difference may be off. More than this, and it is measured again.
	syncWithin = 200 * time.Millisecond
)

// clock is the broker's time, the only one that all replicas share. It is the time that the broker gives an entry which
// was written between two moments of ours.
type clock struct {
	bucket Bucket
	key    string
	local  func() time.Time

	mu     sync.Mutex
	broker time.Time // when ours was
	ours   time.Time
}

// now is our own time before the first sync.
func (c *clock) now() time.Time {
	now := c.local()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ours.IsZero() {
		return now
	}
	return c.broker.Add(now.Sub(c.ours))
}

// sync asks for the broker's time, unless that was done lately.
func (c *clock) sync(ctx context.Context) error {
	c.mu.Lock()
	fresh := !c.ours.IsZero() && c.local().Sub(c.ours) < syncEvery
	c.mu.Unlock()
	if fresh {
		return nil
	}
	for range 3 {
		off, err := c.ask(ctx)
		if err == nil && off < syncWithin {
			return nil
		}
		if err != nil && !errors.Is(err, errOld) {
			return err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ours.IsZero() {
		return errOld
	}
	return nil // the broker is slow, and the time as good as can be had
}

// errOld is a read that shows less than what is known to be written: any replica of the bucket may answer.
var errOld = errors.New("the broker's time cannot be read")

// ask writes and reads the entry. If another was faster, then after our first look, which will do as well.
func (c *clock) ask(ctx context.Context) (off time.Duration, err error) {
	from := c.local()
	var revision uint64
	entry, err := c.bucket.Get(ctx, c.key)
	if err == nil {
		revision = entry.Revision()
	} else if !errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, err
	}
	if err := c.write(ctx, revision); err != nil {
		return 0, err
	}
	entry, err = c.bucket.Get(ctx, c.key)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound), err == nil && entry.Revision() <= revision:
		return 0, errOld
	case err != nil:
		return 0, err
	}
	off = c.local().Sub(from)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broker, c.ours = entry.Created(), from.Add(off/2)
	return off, nil
}

func (c *clock) write(ctx context.Context, revision uint64) error {
	var err error
	if revision == 0 {
		_, err = c.bucket.Create(ctx, c.key, nil)
	} else {
		_, err = c.bucket.Update(ctx, c.key, nil, revision)
	}
	if errors.Is(err, jetstream.ErrKeyExists) || errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return nil
	}
	return err
}
