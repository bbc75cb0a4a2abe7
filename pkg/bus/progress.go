package bus

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	// observeEvery is how often the broker is asked how much waits.
	observeEvery = 15 * time.Second
	// stuckAfter without anything settled while work waits, a consumer is not working.
	stuckAfter = 5 * time.Minute
)

// progress tells whether a consumer still moves.
type progress struct {
	// fine is when it last settled something, had nothing to do, or was paused: in Unix nanoseconds, 0 before the first look.
	fine atomic.Int64
	// patience is twice the longest handling; [stuckAfter] counts where that is more.
	patience time.Duration
}

func (p *progress) note(now time.Time) { p.fine.Store(now.UnixNano()) }

func (p *progress) stuck(now time.Time) error {
	fine := p.fine.Load()
	if fine == 0 || now.Sub(time.Unix(0, fine)) < max(p.patience, stuckAfter) {
		return nil
	}
	return fmt.Errorf("work waits, and nothing was settled since %s", stamp(time.Unix(0, fine)))
}

// observe shows how much waits, and notes when there is no reason to settle anything.
func (c *Consuming) observe(ctx context.Context) {
	c.progress.note(time.Now()) // bound, with all its time before it
	ticker := time.NewTicker(observeEvery)
	defer ticker.Stop()
	backlog := backlog{delivered: c.keeper.delivered}
	for {
		now := time.Now()
		asked, cancel := context.WithTimeout(ctx, publishTotal)
		w, err := c.waiting(asked)
		cancel()
		if err == nil {
			c.bus.metrics.waiting.Set(float64(w.undelivered + w.inHand))
			c.bus.metrics.oldest.Set(age(now, earliest(c.keeper.oldest(), backlog.oldest(now, w.durables))))
		}
		c.observeHeld(ctx, &backlog)
		if err != nil || w.undelivered == 0 && c.gates.idle() || w.paused || c.gates.closed() { // without the broker nothing can be settled
			c.progress.note(time.Now())
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
