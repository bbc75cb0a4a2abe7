package router_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/feedback-router/router"
)

// late is an answer to which both of the rules that come with closeloop have something to say.
var late = map[string]any{
	"QID1": "Delivery too late", "contact_me": "yes", "desired_date": "2026-08-01", "product_name": "Desk lamp",
	"account_id": "1000123", "contact_id": "1000456", "csat": 5, "rep_email": "rep@example.com", "why": "They called me back.",
	"QID2": []int{1, 4}, "requestId": "A1", "loopId": "L-1", "externalDataReference": "P-1001", "recipientEmail": "ada@example.com",
}

// the same answer as a web service task brings it.
const received = `{"surveyId":"SV_cart","responseId":"R_1","requestId":"A1","values":{"QID1":"Delivery too late","contact_me":"yes",
	"desired_date":"2026-08-01","product_name":"Desk lamp","csat":5,"rep_email":"rep@example.com","why":"They called me back."}}`

const notified = `{"surveyId":"SV_cart","responseId":"R_1","completedAt":"2026-07-24T09:30:00Z","context":"%s"}`

type fixture struct {
	*servicetest.Service
	broker *bustest.Broker
	brand  *brand
}

func start(t *testing.T, env servicetest.Env) fixture {
	t.Helper()
	t.Parallel()
	f := fixture{brand: newBrand(t), broker: bustest.Start(t, topology.Settings{})}
	all := servicetest.Env{"QUALTRICS_BASE_URL": f.brand.URL + "/API/v3", "QUALTRICS_API_TOKEN": token, "QUALTRICS_SWEEP_INTERVAL": "0"}
	maps.Copy(all, env)
	f.Service = servicetest.Start(t, f.broker, router.Define, all)
	return f
}

// rules writes a rules file.
func rules(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// counts gives how many events there are under each subject when everything is done.
func (f fixture) counts(t *testing.T) map[string]int {
	t.Helper()
	f.Settled()
	counts := map[string]int{}
	for _, m := range f.broker.Messages(topology.Events, ">") {
		counts[m.Subject]++
	}
	return counts
}

func TestAnswerIsFetchedWhenItIsThereAndTheRulesSpeak(t *testing.T) {
	f := start(t, nil)
	f.brand.answered("R_1", late)
	f.brand.labels = map[string]any{"QID2": []string{"Price", "Speed"}, "status": "IP Address"}
	f.brand.late = 1
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""), "ce-loopid", "L-of-the-notification")

	e := f.Published(subjects.SurveyResponseReceived, 1)[0]
	m := e.Data.(*eventsv1.SurveyResponseReceived)
	if m.GetSurveyId() != "SV_cart" || m.GetResponseId() != "R_1" || m.GetRequestId() != "A1" || m.GetContact().GetExternalId() != "P-1001" ||
		m.GetContact().GetEmail() != "ada@example.com" || !m.GetRecordedAt().AsTime().Equal(time.Date(2026, 7, 24, 9, 29, 58, 734e6, time.UTC)) {
		t.Errorf("survey.response.received is %v", m)
	}
	if v := m.GetValues(); v["csat"].GetNumberValue() != 5 || v["account_id"].GetStringValue() != "1000123" || len(v["QID2"].GetListValue().GetValues()) != 2 ||
		m.GetLabels()["QID2"].GetListValue().GetValues()[1].GetStringValue() != "Speed" {
		t.Errorf("values %v, labels %v", v, m.GetLabels())
	}
	feedback, recognition := f.Published(subjects.FeedbackDeliveryLate, 1)[0], f.Published(subjects.RecognitionRequested, 1)[0]
	for _, of := range []event.Event{e, feedback, recognition} {
		if of.LoopID != "L-1" {
			t.Errorf("%s is in loop %q, want the one that travelled with the transaction", of.Type, of.LoopID)
		}
	}
	if m := feedback.Data.(*eventsv1.FeedbackRaised); m.GetResponseId() != "R_1" || m.GetAccountId() != "1000123" || m.GetText() != "Wanted by 2026-08-01: Desk lamp" {
		t.Errorf("feedback is %v", m)
	}
	if m := recognition.Data.(*eventsv1.RecognitionRequested); m.GetRecipient().GetEmail() != "rep@example.com" || m.GetScore() != 5 {
		t.Errorf("recognition is %v", m)
	}
	if n := len(f.brand.Calls(read)); n != 2 {
		t.Errorf("read %d times, want twice: not yet, and there", n)
	}
}

