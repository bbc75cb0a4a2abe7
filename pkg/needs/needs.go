// Package needs says what becomes of a test that needs more of its machine than Go: it skips where that is missing,
// and fails where CLOSELOOP_REQUIRE says that it must be there.
package needs

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// Missing ends the test, since what it needs is not there, for this reason. It fails when CLOSELOOP_REQUIRE, a list
// separated by commas such as "docker,browser", names what; otherwise it skips.
func Missing(t testing.TB, what, reason string) {
	t.Helper()
	if Required(what) {
		t.Fatalf("%s is required by CLOSELOOP_REQUIRE: %s", what, reason)
	}
	t.Skipf("needs %s: %s", what, reason)
}

// Required reports whether CLOSELOOP_REQUIRE names what.
func Required(what string) bool {
	return slices.ContainsFunc(strings.Split(os.Getenv("CLOSELOOP_REQUIRE"), ","), func(name string) bool {
		return strings.TrimSpace(name) == what
	})
}
