package console

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
)

func TestAStreamThatCannotBeReadForLongIsNotReady(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	clock := time.Now()
	f := newFollower(broker.JS, topology.Operations, func(*jetstream.RawStreamMsg) {}, func(func(uint64) bool) {})
	f.now = func() time.Time { return clock }
	if f.ready() == nil {
		t.Error("ready before it was read")
	}
	if err := f.catchUp(t.Context()); err != nil || f.ready() != nil {
		t.Fatal(err, f.ready())
	}
	stream, err := broker.JS.Stream(t.Context(), topology.Operations)
	if err != nil {
		t.Fatal(err)
	}
	if err := broker.JS.DeleteStream(t.Context(), topology.Operations); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(stale)
	if err := f.catchUp(t.Context()); err == nil || f.ready() != nil {
		t.Errorf("a short outage is none yet: %v, %v", err, f.ready())
	}
	clock = clock.Add(time.Second)
	// Nor does who asks wait for a read that is under way.
	f.mu.Lock()
	err = f.ready()
	f.mu.Unlock()
	if err == nil || !strings.Contains(err.Error(), topology.Operations) {
		t.Errorf("not read for %s: %v", stale+time.Second, err)
	}
	if _, err := broker.JS.CreateStream(context.WithoutCancel(t.Context()), stream.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	if err := f.catchUp(t.Context()); err != nil || f.ready() != nil {
		t.Errorf("read again: %v, %v", err, f.ready())
	}
}
