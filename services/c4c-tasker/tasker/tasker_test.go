package tasker_test

import (
	"encoding/json"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/c4c-tasker/tasker"
)

const late = `{"responseId":"R_1","subject":"Cart Abandonment - Check Delivery Time","text":"Wanted by 2026-08-01: Desk lamp",
	"accountId":"1000123","contactId":"1000456","processorId":"8000000002","ownerId":"8000000007","priority":"1",
	"dueAt":"2026-07-27T18:00:00+02:00"}`

type fixture struct {
	*servicetest.Service
	broker *bustest.Broker
	sales  *salesCloud
}

func start(t *testing.T, env servicetest.Env, declared ...topology.Settings) fixture {
	t.Helper()
	t.Parallel()
	f := fixture{sales: newSalesCloud(t), broker: bustest.Start(t, append(declared, topology.Settings{})[0])}
	all := servicetest.Env{"C4C_BASE_URL": f.sales.URL, "C4C_USERNAME": user, "C4C_PASSWORD": password, "C4C_CODE_LISTS": "off"}
	maps.Copy(all, env)
	f.Service = servicetest.Start(t, f.broker, tasker.Define, all)
	return f
}

// body gives what was sent to make the nth task.
func (f fixture) body(t *testing.T, n int) map[string]any {
	t.Helper()
	var sent map[string]any
	if err := json.Unmarshal([]byte(f.sales.Calls(create)[n].Body), &sent); err != nil {
		t.Fatal(err)
	}
	return sent
}

func TestTaskHasTheFieldsOfThePublishedExampleAndNoOthers(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.FeedbackDeliveryLate, late, "ce-loopid", "L-1")

	e := f.Published(subjects.TaskCreated, 1)[0]
	want := map[string]any{
		"Subject": "Cart Abandonment - Check Delivery Time [R_1]", "Status": "1", "PriorityCode": "1",
		"MainAccountPartyID": "1000123", "MainContactPartyID": "1000456",
		"ProcessorPartyID": "8000000002", "MainEmployeeResponsiblePartyID": "8000000007",
		"DueDateTime": "2026-07-27T16:00:00Z", "DueDatetimeZoneCode": "UTC",
		"TasksTextCollection": []any{map[string]any{"TypeCode": "10002", "LanguageCode": "EN", "Text": "Wanted by 2026-08-01: Desk lamp"}},
	}
	if got := f.body(t, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("sent\n%v, want\n%v", got, want)
	}
	created := e.Data.(*eventsv1.TaskCreated)
	address := f.sales.URL + root + "/TasksCollection('" + created.GetObjectId() + "')"
	if created.GetResponseId() != "R_1" || created.GetTaskId() != "40211" || created.GetObjectId() == "" || created.GetUrl() != address {
		t.Errorf("task.created is %v", created)
	}
	if e.LoopID != "L-1" {
		t.Errorf("loop %q, want that of the feedback", e.LoopID)
	}
}

func TestWhatTheFeedbackLeavesOutComesFromTheSettingsOrIsNotSent(t *testing.T) {
	f := start(t, servicetest.Env{
		"C4C_PROCESSOR_ID": "8000000002", "C4C_PRIORITY": "7", "C4C_DUE_AFTER": "48h", "C4C_CSRF": "false",
		"C4C_TASK_URL": "https://sales.example.com/task/{objectId}",
	})
	f.broker.Publish(subjects.FeedbackDeliveryLate, `{"responseId":"R_1","subject":"Late"}`, "ce-time", "2026-07-24T09:30:00Z")

	created := f.Published(subjects.TaskCreated, 1)[0].Data.(*eventsv1.TaskCreated)
	want := map[string]any{
		"Subject": "Late [R_1]", "Status": "1", "PriorityCode": "7",
		"ProcessorPartyID": "8000000002", "MainEmployeeResponsiblePartyID": "8000000002",
		"DueDateTime": "2026-07-26T09:30:00Z", "DueDatetimeZoneCode": "UTC",
	}
	if got := f.body(t, 0); !reflect.DeepEqual(got, want) {
		t.Errorf("sent\n%v, want\n%v", got, want)
	}
	if want := "https://sales.example.com/task/" + created.GetObjectId(); created.GetUrl() != want {
		t.Errorf("address %q, want %q", created.GetUrl(), want)
	}
	if calls := f.sales.Patterns(); len(calls) != 1 {
		t.Errorf("called %v, want the one task and no token", calls)
	}
}

