package recognizer_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
)

const praise = `{"responseId":"R_1","recipient":{"email":"rep@example.com","name":"Grace Hopper"},"score":5,"note":"Thank you for the quick help.","program":"Customer praise"}`

type fixture struct {
	*servicetest.Service
	broker *bustest.Broker
	awards *company
}

func start(t *testing.T, env servicetest.Env) fixture {
	t.Helper()
	t.Parallel()
	f := fixture{awards: newCompany(t), broker: bustest.Start(t, topology.Settings{})}
	all := servicetest.Env{"AWARDCO_BASE_URL": f.awards.URL + "/api", "AWARDCO_API_KEY": apiKey}
	maps.Copy(all, env)
	f.Service = servicetest.Start(t, f.broker, recognizer.Define, all)
	return f
}

func (f fixture) body(t *testing.T, n int) map[string]any {
	t.Helper()
	var sent map[string]any
	if err := json.Unmarshal([]byte(f.awards.Calls(recognize)[n].Body), &sent); err != nil {
		t.Fatal(err)
	}
	return sent
}

func submitted(f fixture, n int) *eventsv1.RecognitionSubmitted {
	return f.Published(subjects.RecognitionSubmitted, n)[n-1].Data.(*eventsv1.RecognitionSubmitted)
}

func TestRecognitionIsSubmittedAsDocumented(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.RecognitionRequested, praise, "ce-loopid", "L-1")
	e := f.Published(subjects.RecognitionSubmitted, 1)[0]
	want := map[string]any{
		"recipients": []any{"rep@example.com"}, "giver": "", "note": "Thank you for the quick help.", "tagNames": []any{"ref-R_1"},
		"amount": 0.0, "isPublic": true, "recognitionProgramName": program,
	}
	if got := f.body(t, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("sent\n%v, want\n%v", got, want)
	}
	if m := e.Data.(*eventsv1.RecognitionSubmitted); m.GetResponseId() != "R_1" || m.GetRecognitionId() != "REC-1001" || m.GetState() != "SUBMITTED" {
		t.Errorf("recognition.submitted is %v", m)
	}
	if e.LoopID != "L-1" {
		t.Errorf("loop %q, want that of the request", e.LoopID)
	}
}

func TestSettingsFillInWhatTheRequestLeavesOut(t *testing.T) {
	f := start(t, servicetest.Env{
		"AWARDCO_PROGRAM": program, "AWARDCO_GIVER": "grace@example.org", "AWARDCO_BUDGET": "CX 2026",
		"AWARDCO_PUBLIC": "false", "AWARDCO_APPROVAL": "true", "AWARDCO_MAX_AMOUNT": "25", "AWARDCO_MAX_AMOUNT_PER_DAY": "100",
	})
	f.broker.Publish(subjects.RecognitionRequested, `{"responseId":"R_1","recipient":{"employeeId":"E1001"},"score":5,"amount":25}`)
	if m := submitted(f, 1); m.GetState() != "PENDING_APPROVAL" {
		t.Errorf("state %q, want PENDING_APPROVAL", m.GetState())
	}
	want := map[string]any{
		"recipients": []any{"E1001"}, "giver": "grace@example.org", "note": "", "tagNames": []any{"ref-R_1"},
		"amount": 25.0, "isPublic": false, "recognitionProgramName": program, "budgetName": "CX 2026",
	}
	if got := f.body(t, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("sent\n%v, want\n%v", got, want)
	}
}

func TestEmployeeIDGoesBeforeTheAddress(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.RecognitionRequested, strings.Replace(praise, `"email"`, `"employeeId":"E1001","email"`, 1))
	submitted(f, 1)
	if got := f.body(t, 0)["recipients"]; !reflect.DeepEqual(got, []any{"E1001"}) {
		t.Errorf("recipients %v", got)
	}
}

func TestNameAloneRecognisesNobody(t *testing.T) {
	f := start(t, nil)
	nameless := `{"responseId":"R_1","recipient":{"name":"Grace Hopper"},"score":5,"program":"Customer praise"}`
	f.Post("/awardco/recognitions", nameless, "Prefer", "wait=20").WantProblem(422, "recipient")
	if letter := f.Dead(1)[0]; letter.Class != "person" || letter.Field != "recipient" || strings.Contains(letter.Reason, "Grace") {
		t.Errorf("dead letter %+v", letter)
	}
	if n := len(f.awards.Calls()); n != 0 {
		t.Errorf("%d calls for a name alone", n)
	}
}

