package bus_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
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

// tide records waves.
type tide struct {
	mu    sync.Mutex
	waves [][]event.Event
}

func (t *tide) add(wave []event.Event) []error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waves = append(t.waves, wave)
	return make([]error, len(wave))
}

// sizes gives how many events were handled, and in how many waves.
func (t *tide) sizes() (events, waves int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.waves {
		events += len(w)
	}
	return events, len(t.waves)
}

func accountOf(e event.Event) string { return e.Data.(*eventsv1.FeedbackRaised).GetAccountId() }

func gathering(handle func(context.Context, []event.Event) []error) bus.Consumer {
	return bus.Consumer{
		Handle: func(context.Context, event.Event) error { return fault.New(fault.Person, "handled by itself") },
		Waves:  &bus.Waves{Key: accountOf, Handle: handle, Quiet: 200 * time.Millisecond},
	}
}

func TestEventsThatComeTogetherAreHandledTogether(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	const n = 600
	for i := range n {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x","accountId":"%d"}`, i, i%2))
	}
	var got tide
	consume(t, broker.Bus(service), gathering(func(_ context.Context, wave []event.Event) []error { return got.add(wave) }))
	bustest.Eventually(t, "all handled", func() bool { events, _ := got.sizes(); return events == n })
	if _, waves := got.sizes(); waves != 2 {
		t.Errorf("%d waves for two keys", waves)
	}
	for _, wave := range got.waves {
		for _, e := range wave {
			if accountOf(e) != accountOf(wave[0]) {
				t.Fatal("keys are mixed")
			}
		}
	}
	bustest.Eventually(t, "all acknowledged", func() bool { return consumerInfo(t, broker, topology.Events).NumAckPending == 0 })
}

func TestWavesAreNoLargerThanAllowed(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	const n = 25
	for i := range n {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x","accountId":"1"}`, i))
	}
	var got tide
	c := gathering(func(_ context.Context, wave []event.Event) []error { return got.add(wave) })
	c.Waves.Max = 10
	consume(t, broker.Bus(service), c)
	bustest.Eventually(t, "all handled", func() bool { events, _ := got.sizes(); return events == n })
	for _, wave := range got.waves {
		if len(wave) > 10 {
			t.Errorf("a wave of %d", len(wave))
		}
	}
}

func TestEachEventOfAWaveHasAnOutcomeOfItsOwn(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var tries, again atomic.Int32
	consume(t, broker.Bus(service), gathering(func(_ context.Context, wave []event.Event) []error {
		errs := make([]error, len(wave))
		for i, e := range wave {
			switch e.Data.(*eventsv1.FeedbackRaised).GetResponseId() {
			case "R_1":
				errs[i] = fault.New(fault.Refused, "not this one")
			case "R_2":
				tries.Add(1)
				if e.Attempts == 0 {
					errs[i] = fault.Later(0, "not yet")
				} else {
					again.Add(1)
				}
			}
		}
		return errs
	}))
	for i := range 4 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x","accountId":"1"}`, i))
	}
	bustest.Eventually(t, "the one that waited", func() bool { return again.Load() == 1 })
	letters := broker.Messages(topology.DeadLetters, "deadletter.>")
	if len(letters) != 1 || letters[0].Header.Get(bus.HeaderClass) != "refused" || tries.Load() != 2 {
		t.Errorf("%d dead letters, %d tries", len(letters), tries.Load())
	}
}

func TestPanicInAWaveLosesNothing(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var got tide
	var panicked atomic.Bool
	consume(t, broker.Bus(service), gathering(func(_ context.Context, wave []event.Event) []error {
		if panicked.CompareAndSwap(false, true) {
			panic("once")
		}
		return got.add(wave)
	}))
	for i := range 5 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x","accountId":"1"}`, i))
	}
	bustest.Eventually(t, "all handled", func() bool { events, _ := got.sizes(); return events == 5 })
}

func TestEventWithoutAKeyIsHandledByItself(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var got tide
	consume(t, broker.Bus(service), gathering(func(_ context.Context, wave []event.Event) []error { return got.add(wave) }))
	broker.Publish(subject, `{"responseId":"R_1","subject":"x"}`)
	bustest.Eventually(t, "its own outcome", func() bool { return len(broker.Messages(topology.DeadLetters, "deadletter.>")) == 1 })
	if _, waves := got.sizes(); waves != 0 {
		t.Error("it was handled in a wave")
	}
}