func TestLongestSubjectStillEndsInItsReference(t *testing.T) {
	f := start(t, nil, topology.Settings{TaskSubjects: []string{"feedback.delivered_to_the_wrong_address"}})
	reference := strings.Repeat("r", 100)
	f.broker.Publish("feedback.delivered_to_the_wrong_address",
		`{"responseId":"`+reference+`","subject":"`+strings.Repeat("ü", 650)+`"}`)
	f.Published(subjects.TaskCreated, 1)
	subject := f.body(t, 0)["Subject"].(string)
	if n := len([]rune(subject)); n != 765 || !strings.HasSuffix(subject, "ü ["+reference+"/delivered_to_the_wrong_address]") {
		t.Errorf("subject of %d characters ends in %q", n, subject[len(subject)-150:])
	}
}

func TestLostAnswerIsLookedUpAndNotRepeated(t *testing.T) {
	f := start(t, nil)
	f.sales.Lose(create)
	f.broker.Publish(subjects.FeedbackDeliveryLate, late)

	created := f.Published(subjects.TaskCreated, 1)[0].Data.(*eventsv1.TaskCreated)
	f.Settled()
	if sent, looked := len(f.sales.Calls(create)), len(f.sales.Calls(find)); sent != 1 || looked != 1 || f.sales.count() != 1 {
		t.Errorf("sent %d times, looked up %d times, %d tasks; want one of each", sent, looked, f.sales.count())
	}
	if created.GetTaskId() != "40211" {
		t.Errorf("the task that was found is not told: %v", created)
	}
}

func TestOneResponseMakesOneTaskHoweverOftenItIsSaid(t *testing.T) {
	f := start(t, nil)
	for range 3 { // one loop, so that they come one after another: a rival would wait for the other's lease
		f.broker.Publish(subjects.FeedbackDeliveryLate, late, "ce-loopid", "L-1")
	}
	f.Published(subjects.TaskCreated, 1)
	f.Settled()
	f.Post("/c4c/task", late).Want(202)
	f.Settled()
	if n := f.sales.count(); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
	if n := len(f.sales.Calls(fetch)); n != 1 {
		t.Errorf("%d sessions, want one", n)
	}
}

func TestAnotherSubjectIsAnotherMatterAndGetsItsOwnTask(t *testing.T) {
	f := start(t, nil, topology.Settings{TaskSubjects: []string{subjects.FeedbackDeliveryLate, "feedback.wrong_price"}})
	f.broker.Publish(subjects.FeedbackDeliveryLate, late)
	f.broker.Publish("feedback.wrong_price", late)
	f.Published(subjects.TaskCreated, 2)
	f.Settled()
	if n := f.sales.count(); n != 2 {
		t.Errorf("%d tasks, want 2", n)
	}
}

