package writer_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// publishLinks publishes links of a campaign, from one number on.
func (f fixture) publishLinks(from, n int) {
	for i := range n {
		id := fmt.Sprintf("OB-%05d", from+i)
		f.broker.Publish(subjects.SurveyLinkCreated, strings.NewReplacer("A1", "A-"+id, "OB-0000000001", id).Replace(link))
	}
}

// together gathers for long enough that what a test publishes is one wave.
var together = servicetest.Env{"SAP_MARKETING_WAVE_QUIET": "1s"}

func and(env servicetest.Env, pairs ...string) servicetest.Env {
	all := maps.Clone(env)
	for i := 0; i < len(pairs); i += 2 {
		all[pairs[i]] = pairs[i+1]
	}
	return all
}

func TestAThousandLinksCostAFewCallsAndEachIsWrittenOnce(t *testing.T) {
	f := start(t, together)
	f.publishLinks(1, 1000)
	bustest.Eventually(t, "a thousand interactions", func() bool { return f.tenant.count() >= 1000 })
	f.Settled()
	if calls := len(f.tenant.Calls()); calls > 20 {
		t.Errorf("%d calls for a thousand links: %v", calls, f.tenant.Patterns())
	}
	seen := map[any]int{}
	for n := range f.tenant.count() {
		seen[f.tenant.written(n)["InteractionSourceObject"]]++
	}
	if len(seen) != 1000 || f.tenant.count() != 1000 {
		t.Errorf("%d interactions for %d outbound ids, want 1000 for 1000", f.tenant.count(), len(seen))
	}
}

func TestWhatManyLinksInACallSaveIsTold(t *testing.T) {
	f := start(t, together)
	f.publishLinks(1, 1000)
	calls, written := 0, 0
	for _, a := range f.Told(1000) {
		for _, c := range a.Calls {
			if !c.Repeated && c.Write && c.Outcome == "ok" {
				calls++
				written += max(c.InsteadOf, 1)
			}
		}
	}
	if written != f.tenant.count() || written != 1000 || calls > 12 {
		t.Errorf("%d writes told instead of %d, %d interactions", calls, written, f.tenant.count())
	}
}

func TestOneLinkCostsThreeCallsWithAnOpenSession(t *testing.T) {
	f := start(t, nil)
	f.publishLinks(1, 1)
	f.written(1)
	before := len(f.tenant.Calls())
	f.publishLinks(2, 1)
	f.written(2)
	if got := f.tenant.Patterns()[before:]; !slices.Equal(got, []string{find, find, deepInsert}) {
		t.Errorf("called %v", got)
	}
}

func TestEachGetsTheKeyOfItsOwnInteraction(t *testing.T) {
	for _, mode := range []string{"deep-insert", "batch", "interactions"} {
		t.Run(mode, func(t *testing.T) {
			f := start(t, and(together, "SAP_MARKETING_WRITE_MODE", mode))
			f.publishLinks(1, 20)
			f.written(20)
			for _, e := range f.Published(subjects.InteractionWritten, 20) {
				m := e.Data.(*eventsv1.InteractionWritten)
				for n := range f.tenant.count() {
					if uuid(n+1) == m.GetInteractionId() && "A-"+fmt.Sprint(f.tenant.written(n)["InteractionSourceObject"]) != m.GetRequestId() {
						t.Errorf("%s has the key of %v", m.GetRequestId(), f.tenant.written(n)["InteractionSourceObject"])
					}
				}
			}
			singles := len(f.tenant.Calls(insert))
			if mode == "interactions" && singles != 20 || mode != "interactions" && singles != 0 {
				t.Errorf("%d single writes", singles)
			}
		})
	}
}

func TestOneRecordThatIsRefusedSinksNoOther(t *testing.T) {
	for _, mode := range []string{"deep-insert", "batch", "interactions"} {
		t.Run(mode, func(t *testing.T) {
			f := start(t, and(together, "SAP_MARKETING_WRITE_MODE", mode))
			f.tenant.blocked = "OB-00007"
			f.publishLinks(1, 16)
			letter := f.Dead(1)[0]
			bustest.Eventually(t, "the others are written", func() bool { return f.tenant.count() == 15 })
			f.Settled()
			if letter.Class != "refused" || !strings.Contains(letter.Reason, "The interaction is blocked") || !strings.Contains(letter.Body, "OB-00007") {
				t.Errorf("dead letter %+v", letter)
			}
			if n := len(f.Dead(1)); n != 1 || f.tenant.count() != 15 {
				t.Errorf("%d dead letters, %d interactions", n, f.tenant.count())
			}
		})
	}
}

