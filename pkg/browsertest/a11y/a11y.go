// Package a11y finds barriers on a page: what keeps people out who use a keyboard, a screen reader, large print or a narrow
// window. It looks at the page as the browser shows it, with the names and roles that the browser gives to screen readers, and
// goes through it with the Tab key. The rules are those of WCAG 2.2 at level AA that a program can decide, and some of our own.
package a11y

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

//go:embed audit.js
var script string

// object is where the script's functions are found on a page.
const object = "closeloopA11y"

// Violation is one barrier.
type Violation struct {
	// Rule that it breaks, in a word or two.
	Rule string `json:"rule"`
	// Element names where on the page it is, "" for the page itself.
	Element string `json:"element"`
	// Problem is what is wrong there.
	Problem string `json:"problem"`
}

// String says all of it in a line.
func (v Violation) String() string {
	if v.Element == "" {
		return fmt.Sprintf("%s: %s", v.Rule, v.Problem)
	}
	return fmt.Sprintf("%s: %s (%s)", v.Rule, v.Problem, v.Element)
}

// Check examines the page that the browser of [browsertest.New] shows, as wide and in the theme as it is now: the page as it
// lies there first, then every stop of the Tab key. It leaves the focus somewhere.
func Check(ctx context.Context) ([]Violation, error) {
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void]("void (window."+object+" = "+strings.TrimSpace(uncommented(script))+")")); err != nil {
		return nil, fmt.Errorf("the script of the check: %w", err)
	}
	lying, err := chromedp.Run(ctx, chromedp.Evaluate[[]Violation](object+".audit()"))
	if err != nil {
		return nil, fmt.Errorf("the check: %w", err)
	}
	walked, err := walk(ctx)
	return append(lying, walked...), err
}

// uncommented is the script from its expression on.
func uncommented(script string) string { return script[strings.Index(script, "(()"):] }

// partsOfAField is the largest number of stops within one field: those of a date with a time.
const partsOfAField = 9

// walk goes through the page with the Tab key until it is at the end.
func walk(ctx context.Context) ([]Violation, error) {
	stops, err := chromedp.Run(ctx, chromedp.Evaluate[int](object+".walk()"))
	if err != nil {
		return nil, err
	}
	more := true
	for range stops*partsOfAField + 1 {
		if err := chromedp.Do(ctx, chromedp.KeyEvent(kb.Tab)); err != nil {
			return nil, err
		}
		if more, err = chromedp.Run(ctx, chromedp.Evaluate[bool](object+".step()")); err != nil {
			return nil, err
		}
		if !more {
			break
		}
	}
	violations, err := chromedp.Run(ctx, chromedp.Evaluate[[]Violation](object+".arrived()"))
	if more && stops > 0 {
		violations = append(violations, Violation{Rule: "keyboard", Problem: "Tab never comes to the end of the page"})
	}
	return violations, err
}