func TestLostAnswerIsFoundInTheFeedWhateverItsShape(t *testing.T) {
	for name, shape := range map[string]func([]any) any{
		"a list":        func(items []any) any { return items },
		"under data":    func(items []any) any { return map[string]any{"success": true, "links": []any{"next"}, "data": items} },
		"deeper":        func(items []any) any { return map[string]any{"result": map[string]any{"feed": items, "page": 1}} },
		"tag as a text": func(items []any) any { return []any{map[string]any{"id": 1001, "hashtags": "#REF-r_1"}} },
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.awards.shape = shape
			f.awards.Lose(recognize)
			f.broker.Publish(subjects.RecognitionRequested, praise)
			bustest.Eventually(t, "recognised", func() bool { return f.awards.count() == 1 })
			f.awards.others(130) // newer ones, so that ours is on a later page
			m := submitted(f, 1)
			f.Settled()
			if sent, made := len(f.awards.Calls(recognize)), f.awards.count()-130; sent != 1 || made != 1 {
				t.Errorf("sent %d times, made %d; want 1", sent, made)
			}
			if id := m.GetRecognitionId(); id != "REC-1001" && id != "1001" {
				t.Errorf("recognition %q is not the one in the feed", id)
			}
		})
	}
}

func TestLostAnswerThatTheFeedDoesNotShowWaitsForAPerson(t *testing.T) {
	f := start(t, nil)
	servicetest.Crashed(t, f.broker, effect.Recognition("R_1"), "L-1", servicetest.Step{Name: "recognition"})
	f.awards.others(3)
	f.broker.Publish(subjects.RecognitionRequested, praise)
	letter := f.Dead(1)[0]
	if letter.Class != "person" || !strings.Contains(letter.Reason, "ref-R_1") {
		t.Errorf("dead letter %+v", letter)
	}
	f.Settled()
	if n := len(f.awards.Calls(recognize)); n != 0 {
		t.Errorf("sent %d times: a second award is an incident", n)
	}

	// A replay looks again; by now it may be there.
	f.awards.others(1)
	f.awards.mu.Lock()
	f.awards.made[3].TagNames = []string{"ref-R_1"}
	f.awards.mu.Unlock()
	f.broker.Publish(subjects.RecognitionRequested, praise)
	bustest.Eventually(t, "found", func() bool { return len(servicetest.Events(t, f.broker, subjects.RecognitionSubmitted)) == 1 })
}

// A recognition whose answer was lost an hour ago, and a later one of the same kind that Awardco has confirmed: only where
// the feed would show the lost one is it believed that it was not made.
func TestLostRecognitionIsSentAgainWhereTheFeedWouldShowIt(t *testing.T) {
	type sent struct {
		Kind     string `json:"kind"`
		Provable bool   `json:"provable"`
	}
	for name, c := range map[string]struct {
		env    servicetest.Env
		change func(f fixture, lost *sent)
		others int
		again  bool
		person bool
	}{
		"it does":                            {again: true},
		"the feed is longer than it is read": {others: 1100},
		"the feed shows neither":             {change: func(f fixture, _ *sent) { f.awards.shape = func([]any) any { return []any{} } }},
		"the later one is of another kind":   {change: func(_ fixture, lost *sent) { lost.Kind = "another" }},
		"it had an amount":                   {change: func(_ fixture, lost *sent) { lost.Provable = false }, person: true},
		"approval is waited for":             {env: servicetest.Env{"AWARDCO_APPROVAL": "true"}, person: true},
	} {
		t.Run(name, func(t *testing.T) {
			env := servicetest.Env{"AWARDCO_LOOK_FOR": "24h"}
			maps.Copy(env, c.env)
			f := start(t, env)
			f.awards.others(c.others)
			f.broker.Publish(subjects.RecognitionRequested, strings.ReplaceAll(praise, "R_1", "R_2"))
			submitted(f, 1)
			var was sent
			record := servicetest.Record(t, f.broker, effect.Recognition("R_2"))
			for _, step := range record.Steps {
				if step.Name == "as" {
					if err := json.Unmarshal(step.Result, &was); err != nil {
						t.Fatal(err)
					}
				}
			}
			if c.change != nil {
				c.change(f, &was)
			}
			servicetest.Crashed(t, f.broker, effect.Recognition("R_1"), "L-1",
				servicetest.Step{Name: "as", Result: was}, servicetest.Step{Name: "recognition"})
			before := len(f.awards.Calls(recognize))
			f.broker.Publish(subjects.RecognitionRequested, praise)
			switch {
			case c.again:
				submitted(f, 2)
				f.Settled()
			case c.person:
				if letter := f.Dead(1)[0]; letter.Class != "person" {
					t.Errorf("dead letter %+v", letter)
				}
			default:
				bustest.Eventually(t, "held, to be looked for again", func() bool {
					return len(f.broker.Messages(topology.Retries, topology.HoldSubject(topology.AwardcoRecognizer, "*"))) == 1
				})
			}
			if again := len(f.awards.Calls(recognize)) > before; again != c.again {
				t.Errorf("sent again: %v, want %v", again, c.again)
			}
		})
	}
}

