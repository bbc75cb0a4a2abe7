package standalone_test

import (
	"net/url"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/closeloop/closeloop/pkg/browsertest"
	"github.com/closeloop/closeloop/pkg/browsertest/a11y"
)

// TestNoPageKeepsAnybodyOut holds every page of the console against the rules of package a11y: those that links lead to, and those
// that follow a form.
func TestNoPageKeepsAnybodyOut(t *testing.T) {
	in := filled(t, 10*time.Minute)
	in.examine("/sign-in")
	in.signIn("Loops")
	kinds := in.each(in.examine)
	for _, wanted := range []string{
		"/loops", "/loops/{id}", "/numbers", "/vendors", "/dead-letters", "/dead-letters?", "/dead-letters/{id}", "/dead-letters/jobs", "/rules", "/operations", "/erasures",
	} {
		if !slices.Contains(kinds, wanted) {
			t.Errorf("no link leads to %s", wanted)
		}
	}
	for _, f := range following {
		in.do(f.name, browsertest.Look(1280, 900, browsertest.Light), chromedp.Navigate(in.address+f.from))
		in.do(f.name, f.steps...)
		in.examine(f.name)
	}
}

// following are pages that follow a form, or that no link leads to.
var following = []struct {
	name, from string
	steps      []chromedp.Action[chromedp.Void]
}{
	{"a loop that is closed", "/loops?stage=closed", steps(chromedp.Click(chromedp.CSS(`#loops-rows a`)), headed("Loop "))},
	{"a loop that is not there", "/loops/none", nil},
	{"a list that is asked for wrongly", "/loops?state=happy", nil},
	{"a letter in the clear, to be edited", "/dead-letters/1", steps(write(`#body input[name="why"]`, "which account"), press("Show personal fields"), chromedp.WaitVisible(chromedp.CSS("#mend")))},
	{"a letter edited wrongly", "/dead-letters/1", steps(
		write(`#body input[name="why"]`, "which account"), press("Show personal fields"),
		write(`#mend textarea`, `{"responseId": 7}`), press("Check"), chromedp.WaitVisible(chromedp.CSS(`#mend .error`)),
	)},
	{"the preview of a change", "/dead-letters", change},
	{"a change that keeps no contract", "/dead-letters", slices.Concat(change, steps(
		write(`input[name="field"]`, "acountId"), press("Preview"), chromedp.WaitVisible(chromedp.Search(`//caption[starts-with(., "Why bodies")]`)),
	))},
	{"a change that is asked for wrongly", "/dead-letters", slices.Concat(change, steps(
		chromedp.Clear(chromedp.CSS(`input[name="field"]`)), press("Preview"), chromedp.WaitVisible(chromedp.CSS(`[role="alert"]`)),
	))},
	{"a job that waits", "/dead-letters", slices.Concat(change, sample)},
	{"jobs", "/dead-letters/jobs", nil},
	{"a change of the rules", "/rules", slices.Concat(tried, steps(headed("What the change would do")))},
	{"rules that cannot be read", "/rules", steps(rewrite(`when:`, `whn:`), write(`#try input[name="why"]`, "fewer questions"), press("Try"), headed("The change cannot be tried"))},
	{"operations", "/operations", nil},
	{"an erasure that is asked for wrongly", "/erasures", steps(
		write(`#ask input[name="why"]`, "asked by letter, file 17"), chromedp.Click(chromedp.CSS(`#ask input[name="sure"]`)),
		press("Forget this person"), chromedp.WaitVisible(chromedp.CSS(`#ask .error`)),
	)},
	{"an erasure", "/erasures", erased},
	{"erasures", "/erasures", nil},
}

func steps(all ...chromedp.Action[chromedp.Void]) []chromedp.Action[chromedp.Void] { return all }

