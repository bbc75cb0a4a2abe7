package loops

import (
	"cmp"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/topology"
)

// source is a stream that the read model is made of.
type source uint8

const (
	fromEvents source = iota
	fromLetters
	fromOperations
	fromActivity
)

// sources names their streams. An operation speaks of a letter and an attempt of an event, hence the order: what is spoken of
// is read first.
var sources = [...]string{topology.Events, topology.DeadLetters, topology.Operations, topology.Activity}

// note is what one message says of a loop. A loop is the set of its notes: everything else about it is worked out from them.
type note struct {
	source source
	seq    uint64
	at     int64 // when it was stored, as all times here in nanoseconds
	when   int64 // when it happened, for events
	// event and what are the id and type of the event that it is, or is about, and origin its place in EVENTS.
	event, what string
	origin      uint64
	ids         []ID

	// Of events.
	campaign, survey string
	kind             string // of an interaction; the state of a recognition
	begun            int64  // the loop, as the event says
	expires          int64  // the link

	// Of attempts and letters; outcome also of operations, which are replays or discards.
	service, outcome, class, vendor, reason string
	next                                    int64
	rules                                   []string // that fired
	ruled                                   bool     // it says what the rules said

	// Of operations, letter is what they are about; operation is the id of one, and of a letter that of the replay that it comes from.
	letter    uint64
	operation string
	failed    string // why a replay never can be sent
}

// place is where its message is.
func (n *note) place() Place {
	p := Place{Stream: sources[n.source], Sequence: n.seq, Type: n.what, At: timeOf(n.at)}
	switch n.source {
	case fromLetters:
		p.Type = topology.DeadLetterSubject(n.service)
	case fromOperations:
		p.Type = topology.OperationSubject(n.kind, n.letter)
	case fromActivity:
		p.Type = topology.ActivitySubject(n.service, "attempt")
	}
	return p
}

// anchors tells whether a loop is known by a note: those of EVENTS and DEADLETTERS are its own, others only speak of it.
func (n *note) anchors() bool { return n.source == fromEvents || n.source == fromLetters }

// anchored tells whether a loop is known by any of these.
func anchored(notes []note) bool {
	for i := range notes {
		if notes[i].anchors() {
			return true
		}
	}
	return false
}

// before orders the notes of a loop: by the broker's clock, and where that says nothing, what is spoken of first.
func before(a, b *note) int {
	return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.source, b.source), cmp.Compare(a.seq, b.seq), cmp.Compare(a.event, b.event))
}

const (
	// How much is kept of one loop: of events the first; of attempts the latest, and of dead letters and what was decided about
	// them, which say whether it has failed. More than a few dozen come together only where somebody gives everything the same loop.
	eventsMost   = 2000
	attemptsMost = 500
	lettersMost  = 3000
)

// merge gives the union of two sets of notes, in order. Notes are large: it is pointers to them that are sorted.
func merge(notes []note, more []*note) []note {
	all := make([]*note, 0, len(notes)+len(more))
	for i := range notes {
		all = append(all, &notes[i])
	}
	all = append(all, more...)
	slices.SortStableFunc(all, before)
	all = slices.CompactFunc(all, func(a, b *note) bool { return before(a, b) == 0 })
	merged := make([]note, len(all))
	for i, n := range all {
		merged[i] = *n
	}
	return merged
}

// fewer gives those of a loop that are kept, both in order.
func fewer(all []note) []note {
	if len(all) <= attemptsMost {
		return all
	}
	var have, seen [3]int
	class := func(n *note) int {
		switch n.source {
		case fromEvents:
			return 0
		case fromActivity:
			return 1
		}
		return 2
	}
	for i := range all {
		have[class(&all[i])]++
	}
	kept := make([]note, 0, len(all))
	for i := range all {
		c := class(&all[i])
		seen[c]++
		if c == 0 && seen[c] <= eventsMost || c == 1 && have[c]-seen[c] < attemptsMost || c == 2 && have[c]-seen[c] < lettersMost {
			kept = append(kept, all[i])
		}
	}
	return kept
}

func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

func nanos(t time.Time) int64 {
	if t.Year() < 1700 || t.Year() > 2250 { // beyond what nanoseconds hold
		return 0
	}
	return t.UnixNano()
}