func TestDoorTakesJSONFormsAndTheSurveysOwnNames(t *testing.T) {
	fields := filepath.Join(t.TempDir(), "fields.yaml")
	if err := os.WriteFile(fields, []byte("/c4c/task:\n  complaint: text\n  response: responseId\n  kunde: accountId\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f := start(t, servicetest.Env{"DOOR_FIELDS_FILE": fields})
	form := url.Values{"responseId": {"R_2"}, "subject": {"Late & wrong"}, "text": {"50% off + späte Lieferung"}, "accountId": {"1000123"}}
	ids := map[string]bool{}
	for _, answer := range []servicetest.Answer{
		f.Post("/c4c/task", late),
		f.PostForm("/c4c/task", form.Encode()),
		f.Post("/c4c/task", `{"response":"R_3","subject":"Late","complaint":"Where is it?","kunde":"1000123"}`),
		f.PostForm("/c4c/task", "response=R_4&subject=Late&complaint=Where+is+it%3F&kunde=1000123"),
	} {
		var receipt struct{ ID, LoopID string }
		answer.Want(202).JSON(&receipt)
		if receipt.ID == "" || receipt.LoopID == "" {
			t.Errorf("no receipt: %s", answer.Body)
		}
		ids[receipt.ID] = true
	}
	f.Published(subjects.TaskCreated, 4)
	if len(ids) != 4 {
		t.Errorf("%d ids for 4 requests", len(ids))
	}
	texts := map[string]string{}
	for n := range 4 {
		sent := f.body(t, n)
		texts[sent["Subject"].(string)] = sent["TasksTextCollection"].([]any)[0].(map[string]any)["Text"].(string)
		if sent["MainAccountPartyID"] != "1000123" {
			t.Errorf("%v: account %v", sent["Subject"], sent["MainAccountPartyID"])
		}
	}
	want := map[string]string{
		"Cart Abandonment - Check Delivery Time [R_1]": "Wanted by 2026-08-01: Desk lamp", "Late & wrong [R_2]": "50% off + späte Lieferung",
		"Late [R_3]": "Where is it?", "Late [R_4]": "Where is it?",
	}
	if !reflect.DeepEqual(texts, want) {
		t.Errorf("texts %v, want %v", texts, want)
	}
}

func TestCallerWhoWaitsGetsTheTask(t *testing.T) {
	f := start(t, nil)
	for range 2 { // the second time it is known already
		var task struct{ ResponseID, TaskID, ObjectID, URL string }
		f.Post("/c4c/task", late, "Prefer", "wait=20").Want(201).JSON(&task)
		if task.ResponseID != "R_1" || task.TaskID != "40211" || task.ObjectID == "" || task.URL == "" {
			t.Errorf("answered %+v", task)
		}
	}
	if n := f.sales.count(); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
}

func TestUnknownAccountWaitsForAPersonWithItsIDInSAPsWordsAndTheNextIsDone(t *testing.T) {
	f := start(t, nil)
	unknown := strings.ReplaceAll(late, "1000123", "9999999")
	f.Post("/c4c/task", unknown, "Prefer", "wait=20").WantProblem(422)
	letter := f.Dead(1)[0]
	if letter.Class != "person" || letter.Field != "accountId" || !strings.Contains(letter.Reason, "sap-sales-cloud") || !strings.Contains(letter.Reason, "the account 9999999") || !strings.Contains(letter.Reason, "Account 9999999 does not exist") {
		t.Errorf("dead letter %+v", letter)
	}
	if letter.Subject != subjects.FeedbackDeliveryLate || !strings.Contains(letter.Body, `"R_1"`) {
		t.Errorf("the dead letter is not the original: %+v", letter)
	}
	f.broker.Publish(subjects.FeedbackDeliveryLate, strings.ReplaceAll(late, "R_1", "R_2"))
	bustest.Eventually(t, "the next task", func() bool { return f.sales.count() == 1 })

	// Mended, the same response may be tried again.
	f.broker.Publish(subjects.FeedbackDeliveryLate, late)
	bustest.Eventually(t, "the mended task", func() bool { return f.sales.count() == 2 })
}

func TestRequestSentAgainAfterARefusalIsHandledAgain(t *testing.T) {
	f := start(t, nil)
	unknown := strings.ReplaceAll(late, "1000123", "9999999")
	f.Post("/c4c/task", unknown, "Prefer", "wait=20").WantProblem(422)
	// The very same at once: it is handled, and refused, once more.
	f.Post("/c4c/task", unknown, "Prefer", "wait=20").WantProblem(422)
	f.Dead(2)
	// Mended: it becomes a task, and a repeat of that changes nothing.
	f.Post("/c4c/task", late, "Prefer", "wait=20").Want(201)
	f.Post("/c4c/task", late, "Prefer", "wait=20").Want(201)
	if n := f.sales.count(); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
}

func TestRefusedCredentialsPauseAndLoseNothing(t *testing.T) {
	f := start(t, nil)
	f.sales.setPassword("changed over night")
	for _, id := range []string{"R_1", "R_2", "R_3", "R_4"} {
		f.broker.Publish(subjects.FeedbackDeliveryLate, strings.ReplaceAll(late, "R_1", id))
	}
	bustest.Eventually(t, "paused", func() bool {
		consumer, err := f.broker.JS.Consumer(t.Context(), topology.Events, topology.C4CTasker)
		return err == nil && consumer.CachedInfo().Paused
	})
	f.sales.setPassword(password)
	f.Published(subjects.TaskCreated, 4) // and no dead letter
	f.Settled()
	if n := f.sales.count(); n != 4 {
		t.Errorf("%d tasks, want 4", n)
	}
	if n := len(f.sales.Calls()); n > 15 {
		t.Errorf("%d calls while the credentials were refused: that locks a user out", n)
	}
}

func TestBadInputIsAnsweredWithTheFieldAndPublishesNothing(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		fields                  []string
	}{
		{"misspelt field", "application/json", `{"responseId":"R_1","subjekt":"Late"}`, 400, []string{"subjekt"}},
		{"missing fields", "application/json", `{"text":"x"}`, 400, []string{"responseId", "subject"}},
		{"a number where a text is expected", "application/json", `{"responseId":1,"subject":"x"}`, 400, []string{"responseId"}},
		{"priority of two characters", "application/json", `{"responseId":"R_1","subject":"x","priority":"10"}`, 400, []string{"priority"}},
		{"no time", "application/json", `{"responseId":"R_1","subject":"x","dueAt":"tomorrow"}`, 400, []string{"dueAt"}},
		{"no such day", "application/json", `{"responseId":"R_1","subject":"x","dueAt":"2026-02-30T09:30:00Z"}`, 400, []string{"dueAt"}},
		{"wildcard", "application/json", `{"responseId":"R_*","subject":"x"}`, 400, []string{"responseId"}},
		{"no JSON", "application/json", `late!`, 400, nil},
		{"empty", "application/json", ``, 400, nil},
		{"a list", "application/json", `[{"responseId":"R_1","subject":"x"}]`, 400, nil},
		{"misspelt form field", "application/x-www-form-urlencoded", `responseId=R_1&subjekt=x`, 400, []string{"subjekt"}},
		{"another kind of body", "text/plain", `responseId=R_1&subject=x`, 415, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.Do("POST", "/c4c/task", c.contentType, c.body).WantProblem(c.status, c.fields...)
		})
	}
	if n := len(servicetest.Events(t, f.broker, "feedback.>")); n != 0 {
		t.Errorf("%d events published for bad input", n)
	}
}

