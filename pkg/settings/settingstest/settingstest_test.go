package settingstest_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/settings/settingstest"
)

type example struct {
	Value string `envconfig:"TEST_VALUE" default:"1" desc:"a value"`
}

const (
	stale = "# Example\n<!-- settings -->\nold\n<!-- /settings -->\nEnd.\n"
	fresh = "# Example\n<!-- settings -->\n| variable | default | what |\n| --- | --- | --- |\n" +
		"| `TEST_VALUE` | `1` | a value |\n<!-- /settings -->\nEnd.\n"
)

func TestCheckREADMEAcceptsTheTableOfTheCode(t *testing.T) {
	path := readme(t, fresh)
	if failure := check(t, path); failure != "" {
		t.Error(failure)
	}
}

func TestCheckREADMEFailsOnAnyOther(t *testing.T) {
	for content, want := range map[string]string{
		stale:         "go test -update",
		"# Example\n": "has no lines",
	} {
		path := readme(t, content)
		if failure := check(t, path); !strings.Contains(failure, want) {
			t.Errorf("got %q, want %q", failure, want)
		}
		if got, _ := os.ReadFile(path); string(got) != content {
			t.Errorf("the file was changed to %q", got)
		}
	}
	if failure := check(t, filepath.Join(t.TempDir(), "missing.md")); failure == "" {
		t.Error("a missing file was accepted")
	}
}

func TestCheckREADMEWritesTheTableOnUpdate(t *testing.T) {
	if err := flag.Set("update", "true"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = flag.Set("update", "false") })
	path := readme(t, stale)
	if failure := check(t, path); failure != "" {
		t.Fatal(failure)
	}
	if got, _ := os.ReadFile(path); string(got) != fresh {
		t.Errorf("wrote %q", got)
	}
}

func readme(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "README.md")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// check runs CheckREADME as a test of its own and gives the text of its failure.
func check(t *testing.T, path string) string {
	inner := &recorder{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		settingstest.CheckREADME(inner, path, example{})
	}()
	<-done
	return inner.failure
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB
	failure string
}

func (r *recorder) Fatal(args ...any) {
	r.failure = fmt.Sprint(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, args ...any) { r.Fatal(fmt.Sprintf(format, args...)) }
