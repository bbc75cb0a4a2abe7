// Package a11y finds barriers on a page: what keeps people out who use a keyboard, a screen reader, large print or a narrow
// window. It looks at the page as the browser shows it, with the names and roles that the browser gives to screen readers. The rules are those of WCAG 2.2 at level AA that a program can decide, and some of our own.
package a11y

import (
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
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

// Check examines the page that the browser of [browsertest.New] shows, as wide and in the theme as it is now: the page as it is,
// and each thing on it that takes the focus.
func Check(ctx context.Context) ([]Violation, error) {
	if err := load(ctx); err != nil {
		return nil, err
	}
	return chromedp.Run(ctx, chromedp.Evaluate[[]Violation](object+".audit()"))
}

// load brings the script onto the page, and has the browser take its window for the one that is in front: elsewhere nothing has the
// focus.
func load(ctx context.Context) error {
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		return err
	}
	expression := script[strings.Index(script, "(()"):]
	if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void]("void (window."+object+" = "+expression+")")); err != nil {
		return fmt.Errorf("the script of the check: %w", err)
	}
	return nil
}

// partsOfAField is the largest number of stops within one field: those of a date with a time.
const partsOfAField = 9

// Walk goes through the page with the Tab key from its top to its end: everything is to be reached, in the order in which it is
// read. It leaves the focus at the end.
func Walk(ctx context.Context) ([]Violation, error) {
	if err := load(ctx); err != nil {
		return nil, err
	}
	stops, err := chromedp.Run(ctx, chromedp.Evaluate[int](object+".walk()"))
	if err != nil {
		return nil, err
	}
	more := true
	for left := stops*partsOfAField + 1; more && left > 0; left-- {
		if err := chromedp.Do(ctx, chromedp.Func(tab)); err != nil {
			return nil, err
		}
		if more, err = chromedp.Run(ctx, chromedp.Evaluate[bool](object+".step()")); err != nil {
			return nil, err
		}
	}
	violations, err := chromedp.Run(ctx, chromedp.Evaluate[[]Violation](object+".arrived()"))
	if more {
		violations = append(violations, Violation{Rule: "keyboard", Problem: "Tab never comes to the end of the page"})
	}
	return violations, err
}

// tab presses the key, and lets it go; pages do nothing when it is let go, so nothing waits for that.
func tab(ctx context.Context, t *chromedp.Target) error {
	_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, input.DispatchKeyEventParams{
		Type: input.DispatchKeyEventTypeRawKeyDown, Key: "Tab", Code: "Tab", WindowsVirtualKeyCode: 9, NativeVirtualKeyCode: 9,
	})
	return err
}
