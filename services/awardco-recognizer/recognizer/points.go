package recognizer

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
)

// points keeps the amounts of a day below their limit, for all replicas. Points are not taken back (awardco.md §9 trap
// 7), so an amount is counted before it is sent, and given back only when Awardco refused it. What was sent and never
// answered stays counted.
type points struct {
	ledger *effect.Ledger
	perDay int64
	now    func() time.Time
	log    *slog.Logger
}

// pointsDay is what was awarded on one day, in UTC.
type pointsDay struct {
	// Spent is the sum of what Awardco took.
	Spent int64 `json:"spent"`
	// Open are the amounts, by response, that were counted and may be on their way: the same response counts once.
	Open map[string]int64 `json:"open,omitempty"`
}

// reservation is an amount that is counted.
type reservation struct {
	points   *points
	day      effect.Key
	response string
	amount   int64
}

// reserve counts the amount of a response on this day. The error is a [fault.Person] when the day's limit leaves no
// room for it.
func (p *points) reserve(ctx context.Context, response string, amount int64) (*reservation, error) {
	r := &reservation{p, effect.RecognitionBudget(p.now().UTC().Format(time.DateOnly)), response, amount}
	var taken int64
	err := effect.Change(ctx, p.ledger, r.day, func(d pointsDay) (pointsDay, bool) {
		taken = d.Spent
		for other, open := range d.Open {
			if other != response {
				taken += open
			}
		}
		if d.Open[response] == amount || taken+amount > p.perDay {
			return d, false
		}
		d.Open = maps.Clone(d.Open)
		if d.Open == nil {
			d.Open = map[string]int64{}
		}
		d.Open[response] = amount
		return d, true
	})
	if err != nil {
		return nil, err
	}
	if taken+amount > p.perDay {
		return nil, atAmount(fmt.Sprintf("is %d, and %d of the %d of this day (AWARDCO_MAX_AMOUNT_PER_DAY, in UTC) are given already: replay it on another day, or raise the limit", amount, taken, p.perDay))
	}
	return r, nil
}

// spent notes that Awardco took it. Without this it would stay open, which counts as much.
func (r *reservation) spent(ctx context.Context) {
	if r != nil {
		r.end(ctx, r.amount)
	}
}

// giveBack notes that Awardco refused it.
func (r *reservation) giveBack(ctx context.Context) {
	if r != nil {
		r.end(ctx, 0)
	}
}

func (r *reservation) end(ctx context.Context, spent int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := effect.Change(ctx, r.points.ledger, r.day, func(d pointsDay) (pointsDay, bool) {
		if _, open := d.Open[r.response]; !open {
			return d, false
		}
		d.Open = maps.Clone(d.Open)
		delete(d.Open, r.response)
		d.Spent += spent
		return d, true
	})
	if err != nil { // on the safe side: it stays counted
		r.points.log.Warn("an amount stays counted as open", "response", r.response, "error", err)
	}
}

func atAmount(reason string) error {
	f := fault.New(fault.Person, "%s", reason)
	f.Field = "amount"
	return f
}