func TestLoopOfAnAnswerIsThatOfItsRequestWhereNothingElseTells(t *testing.T) {
	for name, c := range map[string]struct {
		values  map[string]any
		context string
		request string
	}{
		"request id in the answer":        {map[string]any{"requestId": "A7"}, "OB-9", "A7"},
		"request id in the event":         {nil, "OB-9", "OB-9"},
		"something else under the name":   {map[string]any{"requestId": strings.Repeat("x", 51)}, "OB-9", "OB-9"},
		"something else everywhere":       {map[string]any{"requestId": 7}, strings.Repeat("x", 51), ""},
		"nothing: the notification's own": {nil, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.brand.answered("R_1", c.values)
			f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, c.context), "ce-loopid", "L-own")
			e := f.Published(subjects.SurveyResponseReceived, 1)[0]
			want := "L-own"
			if c.request != "" {
				want = event.IDOf(subjects.SurveyLinkRequested, c.request)
			}
			if got := e.Data.(*eventsv1.SurveyResponseReceived).GetRequestId(); got != c.request || e.LoopID != want {
				t.Errorf("request %q in loop %q, want %q in %q", got, e.LoopID, c.request, want)
			}
		})
	}
}

func TestNamesOfTheFieldsAreSettings(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_REQUEST_FIELD": "invitation", "QUALTRICS_LOOP_FIELD": "kreis"})
	f.brand.answered("R_1", map[string]any{"invitation": "A7", "kreis": "L-7", "requestId": "x", "loopId": "y"})
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""))
	if e := f.Published(subjects.SurveyResponseReceived, 1)[0]; e.LoopID != "L-7" || e.Data.(*eventsv1.SurveyResponseReceived).GetRequestId() != "A7" {
		t.Errorf("%v in loop %s", e.Data, e.LoopID)
	}
}

func TestBothDoorsForOneResponseMakeOneAnswer(t *testing.T) {
	t.Run("the answer first", func(t *testing.T) {
		f := start(t, nil)
		f.brand.answered("R_1", late)
		f.broker.Publish(subjects.SurveyResponseReceived, received)
		f.Published(subjects.FeedbackDeliveryLate, 1)
		f.Settled()
		f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, "A1"))
		want := map[string]int{subjects.SurveyResponseReceived: 1, subjects.SurveyResponseNotified: 1, subjects.FeedbackDeliveryLate: 1, subjects.RecognitionRequested: 1}
		if got := f.counts(t); !maps.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
		if n := len(f.brand.Calls(read)); n != 0 {
			t.Errorf("read %d times what was there", n)
		}
	})
	t.Run("the notification first", func(t *testing.T) {
		f := start(t, nil)
		f.brand.answered("R_1", late)
		f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, "A1"))
		f.Published(subjects.FeedbackDeliveryLate, 1)
		// As ingress would have published it; it asks the same ledger, and JetStream knows the key.
		ack := f.broker.Publish(subjects.SurveyResponseReceived, received, "Nats-Msg-Id", "survey.response.received/R_1")
		if !ack.Duplicate {
			t.Error("the same response is stored again")
		}
		f.broker.Publish(subjects.SurveyResponseReceived, received) // by hand: even so the rules speak once
		want := map[string]int{subjects.SurveyResponseReceived: 2, subjects.SurveyResponseNotified: 1, subjects.FeedbackDeliveryLate: 1, subjects.RecognitionRequested: 1}
		if got := f.counts(t); !maps.Equal(got, want) {
			t.Errorf("events %v, want %v", got, want)
		}
	})
}

