package effect

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// Change changes what the ledger keeps under a key beside the effects themselves: a count that the whole fleet shares,
// a reference back from a vendor's id. The value is stored as JSON and changed by compare-and-set alone.
//
// change gets the value as it is, the zero value where there is none, and gives the new one, or false to leave it. It is
// called again after each lost race, and after a write whose answer was lost, so it must see by the value itself whether
// its change is in there already. The error is [fault.Transient] when the ledger cannot be reached.
func Change[T any](ctx context.Context, l *Ledger, key Key, change func(old T) (T, bool)) error {
	for {
		old, revision, err := kept[T](ctx, l, key)
		if err != nil {
			return err
		}
		value, changed := change(old)
		if !changed {
			return nil
		}
		content, err := json.Marshal(value)
		if err != nil {
			return err
		}
		if revision == 0 {
			_, err = l.bucket.Create(ctx, key.String(), content)
		} else {
			_, err = l.bucket.Update(ctx, key.String(), content, revision)
		}
		if !errors.Is(err, jetstream.ErrKeyExists) && !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			if err != nil {
				return unreachable(err)
			}
			return nil
		}
		if err := ctx.Err(); err != nil {
			return unreachable(err)
		}
	}
}

// Kept reads what [Change] keeps under a key, and tells whether there is anything. It may be a moment old.
func Kept[T any](ctx context.Context, l *Ledger, key Key) (T, bool, error) {
	value, revision, err := kept[T](ctx, l, key)
	return value, revision != 0, err
}

func kept[T any](ctx context.Context, l *Ledger, key Key) (T, uint64, error) {
	var value T
	entry, err := l.bucket.Get(ctx, key.String())
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return value, 0, nil
	}
	if err != nil {
		return value, 0, unreachable(err)
	}
	if err := json.Unmarshal(entry.Value(), &value); err != nil {
		return value, 0, unreadable("note "+key.String(), err)
	}
	return value, entry.Revision(), nil
}
