package marketing_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/marketing"
)

const (
	surveyService  = "../CUAN_SURVEY_IMPORT_SRV/"
	contactService = "../API_MKT_CONTACT_SRV/"
)

// at gives a client of another service of the tenant. Its session is the tenant's.
func (c *client) at(service string) *client {
	other := *c
	base, err := url.Parse(c.base)
	if err != nil {
		c.t.Fatal(err)
	}
	other.base = base.ResolveReference(&url.URL{Path: service}).String()
	return &other
}

func survey(responses ...string) string {
	return `{"SurveyId":"SV_a1","Version":1,"Provider":"Qualtrics","Name":"July","Language":"EN","MarketingAreaId":"GLOBAL","IsSurveyAnonymous":false,
		"SurveySurveyResponseSet":[` + strings.Join(responses, ",") + `]}`
}

func surveyResponse(id, text string) string {
	return fmt.Sprintf(`{"SurveyId":"SV_a1","Version":1,"Provider":"Qualtrics","ResponseId":%q,"OutboundKey":"","IsResponseAnonymous":false,"IdOrigin":"EXT","Id":"P-1",
		"RespondedOn":"2026-07-24T09:30:00","ResponseUrl":"","SurveyResponseSurveyResponseDetailSet":[{"QuestionId":"QID1","Version":1,"ResponseIdCol":"","ResponseIdRow":"1","ResponseText":%q}]}`, id, text)
}

