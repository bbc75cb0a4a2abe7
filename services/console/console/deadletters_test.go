package console_test

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/console"
)

// hiddenInput is a value that a form sends along.
var hiddenInput = regexp.MustCompile(`<input type="hidden" name="(\w+)" value="([^"]*)">`)

// form gives the hidden values of the form of a page that is sent there.
func (b *browser) form(page, action string) url.Values {
	b.f.t.Helper()
	_, after, ok := strings.Cut(page, `action="`+action+`"`)
	if !ok {
		b.f.t.Fatalf("no form is sent to %s in %s", action, page)
	}
	inner, _, _ := strings.Cut(after, "</form>")
	values := url.Values{}
	for _, m := range hiddenInput.FindAllStringSubmatch(inner, -1) {
		values.Add(m[1], html.UnescapeString(m[2]))
	}
	return values
}

// sends posts a form with what is typed into it, and gives the page that answers.
func (b *browser) sends(path string, form url.Values, want int, typed ...string) (body string, header http.Header) {
	b.f.t.Helper()
	for i := 0; i+1 < len(typed); i += 2 {
		form.Set(typed[i], typed[i+1])
	}
	status, header, body := b.do(http.MethodPost, path, form.Encode())
	if status != want {
		b.f.t.Fatalf("POST %s: %d, want %d: %s", path, status, want, body)
	}
	return body, header
}

// recorded counts what OPERATIONS holds, by the first word of the subject's kind.
func (f *fixture) recorded(kind string) int {
	return len(f.broker.Messages(topology.Operations, "operation."+kind+".>"))
}

// wants42 takes what has the account that it knows.
func wants42(m *eventsv1.FeedbackRaised) error {
	if m.GetAccountId() == "42" {
		return nil
	}
	return unknownAccount(m)
}

func mentions(t *testing.T, page string, wanted ...string) {
	t.Helper()
	_, main, _ := strings.Cut(html.UnescapeString(page), "<main")
	for _, w := range wanted {
		if !strings.Contains(main, w) {
			t.Errorf("the page does not say %q: %s", w, main)
		}
	}
}

func TestALetterIsMaskedUntilSomebodySaysWhy(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	b := f.browser()
	page := b.opens("/dead-letters/1", 200)
	mentions(t, page, "account 1000001 is unknown", "accountId", `href="/loops/L-1"`, "1000001", "R_1", "••••")
	if strings.Contains(page, "secret text") || strings.Contains(page, "<textarea") {
		t.Errorf("the body is shown unasked: %s", page)
	}
	if page := b.opens("/dead-letters/1?body=curious", 400); strings.Contains(page, "secret text") || f.recorded("look") != 0 {
		t.Error("an address alone shows the body")
	}
	page, _ = b.sends("/dead-letters/1/show", url.Values{}, 400, "by", "ada")
	mentions(t, page, "is required: why do you do this?", `aria-describedby="show-why-wrong"`, `role="alert"`)
	if strings.Contains(page, "secret text") || f.recorded("look") != 0 {
		t.Error("shown without a reason")
	}
	page, header := b.sends("/dead-letters/1/show", url.Values{}, 200, "by", "ada", "why", "which account")
	mentions(t, page, "secret text", "<textarea", "at most 650 characters", "looked at the body", "which account")
	if header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control: %q", header.Get("Cache-Control"))
	}
	if l := f.letter(1); len(l.Operations) != 1 || l.Operations[0].Kind != console.Look || l.Operations[0].By != "ada" || l.Operations[0].Why != "which account" {
		t.Errorf("recorded: %+v", l.Operations)
	}
	if page := b.opens("/dead-letters/1", 200); strings.Contains(page, "secret text") {
		t.Error("it stays shown")
	}
	var shown letter
	f.Post("/dead-letters/1/show", `{"why":"as a program","by":"eve"}`).Want(200).JSON(&shown)
	if !strings.Contains(string(shown.Body), "secret text") || f.recorded("look") != 2 {
		t.Errorf("a program is shown %s", shown.Body)
	}
}