func TestARefusedRecordCostsItsMatesNothingOrOneMoreRound(t *testing.T) {
	for links, want := range map[int][]string{
		16:  {fetch, batch, batch},                    // a look and a write
		150: {fetch, batch, deepInsert, batch, batch}, // a look, a write, and again in batches
	} {
		t.Run(fmt.Sprint(links), func(t *testing.T) {
			f := start(t, together)
			f.tenant.blocked = "OB-00007"
			f.publishLinks(1, links)
			f.Dead(1)
			bustest.Eventually(t, "the others are written", func() bool { return f.tenant.count() == links-1 })
			f.Settled()
			if got := f.tenant.Patterns(); !slices.Equal(got, want) || f.tenant.count() != links-1 {
				t.Errorf("%d interactions, called %v, want %v", f.tenant.count(), got, want)
			}
		})
	}
}

var loopInLog = regexp.MustCompile(`"loopId":"[^"]+"`)

func TestARecordThatTheTenantAlwaysFailsForHoldsUpNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		links, most int
		prepare     func(*tenant)
	}{
		// A look that fails for two operations, one for each of their ids, and a write.
		"in its operation": {30, 4, func(v *tenant) { v.failing = "OB-00007" }},
		// The token, the look, parts of it until the two reads of the one are alone, and a write.
		"with its call":   {30, 1 + 1 + 4 + 8 + 8 + 1, func(v *tenant) { v.failing, v.wholly = "OB-00007", true }},
		"many, with them": {150, 1 + 1 + 4 + 8 + 8 + 8 + 8 + 1, func(v *tenant) { v.failing, v.wholly = "OB-00007", true }},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, together)
			c.prepare(f.tenant)
			f.publishLinks(1, c.links)
			bustest.Eventually(t, "the others are written", func() bool { return f.tenant.count() == c.links-1 })
			calls := f.tenant.Patterns()
			f.Published(subjects.InteractionWritten, c.links-1)
			if writes := slices.DeleteFunc(slices.Clone(calls), func(p string) bool { return p == find }); len(writes) > c.most {
				t.Errorf("%d calls until the others were written, want at most %d: %v", len(writes), c.most, calls)
			}
			bustest.Eventually(t, "the one is given back", func() bool { return strings.Contains(f.Log(), `"outcome":"retry"`) })
			back := map[string]bool{}
			for line := range strings.Lines(f.Log()) {
				if strings.Contains(line, `"outcome":"retry"`) {
					back[loopInLog.FindString(line)] = true
				}
			}
			if len(back) != 1 {
				t.Errorf("given back: %v, want the one alone", back)
			}
			f.tenant.set(func(v *tenant) { v.failing = "" })
			f.written(c.links)
			if n := f.tenant.count(); n != c.links {
				t.Errorf("%d interactions, want %d", n, c.links)
			}
		})
	}
}

func TestATenantThatFailsForAllIsNotAskedForEachID(t *testing.T) {
	f := start(t, together)
	f.tenant.set(func(v *tenant) { v.failing, v.wholly = "Interaction", true })
	f.publishLinks(1, 200)
	bustest.Eventually(t, "all are given back", func() bool { return strings.Count(f.Log(), `"outcome":"retry"`) >= 200 })
	if n := len(f.tenant.Calls(batch)); n > 5 {
		t.Errorf("%d batches to be told the same", n)
	}
}

func TestALostAnswerToManyIsLookedUpAndNoneIsWrittenTwice(t *testing.T) {
	f := start(t, and(together, "SAP_MARKETING_WRITE_MODE", "deep-insert"))
	f.tenant.Lose(deepInsert)
	f.publishLinks(1, 50)
	bustest.Eventually(t, "written", func() bool { return f.tenant.count() >= 50 })
	f.written(50)
	if n := f.tenant.count(); n != 50 {
		t.Errorf("%d interactions and so mails, want 50", n)
	}
}

func TestATenantWithoutBatchIsAskedWithFiltersForMany(t *testing.T) {
	for name, env := range map[string]servicetest.Env{"found out": nil, "by setting": {"SAP_MARKETING_BATCH": "false"}} {
		t.Run(name, func(t *testing.T) {
			f := start(t, and(together, "SAP_MARKETING_BATCH", env["SAP_MARKETING_BATCH"]))
			f.tenant.noBatch = true
			f.publishLinks(1, 100)
			f.written(100)
			asked, batches := len(f.tenant.Calls(find)), len(f.tenant.Calls(batch))
			if asked > 10 || batches > 1 || env != nil && batches > 0 || f.tenant.count() != 100 {
				t.Errorf("%d reads, %d batches, %d interactions", asked, batches, f.tenant.count())
			}
		})
	}
}

