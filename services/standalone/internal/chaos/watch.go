package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// followed is one kind of event about one key.
type followed struct{ subject, key string }

// watch reads every event as it is stored, and remembers when.
type watch struct {
	mu       sync.Mutex
	inputs   map[followed]*input // by what they are published as
	requests map[string]*input   // invitations by request id
	seen     map[followed]time.Time
	copies   int
	foreign  []string // responses that nobody gave
	links    chan *input

	consuming jetstream.ConsumeContext
}

// observe begins to read what is stored from now on. Invitations whose link is there and that are to be answered come out of links.
func observe(ctx context.Context, js jetstream.JetStream, w *workload) (*watch, error) {
	o := &watch{
		inputs: map[followed]*input{}, requests: map[string]*input{}, seen: map[followed]time.Time{},
		links: make(chan *input, len(w.inputs)+1),
	}
	for _, in := range w.inputs {
		if in.key != "" {
			o.inputs[followed{in.subject(), in.key}] = in
		}
		if in.kind == invitation {
			o.requests[in.key] = in
		}
	}
	stream, err := js.Stream(ctx, topology.Events)
	if err != nil {
		return nil, err
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: stream.CachedInfo().State.LastSeq + 1,
	})
	if err != nil {
		return nil, err
	}
	o.consuming, err = consumer.Consume(o.take)
	return o, err
}

func (o *watch) stop() { o.consuming.Stop() }

// said is what is read of an event.
type said struct {
	RequestID, ResponseID, Link, Kind string
	Values                            struct{ RequestID string }
}

func (o *watch) take(m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		return
	}
	var s said
	if json.Unmarshal(m.Data(), &s) != nil {
		return // a poisoned one
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	key := s.ResponseID
	switch m.Subject() {
	case subjects.SurveyLinkRequested, subjects.SurveyLinkCreated, subjects.SurveyLinkSuppressed:
		key = s.RequestID
	case subjects.InteractionWritten:
		key = s.Kind + "/" + s.ResponseID
		if s.Kind == linkCreated {
			key = s.Kind + "/" + s.RequestID
		}
	}
	is := followed{m.Subject(), key}
	if _, again := o.seen[is]; again {
		o.copies++
		return
	}
	o.seen[is] = meta.Timestamp
	o.relate(is, s, meta.Timestamp)
}

// relate says what an event tells of the inputs.
func (o *watch) relate(is followed, s said, at time.Time) {
	if in := o.inputs[is]; in != nil {
		in.stored = at
		return
	}
	switch is.subject {
	case subjects.SurveyLinkCreated:
		if in := o.requests[is.key]; in != nil {
			in.link = s.Link
			if in.answered != nil {
				o.links <- in
			}
		}
	case subjects.SurveyResponseReceived:
		in := o.requests[s.Values.RequestID]
		if in == nil || in.answered == nil || in.answered.key != "" {
			o.foreign = append(o.foreign, "answer "+is.key)
			return
		}
		in.answered.key, in.answered.stored = is.key, at
	}
}

// missing are the effects of accepted inputs of which no event tells yet.
func (o *watch) missing(w *workload) (all []expected) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, in := range w.inputs {
		if !in.accepted {
			continue
		}
		if in.of != nil && in.key == "" {
			all = append(all, expected{what: "answer", subject: subjects.SurveyResponseReceived, event: "to " + in.of.key})
		}
		for _, e := range in.effects() {
			if _, there := o.seen[followed{e.subject, e.event}]; !there {
				all = append(all, e)
			}
		}
	}
	return all
}

// last is when the last effect of one kind was there, of the inputs that fit.
func (o *watch) last(w *workload, what string, fits func(*input) bool) (at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, in := range w.inputs {
		for _, e := range in.effects() {
			if done := o.seen[followed{e.subject, e.event}]; e.what == what && fits(in) && done.After(at) {
				at = done
			}
		}
	}
	return at
}

// took are the times from event to effect of one kind of effect, of the inputs that fit.
func (o *watch) took(w *workload, what string, fits func(*input) bool) (all []time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, in := range w.inputs {
		for _, e := range in.effects() {
			at, there := o.seen[followed{e.subject, e.event}]
			if e.what == what && there && !in.stored.IsZero() && fits(in) {
				all = append(all, at.Sub(in.stored))
			}
		}
	}
	return all
}

// atWork is what the broker holds for services: events that wait or are in hand, and such as are held for later.
type atWork struct{ waiting, inHand, held int }

func (a atWork) none() bool { return a == atWork{} }

func look(ctx context.Context, js jetstream.JetStream) (a atWork, err error) {
	for _, c := range topology.Of(topology.Settings{}).Consumers {
		consumer, err := js.Consumer(ctx, c.Stream, c.Config.Durable)
		if err != nil {
			return a, err
		}
		info := consumer.CachedInfo()
		a.waiting += int(info.NumPending)
		a.inHand += info.NumAckPending
	}
	a.held, err = lab.Count(ctx, js, topology.Retries, topology.HoldSubject("*", "*"))
	return a, err
}

// record gives the state of an effect in the ledger, in words.
func record(ctx context.Context, ledger jetstream.KeyValue, key string) string {
	entry, err := ledger.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return "no record"
	}
	if err != nil {
		return "the record cannot be read: " + err.Error()
	}
	var r struct {
		State, Reason, Wave, LoopID string
		Steps                       []struct{ Name, State string }
	}
	if err := json.Unmarshal(entry.Value(), &r); err != nil {
		return err.Error()
	}
	words := []string{r.State}
	for _, s := range r.Steps {
		words = append(words, s.Name+" "+s.State)
	}
	if r.Wave != "" {
		words = append(words, "in wave "+r.Wave)
	}
	if r.Reason != "" {
		words = append(words, r.Reason)
	}
	return strings.Join(words, ", ")
}