func TestNothingIsShownThatCannotBeRecorded(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	if err := f.broker.JS.DeleteStream(t.Context(), topology.Operations); err != nil {
		t.Fatal(err)
	}
	if _, _, body := f.browser().do(http.MethodPost, "/dead-letters/1/show", "by=ada&why=x"); strings.Contains(body, "secret text") {
		t.Errorf("shown: %s", body)
	}
}

func TestABodyIsCheckedAndReplayedFromItsPage(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	f.tasker.refuses(wants42)
	b := f.browser()
	page, _ := b.sends("/dead-letters/1/show", url.Values{}, 200, "by", "ada", "why", "which account")
	form := b.form(page, "/dead-letters/1/replay")
	for body, want := range map[string]string{
		`{"responseId":"R_1","subject":"Late","acountId":"42","text":"typed & kept"}`: "acountId: is not a known field",
		`{"responseId":"R_1","text":"typed & kept"}`:                                  "subject: ",
		`{"responseId":"R_9","subject":"Late","text":"typed & kept"}`:                 "responseId: names what the event is about",
		`{"responseId":"R_1", typed & kept`:                                           "the body is not JSON from line 1",
		`["typed & kept"]`:                                                            "must be",
	} {
		for _, path := range []string{"/check", "/replay"} {
			page, _ := b.sends("/dead-letters/1"+path, form, 400, "body", body, "by", "ada", "why", "wrong account")
			mentions(t, page, want, "typed & kept", `aria-describedby="mend-body-wrong"`, `href="#mend-body"`, "autofocus")
		}
	}
	const mended = `{"responseId":"R_1","subject":"Late","accountId":"42"}`
	page, _ = b.sends("/dead-letters/1/check", form, 200, "body", mended, "by", "", "why", "")
	mentions(t, page, "The body keeps the contract", `"accountId":"42"`)
	f.Post("/dead-letters/1/check", `{"body":`+mended+`}`).Want(200)
	f.Post("/dead-letters/1/check", `{"body":{"responseId":"R_1","subject":""}}`).WantProblem(400, "body.subject")
	if f.recorded("deadletter") != 0 || f.replays() != 0 {
		t.Fatal("looking whether it is right has decided something")
	}
	_, header := b.sends("/dead-letters/1/replay", form, 303, "body", mended, "by", "ada", "why", "wrong account")
	b.sends("/dead-letters/1/replay", form, 303) // sent twice
	if header.Get("Location") != "/dead-letters/1" || f.replays() != 1 {
		t.Errorf("leads to %q, %d replays", header.Get("Location"), f.replays())
	}
	bustest.Eventually(t, "accepted", func() bool { return len(f.tasker.accepted()) == 1 })
	if m := f.tasker.accepted()[0].Data.(*eventsv1.FeedbackRaised); m.GetAccountId() != "42" || m.GetText() != "" {
		t.Errorf("the service got %v", m)
	}
	mentions(t, b.opens("/dead-letters/1", 200), "replayed with another body", "wrong account", "although it was replayed already")
}

func TestAStructuredEventIsMendedToo(t *testing.T) {
	f := start(t)
	f.tasker.refuses(wants42)
	f.broker.Publish(subjects.FeedbackDeliveryLate, `{"specversion":"1.0","id":"E-1","type":"feedback.delivery_late","source":"x","data":`+feedback(1)+`}`,
		"Content-Type", "application/cloudevents+json")
	f.waits(1)
	var p console.Preview
	f.Post("/dead-letters/preview", `{"sequences":[1],"edit":[{"op":"set","field":"accountId","value":"42"}]}`).Want(200).JSON(&p)
	if p.Valid != 1 || strings.Contains(string(p.Sample.After), "secret") || !strings.Contains(string(p.Sample.After), `"accountId":"42"`) {
		t.Errorf("%+v: %s", p, p.Sample.After)
	}
	done := f.many("replay", `{"why":"x","by":"ada","sequences":[1],"edit":[{"op":"set","field":"accountId","value":"42"}]}`)
	if done.Done != 1 {
		t.Errorf("%+v", done)
	}
	bustest.Eventually(t, "accepted", func() bool { return len(f.tasker.accepted()) == 1 })
	if e := f.tasker.accepted()[0]; e.ID != "E-1" || e.Data.(*eventsv1.FeedbackRaised).GetText() != "secret text" {
		t.Errorf("the service got %+v", e)
	}
}