func TestNotificationSaidOftenIsFetchedOnce(t *testing.T) {
	f := start(t, nil)
	f.brand.answered("R_1", late)
	for range 3 { // one loop, so that they come one after another: a rival would wait for the other's lease
		f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""), "ce-loopid", "L-1")
	}
	if got := f.counts(t); got[subjects.SurveyResponseReceived] != 1 || got[subjects.FeedbackDeliveryLate] != 1 {
		t.Errorf("events %v", got)
	}
	if n := len(f.brand.Calls(read)); n != 1 {
		t.Errorf("read %d times", n)
	}
}

func TestResponsesThatNoCustomerGaveAreIgnored(t *testing.T) {
	f := start(t, nil)
	for i, status := range []int{1, 2, 4, 8, 256} { // preview, test, imported, spam, synthetic
		id := fmt.Sprint("R_", i)
		f.brand.answered(id, maps.Clone(late))
		f.brand.responses[id]["status"] = status
		f.broker.Publish(subjects.SurveyResponseNotified, strings.Replace(fmt.Sprintf(notified, ""), "R_1", id, 1))
	}
	bustest.Eventually(t, "all read", func() bool { return len(f.brand.Calls(read)) == 5 })
	if got := f.counts(t); len(got) != 1 {
		t.Errorf("events %v, want the notifications alone", got)
	}
}

func TestWhichResponsesAreACustomersIsASetting(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_RESPONSE_STATUSES": "0,16"})
	for id, status := range map[string]any{"R_0": 0, "R_text": "0", "R_16": 16, "R_8": 8, "R_2": "2"} {
		f.brand.answered(id, maps.Clone(late))
		f.brand.now(func() { f.brand.responses[id]["status"] = status })
		f.broker.Publish(subjects.SurveyResponseNotified, strings.Replace(fmt.Sprintf(notified, ""), "R_1", id, 1))
	}
	bustest.Eventually(t, "all read", func() bool { return len(f.brand.Calls(read)) == 5 })
	f.Settled()
	got := map[string]bool{}
	for _, e := range f.Published(subjects.SurveyResponseReceived, 3) {
		got[e.Data.(*eventsv1.SurveyResponseReceived).GetResponseId()] = true
	}
	if want := map[string]bool{"R_0": true, "R_text": true, "R_16": true}; !maps.Equal(got, want) {
		t.Errorf("taken %v, want %v", got, want)
	}
}

func TestFinishedResponsesWithoutAStatusAreNormalWithOneWarning(t *testing.T) {
	f := start(t, nil)
	for _, id := range []string{"R_1", "R_2"} {
		f.brand.answered(id, maps.Clone(late))
		f.brand.now(func() { delete(f.brand.responses[id], "status") })
		f.broker.Publish(subjects.SurveyResponseNotified, strings.Replace(fmt.Sprintf(notified, ""), "R_1", id, 1))
	}
	f.Published(subjects.SurveyResponseReceived, 2)
	if n := strings.Count(f.Log(), `"level":"WARN","msg":"Qualtrics gives no status`); n != 1 {
		t.Errorf("%d warnings, want 1", n)
	}
}

func TestResponseThatIsNotFinishedAndHasNoStatusIsNotTakenForAnAnswer(t *testing.T) {
	f := start(t, nil)
	f.brand.answered("R_1", late)
	f.brand.now(func() { delete(f.brand.responses["R_1"], "status"); f.brand.responses["R_1"]["finished"] = 0 })
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""))
	bustest.Eventually(t, "held", func() bool { return strings.Contains(f.Log(), "there is no status") })
	if n := len(servicetest.Events(t, f.broker, subjects.SurveyResponseReceived)); n != 0 {
		t.Error("it was taken for an answer")
	}
	f.brand.answered("R_1", late) // it comes again, and is there
	f.Published(subjects.SurveyResponseReceived, 1)
}

