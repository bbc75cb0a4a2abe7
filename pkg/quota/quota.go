package quota

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/fault"
)

// Limits of one vendor, for the whole fleet.
type Limits struct {
	// PerMinute is how many calls all operations may make together; 0 means no such limit.
	PerMinute int
	// Operations is how many calls a minute an operation may make, or a group of operations that share one limit; 0 means
	// no such limit.
	Operations map[string]int
	// Groups names the group of an operation, where several share one limit.
	Groups map[string]string
	// Parallel is how many calls may run at once; 0 means no such limit.
	Parallel int
}

// total is the name of the limit of all operations together.
const total = "*"

// of gives the limit that a name has in the settings, 0 for none.
func (l Limits) of(name string) int {
	if name == total {
		return l.PerMinute
	}
	return l.Operations[name]
}

// own names the limit that is the operation's own, whether or not it is set.
func (l Limits) own(operation string) string { return cmp.Or(l.Groups[operation], operation) }

// refused names the limit that a refusal of the operation is taken for: its own, or that of all where it has none.
func (l Limits) refused(operation string) string {
	if name := l.own(operation); l.of(name) > 0 || l.PerMinute == 0 {
		return name
	}
	return total
}

// Bucket is what a limiter needs of a [jetstream.KeyValue].
type Bucket interface {
	Get(ctx context.Context, key string) (jetstream.KeyValueEntry, error)
	Create(ctx context.Context, key string, value []byte, opts ...jetstream.KVCreateOpt) (uint64, error)
	Update(ctx context.Context, key string, value []byte, revision uint64) (uint64, error)
}

const (
	// patience is the longest wait for a call. With the call itself it must stay below the ledger's lease.
	patience = 10 * time.Second
	// callTime is what a wait leaves of the caller's time for the call itself.
	callTime = 6 * time.Second
	// stale is how late a call may start after its turn has come, say because the process was stopped for a while.
	stale = time.Second
	// changeTimeout bounds one change of the record, with its repetitions.
	changeTimeout = 3 * time.Second
	// unreachableWait is when to try again while the bucket cannot be reached.
	unreachableWait = 2 * time.Second
)

// Limiter admits calls of one vendor within limits that all limiters of the same bucket and vendor share. It is safe for
// concurrent use. It does nothing while no call waits and none is under way.
type Limiter struct {
	vendor string
	limits Limits
	owner  string
	store  *store
	clock  *clock
	log    *slog.Logger

	turning chan struct{} // takes one: one turn at a time

	mu       sync.Mutex
	queue    []*waiter // oldest first
	refusals []refusal // not in the record yet
	held     int       // places of ours in the record
	inUse    int       // places of calls that are under way
	idle     time.Time // when a place was last given back here
	listed   bool      // the record has places of ours, or says that we want some
	short    bool      // the last turn found too few places
	told     time.Time // when the record was read or written last
	running  bool
	kick     chan struct{}
}

// Option changes a limiter.
type Option func(*Limiter)

// WithLog tells people about refusals and what was learned from them. Default: nobody.
func WithLog(log *slog.Logger) Option { return func(l *Limiter) { l.log = log } }

// WithClock takes the time from elsewhere, for tests of clocks that differ.
func WithClock(now func() time.Time) Option { return func(l *Limiter) { l.clock.local = now } }

// New makes a limiter. It uses the keys <vendor>.state and <vendor>.clock of the bucket.
func New(bucket Bucket, vendor string, limits Limits, options ...Option) *Limiter {
	l := &Limiter{
		vendor: vendor, limits: limits, owner: rand.Text()[:12],
		store: &store{bucket: bucket, key: vendor + ".state"},
		clock: &clock{bucket: bucket, key: vendor + ".clock", local: time.Now},
		log:   slog.New(slog.DiscardHandler), turning: make(chan struct{}, 1), kick: make(chan struct{}, 1),
	}
	for _, option := range options {
		option(l)
	}
	return l
}

// waiter is one call that waits for its turn.
type waiter struct {
	operation string
	names     []string  // of the limits that hold for it
	deadline  time.Time // by our own clock
	turn      chan turn // takes one, without waiting
}

// turn is the answer to a waiter: when its call may start, or why not.
type turn struct {
	at  time.Time
	err error
}

// refusal is one call that the vendor refused for quota, or for another reason that has a time.
type refusal struct {
	name  string
	at    time.Time
	after time.Duration
	quota bool
}

// until is when calls may come again.
func (r refusal) until() time.Time { return r.at.Add(cmp.Or(r.after, minute)) }