// change leads from the dead letters to the preview of a change in those of one cause.
var change = steps(
	chromedp.Click(chromedp.Search(`//section[@id="causes"]//tr[contains(., "accountId")]//a`)), press("Edit and replay all"),
	write(`input[name="value"]`, "1000123"), press("Preview"), chromedp.WaitVisible(chromedp.CSS("#preview")),
)

// sample replays one of them first.
var sample = steps(write(`input[name="why"]`, "The survey had the accounts of last year"), press("Replay one first"), chromedp.WaitVisible(chromedp.CSS("#continue")))

// tried changes the rules, and tries that.
var tried = steps(rewrite(`"Delivery too late"`, `"Wrong price"`), write(`#try input[name="why"]`, "The survey asks otherwise from May"), press("Try"))

// erased asks for somebody who was never heard of to be forgotten, and waits for the receipt.
var erased = steps(
	write(`#ask input[name="email"]`, "nobody@example.com"), write(`#ask input[name="why"]`, "asked by letter, file 17"),
	chromedp.Click(chromedp.CSS(`#ask input[name="sure"]`)), press("Forget this person"), headed("Erasure "),
	chromedp.WaitVisible(chromedp.Search(`//section[@id="standing"]//*[contains(@class, "notice") and contains(., "done")]`)),
)

// rewrite changes the rules that are to be tried.
func rewrite(old, fresh string) chromedp.Action[chromedp.Void] {
	return chromedp.Evaluate[chromedp.Void]("{const t = document.querySelector('textarea[name=source]'); t.value = t.value.replace('" + old + "', '" + fresh + "')}")
}

// examine holds the page that is open against the rules, in each theme and wide and narrow.
func (in *installation) examine(name string) {
	in.t.Helper()
	for _, theme := range []browsertest.Theme{browsertest.Light, browsertest.Dark} {
		for _, width := range []int64{1280, 320} {
			in.do(name, browsertest.Look(width, 900, theme))
			violations, err := a11y.Check(in.ctx)
			if err == nil && theme == browsertest.Light { // the way of the keyboard is the same in the dark
				var walked []a11y.Violation
				walked, err = a11y.Walk(in.ctx)
				violations = append(violations, walked...)
			}
			if err != nil {
				in.t.Fatalf("%s: %v", name, err)
			}
			for _, v := range violations {
				in.t.Errorf("%s (%d px, %s): %s", name, width, theme, v)
			}
		}
	}
}

var (
	particular = regexp.MustCompile(`/[^/]*[0-9][^/]*`)
	ours       = regexp.MustCompile(`^/(loops|numbers|vendors|dead-letters|rules|operations|erasures)(/|$)`)
)

// kind is what pages that differ only in what they are about have in common: the path without ids, and whether it selects
// something.
func kind(path string) string {
	u, err := url.Parse(path)
	if err != nil {
		return path
	}
	selects := ""
	if u.RawQuery != "" {
		selects = "?"
	}
	return particular.ReplaceAllString(u.Path, "/{id}") + selects
}

// each opens one page of each kind that links lead to.
func (in *installation) each(visit func(kind string)) (kinds []string) {
	in.t.Helper()
	for waiting := []string{"/loops"}; len(waiting) > 0; waiting = waiting[1:] {
		path := waiting[0]
		if slices.Contains(kinds, kind(path)) {
			continue
		}
		kinds = append(kinds, kind(path))
		in.open(path)
		waiting = append(waiting, in.links()...)
		visit(kind(path))
	}
	return kinds
}

// links are the pages of the console that the page leads to.
func (in *installation) links() (paths []string) {
	in.t.Helper()
	all := ask(in, "the links", chromedp.Evaluate[[]string](
		`[...document.querySelectorAll("a[href]:not([download])")].filter(a => a.origin === location.origin).map(a => a.pathname + a.search)`))
	for _, path := range all {
		if u, err := url.Parse(path); err == nil && ours.MatchString(u.Path) && !u.Query().Has("format") {
			paths = append(paths, path)
		}
	}
	return paths
}
