package quota

import (
	"math"
	"time"
)

const (
	// breakAfter is how long nobody may have wanted a call for what came before to be over.
	breakAfter = 5 * time.Second
	// kept is how many seconds of calls are remembered: a window of the vendor's.
	kept = 60
	// sameRefusal is for how long refusals are of calls that were under way at the first.
	sameRefusal = 5 * time.Second
	// dripping is the longest Retry-After of a vendor whose bucket leaks instead of being emptied at once.
	dripping = 2 * time.Second
	// rounded is by how much a window may seem longer or shorter, as Retry-After is in seconds and answers take time.
	rounded = 1500 * time.Millisecond
	// longestWindow is the longest Retry-After that still is about calls a minute and not a day.
	longestWindow = 90 * time.Second
	// lowest is the part of a limit that one refusal leaves at least.
	lowest = 0.05
	// firstHold is how long a learned limit is believed. Each time that it proves right it is believed twice as long.
	firstHold, longestHold = 30 * time.Minute, 24 * time.Hour
	// unsureHold is for one that may be far too low.
	unsureHold = 10 * time.Minute
	// early is how soon a refusal comes of a bucket that holds next to nothing.
	early = 5 * time.Second
	// growth of a learned limit in each minute after that.
	growth = 1.1
)

// note counts a call.
func (r *rate) note(at time.Time) {
	second := at.Unix()
	if gap := second - r.Last; gap > kept {
		r.History, r.Last = nil, second
	}
	for ; r.Last < second; r.Last++ {
		r.History = append(r.History, 0)
	}
	if len(r.History) == 0 {
		r.History = []int{0}
	}
	if over := len(r.History) - kept - 1; over > 0 {
		r.History = r.History[over:]
	}
	if i := len(r.History) - 1 - int(r.Last-second); i >= 0 {
		r.History[i]++
	}
}

// calls counts those of the time before now. A second that is in part of that time counts in part.
func (r *rate) calls(now time.Time, before time.Duration) float64 {
	n, from := 0.0, now.Add(-before)
	for i, calls := range r.History {
		second := time.Unix(r.Last-int64(len(r.History)-1-i), 0)
		within := 1 - from.Sub(second).Seconds()
		n += float64(calls) * max(0, min(within, 1))
	}
	return n
}

// limit is what may be used now of the limit in the settings.
func (r *rate) limit(configured int, now time.Time) float64 {
	if r.Learned == 0 {
		return float64(configured)
	}
	grown := r.Learned
	if beyond := now.Sub(r.Refused) - r.Hold; beyond > 0 {
		grown *= math.Pow(growth, math.Ceil(beyond.Minutes()))
	}
	return max(1, min(grown, float64(configured)))
}

// refuse closes the limit and learns. It tells whether this is a new refusal, and not one of calls that were under way
// when the first came.
func (r *rate) refuse(f refusal, configured int) (first bool) {
	r.Closed = later(r.Closed, f.until().Add(syncWithin/2)) // clocks may be off by that
	if !f.quota {
		return true
	}
	if !r.Refused.IsZero() && f.at.Before(r.Refused.Add(sameRefusal)) {
		if r.Learned > 1 && r.Learned < float64(configured) {
			r.Learned-- // it was counted among those that passed
		}
		return false
	}
	if configured > 0 && f.after <= longestWindow {
		r.learn(f, configured)
	}
	r.Refused, r.Count = f.at, 0
	return true
}

func (r *rate) learn(f refusal, configured int) {
	before := r.limit(configured, f.at)
	passed, sure := r.passed(f, before)
	switch {
	case !sure:
		r.Hold = unsureHold
	case r.Learned > 0 && before > r.Learned: // tried higher, in vain
		r.Hold = min(2*r.Hold, longestHold)
	default:
		r.Hold = max(r.Hold, firstHold)
	}
	r.Learned = max(1, before*lowest, min(passed, before*0.95))
}

// passed is the vendor's limit, as far as the calls that it let pass show, and whether that is sure:
//
//   - A window says how long it lasts: Retry-After is the rest of it, and what passed since it began is the limit. That is
//     so for a fixed window, and for a sliding one, whose oldest call then drops out.
//   - A bucket that leaks says nothing but that a call leaks in a moment. Full twice, it lets pass in between what leaks.
//     Full for the first time, it let pass what leaked and what it holds, and it holds a minute's calls at most. If it is
//     full soon, it may hold far less, and its limit be higher.
//   - A vendor that says nothing, or always the same, is taken for a window if calls began to come less than a minute ago.
func (r *rate) passed(f refusal, before float64) (calls float64, sure bool) {
	// Neither the refused call nor those whose turn is still to come have passed.
	not := 1 + max(0, float64(r.Next.Sub(f.at))/float64(interval(before)))
	begun := later(r.Since, r.Refused)
	sent, took, lastMinute := float64(r.Count)-not, f.at.Sub(begun), r.calls(f.at, minute)-not
	switch known := r.calls(f.at, minute-f.after) - not; {
	case f.after > 0 && (took+f.after-minute).Abs() <= rounded:
		return sent, true
	case f.after > dripping && known > lastMinute*lowest:
		return known, true
	case f.after > 0 && begun.Equal(r.Refused) && took < 2*minute: // no break since the last refusal
		return sent / took.Minutes(), true
	case f.after == 0 && took <= minute:
		return sent, true
	}
	if took < early { // it tells what the bucket holds, and of what leaks no more than that it is less
		return before / 2, false
	}
	return max(sent/(1+took.Minutes()), lastMinute/2), took > minute/2
}
