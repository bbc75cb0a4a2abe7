package effect

import (
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/parallel"
)

// Item is one effect of those that are made together.
type Item struct {
	Key Key
	// Cause is the event in hand.
	Cause event.Event
	// Since is filled in by [DoMany] before it calls Find and Send: when this effect was first tried.
	Since time.Time
}

// Found is what a look-up says of one item.
type Found[T any] struct {
	Result T
	Found  bool
	// Err, if it is not nil, ends this try of the item: nothing is sent for it. [fault.Later] has it come back.
	Err error
}

// Result is what a write says of one item.
type Result[T any] struct {
	Value T
	// Err is nil for a change that was made; its class is read as that of [Write].Send.
	Err error
}

// Group is one step that is made for many effects in few calls. Its functions are given positions in the items of
// [DoMany] and answer in their order, one for each.
type Group[T any] struct {
	// Find looks up what earlier writes did, by a reference that we wrote into them. An error counts for all; where only some
	// could not be looked up, [Found].Err says of which.
	Find func(ctx context.Context, items []int) ([]Found[T], error)
	// FindFirst has every item looked up before it is sent, and not only those whose answer was lost.
	FindFirst bool
	// Send makes the changes in one call. An error counts for all of them, with the classes of [Write].Send; one that
	// refuses them has two calls made with half of them each, at the same time, until the one that is at fault is alone. So
	// the vendor must make all changes of a call or, when it refuses the call, none.
	Send func(ctx context.Context, items []int) ([]Result[T], error)
	// PerCall is the most items of one Send; 0 means no limit. Of those whose answer was lost, one of which may be the
	// cause of that, it is a tenth each time, and they go apart from the others.
	PerCall int
	// Settle is that of [Write].
	Settle time.Duration
}

// Ended is how one item of [DoMany] ended.
type Ended[T any] struct {
	Done[T]
	Err error
}

// ledgerCalls is how many records are changed at a time.
const ledgerCalls = 32

// DoMany runs an effect of one step for many items as [Do] and [Step] would for each: decided on the write, looked up
// after a lost answer, sent once. Items with the same key have the same outcome.
func DoMany[T any](ctx context.Context, l *Ledger, step string, items []Item, g Group[T]) []Ended[T] {
	m := &many[T]{ledger: l, step: step, items: items, group: g, runs: make([]*Run, len(items)), outcomes: make([]Ended[T], len(items))}
	all := m.distinct()
	open := m.open(ctx, all)
	m.sendAll(ctx, m.look(ctx, open))
	for i, first := range m.twins {
		m.outcomes[i] = m.outcomes[first]
	}
	return m.outcomes
}

type many[T any] struct {
	ledger   *Ledger
	step     string
	items    []Item
	group    Group[T]
	runs     []*Run
	outcomes []Ended[T]
	twins    map[int]int // items whose key another one has, by that one
	// refusals in a row, without a success between them.
	refusals atomic.Int32
}

// enoughRefusals in a row, and no single item is at fault: dividing calls further would only be told the same again.
const enoughRefusals = 24

// distinct gives the items but those whose key came before.
func (m *many[T]) distinct() []int {
	first, all := map[Key]int{}, make([]int, 0, len(m.items))
	m.twins = map[int]int{}
	for i, item := range m.items {
		if of, again := first[item.Key]; again {
			m.twins[i] = of
			continue
		}
		first[item.Key] = i
		all = append(all, i)
	}
	return all
}

// each does something for many items at a time, and gives those for which it says so.
func each(items []int, do func(i int) (keep bool)) []int {
	return parallel.Where(items, ledgerCalls, do)
}

// open takes the records, and gives the items that are not done.
func (m *many[T]) open(ctx context.Context, items []int) []int {
	return each(items, func(i int) bool {
		run, err := m.ledger.open(ctx, m.items[i].Key, m.items[i].Cause)
		if err != nil {
			m.outcomes[i].Err = err
			return false
		}
		m.runs[i], m.items[i].Since, m.outcomes[i].LoopID = run, run.record.Since, run.record.LoopID
		if run.record.State != Confirmed {
			return true
		}
		m.ledger.count(m.items[i].Key, outcomeRepeated)
		m.outcomes[i].Result, m.outcomes[i].Err = ResultOf[T](run.record)
		return false
	})
}

// look looks up what may have been done already, and gives the items that are to be sent.
func (m *many[T]) look(ctx context.Context, items []int) []int {
	var asked, clear []int
	for _, i := range items {
		if s := m.stepOf(i); m.group.FindFirst || s.State == Sent || s.State == Unknown {
			asked = append(asked, i)
		} else {
			clear = append(clear, i)
		}
	}
	if len(asked) == 0 {
		return clear
	}
	found, err := m.group.Find(ctx, asked)
	if err == nil && len(found) != len(asked) {
		err = fault.New(fault.Transient, "the look-up of %d effects told of %d", len(asked), len(found))
	}
	at := map[int]Found[T]{}
	for n, i := range asked {
		if err != nil {
			at[i] = Found[T]{Err: err}
		} else {
			at[i] = found[n]
		}
	}
	return append(clear, each(asked, func(i int) bool { return m.judge(ctx, i, at[i]) })...)
}

// judge settles an item by what the look-up says, or tells that it is to be sent.
func (m *many[T]) judge(ctx context.Context, i int, f Found[T]) bool {
	s := m.stepOf(i)
	lost := s.State == Sent || s.State == Unknown
	switch {
	case lost && (fault.Is(f.Err, fault.Refused) || fault.Is(f.Err, fault.Invalid)):
		m.fail(ctx, i, lookUpRefused(m.runs[i], m.step, f.Err))
	case f.Err != nil:
		m.fail(ctx, i, f.Err)
	case f.Found:
		m.runs[i].found = true
		m.keep(ctx, i, f.Result)
	case lost:
		if err := m.runs[i].settling(s, m.group.Settle); err != nil {
			m.fail(ctx, i, err)
			return false
		}
		return true
	default:
		return true
	}
	return false
}

