package loops

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
)

// errOvertaken says that another process has written to the file: what was read has to be read again from where that one is.
var errOvertaken = errors.New("another process writes to the same file")

// statements of the writer, prepared once.
type statements struct {
	findMany, ofMessage, insert, remove            *sql.Stmt
	update, look, stand, rewrite                   *sql.Stmt
	name, names, noName                            *sql.Stmt
	fresh, freshes, idCounts, noID, noIDs          *sql.Stmt
	countIDs, sortRange, noFresh                   *sql.Stmt
	message, messages, noMessage, noMessages       *sql.Stmt
	fired, notFired, waits, notWaiting             *sql.Stmt
	total, cohort, flow, calls, recent, told, word *sql.Stmt
	position, setPosition, due                     *sql.Stmt
	all                                            []*sql.Stmt
}

// many is how many rows of a few numbers go into one statement.
const many = 64

func prepareStatements(ctx context.Context, db *sql.DB) (*statements, error) {
	s := &statements{}
	for _, one := range []struct {
		into **sql.Stmt
		text string
	}{
		{&s.findMany, "SELECT name.hash, loop.n, loop.record FROM name CROSS JOIN loop ON loop.n = name.n WHERE name.hash IN (?" + strings.Repeat(", ?", many-1) + ")"},
		{&s.ofMessage, "SELECT loop.n, loop.record FROM message CROSS JOIN loop ON loop.n = message.n WHERE source = ? AND seq = ?"},
		{&s.insert, "INSERT INTO loop (n, start, mark, campaign, survey, due, record) VALUES (?, ?, ?, ?, ?, ?, ?)"},
		{&s.update, "UPDATE loop SET record = ? WHERE n = ?"},
		{&s.look, "UPDATE loop SET due = ?, record = ? WHERE n = ?"},
		{&s.stand, "UPDATE loop SET mark = ?, due = ?, record = ? WHERE n = ?"},
		{&s.rewrite, "UPDATE loop SET start = ?, mark = ?, campaign = ?, survey = ?, due = ?, record = ? WHERE n = ?"},
		{&s.remove, "DELETE FROM loop WHERE n = ?"},
		{&s.name, "INSERT OR IGNORE INTO name (hash, n) VALUES (?, ?)"},
		{&s.names, "INSERT OR IGNORE INTO name (hash, n) VALUES " + rowsOf(2)},
		{&s.noName, "DELETE FROM name WHERE hash = ? AND n = ?"},
		{&s.fresh, "INSERT INTO fresh (hash, n) VALUES (?, ?)"},
		{&s.freshes, "INSERT INTO fresh (hash, n) VALUES " + rowsOf(2)},
		{&s.idCounts, "SELECT coalesce((SELECT max(rowid) FROM fresh), 0), (SELECT value FROM setting WHERE name = 'ids')"},
		{&s.countIDs, "UPDATE setting SET value = value + ? WHERE name = 'ids'"},
		{&s.sortRange, "INSERT OR IGNORE INTO id (hash, n) SELECT hash, n FROM fresh WHERE hash BETWEEN ? AND ? ORDER BY hash, n"},
		{&s.noFresh, "DELETE FROM fresh"},
		{&s.noID, "DELETE FROM id WHERE hash = ? AND n = ?"},
		{&s.noIDs, "DELETE FROM id WHERE n = ?"},
		{&s.message, "INSERT OR REPLACE INTO message (source, seq, n) VALUES (?, ?, ?)"},
		{&s.messages, "INSERT OR REPLACE INTO message (source, seq, n) VALUES " + rowsOf(3)},
		{&s.noMessage, "DELETE FROM message WHERE source = ? AND seq = ?"},
		{&s.noMessages, "DELETE FROM message WHERE n = ?"},
		{&s.fired, "INSERT OR REPLACE INTO fired (rule, mark, start, n, campaign, survey) VALUES (?, ?, ?, ?, ?, ?)"},
		{&s.notFired, "DELETE FROM fired WHERE rule = ? AND mark = ? AND start = ? AND n = ?"},
		{&s.waits, "INSERT OR IGNORE INTO waiting (vendor, since, n) VALUES (?, ?, ?)"},
		{&s.notWaiting, "DELETE FROM waiting WHERE vendor = ? AND since = ? AND n = ?"},
		{&s.total, "INSERT INTO total (kind, value, count) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"},
		{&s.cohort, "INSERT INTO cohort (hour, rule, campaign, survey, mark, bucket, count) VALUES (?, ?, ?, ?, ?, ?, ?)" +
			" ON CONFLICT DO UPDATE SET count = count + excluded.count"},
		{&s.flow, "INSERT INTO flow (hour, campaign, survey, type, count) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count"},
		{&s.calls, "INSERT INTO calls (hour, vendor, operation, calls, saved, failed, took) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET" +
			" calls = calls + excluded.calls, saved = saved + excluded.saved, failed = failed + excluded.failed, took = took + excluded.took"},
		{&s.recent, "INSERT INTO recent (minute, vendor, operation, calls, saved, failed, took, done) VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET" +
			" calls = calls + excluded.calls, saved = saved + excluded.saved, failed = failed + excluded.failed, took = took + excluded.took, done = done + excluded.done"},
		{&s.told, "INSERT INTO told (kind, service, name, at, value) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET" +
			" at = excluded.at, value = excluded.value WHERE excluded.at >= at"},
		{&s.word, "INSERT INTO word (n, text) VALUES (?, ?)"},
		{&s.position, "SELECT coalesce((SELECT read FROM position WHERE source = ?), 0)"},
		{&s.setPosition, "INSERT INTO position (source, read, created, first, missing) VALUES (?, ?, 0, 0, 0) ON CONFLICT DO UPDATE SET read = excluded.read"},
		{&s.due, "SELECT n, record FROM loop WHERE due > 0 AND due <= ? ORDER BY due LIMIT ?"},
	} {
		stmt, err := db.PrepareContext(ctx, one.text)
		if err != nil {
			s.close()
			return nil, err
		}
		*one.into = stmt
		s.all = append(s.all, stmt)
	}
	return s, nil
}

