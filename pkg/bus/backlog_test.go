package bus

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
)

func TestTheOldestEventOfAPauseIsKnown(t *testing.T) {
	now := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	before := func(d time.Duration) time.Time { return now.Add(-d) }
	paused := func(pending uint64, last *time.Time) *jetstream.ConsumerInfo {
		return &jetstream.ConsumerInfo{Stream: topology.Events, NumPending: pending, Paused: true, Delivered: jetstream.SequenceInfo{Last: last}}
	}
	hourAgo := before(time.Hour)
	for name, c := range map[string]struct {
		none, delivered time.Time
		info            *jetstream.ConsumerInfo
		want            time.Time
	}{
		"nothing waits":                     {info: paused(0, &hourAgo)},
		"after a look that found nothing":   {none: before(time.Minute), delivered: before(time.Hour), info: paused(3, &hourAgo), want: before(time.Minute)},
		"after what was delivered last":     {none: before(time.Hour), delivered: before(time.Minute), info: paused(3, nil), want: before(time.Minute)},
		"new start in the middle":           {info: paused(3, &hourAgo), want: hourAgo},
		"new start, never anything":         {info: paused(3, nil), want: now},
		"not paused: what is in hand tells": {none: hourAgo, info: &jetstream.ConsumerInfo{Stream: topology.Events, NumPending: 3}},
	} {
		b := backlog{delivered: func(string) time.Time { return c.delivered }}
		if !c.none.IsZero() {
			b.none = map[string]time.Time{topology.Events: c.none}
		}
		if got := b.oldest(now, []*jetstream.ConsumerInfo{c.info}); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestTheOldestInHandIsKnown(t *testing.T) {
	var k keeper
	if !k.oldest().IsZero() || !k.delivered(topology.Events).IsZero() {
		t.Error("there is something in an empty hand")
	}
	at := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	older := &delivery{meta: &jetstream.MsgMetadata{Stream: topology.Events, Timestamp: at.Add(-time.Minute)}}
	newer := &delivery{meta: &jetstream.MsgMetadata{Stream: topology.Events, Timestamp: at}}
	k.add(newer)
	k.add(older)
	if got := k.oldest(); !got.Equal(at.Add(-time.Minute)) || !k.delivered(topology.Events).Equal(at) {
		t.Errorf("oldest %s, last %s", got, k.delivered(topology.Events))
	}
	k.remove(older)
	if got := k.oldest(); !got.Equal(at) || age(at.Add(time.Second), got) != 1 || age(at, time.Time{}) != 0 {
		t.Errorf("oldest %s", got)
	}
}

func TestWhereNothingIsTracedNothingIsMade(t *testing.T) {
	c, d, e := &Consuming{bus: &Bus{}}, &delivery{}, event.Event{LoopID: "L-1", Type: "task.created"}
	ctx := context.Background()
	if spent := testing.AllocsPerRun(100, func() {
		c.trace(d, 1)
		inside, span := c.bus.sending(d.within(ctx), &e)
		_, wave := c.traceWave(inside, []*delivery{d})
		span.End()
		wave.End()
		d.endTrace(nil, "done", 0)
	}); spent != 0 || d.span != nil || e.TraceParent != "" {
		t.Errorf("%g allocations, span %v", spent, d.span)
	}
}