// After the pause one event goes first, alone; the others go together when it came through, more each time, in the order
// that the service asks for.
func TestWaveThatMeetsAVendorThatIsOutWaitsAndBurnsNoAttempt(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	var got tide
	var out atomic.Bool
	out.Store(true)
	c := gathering(func(_ context.Context, wave []event.Event) []error {
		if !out.Swap(false) {
			return got.add(wave)
		}
		errs := make([]error, len(wave))
		for i := range errs {
			errs[i] = fault.New(fault.Down, "nobody is there")
		}
		return errs
	})
	c.Waves.Before = func(a, b event.Event) bool { return number(a) > number(b) }
	const n = 200
	for i := range n {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"%d","subject":"x","accountId":"1"}`, i))
	}
	consume(t, broker.Bus(service), c)
	bustest.Eventually(t, "all handled", func() bool { events, _ := got.sizes(); return events == n })
	most := 1
	for _, wave := range got.waves {
		if len(wave) > most {
			t.Errorf("%d at once, want %d at most", len(wave), most)
		}
		most += 9 * len(wave)
		for i, e := range wave {
			if e.Attempts != 0 {
				t.Fatalf("%s: %d attempts burnt", e.ID, e.Attempts)
			}
			if i > 0 && number(wave[i-1]) < number(e) {
				t.Errorf("%d before %d", number(wave[i-1]), number(e))
			}
		}
	}
	if _, waves := got.sizes(); waves < 3 || waves > 12 {
		t.Errorf("%d waves: want a few, each larger than the one before", waves)
	}
}

func number(e event.Event) int {
	n, _ := strconv.Atoi(e.Data.(*eventsv1.FeedbackRaised).GetResponseId())
	return n
}

func TestFewEventsDoNotWaitForTheLargeWaves(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	finish := make(chan struct{})
	defer close(finish)
	var large, few atomic.Int32
	c := gathering(func(_ context.Context, wave []event.Event) []error {
		if len(wave) >= 3 {
			large.Add(1)
			<-finish
		} else {
			few.Add(1)
		}
		return make([]error, len(wave))
	})
	c.Waves.Parallel, c.Waves.Few = 1, 3
	consume(t, broker.Bus(service), c)
	for i := range 10 {
		broker.Publish(subject, fmt.Sprintf(`{"responseId":"R_%d","subject":"x","accountId":"1"}`, i))
	}
	bustest.Eventually(t, "the large wave", func() bool { return large.Load() == 1 })
	broker.Publish(subject, `{"responseId":"R_10","subject":"x","accountId":"1"}`)
	bustest.Eventually(t, "the lone one beside it", func() bool { return few.Load() == 1 })
}

// Of three groups of forty, the first is fresh or merely waits, the second had one mishap and the third two.
func TestEventsThatSomethingWentWrongWithGoInSmallerWavesApartFromOthers(t *testing.T) {
	for name, headers := range map[string]func(mishaps int) map[string]string{
		"in hand when the process ended": func(n int) map[string]string { return map[string]string{bus.HeaderSuspect: strconv.Itoa(n)} },
		"failed": func(n int) map[string]string {
			if n == 0 { // waiting for what is not there yet is nothing wrong
				return map[string]string{bus.HeaderAttempts: "3", bus.HeaderClass: string(fault.NotYet)}
			}
			return map[string]string{bus.HeaderAttempts: strconv.Itoa(3 + n), bus.HeaderFailed: strconv.Itoa(n)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := bustest.Start(t, topology.Settings{})
			var got tide
			c := gathering(func(_ context.Context, wave []event.Event) []error { return got.add(wave) })
			var alone atomic.Int32
			c.Handle = func(context.Context, event.Event) error { alone.Add(1); return nil }
			c.Waves.Max = 100
			const n = 40
			for mishaps := range 3 {
				for i := range n {
					m := nats.NewMsg(topology.DueSubject(service))
					m.Data = fmt.Appendf(nil, `{"responseId":"%d-%d","subject":"x","accountId":"1"}`, mishaps, i)
					m.Header.Set(bus.HeaderSubject, subject)
					for header, value := range headers(mishaps) {
						m.Header.Set(header, value)
					}
					if _, err := broker.JS.PublishMsg(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
			}
			consume(t, broker.Bus(service), c)
			bustest.Eventually(t, "all handled", func() bool {
				events, _ := got.sizes()
				return events == 2*n && alone.Load() == n
			})
			for _, wave := range got.waves {
				group := func(e event.Event) string { return e.Data.(*eventsv1.FeedbackRaised).GetResponseId()[:1] }
				if group(wave[0]) == "1" && len(wave) > 10 {
					t.Errorf("%d together, want 10 at most", len(wave))
				}
				for _, e := range wave {
					if group(e) != group(wave[0]) {
						t.Errorf("one of group %s goes with one of group %s", group(e), group(wave[0]))
					}
				}
			}
		})
	}
}
