package loops

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
)

// closingColumns are the upper ends of the columns in which times to close are shown.
var closingColumns = []time.Duration{
	time.Minute, 10 * time.Minute, time.Hour, 4 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 96 * time.Hour,
	7 * 24 * time.Hour, 14 * 24 * time.Hour, 30 * 24 * time.Hour, 90 * 24 * time.Hour,
}

// crowd are loops that are counted together.
type crowd struct {
	reached map[Stage]int
	failed  int
	closing map[int]int // by number of the bucket
}

func (c *crowd) add(m mark, bucket, count int) {
	if c.reached == nil {
		c.reached, c.closing = map[Stage]int{}, map[int]int{}
	}
	for _, stage := range Funnel {
		if m.reached(stage) {
			c.reached[stage] += count
		}
	}
	if m.state() == Failed {
		c.failed += count
	}
	if bucket > 0 {
		c.closing[bucket] += count
	}
}

func (c *crowd) funnel() []Count {
	all := make([]Count, len(Funnel))
	for i, stage := range Funnel {
		all[i] = Count{string(stage), c.reached[stage]}
	}
	return all
}

// histogram gives how many closed within which time.
func (c *crowd) histogram() []Bucket {
	all := make([]Bucket, len(closingColumns)+1)
	for i, most := range closingColumns {
		all[i].Most = most
	}
	for bucket, count := range c.closing {
		i := len(closingColumns)
		if bucket <= len(buckets) {
			i, _ = slices.BinarySearch(closingColumns, buckets[bucket-1])
		}
		all[i].Count += count
	}
	return all
}

// median gives the middle time to close, as exact as the buckets are.
func (c *crowd) median() time.Duration {
	whole := 0
	for _, count := range c.closing {
		whole += count
	}
	if whole == 0 {
		return 0
	}
	before, middle := 0, float64(whole)/2
	for _, bucket := range slices.Sorted(maps.Keys(c.closing)) {
		count := c.closing[bucket]
		if float64(before+count) < middle {
			before += count
			continue
		}
		if bucket > len(buckets) {
			break
		}
		least := time.Duration(0)
		if bucket > 1 {
			least = buckets[bucket-2]
		}
		return least + time.Duration(float64(buckets[bucket-1]-least)*(middle-float64(before))/float64(count))
	}
	return buckets[len(buckets)-1]
}

// Numbers counts. Spans are counted in whole hours: those in which they begin and end count whole.
func (s *Store) Numbers(ctx context.Context, span Span) (Numbers, error) {
	n := Numbers{Funnel: []Count{}, Closing: []Bucket{}, Flow: []Hour{}, Campaigns: []Group{}, Rules: []Group{}, Vendors: []Calls{}}
	err := s.query(ctx, func(ctx context.Context, db *sql.DB) error {
		c := &counting{ctx: ctx, db: db, from: -1 << 40, to: 1 << 40}
		if !span.From.IsZero() {
			c.from = floorHour(nanos(span.From))
		}
		if !span.To.IsZero() {
			c.to = floorHour(nanos(span.To)-1) + 1
		}
		possible, err := c.words(span)
		if err != nil {
			return err
		}
		if possible {
			err = c.numbers(&n)
		}
		return err
	})
	return n, err
}

func floorHour(ns int64) int64 {
	hour := ns / int64(time.Hour)
	if ns < 0 && ns%int64(time.Hour) != 0 {
		hour--
	}
	return hour
}

// counting is one answer of Numbers.
type counting struct {
	ctx      context.Context
	db       *sql.DB
	from, to int64
	of       string
	args     []any
	texts    map[int64]string
}

// words finds the campaign and survey; false where there are none such.
func (c *counting) words(span Span) (bool, error) {
	var err error
	if c.texts, err = allWords(c.ctx, c.db); err != nil {
		return false, err
	}
	c.args = []any{c.from, c.to}
	for _, one := range []struct{ column, text string }{{"campaign", span.Campaign}, {"survey", span.Survey}} {
		if one.text == "" {
			continue
		}
		n, err := wordOf(c.ctx, c.db, one.text)
		if err != nil || n == 0 {
			return false, err
		}
		c.of += " AND " + one.column + " = ?"
		c.args = append(c.args, n)
	}
	return true, nil
}

func allWords(ctx context.Context, db *sql.DB) (map[int64]string, error) {
	all := map[int64]string{0: ""}
	return all, scan(ctx, db, "SELECT n, text FROM word", nil, func(rows *sql.Rows) error {
		var n int64
		var text string
		err := rows.Scan(&n, &text)
		all[n] = text
		return err
	})
}

