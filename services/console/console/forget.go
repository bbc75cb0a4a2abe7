package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/streamread"
)

// searched are the streams that hold messages about people; letters come before what was done with them, and what services
// told, of which nothing is learnt, comes last.
var searched = []string{topology.Events, topology.Retries, topology.DeadLetters, topology.Operations, topology.Activity}

const (
	// doomedMost is how many messages are deleted between two records of how far it is.
	doomedMost = 5000
	// takeOver is how long a console that is at an erasure may say nothing until another goes on with it.
	takeOver = 15 * time.Second
	// takeOverWaiting is as long for one that waits for somebody, perhaps for days: it need not say so every few seconds.
	takeOverWaiting = 5 * time.Minute
	// askAgain is how many messages are deleted until it is asked again what services have in hand.
	askAgain = 100
	// releasePatience is how long a console that stops takes to give its erasures to others.
	releasePatience = 2 * time.Second
)

// forgetter carries erasures out. Whatever it is about to do is recorded first; everything it does may be done again.
type forgetter struct {
	bus    *bus.Bus
	ledger *effect.Ledger
	book   *erasures
	log    *slog.Logger
	now    func() time.Time
	// me tells this console from others.
	me string
	// patience is how long a service may be at something that was deleted since.
	patience time.Duration
	// qualtrics says that Qualtrics is asked.
	qualtrics bool
	// loops is the read model, nil for none.
	loops *loops.Store
}

// errElsewhere says that another console is at it.
var errElsewhere = errors.New("another console is at it")

// run goes on with what is not done, until ctx ends.
func (f *forgetter) run(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	failing := map[string]bool{}
	for {
		for _, e := range slices.Backward(f.book.all()) {
			err := f.advance(ctx, e)
			if err != nil && !errors.Is(err, errElsewhere) && ctx.Err() == nil && !failing[e.ID] {
				f.log.Warn("an erasure cannot go on yet, trying again", "erasure", e.ID, "error", err)
			}
			failing[e.ID] = err != nil
		}
		select {
		case <-ctx.Done():
			f.release(ctx)
			return nil
		case <-tick.C:
		}
	}
}

// release leaves what is not done to other consoles, which need not wait then until this one has said nothing for long enough.
func (f *forgetter) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releasePatience)
	defer cancel()
	for _, known := range f.book.all() {
		if known.Work == nil || known.Work.Owner != f.me {
			continue
		}
		e, err := known.copied()
		if err == nil {
			e.Work.Touched = time.Time{}
			err = f.record(ctx, e)
		}
		if err != nil && !errors.Is(err, errElsewhere) {
			f.log.Warn("an erasure could not be left to another console, which waits until it goes on", "erasure", known.ID, "error", err)
		}
	}
}

// advance takes an erasure as far as it goes now.
func (f *forgetter) advance(ctx context.Context, e *Erasure) error {
	if err := f.tidy(ctx, e.ID); err != nil || e.Work == nil {
		return err
	}
	if e.Work.Owner != f.me && f.now().Sub(e.Work.Touched) < e.Work.claim() {
		return nil
	}
	e, err := e.copied()
	if err != nil {
		return err
	}
	if e.Work.Owner != f.me {
		if err := f.save(ctx, e); err != nil {
			return err
		}
	}
	e.WaitsFor = ""
	for more := true; more && ctx.Err() == nil; {
		if more, err = f.step(ctx, e); err != nil {
			return err
		}
	}
	f.book.keep(e) // with what it waits for
	if ctx.Err() != nil || e.Work == nil {
		return ctx.Err()
	}
	return f.hold(ctx, e)
}

// hold records that this console waits with the erasure, so that no other takes it over.
func (f *forgetter) hold(ctx context.Context, e *Erasure) error {
	if e.Work.Waiting == (e.WaitsFor != "") && f.now().Sub(e.Work.Touched) < e.Work.claim()/3 {
		return nil
	}
	held, err := e.copied()
	if err != nil {
		return err
	}
	return f.save(ctx, held)
}

// tidy deletes the records of an erasure that a later one has replaced.
func (f *forgetter) tidy(ctx context.Context, id string) error {
	for _, sequence := range f.book.outdated(id) {
		if err := f.overwrite(ctx, topology.Operations, sequence); err != nil {
			return err
		}
		f.book.forgetPlace(id, sequence)
	}
	return nil
}

