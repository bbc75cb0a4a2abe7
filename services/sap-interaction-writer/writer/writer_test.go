package writer_test

import (
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/writer"
)

const (
	secretLink = "https://simbrand.eu.qualtrics.com/jfe/form/SV_a1?Q_DL=secret"
	link       = `{"requestId":"A1","link":"` + secretLink + `","surveyId":"SV_a1","contact":{"externalId":"P-1001"},
		"campaign":{"campaignId":"0000012345","outboundId":"OB-0000000001"}}`
	answer = `{"surveyId":"SV_a1","responseId":"R_1","recordedAt":"2026-07-24T09:29:58.734Z","contact":{"externalId":"P-1001","email":"ada@example.com"},
		"values":{"QID1":9,"QID2":[1,4],"QID2_DO":["1","4"],"QID3_TEXT":"far too late","orderNumber":"900-1","status":0,"finished":1,"duration":107,
			"recipientEmail":"ada@example.com","recipientFirstName":"Ada","externalDataReference":"P-1001","ipAddress":"203.0.113.9","requestId":"A1","loopId":"L-1"},
		"labels":{"QID2":["Price","Speed"],"finished":"True"}}`
)

type fixture struct {
	*servicetest.Service
	broker *bustest.Broker
	tenant *tenant
}

func start(t *testing.T, env servicetest.Env) fixture {
	t.Helper()
	t.Parallel()
	f := fixture{tenant: newTenant(t), broker: bustest.Start(t, topology.Settings{})}
	all := servicetest.Env{"SAP_MARKETING_BASE_URL": f.tenant.URL, "SAP_MARKETING_USERNAME": user, "SAP_MARKETING_PASSWORD": password}
	maps.Copy(all, env)
	f.Service = servicetest.Start(t, f.broker, writer.Define, all)
	return f
}

// written gives the nth interaction.written when everything is done.
func (f fixture) written(n int) *eventsv1.InteractionWritten {
	f.Published(subjects.InteractionWritten, n)
	f.Settled()
	return f.Published(subjects.InteractionWritten, n)[n-1].Data.(*eventsv1.InteractionWritten)
}

func TestLinkIsWrittenAsDocumentedAfterALook(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.SurveyLinkCreated, link, "ce-time", "2026-07-24T09:30:00.123Z", "ce-loopid", "L-1")
	e := f.Published(subjects.InteractionWritten, 1)[0]
	want := map[string]any{
		"InteractionUUID": "00000000-0000-0000-0000-000000000000", "InteractionType": "SURVEY_LINK_CREATED",
		"InteractionTimeStampUTC": "2026-07-24T09:30:00Z", "InteractionSourceObjectType": "CUAN_CAMPAIGN_OUTBOUND",
		"InteractionSourceObject": "OB-0000000001", "InteractionSourceDataURL": secretLink,
	}
	if got := f.tenant.written(0); !reflect.DeepEqual(got, want) {
		t.Errorf("written\n%v, want\n%v", got, want)
	}
	if got := f.tenant.Patterns(); !slices.Equal(got, []string{find, find, fetch, deepInsert}) {
		t.Errorf("called %v", got)
	}
	m := e.Data.(*eventsv1.InteractionWritten)
	if m.GetKind() != "SURVEY_LINK_CREATED" || m.GetInteractionId() != uuid(1) || m.GetRequestId() != "A1" || e.LoopID != "L-1" {
		t.Errorf("interaction.written is %v in loop %s", m, e.LoopID)
	}
}

func TestOneSessionServesAllAndIsRenewedOnceWhenItEnds(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_PARALLEL": "1"})
	publish := func(ids ...string) {
		for _, id := range ids {
			f.broker.Publish(subjects.SurveyLinkCreated, strings.NewReplacer("A1", id, "OB-0000000001", "OB-"+id).Replace(link))
		}
	}
	publish("A1", "A2", "A3")
	f.written(3)
	if n := len(f.tenant.Calls(fetch)); n != 1 {
		t.Errorf("%d sessions for three writes, want one", n)
	}
	f.tenant.expire()
	publish("A4", "A5")
	f.written(5)
	if n := len(f.tenant.Calls(fetch)); n != 2 {
		t.Errorf("%d sessions after one ended, want two", n)
	}
	if n := f.tenant.count(); n != 5 {
		t.Errorf("%d interactions, want 5", n)
	}
}