func rowsOf(columns int) string {
	row := "(?" + strings.Repeat(", ?", columns-1) + ")"
	return row + strings.Repeat(", "+row, many-1)
}

func (s *statements) close() {
	if s == nil {
		return
	}
	for _, stmt := range s.all {
		_ = stmt.Close()
	}
}

// hashOf is under which number an id is found, whatever its case: SAP shows its GUIDs in one, and gives them in the other. The loop
// itself has the id as it is, so that two of one number are told apart.
func hashOf(kind IDKind, value string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(kind))
	_, _ = h.Write([]byte{0})
	_, _ = h.Write([]byte(strings.ToLower(value)))
	return int64(h.Sum64()) // all of its bits, as a number that SQLite has
}

// loopID is the kind of a loop's own id.
const loopID IDKind = "loop"

// Kinds of totals: how many loops have a mark, a campaign, a survey, a rule.
const (
	totalMark = iota
	totalCampaign
	totalSurvey
	totalRule
)

type totalKey struct{ kind, value int64 }

type cohortKey struct {
	hour, rule, campaign, survey int64
	mark                         mark
	bucket                       int
}

type flowKey struct{ hour, campaign, survey, what int64 }

type callKey struct{ at, vendor, operation int64 }

type callCount struct{ calls, saved, failed, took, done int64 }

// batch is one transaction. What is counted is gathered first, and written once.
type batch struct {
	*Store
	ctx   context.Context
	tx    *sql.Tx
	world *world
	now   int64

	names    [][2]int64
	ids      [][2]int64
	messages [][3]int64
	totals   map[totalKey]int64
	cohorts  map[cohortKey]int64
	flows    map[flowKey]int64
	hours    map[callKey]callCount
	minutes  map[callKey]callCount
	told     map[[3]string]*told
	changed  []string
	words    map[string]int64 // that are new
	next     int64
	packer   packer
	bound    map[*sql.Stmt]*sql.Stmt
	// gone says that something was removed whose bytes must leave the file; vendors, that one has another state, and so all that
	// waits for it.
	gone, vendors bool
}

