// Package streamread reads a stream by sequence, without a consumer: the console has no right to make one, and keeps for itself
// how far it has read.
package streamread

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"
)

const (
	// Most is how many messages one request brings, unless they are larger than mostBytes together.
	Most      = 500
	mostBytes = 1 << 20
	// patience is how long one request may take.
	patience = 10 * time.Second
)

// Next gives the messages of a stream from a sequence on, in order: as many as one request brings, and none where there are none
// any more, or the replica that answers does not have them yet. With an error come those that were read before it.
func Next(ctx context.Context, js jetstream.JetStream, stream string, first uint64) ([]*jetstream.RawStreamMsg, error) {
	return batch(ctx, js, stream, Most, jetstreamext.GetBatchSeq(first))
}

// NextOf is [Next] for the messages with one subject.
func NextOf(ctx context.Context, js jetstream.JetStream, stream, subject string, first uint64) ([]*jetstream.RawStreamMsg, error) {
	return batch(ctx, js, stream, Most, jetstreamext.GetBatchSeq(first), jetstreamext.GetBatchSubject(subject))
}

// Since gives the first message with a subject that was stored at a time or later, nil where there is none.
func Since(ctx context.Context, js jetstream.JetStream, stream, subject string, at time.Time) (*jetstream.RawStreamMsg, error) {
	messages, err := batch(ctx, js, stream, 1, jetstreamext.GetBatchStartTime(at), jetstreamext.GetBatchSubject(subject))
	if err != nil || len(messages) == 0 {
		return nil, err
	}
	return messages[0], nil
}

func batch(ctx context.Context, js jetstream.JetStream, stream string, most int, which ...jetstreamext.GetBatchOpt) ([]*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	messages, err := jetstreamext.GetBatch(ctx, js, stream, most, append(which, jetstreamext.GetBatchMaxBytes(mostBytes))...)
	if err != nil {
		return nil, err
	}
	all := make([]*jetstream.RawStreamMsg, 0, most)
	for m, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			break
		}
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
	return all, nil
}

// Deleted gives the sequences that are missing behind the first message of a stream, in order, with how the stream stands.
func Deleted(ctx context.Context, stream jetstream.Stream) ([]uint64, *jetstream.StreamInfo, error) {
	info, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return nil, nil, err
	}
	return info.State.Deleted, info, nil
}