// save records how far it is, and deletes the record before.
func (f *forgetter) save(ctx context.Context, e *Erasure) error {
	if e.Work != nil {
		e.Work.Owner, e.Work.Touched, e.Work.Waiting = f.me, f.now(), e.WaitsFor != ""
	}
	return f.record(ctx, e)
}

// record writes an erasure down as it is.
func (f *forgetter) record(ctx context.Context, e *Erasure) error {
	content, err := json.Marshal(e)
	if err != nil {
		return err
	}
	sequence, err := f.bus.Record(ctx, topology.ErasureSubject(e.ID), "erasure:"+e.ID+":"+strconv.FormatUint(e.sequence, 10)+":"+f.me, content, e.sequence)
	if errors.Is(err, bus.ErrOvertaken) {
		return errElsewhere
	}
	if err != nil {
		return err
	}
	e.sequence = sequence
	kept, err := e.copied()
	if err != nil {
		return err
	}
	f.book.keep(kept)
	return f.tidy(ctx, e.ID)
}

// alive says that this console is still at it, while a step takes long. What the step has found or counted so far does not count
// before the step is whole: the record stays as it was but for the time.
func (f *forgetter) alive(ctx context.Context, e *Erasure) error {
	if f.now().Sub(e.Work.Touched) < e.Work.claim()/3 {
		return nil
	}
	known, ok := f.book.find(e.ID)
	if !ok || known.sequence != e.sequence {
		return errElsewhere
	}
	recorded, err := known.copied()
	if err != nil {
		return err
	}
	if err := f.save(ctx, recorded); err != nil {
		return err
	}
	e.sequence, e.Work.Touched = recorded.sequence, recorded.Work.Touched
	return nil
}

// step does what comes next, and tells whether there is more to do at once.
func (f *forgetter) step(ctx context.Context, e *Erasure) (more bool, err error) {
	w := e.Work
	if len(w.Doomed) > 0 {
		err := f.execute(ctx, e)
		return err == nil && len(w.Doomed) == 0, err
	}
	if len(w.Keys) > 0 {
		left, err := f.rewrite(ctx, e)
		if err != nil || left > 0 {
			e.WaitsFor = fmt.Sprintf("%d effects that are being made", left)
			return false, err
		}
		w.Ledgered, e.WaitsFor = !w.MoreKeys, ""
		return true, f.save(ctx, e) // and whatever a run said that was interrupted is looked for
	}
	found, err := f.search(ctx, e)
	if err != nil || found {
		return found, err
	}
	switch {
	case !w.Ledgered:
		return true, f.searchLedger(ctx, e)
	case w.AskedAt.IsZero():
		return true, f.ask(ctx, e)
	case f.pending(e):
		e.WaitsFor = "qualtrics-linker, which passes it on to Qualtrics"
		return false, nil
	}
	return false, f.finish(ctx, e)
}

// search looks through the streams for what is about the person, from where it stopped, and dooms it. As long as it learns
// of more that is theirs it begins anew, and dooms nothing: a loop may turn out to be shared.
func (f *forgetter) search(ctx context.Context, e *Erasure) (found bool, err error) {
	p, before := e.Work.Person, e.Work.Person.known()
	doomed, full := map[string][]uint64{}, 0
	looked := map[string]uint64{}
	letters := map[uint64]bool{}
	for _, stream := range searched {
		if stream == topology.Activity {
			p.adoptMailboxes()
			if p.known() != before || full == doomedMost { // it is large, and would be read again
				break
			}
		}
		last, err := f.scan(ctx, e, stream, e.LookedAt[stream]+1, func(m *jetstream.RawStreamMsg) {
			if f.about(e, stream, m, letters) && full < doomedMost { // all is looked at, however much there is: it may tell more
				doomed[stream] = append(doomed[stream], m.Sequence)
				full++
			}
		})
		if err != nil {
			return false, err
		}
		looked[stream] = max(last, e.LookedAt[stream])
	}
	if p.known() != before {
		clear(e.LookedAt)
		return true, nil
	}
	if full < doomedMost {
		e.LookedAt = looked
	}
	if full == 0 {
		return false, nil
	}
	w := e.Work
	w.Doomed, w.DoomedAt, w.Ledgered = doomed, f.now(), false
	for letter := range letters {
		w.Letters[letter] = true
	}
	if err := f.forbid(ctx, e); err != nil {
		return false, err
	}
	return true, f.save(ctx, e)
}