// transact runs one transaction.
func (s *Store) transact(ctx context.Context, run func(*batch) error) (err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	// A context that can end costs a goroutine a statement; a transaction is short.
	ctx = context.WithoutCancel(ctx)
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after a commit there is nothing to take back
	defer func() {
		if err != nil {
			s.lately.clear() // what it holds may not have come to be
		}
	}()
	now := *s.world.Load()
	now.now, now.known = time.Now().UnixNano(), map[string][]string{}
	b := &batch{
		Store: s, ctx: ctx, tx: tx, world: &now, now: now.now, next: s.next, totals: map[totalKey]int64{}, cohorts: map[cohortKey]int64{},
		flows: map[flowKey]int64{}, hours: map[callKey]callCount{}, minutes: map[callKey]callCount{}, told: map[[3]string]*told{},
		words: map[string]int64{}, bound: map[*sql.Stmt]*sql.Stmt{},
	}
	if err := run(b); err != nil {
		return err
	}
	if err := b.flush(); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.next = b.next
	maps.Copy(s.words, b.words)
	if b.gone {
		s.dirty.Store(true)
	}
	if b.vendors {
		s.watchers.all()
	}
	s.watchers.changed(b.changed)
	return nil
}

// begin begins one. Where another process has written to the file, what is remembered of it is read again before.
func (s *Store) begin(ctx context.Context) (*sql.Tx, error) {
	for {
		tx, err := s.write.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		var written int64
		if err = tx.QueryRowContext(ctx, dataVersion).Scan(&written); err == nil && written == s.written {
			return tx, nil
		}
		_ = tx.Rollback() // nothing was done in it
		if err == nil {
			err = s.load(ctx)
		}
		if err != nil {
			return nil, err
		}
	}
}

// on gives a statement within the transaction.
func (b *batch) on(stmt *sql.Stmt) *sql.Stmt {
	bound := b.bound[stmt]
	if bound == nil {
		bound = b.tx.StmtContext(b.ctx, stmt)
		b.bound[stmt] = bound
	}
	return bound
}

func (b *batch) exec(stmt *sql.Stmt, args ...any) error {
	_, err := b.on(stmt).ExecContext(b.ctx, args...)
	return err
}

// word gives the number of a text, which is new where it has none.
func (b *batch) word(text string) (int64, error) {
	if n, ok := b.Store.words[text]; ok {
		return n, nil
	}
	if n, ok := b.words[text]; ok {
		return n, nil
	}
	n := int64(len(b.Store.words) + len(b.words))
	b.words[text] = n
	return n, b.exec(b.prepared.word, n, text)
}

// part is what is taken of one stream together: messages in order, after which it has been read up to there. was is how far it
// had been read.
type part struct {
	from      source
	messages  []message
	was, read uint64
}

// apply takes parts of streams: all of them, or nothing.
func (s *Store) apply(ctx context.Context, parts ...part) error {
	parts = slices.DeleteFunc(parts, func(p part) bool { return p.read == 0 }) // nothing of that stream
	err := s.transact(ctx, func(b *batch) error {
		for _, p := range parts {
			var have uint64
			if err := b.on(s.prepared.position).QueryRowContext(b.ctx, p.from).Scan(&have); err != nil {
				return err
			}
			if have != p.was {
				return errOvertaken
			}
			if err := b.exec(s.prepared.setPosition, p.from, int64(p.read)); err != nil {
				return err
			}
		}
		return b.take(parts)
	})
	if err == nil {
		for _, p := range parts {
			s.progress.applied(p.from, p.read)
		}
	}
	return err
}

