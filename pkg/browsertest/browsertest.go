// Package browsertest gives tests a browser without a window, to see a page as a person does. It is a module of its
// own, so that the browser's protocol stays out of everybody's go.mod.
package browsertest

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/closeloop/closeloop/pkg/needs"
)

// limit ends what waits for something that never appears on the page, before the whole test run does.
const limit = time.Minute

// New starts a browser with an empty profile and gives the context of its first tab, for [chromedp.Do] and [chromedp.Run]. The context
// ends after a minute, the browser with the test. Where no Chromium or Chrome can be started the test skips with the
// reason, or fails when CLOSELOOP_REQUIRE names browser.
func New(t testing.TB) context.Context {
	t.Helper()
	return NewFor(t, limit)
}

// NewFor is [New] for a test that opens many pages: the context ends after that time.
func NewFor(t testing.TB, limit time.Duration) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.DisableGPU,
		// Root, as which containers and CI run, has no sandbox; only pages of our own are opened.
		chromedp.NoSandbox,
		// Besides background networking, which the defaults switch off already: nothing leaves this machine.
		chromedp.Flag("disable-component-update", true),
		// Has elements tell the names and roles that screen readers are told, for package a11y.
		chromedp.Flag("enable-blink-features", "ComputedAccessibilityInfo"),
	)
	// The test's own context ends before its clean-up, in which the browser closes as a person closes it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		needs.Missing(t, "browser", "no Chromium or Chrome could be started: "+err.Error())
	}
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) }) // a browser that is gone already is as good
	return ctx
}

// Theme of a page.
type Theme string

// The themes that a page may have.
const (
	Light Theme = "light"
	Dark  Theme = "dark"
)

// Look has the browser show its pages in a window of that size and in that theme, from now on.
func Look(width, height int64, theme Theme) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(
		chromedp.EmulateViewport(width, height),
		chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
				Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: string(theme)}},
			})
			return err
		}),
	)
}
