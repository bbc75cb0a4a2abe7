package browsertest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/closeloop/closeloop/pkg/browsertest"
)

const form = `<!doctype html><title>Survey</title>
<form method="post"><input name="answer" id="answer"><button id="send">Send</button></form>`

func TestAPersonAnswersAForm(t *testing.T) {
	ctx := browsertest.New(t)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			fmt.Fprintf(w, `<!doctype html><p id="thanks">Thank you for %q</p>`, r.FormValue("answer"))
			return
		}
		fmt.Fprint(w, form)
	}))
	t.Cleanup(page.Close)

	if err := chromedp.Do(ctx, chromedp.Navigate(page.URL)); err != nil {
		t.Fatal(err)
	}
	title, err := chromedp.Run(ctx, chromedp.Title())
	if err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Do(ctx, chromedp.SendKeys(chromedp.CSS("#answer"), "5"), chromedp.Click(chromedp.CSS("#send"))); err != nil {
		t.Fatal(err)
	}
	thanks, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("#thanks")))
	if err != nil {
		t.Fatal(err)
	}
	if title != "Survey" || thanks != `Thank you for "5"` {
		t.Errorf("title %q, thanks %q", title, thanks)
	}
}
