package loops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/console/streamread"
)

const (
	// poll is how often the streams are looked at, and askConsumers how often the services' consumers are.
	poll         = 500 * time.Millisecond
	askConsumers = 10 * time.Second
	// applyNotes is how much goes into one transaction: messages, those that are about many loops once for each.
	applyNotes = 4000
	// lookPatience is how long one look at a stream may take.
	lookPatience = 10 * time.Second
	// pruneMost and dueMost are how many messages, or loops, are looked at again in one transaction.
	pruneMost = 1000
	dueMost   = 500
	// scrubEvery is how often what was deleted is overwritten in what is written ahead too.
	scrubEvery = 5 * time.Second
	tidyEvery  = time.Hour
)

// Follower keeps a [Store] up to date with the streams. It has no consumer of its own: it reads by sequence, from where the
// store says that it stopped.
type Follower struct {
	store   *Store
	js      jetstream.JetStream
	log     *slog.Logger
	streams [len(sources)]jetstream.Stream
	asked   time.Time
	// scrubbed is when what was deleted was last overwritten, tidied when empty counts were dropped.
	scrubbed, tidied time.Time
	missing          bool // it was said that ACTIVITY is
}

// NewFollower makes one.
func NewFollower(s *Store, js jetstream.JetStream, log *slog.Logger) *Follower {
	return &Follower{store: s, js: js, log: log}
}

