package console

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// book is what is known of all letters and operations. What is added twice is there once, and the order in which letters
// and operations come does not matter, since two streams have none.
type book struct {
	mu         sync.RWMutex
	letters    map[uint64]*Letter
	siblings   map[sibling][]uint64  // letters of one event, ascending
	operations map[uint64]*Operation // by place in OPERATIONS
	ids        map[string]*Operation
	about      map[uint64][]uint64 // operations on a letter, ascending
	notes      map[string]*Operation
	noteIDs    map[uint64]string // of notes, by place
	unsent     map[string]*Operation
	// alias is what the ids of loops and events are called.
	alias func(id string) string
}

// sibling names the event that letters are about.
type sibling struct {
	service string
	Place
}

func newBook(alias func(id string) string) *book {
	return &book{
		alias:   alias,
		letters: map[uint64]*Letter{}, siblings: map[sibling][]uint64{}, operations: map[uint64]*Operation{},
		ids: map[string]*Operation{}, about: map[uint64][]uint64{}, notes: map[string]*Operation{}, noteIDs: map[uint64]string{},
		unsent: map[string]*Operation{},
	}
}

func (l *Letter) sibling() sibling { return sibling{l.Service, l.Original} }

func (b *book) addLetter(m *jetstream.RawStreamMsg) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := letterOf(m)
	l.LoopID, l.EventID = b.alias(l.LoopID), b.alias(l.EventID)
	b.letters[l.Sequence] = l
	b.siblings[l.sibling()] = insert(b.siblings[l.sibling()], l.Sequence)
}

// addRecord takes what OPERATIONS holds. What cannot be read was written by hand, and says nothing to us.
func (b *book) addRecord(m *jetstream.RawStreamMsg) {
	if o, err := operationOf(m); err == nil {
		b.addOperation(o)
	}
}

func (b *book) addOperation(o *Operation) {
	b.mu.Lock()
	defer b.mu.Unlock()
	o = o.shown()
	switch o.Kind {
	case sentKind:
		b.notes[o.ID], b.noteIDs[o.Sequence] = o, o.ID
	case Replay, Discard, Look, Try:
		if o.Letter != 0 {
			b.about[o.Letter] = insert(b.about[o.Letter], o.Sequence)
		}
		b.operations[o.Sequence], b.ids[o.ID] = o, o
	}
	if known := b.ids[o.ID]; known != nil && b.told(known).pending() {
		b.unsent[o.ID] = known
	} else {
		delete(b.unsent, o.ID)
	}
}

// insert keeps the list ascending and without repetition.
func insert(list []uint64, sequence uint64) []uint64 {
	at, there := slices.BinarySearch(list, sequence)
	if there {
		return list
	}
	return slices.Insert(list, at, sequence)
}

func (b *book) forgetLetters(gone func(uint64) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for sequence, l := range b.letters {
		if !gone(sequence) {
			continue
		}
		delete(b.letters, sequence)
		left := slices.DeleteFunc(b.siblings[l.sibling()], func(s uint64) bool { return s == sequence })
		if b.siblings[l.sibling()] = left; len(left) == 0 {
			delete(b.siblings, l.sibling())
		}
	}
}

func (b *book) forgetOperations(gone func(uint64) bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for sequence, o := range b.operations {
		if !gone(sequence) {
			continue
		}
		delete(b.operations, sequence)
		delete(b.ids, o.ID)
		delete(b.unsent, o.ID)
		left := slices.DeleteFunc(b.about[o.Letter], func(s uint64) bool { return s == sequence })
		if b.about[o.Letter] = left; len(left) == 0 {
			delete(b.about, o.Letter)
		}
	}
	for sequence, id := range b.noteIDs {
		if gone(sequence) {
			delete(b.noteIDs, sequence)
			delete(b.notes, id)
		}
	}
}

// look gives a letter and what became of it.
func (b *book) look(sequence uint64) (Standing, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	l, ok := b.letters[sequence]
	if !ok {
		return Standing{}, false
	}
	s := b.standing(l)
	for end := s; end.FailedAgainAs != 0; { // which is always a later letter
		end = b.standing(b.letters[end.FailedAgainAs])
		s.cameBack = &end
	}
	return s, true
}

// standing works out what became of a letter.
func (b *book) standing(l *Letter) Standing {
	s := Standing{Letter: l, State: Open}
	if origin := b.ids[l.replay]; origin != nil && origin.Letter < l.Sequence {
		s.ReplayOf = origin.Letter
	}
	for _, sequence := range b.about[l.Sequence] {
		o := b.told(b.operations[sequence])
		if o.Kind == Look {
			continue
		}
		s.last = sequence
		if o.Failed != "" || o.before(l.Time) { // as if it had not been decided
			continue
		}
		s.Last, s.State, s.FailedAgainAs = o, Discarded, 0
		if o.Kind == Replay {
			s.State, s.FailedAgainAs = Replayed, b.failedAgain(l, o)
			s.Replays++
		}
	}
	return s
}