func TestCrashWhileFetchingFetchesAgain(t *testing.T) {
	f := start(t, nil)
	f.brand.answered("R_1", late)
	servicetest.Crashed(t, f.broker, effect.Received("R_1"), "L-1")
	servicetest.Crashed(t, f.broker, effect.Rule("R_1", "delivery-too-late"), "L-1")
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""))
	f.Published(subjects.FeedbackDeliveryLate, 1)
	if got := f.counts(t); got[subjects.SurveyResponseReceived] != 1 || got[subjects.FeedbackDeliveryLate] != 1 || got[subjects.RecognitionRequested] != 1 {
		t.Errorf("events %v", got)
	}
}

func TestEachRuleSpeaksOnceForAResponse(t *testing.T) {
	f := start(t, servicetest.Env{"RULES_FILE": rules(t, `
rules:
  - name: late
    when: values.QID1 == "Delivery too late"
    publish: feedback.delivery_late
    with: {subject: '"Late"'}
  - name: late too
    when: values.csat >= 3
    publish: feedback.delivery_late
    with: {subject: '"Late too"'}
  - name: price
    when: values.price == "too high"
    publish: feedback.wrong_price
    with: {subject: '"Price"'}
`)})
	for range 3 { // replays
		f.broker.Publish(subjects.SurveyResponseReceived, received, "ce-loopid", "L-1")
	}
	f.broker.Publish(subjects.SurveyResponseReceived, strings.Replace(received, "R_1", "R_2", 1), "ce-loopid", "L-2")
	want := map[string]int{subjects.SurveyResponseReceived: 4, subjects.FeedbackDeliveryLate: 4}
	f.Published(subjects.FeedbackDeliveryLate, 4)
	if got := f.counts(t); !maps.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
	said := map[string]string{}
	for _, e := range servicetest.Events(t, f.broker, subjects.FeedbackDeliveryLate) {
		m := e.Data.(*eventsv1.FeedbackRaised)
		said[m.GetResponseId()+" "+m.GetSubject()] = e.LoopID
	}
	if want := map[string]string{"R_1 Late": "L-1", "R_1 Late too": "L-1", "R_2 Late": "L-2", "R_2 Late too": "L-2"}; !maps.Equal(said, want) {
		t.Errorf("said %v, want %v", said, want)
	}
}

func TestRuleThatFailsIsNamedAndTheOthersSpeak(t *testing.T) {
	f := start(t, servicetest.Env{"RULES_FILE": rules(t, `
rules:
  - name: broken
    when: values.csat >= 3
    publish: recognition.requested
    with: {recipient: {email: values.why}, score: values.csat}
  - name: good
    when: values.csat >= 3
    publish: feedback.wrong_price
    with: {subject: '"Price"'}
`)})
	f.broker.Publish(subjects.SurveyResponseReceived, received)
	letter := f.Dead(1)[0]
	if letter.Class != "invalid" || letter.Rule != "broken" || !strings.Contains(letter.Reason, "broken") || !strings.Contains(letter.Reason+letter.Field, "email") || strings.Contains(letter.Reason, "called me") {
		t.Errorf("dead letter %+v", letter)
	}
	if got := f.counts(t); got["feedback.wrong_price"] != 1 || got[subjects.RecognitionRequested] != 0 {
		t.Errorf("events %v", got)
	}
}

func TestRulesChangeWithTheirFile(t *testing.T) {
	path := rules(t, "rules: []\n")
	f := start(t, servicetest.Env{"RULES_FILE": path, "RULES_INTERVAL": "10ms"})
	f.broker.Publish(subjects.SurveyResponseReceived, received)
	f.Settled()
	replace := func(content string) {
		if err := os.Rename(rules(t, content), path); err != nil {
			t.Fatal(err)
		}
	}
	replace("rules: [{name: x, when: nonsense(, publish: feedback.x}]\n")
	bustest.Eventually(t, "refused", func() bool { return strings.Contains(f.Log(), "rules file refused") })
	replace("rules: [{name: new, when: values.csat > 3, publish: feedback.wrong_price, with: {subject: '\"New\"'}}]\n")
	bustest.Eventually(t, "in force", func() bool { return strings.Count(f.Log(), `"rules loaded"`) == 2 })
	f.broker.Publish(subjects.SurveyResponseReceived, strings.Replace(received, "R_1", "R_2", 1))
	f.Published("feedback.wrong_price", 1)
}

