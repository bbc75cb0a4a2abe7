// Package livefiletest mounts files as Kubernetes mounts a Secret, and changes them as it does.
package livefiletest

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// data is the symbolic link that the kubelet points to another directory when the Secret has changed.
const data = "..data"

// Secret is a mounted Secret: each file is a link to ..data/<file>, and ..data is a link to a directory.
type Secret struct {
	t     testing.TB
	dir   string
	turns int
}

// Mount makes a Secret with the keys and their values.
func Mount(t testing.TB, values map[string]string) *Secret {
	t.Helper()
	s := &Secret{t: t, dir: t.TempDir()}
	s.Update(values)
	for key := range values {
		s.must(os.Symlink(filepath.Join(data, key), s.Path(key)))
	}
	return s
}

// Path of a key's file.
func (s *Secret) Path(key string) string { return filepath.Join(s.dir, key) }

// Update replaces all values at once: a new directory, a new link to it under another name, which is renamed to ..data, and
// the old directory removed. A key that is left out vanishes.
func (s *Secret) Update(values map[string]string) {
	s.t.Helper()
	s.turns++
	old, _ := os.Readlink(filepath.Join(s.dir, data)) // none the first time
	next := "..turn-" + strconv.Itoa(s.turns)
	s.must(os.Mkdir(filepath.Join(s.dir, next), 0o700))
	for key, value := range values {
		s.must(os.WriteFile(filepath.Join(s.dir, next, key), []byte(value), 0o600))
	}
	s.must(os.Symlink(next, filepath.Join(s.dir, data+"_tmp")))
	s.must(os.Rename(filepath.Join(s.dir, data+"_tmp"), filepath.Join(s.dir, data)))
	if old != "" {
		s.must(os.RemoveAll(filepath.Join(s.dir, old)))
	}
}

func (s *Secret) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}
