package bus

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// backlog finds out how long the oldest event has waited that is not settled. The broker does not tell, and no service may
// read its stream beside its consumer. What is in hand knows when it was stored, and is older than all that is not: only
// while a pause is on may there be nothing in hand and yet something waiting. That came after what was delivered last, and
// after the last look that found nothing, which is exact to the time between two looks.
type backlog struct {
	// delivered is when the message was stored that a stream delivered here last, zero for none.
	delivered func(stream string) time.Time
	// none is when a look last found nothing undelivered, by stream.
	none map[string]time.Time
	// askHeld is when to count the held events again.
	askHeld time.Time
}

// oldest gives when the oldest undelivered event of paused durables was stored, at the earliest; zero for none.
func (b *backlog) oldest(now time.Time, durables []*jetstream.ConsumerInfo) (oldest time.Time) {
	if b.none == nil {
		b.none = map[string]time.Time{}
	}
	for _, info := range durables {
		switch since := b.since(info); {
		case info.NumPending == 0:
			b.none[info.Stream] = now
		case !info.Paused:
		case since.IsZero():
			b.none[info.Stream] = now // nothing is known: it is counted from here
			oldest = earliest(oldest, now)
		default:
			oldest = earliest(oldest, since)
		}
	}
	return oldest
}

// since gives the latest time after which the oldest undelivered event was stored. A service that starts in the middle of a
// pause knows no more than when anybody was last given anything.
func (b *backlog) since(info *jetstream.ConsumerInfo) time.Time {
	since := b.none[info.Stream]
	if delivered := b.delivered(info.Stream); delivered.After(since) {
		since = delivered
	}
	if since.IsZero() && info.Delivered.Last != nil {
		since = *info.Delivered.Last
	}
	return since
}

// earliest of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func age(now, since time.Time) float64 {
	if since.IsZero() {
		return 0
	}
	return max(0, now.Sub(since).Seconds())
}

// heldShare is how much longer than a count of the held events the time to the next is: the broker lists them all for it.
const heldShare = 100

func (c *Consuming) observeHeld(ctx context.Context, b *backlog) {
	began := time.Now()
	if began.Before(b.askHeld) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, publishTotal)
	defer cancel()
	if held, err := c.held(ctx); err == nil {
		c.bus.metrics.held.Set(float64(held))
	}
	b.askHeld = began.Add(heldShare * time.Since(began))
}
