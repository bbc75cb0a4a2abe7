package loops

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// pageDefault and pageMost are how many loops a page has.
	pageDefault = 50
	pageMost    = 1000
)

// ErrQuery is that of a query that no loop can be asked by: a page that there is not.
var ErrQuery = errors.New("before is not the next of any page")

// at is where a loop stands in lists: newest first, and of two that began at once the one that was heard of later.
type at struct{ start, n int64 }

func (a at) String() string { return fmt.Sprintf("%d.%d", a.start, a.n) }

// Find gives the loops that match, newest first.
func (s *Store) Find(ctx context.Context, q Query) (page Page, err error) {
	if q.Limit <= 0 {
		q.Limit = pageDefault
	}
	q.Limit = min(q.Limit, pageMost)
	page.Loops = []Summary{}
	err = s.query(ctx, func(ctx context.Context, db *sql.DB) error {
		page, err = s.find(ctx, db, q)
		return err
	})
	return page, err
}

func (s *Store) find(ctx context.Context, db *sql.DB, q Query) (Page, error) {
	page := Page{Loops: []Summary{}}
	w, err := s.current(ctx, db)
	if err != nil {
		return page, err
	}
	p := &plan{ctx: ctx, db: db, Query: q}
	if err := p.waitFor(w.out); err != nil {
		return page, err
	}
	found, err := p.run()
	if err != nil {
		return page, err
	}
	if len(found) > q.Limit {
		found = found[:q.Limit]
		page.Next = found[q.Limit-1].String()
	}
	for _, f := range found {
		r, err := numbered(ctx, db, f.n)
		if err != nil {
			return page, err
		}
		if r == nil || !p.holds(r) { // it went meanwhile, or has another id of the same number
			continue
		}
		stands := w.stands(r)
		if _, reached := stands.reached[q.Stage]; q.State != "" && q.State != stands.state || q.Stage != "" && !reached {
			continue // it stands otherwise since it was indexed: something has ended by itself
		}
		page.Loops = append(page.Loops, stands.summary(r.loop, r.notes))
	}
	return page, nil
}

// today is the world as it is now.
func (s *Store) today() *world {
	now := *s.world.Load()
	now.now, now.known = time.Now().UnixNano(), map[string][]string{}
	return &now
}

// current is today's with the vendors that are out.
func (s *Store) current(ctx context.Context, db *sql.DB) (w *world, err error) {
	w = s.today()
	w.out, err = outages(ctx, db)
	return w, err
}

func numbered(ctx context.Context, db *sql.DB, n int64) (*record, error) {
	var packed []byte
	err := db.QueryRowContext(ctx, "SELECT record FROM loop WHERE n = ?", n).Scan(&packed)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil //nolint:nilnil // none is no error here
	}
	if err != nil {
		return nil, err
	}
	return unpack(packed)
}

// plan is how a query is answered: by one index, in order, with the rest as conditions on what it holds.
type plan struct {
	ctx context.Context
	db  *sql.DB
	Query
	before           at
	campaign, survey int64
	// marks that the state and stage asked for go with, nil for all.
	marks []int64
	// out are the vendors that are out, by number. What waits for one is indexed as processing, and is tried again when the
	// vendor is back.
	out []any
}

// waitFor notes the vendors that are out.
func (p *plan) waitFor(out map[string]*VendorStatus) error {
	for vendor := range out {
		n, err := wordOf(p.ctx, p.db, vendor)
		if err != nil {
			return err
		}
		if n != 0 {
			p.out = append(p.out, n)
		}
	}
	return nil
}

// held selects the loops that wait for a vendor that is out.
func (p *plan) held() string {
	return "n IN (SELECT n FROM waiting WHERE vendor IN (" + places(len(p.out)) + "))"
}

// processing gives those of the marks that say so.
func (p *plan) processing() (all []any) {
	for _, m := range p.marks {
		if mark(m).state() == Processing {
			all = append(all, m)
		}
	}
	return all
}

func places(n int) string { return "?" + strings.Repeat(", ?", n-1) }