// job is one as the API shows it.
func (f *fixture) job(id string) (j struct {
	console.Job
	CameBack int
}) {
	f.t.Helper()
	f.Get("/dead-letters/jobs/" + id).Want(200).JSON(&j)
	return j
}

// jobRecords gives the records of jobs, once there is no more than one of each.
func (f *fixture) jobRecords(jobs int) (records []*jetstream.RawStreamMsg) {
	f.t.Helper()
	bustest.Eventually(f.t, fmt.Sprintf("%d records of jobs", jobs), func() bool {
		records = f.broker.Messages(topology.Operations, "operation.job.>")
		return len(records) == jobs
	})
	return records
}

// ends waits until a job is in that state.
func (f *fixture) ends(id, state string) console.Job {
	f.t.Helper()
	bustest.Eventually(f.t, "the job is "+state, func() bool { return f.job(id).State == state })
	return f.job(id).Job
}

func TestFiftyLettersAreMendedAtOnceASampleFirst(t *testing.T) {
	f := start(t)
	f.fail(1, 50)
	f.tasker.refuses(wants42)
	b := f.browser()
	cause := f.list("").Causes[0].Cause
	mentions(t, b.opens("/dead-letters", 200), "Causes", `/dead-letters?cause=`+cause, "feedback.delivery_late")
	page := b.opens("/dead-letters?cause="+cause, 200)
	mentions(t, page, "Edit and replay all", `name="sequences" value="50"`)
	page = b.opens("/dead-letters/selection?do=change&"+b.form(page, "/dead-letters/selection").Encode(), 200)
	mentions(t, page, "Edit and replay 50 dead letters", "Replay one first", `value="accountId"`)
	form := b.form(page, "/dead-letters/replay")

	page, _ = b.sends("/dead-letters/preview", form, 400, "op", "rename", "field", "accountId", "to", "")
	mentions(t, page, "is required to rename a field", `href="#many-to"`)
	page, _ = b.sends("/dead-letters/preview", form, 200, "op", "set", "field", "priority", "as", "json", "value", "77")
	mentions(t, page, "0 of 50 bodies keep the contract", "priority", ">50<")
	page, _ = b.sends("/dead-letters/preview", form, 200, "op", "set", "field", "accountId", "as", "text", "value", "42")
	mentions(t, page, "50 of 50 bodies keep the contract", "A sample, masked", `value="42"`, "••••")
	if strings.Contains(page, "secret text") || f.recorded("job") != 0 || f.replays() != 0 {
		t.Fatal("the preview showed or did something")
	}

	form.Set("key", b.form(page, "/dead-letters/replay").Get("key"))
	_, header := b.sends("/dead-letters/replay", form, 303, "why", "wrong account", "by", "ada", "sample", "1")
	_, again := b.sends("/dead-letters/replay", form, 303)
	at := header.Get("Location")
	if at == "" || again.Get("Location") != at {
		t.Fatalf("sent twice it leads to %q and %q", at, again.Get("Location"))
	}
	id := at[strings.LastIndexByte(at, '/')+1:]
	if j := f.ends(id, "waiting"); j.Done != 1 || j.Left != 49 || f.replays() != 1 {
		t.Fatalf("after the sample: %+v, %d replays", j, f.replays())
	}
	page = b.opens(at, 200)
	mentions(t, page, "Replay all the rest (49)", "set accountId", "wrong account", "The sample was replayed")
	until := f.hears(at+"/live", "")
	for range 2 {
		b.sends(at+"/continue", url.Values{}, 303, "why", "the sample arrived", "by", "grace")
	}
	until("It is done.")
	j := f.ends(id, "done")
	if j.Done != 50 || j.Failed != 0 || j.Skipped != 0 || j.Left != 0 || j.Went.By != "grace" || j.Went.Why != "the sample arrived" {
		t.Errorf("%+v", j)
	}
	bustest.Eventually(t, "all accepted", func() bool { return len(f.tasker.accepted()) == 50 })
	f.eachOnce(50)
	if _, last := b.sends("/dead-letters/replay", form, 303); last.Get("Location") != at || f.replays() != 50 {
		t.Errorf("sent a third time: %d replays", f.replays())
	}
	form.Set("value", "43")
	form.Set("by", "eve")
	b.sends("/dead-letters/replay", form, 409)
	// What was put into the bodies is in the letters' own records alone.
	if record := f.jobRecords(1)[0]; strings.Contains(string(record.Data), `"42"`) {
		t.Errorf("the record of the job: %s", record.Data)
	}
	if l := f.letter(7); l.State != console.Replayed || l.Last.Job != id || !l.Last.Edited || l.Last.Why != "wrong account" {
		t.Errorf("the letter says %+v", l.Last)
	}
	mentions(t, b.opens(at, 200), "It is done", "set accountId")
	mentions(t, b.opens("/dead-letters/jobs", 200), "Replay 50 dead letters", at)
}

