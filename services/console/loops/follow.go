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
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

const (
	// poll is how often the streams are looked at, and askConsumers how often the services' consumers are.
	poll         = 500 * time.Millisecond
	askConsumers = 10 * time.Second
	// batchMessages and batchBytes are what one request for messages may bring, batchPatience how long it may take.
	batchMessages = 500
	batchBytes    = 1 << 20
	batchPatience = 10 * time.Second
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
	for i, info := range states {
		if info == nil {
			continue
		}
		whole, err := f.read(ctx, source(i), positions[i].read, info.State.LastSeq)
		if err != nil {
			return fmt.Errorf("reading %s: %w", sources[i], err)
		}
		if err := f.prune(ctx, source(i), positions[i], info); err != nil {
			return fmt.Errorf("reading %s: %w", sources[i], err)
		}
		if !whole {
			return nil // what comes after it may speak of what is not there yet
		}
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

// read takes in what a stream holds up to its last message, and tells whether that is all of it.
func (f *Follower) read(ctx context.Context, from source, read, last uint64) (whole bool, err error) {
	if read >= last {
		return true, nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	fetched, parsed := make(chan []*jetstream.RawStreamMsg, 1), make(chan []message)
	var fetchErr error
	go func() {
		defer close(fetched)
		fetchErr = f.fetch(ctx, from, read, last, fetched)
	}()
	go func() {
		defer close(parsed)
		parseAll(ctx, from, fetched, parsed)
	}()
	for messages := range parsed {
		to := messages[len(messages)-1].seq
		if err = f.store.apply(ctx, from, messages, read, to); err != nil {
			cancel()
			for range parsed { // until both have ended
			}
			return false, err
		}
		read = to
	}
	if ctx.Err() != nil || fetchErr != nil || read >= last {
		return fetchErr == nil && ctx.Err() == nil, fetchErr
	}
	return f.tail(ctx, from, read, last)
}

// parseAll gives what was fetched in parts that are worth a transaction.
func parseAll(ctx context.Context, from source, fetched <-chan []*jetstream.RawStreamMsg, parsed chan<- []message) {
	var part []message
	notes := 0
	send := func() {
		if len(part) == 0 {
			return
		}
		select {
		case parsed <- part:
		case <-ctx.Done():
		}
		part, notes = nil, 0
	}
	for raw := range fetched {
		for _, m := range raw {
			one := parse(from, m)
			part, notes = append(part, one), notes+max(1, len(one.notes))
			if notes >= applyNotes {
				send()
			}
		}
	}
	send()
}

// fetch asks for the next messages while those before are taken in.
func (f *Follower) fetch(ctx context.Context, from source, read, last uint64, to chan<- []*jetstream.RawStreamMsg) error {
	for read < last {
		messages, err := f.batch(ctx, from, read+1)
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

func (f *Follower) batch(ctx context.Context, from source, first uint64) ([]*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, batchPatience)
	defer cancel()
	messages, err := jetstreamext.GetBatch(ctx, f.js, sources[from], batchMessages, jetstreamext.GetBatchSeq(first), jetstreamext.GetBatchMaxBytes(batchBytes))
	if err != nil {
		return nil, err
	}
	all := make([]*jetstream.RawStreamMsg, 0, batchMessages)
	for m, err := range messages {
		if errors.Is(err, jetstreamext.ErrNoMessages) {
			return all, nil // the rest is gone, or this replica of the stream does not have it yet
		}
		if err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// tail finds out whether there is nothing more since it was deleted, or since the replica that answered does not have it yet.
func (f *Follower) tail(ctx context.Context, from source, read, last uint64) (bool, error) {
	info, err := f.streams[from].Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return false, err
	}
	for at := max(read+1, info.State.FirstSeq); at <= last; at++ {
		if _, gone := slices.BinarySearch(info.State.Deleted, at); !gone {
			return false, nil
		}
	}
	return true, f.store.apply(ctx, from, nil, read, last)
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
			details, err := f.streams[from].Info(ctx, jetstream.WithDeletedDetails(true))
			if err != nil {
				return err
			}
			if err := f.store.withdraw(ctx, from, details.State.Deleted); err != nil {
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