func TestTenantWithoutDeepInsertGetsInteractionsAndIsNotAskedAgain(t *testing.T) {
	f := start(t, nil)
	f.tenant.noDeepInsert = true
	f.broker.Publish(subjects.SurveyLinkCreated, link)
	if m := f.written(1); m.GetInteractionId() != uuid(1) {
		t.Errorf("interaction.written is %v", m)
	}
	f.broker.Publish(subjects.SurveyResponseReceived, answer)
	f.written(2)
	if deep, plain := len(f.tenant.Calls(deepInsert)), len(f.tenant.Calls(insert)); deep != 1 || plain != 2 || f.tenant.count() != 2 {
		t.Errorf("%d deep inserts, %d plain, %d interactions; want 1, 2, 2", deep, plain, f.tenant.count())
	}
}

func TestWriteModeIsKept(t *testing.T) {
	t.Run("interactions", func(t *testing.T) {
		f := start(t, servicetest.Env{"SAP_MARKETING_WRITE_MODE": "interactions"})
		f.broker.Publish(subjects.SurveyLinkCreated, link)
		f.written(1)
		if got := f.tenant.Patterns(); !slices.Equal(got, []string{find, find, fetch, insert}) {
			t.Errorf("called %v", got)
		}
	})
	t.Run("deep-insert", func(t *testing.T) {
		f := start(t, servicetest.Env{"SAP_MARKETING_WRITE_MODE": "deep-insert"})
		f.tenant.noDeepInsert = true
		f.broker.Publish(subjects.SurveyLinkCreated, link)
		if letter := f.Dead(1)[0]; letter.Class != "refused" || !strings.Contains(letter.Reason, "Resource not found") {
			t.Errorf("dead letter %+v", letter)
		}
		if n := len(f.tenant.Calls(insert)); n != 0 {
			t.Errorf("%d plain inserts", n)
		}
	})
}

func TestAnyAnswerToADeepInsertIsUnderstood(t *testing.T) {
	for name, c := range map[string]struct {
		reply servicetest.Reply
		id    string
	}{
		"plain list":  {servicetest.Reply{Status: 201, Body: map[string]any{"d": map[string]any{"Interactions": []any{map[string]any{"InteractionUUID": "id-7"}}}}}, "id-7"},
		"one object":  {servicetest.Reply{Status: 201, Body: map[string]any{"d": map[string]any{"Interactions": map[string]any{"InteractionUUID": "id-7"}}}}, "id-7"},
		"deferred":    {servicetest.Reply{Status: 201, Body: map[string]any{"d": map[string]any{"Interactions": map[string]any{"__deferred": map[string]any{"uri": "x"}}}}}, ""},
		"no content":  {servicetest.Reply{Status: 204}, ""},
		"no envelope": {servicetest.Reply{Status: 200, Body: map[string]any{"ok": true}}, ""}, // it was done, and says no more
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.tenant.answer = func(string) servicetest.Reply { return c.reply }
			f.broker.Publish(subjects.SurveyLinkCreated, link)
			if m := f.written(1); m.GetInteractionId() != c.id {
				t.Errorf("id %q, want %q", m.GetInteractionId(), c.id)
			}
			if n := f.tenant.count(); n != 1 {
				t.Errorf("%d interactions, want 1", n)
			}
		})
	}
}