// record is a loop as it is kept: its notes, and what of them was counted and indexed when they were kept.
type record struct {
	loop  string
	entry entry
	notes []note
	// beyond is how many events it has that are not kept, and last when the last was stored of all that is not.
	beyond uint64
	last   int64
}

// without notes what of a loop is not kept.
func (r *record) without(all []note) {
	if len(all) == len(r.notes) {
		return
	}
	for i, j := 0, 0; i < len(all); i++ {
		if j < len(r.notes) && before(&all[i], &r.notes[j]) == 0 {
			j++
			continue
		}
		r.last = max(r.last, all[i].at)
		if all[i].source == fromEvents {
			r.beyond++
		}
	}
}

var errRecord = errors.New("a loop in the read model cannot be read")

// The fields of a note that are not always there.
const (
	hasWhen = 1 << iota
	hasOrigin
	hasIDs
	hasCampaign
	hasSurvey
	hasKind
	hasBegun
	hasExpires
	hasService
	hasOutcome
	hasClass
	hasVendor
	hasReason
	hasNext
	hasRules
	isRuled
	hasLetter
	hasOperation
	hasFailed
)

// packer writes a record: each text once, numbers as varints.
type packer struct {
	texts []string
	out   []byte
}

func (p *packer) number(n uint64) { p.out = binary.AppendUvarint(p.out, n) }
func (p *packer) signed(n int64)  { p.out = binary.AppendVarint(p.out, n) }

func (p *packer) text(s string) {
	i := slices.Index(p.texts, s)
	if i < 0 {
		i = len(p.texts)
		p.texts = append(p.texts, s)
	}
	p.number(uint64(i))
}

// pack gives the bytes of a record.
func (p *packer) pack(r *record) []byte {
	p.texts, p.out = p.texts[:0], p.out[:0]
	p.text(r.loop)
	p.entry(&r.entry)
	p.number(r.beyond)
	p.signed(r.last)
	p.number(uint64(len(r.notes)))
	last := int64(0)
	for i := range r.notes {
		p.note(&r.notes[i], last)
		last = r.notes[i].at
	}
	packed := binary.AppendUvarint(make([]byte, 0, len(p.out)+40*len(p.texts)), uint64(len(p.texts)))
	for _, s := range p.texts {
		packed = append(binary.AppendUvarint(packed, uint64(len(s))), s...)
	}
	return append(packed, p.out...)
}

func (p *packer) entry(e *entry) {
	for _, n := range []int64{e.start, int64(e.mark), e.campaign, e.survey, int64(e.bucket), e.due} {
		p.signed(n)
	}
	p.number(uint64(len(e.rules)))
	for _, rule := range e.rules {
		p.signed(rule)
	}
	p.number(uint64(len(e.waits)))
	for _, w := range e.waits {
		p.signed(w.vendor)
		p.signed(w.since)
	}
}

func (p *packer) note(n *note, last int64) {
	var has uint64
	texts := [...]struct {
		bit uint64
		s   string
	}{
		{hasCampaign, n.campaign}, {hasSurvey, n.survey}, {hasKind, n.kind}, {hasService, n.service}, {hasOutcome, n.outcome},
		{hasClass, n.class}, {hasVendor, n.vendor}, {hasReason, n.reason}, {hasOperation, n.operation}, {hasFailed, n.failed},
	}
	numbers := [...]struct {
		bit uint64
		n   int64
	}{
		{hasWhen, difference(n.when, n.at)}, {hasOrigin, int64(n.origin)}, {hasBegun, difference(n.begun, n.at)},
		{hasExpires, difference(n.expires, n.at)}, {hasNext, difference(n.next, n.at)}, {hasLetter, int64(n.letter)},
	}
	for _, t := range texts {
		if t.s != "" {
			has |= t.bit
		}
	}
	for _, v := range numbers {
		if v.n != 0 {
			has |= v.bit
		}
	}
	if len(n.ids) > 0 {
		has |= hasIDs
	}
	if len(n.rules) > 0 {
		has |= hasRules
	}
	if n.ruled {
		has |= isRuled
	}
	p.number(uint64(n.source))
	p.number(n.seq)
	p.signed(n.at - last)
	p.number(has)
	p.text(n.event)
	p.text(n.what)
	for _, t := range texts {
		if has&t.bit != 0 {
			p.text(t.s)
		}
	}
	for _, v := range numbers {
		if has&v.bit != 0 {
			p.signed(v.n)
		}
	}
	if has&hasIDs != 0 {
		p.number(uint64(len(n.ids)))
		for _, id := range n.ids {
			p.text(string(id.Kind))
			p.text(id.Value)
		}
	}
	if has&hasRules != 0 {
		p.number(uint64(len(n.rules)))
		for _, rule := range n.rules {
			p.text(rule)
		}
	}
}