func TestLostAnswerIsGivenTimeBeforeAPersonIsAsked(t *testing.T) {
	f := start(t, nil)
	f.awards.Drop(recognize)
	f.broker.Publish(subjects.RecognitionRequested, praise)
	bustest.Eventually(t, "looked up", func() bool { return len(f.awards.Calls(feed)) == 1 })
	bustest.Eventually(t, "held", func() bool {
		return len(f.broker.Messages(topology.Retries, topology.HoldSubject(topology.AwardcoRecognizer, "*"))) == 1
	})
}

func TestTrustedFeedLetsALostRecognitionBeSentAgain(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_TRUST_FEED": "true"})
	servicetest.Crashed(t, f.broker, effect.Recognition("R_1"), "L-1", servicetest.Step{Name: "recognition"})
	f.broker.Publish(subjects.RecognitionRequested, praise)
	submitted(f, 1)
	f.Settled()
	if n := f.awards.count(); n != 1 {
		t.Errorf("%d recognitions, want 1", n)
	}
}

func TestFeedThatCannotBeReadIsNotTakenForAnEmptyOne(t *testing.T) {
	f := start(t, servicetest.Env{"AWARDCO_TRUST_FEED": "true"})
	f.awards.Lose(recognize)
	f.awards.Refuse(feed, servicetest.Reply{Body: map[string]any{"success": true, "count": 1}})
	f.broker.Publish(subjects.RecognitionRequested, praise)
	submitted(f, 1)
	f.Settled()
	if n := f.awards.count(); n != 1 {
		t.Errorf("%d recognitions, want 1", n)
	}
}

func TestAnswerWithoutAWordOfSuccessIsNoRefusal(t *testing.T) {
	t.Run("with an id it is success", func(t *testing.T) {
		f := start(t, nil)
		f.awards.Refuse(recognize, servicetest.Reply{Body: map[string]any{"recognitionId": 77}})
		f.broker.Publish(subjects.RecognitionRequested, praise)
		if m := submitted(f, 1); m.GetRecognitionId() != "77" {
			t.Errorf("recognition %q", m.GetRecognitionId())
		}
	})
	t.Run("with nothing it is looked up", func(t *testing.T) {
		f := start(t, nil)
		f.broker.Publish(subjects.RecognitionRequested, praise)
		submitted(f, 1)
		f.awards.Refuse(recognize, servicetest.Reply{Body: map[string]any{"status": "ok"}})
		f.awards.mu.Lock()
		f.awards.made[0].TagNames = []string{"ref-R_2"} // what the odd answer did
		f.awards.mu.Unlock()
		f.broker.Publish(subjects.RecognitionRequested, strings.ReplaceAll(praise, "R_1", "R_2"))
		if m := submitted(f, 2); m.GetRecognitionId() != "REC-1001" {
			t.Errorf("recognition %q, want the one in the feed", m.GetRecognitionId())
		}
	})
}

