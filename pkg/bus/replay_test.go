package bus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// replayOf makes the replay of the dead letter at a place.
func replayOf(t *testing.T, broker *bustest.Broker, at int) bus.Replay {
	t.Helper()
	bustest.Eventually(t, fmt.Sprintf("dead letter %d", at), func() bool {
		return len(broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(service))) >= at
	})
	m := broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(service))[at-1]
	return bus.Replay{Operation: fmt.Sprint("OP-", at), Service: service, Letter: m.Header, Body: m.Data}
}

func TestAReplayIsTheSameEventWithAllItsAttemptsBeforeIt(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var got seen
	b := broker.Bus(service)
	consume(t, b, bus.Consumer{Handle: func(_ context.Context, e event.Event) error {
		got.add(e)
		return fault.New(fault.Refused, "no")
	}})
	// The expectations of the original must not act again, its own headers stay.
	bare := broker.Publish(subject, `{"responseId":"R_1","subject":"Late"}`, "X-Own", "kept", "Nats-Expected-Stream", "EVENTS")
	first := replayOf(t, broker, 1)
	published := time.Now()
	for range 2 {
		if err := broker.Bus(topology.Console).Replay(t.Context(), first); err != nil { // which alone may
			t.Fatal(err)
		}
	}
	second := replayOf(t, broker, 2)
	if due := broker.Messages(topology.Retries, topology.DueSubject(service)); len(due) != 1 || due[0].Header.Get("X-Own") != "kept" ||
		due[0].Header.Get("Nats-Expected-Stream") != "" || due[0].Header.Get(bus.HeaderReason) != "" || due[0].Header.Get(bus.HeaderClass) != "" {
		t.Errorf("published %d times as %v", len(due), due[0].Header)
	}
	id := fmt.Sprintf("EVENTS-%d", bare.Sequence)
	for _, e := range got.events {
		if e.ID != id || e.LoopID != id || e.Attempts != 0 || e.Data.(*eventsv1.FeedbackRaised).GetResponseId() != "R_1" {
			t.Errorf("handled as %+v", e)
		}
	}
	for _, name := range []string{bus.HeaderSubject, bus.HeaderStream, bus.HeaderSequence, bus.HeaderEventID, bus.HeaderLoopID, bus.HeaderAttempts} {
		if a, b := first.Letter.Get(name), second.Letter.Get(name); a != b || a == "" {
			t.Errorf("%s was %q and is %q when it failed again", name, a, b)
		}
	}
	if second.Letter.Get(bus.HeaderReplay) != "OP-1" {
		t.Errorf("the second dead letter does not name the replay: %v", second.Letter)
	}
	if seen, err := time.Parse(time.RFC3339Nano, second.Letter.Get(bus.HeaderFirstSeen)); err != nil || seen.Before(published) {
		t.Errorf("time limits do not begin anew: first seen %s", second.Letter.Get(bus.HeaderFirstSeen))
	}
}

