package trial

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

const (
	// window is how many messages of EVENTS, of all kinds, are gone back at a time.
	window = 8192
	// batchMessages and batchBytes are what one request may bring: what is held at a time.
	batchMessages = 250
	batchBytes    = 1 << 20
)

// errEnough ends a reading early.
var errEnough = errors.New("enough was read")

// answers reads recorded answers, without a consumer and without leaving a trace.
type answers struct {
	js     jetstream.JetStream
	window uint64
	// take looks at one answer; passed is told after each part of the period that was read to its end, and each later one with
	// it. errEnough ends the reading.
	take   func(context.Context, *jetstream.RawStreamMsg) error
	passed func() error
}

// read goes through the answers that were stored in From <= t < To: back from the end, part by part, so that the latest have been
// seen whenever it ends; within a part forward, as the broker gives them.
func (a answers) read(ctx context.Context, from, to time.Time) error {
	first, end, err := a.bounds(ctx, from, to)
	if err != nil {
		return fmt.Errorf("reading %s: %w", topology.Events, err)
	}
	for end > first {
		begin := first
		if end-first > a.window {
			begin = end - a.window
		}
		if err := a.part(ctx, begin, end); err != nil {
			return err
		}
		if err := a.passed(); err != nil {
			return err
		}
		end = begin
	}
	return nil
}

// bounds gives the sequences between which the period lies: first <= s < end.
func (a answers) bounds(ctx context.Context, from, to time.Time) (first, end uint64, err error) {
	stream, err := a.js.Stream(ctx, topology.Events)
	if err != nil {
		return 0, 0, err
	}
	end = stream.CachedInfo().State.LastSeq + 1
	if first, err = a.since(ctx, from, end); err != nil {
		return 0, 0, err
	}
	end, err = a.since(ctx, to, end)
	return first, end, err
}

// since gives the first answer that was stored at that time or later, or else where there is none.
func (a answers) since(ctx context.Context, at time.Time, none uint64) (uint64, error) {
	sequence := none
	err := a.batch(ctx, 1, func(m *jetstream.RawStreamMsg) error {
		sequence = m.Sequence
		return nil
	}, jetstreamext.GetBatchStartTime(at))
	return sequence, err
}

// part takes the answers in begin <= s < end.
func (a answers) part(ctx context.Context, begin, end uint64) error {
	for next := begin; next < end; {
		n := 0
		err := a.batch(ctx, batchMessages, func(m *jetstream.RawStreamMsg) error {
			n++
			if next = m.Sequence + 1; next > end {
				return nil
			}
			return a.take(ctx, m)
		}, jetstreamext.GetBatchSeq(next), jetstreamext.GetBatchMaxBytes(batchBytes))
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// batch asks for the next answers, and gives them to take.
func (a answers) batch(ctx context.Context, most int, take func(*jetstream.RawStreamMsg) error, options ...jetstreamext.GetBatchOpt) error {
	options = append(options, jetstreamext.GetBatchSubject(subjects.SurveyResponseReceived))
	messages, err := jetstreamext.GetBatch(ctx, a.js, topology.Events, most, options...)
	if err != nil {
		return err
	}
	for m, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := take(m); err != nil {
			return err
		}
	}
	return nil
}