func TestRefusalsEndInTheDeadLettersInAwardcosWords(t *testing.T) {
	for name, c := range map[string]struct {
		request string
		reply   *servicetest.Reply
		words   string
	}{
		"unknown recipient":        {request: strings.Replace(praise, "rep@example.com", "nobody@example.com", 1), words: "Recipient not found"},
		"unknown programme":        {request: strings.Replace(praise, "Customer praise", "Unheard of", 1), words: "Program not found"},
		"success:false with a 200": {request: praise, reply: &servicetest.Reply{Body: map[string]any{"success": false, "message": "rep@example.com is archived"}}, words: "is archived"},
		"success:false alone":      {request: praise, reply: &servicetest.Reply{Body: map[string]any{"success": false}}, words: "no reason given"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			if c.reply != nil {
				f.awards.Refuse(recognize, *c.reply)
			}
			f.Post("/awardco/recognitions", c.request, "Prefer", "wait=20").WantProblem(422)
			letter := f.Dead(1)[0]
			if letter.Class != "refused" || !strings.Contains(letter.Reason, "awardco: ") || !strings.Contains(letter.Reason, c.words) {
				t.Errorf("dead letter %+v", letter)
			}
			if strings.Contains(letter.Reason, "@") {
				t.Errorf("the reason names the recipient: %s", letter.Reason)
			}
		})
	}
}

func TestMissingProgrammeIsNamed(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.RecognitionRequested, `{"responseId":"R_1","recipient":{"employeeId":"E1001"},"score":5}`)
	if letter := f.Dead(1)[0]; letter.Class != "invalid" || letter.Field != "program" {
		t.Errorf("dead letter %+v", letter)
	}
}

func TestOneResponseIsRecognisedOnceHoweverOftenItIsSaid(t *testing.T) {
	f := start(t, nil)
	for range 3 { // one loop, so that they come one after another: a rival would wait for the other's lease
		f.broker.Publish(subjects.RecognitionRequested, praise, "ce-loopid", "L-1")
	}
	f.Published(subjects.RecognitionSubmitted, 1)
	f.Settled()
	f.Post("/awardco/recognitions", praise, "Prefer", "wait=20").Want(201)
	f.Settled()
	if n := f.awards.count(); n != 1 {
		t.Errorf("%d recognitions, want 1", n)
	}
}

func TestVendorOutPausesAndLosesNothing(t *testing.T) {
	for name, reply := range map[string]servicetest.Reply{
		"key refused": refused(401, "The key is not valid"),
		"throttled":   {Status: 429, Header: map[string][]string{"Retry-After": {"1"}}, Body: "slow down"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.awards.Refuse(recognize, reply)
			f.broker.Publish(subjects.RecognitionRequested, praise)
			submitted(f, 1) // and no dead letter
			if n := len(f.awards.Calls(recognize)); n != 2 {
				t.Errorf("called %d times, want twice", n)
			}
		})
	}
}

func TestDoorTakesJSONFormsAndTheSurveysOwnNames(t *testing.T) {
	fields := filepath.Join(t.TempDir(), "fields.yaml")
	if err := os.WriteFile(fields, []byte("/awardco/recognitions:\n  rep_email: recipient.email\n  why: note\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := start(t, servicetest.Env{"DOOR_FIELDS_FILE": fields, "AWARDCO_PROGRAM": program})
	for _, answer := range []servicetest.Answer{
		f.Post("/awardco/recognitions", `{"responseId":"R_1","rep_email":"rep@example.com","score":5,"why":"quick"}`),
		f.PostForm("/awardco/recognitions", "responseId=R_2&rep_email=rep%40example.com&score=5&why=quick"),
		f.PostForm("/awardco/recognitions", "responseId=R_3&recipient.email=rep%40example.com&score=4.5&note=quick&amount="),
	} {
		var receipt struct{ ID, LoopID string }
		answer.Want(202).JSON(&receipt)
		if receipt.ID == "" || receipt.LoopID == "" {
			t.Errorf("no receipt: %s", answer.Body)
		}
	}
	f.Published(subjects.RecognitionSubmitted, 3)
	for n := range 3 {
		if sent := f.body(t, n); sent["note"] != "quick" || !reflect.DeepEqual(sent["recipients"], []any{"rep@example.com"}) {
			t.Errorf("sent %v", sent)
		}
	}
}

func TestBadInputIsAnsweredWithTheFieldAndPublishesNothing(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		fields                  []string
	}{
		{"misspelt field", "application/json", `{"responseId":"R_1","recipient":{"mail":"rep@example.com"}}`, 400, []string{"recipient.mail"}},
		{"missing fields", "application/json", `{"score":5}`, 400, []string{"responseId", "recipient"}},
		{"no address", "application/json", `{"responseId":"R_1","recipient":{"email":"rep"}}`, 400, []string{"recipient.email"}},
		{"half a cent", "application/json", `{"responseId":"R_1","recipient":{"employeeId":"E1001"},"amount":0.5}`, 400, []string{"amount"}},
		{"an award below nothing", "application/json", `{"responseId":"R_1","recipient":{"employeeId":"E1001"},"amount":-5}`, 400, []string{"amount"}},
		{"no number", "application/x-www-form-urlencoded", `responseId=R_1&recipient.employeeId=E1001&score=good`, 400, []string{"score"}},
		{"nobody", "application/json", `{"responseId":"R_1","recipient":{}}`, 422, []string{"recipient"}},
		{"no JSON", "application/json", `praise!`, 400, nil},
		{"another kind of body", "application/xml", `<praise/>`, 415, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.Do("POST", "/awardco/recognitions", c.contentType, c.body).WantProblem(c.status, c.fields...)
		})
	}
	if n := len(servicetest.Events(t, f.broker, subjects.RecognitionRequested)); n != 0 {
		t.Errorf("%d events published for bad input", n)
	}
}

