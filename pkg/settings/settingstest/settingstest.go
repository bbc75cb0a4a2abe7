// Package settingstest keeps the table of settings in a service's README true.
package settingstest

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/settings"
)

// The marks in a README between which the table stands.
const (
	begin = "<!-- settings -->\n"
	end   = "<!-- /settings -->"
)

func init() {
	if flag.Lookup("update") == nil {
		flag.Bool("update", false, "rewrite generated parts of files instead of comparing them")
	}
}

// CheckREADME fails the test unless the file holds the table of these settings between the lines <!-- settings --> and
// <!-- /settings -->. `go test -update` writes it there.
func CheckREADME(t testing.TB, path string, of any) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, hasBegin := strings.Cut(string(content), begin)
	_, after, hasEnd := strings.Cut(rest, end)
	if !hasBegin || !hasEnd {
		t.Fatalf("%s has no lines %q and %q", path, strings.TrimSpace(begin), end)
	}
	wanted := before + begin + settings.Table(of) + end + after
	if wanted == string(content) {
		return
	}
	if flag.Lookup("update").Value.String() != "true" {
		t.Fatalf("the table of settings in %s is not that of the code; write it with: go test -update", path)
	}
	if err := os.WriteFile(path, []byte(wanted), 0o644); err != nil {
		t.Fatal(err)
	}
}
