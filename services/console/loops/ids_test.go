package loops

import (
	"math"
	"testing"
)

// TestIDsAreFoundBeforeAndAfterTheyAreSorted looks for an id while it is behind the others, in the index, and nowhere.
func TestIDsAreFoundBeforeAndAfterTheyAreSorted(t *testing.T) {
	s := open(t)
	fill(t, s, 200)
	counts := func() (fresh, indexed int64) {
		t.Helper()
		err := s.transact(t.Context(), func(b *batch) (err error) {
			fresh, indexed, err = b.idCounts()
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return fresh, indexed
	}
	found := func(want int) {
		t.Helper()
		for _, q := range []Query{{IDs: map[IDKind]string{Order: "471000007"}}, {Any: "471000007"}} {
			if page, err := s.Find(t.Context(), q); err != nil || len(page.Loops) != want {
				t.Errorf("%d loops of %+v, want %d: %v", len(page.Loops), q, want, err)
			}
		}
	}
	if fresh, indexed := counts(); fresh == 0 || indexed != 0 {
		t.Fatalf("%d new ids and %d in the index, want all of them new", fresh, indexed)
	}
	found(1)
	if err := s.transact(t.Context(), func(b *batch) error { return b.sortIDs(0) }); err != nil {
		t.Fatal(err)
	}
	if fresh, indexed := counts(); fresh != 0 || indexed == 0 {
		t.Fatalf("%d new ids and %d in the index, want none new", fresh, indexed)
	}
	found(1)
	if err := s.Forget(t.Context(), []ID{{Order, "471000007"}}, nil); err != nil {
		t.Fatal(err)
	}
	found(0)
}

// TestRanges: no number is in two parts, and none in none.
func TestRanges(t *testing.T) {
	for n := int64(1); n < 50; n++ {
		next, parts := int64(math.MinInt64), int64(0)
		for from, to := range ranges(n) {
			if from != next || to < from {
				t.Fatalf("of %d parts, one goes from %d to %d after %d", n, from, to, next-1)
			}
			next, parts = to+1, parts+1
		}
		if next != math.MinInt64 || parts != n { // beyond the last
			t.Errorf("%d parts of %d end before %d", parts, n, next)
		}
	}
}