// eachOnce tells that each of so many letters was replayed once, with the account that is known.
func (f *fixture) eachOnce(letters int) {
	f.t.Helper()
	seen := map[string]int{}
	for _, e := range f.tasker.accepted() {
		seen[e.Data.(*eventsv1.FeedbackRaised).GetResponseId()]++
		if m := e.Data.(*eventsv1.FeedbackRaised); m.GetText() != "secret text" || m.GetAccountId() != "42" {
			f.t.Errorf("the service got %v", m)
		}
	}
	for id, times := range seen {
		if times != 1 {
			f.t.Errorf("%s came %d times", id, times)
		}
	}
	if len(seen) != letters || f.replays() != letters {
		f.t.Errorf("%d letters and %d replays, want %d", len(seen), f.replays(), letters)
	}
}

func TestAJobGoesOnAfterAKillAndWithTwoConsoles(t *testing.T) {
	f := start(t)
	f.fail(1, 50)
	f.tasker.refuses(wants42)
	cause := f.list("").Causes[0].Cause
	var j console.Job
	f.Post("/dead-letters/replay", fmt.Sprintf(
		`{"why":"wrong account","by":"ada","cause":%q,"job":true,"sample":20,"edit":[{"op":"set","field":"accountId","value":"42"}]}`, cause),
		"Idempotency-Key", "K-1").Want(202).JSON(&j)
	f.ends(j.ID, "waiting")
	before := f.jobRecords(1)
	f.Stop()
	// As a console leaves it that is killed after 20 letters, and has recorded none of that since it began.
	var left map[string]any
	if err := json.Unmarshal(before[0].Data, &left); err != nil {
		t.Fatal(err)
	}
	left["state"], left["went"] = "working", map[string]any{"by": "ada", "why": "all", "at": time.Now()}
	left["done"], left["left"], left["owner"], left["touched"] = 0, 50, "killed", time.Now().Add(-time.Hour)
	record, err := json.Marshal(left)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.broker.JS.PublishMsg(t.Context(), &nats.Msg{Subject: before[0].Subject, Data: record}); err != nil {
		t.Fatal(err)
	}
	second := &fixture{servicetest.Start(t, f.broker, console.Define, nil), t, f.broker, f.tasker}
	third := &fixture{servicetest.Start(t, f.broker, console.Define, nil), t, f.broker, f.tasker}
	if done := second.ends(j.ID, "done"); done.Done != 50 || done.Failed != 0 || done.Skipped != 0 {
		t.Errorf("%+v", done)
	}
	third.ends(j.ID, "done")
	bustest.Eventually(t, "all accepted", func() bool { return len(f.tasker.accepted()) == 50 })
	f.eachOnce(50)
	var again console.Job
	third.Post("/dead-letters/replay", fmt.Sprintf(
		`{"why":"wrong account","by":"ada","cause":%q,"job":true,"sample":20,"edit":[{"op":"set","field":"accountId","value":"42"}]}`, cause),
		"Idempotency-Key", "K-1").Want(202).JSON(&again)
	if again.ID != j.ID || f.replays() != 50 {
		t.Errorf("asked again: %+v, %d replays", again, f.replays())
	}
	third.Post("/dead-letters/discard", fmt.Sprintf(`{"why":"wrong account","by":"ada","cause":%q,"job":true}`, cause), "Idempotency-Key", "K-1").WantProblem(422, "Idempotency-Key")
}