func TestAnIDThatCannotBeLookedUpHoldsUpNoOther(t *testing.T) {
	f := start(t, together)
	f.tenant.unreadable = "OB-00003"
	f.publishLinks(1, 10)
	letter := f.Dead(1)[0]
	bustest.Eventually(t, "the others are written", func() bool { return f.tenant.count() == 9 })
	if letter.Class != "refused" || !strings.Contains(letter.Body, "OB-00003") {
		t.Errorf("dead letter %+v", letter)
	}
}

func TestOfSeveralInteractionsOneIsTaken(t *testing.T) {
	f := start(t, together)
	for range 3 {
		f.tenant.has("SURVEY_LINK_CREATED", "OB-00001")
	}
	f.publishLinks(1, 5)
	f.written(5)
	if n := f.tenant.count(); n != 7 {
		t.Errorf("%d interactions, want the 3 that were there and 4 more", n)
	}
}

func TestALinkWaitsForMarketingsOwnInteraction(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_WAIT_FIRST": "300ms"})
	f.tenant.set(func(v *tenant) { v.noDistribution = true })
	f.publishLinks(1, 1)
	bustest.Eventually(t, "looked for it twice", func() bool { return len(f.tenant.Calls(find)) >= 2 })
	if n := f.tenant.count(); n != 0 {
		t.Fatalf("%d interactions before Marketing's own", n)
	}
	f.tenant.set(func(v *tenant) { v.noDistribution = false })
	f.written(1)
	// A request of no campaign has nothing to wait for.
	f.tenant.set(func(v *tenant) { v.noDistribution = true })
	f.broker.Publish(subjects.SurveyLinkCreated, `{"requestId":"B1","link":"`+secretLink+`"}`)
	f.written(2)
}

func TestWaitingEndsInAnAlarmAndStartsAnewWhenReplayed(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_WAIT_FIRST": "100ms", "SAP_MARKETING_WAIT_LIMIT": "1s"})
	f.tenant.set(func(v *tenant) { v.noDistribution = true })
	f.publishLinks(1, 2)
	letter := f.Dead(2)[0]
	if letter.Class != "person" || !strings.Contains(letter.Reason, "enhancement (5)") || letter.Field != "campaign.outboundId" {
		t.Errorf("dead letter %+v", letter)
	}
	if n := strings.Count(f.Log(), "writes no SURVEY_DISTRIBUTION"); n != 1 {
		t.Errorf("people are told %d times of one campaign, want once", n)
	}
	if metrics := f.Get("/metrics").Body; !strings.Contains(metrics, "closeloop_marketing_distribution_missing_total 2") &&
		!strings.Contains(metrics, `closeloop_marketing_distribution_missing_total{service="sap-interaction-writer"} 2`) {
		t.Error("the metric does not count them")
	}
	f.publishLinks(1, 1) // replayed: it waits again
	looks := len(f.tenant.Calls(find))
	bustest.Eventually(t, "looked for it again", func() bool { return len(f.tenant.Calls(find)) > looks })
	f.tenant.set(func(v *tenant) { v.noDistribution = false })
	bustest.Eventually(t, "written", func() bool { return f.tenant.count() == 1 })
}

func TestWaitingCanBeSwitchedOff(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_WAIT_FOR_DISTRIBUTION": "false"})
	f.tenant.set(func(v *tenant) { v.noDistribution = true })
	f.publishLinks(1, 1)
	f.written(1)
	if got := f.tenant.Patterns(); !slices.Equal(got, []string{find, fetch, deepInsert}) {
		t.Errorf("called %v", got)
	}
}

func TestExtensionFieldsOfAnswersAreWritten(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_RESPONSE_CUSTOM_FIELDS": "YY1_SurveyObjType_MIA:{surveyId}/{responseId},YY1_SurveyObjId_MIA:{values.QID1}"})
	f.broker.Publish(subjects.SurveyResponseReceived, answer)
	f.written(1)
	if got := f.tenant.written(0); got["YY1_SurveyObjType_MIA"] != "SV_a1/R_1" || got["YY1_SurveyObjId_MIA"] != "9" {
		t.Errorf("written %v", got)
	}
}

