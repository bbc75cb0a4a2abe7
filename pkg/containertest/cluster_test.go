package containertest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/containertest"
	"github.com/closeloop/closeloop/pkg/containertest/cluster"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
)

// TestThreeNodes does to three servers what an installation does to them, and looks at what is left each time. The
// servers are the same all along, since it takes them a while to begin.
func TestThreeNodes(t *testing.T) {
	t.Parallel()
	nodes := containertest.Cluster(t)
	applyTopology(t, nodes, topology.Settings{Replicas: 3, AckWait: 5 * time.Second})

	t.Run("effects are single though workers race for them", func(t *testing.T) { racingWorkers(t, nodes) })
	t.Run("a cut is silence", func(t *testing.T) { silentCut(t, nodes) })
	t.Run("no acknowledged event is lost", func(t *testing.T) { eventsOutlive(t, nodes) })
	t.Run("held events come back", func(t *testing.T) { heldEventsComeBack(t, nodes) })
}

// racingWorkers meet the code that only replicas give to the loser of a race, and a leader that is killed meanwhile.
func racingWorkers(t *testing.T, nodes *cluster.Cluster) {
	const workers, keys = 8, 40
	var ledgers []*effect.Ledger
	for range workers {
		kv, err := connect(t, nodes).JetStream().KeyValue(t.Context(), topology.Effects)
		must(t, err)
		ledgers = append(ledgers, effect.New(kv))
	}
	var made tally
	var group sync.WaitGroup
	for _, ledger := range ledgers {
		group.Go(func() {
			for n := range keys {
				if err := makeOnce(t.Context(), ledger, fmt.Sprintf("R_%d", n), &made); err != nil {
					t.Error(err)
				}
			}
		})
	}
	bustest.Eventually(t, "the race has begun", func() bool { return made.len() > keys/4 })
	// The leader of the ledger's stream, in the middle of it.
	restart(t, nodes, "KV_"+topology.Effects, (*cluster.Node).Kill)
	group.Wait()
	for n := range keys {
		if times := made.of(fmt.Sprintf("R_%d", n)); times != 1 {
			t.Errorf("R_%d was made %d times", n, times)
		}
	}
}

