package scriptstest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testName is a test that a page names as the proof of what it says.
var testName = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")

// TestVendorPagesNameTestsThatExist reads what docs/vendors says about each vendor's traps: each row must name its proof,
// and each proof must be there.
func TestVendorPagesNameTestsThatExist(t *testing.T) {
	pages, err := filepath.Glob("../../docs/vendors/*.md")
	if err != nil || len(pages) < 5 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	tests := testsOf(t, "../..")
	for _, page := range pages {
		content, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		traps := false
		for n, line := range strings.Split(string(content), "\n") {
			switch {
			case strings.HasPrefix(line, "| trap |"):
				traps = true
				continue
			case !strings.HasPrefix(line, "|"):
				traps = false
			}
			named := testName.FindAllStringSubmatch(line, -1)
			if traps && len(named) == 0 && !strings.HasPrefix(line, "| ---") && !strings.Contains(line, "not ours") {
				t.Errorf("%s:%d names no test: %s", page, n+1, line)
			}
			for _, name := range named {
				if !tests[name[1]] {
					t.Errorf("%s:%d: there is no %s", page, n+1, name[1])
				}
			}
		}
	}
}

// testsOf gives the names of all tests below a folder.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	tests := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, name := range function.FindAllStringSubmatch(string(content), -1) {
			tests[name[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}