func TestInteractionThatIsThereIsNotWrittenAgain(t *testing.T) {
	f := start(t, nil)
	f.tenant.has("SURVEY_LINK_CREATED", "OB-somebody-else")
	f.tenant.has("SURVEY_LINK_CREATED", "OB-0000000001") // by the flow that closeloop replaces
	f.broker.Publish(subjects.SurveyLinkCreated, link)
	if m := f.written(1); m.GetInteractionId() != uuid(2) {
		t.Errorf("interaction.written is %v, want the one that is there", m)
	}
	if got := f.tenant.Patterns(); !slices.Equal(got, []string{find, find}) {
		t.Errorf("called %v, want the looks alone", got)
	}
}

func TestLostAnswerIsLookedUpAndNotRepeated(t *testing.T) {
	for _, mode := range []string{"deep-insert", "interactions"} {
		t.Run(mode, func(t *testing.T) {
			f := start(t, servicetest.Env{"SAP_MARKETING_WRITE_MODE": mode})
			f.tenant.Lose(map[string]string{"deep-insert": deepInsert, "interactions": insert}[mode])
			f.broker.Publish(subjects.SurveyLinkCreated, link)
			if m := f.written(1); m.GetInteractionId() != uuid(1) {
				t.Errorf("interaction.written is %v", m)
			}
			if n := f.tenant.count(); n != 1 {
				t.Errorf("%d interactions and so mails, want 1", n)
			}
		})
	}
}

func TestCrashAfterTheWriteMakesNoSecond(t *testing.T) {
	for name, there := range map[string]bool{"it arrived": true, "it did not": false} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			if there {
				f.tenant.has("SURVEY_RESPONSE", "R_1")
			}
			servicetest.Crashed(t, f.broker, effect.Interaction("SURVEY_RESPONSE", "R_1"), "L-1", servicetest.Step{Name: "interaction"})
			f.broker.Publish(subjects.SurveyResponseReceived, answer)
			f.written(1)
			if n := f.tenant.count(); n != 1 {
				t.Errorf("%d interactions, want 1", n)
			}
		})
	}
}

func TestOneLinkIsWrittenOnceHoweverOftenItIsSaid(t *testing.T) {
	f := start(t, nil)
	for range 3 { // one loop, so that they come one after another: a rival would wait for the other's lease
		f.broker.Publish(subjects.SurveyLinkCreated, link, "ce-loopid", "L-1")
	}
	f.written(1)
	f.Post("/sap/interactions", link, "Prefer", "wait=20").Want(201)
	f.Settled()
	if n := f.tenant.count(); n != 1 {
		t.Errorf("%d interactions and so mails, want 1", n)
	}
}

func TestAnswerIsWrittenWithItsWordsAndWithoutQualtricsOwnValues(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_CONTACT_ORIGIN": "EXT_CONTACT", "SAP_MARKETING_SCORE_FIELD": "QID1"})
	f.broker.Publish(subjects.SurveyResponseReceived, answer, "ce-loopid", "L-1")
	m := f.written(1)
	want := map[string]any{
		"InteractionUUID": "00000000-0000-0000-0000-000000000000", "InteractionType": "SURVEY_RESPONSE",
		"InteractionTimeStampUTC": "2026-07-24T09:29:58Z", "InteractionSourceObjectType": "SURVEY_RESPONSE",
		"InteractionSourceObject": "R_1", "InteractionSourceObjectAddlID": "SV_a1", "CommunicationMedium": "WEB",
		"InteractionContactOrigin": "EXT_CONTACT", "InteractionContactId": "P-1001", "InteractionSentimentValue": 9.0,
		"InteractionContentSubject": "Survey response R_1",
		"InteractionContent":        "QID1: 9\nQID2: Price, Speed\nQID3_TEXT: far too late\norderNumber: 900-1",
	}
	if got := f.tenant.written(0); !reflect.DeepEqual(got, want) {
		t.Errorf("written\n%v, want\n%v", got, want)
	}
	if m.GetKind() != "SURVEY_RESPONSE" || m.GetResponseId() != "R_1" || m.GetInteractionId() != uuid(1) {
		t.Errorf("interaction.written is %v", m)
	}
}

