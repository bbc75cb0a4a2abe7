package a11y_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/closeloop/closeloop/pkg/browsertest"
	"github.com/closeloop/closeloop/pkg/browsertest/a11y"
)

const good = `<!doctype html>
<html lang="en">
<head>
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Loops</title>
<style>
:root { color-scheme: light dark; --ink: #222; --quiet: #595959; --accent: #0645ad }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --quiet: #b5b5b5; --accent: #9cc2ff } }
body { color: var(--ink); margin: 1rem }
a { color: var(--accent) }
.quiet { color: var(--quiet) }
.skip { position: absolute; left: -999px }
.skip:focus { left: 0; background: Canvas }
.wide { overflow-x: auto }
table { min-width: 900px }
::placeholder { color: var(--quiet); opacity: 1 }
nav li { display: inline-block; padding: 0.5rem }
text { fill: var(--ink) }
.dark { background: #222; color: #fff; padding: 4px }
button { min-height: 28px }
</style>
</head>
<body>
<a class="skip" href="#main">Skip to content</a>
<header><nav aria-label="Console"><ul><li><a href="/loops">Loops</a></li><li><a href="/numbers">Numbers</a></li></ul></nav></header>
<main id="main">
<h1>Loops</h1>
<p class="quiet">Everything that happened. <a href="/more">More</a> is to be read elsewhere.</p>
<p class="dark"><span>Light on dark</span></p>
<form>
  <label for="order">Order</label> <input id="order" name="order" placeholder="4711" aria-describedby="hint"><span id="hint">its number</span>
  <label>From <input type="date" name="from"></label>
  <fieldset><legend>State</legend><label><input type="radio" name="s" value="a"> open</label> <label><input type="radio" name="s" value="b"> closed</label></fieldset>
  <button>Find</button>
</form>
<h2>Found</h2>
<div class="wide" tabindex="0" role="region" aria-label="Found"><table><caption>Loops</caption>
<thead><tr><th scope="col">Order</th><th scope="col">State</th></tr></thead><tbody><tr><th scope="row"><a href="/loops/1">4711</a></th><td>open</td></tr></tbody></table></div>
<p role="status" aria-live="polite">1 found</p>
<svg role="img" aria-labelledby="chart" width="100" height="40"><title id="chart">Loops by hour</title><rect width="100" height="40" fill="#222"/><text x="5" y="20" style="fill:#fff">three</text></svg>
<img alt="" width="8" height="8" src="data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==">
</main>
</body>
</html>`

// page serves a page until the test ends, and gives its address.
func page(t *testing.T, content string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, content) }))
	t.Cleanup(server.Close)
	return server.URL
}

