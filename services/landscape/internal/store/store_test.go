package store_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

type row struct {
	Name string            `json:"name"`
	Data map[string]string `json:"data,omitempty"`
}

func open(t *testing.T, dir string) (*store.Store, *store.Table[row]) {
	t.Helper()
	s, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	table, err := store.NewTable[row](s, "rows")
	if err != nil {
		t.Fatal(err)
	}
	return s, table
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(rows []row) string {
	var all []string
	for _, r := range rows {
		all = append(all, r.Name)
	}
	return strings.Join(all, " ")
}

// inBoth runs a test on a store with a file, re-opened before check, and on one in memory.
func inBoth(t *testing.T, act func(*testing.T, *store.Table[row]), check func(*testing.T, *store.Table[row])) {
	t.Run("memory", func(t *testing.T) {
		_, table := open(t, "")
		act(t, table)
		check(t, table)
	})
	t.Run("re-opened", func(t *testing.T) {
		dir := t.TempDir()
		s, table := open(t, dir)
		act(t, table)
		ok(t, s.Close())
		s, table = open(t, dir)
		check(t, table)
		ok(t, s.Close())
	})
}

func TestRowsKeepTheirOrder(t *testing.T) {
	inBoth(t, func(t *testing.T, table *store.Table[row]) {
		for _, name := range []string{"c", "a", "b", "d"} {
			ok(t, table.Put(name, row{Name: name}))
		}
		ok(t, table.Put("a", row{Name: "A"}))
		ok(t, table.Delete("b"))
		ok(t, table.Delete("never there"))
		ok(t, table.PutAll([]row{{Name: "e"}, {Name: "c", Data: map[string]string{"k": "v"}}, {Name: "f"}, {Name: "e"}},
			func(r row) string { return r.Name }))
		ok(t, table.Put("b", row{Name: "b again"}))
	}, func(t *testing.T, table *store.Table[row]) {
		if got := names(table.All()); got != "c A d e f b again" || table.Len() != 6 {
			t.Errorf("got %s, %d rows", got, table.Len())
		}
		if c, found := table.Get("c"); !found || c.Data["k"] != "v" {
			t.Errorf("got %v %v", c, found)
		}
		ok(t, table.Put("g", row{Name: "g"}))
		if got := table.All(); got[len(got)-1].Name != "g" {
			t.Errorf("a new row is not the last: %s", names(got))
		}
		if got := names(table.Find(func(r row) bool { return r.Name > "d" })); got != "e f g" {
			t.Errorf("found %s", got)
		}
	})
}

func TestUpdateIsOneStep(t *testing.T) {
	inBoth(t, func(t *testing.T, table *store.Table[row]) {
		done := make(chan error)
		for range 8 {
			go func() {
				_, err := table.Update("n", func(r row, _ bool) (row, bool) { return row{Name: r.Name + "x"}, true })
				done <- err
			}()
		}
		for range 8 {
			ok(t, <-done)
		}
	}, func(t *testing.T, table *store.Table[row]) {
		kept, err := table.Update("n", func(row, bool) (row, bool) { return row{Name: "other"}, false })
		if err != nil || kept.Name != "xxxxxxxx" {
			t.Errorf("got %v %v", kept, err)
		}
		if got, _ := table.Get("n"); got.Name != "xxxxxxxx" {
			t.Errorf("a refused change was made: %v", got)
		}
	})
}

func TestARowNeedsAKey(t *testing.T) {
	_, table := open(t, t.TempDir())
	if table.Put("", row{}) == nil {
		t.Error("a row without a key was taken")
	}
	if table.PutAll([]row{{Name: "a"}, {}}, func(r row) string { return r.Name }) == nil || table.Len() != 0 {
		t.Error("a set of rows with one without a key was taken")
	}
}

func TestSequenceGoesOnAfterReopening(t *testing.T) {
	dir := t.TempDir()
	var got []uint64
	for range 2 {
		s, _ := open(t, dir)
		got = append(got, s.Sequence("n")(), s.Sequence("n")(), s.Sequence("other")())
		ok(t, s.Close())
	}
	if want := []uint64{1, 2, 1, 3, 4, 2}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	s, _ := open(t, "")
	if first, second := s.Sequence("n")(), s.Sequence("n")(); first != 1 || second != 2 {
		t.Errorf("in memory: got %d, %d", first, second)
	}
}

func TestTwoProcessesCannotShareAFile(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, dir)
	defer func() { ok(t, s.Close()) }()
	if _, err := store.Open(dir); err == nil || !strings.Contains(err.Error(), "another landscape") {
		t.Errorf("got %v", err)
	}
}