func TestAJobTellsWhatFailedAndWhatCameBack(t *testing.T) {
	f := start(t)
	f.fail(1, 3)
	f.broker.Publish(subjects.FeedbackDeliveryLate, `{"responseId":"R_4","subject":"Late","accountId":"1000004","text":"`+strings.Repeat("x", 10)+`"}`)
	f.waits(4)
	f.replay(1, `{"why":"before","by":"eve"}`).Want(200)
	f.waits(5)
	var j console.Job
	f.Post("/dead-letters/replay", `{"why":"mend","by":"ada","sequences":[1,2,3,4,99],"job":true,"edit":[{"op":"replace","field":"text","text":"secret","with":"`+
		`no"}]}`).Want(202).JSON(&j)
	done := f.ends(j.ID, "done")
	if done.Total != 5 || done.Done != 2 || done.Skipped != 1 || done.Failed != 2 || len(done.Failures) != 2 || done.Failures[0].Sequence != 4 ||
		!strings.Contains(done.Failures[0].Reason, "text: stays as it is") || !strings.Contains(done.Failures[1].Reason, "there is no dead letter 99") {
		t.Errorf("%+v", done)
	}
	bustest.Eventually(t, "both came back", func() bool { return f.job(j.ID).CameBack == 2 })
	mentions(t, f.browser().opens("/dead-letters/jobs/"+j.ID, 200), "Some letters need another look", "Replays that came back", "stays as it is")
}

func TestAJobIsStoppedByAPerson(t *testing.T) {
	f := start(t)
	f.fail(1, 3)
	var j console.Job
	f.Post("/dead-letters/replay", `{"why":"mend","by":"ada","sequences":[1,2,3],"job":true,"sample":1,"edit":[{"op":"set","field":"text","value":"put in"}]}`).Want(202).JSON(&j)
	f.ends(j.ID, "waiting")
	b := f.browser()
	page, _ := b.sends("/dead-letters/jobs/"+j.ID+"/stop", url.Values{}, 400, "by", "grace", "why", "")
	mentions(t, page, "is required: why do you do this?", `id="stop-why"`)
	b.sends("/dead-letters/jobs/"+j.ID+"/stop", url.Values{}, 303, "by", "grace", "why", "the wrong text")
	f.Post("/dead-letters/jobs/"+j.ID+"/continue", `{"by":"ada","why":"go"}`).WantProblem(409)
	stopped := f.job(j.ID)
	if stopped.State != "stopped" || stopped.Ended.By != "grace" || stopped.Ended.Why != "the wrong text" || stopped.Left != 2 || f.replays() != 1 {
		t.Errorf("%+v, %d replays", stopped, f.replays())
	}
	if record := f.jobRecords(1)[0]; strings.Contains(string(record.Data), "put in") {
		t.Errorf("the record of the job: %s", record.Data)
	}
	if l := f.letter(2); l.State != console.Open {
		t.Errorf("%+v", l)
	}
}

