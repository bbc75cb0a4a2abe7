package needs_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/needs"
)

// recorder stands for a test and ends nothing.
type recorder struct {
	testing.TB
	skipped, failed string
}

func (r *recorder) Helper()                           {}
func (r *recorder) Skipf(format string, args ...any)  { r.skipped = fmt.Sprintf(format, args...) }
func (r *recorder) Fatalf(format string, args ...any) { r.failed = fmt.Sprintf(format, args...) }

func TestMissing(t *testing.T) {
	for _, tt := range []struct {
		name, require string
		fails         bool
	}{
		{"skips where nothing is required", "", false},
		{"skips where something else is required", "browser", false},
		{"skips where only a part of a name is the same", "docker-compose", false},
		{"fails where it is required", "docker", true},
		{"fails where it is one of several", "browser, docker", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("CLOSELOOP_REQUIRE", tt.require)
			r := &recorder{TB: t}
			needs.Missing(r, "docker", "it does not answer")
			told := r.skipped + r.failed
			if (r.failed != "") != tt.fails || !strings.Contains(told, "docker") || !strings.Contains(told, "it does not answer") {
				t.Errorf("skipped %q, failed %q", r.skipped, r.failed)
			}
		})
	}
}