func TestEventThatBreaksItsContractIsDeadWithTheField(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.FeedbackDeliveryLate, `{"responseId":"R_1","subject":"x","dueAt":"2026-02-30T09:30:00Z"}`)
	if letter := f.Dead(1)[0]; letter.Class != "invalid" || letter.Field != "dueAt" {
		t.Errorf("dead letter %+v", letter)
	}
	if n := len(f.sales.Calls()); n != 0 {
		t.Errorf("%d calls for an event that breaks its contract", n)
	}
}

func TestLogTellsNothingOfTheFeedback(t *testing.T) {
	f := start(t, nil)
	f.sales.Refuse(create, refused(400, "Where is my desk lamp? from ada@example.com is refused"))
	f.Post("/c4c/task", `{"responseId":"R_1","subject":"Angry Ada Lovelace","text":"Where is my desk lamp?"}`).Want(202)
	letter := f.Dead(1)[0]
	f.Post("/c4c/task", `{"responseId":"R_2","subject":"Angry Ada Lovelace","text":"Where is my desk lamp?"}`, "Prefer", "wait=20").Want(201)
	f.Stop()
	for _, secret := range []string{"Lovelace", "desk lamp", "ada@", password, "token-1", "SAP_SESSIONID"} {
		if strings.Contains(f.Log(), secret) || strings.Contains(letter.Reason, secret) {
			t.Errorf("%q is in the log or the reason", secret)
		}
	}
	if !strings.Contains(f.Log(), `"event.handled"`) {
		t.Error("the log has no line of the event")
	}
}

func TestStoppedServiceLeavesNothingBehind(t *testing.T) {
	f := start(t, servicetest.Env{"C4C_PARALLEL": "2"})
	for i := range 20 {
		f.broker.Publish(subjects.FeedbackDeliveryLate, strings.ReplaceAll(late, "R_1", "R_"+string(rune('a'+i))))
	}
	f.Published(subjects.TaskCreated, 1)
	f.Stop()
	next := servicetest.Start(t, f.broker, tasker.Define, servicetest.Env{"C4C_BASE_URL": f.sales.URL, "C4C_USERNAME": user, "C4C_PASSWORD": password, "C4C_CODE_LISTS": "off"})
	next.Published(subjects.TaskCreated, 20)
	next.Settled()
	if n := f.sales.count(); n != 20 {
		t.Errorf("%d tasks, want 20", n)
	}
}