// run gives one more than the page holds, where there are as many.
func (p *plan) run() ([]at, error) {
	p.before = at{1<<63 - 1, 1<<63 - 1}
	if p.Before != "" {
		if n, err := fmt.Sscanf(p.Before, "%d.%d", &p.before.start, &p.before.n); n != 2 || err != nil {
			return nil, ErrQuery
		}
	}
	// One upper bound, since of two SQLite would go by either.
	if to := nanos(p.To); !p.To.IsZero() && to <= p.before.start {
		p.before = at{to, -1 << 63}
	}
	possible, err := p.words()
	if err != nil || !possible || p.marks != nil && len(p.marks) == 0 {
		return nil, err
	}
	switch {
	case p.Any != "" || len(p.IDs) > 0:
		return p.byID()
	case p.Rule != "":
		return p.byRule()
	case p.marks != nil && !p.fewer():
		return p.byMark()
	case p.Campaign != "":
		return p.list("loop INDEXED BY loop_campaign", p.conditions("campaign = ?", p.campaign).without("campaign"))
	case p.Survey != "":
		return p.list("loop INDEXED BY loop_survey", p.conditions("survey = ?", p.survey).without("survey"))
	}
	return p.list("loop INDEXED BY loop_start", p.conditions("1"))
}

// words finds the numbers of what is asked for; false where there is no such thing.
func (p *plan) words() (bool, error) {
	for _, one := range []struct {
		text string
		into *int64
	}{{p.Campaign, &p.campaign}, {p.Survey, &p.survey}} {
		if one.text == "" {
			continue
		}
		n, err := wordOf(p.ctx, p.db, one.text)
		if err != nil || n == 0 {
			return false, err
		}
		*one.into = n
	}
	if p.State == "" && p.Stage == "" {
		return true, nil
	}
	return true, p.marked()
}

// marked finds the marks that state and stage asked for go with.
func (p *plan) marked() error {
	counts, err := totals(p.ctx, p.db, totalMark)
	p.marks = []int64{}
	for _, m := range slices.Sorted(maps.Keys(counts)) {
		state := mark(m).state()
		if (p.State == "" || state == p.State || p.State == Retry && state == Processing && len(p.out) > 0) && (p.Stage == "" || mark(m).reached(p.Stage)) {
			p.marks = append(p.marks, m)
		}
	}
	return err
}

func wordOf(ctx context.Context, db *sql.DB, text string) (n int64, err error) {
	err = db.QueryRowContext(ctx, "SELECT n FROM word WHERE text = ?", text).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}

func totals(ctx context.Context, db *sql.DB, kind int) (map[int64]int64, error) {
	rows, err := db.QueryContext(ctx, "SELECT value, count FROM total WHERE kind = ? AND count > 0", kind)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[int64]int64{}
	for rows.Next() {
		var value, count int64
		if err := rows.Scan(&value, &count); err != nil {
			return nil, err
		}
		all[value] = count
	}
	return all, rows.Err()
}

// fetchCost is how many entries of an index are looked at in the time in which one loop is fetched.
const fetchCost = 8

// fewer tells that the campaign or survey asked for has so few loops that to look at each is quicker than to look through
// all of a mark. Who cannot find out goes by the marks, which is never slow.
func (p *plan) fewer() bool {
	var marked, own int64
	counts, err := totals(p.ctx, p.db, totalMark)
	for _, m := range p.marks {
		marked += counts[m]
	}
	kind, value := totalCampaign, p.campaign
	switch {
	case err != nil, p.Campaign == "" && p.Survey == "":
		return false
	case p.Campaign == "":
		kind, value = totalSurvey, p.survey
	}
	if p.db.QueryRowContext(p.ctx, "SELECT count FROM total WHERE kind = ? AND value = ?", kind, value).Scan(&own) != nil {
		return false
	}
	return own*fetchCost < marked
}

// conditions are a part of a query with its arguments.
type conditions struct {
	of    []string
	texts []string
	args  [][]any
}

// conditions gives what loops must meet, first what the index goes by.
func (p *plan) conditions(first string, args ...any) *conditions {
	c := &conditions{}
	c.add("", first, args...)
	c.add("", "(start, n) < (?, ?)", p.before.start, p.before.n)
	if !p.From.IsZero() {
		c.add("", "start >= ?", nanos(p.From))
	}
	if p.Campaign != "" {
		c.add("campaign", "campaign = ?", p.campaign)
	}
	if p.Survey != "" {
		c.add("survey", "survey = ?", p.survey)
	}
	if p.marks != nil {
		marks := make([]any, len(p.marks))
		for i, m := range p.marks {
			marks[i] = m
		}
		c.add("mark", "mark IN ("+places(len(marks))+")", marks...)
	}
	if held := p.processing(); len(held) > 0 && len(p.out) > 0 {
		switch p.State {
		case Retry:
			c.add("", "(mark NOT IN ("+places(len(held))+") OR "+p.held()+")", slices.Concat(held, p.out)...)
		case Processing:
			c.add("", "NOT "+p.held(), p.out...)
		}
	}
	return c
}

