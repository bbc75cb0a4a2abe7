package loops

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"math"
	"slices"
)

// Loops are found by numbers made of their ids. Such numbers have no order that has anything to do with time: each that is
// put into a large index changes a page of its own, and a rebuild would write the index many times over. So new ones are put
// behind each other (fresh), are found there by looking through, and are sorted into the index (id) when there are enough of
// them for its size. The loops' own ids, which are looked up for each message, have an index to themselves (name).
const (
	// freshLeast and the half of the index are how many numbers are looked through at most, the larger of them, while there is
	// much to read; freshRest of them are left when there is nothing more to read.
	freshLeast = 64 << 10
	freshRest  = 4 << 10
	// sortMost are sorted in memory at a time.
	sortMost = 256 << 10
)

// byID selects the numbers of loops with one of these hashes: the list of placeholders stands in it three times.
func byID(places string) string {
	return "SELECT n FROM id WHERE hash IN (" + places + ") UNION ALL SELECT n FROM name WHERE hash IN (" + places + ")" +
		" UNION ALL SELECT n FROM fresh WHERE hash IN (" + places + ")"
}

// noteIDs writes the ids that were gathered.
func (b *batch) noteIDs() error {
	if err := b.rows(2, sorted(b.names), b.prepared.name, b.prepared.names); err != nil {
		return err
	}
	if err := b.rows(2, sorted(b.ids), b.prepared.fresh, b.prepared.freshes); err != nil {
		return err
	}
	_, indexed, err := b.idCounts()
	if err != nil {
		return err
	}
	return b.sortIDs(max(freshLeast, indexed/2))
}

// idCounts tells how many numbers are behind each other, and how many are in the index.
func (b *batch) idCounts() (fresh, indexed int64, err error) {
	err = b.on(b.prepared.idCounts).QueryRowContext(b.ctx).Scan(&fresh, &indexed)
	return fresh, indexed, err
}

// sorted gives pairs in order, each once, one number behind the other.
func sorted(pairs [][2]int64) []any {
	slices.SortFunc(pairs, func(x, y [2]int64) int { return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1])) })
	numbers := make([]any, 0, 2*len(pairs))
	for _, p := range slices.Compact(pairs) {
		numbers = append(numbers, p[0], p[1])
	}
	return numbers
}

// sortIDs puts new ids into the index where there are more than most.
func (b *batch) sortIDs(most int64) error {
	fresh, _, err := b.idCounts()
	if err != nil || fresh <= most {
		return err
	}
	added := int64(0)
	for from, to := range ranges(fresh/sortMost + 1) {
		result, err := b.on(b.prepared.sortRange).ExecContext(b.ctx, from, to)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		added += n
	}
	return errors.Join(b.exec(b.prepared.noFresh), b.exec(b.prepared.countIDs, added))
}

// ranges divides all numbers into so many parts of the same width, in order.
func ranges(n int64) iter.Seq2[int64, int64] {
	width := math.MaxUint64 / uint64(n)
	return func(yield func(from, to int64) bool) {
		from := int64(math.MinInt64)
		for i := range n {
			to := int64(uint64(from) + width - 1)
			if i == n-1 {
				to = math.MaxInt64
			}
			if !yield(from, to) {
				return
			}
			from = to + 1
		}
	}
}

// noID takes an id of a loop out of the index.
func (b *batch) noID(hash, n int64) error {
	if err := b.sortIDs(0); err != nil { // it may be among the new ones
		return err
	}
	return b.exec(b.prepared.noID, hash, n)
}

// settle sorts what is new, when there is nothing more to read.
func (s *Store) settle(ctx context.Context) error {
	return s.transact(ctx, func(b *batch) error { return b.sortIDs(freshRest) })
}