// Admit waits until a call of this operation may be sent, ten seconds at most. Release must be called when the call has
// ended. An error is a [fault.Fault], and nothing was sent: Busy, with After, where the wait would be longer or the bucket
// cannot be reached; Transient when ctx ended.
func (l *Limiter) Admit(ctx context.Context, operation string) (release func(), err error) {
	w := &waiter{operation: operation, names: []string{l.limits.own(operation), total}, turn: make(chan turn, 1)}
	longest := patience
	if end, ok := ctx.Deadline(); ok {
		longest = max(min(longest, time.Until(end)-callTime), horizon)
	}
	w.deadline = time.Now().Add(longest)
	timeout := time.NewTimer(longest)
	defer timeout.Stop()
	for {
		l.join(w)
		select {
		case got := <-w.turn:
			if again, err := l.start(ctx, w, got); !again {
				return l.releaser(err), err
			}
		case <-timeout.C:
			return l.leave(w, l.busy(w, 0, "the fleet makes as many calls as the limits allow"))
		case <-ctx.Done():
			return l.leave(w, l.fault(fault.Transient, operation, "not sent, the work was ended: %w", ctx.Err()))
		}
	}
}

// start waits for the time of a turn. Again tells that the turn was lost and another must be waited for.
func (l *Limiter) start(ctx context.Context, w *waiter, got turn) (again bool, err error) {
	if got.err != nil {
		return false, got.err
	}
	if err := sleep(ctx, got.at.Sub(l.clock.now())); err != nil {
		l.release()
		return false, l.fault(fault.Transient, w.operation, "not sent, the work was ended: %w", err)
	}
	if l.clock.now().Sub(got.at) > stale || l.shut(w) {
		l.release()
		return true, nil
	}
	return false, nil
}

// shut tells whether a refusal has become known since the turn was given.
func (l *Limiter) shut(w *waiter) bool {
	now := l.clock.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.store.seen().closed(w.names, now) > 0 || slices.ContainsFunc(l.refusals, func(r refusal) bool { return slices.Contains(w.names, r.name) })
}

func (l *Limiter) releaser(err error) func() {
	if err != nil {
		return nil
	}
	return sync.OnceFunc(l.release)
}

// release gives a place back: to the next who waits here, or to the fleet.
func (l *Limiter) release() {
	if l.limits.Parallel == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inUse--
	l.idle = l.clock.now()
	l.wake()
}

// leave gives up waiting. A turn that came at the same moment is lost.
func (l *Limiter) leave(w *waiter, err error) (func(), error) {
	l.mu.Lock()
	l.queue = slices.DeleteFunc(l.queue, func(other *waiter) bool { return other == w })
	l.wake() // perhaps it was the last
	l.mu.Unlock()
	select {
	case got := <-w.turn:
		if got.err == nil {
			l.release()
		}
	default:
	}
	return nil, err
}

func (l *Limiter) join(w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, w)
	l.wake()
}

// wake lets the runner look again, with mu held.
func (l *Limiter) wake() {
	if !l.running {
		l.running = true
		go l.run()
	}
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// Refused tells that the vendor refused a call of this operation for its quota: nobody in the fleet makes another before
// after is over, a minute if it is 0, and the limit is taken to be what the vendor let pass. It returns when the fleet
// knows, or cannot be told; calls here wait in any case.
func (l *Limiter) Refused(_ context.Context, operation string, after time.Duration) {
	l.tell(refusal{name: l.limits.refused(operation), after: after, quota: true})
}

// Away tells that the vendor cannot take a call of this operation for after: nobody in the fleet makes one before that.
func (l *Limiter) Away(_ context.Context, operation string, after time.Duration) {
	l.tell(refusal{name: l.limits.refused(operation), after: after})
}

func (l *Limiter) tell(r refusal) {
	r.at = l.clock.now()
	l.mu.Lock()
	l.refusals = append(l.refusals, r)
	l.mu.Unlock()
	l.turn()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) > 0 || len(l.refusals) > 0 {
		l.wake()
	}
}

func (l *Limiter) fault(class fault.Class, operation, format string, args ...any) *fault.Fault {
	f := fault.New(class, operation+": "+format, args...)
	f.Vendor = l.vendor
	return f
}

// busy asks the caller to come back. Callers come back spread out, over a second at least.
func (l *Limiter) busy(w *waiter, wait time.Duration, why string) *fault.Fault {
	f := l.fault(fault.Busy, w.operation, "not sent, %s", why)
	f.After = wait + spread(max(time.Second, wait/10))
	return f
}

func (l *Limiter) unreachable(w *waiter, err error) *fault.Fault {
	f := l.fault(fault.Busy, w.operation, "not sent, the limits cannot be reached: %w", err)
	f.After = unreachableWait + spread(time.Second)
	return f
}

// sleep gives ctx's error if that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
