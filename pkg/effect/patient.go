package effect

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// tryLimit is how long one try may take: what is said into a dead connection, or to a leader that is gone, has no
	// answer ever.
	tryLimit = 2 * time.Second
	// patience is all tries together. Three nodes elect a leader within nine seconds, and the client takes six to notice a
	// dead connection: an effect that was made must not be left unrecorded for that.
	patience = 20 * time.Second
	// tryAgain is the time between two tries.
	tryAgain = 100 * time.Millisecond
)

// patient asks a bucket again while it gives no answer. So a write may be refused because an earlier try of it was stored:
// whoever writes must know its own writes.
type patient struct{ bucket Bucket }

func (p patient) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	return persist(ctx, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return p.bucket.Get(ctx, key) })
}

func (p patient) Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error) {
	return persist(ctx, func(ctx context.Context) (uint64, error) { return p.bucket.Create(ctx, key, value, opts...) })
}

func (p patient) Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error) {
	return persist(ctx, func(ctx context.Context) (uint64, error) { return p.bucket.Update(ctx, key, value, revision) })
}

func persist[T any](ctx context.Context, try func(context.Context) (T, error)) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		limited, done := context.WithTimeout(ctx, tryLimit)
		v, err := try(limited)
		done()
		if err == nil || answered(err) || !pause(ctx, tryAgain) {
			return v, err
		}
	}
}

// answered tells that the bucket has said no, and would say it again.
func answered(err error) bool {
	for _, no := range []error{
		jetstream.ErrKeyNotFound, jetstream.ErrKeyExists, jetstream.ErrKeyRevisionMismatch, jetstream.ErrInvalidKey,
		jetstream.ErrBucketNotFound, nats.ErrMaxPayload, nats.ErrConnectionClosed,
	} {
		if errors.Is(err, no) {
			return true
		}
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code < 500
}

// pause waits for d, or tells that ctx ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// lasting gives a context for what must be recorded also while the handler is being cancelled, since it may say what was
// done: it ends a few seconds after ctx at the earliest.
func lasting(ctx context.Context) (context.Context, context.CancelFunc) {
	kept, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return kept, func() { stop(); cancel() }
}

// grace is how long a write may go on when its handler has been cancelled.
const grace = 5 * time.Second
