package standalone_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// TestANewUserFollowsALoopAndClosesIt goes the whole way: from the list of loops to one whose mail is out, to the mail and its
// survey in the simulated landscape, and back on the loop's page, which was not touched meanwhile, to the task that followed.
func TestANewUserFollowsALoopAndClosesIt(t *testing.T) {
	in := install(t, 4, 3*time.Minute, "LANDSCAPE_PEOPLE=off")
	in.open("/")
	in.do("looking for a cart whose mail is out",
		chromedp.Click(chromedp.CSS(`#more-filters summary`)),
		chromedp.SendKeys(chromedp.CSS(`input[name="survey"]`), "SV_cart"),
		press("Show"),
		chromedp.Click(chromedp.Search(`//tbody[@id="loops-rows"]/tr[td[.="mailed"]]//a`)),
		headed("Loop "),
		chromedp.Evaluate[chromedp.Void](`window.untouched = true`),
	)
	loop := ask(in, "the loop's address", chromedp.Location())
	mail := ask(in, "the link to the mail", chromedp.JavascriptAttribute[string](chromedp.CSS(`a[href*="/landscape/mail/"]`), "href"))

	beside, closeTab := chromedp.NewContext(in.ctx)
	defer closeTab()
	if err := chromedp.Do(beside,
		chromedp.Navigate(mail),
		chromedp.Click(chromedp.CSS(`a[href*="/jfe/form/SV_cart"]`)),
		chromedp.Click(chromedp.Search(`//label[contains(., "Delivery too late")]//input`)),
		chromedp.Click(chromedp.CSS(`input[name="QID2"][value="1"]`)), // a contact is wanted
		chromedp.Click(chromedp.CSS(`button[type="submit"]`)),
		headed("Thank you"),
	); err != nil {
		t.Fatal(err)
	}

	const task = `a[href*="/landscape/tasks/"]`
	in.do("waiting for the task", chromedp.WaitVisible(chromedp.CSS(task)))
	if !ask(in, "the mark", chromedp.Evaluate[bool](`window.untouched === true`)) || ask(in, "the address", chromedp.Location()) != loop {
		t.Error("the page was loaded anew")
	}
	in.do("opening the task",
		chromedp.Click(chromedp.CSS(task)),
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
		press("Edit and replay all"),
		headed(fmt.Sprintf("Edit and replay %d dead letters", letters)),
	)
	if field := ask(in, "the field to change", chromedp.Value(chromedp.CSS(`input[name="field"]`))); field != "accountId" {
		t.Errorf("the field to change is %q", field)
	}
	in.do("looking at the change",
		chromedp.SendKeys(chromedp.CSS(`input[name="value"]`), "1000123"),
		press("Preview"),
		chromedp.WaitVisible(chromedp.CSS(`#preview`)),
	)
	if text := ask(in, "the preview", chromedp.Text(chromedp.CSS("#preview"))); !strings.Contains(text, fmt.Sprintf("%d of %[1]d bodies", letters)) || !strings.Contains(text, `"1000123"`) {
		t.Errorf("the preview says: %s", text)
	}
	in.do("replaying one",
		chromedp.SendKeys(chromedp.CSS(`input[name="why"]`), "the survey had the accounts of last year"),
		press("Replay one first"),
		chromedp.WaitVisible(chromedp.CSS(`#continue`)),
	)
	in.tasks(1)
	in.do("replaying the rest",
		press(fmt.Sprintf("Replay all the rest (%d)", letters-1)),
		chromedp.WaitVisible(chromedp.Search(fmt.Sprintf(`//section[@id="progress"][contains(., "%d of %[1]d looked at") and contains(., "It is done.")]`, letters))),
	)
	in.tasks(letters)
	in.open("/dead-letters")
	if text := ask(in, "what is left", chromedp.Text(chromedp.CSS("#letters"))); !strings.Contains(text, "0 letters") {
		t.Errorf("letters are left: %s", text)
	}
}
