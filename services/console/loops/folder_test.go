package loops

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestNobodyElseReadsTheFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "console", "loops.db")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"a new file", "one that everybody could read"} {
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]fs.FileMode{filepath.Dir(path): 0o700, path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600} {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s: %s has the mode %o, not %o", when, filepath.Base(name), got, want)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		for name, mode := range map[string]fs.FileMode{filepath.Dir(path): 0o755, path: 0o644} {
			if err := os.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestFoldersOfThoseWhoWereKilledAreRemoved and of nobody else: a lock that is closed is as that of a process that ended.
func TestFoldersOfThoseWhoWereKilledAreRemoved(t *testing.T) {
	in := t.TempDir()
	killed, runs := must(newTemporary(in)), must(newTemporary(in))
	foreign := filepath.Join(in, temporaryPrefix+"being-made")
	for _, folder := range []string{foreign, filepath.Join(in, "other")} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	kept := filepath.Join(in, "other", lockName)
	if err := errors.Join(os.WriteFile(kept, nil, 0o600), os.WriteFile(filepath.Join(killed.path, "loops.db"), []byte("x"), 0o600), killed.lock.Close()); err != nil {
		t.Fatal(err)
	}
	next := must(newTemporary(in))
	if _, err := os.Stat(killed.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of the killed one: %v", err)
	}
	for _, there := range []string{runs.path, next.path, foreign, kept} {
		if _, err := os.Stat(there); err != nil {
			t.Error(err)
		}
	}
	for _, one := range []*temporary{runs, next} {
		if err := one.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(one.path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("it is still there: %v", err)
		}
	}
}
