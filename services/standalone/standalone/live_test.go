package standalone_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go"
)

// complaints publishes feedback that begins loops of those numbers, and fails: about accounts that there are not.
func (in *installation) complaints(from, to int) {
	in.t.Helper()
	for n := from; n <= to; n++ {
		m := nats.NewMsg(late)
		m.Header.Set("ce-loopid", fmt.Sprint("L-", n))
		m.Data = fmt.Appendf(nil, `{"responseId":"R_%d","subject":"Check","text":"Wanted earlier","accountId":"47%04d","contactId":"1000456"}`, n, n)
		if _, err := in.js.PublishMsg(in.t.Context(), m); err != nil {
			in.t.Fatal(err)
		}
	}
}

// isTrue waits until the page says so of something.
func (in *installation) isTrue(what, expression string) {
	in.t.Helper()
	eventually(in.t, what, time.Minute, func() bool { return ask(in, what, chromedp.Evaluate[bool](expression)) })
}

// TestALiveListIsWhatItWouldBeIfItWereLoaded whatever goes past between two looks, and takes nobody the focus.
func TestALiveListIsWhatItWouldBeIfItWereLoaded(t *testing.T) {
	const list, rows = "/loops?limit=5", 5
	in := install(t, 0, 3*time.Minute)
	in.open(list + "&state=failed")
	in.isTrue("nothing is listed", `document.querySelector(".empty:not([hidden])")?.textContent === "There are none."`)
	in.complaints(1, 1)
	in.isTrue("the first is listed", `!!document.getElementById("loop-L-1") && document.querySelector(".empty").hidden`)

	in.complaints(2, 3)
	in.open(list)
	in.isTrue("three are listed", `document.querySelectorAll("#loops-rows tr").length === 3`)
	in.do("taking the focus", chromedp.Evaluate[chromedp.Void](
		`window.untouched = true; document.querySelector("#loop-L-3 a").focus()`))
	in.complaints(4, 5)
	in.isTrue("two more are listed above it", `document.getElementById("loops-rows").children[2]?.id === "loop-L-3"`)
	in.isTrue("the focus is where it was", `document.activeElement.closest("tr")?.id === "loop-L-3"`)

	in.complaints(6, 60)
	var page struct {
		Loops []struct{ LoopID string }
		Next  string
	}
	eventually(t, "the list is what it would be", time.Minute, func() bool {
		if !get(t.Context(), in.address+list, &page) || len(page.Loops) != rows || page.Loops[0].LoopID != "L-60" {
			return false
		}
		var ids []string
		for _, l := range page.Loops {
			ids = append(ids, "loop-"+l.LoopID)
		}
		shown := ask(in, "the rows", chromedp.Evaluate[string](`[...document.getElementById("loops-rows").children].map((row) => row.id).join(" ")`))
		return shown == strings.Join(ids, " ")
	})
	in.isTrue("its next page begins behind it", `new URL(document.querySelector("#loops-pager a[rel=next]").href).searchParams.get("before") === "`+page.Next+`"`)
	in.isTrue("the focus has not gone to the beginning of the page", `document.activeElement.matches(".scroll")`)
	in.isTrue("the page was not loaded anew", `window.untouched === true`)
}

// TestALivePageThatIsRefusedSaysSoAndTriesAgain as behind an ingress whose console is started anew.
func TestALivePageThatIsRefusedSaysSoAndTriesAgain(t *testing.T) {
	in := install(t, 0, 3*time.Minute)
	behind, err := url.Parse(in.address)
	if err != nil {
		t.Fatal(err)
	}
	var down atomic.Bool
	forward := httputil.NewSingleHostReverseProxy(behind)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "no console is there", http.StatusBadGateway)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		down.Store(true)
		proxy.CloseClientConnections() // Close waits for those that are open, and the page would hold its own
		proxy.Close()
	})
	in.address = proxy.URL
	in.open("/loops")
	in.complaints(1, 1)
	in.isTrue("the page is kept up to date", `!!document.getElementById("loop-L-1")`)
	in.isTrue("nothing is told", `document.querySelector("main [role=status].stale").textContent === ""`)

	in.do("waiting shorter", chromedp.Evaluate[chromedp.Void](`window.untouched = true; document.getElementById("main").dataset.again = "0.2"`))
	down.Store(true)
	proxy.CloseClientConnections()
	in.isTrue("it says that it is not", `document.querySelector("main [role=status].stale").textContent === "Not kept up to date, trying again."`)
	in.complaints(2, 2)
	down.Store(false)
	in.isTrue("it is again", `!!document.getElementById("loop-L-2") && document.querySelector(".stale").textContent === ""`)
	in.isTrue("the page was not loaded anew", `window.untouched === true`)
}

// TestALivePageWhoseSessionIsOverLeadsToSignIn and back to where somebody was.
func TestALivePageWhoseSessionIsOverLeadsToSignIn(t *testing.T) {
	in := install(t, 0, 3*time.Minute, credentials...)
	in.open("/loops?state=failed")
	in.signIn("Loops")
	in.complaints(1, 1)
	in.isTrue("the page is kept up to date", `!!document.getElementById("loop-L-1")`)
	in.do("signing out in another window", chromedp.Evaluate[chromedp.Void](`void fetch("/sign-out", { method: "POST" })`))
	in.isTrue("it says so", `document.querySelector("main [role=status].stale").textContent === "Not kept up to date, you are signed out: sign in"`)
	in.do("following", chromedp.Click(chromedp.CSS(".stale a")))
	in.signIn("Loops")
	in.isTrue("the same page", `location.search === "?state=failed" && !!document.getElementById("loop-L-1")`)
}