func (b *batch) take(parts []part) error {
	byLoop := map[string][]*note{}
	for _, p := range parts {
		for i := range p.messages {
			m := &p.messages[i]
			for j := range m.notes {
				n := &m.notes[j]
				if p.from == fromOperations {
					if err := b.operation(n.note); err != nil {
						return err
					}
					continue
				}
				byLoop[n.loop] = append(byLoop[n.loop], &n.note)
			}
			if err := b.count(m); err != nil {
				return err
			}
		}
	}
	loops := make([]hashed, 0, len(byLoop))
	for loop := range byLoop {
		loops = append(loops, hashed{hashOf(loopID, loop), loop})
	}
	// In the order of the index, which is quicker than going to and fro in it.
	slices.SortFunc(loops, func(x, y hashed) int { return cmp.Or(cmp.Compare(x.hash, y.hash), strings.Compare(x.loop, y.loop)) })
	for part := range slices.Chunk(loops, many) {
		stored, err := b.stored(part)
		if err != nil {
			return err
		}
		for _, l := range part {
			n, r, err := b.among(stored[l.hash], l.loop)
			if err != nil {
				return err
			}
			came := byLoop[l.loop]
			if r == nil {
				if !slices.ContainsFunc(came, (*note).anchors) {
					continue // its event is gone, and so is what is told of it
				}
				r = &record{loop: l.loop}
			}
			if err := b.put(n, r, merge(r.notes, came)); err != nil {
				return err
			}
		}
	}
	return nil
}

// hashed is a loop with the number under which it is found.
type hashed struct {
	hash int64
	loop string
}

// stored gives what is in the file under the numbers of some loops, at most as many as go into one statement.
func (b *batch) stored(loops []hashed) (map[int64][]written, error) {
	found := make(map[int64][]written, len(loops))
	args := make([]any, 0, many)
	for _, l := range loops {
		if w, ok := b.lately.get(l.loop); ok {
			found[l.hash] = append(found[l.hash], w)
			continue
		}
		args = append(args, l.hash)
	}
	if len(args) == 0 {
		return found, nil
	}
	for len(args) < many {
		args = append(args, nil)
	}
	rows, err := b.on(b.prepared.findMany).QueryContext(b.ctx, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var hash int64
		var w written
		if err := rows.Scan(&hash, &w.n, &w.packed); err != nil {
			return nil, err
		}
		found[hash] = append(found[hash], w)
	}
	return found, rows.Err()
}

// among gives the loop of that id, nil where it is none of these.
func (b *batch) among(all []written, loop string) (int64, *record, error) {
	for _, w := range all {
		r, err := unpack(w.packed)
		if err != nil || r.loop == loop {
			return w.n, r, err
		}
	}
	return 0, nil, nil
}

