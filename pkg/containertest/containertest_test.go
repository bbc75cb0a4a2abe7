package containertest_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/containertest"
	"github.com/closeloop/closeloop/pkg/containertest/cluster"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/logging"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// What was acknowledged survives the death of the server's process (jetstream.md §1).
func TestEventsOutliveAKilledBroker(t *testing.T) {
	t.Parallel()
	const events = 200
	broker := containertest.NATS(t)
	applyTopology(t, broker, topology.Settings{})
	b := connect(t, broker)
	published := map[string]event.Event{}
	for i := range events {
		e := request(t, fmt.Sprintf("A%03d", i))
		if _, err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		published[e.ID] = e
	}
	must(t, broker.Nodes[0].Kill(t.Context()))
	must(t, broker.Nodes[0].Start(t.Context()))

	arrived := make(chan event.Event, events)
	consume(t, b, func(_ context.Context, e event.Event) error {
		arrived <- e
		return nil
	})
	deadline := time.After(time.Minute)
	for range events {
		select {
		case got := <-arrived:
			want, ok := published[got.ID]
			if !ok {
				t.Fatalf("event %s came twice, or was never published", got.ID)
			}
			delete(published, got.ID)
			if !proto.Equal(got.Data, want.Data) || got.LoopID != want.LoopID || !got.Time.Equal(want.Time) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		case <-deadline:
			t.Fatalf("%d of %d events did not come back", len(published), events)
		}
	}
}

// applyTopology declares everything.
func applyTopology(t *testing.T, broker *cluster.Cluster, s topology.Settings) {
	t.Helper()
	nc, err := nats.Connect(broker.URL(), nats.MaxReconnects(-1))
	must(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	must(t, err)
	must(t, topology.Of(s).Apply(t.Context(), js, logging.Discard()))
}

// connect connects as a service that takes requests.
func connect(t *testing.T, broker *cluster.Cluster) *bus.Bus {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Options{Service: topology.QualtricsLinker, Connection: bus.Connection{URL: broker.URL()}})
	must(t, err)
	t.Cleanup(b.Close)
	return b
}

// consume handles requests until the test ends.
func consume(t *testing.T, b *bus.Bus, handle bus.Handler) *bus.Consuming {
	t.Helper()
	consuming := b.Consume(t.Context(), bus.Consumer{Handle: handle})
	t.Cleanup(func() { consuming.Drain(context.Background()) })
	return consuming
}

func request(t *testing.T, id string) event.Event {
	t.Helper()
	e, err := event.New("containertest", subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
		RequestId: id, Contact: &eventsv1.Contact{Email: "person@example.com"},
	})
	must(t, err)
	return e
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tally counts what came, by key.
type tally struct {
	mu    sync.Mutex
	times map[string]int
}

func (c *tally) add(key string) (times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.times == nil {
		c.times = map[string]int{}
	}
	c.times[key]++
	return c.times[key]
}

func (c *tally) of(key string) int { c.mu.Lock(); defer c.mu.Unlock(); return c.times[key] }

func (c *tally) len() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.times) }
