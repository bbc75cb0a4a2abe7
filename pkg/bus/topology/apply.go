package topology

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Apply creates what is missing and updates what differs. It never deletes anything, and it leaves a pause as it is.
// While the cluster has no leader yet it tries again until ctx ends.
func (t Topology) Apply(ctx context.Context, js jetstream.JetStream, log *slog.Logger) error {
	for _, stream := range t.Streams {
		err := untilLeader(ctx, log, "stream "+stream.Name, func(ctx context.Context) error {
			_, err := js.CreateOrUpdateStream(ctx, stream)
			return err
		})
		if err != nil {
			return fmt.Errorf("stream %s: %w", stream.Name, err)
		}
	}
	for _, consumer := range t.Consumers {
		err := untilLeader(ctx, log, "consumer "+consumer.Config.Durable, func(ctx context.Context) error {
			_, err := js.CreateOrUpdateConsumer(ctx, consumer.Stream, consumer.Config)
			return err
		})
		if err != nil {
			return fmt.Errorf("consumer %s of %s: %w", consumer.Config.Durable, consumer.Stream, err)
		}
	}
	for _, bucket := range t.Buckets {
		err := untilLeader(ctx, log, "bucket "+bucket.Bucket, func(ctx context.Context) error {
			_, err := js.CreateOrUpdateKeyValue(ctx, bucket)
			return err
		})
		if err != nil {
			return fmt.Errorf("bucket %s: %w", bucket.Bucket, err)
		}
	}
	return nil
}

// untilLeader repeats f while the broker has no leader to answer: a cluster that is just starting.
func untilLeader(ctx context.Context, log *slog.Logger, what string, f func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := f(attempt)
		cancel()
		var api *jetstream.APIError
		notYet := errors.Is(err, context.DeadlineExceeded) || errors.As(err, &api) && api.Code == 503 ||
			errors.Is(err, jetstream.ErrJetStreamNotEnabled)
		if !notYet || ctx.Err() != nil {
			return err
		}
		log.Warn("the broker cannot do this yet, trying again", "what", what, "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Second):
		}
	}
}