// about tells whether a message is about the person. letters takes the dead letters that are.
func (f *forgetter) about(e *Erasure, stream string, m *jetstream.RawStreamMsg, letters map[uint64]bool) bool {
	w := e.Work
	late := m.Sequence > w.Fence[stream]
	switch stream {
	case topology.Operations:
		f.hearDiscard(e, m)
		return aboutOperation(w, m, late, letters)
	case topology.Activity:
		return aboutAttempt(w, m)
	case topology.Events:
		f.hear(e, m)
	case topology.Retries, topology.DeadLetters:
		// Copies are as late as what they are copies of.
		if origin, err := strconv.ParseUint(m.Header.Get(bus.HeaderSequence), 10, 64); err == nil && m.Header.Get(bus.HeaderStream) == topology.Events {
			late = origin > w.Fence[topology.Events]
		}
	}
	s := sightOf(stream, m)
	s.late = late
	if s.subject == subjects.ErasureRequested || s.subject == subjects.ErasureCompleted {
		if stream == topology.DeadLetters && s.subject == subjects.ErasureRequested && s.first("erasureId") == e.ID {
			if w.Unheard == nil {
				w.Unheard = map[uint64]bool{}
			}
			w.Unheard[m.Sequence] = true
		}
		return false
	}
	if w.Person.judge(s) == nothing {
		return false
	}
	if stream == topology.DeadLetters {
		letters[m.Sequence] = true
	}
	return true
}

// sightOf reads a message as its service would, and its headers.
func sightOf(stream string, m *jetstream.RawStreamMsg) sight {
	s := sight{subject: m.Subject, leaves: leavesOf(m.Data)}
	origin := event.Origin{Stream: stream, Sequence: m.Sequence, Time: m.Time}
	if was := m.Header.Get(bus.HeaderSubject); was != "" {
		s.subject = was
		origin.Stream = m.Header.Get(bus.HeaderStream)
		origin.Sequence, _ = strconv.ParseUint(m.Header.Get(bus.HeaderSequence), 10, 64)
	}
	decoded, _ := event.Decode(s.subject, m.Header, m.Data, origin) // what cannot be read belongs to a loop too
	s.loop = decoded.LoopID
	s.leaves = append(s.leaves, leaf{event.HeaderID, decoded.ID})
	for name, values := range m.Header {
		for _, value := range values {
			s.leaves = append(s.leaves, leaf{name, value})
		}
	}
	return s
}

// aboutOperation tells whether a record of what somebody did holds something about the person: a mended body, or words.
func aboutOperation(w *work, m *jetstream.RawStreamMsg, late bool, letters map[uint64]bool) bool {
	if strings.HasPrefix(m.Subject, topology.JobSubject("")) {
		return aboutJob(w.Person, m, late)
	}
	o, err := operationOf(m)
	if err != nil || o.Kind == erasureKind {
		return false
	}
	words := sight{leaves: []leaf{{"why", o.Why}, {"by", o.By}}, late: late}
	if w.Person.mentions(words) {
		return true
	}
	if len(o.Body) == 0 {
		return false
	}
	return letters[o.Letter] || w.Letters[o.Letter] || w.Person.judge(sight{leaves: leavesOf(o.Body), late: late}) != nothing
}

// aboutJob tells whether the record of a decision about many letters holds something about the person: words, or what is put into
// bodies, which is there as long as the job goes on.
func aboutJob(p *person, m *jetstream.RawStreamMsg, late bool) bool {
	if p.mentions(sight{leaves: leavesOf(m.Data), late: late}) {
		return true
	}
	j := &Job{}
	if json.Unmarshal(m.Data, j) != nil || len(j.Edit) == 0 {
		return false
	}
	var put []leaf
	for _, c := range j.Edit {
		if p.addressIn(c.Field) {
			return true
		}
		put = append(append(put, leaf{c.Field, c.Text}, leaf{c.Field, c.With}), leavesAt(c.Field, c.Value)...)
	}
	return p.judge(sight{leaves: put, late: late}) != nothing
}

