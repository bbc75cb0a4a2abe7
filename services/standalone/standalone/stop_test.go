package standalone_test

import (
	"syscall"
	"testing"
	"time"
)

// TestLinkerStoppedInTheMiddleOfAWave sends SIGTERM to the process that makes a thousand links at once while the import is
// under way, which takes longer than the process may: it hands back what it holds and ends well in time, and the next one
// goes on with the same import.
func TestLinkerStoppedInTheMiddleOfAWave(t *testing.T) {
	t.Parallel()
	const grace = 5 * time.Second
	l := startLinking(t, `{"importDuration":"15s"}`, "DRAIN_TIMEOUT="+grace.String())
	eventually(t, "the import was sent", time.Minute, func() bool { return called(t, l.vendors, theImport) > 0 })
	asked := time.Now()
	if err := l.linker.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, took := l.linker.wait(), time.Since(asked); code != 0 || took > grace+5*time.Second {
		t.Errorf("exit code %d after %s, want 0 within %s", code, took, grace+5*time.Second)
	}
	l.linker.start()
	if imports := len(l.eachHasItsOwn(t).Qualtrics.Imports); imports != 1 {
		t.Errorf("%d imports, want the one that was under way", imports)
	}
}
