package containertest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/containertest"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/logging"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// What was acknowledged survives the death of the server's process (jetstream.md §1).
func TestEventsOutliveAKilledBroker(t *testing.T) {
	const events = 200
	broker := containertest.NATS(t)
	applyTopology(t, broker.URL)
	b, err := bus.Connect(t.Context(), bus.Options{Service: topology.QualtricsLinker, URL: broker.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)

	published := map[string]event.Event{}
	for i := range events {
		e := request(t, i)
		if _, err := b.Publish(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		published[e.ID] = e
	}
	broker.Kill(t)
	broker.Start(t)

	arrived := make(chan event.Event, events)
	consuming := b.Consume(t.Context(), bus.Consumer{Handle: func(_ context.Context, e event.Event) error {
		arrived <- e
		return nil
	}})
	t.Cleanup(func() { consuming.Drain(context.Background()) })
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

func applyTopology(t *testing.T, url string) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Of(topology.Settings{}).Apply(t.Context(), js, logging.Discard()); err != nil {
		t.Fatal(err)
	}
}

func request(t *testing.T, i int) event.Event {
	t.Helper()
	e, err := event.New("containertest", subjects.SurveyLinkRequested, &eventsv1.SurveyLinkRequested{
		RequestId: fmt.Sprintf("A%03d", i),
		Contact:   &eventsv1.Contact{Email: fmt.Sprintf("person%d@example.com", i)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}