// operation adds what was decided about a letter to the letter's loop; one about a letter that is gone says nothing any more.
func (b *batch) operation(n note) error {
	var number int64
	var packed []byte
	err := b.on(b.prepared.ofMessage).QueryRowContext(b.ctx, fromLetters, int64(n.letter)).Scan(&number, &packed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	r, err := unpack(packed)
	if err != nil {
		return err
	}
	return b.put(number, r, merge(r.notes, []*note{&n}))
}

// find gives a loop, nil where there is none.
func (b *batch) find(loop string) (int64, *record, error) {
	hash := hashOf(loopID, loop)
	stored, err := b.stored([]hashed{{hash, loop}})
	if err != nil {
		return 0, nil, err
	}
	return b.among(stored[hash], loop)
}

// put keeps a loop with these notes, as many as are kept of one, and counts and indexes it with all of them. One without a number
// is new; one without a message of its own is removed.
func (b *batch) put(n int64, r *record, notes []note) error {
	old, had := *r, n != 0
	b.changed = append(b.changed, r.loop)
	if !anchored(notes) {
		return b.drop(n, r)
	}
	now := record{loop: r.loop, notes: fewer(notes), beyond: r.beyond, last: r.last}
	now.without(notes)
	e, err := b.entry(b.world.stands(&now))
	if err != nil {
		return err
	}
	if !had {
		n = b.next
		b.next++
		b.names = append(b.names, [2]int64{hashOf(loopID, r.loop), n})
	}
	now.entry = e
	packed := b.packer.pack(&now)
	switch was := &old.entry; { // SQLite touches each index of whose columns one is named, changed or not
	case !had:
		err = b.exec(b.prepared.insert, n, e.start, int64(e.mark), e.campaign, e.survey, e.due, packed)
	case was.start != e.start || was.campaign != e.campaign || was.survey != e.survey:
		err = b.exec(b.prepared.rewrite, e.start, int64(e.mark), e.campaign, e.survey, e.due, packed, n)
	case was.mark != e.mark:
		err = b.exec(b.prepared.stand, int64(e.mark), e.due, packed, n)
	case was.due != e.due:
		err = b.exec(b.prepared.look, e.due, packed, n)
	default:
		err = b.exec(b.prepared.update, packed, n)
	}
	if err != nil {
		return err
	}
	b.lately.put(r.loop, written{n, packed})
	now.notes = notes // what is not kept is found and counted all the same
	return b.difference(n, had, &old, &now)
}

// drop removes a loop.
func (b *batch) drop(n int64, r *record) error {
	if n == 0 {
		return nil
	}
	b.gone = true
	b.lately.remove(r.loop)
	if err := b.exec(b.prepared.remove, n); err != nil {
		return err
	}
	if err := b.exec(b.prepared.noName, hashOf(loopID, r.loop), n); err != nil {
		return err
	}
	if r.beyond > 0 { // which messages and ids these were is not kept
		if err := errors.Join(b.sortIDs(0), b.exec(b.prepared.noIDs, n), b.exec(b.prepared.noMessages, n)); err != nil {
			return err
		}
	}
	return b.difference(n, true, r, nil)
}

// entry gives what of a standing is indexed.
func (b *batch) entry(s *standing) (e entry, err error) {
	e = entry{start: s.start, mark: markOf(s.state, s.reached), due: s.due}
	if e.campaign, err = b.word(s.campaign); err != nil {
		return e, err
	}
	if e.survey, err = b.word(s.survey); err != nil {
		return e, err
	}
	if s.closed != 0 {
		e.bucket = bucketOf(time.Duration(s.closed - s.start))
	}
	for _, rule := range s.rules {
		n, err := b.word(rule)
		if err != nil {
			return e, err
		}
		e.rules = append(e.rules, n)
	}
	for _, w := range s.waits {
		if w.vendor == "" || w.For == ForPerson || w.For == ForApproval { // it is not the vendor that keeps it waiting
			continue
		}
		n, err := b.word(w.vendor)
		if err != nil {
			return e, err
		}
		if !slices.ContainsFunc(e.waits, func(known vendorWait) bool { return known.vendor == n }) {
			e.waits = append(e.waits, vendorWait{n, w.since})
		}
	}
	return e, nil
}

// difference brings counts and indexes from how a loop was to how it is; now is nil for one that is gone.
func (b *batch) difference(n int64, had bool, old, now *record) error {
	var was, is entry
	var notes []note
	if had {
		was = old.entry
		b.tally(&was, -1)
	}
	if now != nil {
		is, notes = now.entry, now.notes
		b.tally(&is, 1)
	}
	moved := !had || now == nil || is.start != was.start || is.mark != was.mark || is.campaign != was.campaign || is.survey != was.survey
	for _, rule := range was.rules {
		if moved || !slices.Contains(is.rules, rule) {
			if err := b.exec(b.prepared.notFired, rule, int64(was.mark), was.start, n); err != nil {
				return err
			}
		}
	}
	for _, rule := range is.rules {
		if moved || !slices.Contains(was.rules, rule) {
			if err := b.exec(b.prepared.fired, rule, int64(is.mark), is.start, n, is.campaign, is.survey); err != nil {
				return err
			}
		}
	}
	for _, w := range was.waits {
		if !slices.Contains(is.waits, w) {
			if err := b.exec(b.prepared.notWaiting, w.vendor, w.since, n); err != nil {
				return err
			}
		}
	}
	for _, w := range is.waits {
		if !slices.Contains(was.waits, w) {
			if err := b.exec(b.prepared.waits, w.vendor, w.since, n); err != nil {
				return err
			}
		}
	}
	return b.differentNotes(n, &was, &is, old.notes, notes)
}

// differentNotes does so for what single notes bring: ids, places, and the flow. Both are in order.
func (b *batch) differentNotes(n int64, was, is *entry, old, now []note) error {
	moved := was.campaign != is.campaign || was.survey != is.survey
	var left, came []*note
	for i, j := 0, 0; i < len(old) || j < len(now); {
		c := 1
		if j == len(now) {
			c = -1
		} else if i < len(old) {
			c = before(&old[i], &now[j])
		}
		counted, counts := c <= 0 && flows(old, i), c >= 0 && flows(now, j)
		if c != 0 || moved || counted != counts {
			if err := b.flow(counted, old, i, was, -1); err != nil {
				return err
			}
			if err := b.flow(counts, now, j, is, 1); err != nil {
				return err
			}
		}
		if c < 0 {
			left = append(left, &old[i])
		} else if c > 0 {
			came = append(came, &now[j])
		}
		if c <= 0 {
			i++
		}
		if c >= 0 {
			j++
		}
	}
	for _, l := range left {
		if err := b.leave(n, l, now); err != nil {
			return err
		}
	}
	for _, c := range came {
		if c.source != fromActivity {
			b.messages = append(b.messages, [3]int64{int64(c.source), int64(c.seq), n})
		}
		for _, id := range c.ids {
			b.ids = append(b.ids, [2]int64{hashOf(id.Kind, id.Value), n})
		}
	}
	return nil
}

// leave removes the place and the ids of a note that is gone, as far as no other note has them.
func (b *batch) leave(n int64, l *note, now []note) error {
	b.gone = true
	if l.source != fromActivity {
		if err := b.exec(b.prepared.noMessage, l.source, int64(l.seq)); err != nil {
			return err
		}
	}
	for _, id := range l.ids {
		if slices.ContainsFunc(now, func(other note) bool { return slices.ContainsFunc(other.ids, id.same) }) {
			continue
		}
		if err := b.noID(hashOf(id.Kind, id.Value), n); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) tally(e *entry, by int64) {
	hour := e.start / int64(time.Hour)
	key := cohortKey{hour, 0, e.campaign, e.survey, e.mark, e.bucket}
	b.cohorts[key] += by
	for _, rule := range e.rules {
		key.rule = rule
		b.cohorts[key] += by
		b.totals[totalKey{totalRule, rule}] += by
	}
	b.totals[totalKey{totalMark, int64(e.mark)}] += by
	b.totals[totalKey{totalCampaign, e.campaign}] += by
	b.totals[totalKey{totalSurvey, e.survey}] += by
}

// flows tells whether a note is an event that is counted: the first of those that are the same, as one is that was stored again when
// the broker did not remember it any more.
func flows(notes []note, i int) bool {
	if notes[i].source != fromEvents {
		return false
	}
	for j := range i {
		if notes[j].source == fromEvents && notes[j].event == notes[i].event {
			return false
		}
	}
	return true
}

// flow counts an event in its hour, if it counts.
func (b *batch) flow(counts bool, notes []note, i int, of *entry, by int64) error {
	if !counts {
		return nil
	}
	what, err := b.word(notes[i].what)
	if err != nil {
		return err
	}
	b.flows[flowKey{notes[i].when / int64(time.Hour), of.campaign, of.survey, what}] += by
	return nil
}

// count takes what a message of ACTIVITY says beside the loops.
func (b *batch) count(m *message) error {
	if t := m.told; t != nil {
		key := [3]string{t.kind, t.service, t.name}
		if known := b.told[key]; known == nil || t.at >= known.at {
			b.told[key] = t
		}
	}
	add := func(vendor, operation string, at int64, c callCount) error {
		v, err := b.word(vendor)
		if err != nil {
			return err
		}
		o, err := b.word(operation)
		if err != nil {
			return err
		}
		if c.calls > 0 {
			key := callKey{at / int64(time.Hour), v, o}
			b.hours[key] = b.hours[key].plus(c)
		}
		if at > b.now-recentMost {
			key := callKey{at / int64(time.Minute), v, o}
			b.minutes[key] = b.minutes[key].plus(c)
		}
		return nil
	}
	for i := range m.calls {
		call := &m.calls[i]
		if call.Repeated {
			continue // an earlier part of the round has it too
		}
		c := callCount{calls: 1, saved: int64(max(call.InsteadOf, 1) - 1), took: int64(call.Took)}
		if call.Outcome != "ok" {
			c.failed = 1
		}
		if err := add(call.Vendor, call.Operation, cmp.Or(nanos(call.At), m.at), c); err != nil {
			return err
		}
	}
	for vendor, n := range m.done {
		if err := add(vendor, "", m.at, callCount{done: int64(n)}); err != nil {
			return err
		}
	}
	return nil
}

func (c callCount) plus(d callCount) callCount {
	return callCount{c.calls + d.calls, c.saved + d.saved, c.failed + d.failed, c.took + d.took, c.done + d.done}
}

// recentMost is how long calls are told apart by minutes.
const recentMost = int64(2 * time.Hour)

// flush writes what was gathered.
func (b *batch) flush() error {
	if err := b.noteIDs(); err != nil {
		return err
	}
	slices.SortFunc(b.messages, func(x, y [3]int64) int { return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1])) })
	messages := make([]any, 0, 3*len(b.messages))
	for _, m := range b.messages {
		messages = append(messages, m[0], m[1], m[2])
	}
	if err := b.rows(3, messages, b.prepared.message, b.prepared.messages); err != nil {
		return err
	}
	var errs []error
	note := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	for k, n := range b.totals {
		if n != 0 {
			note(b.exec(b.prepared.total, k.kind, k.value, n))
		}
	}
	for k, n := range b.cohorts {
		if n != 0 {
			note(b.exec(b.prepared.cohort, k.hour, k.rule, k.campaign, k.survey, int64(k.mark), k.bucket, n))
		}
	}
	for k, n := range b.flows {
		if n != 0 {
			note(b.exec(b.prepared.flow, k.hour, k.campaign, k.survey, k.what, n))
		}
	}
	for k, c := range b.hours {
		note(b.exec(b.prepared.calls, k.at, k.vendor, k.operation, c.calls, c.saved, c.failed, c.took))
	}
	for k, c := range b.minutes {
		note(b.exec(b.prepared.recent, k.at, k.vendor, k.operation, c.calls, c.saved, c.failed, c.took, c.done))
	}
	for _, t := range b.told {
		note(b.hear(t))
		note(b.exec(b.prepared.told, t.kind, t.service, t.name, t.at, t.value))
	}
	return errors.Join(errs...)
}

// hear notes whether a vendor has another state than it had.
func (b *batch) hear(t *told) error {
	if t.kind != activity.KindVendor || b.vendors {
		return nil
	}
	var value []byte
	err := b.tx.QueryRowContext(b.ctx, "SELECT value FROM told WHERE kind = ? AND service = ? AND name = ?", t.kind, t.service, t.name).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	var was, is activity.Vendor
	_ = json.Unmarshal(value, &was) // it was nothing
	b.vendors = json.Unmarshal(t.value, &is) == nil && is.State != cmp.Or(was.State, activity.Healthy)
	return nil
}

// rows writes rows of so many numbers, one or many with each statement.
func (b *batch) rows(width int, numbers []any, one, several *sql.Stmt) error {
	for ; len(numbers) >= width*many; numbers = numbers[width*many:] {
		if err := b.exec(several, numbers[:width*many]...); err != nil {
			return err
		}
	}
	for ; len(numbers) > 0; numbers = numbers[width:] {
		if err := b.exec(one, numbers[:width]...); err != nil {
			return err
		}
	}
	return nil
}