func TestSettingsChooseWhatIsWrittenOfAnAnswer(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_RESPONSE_FIELDS": "QID3_TEXT,recipientFirstName", "SAP_MARKETING_MEDIUM": "SURVEY", "SAP_MARKETING_SCORE_FIELD": "QID3_TEXT"})
	f.broker.Publish(subjects.SurveyResponseReceived, answer)
	f.written(1)
	got := f.tenant.written(0)
	if got["InteractionContent"] != "QID3_TEXT: far too late\nrecipientFirstName: Ada" || got["CommunicationMedium"] != "SURVEY" {
		t.Errorf("written %v", got)
	}
	for _, absent := range []string{"InteractionContactId", "InteractionContactOrigin", "InteractionSentimentValue"} {
		if _, there := got[absent]; there {
			t.Errorf("%s is written, though nothing says so", absent)
		}
	}
}

func TestCustomFieldsOfTheTenantAreWritten(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_CUSTOM_FIELDS": "YY1_SurveyObjType_MIA:Q_SURVEY,YY1_SurveyObjId_MIA:{surveyId}"})
	f.broker.Publish(subjects.SurveyLinkCreated, link)
	f.written(1)
	if got := f.tenant.written(0); got["YY1_SurveyObjType_MIA"] != "Q_SURVEY" || got["YY1_SurveyObjId_MIA"] != "SV_a1" {
		t.Errorf("written %v", got)
	}
}

func TestLinkOfNoCampaignIsFoundByItsRequest(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.SurveyLinkCreated, `{"requestId":"O'Neil 1","link":"`+secretLink+`"}`)
	f.written(1)
	if got := f.tenant.written(0)["InteractionSourceObject"]; got != "O'Neil 1" {
		t.Errorf("source object %v", got)
	}
	if got := f.tenant.Calls(find)[0].Query.Get("$filter"); !strings.Contains(got, "'O''Neil 1'") {
		t.Errorf("filter %s", got)
	}
}

func TestIdsThatSAPWouldCutAreRefusedWithTheField(t *testing.T) {
	f := start(t, nil)
	long := strings.Repeat("r", 51)
	for i, c := range []struct{ body, field string }{
		{strings.Replace(answer, "R_1", long, 1), "responseId"},
		{strings.Replace(answer, "SV_a1", "SV_"+long, 1), "surveyId"},
	} {
		f.broker.Publish(subjects.SurveyResponseReceived, c.body)
		letter := f.Dead(i + 1)[i]
		if letter.Class != "invalid" || letter.Field != c.field || !strings.Contains(letter.Reason, "50") {
			t.Errorf("dead letter %+v, want field %s", letter, c.field)
		}
		f.Post("/sap/interactions", c.body).WantProblem(400, c.field)
	}
	f.broker.Publish(subjects.SurveyLinkCreated, strings.Replace(link, "OB-0000000001", long, 1))
	if letter := f.Dead(3)[2]; letter.Field != "campaign.outboundId" {
		t.Errorf("dead letter %+v", letter)
	}
	if n := len(f.tenant.Calls()); n != 0 {
		t.Errorf("%d calls for ids that SAP would cut", n)
	}
}

func TestRefusalEndsInTheDeadLettersInSAPsWordsAndTheNextIsDone(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_CUSTOM_FIELDS": "YY1_Unknown_MIA:x"})
	f.broker.Publish(subjects.SurveyLinkCreated, link)
	f.broker.Publish(subjects.SurveyResponseReceived, answer)
	letter := f.Dead(1)[0]
	if letter.Class != "refused" || !strings.Contains(letter.Reason, "sap-marketing: ") || !strings.Contains(letter.Reason, "Property YY1_Unknown_MIA is not known") {
		t.Errorf("dead letter %+v", letter)
	}
	bustest.Eventually(t, "the answer written", func() bool { return f.tenant.count() == 1 })
}

