package loops

import (
	"testing"
)

// TestIDsAreFoundBeforeAndAfterTheyAreSorted looks for an id while it is behind the others, in the index, and nowhere.
func TestIDsAreFoundBeforeAndAfterTheyAreSorted(t *testing.T) {
	s := open(t)
	fill(t, s, 200)
	counts := func() (fresh, indexed int64) {
		t.Helper()
		err := s.transact(t.Context(), func(b *batch) error {
			return b.on(b.prepared.idCounts).QueryRowContext(b.ctx).Scan(&fresh, &indexed)
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
	if err := s.transact(t.Context(), func(b *batch) error { return b.sortIDs(0, 0) }); err != nil {
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
