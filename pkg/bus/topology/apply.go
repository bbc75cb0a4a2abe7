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
			return applyBucket(ctx, js, bucket, log)
		})
		if err != nil {
			return fmt.Errorf("bucket %s: %w", bucket.Bucket, err)
		}
	}
	return nil
}

// invalidConfig is JetStream's code for a configuration that it does not take.
const invalidConfig jetstream.ErrorCode = 10052

// applyBucket makes a bucket. Of the ledger it is allowed to delete single messages, which buckets forbid unless asked: only
// so can what is said about a person be overwritten on disk. JetStream does not take that ban away from one that was made
// with it.
func applyBucket(ctx context.Context, js jetstream.JetStream, bucket jetstream.KeyValueConfig, log *slog.Logger) error {
	stream := bucketStream(bucket)
	stream.DenyDelete = bucket.Bucket != Effects
	_, err := js.CreateOrUpdateStream(ctx, stream)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == invalidConfig && !stream.DenyDelete {
		stream.DenyDelete, stream.AllowRollup = true, true // purging a key is then the only way to take it out
		if _, again := js.CreateOrUpdateStream(ctx, stream); again == nil {
			log.Warn("the ledger was made by an earlier version and forbids deleting: what an erasure takes out of it is not overwritten on disk at once",
				"stream", stream.Name)
			return nil
		}
	}
	return err
}

// bucketStream is the stream that the client makes for a bucket, with deleting allowed and without rolling up: with a header
// (Nats-Rollup: all) everybody who may write one key could remove those of all others.
func bucketStream(b jetstream.KeyValueConfig) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: "KV_" + b.Bucket, Description: b.Description, Subjects: []string{"$KV." + b.Bucket + ".>"},
		MaxMsgsPerSubject: int64(b.History), MaxBytes: -1, MaxMsgs: -1, MaxMsgSize: -1, MaxConsumers: -1,
		Storage: b.Storage, Replicas: b.Replicas, AllowDirect: true, Discard: jetstream.DiscardNew,
		Duplicates: 2 * time.Minute,
	}
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
