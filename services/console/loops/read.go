package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/parallel"
)

// Entry is a message of a loop as its stream holds it.
type Entry struct {
	Place
	// Event is what EVENTS holds there, nil for other streams and where it breaks its contract.
	Event *event.Event
	// Body is as the stream holds it, nil for attempts.
	Body   []byte
	Header nats.Header
	// Attempt is what ACTIVITY holds there, cut to the events of the loop in question and the calls that were made for them or
	// for all of a wave; nil for other streams.
	Attempt *activity.Attempt
	// Gone says that the stream does not hold it any more, or holds something else there since it was made anew.
	Gone bool
}

// Reader reads messages of loops from their streams.
type Reader struct{ js jetstream.JetStream }

// NewReader makes one.
func NewReader(js jetstream.JetStream) *Reader { return &Reader{js} }

// readParallel is how many messages are read at a time.
const readParallel = 16

// Read gives the messages at these places, in their order. Attempts at places that [Store.Loop] gave are cut to the loop.
func (r *Reader) Read(ctx context.Context, places []Place) ([]Entry, error) {
	streams := map[string]jetstream.Stream{}
	for _, p := range places {
		if streams[p.Stream] != nil {
			continue
		}
		stream, err := r.js.Stream(ctx, p.Stream)
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, fmt.Errorf("reading %s: %w", p.Stream, err)
		}
		if err == nil {
			streams[p.Stream] = stream
		}
	}
	entries, errs := make([]Entry, len(places)), make([]error, len(places))
	parallel.Times(len(places), readParallel, func(i int) { entries[i], errs[i] = read(ctx, streams[places[i].Stream], places[i]) })
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return entries, nil
}

func read(ctx context.Context, stream jetstream.Stream, p Place) (Entry, error) {
	e := Entry{Place: p, Gone: true}
	if stream == nil {
		return e, nil
	}
	m, err := stream.GetMsg(ctx, p.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Subject != p.Type {
		return e, nil
	}
	if err != nil {
		return e, fmt.Errorf("reading %s: %w", p.Stream, err)
	}
	e.Gone, e.Body, e.Header = false, m.Data, m.Header
	switch p.Stream {
	case topology.Events:
		decoded, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{Stream: p.Stream, Sequence: m.Sequence, Time: m.Time})
		if err == nil {
			e.Event = &decoded
		}
	case topology.Activity:
		a := &activity.Attempt{}
		if strings.HasSuffix(m.Subject, "."+activity.KindAttempt) && json.Unmarshal(m.Data, a) == nil {
			if e.Attempt = a; p.loop != "" {
				*a = a.Only(func(h activity.Handled) bool { return h.LoopID == p.loop })
				e.Body = nil // of others too
			}
		}
	}
	return e, nil
}
