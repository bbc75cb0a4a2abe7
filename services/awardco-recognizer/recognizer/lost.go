package recognizer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
)

// lookAgain is how often the feed is read for a recognition whose answer was lost.
const lookAgain = 30 * time.Second

// latest is the recognition of its kind that was sent last and confirmed.
type latest struct {
	Reference string    `json:"reference"`
	SentAt    time.Time `json:"sentAt"`
}

// kind tells apart what the feed may show from what it may not: by programme, and whether it is public.
func (a *attempt) kind() effect.Key {
	id, name := a.settings.programOf(a.request)
	sum := sha256.Sum256([]byte(id + "\x00" + name + "\x00" + strconv.FormatBool(a.settings.Public)))
	return effect.RecognitionLatest(hex.EncodeToString(sum[:8]))
}

// noteLatest remembers a recognition that Awardco has confirmed. Without that note others only wait for the next one.
func (a *attempt) noteLatest(ctx context.Context, sent time.Time) {
	err := effect.Change(ctx, a.ledger, a.kind(), func(old latest) (latest, bool) {
		return latest{a.request.GetResponseId(), sent.UTC()}, sent.After(old.SentAt)
	})
	if err != nil {
		a.log.Warn("a confirmed recognition could not be noted", "error", err)
	}
}

// findInFeed looks for a recognition whose answer was lost. That the feed does not show it proves nothing: whether it is
// complete is not documented, nor how soon it shows. But where it shows a later one of the same kind, it would show this one
// too. That is waited for, since nobody is worse off for being praised an hour later; with an amount it is no proof.
func (a *attempt) findInFeed(ctx context.Context) (awardco.Submitted, bool, error) {
	witness, _, err := effect.Kept[latest](ctx, a.ledger, a.kind())
	if err != nil {
		return awardco.Submitted{}, false, err
	}
	if !witness.SentAt.After(a.sentAt) {
		witness.Reference = ""
	}
	s, found, shown, err := a.awardco.FindBeside(ctx, a.request.GetResponseId(), witness.Reference)
	if err != nil || found || a.settings.TrustFeed || a.request.GetAmount() > 0 {
		return s, found, err
	}
	if a.absent = shown; !shown && time.Since(a.sentAt) < a.settings.LookFor {
		return s, false, fault.Later(lookAgain, "the answer to the recognition was lost: waiting until the feed shows it, or a later one of ours and not it")
	}
	return s, false, nil
}
