// Package livefile keeps values that come from files as they change: Kubernetes, an agent of a vault or a person replaces
// a mounted secret or a certificate, and whoever asks next gets the new one, without a restart.
package livefile

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// Every is how often the files are looked at: when somebody asks, and at most once in this time.
const Every = time.Second

// Value is what files hold, as far as they can be read. It is safe for concurrent use, and costs nothing while nobody asks.
//
// The files are read by their paths each time, so it does not matter how they are replaced: in place, by another file, or
// by another target of a symbolic link anywhere in the path, as Kubernetes does. Files that vanish, or hold what cannot be
// parsed, leave the last good value in force, and are complained about in the log once.
type Value[T any] struct {
	name  string
	paths []string
	parse func(contents [][]byte) (T, error)

	mu       sync.Mutex
	looked   time.Time
	contents [][]byte
	value    T
	// complaint is what was last said in the log about files that are no good; empty while they are.
	complaint string
}

// Open reads the files. name says in errors and in the log what they are: the setting. parse gets their contents in the
// order of paths; its errors must not show what is secret in them.
func Open[T any](name string, parse func(contents [][]byte) (T, error), paths ...string) (*Value[T], error) {
	v := &Value[T]{name: name, paths: paths, parse: parse, looked: time.Now()}
	contents, err := v.read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if v.value, err = parse(contents); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	v.contents = contents
	return v, nil
}

// Get gives the value in force.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.looked) >= Every {
		v.looked = time.Now()
		v.look()
	}
	return v.value
}

func (v *Value[T]) look() {
	contents, err := v.read()
	if err == nil && slices.EqualFunc(contents, v.contents, bytes.Equal) {
		v.complaint = ""
		return
	}
	var value T
	if err == nil {
		value, err = v.parse(contents)
	}
	if err != nil {
		v.complain(err)
		return
	}
	v.contents, v.value, v.complaint = contents, value, ""
	slog.Info("a file has changed, and its new content is in force", "setting", v.name)
}

func (v *Value[T]) complain(err error) {
	if v.complaint == err.Error() {
		return
	}
	v.complaint = err.Error()
	slog.Error("a file is no good any more; what it held before stays in force", "setting", v.name, "error", err)
}

func (v *Value[T]) read() ([][]byte, error) {
	contents := make([][]byte, len(v.paths))
	for i, path := range v.paths {
		var err error
		if contents[i], err = os.ReadFile(path); err != nil {
			return nil, err
		}
	}
	return contents, nil
}
