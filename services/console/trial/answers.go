package trial

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/streamread"
)

// window is how many messages of EVENTS, of all kinds, are gone back at a time.
const window = 8192

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
	m, err := streamread.Since(ctx, a.js, topology.Events, subjects.SurveyResponseReceived, at)
	if err != nil || m == nil {
		return none, err
	}
	return m.Sequence, nil
}

// part takes the answers in begin <= s < end.
func (a answers) part(ctx context.Context, begin, end uint64) error {
	for next := begin; next < end; {
		messages, err := streamread.NextOf(ctx, a.js, topology.Events, subjects.SurveyResponseReceived, next)
		if err != nil || len(messages) == 0 {
			return err
		}
		for _, m := range messages {
			if m.Sequence >= end {
				return nil
			}
			if err := a.take(ctx, m); err != nil {
				return err
			}
			next = m.Sequence + 1
		}
	}
	return nil
}