func TestSettingsThatCannotWorkAreRefusedByName(t *testing.T) {
	const id = "0a1b2c3d-0000-4000-8000-000000000010"
	for variable, env := range map[string]servicetest.Env{
		"C4C_BASE_URL": {}, "C4C_PRIORITY": {"C4C_PRIORITY": "10"}, "C4C_PARALLEL": {"C4C_PARALLEL": "10"}, "C4C_DUE_AFTER": {"C4C_DUE_AFTER": "soon"},
		"C4C_PARALLEL_CALLS": {"C4C_PARALLEL_CALLS": "10"}, "C4C_PER_MINUTE": {"C4C_PER_MINUTE": "-1"}, "C4C_VERSION": {"C4C_VERSION": "3"},
		"C4C_TEXTS": {"C4C_TEXTS": "none"}, "C4C_GUESTS": {"C4C_GUESTS": "ignore"}, "C4C_DEFAULT_ACCOUNT_ID": {"C4C_GUESTS": "default-account"},
		"C4C_DATES": {"C4C_DATES": "us"}, "C4C_REFERENCE": {"C4C_REFERENCE": "text", "C4C_TEXTS": "separate"}, "C4C_CODE_LISTS": {"C4C_CODE_LISTS": "no"},
		"C4C_PARTY_LOOKUP": {"C4C_PARTY_LOOKUP": "always"}, "C4C_DOCUMENT_TYPE": {"C4C_DOCUMENT_TYPE": "00006"}, "C4C_ZONE": {"C4C_ZONE": "Europe/Berlin"},
		"C4C_GUESTS=drop": {"C4C_GUESTS": "drop", "C4C_PARTY_LOOKUP": "never"}, "C4C_PROCESSOR_ID": {"C4C_VERSION": "2", "C4C_PROCESSOR_ID": "8000000002"}, "C4C_V2_AUTH": {"C4C_VERSION": "2", "C4C_V2_AUTH": "oauth"},
		"C4C_V2_PRIORITIES": {"C4C_VERSION": "2", "C4C_PRIORITY": "5"}, "C4C_V2_NOTES_PATH": {"C4C_VERSION": "2", "C4C_V2_NOTES_PATH": "/notes"},
		"C4C_V2_FIND": {"C4C_VERSION": "2", "C4C_V2_FIND": "$filter=x", "C4C_PROCESSOR_ID": id},
	} {
		if err := servicetest.Load(env, tasker.Define().Settings); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%v: error %v does not name %s", env, err, variable)
		}
	}
}

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", tasker.Define().Settings)
}

// TestWhatTheVendorRepeatsInPartIsNotSaid holds that neither log nor dead letter nor the answer at the door has words of the
// customer's that SAP Sales Cloud cuts, or takes out of what it was sent.
func TestWhatTheVendorRepeatsInPartIsNotSaid(t *testing.T) {
	for name, c := range map[string]struct{ said, want string }{
		"cut":       {"Property Text has invalid value 'My daughter Annika was very late for the b...': longer than 40 characters", "Property Text has invalid value '[personal]...': longer than 40 characters"},
		"one line":  {"Line 'Annika Berg' of Text is refused", "Line '[personal]' of Text is refused"},
		"a passage": {"Text must not contain 'because of your courier'", "Text must not contain '[personal]'"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.sales.Refuse(create, refused(400, c.said))
			said := f.Post("/c4c/task", `{"responseId":"R_1","subject":"Late","text":"Who: Annika Berg\nMy daughter Annika was very late for the ball because of your courier."}`, "Prefer", "wait=20").Want(422).Body
			letter := f.Dead(1)[0]
			f.Stop()
			if !strings.Contains(letter.Reason, c.want) {
				t.Errorf("the reason is %q", letter.Reason)
			}
			for where, text := range map[string]string{"log": f.Log(), "answer": said, "letter": letter.Reason} {
				if strings.Contains(text, "Annika") || strings.Contains(text, "courier") {
					t.Errorf("%s: %s", where, text)
				}
			}
		})
	}
}
