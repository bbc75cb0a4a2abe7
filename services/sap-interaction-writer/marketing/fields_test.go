package marketing

import (
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/odata/edmx"
	"github.com/closeloop/closeloop/pkg/odata/edmx/edmxtest"
)

// services of the entities that we send.
var services = map[string]string{
	interactionEntity: edmxtest.Interactions, contactEntity: edmxtest.Contacts,
	surveyEntity: edmxtest.Surveys, questionEntity: edmxtest.Surveys, answerEntity: edmxtest.Surveys,
	surveyResponseEntity: edmxtest.Surveys, detailEntity: edmxtest.Surveys,
}

// oneValue are properties that hold the same value in several entities, and so no more than the shortest
// (sap-marketing-cloud.md, rule 9).
var oneValue = []string{"SurveyId", "Provider", "QuestionId"}

func TestEveryFieldIsOfThePublishedMetadataWithItsLength(t *testing.T) {
	for entity, fields := range Fields {
		schema := edmxtest.Load(t, services[entity])
		published, ok := schema[entity]
		if !ok {
			t.Errorf("the metadata has no entity %s", entity)
			continue
		}
		for name, length := range fields {
			property, ok := published.Properties[name]
			want := property.MaxLength
			if slices.Contains(oneValue, name) && services[entity] == edmxtest.Surveys {
				want = shortest(schema, name)
			}
			if !ok || length != want {
				t.Errorf("%s.%s has length %d here; in the metadata: %t, %d", entity, name, length, ok, want)
			}
		}
		for name, p := range published.Properties {
			if _, sent := fields[name]; !sent && !p.Nullable {
				t.Errorf("%s.%s may not be null and is not sent", entity, name)
			}
		}
	}
}

func shortest(schema edmx.Schema, property string) int {
	length := 0
	for _, e := range schema {
		if p, ok := e.Properties[property]; ok && (length == 0 || p.MaxLength < length) {
			length = p.MaxLength
		}
	}
	return length
}

func TestEverythingThatIsSentIsOfTheMetadata(t *testing.T) {
	score := int16(9)
	at := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	c := New(Options{Survey: Survey{Provider: "Qualtrics", Language: "EN", MarketingArea: "GLOBAL", Definitions: map[string]Definition{
		"SV_a1": {URL: "https://survey.example.com", Questions: []Question{{ID: "QID1", Answers: []Choice{{ID: "1", Text: "Yes"}}}}},
	}}})
	survey := c.tree([]Response{{
		SurveyID: "SV_a1", ID: "R_1", OutboundID: "OB-1", ContactOrigin: "EXT", ContactID: "P-1", At: at, Details: []Detail{{"QID1", "1", "Yes"}},
	}})
	sent := map[string]map[string]any{
		interactionEntity: Interaction{
			Type: SurveyResponse, At: at, SourceObject: "R_1", SourceObjectType: SurveyResponse, AdditionalID: "SV_a1", ContactOrigin: "EXT",
			ContactID: "P-1", Medium: "WEB", ContentSubject: "s", Content: "c", Sentiment: &score, Link: "https://l", Custom: map[string]string{"YY1_A_MIA": "x"},
		}.body(Form{}),
		contactEntity: Contact{Origin: "EXT", ID: "P-1", At: at, Email: "ada@example.com", FirstName: "Ada", LastName: "L", Language: "EN"}.body(Form{}),
		surveyEntity:  survey,
	}
	collect(t, survey, surveyEntity, sent)
	for entity := range Fields {
		body, ok := sent[entity]
		if !ok {
			t.Errorf("nothing of %s is sent", entity)
		}
		published := edmxtest.Load(t, services[entity])[entity]
		for name := range body {
			_, known := Fields[entity][name]
			if !known && !isExtension(name) && !slices.Contains(published.Navigations, name) {
				t.Errorf("%s.%s is sent and not known", entity, name)
			}
		}
		for name := range Fields[entity] {
			if _, used := body[name]; !used {
				t.Errorf("%s.%s is in the table and never sent", entity, name)
			}
		}
	}
}

// nested are the entities below a survey, by navigation.
var nested = map[string]string{
	"SurveyQuestionSet": questionEntity, "QuestionAnswerSet": answerEntity, "SurveySurveyResponseSet": surveyResponseEntity,
	"SurveyResponseSurveyResponseDetailSet": detailEntity,
}

func collect(t *testing.T, body map[string]any, entity string, into map[string]map[string]any) {
	t.Helper()
	into[entity] = body
	for name := range maps.Keys(body) {
		below, ok := nested[name]
		if !ok {
			continue
		}
		for _, item := range body[name].([]any) {
			collect(t, item.(map[string]any), below, into)
		}
	}
}