func (c *conditions) add(of, text string, args ...any) {
	c.of, c.texts, c.args = append(c.of, of), append(c.texts, text), append(c.args, args)
}

// without leaves one out, since the index goes by it.
func (c *conditions) without(of string) *conditions {
	if i := slices.Index(c.of, of); i >= 0 {
		c.of, c.texts, c.args = slices.Delete(c.of, i, i+1), slices.Delete(c.texts, i, i+1), slices.Delete(c.args, i, i+1)
	}
	return c
}

// explained lets a test look at how queries are answered.
var explained func(ctx context.Context, db *sql.DB, text string, args []any)

// list asks for loops in order.
func (p *plan) list(from string, c *conditions) ([]at, error) {
	text, args := p.statement(from, c)
	if explained != nil {
		explained(p.ctx, p.db, text, args)
	}
	rows, err := p.db.QueryContext(p.ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []at
	for rows.Next() {
		var a at
		if err := rows.Scan(&a.start, &a.n); err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	return all, rows.Err()
}

func (p *plan) statement(from string, c *conditions) (string, []any) {
	args := slices.Concat(c.args...)
	text := "SELECT start, n FROM " + from + " WHERE " + strings.Join(c.texts, " AND ") + " ORDER BY start DESC, n DESC LIMIT ?"
	return text, append(args, p.Limit+1)
}

// byMark goes through the loops of each mark, all of whose conditions stand in the index, and merges them.
func (p *plan) byMark() ([]at, error) {
	var held []at
	few, err := p.fewHeld()
	if few && err == nil {
		isHeld := func(m int64) bool { return mark(m).state() == Processing }
		all := p.marks
		p.marks = slices.DeleteFunc(slices.Clone(all), func(m int64) bool { return !isHeld(m) })
		held, err = p.list("loop NOT INDEXED", p.conditions(p.held(), p.out...))
		p.marks = slices.DeleteFunc(all, isHeld)
	}
	if err != nil {
		return nil, err
	}
	return p.merged(held, func(m int64) ([]at, error) {
		return p.list("loop INDEXED BY loop_mark", p.conditions("mark = ?", m).without("mark"))
	})
}

// fewHeld tells that what waits for vendors that are out is asked for, and so little that to look at each is quicker than to look
// for it among all that is processing.
func (p *plan) fewHeld() (bool, error) {
	if p.State != Retry || len(p.processing()) == 0 || len(p.out) == 0 {
		return false, nil
	}
	counts, err := totals(p.ctx, p.db, totalMark)
	if err != nil {
		return false, err
	}
	most := int64(0)
	for _, m := range p.marks {
		if mark(m).state() == Processing {
			most += counts[m] / fetchCost
		}
	}
	var held int64
	err = p.db.QueryRowContext(p.ctx, "SELECT count(*) FROM (SELECT 1 FROM waiting WHERE vendor IN ("+places(len(p.out))+") LIMIT ?)",
		append(slices.Clone(p.out), most+1)...).Scan(&held)
	return held <= most, err
}

// byRule does so with those for which a rule fired.
func (p *plan) byRule() ([]at, error) {
	rule, err := wordOf(p.ctx, p.db, p.Rule)
	if err != nil || rule == 0 {
		return nil, err
	}
	if p.marks == nil {
		if err := p.marked(); err != nil {
			return nil, err
		}
	}
	return p.merged(nil, func(m int64) ([]at, error) {
		return p.list("fired", p.conditions("rule = ? AND mark = ?", rule, m).without("mark"))
	})
}

// merged gives those of each mark, and some others.
func (p *plan) merged(all []at, of func(mark int64) ([]at, error)) ([]at, error) {
	for _, m := range p.marks {
		found, err := of(m)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	slices.SortFunc(all, func(a, b at) int { return cmp.Or(cmp.Compare(b.start, a.start), cmp.Compare(b.n, a.n)) })
	return all[:min(len(all), p.Limit+1)], nil
}

// byID goes by the ids, of which a loop seldom shares one with many others.
func (p *plan) byID() ([]at, error) {
	var hashes [][]any
	if p.Any != "" {
		any := []any{}
		for _, kind := range anyKinds {
			any = append(any, hashOf(kind, p.Any))
		}
		hashes = append(hashes, any)
	}
	for _, kind := range slices.Sorted(maps.Keys(p.IDs)) {
		hashes = append(hashes, []any{hashOf(kind, p.IDs[kind])})
	}
	c := p.conditions("1")
	if p.Rule != "" {
		rule, err := wordOf(p.ctx, p.db, p.Rule)
		if err != nil || rule == 0 {
			return nil, err
		}
		c.add("", "EXISTS (SELECT 1 FROM fired WHERE fired.rule = ? AND fired.mark = loop.mark AND fired.start = loop.start AND fired.n = loop.n)", rule)
	}
	for _, h := range hashes {
		c.add("", "n IN ("+byID(places(len(h)))+")", slices.Concat(h, h, h)...)
	}
	return p.list("loop NOT INDEXED", c)
}

// anyKinds are the kinds of ids of which one may be meant that is given without its kind.
var anyKinds = []IDKind{loopID, Order, Contact, Request, Response, Task, Recognition, Interaction, Event}

// same tells that two ids are one to who looks for it: case aside.
func (id ID) same(other ID) bool {
	return id.Kind == other.Kind && strings.EqualFold(id.Value, other.Value)
}

// holds tells that a loop has the ids themselves, and not only their numbers, as far as they are kept.
func (p *plan) holds(r *record) bool {
	if r.beyond > 0 {
		return true
	}
	has := func(match func(ID) bool) bool {
		return slices.ContainsFunc(r.notes, func(n note) bool { return slices.ContainsFunc(n.ids, match) })
	}
	if p.Any != "" && !strings.EqualFold(r.loop, p.Any) && !has(func(id ID) bool { return strings.EqualFold(id.Value, p.Any) }) {
		return false
	}
	for kind, value := range p.IDs {
		if !has(ID{kind, value}.same) && (kind != loopID || !strings.EqualFold(r.loop, value)) {
			return false
		}
	}
	return true
}

// Loop gives one loop; the error is [ErrUnknown] where there is none.
func (s *Store) Loop(ctx context.Context, id string) (Loop, error) {
	var r *record
	var w *world
	err := s.query(ctx, func(ctx context.Context, db *sql.DB) (err error) {
		if r, err = named(ctx, db, id); err == nil {
			w, err = s.current(ctx, db)
		}
		return err
	})
	if err != nil {
		return Loop{}, err
	}
	return w.loop(r), nil
}

// named gives the loop of an id.
func named(ctx context.Context, db *sql.DB, loop string) (*record, error) {
	rows, err := db.QueryContext(ctx, "SELECT record FROM name CROSS JOIN loop ON loop.n = name.n WHERE name.hash = ?", hashOf(loopID, loop))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var packed sql.RawBytes
		if err := rows.Scan(&packed); err != nil {
			return nil, err
		}
		r, err := unpack(packed)
		if err != nil || r.loop == loop {
			return r, err
		}
	}
	return nil, cmp.Or(rows.Err(), ErrUnknown)
}

func (w *world) loop(r *record) Loop {
	stands := w.stands(r)
	l := Loop{Events: int(r.beyond), Summary: stands.summary(r.loop, r.notes), IDs: []ID{}, Reached: map[Stage]time.Time{}, Waiting: []Wait{}, Places: []Place{}}
	for stage, at := range stands.reached {
		l.Reached[stage] = timeOf(at)
	}
	for _, w := range stands.waits {
		l.Waiting = append(l.Waiting, w.Wait)
	}
	for i := range r.notes {
		n := &r.notes[i]
		p := n.place()
		if n.source == fromEvents {
			l.Events++
		}
		if p.loop = r.loop; !slices.Contains(l.Places, p) {
			l.Places = append(l.Places, p)
		}
		for _, id := range n.ids {
			if id.Kind != erasure && !slices.Contains(l.IDs, id) {
				l.IDs = append(l.IDs, id)
			}
		}
	}
	return l
}
