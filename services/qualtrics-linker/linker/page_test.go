package linker

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
)

// behind is a bucket one of whose replicas does not have yet what was just written.
type behind struct {
	jetstream.KeyValue
	reads atomic.Int32
}

func (b *behind) Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	if b.reads.Add(1) <= 2 {
		return nil, jetstream.ErrKeyNotFound
	}
	return b.KeyValue.Get(ctx, key)
}

func TestPageThatAReplicaDoesNotHaveYetIsWaitedFor(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	kv, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	want := page{Rows: []row{{URL: "https://example.com/1"}}}
	_, err = effect.Do(t.Context(), effect.New(kv), effect.WavePage("W", 1), pageCause("W", 1),
		func(context.Context, *effect.Run) (page, error) { return want, nil })
	if err != nil {
		t.Fatal(err)
	}
	l := &linker{ledger: effect.New(&behind{KeyValue: kv})}
	rows, err := l.pages(t.Context(), "W", 1)
	if err != nil || len(rows) != 1 || rows[0].URL != want.Rows[0].URL {
		t.Errorf("rows %v, error %v", rows, err)
	}
}
