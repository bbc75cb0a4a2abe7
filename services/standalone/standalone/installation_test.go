package standalone_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/browsertest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// user is who signs in at the console of these tests.
const user, password = "ada", "correct horse"

// credentials has doors ask for them.
var credentials = []string{"INGRESS_BASIC_USERS=" + user + ":" + password, "INGRESS_API_KEYS=test-key"}

// installation is standalone as a process, with a browser before it.
type installation struct {
	t       *testing.T
	ctx     context.Context
	address string
	js      jetstream.JetStream
}

// install starts it with the members of a campaign and more settings, and a browser that lives so long.
func install(t *testing.T, members int, browserFor time.Duration, env ...string) *installation {
	t.Helper()
	ctx := browsertest.NewFor(t, browserFor)
	address, broker := freeAddress(t), freeAddress(t)
	_, port, _ := strings.Cut(broker, ":")
	in := &installation{t: t, ctx: ctx, address: "http://" + address}
	launch(t, "standalone", append([]string{
		"DATA_DIR=" + t.TempDir(), "HTTP_ADDR=" + address, "STANDALONE_NATS_PORT=" + port, fmt.Sprint("STANDALONE_CAMPAIGN=", members),
	}, env...)...)
	eventually(t, "ready", time.Minute, func() bool { return get(t.Context(), in.address+"/readyz", nil) })
	nc, err := nats.Connect("nats://" + broker)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if in.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	return in
}

// filled is an installation in which something of everything has happened. The browser is asked who is there.
func filled(t *testing.T, browserFor time.Duration) *installation {
	t.Helper()
	in := install(t, 0, browserFor, credentials...)
	const refused = 6
	in.refused(refused)
	in.dead(refused)
	misspelt := `{"requestId":"m-1","contact":{"externlId":"P-1","email":"ada@example.com"}}`
	if _, err := in.js.Publish(t.Context(), "survey.link.requested", []byte(misspelt)); err != nil {
		t.Fatal(err)
	}
	in.dead(refused + 1)
	playCampaign(t, strings.TrimPrefix(in.address, "http://"), 12)
	eventually(t, "the campaign is over", 3*time.Minute, func() bool { // ten of its twelve members answer
		var books landscape.Books
		return get(t.Context(), in.address+"/landscape/books.json", &books) &&
			len(books.Qualtrics.Responses) == 10 && len(books.SalesCloud.Tasks) == 1 && len(books.Awardco.Recognitions) == 3
	})
	in.open("/")
	return in
}

// refused publishes feedback that SAP Sales Cloud refuses: about accounts that it does not have.
func (in *installation) refused(letters int) {
	in.t.Helper()
	for i := range letters {
		body := fmt.Sprintf(`{"responseId":"R_late_%d","subject":"Cart Abandonment - Check Delivery Time","text":"Wanted earlier","accountId":"47%02d","contactId":"1000456","processorId":"8000000002"}`, i, i)
		if _, err := in.js.Publish(in.t.Context(), late, []byte(body)); err != nil {
			in.t.Fatal(err)
		}
	}
}

// dead waits until so many dead letters have ever been there.
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

// do has the browser do something, which may take a minute.
func (in *installation) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.ctx, time.Minute)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		in.t.Fatalf("%s: %v\n%s", what, err, in.seen())
	}
}

// ask has the browser find something out.
func ask[T any](in *installation, what string, question chromedp.Action[T]) T {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(in.ctx, time.Minute)
	defer cancel()
	answer, err := chromedp.Run(ctx, question)
	if err != nil {
		in.t.Fatalf("%s: %v\n%s", what, err, in.seen())
	}
	return answer
}

// seen is what the browser shows, for when a test fails.
func (in *installation) seen() string {
	ctx, cancel := context.WithTimeout(in.ctx, 5*time.Second)
	defer cancel()
	page, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`))
	if err != nil {
		return "the page cannot be read: " + err.Error()
	}
	return page
}

func (in *installation) open(path string) {
	in.t.Helper()
	in.do("opening "+path, chromedp.Navigate(in.address+path))
}

// signIn fills in the form that a page has led to, and waits for that page.
func (in *installation) signIn(title string) {
	in.t.Helper()
	in.do("signing in",
		chromedp.SendKeys(chromedp.CSS(`input[name="user"]`), user),
		chromedp.SendKeys(chromedp.CSS(`input[name="password"]`), password),
		press("Sign in"),
		headed(title),
	)
}

func press(button string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.Search(`//main//button[normalize-space(.)="` + button + `"]`))
}

// headed waits for a page with that heading.
func headed(title string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.Search(`//h1[starts-with(normalize-space(.), "` + title + `")]`))
}

// write fills a field in, whatever was in it.
func write(field, text string) chromedp.Action[chromedp.Void] {
	return chromedp.Steps(chromedp.Clear(chromedp.CSS(field)), chromedp.SendKeys(chromedp.CSS(field), text))
}
