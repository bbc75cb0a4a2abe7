package lab

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/embedded"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/logging"
)

// Broker is where the services connect: [StartBroker]'s, or a cluster that somebody else runs.
type Broker interface {
	// URL is where clients connect; several nodes are separated by commas.
	URL() string
	// Stop ends it when its clients have gone.
	Stop()
}

// StartBroker starts one nats-server within this process, with its files in dir and the topology applied.
func StartBroker(ctx context.Context, dir string, s topology.Settings) (Broker, error) {
	broker, err := embedded.Start(embedded.Options{Dir: dir, Port: -1})
	if err != nil {
		return nil, err
	}
	if err := Declare(ctx, broker.URL(), s); err != nil {
		broker.Stop()
		return nil, err
	}
	return broker, nil
}

// Declare applies the topology to a broker.
func Declare(ctx context.Context, url string, s topology.Settings) error {
	nc, err := nats.Connect(url)
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return topology.Of(s).Apply(ctx, js, logging.Discard())
}

// Count tells how many messages a stream has under a subject.
func Count(ctx context.Context, js jetstream.JetStream, stream, subject string) (int, error) {
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, messages := range info.State.Subjects {
		n += int(messages)
	}
	return n, nil
}