// aboutAttempt tells whether what a service told holds something about the person: callers choose the ids of their events and loops,
// and some make them of addresses and customer numbers. A wave goes as a whole. An externalId may be short: it is looked for as
// an id, and within what was told of the person's loops.
func aboutAttempt(w *work, m *jetstream.RawStreamMsg) bool {
	var a activity.Attempt
	if !strings.HasSuffix(m.Subject, "."+activity.KindAttempt) || json.Unmarshal(m.Data, &a) != nil {
		return false
	}
	p, ours, meant := w.Person, false, false
	for _, h := range a.Events {
		own := p.Loops[h.LoopID] || p.Shared[h.LoopID]
		// What is told is as late as its event, which was long settled when it came here.
		if late := h.Stream == topology.Events && h.Sequence > w.Fence[topology.Events]; late && !own {
			continue
		}
		if p.ExternalIDs[h.EventID] || p.ExternalIDs[h.LoopID] {
			return true
		}
		ours, meant = ours || own, true
	}
	if !meant {
		return false
	}
	s := sight{leaves: leavesOf(m.Data)}
	return p.mentions(s) || ours && slices.ContainsFunc(s.leaves, func(l leaf) bool { return p.addressIn(l.value) || p.holdsExternalID(l) })
}

// hear takes what became of the erasure at a vendor.
func (f *forgetter) hear(e *Erasure, m *jetstream.RawStreamMsg) {
	if m.Subject != subjects.ErasureCompleted {
		return
	}
	decoded, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{Stream: topology.Events, Sequence: m.Sequence, Time: m.Time})
	if err != nil {
		return
	}
	told, ok := decoded.Data.(*eventsv1.ErasureCompleted)
	if !ok || told.GetErasureId() != e.ID {
		return
	}
	for i := range e.Vendors {
		v := &e.Vendors[i]
		if v.Vendor != told.GetVendor() || v.Outcome != "" {
			continue
		}
		v.RequestID, v.Reason, v.Outcome = told.GetVendorRequestId(), told.GetReason(), atVendorErased
		if told.GetState() != "ERASED" {
			v.Outcome, v.Where = atVendorPerson, whereAt[v.Vendor]
		}
	}
}

// hearDiscard takes it that nobody passes the erasure on any more, since somebody has discarded the letter of it.
func (f *forgetter) hearDiscard(e *Erasure, m *jetstream.RawStreamMsg) {
	o, err := operationOf(m)
	if err != nil || o.Kind != Discard || !e.Work.Unheard[o.Letter] {
		return
	}
	for i := range e.Vendors {
		if v := &e.Vendors[i]; v.Outcome == "" {
			v.Outcome, v.Reason, v.Where = atVendorPerson, "its dead letter was discarded", whereAt[v.Vendor]
		}
	}
}

// execute deletes what was doomed, and counts it. What a service may have in hand stays until it is done with it, since that
// cannot be stopped, and nobody could tell any more when it is over: what the service makes of it is found after that.
func (f *forgetter) execute(ctx context.Context, e *Erasure) error {
	w := e.Work
	var held func(stream string, sequence uint64) string
	left, waits, looks := map[string][]uint64{}, "", 0
	for stream, all := range w.Doomed {
		for _, sequence := range all {
			if err := f.alive(ctx, e); err != nil {
				return err
			}
			if looks++; looks%askAgain == 1 { // services take more meanwhile
				var err error
				if held, err = f.inHand(ctx, w); err != nil {
					return err
				}
			}
			if by := held(stream, sequence); by != "" {
				left[stream], waits = append(left[stream], sequence), by+", which has something in hand"
				continue
			}
			if err := f.overwrite(ctx, stream, sequence); err != nil {
				return err
			}
			e.Deleted[stream]++
		}
	}
	e.WaitsFor = waits
	if maps.EqualFunc(left, w.Doomed, slices.Equal) {
		return nil
	}
	w.Doomed = left
	return f.save(ctx, e)
}

// inHand gives what tells which service may be at a message; "" for none.
func (f *forgetter) inHand(ctx context.Context, w *work) (func(stream string, sequence uint64) string, error) {
	type durable struct{ stream, service string }
	states := map[durable]*jetstream.ConsumerInfo{}
	for _, service := range topology.Of(topology.Settings{}).Services {
		if len(service.Takes) == 0 || f.now().Sub(w.DoomedAt) > f.patience {
			continue
		}
		for _, stream := range []string{topology.Events, topology.Retries} {
			consumer, err := f.bus.JetStream().Consumer(ctx, stream, service.Name)
			if errors.Is(err, jetstream.ErrConsumerNotFound) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("asking for the consumer %s of %s: %w", service.Name, stream, err)
			}
			states[durable{stream, service.Name}] = consumer.CachedInfo()
		}
	}
	return func(stream string, sequence uint64) string {
		for d, state := range states {
			if d.stream == stream && state.NumAckPending > 0 && state.AckFloor.Stream < sequence && sequence <= state.Delivered.Stream {
				return d.service
			}
		}
		return ""
	}, nil
}