func TestAReplayIsReadAsItsServiceWill(t *testing.T) {
	letter := nats.Header{bus.HeaderSubject: {subject}, bus.HeaderStream: {"EVENTS"}, bus.HeaderSequence: {"7"}, "ce-loopid": {"L-7"}}
	good := bus.Replay{Service: service, Letter: letter, Body: []byte(`{"responseId":"R_1","subject":"Late"}`)}
	if e, err := good.Event(); err != nil || e.ID != "EVENTS-7" || e.LoopID != "L-7" || good.Check() != nil {
		t.Errorf("%+v, %v, %v", e, err, good.Check())
	}
	bad := good
	bad.Body = []byte(`{"responseId":"R_1","subjct":"Late"}`)
	if _, err := bad.Event(); !fault.Is(err, fault.Invalid) || fault.From(err).Field != "subjct" {
		t.Errorf("a misspelt field: %v", err)
	}
	for name, r := range map[string]bus.Replay{
		"nobody's":             {Service: "nobody", Letter: letter},
		"of one without takes": {Service: topology.Ingress, Letter: letter},
		"of nothing":           {Service: service, Letter: nats.Header{}},
	} {
		if err := r.Check(); !fault.Is(err, fault.Person) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOfDecisionsOnTheSameOneIsKept(t *testing.T) {
	for name, broker := range map[string]*bustest.Broker{
		"one node": bustest.Start(t, topology.Settings{}), "three": bustest.StartCluster(t, topology.Settings{Replicas: 3}),
	} {
		t.Run(name, func(t *testing.T) {
			b, subject := broker.Bus(topology.Console), topology.OperationSubject("deadletter", 1)
			const racers = 8
			for last, round := uint64(0), 0; round < 5; round++ {
				results := make(chan error, racers)
				sequences := make(chan uint64, racers)
				for i := range racers {
					go func() {
						sequence, err := b.Record(t.Context(), subject, fmt.Sprint(round, "/", i), []byte("{}"), last)
						if err == nil {
							sequences <- sequence
						}
						results <- err
					}()
				}
				var errs []error
				for range racers {
					errs = append(errs, <-results)
				}
				won := len(sequences)
				if others := slices.DeleteFunc(errs, func(err error) bool { return errors.Is(err, bus.ErrOvertaken) }); won != 1 || len(others) != 1 {
					t.Fatalf("%d of %d were first: %v", won, racers, errs)
				}
				last = <-sequences
			}
			if _, err := b.Note(t.Context(), topology.OperationSubject("look", 1), "N-1", []byte("{}")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatRanOutOfDeliveriesOnItsWayBackIsTheSameDeadLetter(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	due := broker.Publish(topology.DueSubject(service), `{"responseId":"R_1","subject":"Late"}`, "ce-loopid", "L-1",
		bus.HeaderSubject, subject, bus.HeaderStream, "EVENTS", bus.HeaderSequence, "42", bus.HeaderAttempts, "3", bus.HeaderReplay, "OP-1")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	advisory := fmt.Sprintf(`{"stream":"RETRIES","consumer":%q,"stream_seq":%d,"deliveries":20}`, service, due.Sequence)
	for range 2 { // said twice, it is one dead letter
		broker.Publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.RETRIES."+service, advisory)
	}
	told := 0
	err := broker.Bus(topology.Console).RescueUndelivered(ctx, func(r bus.Rescue) {
		if r != bus.Rescued {
			t.Errorf("told of %s", r)
		}
		if told++; told == 2 {
			cancel()
		}
	})
	letters := broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(service))
	if err != nil || told != 2 || len(letters) != 1 {
		t.Fatalf("%v, told %d times, %d dead letters", err, told, len(letters))
	}
	for name, want := range map[string]string{
		bus.HeaderSubject: subject, bus.HeaderStream: "EVENTS", bus.HeaderSequence: "42", bus.HeaderAttempts: "3", bus.HeaderReplay: "OP-1",
		bus.HeaderClass: "person", bus.HeaderLoopID: "L-1", bus.HeaderEventID: "EVENTS-42", nats.MsgIdHdr: fmt.Sprintf("dead:%s:RETRIES:%d", service, due.Sequence),
	} {
		if got := letters[0].Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// Only a console, which may publish to retry.due, speaks for a person: a header that anybody may give an event does not.
func TestNobodyDecidesByAHeaderOfAnEvent(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{})
	got := make(chan event.Event, 1)
	consume(t, broker.Bus(service), bus.Consumer{Handle: func(_ context.Context, e event.Event) error { got <- e; return nil }})
	broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`, bus.HeaderOutcome, "not-done "+time.Now().UTC().Format(time.RFC3339Nano),
		bus.HeaderAttempts, "17", bus.HeaderSuspect, "9")
	if e := <-got; !e.NotDone.IsZero() || e.Attempts != 0 {
		t.Errorf("decided at %s, %d attempts: by whoever published it", e.NotDone, e.Attempts)
	}
}
