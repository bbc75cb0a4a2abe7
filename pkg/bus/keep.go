package bus

import (
	"context"
	"sync"
	"time"
)

// keeper tells the broker which messages are still in hand: one for all of them, which may be many thousands.
type keeper struct {
	mu     sync.Mutex
	inHand map[*delivery]time.Time // when the broker last heard of it
	stored map[string]time.Time    // when the message was stored that a stream delivered last
}

func (k *keeper) add(d *delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.inHand == nil {
		k.inHand, k.stored = map[*delivery]time.Time{}, map[string]time.Time{}
	}
	k.inHand[d] = time.Now()
	if d.meta.Timestamp.After(k.stored[d.meta.Stream]) {
		k.stored[d.meta.Stream] = d.meta.Timestamp
	}
}

// oldest gives when the oldest message in hand was stored, zero for none.
func (k *keeper) oldest() (oldest time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for d := range k.inHand {
		oldest = earliest(oldest, d.meta.Timestamp)
	}
	return oldest
}

// delivered gives when the message was stored that a stream delivered last, zero for none.
func (k *keeper) delivered(stream string) time.Time {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stored[stream]
}

func (k *keeper) remove(d *delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.inHand, d)
}

// due gives the messages of which the broker has not heard for so long, and notes that it hears now.
func (k *keeper) due(after time.Duration, now time.Time) []*delivery {
	k.mu.Lock()
	defer k.mu.Unlock()
	var due []*delivery
	for d, heard := range k.inHand {
		if now.Sub(heard) >= after {
			due = append(due, d)
			k.inHand[d] = now
		}
	}
	return due
}

// run gives a sign of life for each message every interval, or a little sooner, until ctx ends.
func (k *keeper) run(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(max(interval/4, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			for _, d := range k.due(interval*3/4, now) {
				_ = d.msg.InProgress() // a lost sign of life only means a second delivery, which the ledger bears
			}
		}
	}
}
