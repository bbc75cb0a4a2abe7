package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/tracing"
)

// ErrUnavailable is returned by Publish when JetStream did not acknowledge in time, or refused because EVENTS is full.
// The event may have been stored; publishing it again is harmless.
var ErrUnavailable = errors.New("JetStream did not acknowledge the event")

// refusal is the broker's word that it does not store a message.
type refusal struct{ *jetstream.APIError }

func (r *refusal) Error() string   { return ErrUnavailable.Error() + ": " + r.Description }
func (r *refusal) Unwrap() []error { return []error{ErrUnavailable, r.APIError} }

const (
	// publishAttempt is one try; nats.go itself repeats only when nobody is there to answer.
	publishAttempt = 2 * time.Second
	// publishAgain is the time between two tries.
	publishAgain = 100 * time.Millisecond
	// publishTotal is all of them: a door must answer within a few seconds.
	publishTotal = 5 * time.Second
	// workPatience is all of them in a handler, for whom nobody waits: three nodes elect a leader within nine seconds, and
	// a dead connection is noticed after six.
	workPatience = 20 * time.Second
	// pingInterval is how often a connection is tried. One that leads nowhere, since its node was cut off the network, is
	// given up when two pings have no answer, four to six seconds after the cut: in time for a sign of life for what is in
	// hand, before the broker gives it to another (AckWait).
	pingInterval = 2 * time.Second
	pingsWithout = 2
	// complainEvery is how often it is said why there is no connection.
	complainEvery = time.Minute
)

// Options of [Connect].
type Options struct {
	// Service is the name in the topology; it names the durable consumer, the inbox and the connection.
	Service string
	// Connection says where the broker is and who connects. Ignored with InProcess.
	Connection Connection
	// InProcess connects to a server in the same process.
	InProcess nats.InProcessConnProvider
	Log       *slog.Logger
	// Registerer takes the metrics; nil for none.
	Registerer prometheus.Registerer
	// Tracer makes the spans; nil for none.
	Tracer *tracing.Tracer
}

// Bus is one service's connection. It is safe for concurrent use.
type Bus struct {
	service string
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *slog.Logger
	metrics *metrics
	tracer  *tracing.Tracer
	// denied holds the last permission violation: a forbidden publish otherwise looks like a timeout.
	denied atomic.Pointer[string]
	// mute is set when the broker denies the right to tell, until the next connection.
	mute atomic.Bool
	// away is why the last try to connect failed, nil while connected.
	away atomic.Pointer[string]
	// complained is when it was last said that the broker cannot be reached, in Unix nanoseconds.
	complained atomic.Int64
}

// Connect connects and stays connected: while the broker is away, or refuses who connects, it tries again for ever, and
// publishes fail at once instead of piling up in memory; [Bus.Ready] says why. It returns an error only for options that
// cannot work.
func Connect(_ context.Context, o Options) (*Bus, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Bus{service: o.Service, log: o.Log, metrics: newMetrics(o.Registerer, o.Service), tracer: o.Tracer}
	options, err := b.options(o)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(o.Connection.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	b.nc = nc
	if b.js, err = jetstream.New(nc); err != nil {
		nc.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bus) options(o Options) ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("closeloop/" + o.Service),
		nats.CustomInboxPrefix(topology.InboxPrefix(o.Service)),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		// A password that is being rotated may be wrong on one side for a while.
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(pingsWithout),
		nats.ReconnectBufSize(-1),
		nats.ErrorHandler(b.onError),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				b.log.Warn("connection to the broker lost, trying again", "error", err)
			}
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { b.complain(err) }),
		nats.ConnectHandler(b.connected),
		nats.ReconnectHandler(b.connected),
	}
	if o.InProcess != nil {
		return append(options, nats.InProcessServer(o.InProcess)), nil
	}
	own, err := o.Connection.Options()
	return append(options, own...), err
}

// connected forgets what was wrong: rights may have been mended, and what is still refused will be said again.
func (b *Bus) connected(nc *nats.Conn) {
	b.denied.Store(nil)
	b.mute.Store(false)
	b.away.Store(nil)
	b.complained.Store(0)
	b.log.Info("connected to the broker", "server", nc.ConnectedServerName())
}

// complain notes why there is no connection, and says it now and then: it is tried twice a second.
func (b *Bus) complain(err error) {
	text := err.Error()
	b.away.Store(&text)
	now, last := time.Now().UnixNano(), b.complained.Load()
	if now-last > int64(complainEvery) && b.complained.CompareAndSwap(last, now) {
		b.log.Warn("NATS cannot be reached, trying again", "error", err)
	}
}

func (b *Bus) onError(nc *nats.Conn, sub *nats.Subscription, err error) {
	if !nc.IsConnected() { // it is the answer to a try to connect
		b.complain(err)
		return
	}
	if errors.Is(err, nats.ErrPermissionViolation) || strings.Contains(err.Error(), "Permissions Violation") {
		if b.mayNotTell(err) {
			return
		}
		text := err.Error()
		b.denied.Store(&text)
	}
	subject := ""
	if sub != nil {
		subject = sub.Subject
	}
	b.log.Error("the broker reports an error", "error", err, "subject", subject)
}

