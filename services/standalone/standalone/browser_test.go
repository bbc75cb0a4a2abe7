package standalone_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// TestANewUserFollowsALoopAndClosesIt goes the whole way: from the list of loops to one whose mail is out, to the mail and its
// survey in the simulated landscape, and back on the loop's page, which was not touched meanwhile, to the task that followed.
func TestANewUserFollowsALoopAndClosesIt(t *testing.T) {
	in := install(t, 4, 3*time.Minute, "LANDSCAPE_PEOPLE=off")
	in.open("/")
	in.do("looking for a cart whose mail is out",
		chromedp.Click(chromedp.CSS(`#more-filters summary`)),
		chromedp.SendKeys(chromedp.CSS(`input[name="survey"]`), "SV_cart"),
		chromedp.Click(chromedp.Search(`//form[@role="search"]//button[.="Show"]`)),
		chromedp.Click(chromedp.Search(`//tbody[@id="loops-rows"]/tr[td[.="mailed"]]//a`)),
		chromedp.WaitVisible(chromedp.Search(`//h1[starts-with(., "Loop ")]`)),
		chromedp.Evaluate[chromedp.Void](`window.untouched = true`),
	)
	loop := in.location()
	mail, err := chromedp.Run(in.ctx, chromedp.JavascriptAttribute[string](chromedp.CSS(`a[href*="/landscape/mail/"]`), "href"))
	if err != nil {
		t.Fatalf("no link leads to the mail: %v\n%s", err, in.seen())
	}

	beside, closeTab := chromedp.NewContext(in.ctx)
	defer closeTab()
	if err := chromedp.Do(beside,
		chromedp.Navigate(mail),
		chromedp.Click(chromedp.CSS(`a[href*="/jfe/form/SV_cart"]`)),
		chromedp.Click(chromedp.Search(`//label[contains(., "Delivery too late")]//input`)),
		chromedp.Click(chromedp.CSS(`input[name="QID2"][value="1"]`)), // a contact is wanted
		chromedp.Click(chromedp.CSS(`button[type="submit"]`)),
		chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "Thank you")]`)),
	); err != nil {
		t.Fatal(err)
	}

	in.do("waiting for the task", chromedp.WaitVisible(chromedp.CSS(`a[href*="/landscape/tasks/"]`)))
	if untouched, err := chromedp.Run(in.ctx, chromedp.Evaluate[bool](`window.untouched === true`)); err != nil || !untouched || in.location() != loop {
		t.Errorf("the page was loaded anew: %v", err)
	}
	in.do("opening the task",
		chromedp.Click(chromedp.CSS(`a[href*="/landscape/tasks/"]`)),
		chromedp.WaitVisible(chromedp.Search(`//h1[contains(., "Check Delivery Time")]`)),
	)
}

// TestAGroupOfFiftyDeadLettersIsEditedAndReplayed mends fifty letters of one cause at once: one first, to see what comes of it, and
// then the rest.
func TestAGroupOfFiftyDeadLettersIsEditedAndReplayed(t *testing.T) {
	const letters = 50
	in := install(t, 0, 3*time.Minute, credentials...)
	in.refused(letters)
	in.dead(letters)

	in.open("/dead-letters")
	in.signIn("Dead letters")
	in.do("choosing what to do",
		chromedp.Click(chromedp.CSS(`#causes tbody a`)),
		chromedp.Click(chromedp.Search(`//a[.="Edit and replay all"]`)),
		chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//h1[.="Edit and replay %d dead letters"]`, letters))),
	)
	if field, err := chromedp.Run(in.ctx, chromedp.Value(chromedp.CSS(`input[name="field"]`))); err != nil || field != "accountId" {
		t.Errorf("the field to change is %q, %v", field, err)
	}
	in.do("looking at the change",
		chromedp.SendKeys(chromedp.CSS(`input[name="value"]`), "1000123"),
		chromedp.Click(chromedp.Search(`//button[.="Preview"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#preview`)),
	)
	if text := in.text("#preview"); !strings.Contains(text, fmt.Sprintf("%d of %[1]d bodies", letters)) || !strings.Contains(text, `"1000123"`) {
		t.Errorf("the preview says: %s", text)
	}
	in.do("replaying one",
		chromedp.SendKeys(chromedp.CSS(`input[name="why"]`), "the survey had the accounts of last year"),
		chromedp.Click(chromedp.Search(`//button[.="Replay one first"]`)),
		chromedp.WaitVisible(chromedp.CSS(`#continue`)),
	)
	in.tasks(1)
	in.do("replaying the rest",
		chromedp.Click(chromedp.Search(fmt.Sprintf(`//button[.="Replay all the rest (%d)"]`, letters-1))),
		chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//section[@id="progress"][contains(., "%d of %[1]d looked at") and contains(., "It is done.")]`, letters))),
	)
	in.tasks(letters)
	in.open("/dead-letters")
	if text := in.text("#letters"); !strings.Contains(text, "0 letters") {
		t.Errorf("letters are left: %s", text)
	}
}

// dead waits until so many letters have ever been there.
func (in *installation) dead(letters uint64) {
	in.t.Helper()
	stream, err := in.js.Stream(in.t.Context(), topology.DeadLetters)
	if err != nil {
		in.t.Fatal(err)
	}
	eventually(in.t, fmt.Sprintf("%d dead letters", letters), time.Minute, func() bool {
		info, err := stream.Info(in.t.Context())
		return err == nil && info.State.LastSeq >= letters
	})
}

// tasks waits until SAP Sales Cloud holds so many tasks, of which no two are about the same answer.
func (in *installation) tasks(wanted int) {
	in.t.Helper()
	var books landscape.Books
	eventually(in.t, fmt.Sprintf("%d tasks", wanted), time.Minute, func() bool {
		return get(in.t.Context(), in.address+"/landscape/books.json", &books) && len(books.SalesCloud.Tasks) >= wanted
	})
	about := map[string]int{}
	for _, task := range books.SalesCloud.Tasks {
		_, reference, found := strings.Cut(task.Subject, "[")
		if !found || task.AccountID != "1000123" {
			in.t.Errorf("task %q is for account %s", task.Subject, task.AccountID)
		}
		if about[reference]++; about[reference] > 1 {
			in.t.Errorf("%d tasks are about %s", about[reference], reference)
		}
	}
	if len(about) != wanted {
		in.t.Errorf("%d tasks, want %d", len(about), wanted)
	}
}
