package numbers

import (
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/chart"
	"github.com/closeloop/closeloop/services/console/loops"
)

// unit is the time that one column of the flow stands for.
type unit struct {
	name  string
	every time.Duration
	// format of a column's beginning.
	format string
	// steps from one tick to the next, in columns.
	steps [6]int
}

// Beginnings are whole hours, days and weeks of UTC; weeks begin on Monday.
var (
	hourly = unit{"hour", time.Hour, "2 Jan 15:04", [6]int{1, 3, 6, 12, 24, 48}}
	daily  = unit{"day", 24 * time.Hour, "2 Jan", [6]int{1, 2, 5, 10, 20, 50}}
	weekly = unit{"week", 7 * 24 * time.Hour, "2 Jan 2006", [6]int{1, 2, 4, 13, 26, 52}}
)

// The most columns that can be told apart: seven days of hours and half a year of days.
const (
	hoursMost = 7*24 + 1
	daysMost  = 26*7 + 1
)

// unitOf chooses how much of a span one column stands for.
func unitOf(from, to time.Time) unit {
	switch {
	case columnsOf(hourly, from, to) <= hoursMost:
		return hourly
	case columnsOf(daily, from, to) <= daysMost:
		return daily
	default:
		return weekly
	}
}

func columnsOf(u unit, from, to time.Time) int {
	first := from.UTC().Truncate(u.every)
	return max(0, int((to.Sub(first)+u.every-1)/u.every))
}

// flow is what happened in each unit of a span, by kind of event.
type flow struct {
	unit   unit
	starts []time.Time
	kinds  []string
	counts map[string][]int
}

// otherEvents stands for all that have no contract.
const otherEvents = "other events"

// kindOf puts the events together that rules choose the subjects of, and those that nobody knows.
func kindOf(subject string) string {
	if strings.HasPrefix(subject, subjects.FeedbackPrefix) {
		return subjects.FeedbackPrefix + "*"
	}
	if slices.Contains(kinds, subject) {
		return subject
	}
	return otherEvents
}

// kinds are those of a loop, in the order in which it meets them.
var kinds = func() (all []string) {
	for _, c := range subjects.All {
		if c.Subject != subjects.FeedbackDeliveryLate { // it is one of feedback.*
			all = append(all, c.Subject)
		}
	}
	return append(all, otherEvents)
}()

// flowOf adds hours up to units. Kinds are named by kind, and those that did not happen are left out.
func flowOf(hours []loops.Hour, u unit, from, to time.Time, kind func(string) string) flow {
	f := flow{unit: u, counts: map[string][]int{}}
	if u == weekly && len(hours) > 0 { // years before the first event need no columns
		from = latest(from, slices.MinFunc(hours, func(a, b loops.Hour) int { return a.At.Compare(b.At) }).At)
	}
	columns := columnsOf(u, from, to)
	first := from.UTC().Truncate(u.every)
	for i := range columns {
		f.starts = append(f.starts, first.Add(time.Duration(i)*u.every))
	}
	for _, h := range hours {
		at := int(h.At.Sub(first) / u.every)
		if h.At.Before(first) || at >= columns {
			continue
		}
		for subject, n := range h.Counts {
			k := kind(subject)
			if n > 0 && f.counts[k] == nil {
				f.counts[k] = make([]int, columns)
				f.kinds = append(f.kinds, k)
			}
			if n > 0 {
				f.counts[k][at] += n
			}
		}
	}
	f.sort()
	return f
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// sort puts the kinds in the order of a loop; what is not in it comes last, by name.
func (f *flow) sort() {
	rank := func(kind string) int { return slices.Index(kinds, kindOf(kind)) }
	slices.SortFunc(f.kinds, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
}

// sum of one kind, the most in one column, and which column that is.
func (f flow) sum(kind string) (sum, most, at int) {
	for i, n := range f.counts[kind] {
		sum += n
		if n > most {
			most, at = n, i
		}
	}
	return sum, most, at
}

// all kinds together, by column.
func (f flow) all() (all []int) {
	all = make([]int, len(f.starts))
	for _, counts := range f.counts {
		for i, n := range counts {
			all[i] += n
		}
	}
	return all
}

// ticks are at most five, at round times.
func (f flow) ticks() (ticks []chart.Tick) {
	step := f.unit.steps[len(f.unit.steps)-1]
	for _, s := range slices.Backward(f.unit.steps[:]) {
		if len(f.starts) <= 5*s {
			step = s
		}
	}
	for i, at := range f.starts {
		round := at.Truncate(time.Duration(step) * f.unit.every).Equal(at)
		if f.unit != hourly {
			round = i%step == 0
		}
		if round {
			ticks = append(ticks, chart.Tick{Column: i, Name: f.tick(at)})
		}
	}
	return ticks
}

func (f flow) tick(at time.Time) string {
	switch {
	case f.unit == weekly:
		return at.Format("Jan 2006")
	case f.unit == hourly && at.Hour() != 0:
		return at.Format("15:04")
	default:
		return at.Format("2 Jan")
	}
}
