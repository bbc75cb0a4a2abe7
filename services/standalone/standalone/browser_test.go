package standalone_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/closeloop/closeloop/pkg/browsertest"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// TestAPersonClosesALoopInTheBrowser reads a mail, opens its survey, answers "Delivery too late", and watches the task
// appear on the page without touching it again.
func TestAPersonClosesALoopInTheBrowser(t *testing.T) {
	ctx := browsertest.New(t)
	address := freeAddress(t)
	launch(t, "standalone", "DATA_DIR="+t.TempDir(), "HTTP_ADDR="+address, "STANDALONE_NATS_PORT=-1", "STANDALONE_CAMPAIGN=4", "LANDSCAPE_PEOPLE=off")
	var mail string
	eventually(t, "the mail about a cart is out", time.Minute, func() bool {
		var books landscape.Books
		if !get(t.Context(), "http://"+address+"/landscape/books.json", &books) {
			return false
		}
		for _, m := range books.Marketing.Mails {
			if strings.Contains(m.Link, "SV_cart") {
				mail = m.ID
			}
		}
		return mail != ""
	})

	err := chromedp.Do(ctx,
		chromedp.Navigate("http://"+address+"/landscape/mail/"+mail),
		chromedp.Click(chromedp.CSS(`a[href*="/jfe/form/SV_cart"]`)),
		chromedp.Click(chromedp.CSS(`input[name="QID1"][value="1"]`)),
		chromedp.Click(chromedp.CSS(`input[name="QID2"][value="1"]`)),
		chromedp.Click(chromedp.CSS(`button[type="submit"]`)),
		chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "Thank you")]`)),
		chromedp.Navigate("http://"+address+"/landscape/"),
		chromedp.WaitVisible(chromedp.CSS(`#task-list table`)),
	)
	if err != nil {
		t.Fatal(err)
	}
	tasks, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("#task-list")))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(tasks, "Check Delivery Time") {
		t.Errorf("the task is not about the delivery:\n%s", tasks)
	}
}