// overwrite deletes a message for good: its bytes are overwritten in the broker's file. One that is gone already was
// overwritten before, or removed by the broker itself.
func (f *forgetter) overwrite(ctx context.Context, stream string, sequence uint64) error {
	s, err := f.stream(ctx, stream)
	if err != nil {
		return err
	}
	err = s.SecureDeleteMsg(ctx, sequence)
	if err == nil {
		return nil
	}
	if _, gone := s.GetMsg(ctx, sequence); errors.Is(gone, jetstream.ErrMsgNotFound) {
		return nil
	}
	return fmt.Errorf("deleting a message of %s: %w", stream, err)
}

func (f *forgetter) stream(ctx context.Context, name string) (jetstream.Stream, error) {
	s, err := f.bus.JetStream().Stream(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return s, nil
}

// scan shows every message of a stream from a sequence on, and gives the last sequence up to which there is nothing else.
func (f *forgetter) scan(ctx context.Context, e *Erasure, name string, from uint64, show func(*jetstream.RawStreamMsg)) (uint64, error) {
	stream, err := f.stream(ctx, name)
	if err != nil {
		return 0, err
	}
	last := stream.CachedInfo().State.LastSeq
	read := from - 1
	for more := true; more && read < last; {
		if err := f.alive(ctx, e); err != nil {
			return 0, err
		}
		messages, err := streamread.Next(ctx, f.bus.JetStream(), name, read+1)
		if err != nil {
			return 0, fmt.Errorf("reading %s: %w", name, err)
		}
		for _, m := range messages {
			show(m)
			read = m.Sequence
		}
		more = len(messages) > 0
	}
	if read >= last {
		return read, nil
	}
	// The rest was deleted, or the replica that answered does not have it yet: then it is read the next time.
	deleted, info, err := streamread.Deleted(ctx, stream)
	if err != nil {
		return 0, fmt.Errorf("reading %s: %w", name, err)
	}
	if info.State.FirstSeq > last {
		return last, nil
	}
	for read < last && (slices.Contains(deleted, read+1) || read+1 < info.State.FirstSeq) {
		read++
	}
	return read, nil
}

// ask passes the erasure on to the vendors that have an interface for it. By now nobody makes anything for the person any
// more that would have to be erased there again.
func (f *forgetter) ask(ctx context.Context, e *Erasure) error {
	w := e.Work
	e.Vendors = []AtVendor{{Vendor: vendorQualtrics}}
	for _, vendor := range []string{vendorMarketing, vendorSales, vendorAwardco} {
		e.Vendors = append(e.Vendors, AtVendor{Vendor: vendor, Outcome: atVendorPerson, Made: w.Made[vendor], Where: whereAt[vendor]})
	}
	if emails := slices.Sorted(keysOf(w.Person.Emails)); f.qualtrics && len(emails) > 0 {
		whom := effect.Whom{Emails: emails}
		err := effect.Change(ctx, f.ledger, effect.Forgetting(e.ID), func(effect.Whom) (effect.Whom, bool) { return whom, true })
		if err != nil {
			return err
		}
		asked, err := event.New(topology.Console, subjects.ErasureRequested, &eventsv1.ErasureRequested{ErasureId: e.ID})
		if err != nil {
			return err
		}
		if _, err := f.bus.Publish(ctx, asked); err != nil {
			return err
		}
	} else {
		e.Vendors[0].Outcome, e.Vendors[0].Where = atVendorPerson, whereAt[vendorQualtrics]
	}
	w.AskedAt = f.now()
	return f.save(ctx, e)
}

func (f *forgetter) pending(e *Erasure) bool {
	return slices.ContainsFunc(e.Vendors, func(v AtVendor) bool { return v.Outcome == "" })
}

// finish leaves the receipt, and nothing else.
func (f *forgetter) finish(ctx context.Context, e *Erasure) error {
	f.forgetLoops(ctx, e.Work.Person)
	if err := f.drop(ctx, effect.Forgetting(e.ID).String()); err != nil {
		return err
	}
	e.State, e.WaitsFor, e.DoneAt, e.Work = erasureDone, "", f.now(), nil
	if err := f.save(ctx, e); err != nil {
		return err
	}
	f.log.Info("a person was forgotten", "erasure", e.ID, "by", e.By)
	return nil
}