// makeOnce tries until the effect is confirmed. It cannot be looked up: whatever the ledger leaves open waits for a person,
// which is an error here.
func makeOnce(ctx context.Context, ledger *effect.Ledger, key string, made *tally) error {
	for {
		_, err := effect.Do(ctx, ledger, effect.Key{Effect: "qualtrics.link", Business: key}, event.Event{ID: key, LoopID: key},
			func(ctx context.Context, run *effect.Run) (int, error) {
				return effect.Step(ctx, run, "make", effect.Write[int]{Send: func(context.Context) (int, error) { return made.add(key), nil }})
			})
		if !fault.Is(err, fault.Busy) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// silentCut shows what [cluster.Node.Cut] is: connections stay open and go dead, new ones have no answer.
func silentCut(t *testing.T, nodes *cluster.Cluster) {
	node := nodes.Nodes[0]
	closed := make(chan error, 1)
	nc, err := nats.Connect(node.URL, nats.NoReconnect(), nats.ClosedHandler(func(nc *nats.Conn) { closed <- nc.LastError() }),
		nats.PingInterval(time.Second), nats.MaxPingsOutstanding(1))
	must(t, err)
	defer nc.Close()
	must(t, nc.Flush())
	must(t, node.Cut(t.Context()))
	if err := nc.FlushTimeout(500 * time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Errorf("a question over the cut: %v", err)
	}
	if !nc.IsConnected() {
		t.Error("the cut closed the connection")
	}
	if second, err := nats.Connect(node.URL); err == nil {
		second.Close()
		t.Error("the node still takes connections")
	}
	if err := <-closed; !errors.Is(err, nats.ErrStaleConnection) {
		t.Errorf("the connection ended with %v", err)
	}
	must(t, node.Heal(t.Context()))
	healed, err := nats.Connect(node.URL)
	must(t, err)
	defer healed.Close()
	must(t, healed.Flush())
}

// eventsOutlive publishes and handles events all the time while the leader is stopped and started again, and then cut off.
func eventsOutlive(t *testing.T, nodes *cluster.Cluster) {
	publisher, consumer := connect(t, nodes), connect(t, nodes)
	var acknowledged, handled tally
	consuming := consume(t, consumer, func(_ context.Context, e event.Event) error {
		handled.add(e.ID)
		return nil
	})
	ctx, stop := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() { publish(ctx, t, publisher, &acknowledged) })
	goesOn := func(after string) {
		t.Helper()
		began, before := time.Now(), acknowledged.len()
		bustest.Eventually(t, "events are acknowledged after "+after, func() bool { return acknowledged.len() > before+20 })
		before = handled.len()
		bustest.Eventually(t, "events are handled after "+after, func() bool { return handled.len() > before+20 })
		t.Logf("events go on %s after %s", time.Since(began).Round(time.Millisecond), after)
	}
	goesOn("the start")
	restart(t, nodes, topology.Events, (*cluster.Node).Stop)
	goesOn("the stop")
	leader, err := nodes.Leader(t.Context(), topology.Events)
	must(t, err)
	must(t, leader.Cut(t.Context()))
	goesOn("the cut")
	must(t, leader.Heal(t.Context()))
	goesOn("the end of the cut")
	stop()
	publishing.Wait()

	for id := range acknowledged.times {
		bustest.Eventually(t, "the acknowledged event "+id+" is handled", func() bool { return handled.of(id) > 0 })
	}
	t.Logf("%d events were acknowledged, %d handled", acknowledged.len(), handled.len())
	for _, err := range []error{consuming.Ready(), consuming.Live(), publisher.Ready(), consumer.Ready()} {
		if err != nil {
			t.Errorf("not as before: %v", err)
		}
	}
}

// publish publishes until ctx ends. What was not acknowledged may be published again or forgotten: nobody was promised it.
func publish(ctx context.Context, t *testing.T, b *bus.Bus, acknowledged *tally) {
	for i := 0; ctx.Err() == nil; i++ {
		e := request(t, fmt.Sprintf("C%05d", i))
		if _, err := b.Publish(ctx, e); err == nil {
			acknowledged.add(e.ID)
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// heldEventsComeBack has events due again while the leader of what holds them changes.
func heldEventsComeBack(t *testing.T, nodes *cluster.Cluster) {
	const events = 100
	b := connect(t, nodes)
	var tried, done tally
	consume(t, b, func(_ context.Context, e event.Event) error {
		if tried.add(e.ID) == 1 {
			return fault.Later(3*time.Second, "not the first time")
		}
		done.add(e.ID)
		return nil
	})
	published := make([]string, events)
	for i := range published {
		e := request(t, fmt.Sprintf("H%03d", i))
		_, err := b.Publish(t.Context(), e)
		must(t, err)
		published[i] = e.ID
	}
	bustest.Eventually(t, "all were tried", func() bool { return tried.len() >= events })
	restart(t, nodes, topology.Retries, (*cluster.Node).Kill)
	for _, id := range published {
		bustest.Eventually(t, "the held event "+id+" comes back", func() bool { return done.of(id) > 0 })
	}
}

// restart ends the leader of a stream and starts it again when the others have a new one.
func restart(t *testing.T, nodes *cluster.Cluster, stream string, end func(*cluster.Node, context.Context) error) {
	t.Helper()
	leader, err := nodes.Leader(t.Context(), stream)
	must(t, err)
	must(t, end(leader, t.Context()))
	began := time.Now()
	next, err := nodes.Leader(t.Context(), stream)
	must(t, err)
	t.Logf("%s leads %s after %s, %s later", next.Name, stream, leader.Name, time.Since(began).Round(time.Millisecond))
	must(t, leader.Start(t.Context()))
}
