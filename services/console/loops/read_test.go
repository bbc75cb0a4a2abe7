package loops

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// TestTwoLoopsAreReadAtATime: a third waits until one of them is done with.
func TestTwoLoopsAreReadAtATime(t *testing.T) {
	reader, ended := NewReader(nil), func() context.Context {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		return ctx
	}()
	began := 0
	begin := func([]Entry) { began++ }
	err := reader.Use(t.Context(), nil, func([]Entry) {
		err := reader.Use(t.Context(), nil, func([]Entry) {
			if err := reader.Use(ended, nil, begin); !errors.Is(err, context.Canceled) {
				t.Errorf("a third: %v", err)
			}
		})
		if err == nil {
			err = reader.Use(t.Context(), nil, begin)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if err != nil || began != 1 {
		t.Errorf("%d began, want the one after the second; %v", began, err)
	}
}

// TestALargeLoopIsReadInPart reads more bodies than are held: those that do not fit keep their envelope.
func TestALargeLoopIsReadInPart(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	const size, fit, all = 900 << 10, bodiesMost / (900 << 10), bodiesMost/(900<<10) + 2
	var places []Place
	publish := func(body string) {
		ack := broker.Publish(subjects.FeedbackDeliveryLate, body, "ce-id", "E-1", "ce-loopid", "L-1", "ce-source", "feedback-router")
		places = append(places, Place{Stream: topology.Events, Sequence: ack.Sequence, Type: subjects.FeedbackDeliveryLate})
	}
	for range all {
		publish(strings.Repeat("x", size))
	}
	publish("small")
	entries, err := NewReader(broker.Bus(topology.Console).JetStream()).Read(t.Context(), append(places, Place{Stream: topology.Events, Sequence: 1 << 40}))
	if err != nil || len(entries) != all+2 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for i, e := range entries[:all] {
		switch {
		case e.Gone || e.Sequence != places[i].Sequence:
			t.Errorf("%d is %+v", i, e.Place)
		case i < fit && (e.TooLarge || len(e.Body) != size):
			t.Errorf("%d of %d that fit has %d bytes", i, fit, len(e.Body))
		case i >= fit && (!e.TooLarge || e.Body != nil || e.Event == nil || e.Event.LoopID != "L-1" || e.Event.Source != "feedback-router" || e.Event.Data != nil):
			t.Errorf("%d does not fit: %v, %d bytes, %+v", i, e.TooLarge, len(e.Body), e.Event)
		}
	}
	if e := entries[all]; e.TooLarge || string(e.Body) != "small" {
		t.Errorf("what fits behind is %v, %d bytes", e.TooLarge, len(e.Body))
	}
	if e := entries[all+1]; !e.Gone || e.TooLarge {
		t.Errorf("what never was is %+v", e)
	}
}
