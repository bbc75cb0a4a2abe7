package bus

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/fault"
)

// Rescue is what became of one word of the broker that deliveries ran out.
type Rescue string

const (
	// Rescued: the message is in the dead letters.
	Rescued Rescue = "rescued"
	// Gone: the message is in its stream no more. Only the log says that there was one.
	Gone Rescue = "gone"
	// NotOurs: it is about a consumer that none of our services has.
	NotOurs Rescue = "not-ours"
)

// rescuePatience is how long one advisory may take; it is less than the broker's patience with an acknowledgement.
const rescuePatience = 4 * publishTotal

// RescueUndelivered takes the broker's word on messages that were delivered as often as their consumer allows, and puts
// each into the dead letters of its service, until ctx ends. Our durables have no such limit; one that somebody sets must
// not lose anything. told hears what became of each. It binds to the service's durable on ADVISORIES, in the background
// of whatever else the service does and for as long as it takes.
func (b *Bus) RescueUndelivered(ctx context.Context, told func(Rescue)) error {
	warned := false
	for ctx.Err() == nil {
		err := b.rescueNext(ctx, told)
		switch {
		case err == nil:
			warned = false
			continue
		case ctx.Err() != nil:
			return nil
		case !warned:
			warned = true
			b.log.Warn("waiting for the broker's advisories: has the topology job run?", "durable", b.service, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(500 * time.Millisecond):
		}
	}
	return nil
}

// pullPatience is how long one request for an advisory waits.
const pullPatience = 10 * time.Second

// rescueNext takes one advisory, if any comes within the patience.
func (b *Bus) rescueNext(ctx context.Context, told func(Rescue)) error {
	durable, err := b.js.Consumer(ctx, topology.Advisories, b.service)
	if err != nil {
		return err
	}
	pull, cancel := context.WithTimeout(ctx, pullPatience)
	defer cancel()
	m, err := durable.Next(jetstream.FetchContext(pull))
	if errors.Is(err, nats.ErrTimeout) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	if err != nil {
		return err
	}
	b.rescueAdvised(m, told)
	return nil
}

// rescueAdvised acknowledges the advisory when the message is safe, and has it come again when it could not be made so.
func (b *Bus) rescueAdvised(m jetstream.Msg, told func(Rescue)) {
	ctx, cancel := context.WithTimeout(context.Background(), rescuePatience)
	defer cancel()
	became, err := b.rescue(ctx, m.Data())
	if err == nil {
		err = m.DoubleAck(ctx)
	}
	if err != nil {
		b.log.Error("a message whose deliveries ran out is not in the dead letters yet, trying again", "error", err)
		_ = m.NakWithDelay(nakDelay) // lost with the connection: then the broker delivers again after AckWait
		return
	}
	told(became)
}

// advisory is what the broker says when a message was delivered as often as its consumer allows.
type advisory struct {
	Stream     string `json:"stream"`
	Consumer   string `json:"consumer"`
	Sequence   uint64 `json:"stream_seq"`
	Deliveries int    `json:"deliveries"`
}

// rescue copies the message that an advisory names into the dead letters of its service.
func (b *Bus) rescue(ctx context.Context, data []byte) (Rescue, error) {
	var said advisory
	if err := json.Unmarshal(data, &said); err != nil {
		b.log.Warn("an advisory cannot be read", "error", err)
		return NotOurs, nil
	}
	service, ok := topology.Of(topology.Settings{}).Service(said.Consumer)
	if !ok || len(service.Takes) == 0 || !slices.Contains([]string{topology.Events, topology.Retries}, said.Stream) {
		return NotOurs, nil
	}
	stream, err := b.js.Stream(ctx, said.Stream)
	if err != nil {
		return "", err
	}
	original, err := stream.GetMsg(ctx, said.Sequence)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		b.log.Error("deliveries ran out, and the message is gone from its stream", "stream", said.Stream, "sequence", said.Sequence, "durable", said.Consumer)
		return Gone, nil
	}
	if err != nil {
		return "", err
	}
	return Rescued, b.actFor(service.Name).bury(ctx, undelivered{raw: original, stream: said.Stream}, said)
}

// actFor gives a consumer that settles for another service.
func (b *Bus) actFor(service string) *Consuming {
	return &Consuming{bus: &Bus{service: service, nc: b.nc, js: b.js, log: b.log, metrics: b.metrics}}
}

// bury writes the dead letter that the service itself would have written.
func (c *Consuming) bury(ctx context.Context, m jetstream.Msg, said advisory) error {
	d, err := c.open(m)
	if err != nil {
		return err
	}
	f := fault.New(fault.Person, "was delivered %d times without an outcome, which is as often as the consumer %s of %s allows (MaxDeliver); "+
		"look at the service's log, take the limit away, then replay it", said.Deliveries, said.Consumer, said.Stream)
	return c.deadLetter(ctx, d, f.Class, f)
}

// undelivered is a message that nobody has in hand any more, read again from its stream.
type undelivered struct {
	jetstream.Msg // none: whatever a message in hand can do and this one cannot
	raw           *jetstream.RawStreamMsg
	stream        string
}

func (u undelivered) Subject() string      { return u.raw.Subject }
func (u undelivered) Headers() nats.Header { return u.raw.Header }
func (u undelivered) Data() []byte         { return u.raw.Data }

// Metadata is what the broker would have said with the message.
func (u undelivered) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{
		Stream: u.stream, Sequence: jetstream.SequencePair{Stream: u.raw.Sequence}, Timestamp: u.raw.Time,
	}, nil
}

// TermWithReason has nothing to end: the broker has given the message up.
func (u undelivered) TermWithReason(string) error { return nil }
