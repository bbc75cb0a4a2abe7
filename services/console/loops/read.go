package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	// Event is what EVENTS holds there, nil for other streams and where it breaks its contract; of one that is too large its
	// envelope alone, without data.
	Event *event.Event
	// Body is as the stream holds it, nil for what ACTIVITY holds, and where it is too large.
	Body   []byte
	Header nats.Header
	// Attempt is what ACTIVITY holds there, cut to the events of the loop in question and the calls that were made for them or
	// for all of a wave; nil for other streams.
	Attempt *activity.Attempt
	// Gone says that the stream does not hold it any more, or holds something else there since it was made anew.
	Gone bool
	// TooLarge says that the body was left out: those of a loop together are larger than a console holds.
	TooLarge bool
}

// Reader reads messages of loops from their streams.
type Reader struct {
	js    jetstream.JetStream
	turns chan struct{}
}

// NewReader makes one.
func NewReader(js jetstream.JetStream) *Reader { return &Reader{js, make(chan struct{}, usesMost)} }

const (
	// readParallel is how many messages are read at a time. Each may be as large as the broker takes.
	readParallel = 8
	// bodiesMost is how many bytes of bodies are held for one loop: a console has little memory, and a loop may have
	// thousands of messages.
	bodiesMost = 8 << 20
	// usesMost is for how many loops bodies are held at a time.
	usesMost = 2
)

// Use reads as [Reader.Read] does, and gives what was read to a function, which must not keep it. Two at a time are served, others
// wait until one of these has returned, or ctx ends: what a loop says may be large.
func (r *Reader) Use(ctx context.Context, places []Place, use func([]Entry)) error {
	select {
	case r.turns <- struct{}{}:
		defer func() { <-r.turns }()
	case <-ctx.Done():
		return ctx.Err()
	}
	entries, err := r.Read(ctx, places)
	if err == nil {
		use(entries)
	}
	return err
}

// Read gives the messages at these places, in their order. Attempts at places that [Store.Loop] gave are cut to the loop.
// A body that does not fit into 8 MiB with those before it is left out.
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
	entries, left := make([]Entry, 0, len(places)), bodiesMost
	for some := range slices.Chunk(places, readParallel) {
		messages, errs := make([]*jetstream.RawStreamMsg, len(some)), make([]error, len(some))
		parallel.Times(len(some), readParallel, func(i int) { messages[i], errs[i] = get(ctx, streams[some[i].Stream], some[i]) })
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		for i, p := range some {
			e := entryOf(p, messages[i], left)
			left -= len(e.Body)
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// get reads a message; nil for one that is gone.
func get(ctx context.Context, stream jetstream.Stream, p Place) (*jetstream.RawStreamMsg, error) {
	if stream == nil {
		return nil, nil
	}
	m, err := stream.GetMsg(ctx, p.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Subject != p.Type {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", p.Stream, err)
	}
	return m, nil
}

// entryOf is what a message says. A body of more than left bytes is not kept.
func entryOf(p Place, m *jetstream.RawStreamMsg, left int) Entry {
	if m == nil {
		return Entry{Place: p, Gone: true}
	}
	e := Entry{Place: p, Body: m.Data, Header: m.Header}
	origin := event.Origin{Stream: p.Stream, Sequence: m.Sequence, Time: m.Time}
	switch {
	case p.Stream != topology.Activity && len(m.Data) > left:
		e.Body, e.TooLarge = nil, true
		if p.Stream == topology.Events {
			envelope, _, _ := event.Open(m.Subject, m.Header, m.Data, origin) // or what stands in for one
			e.Event = &envelope
		}
	case p.Stream == topology.Events:
		decoded, err := event.Decode(m.Subject, m.Header, m.Data, origin)
		if err == nil {
			e.Event = &decoded
		}
	case p.Stream == topology.Activity:
		a := &activity.Attempt{}
		if strings.HasSuffix(m.Subject, "."+activity.KindAttempt) && json.Unmarshal(m.Data, a) == nil {
			if e.Attempt = a; p.loop != "" {
				*a = a.Only(func(h activity.Handled) bool { return h.LoopID == p.loop })
			}
		}
		e.Body = nil // of others too
	}
	return e
}