// told gives an operation with what is noted of its sending.
func (b *book) told(o *Operation) *Operation {
	note := b.notes[o.ID]
	if note == nil {
		return o
	}
	copied := *o
	if copied.Failed = note.Failed; note.Failed == "" {
		copied.Sent = note.At
	}
	return &copied
}

// failedAgain finds the letter that a replay came back as. One without the replay's id, as of a replay by hand, is known
// by its event and its time.
func (b *book) failedAgain(l *Letter, replay *Operation) uint64 {
	for _, sequence := range b.siblings[l.sibling()] {
		s := b.letters[sequence]
		byHand := s.replay == "" && l.Original.Stream != "" && s.Time.After(replay.At)
		if sequence > l.Sequence && (s.replay == replay.ID || byHand) {
			return sequence
		}
	}
	return 0
}

// history gives what was done with a letter, in order, looks included.
func (b *book) history(l *Letter) []*Operation {
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := []*Operation{}
	for _, sequence := range b.about[l.Sequence] {
		if o := b.told(b.operations[sequence]); !o.before(l.Time) {
			all = append(all, o)
		}
	}
	return all
}

// under gives what was decided about a letter under a key, nil for nothing.
func (b *book) under(letter uint64, key string) *Operation {
	b.mu.RLock()
	defer b.mu.RUnlock()
	l := b.letters[letter]
	for _, sequence := range b.about[letter] {
		if o := b.told(b.operations[sequence]); l != nil && o.Key == key && !o.before(l.Time) {
			return o
		}
	}
	return nil
}

// selected gives the letters that match, newest first.
func (b *book) selected(match func(Standing) bool) []Standing {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var found []Standing
	for _, l := range b.letters {
		if s := b.standing(l); match(s) {
			found = append(found, s)
		}
	}
	slices.SortFunc(found, func(x, y Standing) int { return cmp.Compare(y.Sequence, x.Sequence) })
	return found
}

// values gives what letters hold at a place, each once and in order.
func (b *book) values(of func(*Letter) string) []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := map[string]bool{}
	for _, l := range b.letters {
		all[of(l)] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// page gives the letters that match, as [newest] does.
func (b *book) page(match func(Standing) bool, before uint64, limit int) ([]Standing, uint64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return newest(b.letters, b.standing, match, before, limit)
}

// done gives the operations that match, as [newest] does.
func (b *book) done(match func(*Operation) bool, before uint64, limit int) ([]*Operation, uint64) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return newest(b.operations, b.told, match, before, limit)
}

// newest gives what matches of what is kept by sequence, limit at most of what came before that one, 0 for all, newest first; and the
// sequence before which the next page begins, 0 for none.
func newest[V, T any](all map[uint64]V, of func(V) T, match func(T) bool, before uint64, limit int) (found []T, next uint64) {
	var last uint64
	for _, sequence := range slices.Backward(slices.Sorted(maps.Keys(all))) {
		if before > 0 && sequence >= before {
			continue
		}
		one := of(all[sequence])
		if !match(one) {
			continue
		}
		if len(found) == limit {
			return found, last
		}
		found, last = append(found, one), sequence
	}
	return found, 0
}

// pending gives the replays that are decided and not sent, in the order in which they were decided.
func (b *book) pending(before time.Time) []*Operation {
	b.mu.RLock()
	defer b.mu.RUnlock()
	var all []*Operation
	for _, o := range b.unsent {
		if !o.At.After(before) {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(x, y *Operation) int { return cmp.Compare(x.Sequence, y.Sequence) })
	return all
}

// causes groups letters, those with the most open ones first.
func causes(letters []Standing) []*Cause {
	by := map[string]*Cause{}
	for _, l := range letters { // newest first
		c := by[l.Cause]
		if c == nil {
			c = &Cause{Cause: l.Cause, Service: l.Service, Subject: l.Subject, Class: l.Class, Field: l.Field, Reason: l.Reason, Newest: l.Time}
			by[l.Cause] = c
		}
		c.Oldest = l.Time
		switch l.State {
		case Open:
			c.Open++
		case Replayed:
			c.Replayed++
		case Discarded:
			c.Discarded++
		}
	}
	return slices.SortedFunc(maps.Values(by), func(x, y *Cause) int {
		return cmp.Or(cmp.Compare(y.Open, x.Open), y.Newest.Compare(x.Newest), cmp.Compare(x.Cause, y.Cause))
	})
}