func TestASelectionIsDiscardedFromItsPage(t *testing.T) {
	f := start(t)
	f.fail(1, 3)
	b := f.browser()
	b.opens("/dead-letters/selection?do=discard", 400)
	page := b.opens("/dead-letters/selection?do=discard&sequences=1&sequences=3", 200)
	form := b.form(page, "/dead-letters/discard")
	page, _ = b.sends("/dead-letters/discard", form, 400, "by", "ada")
	mentions(t, page, "is required: why do you do this?", "Discard 2 dead letters")
	_, header := b.sends("/dead-letters/discard", form, 303, "by", "ada", "why", "tests")
	id := strings.TrimPrefix(header.Get("Location"), "/dead-letters/jobs/")
	if j := f.ends(id, "done"); j.Done != 2 || j.Does != console.Discard {
		t.Errorf("%+v", j)
	}
	if l := f.list(""); l.Total != 1 || l.Letters[0].Sequence != 2 {
		t.Errorf("open: %+v", l)
	}
	b.sends("/dead-letters/2/discard", b.form(b.opens("/dead-letters/2", 200), "/dead-letters/2/discard"), 303, "by", "ada", "why", "too")
	mentions(t, b.opens("/dead-letters?state=discarded", 200), "discarded", "#1", "#2", "#3")
}

func TestAReaderSeesLettersAndDecidesNothing(t *testing.T) {
	f := with(t, servicetest.Env{"INGRESS_BASIC_USERS": "ada:pass-a", "CONSOLE_READERS": "ron:pass-r"})
	f.fail(1, 1)
	b := f.browser()
	b.signsIn("ron", "pass-r", 303)
	for _, path := range []string{"/dead-letters", "/dead-letters/1", "/dead-letters/jobs"} {
		page := b.opens(path, 200)
		if strings.Contains(page, "secret text") || strings.Contains(page, `action="/dead-letters/`) || strings.Contains(page, `type="checkbox"`) {
			t.Errorf("%s shows a reader what is not theirs: %s", path, page)
		}
	}
	b.opens("/dead-letters/selection?do=replay&sequences=1", 403)
	for _, path := range []string{"1/show", "1/check", "1/replay", "1/discard", "replay", "discard", "preview", "jobs/x/continue", "jobs/x/stop"} {
		b.posts("/dead-letters/"+path, "by=ron&why=x&body={}&sequences=1", 403)
		f.Post("/dead-letters/"+path, `{"why":"x"}`, "Authorization", "Basic cm9uOnBhc3Mtcg==").WantProblem(403)
	}
	f.Get("/dead-letters/1?body=why", "Authorization", "Basic cm9uOnBhc3Mtcg==").WantProblem(403)
	if n := len(f.broker.Messages(topology.Operations, ">")); n != 0 {
		t.Errorf("%d records", n)
	}
}

func TestListsAreTablesToo(t *testing.T) {
	f := start(t)
	f.fail(1, 2)
	table := func(path string) [][]string {
		t.Helper()
		a := f.Get(path, "Accept", "text/csv").Want(200)
		rows, err := csv.NewReader(strings.NewReader(a.Body)).ReadAll()
		if err != nil || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/csv") {
			t.Fatalf("%v in %s", err, a.Body)
		}
		return rows
	}
	if rows := table("/dead-letters?class=refused"); len(rows) != 3 || rows[0][0] != "sequence" || rows[1][0] != "2" || rows[1][2] != "open" || !strings.HasPrefix(rows[2][10], "L-") {
		t.Errorf("%q", rows)
	}
	if rows := table("/dead-letters/causes?format=csv"); len(rows) != 2 || rows[1][4] != "accountId" || rows[1][6] != "2" {
		t.Errorf("%q", rows)
	}
	f.Post("/dead-letters/discard", `{"why":"tests","by":"ada","sequences":[1],"job":true}`).Want(202)
	bustest.Eventually(t, "done", func() bool { return table("/dead-letters/jobs")[1][2] == "done" })
	f.browser().posts("/dead-letters/causes", "", 405)
	if to := f.Get("/dead-letters/causes?class=refused", "Accept", "text/html"); !strings.Contains(to.Body, "Causes") {
		t.Errorf("people are not led to the list: %s", to.Body)
	}
	mentions(t, f.browser().opens("/dead-letters?limit=1&state=all", 200), "before=2", `rel="next"`)
}