func TestRefusalsEndInTheDeadLettersInQualtricsWordsAndTheNextIsDone(t *testing.T) {
	f := start(t, nil)
	f.brand.answered("R_2", late)
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""))
	f.broker.Publish(subjects.SurveyResponseNotified, strings.Replace(fmt.Sprintf(notified, ""), "R_1", "R_2", 1))
	letter := f.Dead(1)[0]
	if letter.Class != "refused" || !strings.Contains(letter.Reason, "qualtrics: ") || !strings.Contains(letter.Reason, "Survey not found.") {
		t.Errorf("dead letter %+v", letter)
	}
	bustest.Eventually(t, "the next", func() bool { return len(servicetest.Events(t, f.broker, subjects.SurveyResponseReceived)) == 1 })

	// What was refused may come with its answers all the same.
	f.broker.Publish(subjects.SurveyResponseReceived, received)
	bustest.Eventually(t, "the rules", func() bool { return len(servicetest.Events(t, f.broker, subjects.FeedbackDeliveryLate)) == 2 })
}

func TestEventsThatBreakTheirContractAreDeadWithTheField(t *testing.T) {
	f := start(t, nil)
	for i, c := range []struct{ subject, body, field string }{
		{subjects.SurveyResponseNotified, `{"surveyId":"SV_1"}`, "responseId"},
		{subjects.SurveyResponseNotified, `{"surveyId":"SV_1","responseId":"../surveys"}`, "responseId"},
		{subjects.SurveyResponseReceived, `{"responseId":"R_1","value":{}}`, "value"},
	} {
		f.broker.Publish(c.subject, c.body)
		if letter := f.Dead(i + 1)[i]; letter.Class != "invalid" || letter.Field != c.field {
			t.Errorf("%s: dead letter %+v", c.body, letter)
		}
	}
}

func TestRefusedTokenPausesAndLosesNothing(t *testing.T) {
	f := start(t, nil)
	f.brand.answered("R_1", late)
	f.brand.Refuse(read, refused(401, "", "Token is not valid"))
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""))
	f.Published(subjects.FeedbackDeliveryLate, 1) // and no dead letter
}

func TestLogTellsNothingOfTheAnswer(t *testing.T) {
	f := start(t, nil)
	f.brand.answered("R_1", late)
	f.brand.answered("R_2", maps.Clone(late))
	f.brand.responses["R_2"]["status"] = 1
	f.broker.Publish(subjects.SurveyResponseNotified, fmt.Sprintf(notified, ""))
	f.broker.Publish(subjects.SurveyResponseNotified, strings.Replace(fmt.Sprintf(notified, ""), "R_1", "R_2", 1))
	f.Published(subjects.FeedbackDeliveryLate, 1)
	f.Settled()
	f.Stop()
	for _, secret := range []string{"ada@", "rep@", "Desk lamp", "called me", "too late", "P-1001", token} {
		if strings.Contains(f.Log(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	if !strings.Contains(f.Log(), `"event.handled"`) {
		t.Error("the log has no line of the event")
	}
}

func TestSettingsThatCannotWorkAreRefusedByName(t *testing.T) {
	good := servicetest.Env{"QUALTRICS_BASE_URL": "https://eu.qualtrics.com/API/v3", "QUALTRICS_API_TOKEN": token}
	if err := servicetest.Load(good, router.Define().Settings); err != nil {
		t.Fatal(err)
	}
	for variable, env := range map[string]servicetest.Env{
		"QUALTRICS_API_TOKEN": {"QUALTRICS_API_TOKEN": ""}, "RULES_INTERVAL": {"RULES_INTERVAL": "0s"},
		"RULES_FILE": {"RULES_FILE": rules(t, "rules: [{name: x}]")}, "no-such-file": {"RULES_FILE": "no-such-file.yaml"},
	} {
		all := maps.Clone(good)
		maps.Copy(all, env)
		if err := servicetest.Load(all, router.Define().Settings); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%v: error %v does not name %s", env, err, variable)
		}
	}
}

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", router.Define().Settings)
}