// difference is 0 for no time: one that is the same as another is kept as one nanosecond later.
func difference(t, from int64) int64 {
	if t == 0 {
		return 0
	}
	if t == from {
		return 1
	}
	return t - from
}

// unpacker reads what packer wrote.
type unpacker struct {
	in    []byte
	texts []string
	err   error
}

func (u *unpacker) number() uint64 {
	n, size := binary.Uvarint(u.in)
	if size <= 0 {
		u.in, u.err = nil, errRecord
		return 0
	}
	u.in = u.in[size:]
	return n
}

func (u *unpacker) signed() int64 {
	n, size := binary.Varint(u.in)
	if size <= 0 {
		u.in, u.err = nil, errRecord
		return 0
	}
	u.in = u.in[size:]
	return n
}

// length reads how many follow, each of at least a byte.
func (u *unpacker) length() int {
	n := u.number()
	if n > uint64(len(u.in)) {
		u.in, u.err = nil, errRecord
		return 0
	}
	return int(n)
}

func (u *unpacker) text() string {
	i := u.number()
	if i >= uint64(len(u.texts)) {
		u.in, u.err = nil, errRecord
		return ""
	}
	return u.texts[i]
}

// unpack reads a record.
func unpack(packed []byte) (*record, error) {
	u := &unpacker{in: packed}
	u.texts = make([]string, 0, u.length())
	for range cap(u.texts) {
		n := u.length()
		u.texts = append(u.texts, string(u.in[:n]))
		u.in = u.in[n:]
	}
	r := &record{loop: u.text()}
	u.entry(&r.entry)
	r.beyond, r.last = u.number(), u.signed()
	r.notes = make([]note, u.length())
	last := int64(0)
	for i := range r.notes {
		u.note(&r.notes[i], last)
		last = r.notes[i].at
	}
	if u.err == nil && len(u.in) > 0 {
		u.err = errRecord
	}
	return r, u.err
}

func (u *unpacker) entry(e *entry) {
	e.start, e.mark, e.campaign, e.survey, e.bucket, e.due = u.signed(), mark(u.signed()), u.signed(), u.signed(), int(u.signed()), u.signed()
	for range u.length() {
		e.rules = append(e.rules, u.signed())
	}
	for range u.length() {
		e.waits = append(e.waits, vendorWait{u.signed(), u.signed()})
	}
}

func (u *unpacker) note(n *note, last int64) {
	from := u.number()
	if from >= uint64(len(sources)) {
		u.in, u.err = nil, errRecord
		return
	}
	n.source, n.seq, n.at = source(from), u.number(), last+u.signed()
	has := u.number()
	n.event, n.what = u.text(), u.text()
	for _, t := range [...]struct {
		bit  uint64
		into *string
	}{
		{hasCampaign, &n.campaign}, {hasSurvey, &n.survey}, {hasKind, &n.kind}, {hasService, &n.service}, {hasOutcome, &n.outcome},
		{hasClass, &n.class}, {hasVendor, &n.vendor}, {hasReason, &n.reason}, {hasOperation, &n.operation}, {hasFailed, &n.failed},
	} {
		if has&t.bit != 0 {
			*t.into = u.text()
		}
	}
	later := func(bit uint64, into *int64) {
		if has&bit != 0 {
			*into = n.at + u.signed()
		}
	}
	later(hasWhen, &n.when)
	if has&hasOrigin != 0 {
		n.origin = uint64(u.signed())
	}
	later(hasBegun, &n.begun)
	later(hasExpires, &n.expires)
	later(hasNext, &n.next)
	if has&hasLetter != 0 {
		n.letter = uint64(u.signed())
	}
	if has&hasIDs != 0 {
		n.ids = make([]ID, u.length())
		for i := range n.ids {
			n.ids[i] = ID{IDKind(u.text()), u.text()}
		}
	}
	if has&hasRules != 0 {
		n.rules = make([]string, u.length())
		for i := range n.rules {
			n.rules[i] = u.text()
		}
	}
	n.ruled = has&isRuled != 0
}