func TestVendorOutPausesAndLosesNothing(t *testing.T) {
	for name, reply := range map[string]servicetest.Reply{
		"credentials refused": refused(http.StatusUnauthorized, "Logon failed"),
		"login page":          {Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>Log in</html>"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			f.tenant.Refuse(find, reply)
			f.broker.Publish(subjects.SurveyLinkCreated, link)
			f.written(1) // and no dead letter
			if n := f.tenant.count(); n != 1 {
				t.Errorf("%d interactions, want 1", n)
			}
		})
	}
}

func TestDoorTakesLinksAndAnswers(t *testing.T) {
	f := start(t, nil)
	var receipt struct{ ID, LoopID string }
	if f.Post("/sap/interactions", link).Want(202).JSON(&receipt); receipt.ID == "" || receipt.LoopID == "" {
		t.Error("no receipt")
	}
	f.written(1)
	var done struct{ Kind, InteractionID, ResponseID string }
	f.Post("/sap/interactions", answer, "Prefer", "wait=20").Want(201).JSON(&done)
	if done.Kind != "SURVEY_RESPONSE" || done.InteractionID != uuid(2) || done.ResponseID != "R_1" {
		t.Errorf("answered %+v", done)
	}
}

func TestBadInputIsAnsweredWithTheFieldAndPublishesNothing(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		fields                  []string
	}{
		{"misspelt field", "application/json", `{"requestId":"A1","lnik":"https://example.com"}`, 400, []string{"lnik"}},
		{"missing fields", "application/json", `{}`, 400, []string{"requestId", "link"}},
		{"no link", "application/json", `{"requestId":"A1","link":"survey"}`, 400, []string{"link"}},
		{"misspelt field of an answer", "application/json", `{"responseId":"R_1","value":{}}`, 400, []string{"value"}},
		{"empty response id", "application/json", `{"responseId":""}`, 400, []string{"responseId"}},
		{"no JSON", "application/json", `link!`, 400, nil},
		{"another kind of body", "text/plain", `{}`, 415, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.Do("POST", "/sap/interactions", c.contentType, c.body).WantProblem(c.status, c.fields...)
		})
	}
	if n := len(servicetest.Events(t, f.broker, "survey.>")); n != 0 {
		t.Errorf("%d events published for bad input", n)
	}
}

func TestLogTellsNothingOfThePerson(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_CONTACT_ORIGIN": "EXT_CONTACT"})
	f.tenant.Refuse(deepInsert, refused(400, "P-1001 said FAR TOO LATE at 203.0.113.9, see "+secretLink))
	f.Post("/sap/interactions", answer).Want(202)
	reason := f.Dead(1)[0].Reason
	f.Post("/sap/interactions", strings.Replace(answer, "R_1", "R_2", 1), "Prefer", "wait=20").Want(201)
	f.Post("/sap/interactions", link, "Prefer", "wait=20").Want(201)
	f.Stop()
	for _, secret := range []string{"ada@", "Ada", "P-1001", "oo late", "OO LATE", "Q_DL", "secret", "token-1", "SAP_SESSIONID"} {
		if strings.Contains(f.Log(), secret) || strings.Contains(reason, secret) {
			t.Errorf("%q is in the log or the reason %q", secret, reason)
		}
	}
	if !strings.Contains(f.Log(), `"event.handled"`) {
		t.Error("the log has no line of the event")
	}
}

func TestSettingsThatCannotWorkAreRefusedByName(t *testing.T) {
	for variable, env := range map[string]servicetest.Env{
		"SAP_MARKETING_PASSWORD": {}, "SAP_MARKETING_WRITE_MODE": {"SAP_MARKETING_WRITE_MODE": "many"}, "SAP_MARKETING_PARALLEL": {"SAP_MARKETING_PARALLEL": "0"},
	} {
		if err := servicetest.Load(env, writer.Define().Settings); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%v: error %v does not name %s", env, err, variable)
		}
	}
}

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", writer.Define().Settings)
}

func definedSettings() any { return writer.Define().Settings }