func TestSurveyImportTakesAllOrNothing(t *testing.T) {
	s := newSimulator(t, marketing.Settings{})
	c := connect(t, s).at(surveyService)
	for name, body := range map[string]string{
		"a text too long":         survey(surveyResponse("R_1", "yes"), surveyResponse("R_2", strings.Repeat("x", 1334))),
		"a property missing":      survey(surveyResponse("R_1", "yes"), strings.Replace(surveyResponse("R_2", "no"), `"ResponseUrl":"",`, "", 1)),
		"a property null":         survey(strings.Replace(surveyResponse("R_1", "no"), `"IdOrigin":"EXT"`, `"IdOrigin":null`, 1)),
		"a zone on Edm.DateTime":  survey(strings.Replace(surveyResponse("R_1", "no"), "09:30:00", "09:30:00Z", 1)),
		"another survey's":        strings.Replace(survey(surveyResponse("R_1", "no")), `"SV_a1"`, `"SV_b1"`, 1),
		"an id of 31":             strings.ReplaceAll(survey(surveyResponse("R_1", "no")), "SV_a1", strings.Repeat("S", 31)),
		"an unknown property":     survey(strings.Replace(surveyResponse("R_1", "no"), "ResponseUrl", "Url", 1)),
		"a language of 3 letters": strings.Replace(survey(surveyResponse("R_1", "no")), `"EN"`, `"ENG"`, 1),
	} {
		if status, _, text := c.call("POST", "SurveySet", body); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	if n := len(s.Books().Responses); n != 0 {
		t.Fatalf("%d responses of refused imports", n)
	}
	c.want(201, "POST", "SurveySet", survey(surveyResponse("R_1", "yes"), surveyResponse("R_2", strings.Repeat("x", 1333))))
	got := s.Books().Responses
	if len(got) != 2 || got[0].ID != "R_1" || got[0].Answers["QID1"] != "yes" || got[0].ContactID != "P-1" {
		t.Errorf("books %+v", got)
	}
	c.want(405, "POST", "SurveyResponseSet", surveyResponse("R_3", "no"))
	c.want(405, "GET", "SurveySet", "")
}

func TestRepeatedResponse(t *testing.T) {
	for how, want := range map[marketing.RepeatedResponse]struct {
		status, copies int
		text           string
	}{
		marketing.RepeatUpdates: {201, 1, "second"},
		marketing.RepeatRefused: {400, 1, "first"},
		marketing.RepeatStores:  {201, 2, "second"},
	} {
		s := newSimulator(t, marketing.Settings{RepeatedResponse: how})
		c := connect(t, s).at(surveyService)
		c.want(201, "POST", "SurveySet", survey(surveyResponse("R_1", "first")))
		c.want(want.status, "POST", "SurveySet", survey(surveyResponse("R_1", "second")))
		if got := s.Books().Responses[0]; got.Copies != want.copies || got.Answers["QID1"] != want.text {
			t.Errorf("%q: %+v", how, got)
		}
	}
	c := connect(t, newSimulator(t, marketing.Settings{RefuseEmptyOutboundKey: true})).at(surveyService)
	c.want(400, "POST", "SurveySet", survey(surveyResponse("R_1", "first")))
}

func TestContactsAreUpsertedAndTheOlderLoses(t *testing.T) {
	s := newSimulator(t, marketing.Settings{RefuseContact: "blocked"})
	for _, version := range []string{"", ";v=0003"} {
		c := connect(t, s).at(strings.TrimSuffix(contactService, "/") + version + "/")
		put := func(status int, id, at, name string) {
			t.Helper()
			body := map[string]any{"FirstName": name, "EmailAddress": "ada@example.com"}
			if at != "" {
				body["OriginDataLastChgUTCDateTime"] = "2026-07-24T" + at + "Z"
			}
			encoded, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			c.want(status, "PUT", "ContactOriginData(ContactOrigin='EXT',ContactID='"+id+"')", string(encoded))
		}
		put(204, "P-1"+version, "09:30:00", "Ada")
		put(204, "P-1"+version, "09:29:00", "Older")
		put(400, "P-1"+version, "", "No time")
		put(400, "P-1"+version, "09:31:00", strings.Repeat("A", 41))
		put(400, "blocked", "09:31:00", "Bob")
		c.want(405, "POST", "ContactOriginData", "{}")
		c.want(400, "GET", "ContactOriginData", "")
	}
	if got := s.Books().Contacts; len(got) != 2 || got[0].Fields["FirstName"] != "Ada" {
		t.Errorf("contacts %+v", got)
	}
}

func TestWrittenInteractionsMayTakeTimeToAppear(t *testing.T) {
	clock := newClock()
	s := newSimulator(t, marketing.Settings{WrittenVisibleAfter: 20 * time.Second, Now: clock.Now})
	c := connect(t, s)
	c.want(201, "POST", "Interactions", `{"InteractionType":"SURVEY_LINK_CREATED","InteractionSourceObject":"OB-1"}`)
	filter := "InteractionType eq 'SURVEY_LINK_CREATED' and InteractionSourceObject eq 'OB-1'"
	if n := len(c.found(filter)); n != 0 {
		t.Errorf("%d are visible at once", n)
	}
	clock.Advance(20 * time.Second)
	if n := len(c.found(filter)); n != 1 {
		t.Errorf("%d are visible later", n)
	}
}

func TestTenantsThatTakeLess(t *testing.T) {
	c := connect(t, newSimulator(t, marketing.Settings{NoBatch: true, LongestAddress: 200, Arrays: "results"}))
	c.want(404, "POST", "$batch", "")
	c.want(414, "GET", "Interactions?$filter="+url.PathEscape("InteractionSourceObject eq '"+strings.Repeat("x", 200)+"'"), "")
	c.want(400, "POST", "InteractionsDeepInsert", `{"Interactions":[{"InteractionType":"X"}]}`)
	c.want(201, "POST", "InteractionsDeepInsert", `{"Interactions":{"results":[{"InteractionType":"X"}]}}`)
	c = connect(t, newSimulator(t, marketing.Settings{Arrays: "array"}))
	c.want(400, "POST", "InteractionsDeepInsert", `{"Interactions":{"results":[{"InteractionType":"X"}]}}`)
}

func TestSwitchesAreReadByName(t *testing.T) {
	s, err := marketing.Settings{VisibleAfter: time.Second, Username: "u"}.With("{visibleAfter: 1m30s, noBatch: true, customFields: [{name: YY1_A_MIA, maxLength: 5}], dates: iso}")
	if err != nil || s.VisibleAfter != 90*time.Second || !s.NoBatch || s.CustomFields[0].MaxLength != 5 || s.Dates != "iso" || s.Username != "u" {
		t.Errorf("%+v, error %v", s, err)
	}
	if s, err := (marketing.Settings{VisibleAfter: time.Second}).With(""); err != nil || s.VisibleAfter != time.Second {
		t.Errorf("nothing changed: %+v, error %v", s, err)
	}
	for _, text := range []string{"{noBatsh: true}", "{username: x}", "{visibleAfter: soon}"} {
		if _, err := (marketing.Settings{}).With(text); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}