// JetStream gives the connection's JetStream, for pkg/effect and the topology job.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// Service is the name under which it is connected.
func (b *Bus) Service() string { return b.service }

// Ready reports why the connection cannot be used: not connected, or the broker refused something that it must not.
func (b *Bus) Ready() error {
	if text := b.denied.Load(); text != nil {
		return fmt.Errorf("the broker refused: %s", *text)
	}
	if b.nc.IsConnected() {
		return nil
	}
	// A try that got as far as the broker's answer is known to the connection alone.
	if err := b.nc.LastError(); err != nil {
		return fmt.Errorf("not connected to the broker: %w", err)
	}
	if why := b.away.Load(); why != nil {
		return fmt.Errorf("not connected to the broker: %s", *why)
	}
	return fmt.Errorf("not connected to the broker: %s", b.nc.Status())
}

// Close flushes and ends the connection. Consumers must have been drained before.
func (b *Bus) Close() {
	if err := b.nc.FlushTimeout(2 * time.Second); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
		b.log.Warn("closing the connection to the broker", "error", err)
	}
	b.nc.Close()
}

// Publish stores the event in EVENTS before it returns. duplicate tells that JetStream already had it, which is
// success. It tries for 5 seconds at most; then the error is [ErrUnavailable].
func (b *Bus) Publish(ctx context.Context, e event.Event) (duplicate bool, err error) {
	if duplicate, err = b.publish(ctx, e, publishTotal); err == nil && !duplicate {
		b.metrics.accepted.WithLabelValues(e.Type).Inc()
	}
	return duplicate, err
}

func (b *Bus) publish(ctx context.Context, e event.Event, patience time.Duration) (duplicate bool, err error) {
	ctx, span := b.sending(ctx, &e)
	defer func() { tracing.Fail(span, err); span.End() }()
	m, err := event.Encode(e)
	if err != nil {
		return false, err
	}
	ack, err := b.storeWithin(ctx, m, patience)
	if err != nil {
		b.metrics.published.WithLabelValues(e.Type, "failed").Inc()
		return false, fmt.Errorf("publishing %s: %w", e.Type, err)
	}
	b.metrics.published.WithLabelValues(e.Type, "stored").Inc()
	if !ack.Duplicate {
		b.metrics.stage(e, time.Now())
	}
	return ack.Duplicate, nil
}

// storeFailed is JetStream's code for a message that it could not store: the stream is full. It has the status of a cluster
// without a leader, which passes by itself.
const storeFailed jetstream.ErrorCode = 10077

// inProcess is JetStream's code for a message whose earlier try is still on its way through the replicas.
const inProcess jetstream.ErrorCode = 10158

// refused gives the broker's word that it does not store a message, and would say again.
func refused(err error) (*refusal, bool) {
	api, ok := errors.AsType[*jetstream.APIError](err)
	if !ok || api.ErrorCode == inProcess || api.Code == 503 && api.ErrorCode != storeFailed {
		return nil, false
	}
	return &refusal{api}, true
}

// store is storeWithin for whoever cannot wait long.
func (b *Bus) store(ctx context.Context, m *nats.Msg) (*jetstream.PubAck, error) {
	return b.storeWithin(ctx, m, publishTotal)
}

// storeWithin publishes until acknowledged. The message id stays the same, so that a try whose acknowledgement was lost
// is not stored twice.
func (b *Bus) storeWithin(ctx context.Context, m *nats.Msg, patience time.Duration) (*jetstream.PubAck, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		attempt, cancelAttempt := context.WithTimeout(ctx, publishAttempt)
		ack, err := b.js.PublishMsg(attempt, m)
		cancelAttempt()
		if err == nil {
			return ack, nil
		}
		if errors.Is(err, nats.ErrMaxPayload) {
			return nil, err
		}
		if no, ok := refused(err); ok {
			return nil, no
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		case <-time.After(publishAgain):
		}
	}
}

// transient wraps what went wrong between us and JetStream inside a handler, so that the event is tried again.
func transient(err error) error {
	return &fault.Fault{Class: fault.Transient, Reason: err.Error(), Err: err}
}

// Follow publishes what follows from an event that is being handled: same loop, same trace. It tries for 20 seconds at
// most. A failure makes the handler try again later; a repeat is stored once.
func (b *Bus) Follow(ctx context.Context, cause event.Event, subject string, data proto.Message) error {
	follows, err := event.After(cause, b.service, subject, data)
	if err != nil {
		return err
	}
	return b.Emit(ctx, follows)
}

// Emit is [Bus.Follow] with an event that is made already.
func (b *Bus) Emit(ctx context.Context, e event.Event) error {
	if _, err := b.publish(ctx, e, workPatience); err != nil {
		if fault.Is(err, fault.Invalid) {
			return err
		}
		return transient(err)
	}
	return nil
}