// lostShare is by how much fewer go together each time that their answer is lost.
const lostShare = 10

// sendAll makes the changes, as many a call as it takes. Those whose answer was lost go after the others.
func (m *many[T]) sendAll(ctx context.Context, items []int) {
	byLost := map[int][]int{}
	for _, i := range items {
		lost := m.stepOf(i).timesLost()
		byLost[lost] = append(byLost[lost], i)
	}
	var out error
	for _, lost := range slices.Sorted(maps.Keys(byLost)) {
		most := cmp.Or(m.group.PerCall, len(items))
		for range lost {
			most /= lostShare
		}
		for chunk := range slices.Chunk(byLost[lost], max(most, 1)) {
			if out == nil {
				out = m.sendChunk(ctx, chunk)
				continue
			}
			each(chunk, func(i int) bool { m.fail(ctx, i, out); return false })
		}
	}
}

// timesLost is how often the answer was lost of a step of which it is not known whether it is done.
func (s StepRecord) timesLost() int {
	if s.State == Sent || s.State == Unknown {
		return max(s.Lost, 1) // a crash was not counted
	}
	return 0
}

// sendChunk makes one call, or halves of it if that is refused. Its error says that the vendor is out: there is no sense in
// going on.
func (m *many[T]) sendChunk(ctx context.Context, chunk []int) error {
	if err := ctx.Err(); err != nil {
		err = fault.New(fault.Transient, "the service is stopping: %w", err)
		each(chunk, func(i int) bool { m.fail(ctx, i, err); return false })
		return err
	}
	chunk = m.fence(ctx, chunk)
	if len(chunk) == 0 {
		return nil
	}
	limited, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	results, err := m.group.Send(limited, chunk)
	switch {
	case err == nil && len(results) != len(chunk):
		err = fault.New(fault.Unknown, "the answer for %d changes tells of %d", len(chunk), len(results))
	case err == nil:
		m.refusals.Store(0)
	case len(chunk) > 1 && (fault.Is(err, fault.Refused) || fault.Is(err, fault.Invalid)) && m.refusals.Add(1) <= enoughRefusals:
		return m.sendHalves(ctx, chunk)
	}
	at := map[int]Result[T]{}
	for n, i := range chunk {
		if err != nil {
			at[i] = Result[T]{Err: err}
		} else {
			at[i] = results[n]
		}
	}
	each(chunk, func(i int) bool {
		if r := at[i]; r.Err != nil {
			m.noted(i, !nothingDone(r.Err))
			m.fail(ctx, i, r.Err)
		} else {
			m.keep(ctx, i, r.Value)
		}
		return false
	})
	return m.out(chunk)
}

// sendHalves makes the calls that are to show who is at fault. Its error is that of sendChunk.
func (m *many[T]) sendHalves(ctx context.Context, chunk []int) error {
	for _, i := range chunk {
		m.noted(i, false)
	}
	half := len(chunk) / 2
	var first error
	var work sync.WaitGroup
	work.Go(func() { first = m.sendChunk(ctx, chunk[:half]) })
	second := m.sendChunk(ctx, chunk[half:])
	work.Wait()
	return cmp.Or(first, second)
}

// fence notes that these are about to be sent, and gives those that may be: whoever lost a record finds out here, before
// anything is sent. Notes that would not outlive the call, since others were long in coming, are made again.
func (m *many[T]) fence(ctx context.Context, chunk []int) []int {
	for due := chunk; len(due) > 0; {
		began := m.ledger.now()
		each(due, func(i int) bool {
			m.outcomes[i].Err = m.runs[i].sending(ctx, m.step)
			return false
		})
		chunk = slices.DeleteFunc(slices.Clone(chunk), func(i int) bool { return m.outcomes[i].Err != nil })
		due = slices.DeleteFunc(slices.Clone(chunk), func(i int) bool { return ctx.Err() != nil || m.runs[i].outlives() })
		for _, i := range chunk { // what took so long once may do so again
			m.runs[i].lease = Lease + 2*m.ledger.now().Sub(began)
		}
	}
	return chunk
}

// out gives why nobody of these was served, where the vendor is out for all of them.
func (m *many[T]) out(chunk []int) error {
	for _, i := range chunk {
		if err := m.outcomes[i].Err; err == nil || !fault.From(err).Class.VendorOut() {
			return nil
		}
	}
	return m.outcomes[chunk[0]].Err
}

func (m *many[T]) stepOf(i int) StepRecord { return *m.runs[i].record.step(m.step) }

// noted notes, for the write that fail makes, whether the change may have been made.
func (m *many[T]) noted(i int, mayBeDone bool) {
	s := m.runs[i].record.step(m.step)
	s.State, s.SentAt = Intended, m.ledger.now().UTC()
	if mayBeDone {
		s.State, s.Lost = Unknown, s.Lost+1
	}
}

// fail gives the record back with what is known.
func (m *many[T]) fail(ctx context.Context, i int, err error) {
	m.outcomes[i].Err = m.runs[i].end(ctx, err)
}

// keep records the step and with it the effect.
func (m *many[T]) keep(ctx context.Context, i int, result T) {
	m.outcomes[i].Result = result
	value, err := json.Marshal(result)
	if err != nil {
		m.outcomes[i].Err = err
		return
	}
	s := m.runs[i].record.step(m.step)
	s.State, s.Result = Confirmed, value
	m.outcomes[i].Err = m.runs[i].confirm(ctx, result)
}
