package rules_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/rules"
)

func TestWithoutAPathTheEmbeddedRulesAreInForce(t *testing.T) {
	live, err := rules.Watch(t.Context(), "", 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	got := live.Status()
	if live.Set().Len() != 2 || got.File != "default.yaml" || got.Rules != 2 || len(got.Hash) != 64 || got.LoadedAt.IsZero() || got.LastError != nil {
		t.Errorf("got %+v", got)
	}
	if err := live.Reload(); err != nil {
		t.Error(err)
	}
	if set, status := live.InForce(); set != live.Set() || status != got || !strings.Contains(status.Source, "delivery-too-late") {
		t.Errorf("in force are %+v", status)
	}
}

func TestAFileThatDoesNotCheckAtTheStartIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if _, err := rules.Watch(t.Context(), path, 0, slog.New(slog.DiscardHandler)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	write(t, path, withWhen("foo"))
	var problems *rules.Problems
	if _, err := rules.Watch(t.Context(), path, 0, slog.New(slog.DiscardHandler)); !errors.As(err, &problems) || problems.File != path {
		t.Errorf("bad file: %v", err)
	}
}

func TestReloadGoesFromGoodOverBadToGood(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	log := &lines{}
	write(t, path, withWhen("true"))
	live, err := rules.Watch(t.Context(), path, time.Hour, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	first := live.Status()
	wantLog(t, log, "rules loaded")

	reload(t, live, "")
	if live.Status() != first {
		t.Error("the same content was loaded again")
	}
	wantLog(t, log)

	write(t, path, withWhen("foo"))
	for range 3 {
		reload(t, live, "undeclared reference to 'foo'")
	}
	wantLog(t, log, "rules file refused")
	if got := live.Status(); live.Set().Len() != 1 || got.Hash != first.Hash || got.LoadedAt != first.LoadedAt {
		t.Errorf("the rules in force did not stay: %+v", got)
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		reload(t, live, "no such file")
	}
	wantLog(t, log, "rules file refused")
	if live.Set().Len() != 1 {
		t.Error("the rules in force did not stay")
	}

	write(t, path, withWhen("foo"))
	reload(t, live, "undeclared reference to 'foo'")
	wantLog(t, log, "rules file refused")

	write(t, path, design)
	reload(t, live, "")
	wantLog(t, log, "rules loaded")
	if got := live.Status(); live.Set().Len() != 2 || got.Rules != 2 || got.Hash == first.Hash || got.File != path {
		t.Errorf("the new rules are not in force: %+v", got)
	}

	write(t, path, "")
	reload(t, live, "there is no list of rules")
	write(t, path, design)
	reload(t, live, "")
	wantLog(t, log, "rules file refused", "rules loaded")
}

// Kubernetes swaps the directory that the link ..data leads to; the file itself is a link through it.
func TestASwappedConfigMapIsLoaded(t *testing.T) {
	dir := t.TempDir()
	for name, file := range map[string]string{"old": withWhen("true"), "new": design} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "rules.yaml"), file)
	}
	path := filepath.Join(dir, "rules.yaml")
	link(t, "old", filepath.Join(dir, "..data"))
	link(t, filepath.Join("..data", "rules.yaml"), path)
	live, err := rules.Watch(t.Context(), path, time.Hour, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	link(t, "new", filepath.Join(dir, "..tmp"))
	if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	reload(t, live, "")
	if live.Set().Len() != 2 {
		t.Error("the new rules are not in force")
	}
}

func TestWatchFollowsTheFileAtEveryIntervalUntilItsContextEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, withWhen("true"))
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		live, err := rules.Watch(ctx, path, 0, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, design)
		pass(rules.DefaultInterval - time.Millisecond)
		if live.Set().Len() != 1 {
			t.Error("the file was read before the interval was over")
		}
		pass(2 * time.Millisecond)
		if live.Set().Len() != 2 {
			t.Error("the file was not read after the interval")
		}
		cancel() // a goroutine that stayed would fail the bubble
	})
}

// pass lets time go by in a synctest bubble, where it costs none.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func reload(t *testing.T, live *rules.Live, want string) {
	t.Helper()
	err := live.Reload()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got %v, want %q", err, want)
	}
	if got := live.Status().LastError; !errors.Is(got, err) {
		t.Errorf("status says %v, want %v", got, err)
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// wantLog expects these lines since the last call and no others.
func wantLog(t *testing.T, l *lines, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.buf.String()
	l.buf.Reset()
	if strings.Count(text, "\n") != len(want) {
		t.Errorf("logged %q, want %q", text, want)
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("logged %q, want %q", text, w)
		}
	}
}

func write(t *testing.T, path, file string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, to, path string) {
	t.Helper()
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}