func TestWrongRequestsForManyAreNamed(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	for body, wrong := range map[string]string{
		`"edit":[{"op":"set","field":"text"}]`:                           "edit[0].value",
		`"edit":[{"op":"mend","field":"text"}]`:                          "edit[0].op",
		`"edit":[{"op":"set","field":"","value":1}]`:                     "edit[0].field",
		`"edit":[{"op":"remove","field":"text","with":"x"}]`:             "edit[0].with",
		`"edit":[{"op":"rename","field":"text","to":"a.b"}]`:             "edit[0].to",
		`"edit":[{"op":"replace","field":"text"}]`:                       "edit[0].text",
		`"edit":{"op":"set"}`:                                            "edit",
		`"job":true,"limit":1`:                                           "limit",
		`"sample":1`:                                                     "sample",
		`"job":true,"sample":-1`:                                         "sample",
		`"outcome":"not-done","edit":[{"op":"remove","field":"text"}]`:   "outcome",
		`"edit":[` + strings.Repeat(`{"op":"set"},`, 20) + `{"op":"x"}]`: "edit",
	} {
		f.Post("/dead-letters/replay", `{"why":"x","by":"ada","sequences":[1],`+body+`}`).WantProblem(400, wrong)
	}
	f.Post("/dead-letters/discard", `{"why":"x","by":"ada","sequences":[1],"edit":[{"op":"remove","field":"text"}]}`).WantProblem(400, "edit")
	f.Post("/dead-letters/jobs/none/stop", `{"why":"x","by":"ada"}`).WantProblem(404)
	f.Get("/dead-letters/jobs/none").WantProblem(404)
	if f.replays() != 0 || len(f.broker.Messages(topology.Operations, ">")) != 0 {
		t.Error("something was recorded")
	}
	// A change that one letter cannot take is told of that letter.
	m := f.many("replay", `{"why":"x","by":"ada","sequences":[1],"edit":[{"op":"remove","field":"responseId"}]}`)
	if m.Failed != 1 || !strings.Contains(m.Letters[0].Reason, "responseId") {
		t.Errorf("%+v", m)
	}
}

func TestWhatAJobPutsIntoBodiesIsForgottenWithAPerson(t *testing.T) {
	f := with(t, servicetest.Env{"INGRESS_AUTH": "none", "ERASURE_QUALTRICS": "false"})
	f.fail(1, 3)
	job := func(edit string) (j console.Job) {
		f.Post("/dead-letters/replay", `{"why":"mend","by":"eve","sequences":[1,2,3],"job":true,"sample":1,"again":true,"edit":[`+edit+`]}`).Want(202).JSON(&j)
		return f.ends(j.ID, "waiting")
	}
	hers := job(`{"op":"set","field":"text","value":"call ada@example.com"}`)
	other := job(`{"op":"set","field":"text","value":"call ben@example.com"}`)
	var e console.Erasure
	f.Post("/erasures", `{"why":"asked by letter","by":"eve","email":"ada@example.com"}`).Want(202).JSON(&e)
	bustest.Eventually(t, "forgotten", func() bool {
		f.Get("/erasures/" + e.ID).Want(200).JSON(&e)
		return e.State == "done"
	})
	f.Get("/dead-letters/jobs/" + hers.ID).WantProblem(404)
	f.job(other.ID)
	for _, m := range f.broker.Messages(topology.Operations, ">") {
		if strings.Contains(string(m.Data), "ada@example.com") {
			t.Errorf("%s still holds the address", m.Subject)
		}
	}
}