// scan shows each row of a query.
func scan(ctx context.Context, db *sql.DB, query string, args []any, show func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := show(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (c *counting) numbers(n *Numbers) error {
	var all crowd
	campaigns, rules := map[int64]*crowd{}, map[int64]*crowd{}
	add := func(to map[int64]*crowd, key int64, m mark, bucket, count int) {
		if to[key] == nil {
			to[key] = &crowd{}
		}
		to[key].add(m, bucket, count)
	}
	err := scan(c.ctx, c.db, "SELECT rule, campaign, mark, bucket, sum(count) FROM cohort WHERE hour >= ? AND hour < ?"+c.of+
		" GROUP BY rule, campaign, mark, bucket", c.args, func(rows *sql.Rows) error {
		var rule, campaign int64
		var m mark
		var bucket, count int
		if err := rows.Scan(&rule, &campaign, &m, &bucket, &count); err != nil || count == 0 {
			return err
		}
		if rule != 0 {
			add(rules, rule, m, bucket, count)
			return nil
		}
		all.add(m, bucket, count)
		if campaign != 0 {
			add(campaigns, campaign, m, bucket, count)
		}
		return nil
	})
	if err != nil {
		return err
	}
	n.Funnel, n.Closing = all.funnel(), all.histogram()
	n.Campaigns, n.Rules = c.groups(campaigns), c.groups(rules)
	if err := c.flow(n); err != nil {
		return err
	}
	n.Vendors, err = c.calls("calls", "hour", c.from, c.to)
	return err
}

// groups names them, those with most loops first.
func (c *counting) groups(all map[int64]*crowd) []Group {
	groups := []Group{}
	for word, crowd := range all {
		groups = append(groups, Group{Name: c.texts[word], Funnel: crowd.funnel(), Failed: crowd.failed, Median: crowd.median()})
	}
	most := func(g Group) int {
		return slices.MaxFunc(g.Funnel, func(a, b Count) int { return cmp.Compare(a.Count, b.Count) }).Count
	}
	slices.SortFunc(groups, func(a, b Group) int { return cmp.Or(cmp.Compare(most(b), most(a)), cmp.Compare(a.Name, b.Name)) })
	return groups
}

func (c *counting) flow(n *Numbers) error {
	last := int64(-1 << 62)
	return scan(c.ctx, c.db, "SELECT hour, type, sum(count) FROM flow WHERE hour >= ? AND hour < ?"+c.of+
		" GROUP BY hour, type ORDER BY hour", c.args, func(rows *sql.Rows) error {
		var hour, what int64
		var count int
		if err := rows.Scan(&hour, &what, &count); err != nil || count == 0 {
			return err
		}
		if hour != last {
			n.Flow = append(n.Flow, Hour{At: timeOf(hour * int64(time.Hour)), Counts: map[string]int{}})
			last = hour
		}
		n.Flow[len(n.Flow)-1].Counts[c.texts[what]] = count
		return nil
	})
}

// calls sums the calls of a table of them.
func (c *counting) calls(table, column string, from, to int64) ([]Calls, error) {
	all := []Calls{}
	err := scan(c.ctx, c.db, "SELECT vendor, operation, sum(calls), sum(saved), sum(failed), sum(took) FROM "+table+
		" WHERE "+column+" >= ? AND "+column+" < ? GROUP BY vendor, operation HAVING sum(calls) > 0", []any{from, to}, func(rows *sql.Rows) error {
		var vendor, operation, took int64
		var one Calls
		if err := rows.Scan(&vendor, &operation, &one.Calls, &one.Saved, &one.Failed, &took); err != nil {
			return err
		}
		one.Vendor, one.Operation, one.Mean = c.texts[vendor], c.texts[operation], time.Duration(took/int64(one.Calls))
		all = append(all, one)
		return nil
	})
	slices.SortFunc(all, func(a, b Calls) int {
		return cmp.Or(cmp.Compare(a.Vendor, b.Vendor), cmp.Compare(a.Operation, b.Operation))
	})
	return all, err
}

// Campaigns names those that loops belong to.
func (s *Store) Campaigns(ctx context.Context) ([]string, error) {
	all := []string{}
	err := s.query(ctx, func(ctx context.Context, db *sql.DB) error {
		return scan(ctx, db, "SELECT text FROM total CROSS JOIN word ON word.n = total.value WHERE kind = ? AND count > 0 ORDER BY text",
			[]any{totalCampaign}, func(rows *sql.Rows) error {
				var text string
				err := rows.Scan(&text)
				all = append(all, text)
				return err
			})
	})
	return all, err
}

// latest shows what services told last of something.
func latest[T any](ctx context.Context, db *sql.DB, kind string, show func(T)) error {
	return scan(ctx, db, "SELECT value FROM told WHERE kind = ? ORDER BY service, name", []any{kind}, func(rows *sql.Rows) error {
		var value []byte
		var t T
		if err := rows.Scan(&value); err != nil {
			return err
		}
		if json.Unmarshal(value, &t) == nil {
			show(t)
		}
		return nil
	})
}

// RuleSets gives what each service told last of its rules, by service.
func (s *Store) RuleSets(ctx context.Context) ([]activity.RuleSet, error) {
	all := []activity.RuleSet{}
	err := s.query(ctx, func(ctx context.Context, db *sql.DB) error {
		return latest(ctx, db, activity.KindRules, func(r activity.RuleSet) { all = append(all, r) })
	})
	return all, err
}