func TestLogTellsNothingOfThePeople(t *testing.T) {
	f := start(t, nil)
	f.awards.Refuse(recognize, refused(400, "rep@example.com did not say Thank you for the quick help."))
	f.broker.Publish(subjects.RecognitionRequested, praise)
	f.Dead(1)
	f.Post("/awardco/recognitions", strings.ReplaceAll(praise, "R_1", "R_2"), "Prefer", "wait=20").Want(201)
	f.Stop()
	for _, secret := range []string{"rep@", "Grace", "Hopper", "quick help", apiKey} {
		if strings.Contains(f.Log(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	if !strings.Contains(f.Log(), `"event.handled"`) {
		t.Error("the log has no line of the event")
	}
}

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", recognizer.Define().Settings)
}

func TestACallThatTheFleetsLimitsHeldBackWasNeverSent(t *testing.T) {
	f := start(t, nil)
	if err := f.broker.JS.DeleteKeyValue(t.Context(), topology.Limits); err != nil {
		t.Fatal(err)
	}
	f.broker.Publish(subjects.RecognitionRequested, praise)
	bustest.Eventually(t, "held", func() bool {
		return len(f.broker.Messages(topology.Retries, topology.HoldSubject(topology.AwardcoRecognizer, "*"))) == 1
	})
	record := servicetest.Record(t, f.broker, effect.Recognition("R_1"))
	if step := record.Steps[len(record.Steps)-1]; record.State != effect.Intended || record.Owner != "" || step.State != effect.Intended {
		t.Errorf("the ledger holds %+v; want nothing sent and nobody at it", record)
	}
	if n := len(f.awards.Calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// TestWhatTheVendorCallsTheRecipientIsNotSaid holds that neither log nor dead letter nor the answer at the door names them, by
// whatever of the request Awardco calls them.
func TestWhatTheVendorCallsTheRecipientIsNotSaid(t *testing.T) {
	for said, want := range map[string]string{
		"Grace Hopper cannot receive recognitions":           "[personal] cannot receive recognitions",
		"Hopper, Grace cannot receive recognitions":          "[personal], [personal] cannot receive recognitions",
		"ghopper1 <rep@example.com> is archived":             "[personal] <[personal]> is archived",
		"The note 'Thank you for the q...' is too long":      "The note '[personal]...' is too long",
		"Invalid value: \"for the quick help\" is no reason": "Invalid value: \"[personal]\" is no reason",
	} {
		t.Run(said, func(t *testing.T) {
			f := start(t, nil)
			f.awards.Refuse(recognize, refused(400, said))
			answer := f.Post("/awardco/recognitions", strings.Replace(praise, `"email"`, `"username":"ghopper1","email"`, 1), "Prefer", "wait=20").Want(422).Body
			letter := f.Dead(1)[0]
			f.Stop()
			if !strings.Contains(letter.Reason, want) {
				t.Errorf("the reason is %q", letter.Reason)
			}
			for where, text := range map[string]string{"log": f.Log(), "answer": answer, "letter": letter.Reason} {
				for _, personal := range []string{"Hopper", "Grace", "ghopper1", "rep@", "quick"} {
					if strings.Contains(text, personal) {
						t.Errorf("%s: %s", where, text)
					}
				}
			}
		})
	}
}