// Run reads until ctx ends, which is no error. What goes wrong is logged once and tried again.
func (f *Follower) Run(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	failing := false
	for {
		err := f.round(ctx)
		if err != nil && ctx.Err() == nil && !failing {
			f.log.Warn("the read model of loops cannot be brought up to date yet, trying again", "error", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// errAnew says that the file was dropped, or another process has gone on with it: the next round begins from its beginning.
var errAnew = errors.New("the read model is built anew")

// round brings the store up to date once.
func (f *Follower) round(ctx context.Context) error {
	err := f.catchUp(ctx)
	switch {
	case err == nil, errors.Is(err, errAnew), errors.Is(err, errOvertaken), ctx.Err() != nil:
		return nil
	case damaged(err):
		return f.anew(ctx, "its file is damaged")
	}
	return err
}

func (f *Follower) anew(ctx context.Context, why string) error {
	f.log.Info("the read model of loops is built anew", "reason", why)
	if err := f.store.anew(ctx); err != nil {
		return err
	}
	return errAnew
}

func (f *Follower) catchUp(ctx context.Context) error {
	if !f.store.there() {
		return f.anew(ctx, "its file is gone or damaged")
	}
	if err := f.askConsumers(ctx); err != nil {
		return err
	}
	positions, err := f.store.positions(ctx)
	if err != nil {
		return err
	}
	states, err := f.look(ctx)
	if err != nil {
		return err
	}
	for i := range sources {
		if info, p := states[i], positions[i]; info != nil && (p.created != 0 && info.Created.UnixNano() != p.created || info.State.LastSeq < p.read) {
			return f.anew(ctx, "the stream "+sources[i]+" was made anew")
		}
	}
	for i, info := range states {
		if info != nil {
			f.store.progress.note(source(i), positions[i].read, info.State.LastSeq)
		}
	}
	if whole, err := f.readAll(ctx, positions, states); !whole || err != nil {
		return err
	}
	if err := f.store.again(ctx); err != nil {
		return err
	}
	if err := f.store.settle(ctx); err != nil {
		return err
	}
	if time.Since(f.tidied) > tidyEvery {
		f.tidied = time.Now()
		if err := f.store.tidy(ctx); err != nil {
			return err
		}
	}
	if time.Since(f.scrubbed) < scrubEvery {
		return nil
	}
	f.scrubbed = time.Now()
	return f.store.scrub(ctx, false)
}

// look asks how the streams stand. What speaks of others is asked first, so that what it speaks of is read before it. One that
// is not there yet is nil.
func (f *Follower) look(ctx context.Context) (states [len(sources)]*jetstream.StreamInfo, err error) {
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	for i, name := range slices.Backward(sources[:]) {
		if f.streams[i] == nil {
			f.streams[i], err = f.js.Stream(ctx, name)
		}
		if err == nil {
			states[i], err = f.streams[i].Info(ctx)
		}
		if source(i) == fromActivity && errors.Is(err, jetstream.ErrStreamNotFound) {
			if !f.missing {
				f.log.Warn("the stream ACTIVITY is not there: attempts and vendors are not known until the topology job has run")
			}
			f.missing, f.streams[i], err = true, nil, nil
		}
		if err != nil {
			f.streams[i] = nil
			return states, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return states, nil
}

// readAll takes in what the streams hold, what is spoken of before what speaks of it, and takes back what they do not hold any
// more. It tells whether that is all of it.
func (f *Follower) readAll(ctx context.Context, positions [len(sources)]position, states [len(sources)]*jetstream.StreamInfo) (whole bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, together := range [][]source{{fromLetters}, {fromOperations}, {fromEvents, fromActivity}} {
		streams := make([]*reading, 0, 2)
		for _, from := range together {
			if info := states[from]; info != nil {
				streams = append(streams, f.begin(ctx, from, positions[from].read, info.State.LastSeq))
			}
		}
		whole, err := f.read(ctx, streams)
		cancelled := ctx.Err()
		for _, r := range streams {
			if err == nil && cancelled == nil {
				err = f.prune(ctx, r.from, positions[r.from], states[r.from])
			}
			if err != nil {
				return false, fmt.Errorf("reading %s: %w", sources[r.from], err)
			}
		}
		if !whole || cancelled != nil {
			return false, cancelled
		}
	}
	return true, nil
}

// read takes in streams of which each speaks of what those before it hold. They are taken in by and by in the order of time, so
// that most loops are written once for all of them: a message is taken when those that it is about were, and the latest of these
// is later than it.
func (f *Follower) read(ctx context.Context, streams []*reading) (whole bool, err error) {
	for i, first := range streams {
		for first.peek() != nil {
			parts := make([]part, len(streams))
			for j, r := range streams {
				parts[j] = part{from: r.from, was: r.read}
			}
			for notes := 0; notes < applyNotes; {
				m := first.peek()
				if m == nil {
					break
				}
				notes += first.take(&parts[i])
				for j := i + 1; j < len(streams); j++ {
					for next := streams[j].peek(); next != nil && notes < applyNotes && next.about <= first.read && next.at <= first.at; next = streams[j].peek() {
						notes += streams[j].take(&parts[j])
					}
				}
			}
			if err := f.store.apply(ctx, parts...); err != nil {
				return false, err
			}
		}
		if whole, err := f.ended(ctx, first); !whole || err != nil {
			return whole, err
		}
	}
	return true, nil
}

// reading is a stream while it is read.
type reading struct {
	from       source
	read, last uint64 // up to where it was taken in, and is to be
	at         int64  // when the one taken last was stored
	parsed     <-chan []message
	next       []message // of what was parsed, those not taken yet
	err        error     // why there are no more, to be read when parsed is closed
}

// begin has a stream fetched and parsed ahead, until ctx ends.
func (f *Follower) begin(ctx context.Context, from source, read, last uint64) *reading {
	fetched, parsed := make(chan []*jetstream.RawStreamMsg), make(chan []message)
	r := &reading{from: from, read: read, last: last, parsed: parsed}
	go func() {
		defer close(fetched)
		r.err = f.fetch(ctx, from, read, last, fetched)
	}()
	go func() {
		defer close(parsed)
		for raw := range fetched {
			part := make([]message, len(raw))
			for i, m := range raw {
				part[i] = parse(from, m)
			}
			select {
			case parsed <- part:
			case <-ctx.Done():
			}
		}
	}()
	return r
}

// peek gives the next message, nil where there are no more.
func (r *reading) peek() *message {
	for len(r.next) == 0 {
		var more bool
		if r.next, more = <-r.parsed; !more {
			return nil
		}
	}
	return &r.next[0]
}

// take moves the next message into a part, and tells how many notes it has, at least one.
func (r *reading) take(into *part) (notes int) {
	m := &r.next[0]
	into.messages, into.read = append(into.messages, *m), m.seq
	r.read, r.at, r.next = m.seq, m.at, r.next[1:]
	return max(1, len(m.notes))
}

// fetch asks for the next messages while those before are taken in.
func (f *Follower) fetch(ctx context.Context, from source, read, last uint64, to chan<- []*jetstream.RawStreamMsg) error {
	for read < last {
		messages, err := streamread.Next(ctx, f.js, sources[from], read+1)
		if err != nil || len(messages) == 0 {
			return err
		}
		select {
		case to <- messages:
		case <-ctx.Done():
			return nil
		}
		read = messages[len(messages)-1].Sequence
	}
	return nil
}

// ended tells whether a stream that brings no more was read whole. Where it was not read up to its last message, either there is
// nothing more since it was deleted, or the replica that answered does not have it yet.
func (f *Follower) ended(ctx context.Context, r *reading) (whole bool, err error) {
	if r.err != nil || ctx.Err() != nil || r.read >= r.last {
		return r.err == nil && ctx.Err() == nil, r.err
	}
	deleted, info, err := streamread.Deleted(ctx, f.streams[r.from])
	if err != nil {
		return false, err
	}
	for at := max(r.read+1, info.State.FirstSeq); at <= r.last; at++ {
		if _, gone := slices.BinarySearch(deleted, at); !gone {
			return false, nil
		}
	}
	was := r.read
	r.read = r.last
	return true, f.store.apply(ctx, part{from: r.from, was: was, read: r.last})
}

// prune forgets what has expired and what somebody deleted. What is left of a loop tells how it stands then.
func (f *Follower) prune(ctx context.Context, from source, was position, info *jetstream.StreamInfo) error {
	now := position{created: info.Created.UnixNano(), first: info.State.FirstSeq, missing: info.State.NumDeleted}
	if now.created == was.created && now.first == was.first && now.missing == was.missing {
		return nil
	}
	if from != fromActivity { // what is told of a loop goes with the loop
		if err := f.store.expire(ctx, from, now.first); err != nil {
			return err
		}
		if now.missing > 0 && (now.missing != was.missing || now.first != was.first) {
			deleted, _, err := streamread.Deleted(ctx, f.streams[from])
			if err != nil {
				return err
			}
			if err := f.store.withdraw(ctx, from, deleted); err != nil {
				return err
			}
		}
	}
	return f.store.mark(ctx, from, now)
}

// asOf is what is kept of the world, so that a console which starts without the broker knows it.
type asOf struct {
	Filters map[string][]string `json:"filters"`
	Handled map[string]uint64   `json:"handled"`
	Idle    map[string]int64    `json:"idle"`
}

// askConsumers learns from the services' consumers what they take, and how far they are.
func (f *Follower) askConsumers(ctx context.Context) error {
	if time.Since(f.asked) < askConsumers {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	known := f.store.world.Load()
	now := world{filters: declared(), handled: maps.Clone(known.handled), idle: maps.Clone(known.idle)}
	if now.handled == nil {
		now.handled, now.idle = map[string]uint64{}, map[string]int64{}
	}
	events, err := f.js.Stream(ctx, topology.Events)
	if err != nil {
		return fmt.Errorf("reading %s: %w", topology.Events, err)
	}
	last := events.CachedInfo().State.LastSeq
	for service := range now.filters {
		if filters := known.filters[service]; len(filters) > 0 {
			now.filters[service] = filters // until its consumer says otherwise, which may be gone for a moment
		}
		at := time.Now().UnixNano()
		held, err := f.js.Consumer(ctx, topology.Retries, service)
		if err == nil {
			if i := held.CachedInfo(); i.NumPending == 0 && i.NumAckPending == 0 {
				now.idle[service] = max(now.idle[service], at)
			}
			held, err = f.js.Consumer(ctx, topology.Events, service)
		}
		if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("asking for the consumer %s: %w", service, err)
		}
		i := held.CachedInfo()
		handled := i.AckFloor.Stream
		if i.NumPending == 0 && i.NumAckPending == 0 {
			handled = last
		}
		now.handled[service] = max(now.handled[service], handled)
		if filters := i.Config.FilterSubjects; len(filters) > 0 {
			now.filters[service] = filters
		} else if one := i.Config.FilterSubject; one != "" {
			now.filters[service] = []string{one}
		}
	}
	f.asked = time.Now()
	if known.filters != nil && !reflect.DeepEqual(known.filters, now.filters) && f.store.progress.begun() {
		f.store.world.Store(&now)
		return f.anew(ctx, "services take other events than before")
	}
	return f.store.learn(ctx, &now)
}

// learn keeps what is known of the world.
func (s *Store) learn(ctx context.Context, now *world) error {
	known := s.world.Swap(now)
	if known != nil && maps.Equal(known.handled, now.handled) {
		return nil
	}
	value, err := json.Marshal(asOf{now.filters, now.handled, now.idle})
	if err != nil {
		return err
	}
	return s.transact(ctx, func(b *batch) error {
		_, err := b.tx.ExecContext(b.ctx, "INSERT OR REPLACE INTO setting (name, value) VALUES ('world', ?)", value)
		return err
	})
}