func check(ctx context.Context, t *testing.T, url string) []a11y.Violation {
	t.Helper()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	violations, err := a11y.Check(ctx)
	if err != nil {
		t.Fatal(err)
	}
	walked, err := a11y.Walk(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return append(violations, walked...)
}

var looks = []struct {
	width int64
	theme browsertest.Theme
}{{1280, browsertest.Light}, {1280, browsertest.Dark}, {320, browsertest.Light}, {320, browsertest.Dark}}

func TestAGoodPageHasNoBarriers(t *testing.T) {
	ctx := browsertest.New(t)
	url := page(t, good)
	for _, look := range looks {
		if err := chromedp.Do(ctx, browsertest.Look(look.width, 800, look.theme)); err != nil {
			t.Fatal(err)
		}
		for _, v := range check(ctx, t, url) {
			t.Errorf("%d px, %s: %s", look.width, look.theme, v)
		}
	}
}

func TestEachBarrierIsFound(t *testing.T) {
	faults := []struct {
		name, rule string
		old, fault string
		width      int64
		theme      browsertest.Theme
	}{
		{name: "no language", rule: "language", old: `<html lang="en">`, fault: `<html>`},
		{name: "no title", rule: "title", old: `<title>Loops</title>`, fault: `<title> </title>`},
		{name: "no enlarging", rule: "zoom", old: `initial-scale=1"`, fault: `initial-scale=1, user-scalable=no"`},
		{name: "no heading", rule: "one h1", old: `<h1>Loops</h1>`, fault: `<p>Loops</p>`},
		{name: "two headings", rule: "one h1", old: `<h2>Found</h2>`, fault: `<h1>Found</h1>`},
		{name: "a level is left out", rule: "heading order", old: `<h2>Found</h2>`, fault: `<h3>Found</h3>`},
		{name: "an empty heading", rule: "heading", old: `<h2>Found</h2>`, fault: `<h2></h2>`},
		{name: "no main", rule: "one main", old: `<main id="main">`, fault: `<section id="main" aria-label="All">`},
		{name: "two navigations without names", rule: "navigation name", old: `<h2>Found</h2>`, fault: `<nav><a href="/2">Next page</a></nav><h2>Found</h2>`},
		{name: "text outside of landmarks", rule: "landmark", old: `</main>`, fault: `</main><p>Version 1</p>`},
		{name: "no skip link", rule: "skip link", old: `<a class="skip" href="#main">Skip to content</a>`},
		{name: "a skip link to nowhere", rule: "skip link", old: `<a class="skip" href="#main">`, fault: `<a class="skip" href="#mian">`},
		{name: "a field without a label", rule: "label", old: `<label for="order">Order</label>`, fault: `Order`},
		{name: "a button without a name", rule: "button name", old: `<button>Find</button>`, fault: `<button><svg aria-hidden="true" width="9" height="9"></svg></button>`},
		{name: "a link without a name", rule: "link name", old: `<a href="/more">More</a>`, fault: `<a href="/more"><svg aria-hidden="true" width="9" height="9"></svg></a>`},
		{name: "an image without a text", rule: "image name", old: `<img alt=""`, fault: `<img`},
		{name: "a drawing without a role", rule: "image name", old: `<svg role="img"`, fault: `<svg`},
		{name: "a drawing without a name", rule: "image name", old: `<title id="chart">Loops by hour</title>`},
		{name: "choices without a question", rule: "group name", old: `<fieldset><legend>State</legend>`, fault: `<div>`},
		{name: "no caption", rule: "table caption", old: `<caption>Loops</caption>`},
		{name: "a head cell of nothing", rule: "table scope", old: `<th scope="col">State</th>`, fault: `<th>State</th>`},
		{name: "something else in a list", rule: "list", old: `<li><a href="/numbers">Numbers</a></li>`, fault: `<a href="/numbers">Numbers</a>`},
		{name: "an id twice", rule: "duplicate id", old: `<h2>`, fault: `<h2 id="order">`},
		{name: "described by nothing", rule: "reference", old: `aria-describedby="hint"`, fault: `aria-describedby="tip"`},
		{name: "a shout", rule: "live region", old: `aria-live="polite"`, fault: `aria-live="assertive"`},
		{name: "pale text", rule: "contrast", old: `--quiet: #595959`, fault: `--quiet: #999`},
		{name: "dark text in the dark theme", rule: "contrast", old: `--quiet: #b5b5b5`, fault: `--quiet: #595959`, theme: browsertest.Dark},
		{name: "text that fades", rule: "contrast", old: `<p class="quiet">`, fault: `<p class="quiet" style="opacity: 0.6">`},
		{name: "dark on a dark box", rule: "contrast", old: `color: #fff; padding`, fault: `color: #666; padding`},
		{name: "dark on a dark bar", rule: "contrast", old: `style="fill:#fff"`, fault: `style="fill:#555"`},
		{name: "a pale placeholder", rule: "contrast", old: `</style>`, fault: `::placeholder { color: #aaa }</style>`},
		{name: "a pale value", rule: "contrast", old: `placeholder="4711"`, fault: `value="4711" style="color: #aaa; background: #fff"`},
		{name: "a page too wide", rule: "sideways", old: `<div class="wide" tabindex="0"`, fault: `<div tabindex="0"`, width: 320},
		{name: "scrolled by mouse alone", rule: "scrolling", old: `<p class="dark">`, fault: `<p class="dark" style="width: 5rem; overflow-x: auto; white-space: nowrap">`},
		{name: "scrolled without a name", rule: "scrolling", old: `role="region" aria-label="Found"`, fault: `role="group"`, width: 320},
		{name: "an order of its own", rule: "tab order", old: `<button>`, fault: `<button tabindex="3">`},
		{name: "a target too small", rule: "target size", old: `<button>Find</button>`, fault: `<button style="min-height: 0; height: 12px; width: 12px; padding: 0">+</button><button style="min-height: 0; height: 12px; width: 12px; padding: 0">-</button>`},
		{name: "no focus to be seen", rule: "focus visible", old: `</style>`, fault: `a:focus, button:focus { outline: none }</style>`},
		{name: "focus goes up", rule: "focus order", old: `main id="main"`, fault: `main id="main" style="display: flex; flex-direction: column-reverse"`},
		{name: "focus goes left", rule: "focus order", old: `<nav aria-label="Console"><ul>`, fault: `<nav aria-label="Console"><ul style="display: flex; flex-direction: row-reverse">`},
		{name: "hidden and reachable", rule: "hidden focus", old: `<p class="quiet">`, fault: `<p class="quiet" aria-hidden="true">`},
		{name: "out of the keyboard's reach", rule: "keyboard", old: `<p class="dark">`, fault: `<p class="dark" onclick="location = '/x'">`},
		{name: "a trap", rule: "keyboard", old: `<button>`, fault: `<button onkeydown="event.preventDefault()">`},
	}
	ctx := browsertest.NewFor(t, 3*time.Minute)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			if strings.Count(good, f.old) == 0 {
				t.Fatalf("the good page has no %s", f.old)
			}
			if f.width == 0 {
				f.width = 1280
			}
			if f.theme == "" {
				f.theme = browsertest.Light
			}
			if err := chromedp.Do(ctx, browsertest.Look(f.width, 800, f.theme)); err != nil {
				t.Fatal(err)
			}
			violations := check(ctx, t, page(t, strings.Replace(good, f.old, f.fault, 1)))
			for _, v := range violations {
				if v.Rule == f.rule {
					return
				}
			}
			t.Errorf("%s is not found; there is %q", f.rule, violations)
		})
	}
}
