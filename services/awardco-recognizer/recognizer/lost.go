package recognizer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
)

const (
	// lookAgain is how soon the feed is read again for a recognition whose answer was lost; later after a third of the time that
	// has passed.
	lookAgain = 30 * time.Second
	// apart is how far two recognitions must be apart for one to have been sent later than the other, whatever the clocks of
	// two replicas say.
	apart = time.Minute
	// noteEvery and notes bound what is remembered of confirmed ones: an hour of them.
	noteEvery = 15 * time.Second
	notes     = 240
)

// sent is what the ledger remembers of a recognition before it is sent, for when its answer is lost: settings may be others by
// then.
type sent struct {
	// Kind tells apart what the feed may show from what it may not: by programme, and whether it is public.
	Kind string `json:"kind"`
	// Provable says that its absence from the feed can show that it was not made.
	Provable bool `json:"provable"`
}

func (a *attempt) describe() sent {
	id, name := a.settings.programOf(a.request)
	sum := sha256.Sum256([]byte(id + "\x00" + name + "\x00" + strconv.FormatBool(a.settings.Public)))
	// One with an amount moves money, and the feed need not show what is not approved yet.
	return sent{hex.EncodeToString(sum[:8]), a.request.GetAmount() == 0 && !a.settings.Approval && a.settings.readBack() == readFeed}
}

// confirmed is a recognition that Awardco has confirmed.
type confirmed struct {
	Reference string    `json:"reference"`
	SentAt    time.Time `json:"sentAt"`
}

// noteConfirmed remembers a recognition among those of its kind, oldest first. Without that note lost ones only wait for
// the next.
func (a *attempt) noteConfirmed(ctx context.Context, kind string, at time.Time) {
	at = at.UTC()
	err := effect.Change(ctx, a.ledger, effect.RecognitionsConfirmed(kind), func(all []confirmed) ([]confirmed, bool) {
		if len(all) > 0 && at.Sub(all[len(all)-1].SentAt) < noteEvery {
			return all, false
		}
		all = append(all, confirmed{a.request.GetResponseId(), at})
		return all[max(0, len(all)-notes):], true
	})
	if err != nil {
		a.log.Warn("a confirmed recognition could not be noted", "error", err)
	}
}

// findInFeed looks for a recognition whose answer was lost. That the feed does not show it proves nothing by itself: whether
// it is complete is not documented, nor how soon it shows. But where it shows a later one of ours of the same kind, and goes on to an
// earlier one or to its end without this one, it would show this one too. That is waited for.
func (a *attempt) findInFeed(ctx context.Context) (awardco.Submitted, bool, error) {
	earlier, later, err := a.neighbours(ctx)
	if err != nil {
		return awardco.Submitted{}, false, err
	}
	look, err := a.awardco.Look(ctx, a.request.GetResponseId(), later, earlier)
	if err != nil || look.Found || a.settings.TrustFeed || !a.sent.Provable {
		return look.Submitted, look.Found, err
	}
	a.absent = look.Later && (look.Earlier || look.Whole)
	if waited := time.Since(a.sentAt); !a.absent && waited < a.settings.LookFor {
		return look.Submitted, false, fault.Later(min(max(lookAgain, waited/3), a.settings.LookFor-waited),
			"the answer to the recognition was lost: waiting until the feed shows it, or others of ours around it and not it")
	}
	return look.Submitted, false, nil
}

// neighbours are the references of the confirmed ones of the same kind next to the lost one in time, empty where there is none.
func (a *attempt) neighbours(ctx context.Context) (earlier, later string, err error) {
	if !a.sent.Provable {
		return "", "", nil
	}
	all, _, err := effect.Kept[[]confirmed](ctx, a.ledger, effect.RecognitionsConfirmed(a.sent.Kind))
	if err != nil {
		return "", "", err
	}
	for _, c := range slices.Backward(all) {
		if c.SentAt.Before(a.sentAt.Add(-apart)) {
			return c.Reference, later, nil
		}
		if c.SentAt.After(a.sentAt.Add(apart)) {
			later = c.Reference
		}
	}
	return "", later, nil
}
