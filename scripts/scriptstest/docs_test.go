package scriptstest

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	// testName is a test that a page names as the proof of what it says, and packageOf the package named before it.
	testName  = regexp.MustCompile("`(Test[A-Za-z0-9_]+)`")
	packageOf = regexp.MustCompile("`((?:pkg|services|scripts|proto-events)/[a-z0-9/-]+)`")
)

// TestVendorPagesNameTestsThatExist reads what docs/vendors says about each vendor's traps: each row must name its proof,
// and each proof must be there, in the package that is named before it.
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
			named := testName.FindAllStringSubmatchIndex(line, -1)
			if traps && len(named) == 0 && !strings.HasPrefix(line, "| ---") && !strings.Contains(line, "not ours") {
				t.Errorf("%s:%d names no test: %s", page, n+1, line)
			}
			for _, at := range named {
				name, before := line[at[2]:at[3]], packageOf.FindAllStringSubmatch(line[:at[0]], -1)
				switch {
				case len(before) == 0:
					t.Errorf("%s:%d: %s is of no package", page, n+1, name)
				case !slices.Contains(tests[name], before[len(before)-1][1]):
					t.Errorf("%s:%d: there is no %s in %s, but in %q", page, n+1, name, before[len(before)-1][1], tests[name])
				}
			}
		}
	}
}

// testsOf gives the packages, as folders below root, of each test by its name.
func testsOf(t *testing.T, root string) map[string][]string {
	t.Helper()
	function := regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9_]+)\(`)
	tests := map[string][]string{}
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		for _, name := range function.FindAllStringSubmatch(string(content), -1) {
			tests[name[1]] = append(tests[name[1]], filepath.ToSlash(folder))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	fenced  = regexp.MustCompile("(?s)```.*?```")
	notSlug = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// TestLinksInDocsResolve follows every link between the pages of the repository, to the file and to the heading in it.
func TestLinksInDocsResolve(t *testing.T) {
	const root = "../.."
	links := 0
	err := filepath.WalkDir(root, func(page string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && page != root && strings.HasPrefix(entry.Name(), ".") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(page, ".md") {
			return nil
		}
		content, err := os.ReadFile(page)
		if err != nil {
			return err
		}
		for _, found := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(content), ""), -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			links++
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %s leads nowhere", page, found[1])
				continue
			}
			if anchor != "" && !slices.Contains(anchorsOf(t, file), anchor) {
				t.Errorf("%s: %s has no such heading", page, found[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links < 50 {
		t.Errorf("%d links found: the test does not see them", links)
	}
}

// anchorsOf gives the headings of a page as links name them.
func anchorsOf(t *testing.T, page string) (anchors []string) {
	t.Helper()
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for _, found := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(string(content), ""), -1) {
		words := notSlug.ReplaceAllString(link.ReplaceAllString(found[1], ""), "")
		anchors = append(anchors, strings.ReplaceAll(strings.ToLower(words), " ", "-"))
	}
	return anchors
}