const surveysFile = `
surveys:
  SV_a1:
    name: Service survey July
    version: 2
    marketingArea: EMEA
    questions:
      - {id: QID1, as: score, text: How satisfied are you?, type: NPS, answers: [{id: "9", text: Nine, weight: 9}]}
      - {id: QID3_TEXT, text: Why?}
`

func TestAnswersGoToTheSurveyImport(t *testing.T) {
	path := filepath.Join(t.TempDir(), "surveys.yaml")
	if err := os.WriteFile(path, []byte(surveysFile), 0o600); err != nil {
		t.Fatal(err)
	}
	f := start(t, and(together, "SAP_MARKETING_RESPONSES", "survey", "SAP_MARKETING_SURVEYS_FILE", path, "SAP_MARKETING_CONTACT_ORIGIN", "EXT",
		"SAP_MARKETING_SURVEY_WRAPPED", "true", "SAP_MARKETING_ARRAYS", "results", "SAP_MARKETING_DATES", "ticks"))
	f.tenant.Handle(surveys, func(servicetest.Call) servicetest.Reply { return servicetest.Reply{Status: 201, Body: `{"d":{}}`} })
	long := strings.Repeat("ä", 1400)
	for i := range 3 {
		f.broker.Publish(subjects.SurveyResponseReceived, strings.NewReplacer("R_1", fmt.Sprintf("R_%d", i+1), "far too late", long).Replace(answer))
	}
	if m := f.written(3); m.GetKind() != "SURVEY_RESPONSE" || m.GetResponseId() == "" {
		t.Errorf("interaction.written is %v", m)
	}
	calls := f.tenant.Calls(surveys)
	if len(calls) != 1 {
		t.Fatalf("%d calls for three answers to one survey, want one", len(calls))
	}
	var sent struct{ SurveySet map[string]any }
	if err := json.Unmarshal([]byte(calls[0].Body), &sent); err != nil {
		t.Fatal(err)
	}
	results := func(v any) []any { return v.(map[string]any)["results"].([]any) }
	first := results(sent.SurveySet["SurveySurveyResponseSet"])[0].(map[string]any)
	want := map[string]any{
		"SurveyId": "SV_a1", "Version": 2.0, "Provider": "Qualtrics", "ResponseId": first["ResponseId"], "OutboundKey": "", "IsResponseAnonymous": false,
		"IdOrigin": "EXT", "Id": "P-1001", "RespondedOn": "/Date(1784885398000)/", "ResponseUrl": "",
		"SurveyResponseSurveyResponseDetailSet": map[string]any{"results": []any{
			map[string]any{"QuestionId": "score", "Version": 2.0, "ResponseIdCol": "", "ResponseIdRow": "", "ResponseText": "9"},
			map[string]any{"QuestionId": "QID3_TEXT", "Version": 2.0, "ResponseIdCol": "", "ResponseIdRow": "", "ResponseText": long[:2*1332] + "…"},
		}},
	}
	if !reflect.DeepEqual(first, want) {
		t.Errorf("sent\n%v, want\n%v", first, want)
	}
	if questions := results(sent.SurveySet["SurveyQuestionSet"]); len(questions) != 2 || sent.SurveySet["MarketingAreaId"] != "EMEA" || sent.SurveySet["Name"] != "Service survey July" {
		t.Errorf("survey %v", sent.SurveySet)
	}
}

func TestALostAnswerOfTheSurveyImport(t *testing.T) {
	for setting, person := range map[string]bool{"upsert": false, "refused": false, "stored-twice": true} {
		t.Run(setting, func(t *testing.T) {
			f := start(t, servicetest.Env{"SAP_MARKETING_RESPONSES": "survey", "SAP_MARKETING_REPEATED_RESPONSE": setting})
			f.tenant.Handle(surveys, func(servicetest.Call) servicetest.Reply {
				if setting == "refused" && len(f.tenant.Calls(surveys)) > 1 {
					return refused(400, "Instance with the same key already exists")
				}
				return servicetest.Reply{Status: 201}
			})
			f.tenant.Lose(surveys)
			f.broker.Publish(subjects.SurveyResponseReceived, answer)
			if person {
				if letter := f.Dead(1)[0]; letter.Class != "person" || len(f.tenant.Calls(surveys)) != 1 {
					t.Errorf("dead letter %+v after %d calls", letter, len(f.tenant.Calls(surveys)))
				}
				return
			}
			f.written(1)
			if n := len(f.tenant.Calls(surveys)); n != 2 {
				t.Errorf("sent %d times, want once more", n)
			}
		})
	}
}

func TestContactsAreWrittenBeforeTheirAnswersAndSinkNoOther(t *testing.T) {
	f := start(t, and(together, "SAP_MARKETING_CONTACTS", "true", "SAP_MARKETING_CONTACT_ORIGIN", "EXT"))
	var bodies []string
	f.tenant.Handle(contact, func(c servicetest.Call) servicetest.Reply {
		bodies = append(bodies, c.Value("key")+" "+c.Body)
		return servicetest.Reply{Status: 204}
	})
	f.broker.Publish(subjects.SurveyResponseReceived, answer)
	f.written(1)
	want := `ContactOriginData(ContactOrigin='EXT',ContactID='P-1001') {"ContactID":"P-1001","ContactOrigin":"EXT","EmailAddress":"ada@example.com",` +
		`"FirstName":"Ada","IsConsumer":true,"OriginDataLastChgUTCDateTime":"2026-07-24T09:29:58Z"}`
	if len(bodies) != 1 || bodies[0] != want {
		t.Errorf("sent\n%s, want\n%s", bodies, want)
	}
	if f.tenant.written(0)["InteractionContactId"] != "P-1001" {
		t.Errorf("written %v", f.tenant.written(0))
	}
	f.tenant.Refuse(contact, refused(400, "Contact is blocked"))
	f.broker.Publish(subjects.SurveyResponseReceived, strings.ReplaceAll(answer, "R_1", "R_2"))
	if letter := f.Dead(1)[0]; letter.Class != "refused" || !strings.Contains(letter.Reason, "Contact is blocked") || f.tenant.count() != 1 {
		t.Errorf("dead letter %+v, %d interactions", letter, f.tenant.count())
	}
}

func TestAnswersCanBeSwitchedOff(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_RESPONSES": "off"})
	f.broker.Publish(subjects.SurveyResponseReceived, answer)
	f.publishLinks(1, 1)
	f.written(1)
	if n := f.tenant.count(); n != 1 {
		t.Errorf("%d interactions, want the link alone", n)
	}
}

func TestMoreThanAFieldHoldsIsRefusedBeforeAnyCall(t *testing.T) {
	f := start(t, servicetest.Env{"SAP_MARKETING_RESPONSES": "survey", "SAP_MARKETING_LONG_ANSWERS": "refuse", "SAP_MARKETING_CONTACTS": "true", "SAP_MARKETING_CONTACT_ORIGIN": "EXT"})
	for i, c := range []struct{ old, replacement, field string }{
		{"R_1", "R_" + strings.Repeat("1", 31), "responseId"},
		{"SV_a1", "SV_" + strings.Repeat("1", 28), "surveyId"},
		{"far too late", strings.Repeat("x", 1334), "values"},
		{`"Ada"`, `"` + strings.Repeat("A", 41) + `"`, "values.recipientFirstName"},
		{"QID3_TEXT", strings.Repeat("Q", 31), "values"},
	} {
		f.broker.Publish(subjects.SurveyResponseReceived, strings.ReplaceAll(answer, c.old, c.replacement))
		if letter := f.Dead(i + 1)[i]; letter.Class != "invalid" || letter.Field != c.field {
			t.Errorf("dead letter %+v, want field %s", letter, c.field)
		}
	}
	if n := len(f.tenant.Calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestSettingsThatSAPWouldNotTakeAreRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "surveys.yaml")
	if err := os.WriteFile(path, []byte("surveys: {SV_a1: {language: english}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for variable, value := range map[string]string{
		"SAP_MARKETING_MEDIUM":                 strings.Repeat("M", 21),
		"SAP_MARKETING_CONTACT_ORIGIN":         strings.Repeat("O", 21),
		"SAP_MARKETING_SURVEY_PROVIDER":        strings.Repeat("P", 31),
		"SAP_MARKETING_CUSTOM_FIELDS":          "InteractionType:X",
		"SAP_MARKETING_RESPONSE_CUSTOM_FIELDS": "YY1_A_MIA:{surveyid}",
		"SAP_MARKETING_RESPONSES":              "mail",
		"SAP_MARKETING_CONTACTS":               "true",
		"SAP_MARKETING_SURVEYS_FILE":           path,
		"SAP_MARKETING_WAVE":                   "0",
	} {
		env := servicetest.Env{"SAP_MARKETING_BASE_URL": "http://h", "SAP_MARKETING_USERNAME": user, "SAP_MARKETING_PASSWORD": password, variable: value}
		if err := servicetest.Load(env, definedSettings()); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s=%s: error %v", variable, value, err)
		}
	}
}
