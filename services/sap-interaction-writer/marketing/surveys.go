package marketing

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

// Survey says how survey responses are written, beside what a response says itself (sap-marketing-cloud.md §5).
type Survey struct {
	// Set is the entity set that surveys are posted to. Default SurveySet.
	Set string
	// Wrapped puts the survey under the name of its set, {"SurveySet":{…}}, as the standard flow /http/survey/v1 takes it.
	Wrapped bool
	// Provider is the survey platform, part of the key of everything.
	Provider string
	// Definitions are the tenant's surveys, by survey id. One that is not there is written with what its answers tell.
	Definitions map[string]Definition
	// Language, MarketingArea and QuestionType are for what a definition leaves open.
	Language, MarketingArea, QuestionType string
	// RefuseLong refuses an answer that is longer than the 1,333 characters of its field, in place of cutting it with a
	// mark.
	RefuseLong bool
	// Repeats says what SAP does with a response id that it has already (§12). Default [RepeatUpdates].
	Repeats Repeats
}

// Repeats is what SAP makes of a response that it has already.
type Repeats string

// What a repeat does is assumed (§12). Only where it stores a second one must a lost answer wait for a person.
const (
	RepeatUpdates Repeats = "upsert"
	RepeatRefused Repeats = "refused"
	RepeatStores  Repeats = "stored-twice"
)

// Definition is one survey as Marketing is to know it.
type Definition struct {
	Name          string     `yaml:"name"`
	Version       int        `yaml:"version"`
	Language      string     `yaml:"language"`
	MarketingArea string     `yaml:"marketingArea"`
	URL           string     `yaml:"url"`
	Anonymous     bool       `yaml:"anonymous"`
	Questions     []Question `yaml:"questions"`
}

// Question is one question of a survey, and the value of the answer that answers it.
type Question struct {
	// ID is the name of the value: QID1.
	ID string `yaml:"id"`
	// As is the question's id in Marketing. Default ID.
	As        string `yaml:"as"`
	Text      string `yaml:"text"`
	Type      string `yaml:"type"`
	SubType   string `yaml:"subType"`
	Mandatory bool   `yaml:"mandatory"`
	// Answers are the texts of the choices, in their order.
	Answers []Choice `yaml:"answers"`
}

// Choice is one choice of a question.
type Choice struct {
	// ID is the value of the answer: 1.
	ID     string `yaml:"id"`
	Text   string `yaml:"text"`
	Weight int    `yaml:"weight"`
}

// Response is one answered survey.
type Response struct {
	SurveyID string
	// ID is the idempotency key: part of SAP's key.
	ID string
	// OutboundID ties it to the campaign; empty where there was none.
	OutboundID               string
	ContactOrigin, ContactID string
	At                       time.Time
	Details                  []Detail
}

// Detail is the answer to one question.
type Detail struct {
	QuestionID string
	// Choice is the value of a choice, empty for free text.
	Choice string
	Text   string
}

// responsesPerCall is what the published flow was designed for (§5): 250 on average, 1,000 at most.
const responsesPerCall = 250

// ResponsesPerCall is the most responses that one [Client.WriteResponses] should be given. All must be of one survey.
func (c *Client) ResponsesPerCall() int { return responsesPerCall }

// CheckResponse refuses a response that SAP would not take, with the name of SAP's field.
func (c *Client) CheckResponse(r Response) error {
	if r.ID == "" {
		return fault.At("ResponseId", "is empty: it is the key")
	}
	if r.SurveyID == "" {
		return fault.At("SurveyId", "is empty: it is part of the key")
	}
	checks := []error{
		check(surveyResponseEntity, c.response(r)),
		check(surveyEntity, c.survey([]Response{r})),
	}
	for _, d := range r.Details {
		checks = append(checks, check(detailEntity, c.detail(r.SurveyID, d)))
	}
	for _, q := range c.questions([]Response{r}) {
		checks = append(checks, check(questionEntity, q))
	}
	for _, err := range checks {
		if err != nil {
			return err
		}
	}
	return nil
}

// WriteResponses writes responses to one survey, and the survey with its questions along with them: a deep insert begins
// at the survey. Its error counts for all of them, and where it is a refusal nothing was written.
func (c *Client) WriteResponses(ctx context.Context, all []Response) error {
	var body any = c.tree(all)
	set := cmp.Or(c.Survey.Set, "SurveySet")
	if c.Survey.Wrapped {
		body = map[string]any{"SurveySet": body}
	}
	var personal []string
	for _, r := range all {
		personal = append(personal, r.ContactID)
		for _, d := range r.Details {
			personal = append(personal, d.Text)
		}
	}
	err := c.Surveys.DeepInsert(ctx, "write survey responses", set, len(all), body, nil, personal...)
	if c.Survey.Repeats == RepeatRefused && len(all) == 1 && isThere(err) {
		return nil
	}
	return err
}

// isThere recognises the refusal of a key that exists, by its words (§2.4: seen in the field).
func isThere(err error) bool {
	return fault.Is(err, fault.Refused) && strings.Contains(strings.ToLower(fault.From(err).Reason), "already exists")
}

// tree is the survey with all below it.
func (c *Client) tree(all []Response) map[string]any {
	survey := c.survey(all)
	var questions, responses []any
	for _, q := range c.questions(all) {
		questions = append(questions, q)
	}
	for _, r := range all {
		details := make([]any, len(r.Details))
		for i, d := range r.Details {
			details[i] = c.detail(r.SurveyID, d)
		}
		response := c.response(r)
		response["SurveyResponseSurveyResponseDetailSet"] = c.Form.array(details)
		responses = append(responses, response)
	}
	if questions != nil {
		survey["SurveyQuestionSet"] = c.Form.array(questions)
	}
	survey["SurveySurveyResponseSet"] = c.Form.array(responses)
	return survey
}

func (c *Client) definition(surveyID string) Definition {
	d := c.Survey.Definitions[surveyID]
	d.Name = cut(surveyEntity, "Name", cmp.Or(d.Name, surveyID))
	d.Version = max(d.Version, 1)
	d.Language = cmp.Or(d.Language, c.Survey.Language)
	d.MarketingArea = cmp.Or(d.MarketingArea, c.Survey.MarketingArea)
	return d
}

// survey is the head. What must not be null is there, and be it "" (§5).
func (c *Client) survey(all []Response) map[string]any {
	id := all[0].SurveyID
	d := c.definition(id)
	b := map[string]any{
		"SurveyId": id, "Version": d.Version, "Provider": c.Survey.Provider, "Name": d.Name, "Language": d.Language,
		"MarketingAreaId": d.MarketingArea, "IsSurveyAnonymous": d.Anonymous, "IsMultipleRespAllowed": true,
	}
	if d.URL != "" {
		b["Url"] = d.URL
	}
	return b
}

// questions are those of the definition, or else those that the answers are to.
func (c *Client) questions(all []Response) []map[string]any {
	surveyID := all[0].SurveyID
	d := c.definition(surveyID)
	list := d.Questions
	if len(list) == 0 {
		for _, r := range all {
			for _, detail := range r.Details {
				if !slices.ContainsFunc(list, func(q Question) bool { return q.ID == detail.QuestionID }) {
					list = append(list, Question{ID: detail.QuestionID})
				}
			}
		}
	}
	var bodies []map[string]any
	for position, q := range list {
		b := map[string]any{
			"QuestionId": cmp.Or(q.As, q.ID), "Version": d.Version, "Provider": c.Survey.Provider, "SurveyId": surveyID,
			"Position": position + 1, "PageId": 1, "Type": cmp.Or(q.Type, c.Survey.QuestionType), "SubType": q.SubType,
			"IsMandatory": q.Mandatory, "Language": d.Language, "Text": cut(questionEntity, "Text", cmp.Or(q.Text, q.ID)),
		}
		if answers := choices(q, d.Language); len(answers) > 0 {
			b["QuestionAnswerSet"] = c.Form.array(answers)
		}
		bodies = append(bodies, b)
	}
	return bodies
}

func choices(q Question, language string) []any {
	var rows []any
	for i, a := range q.Answers {
		rows = append(rows, map[string]any{
			"RowId": a.ID, "RowText": cut(answerEntity, "RowText", a.Text), "RowPosition": i + 1, "RowWeightage": a.Weight, "Language": language,
		})
	}
	return rows
}

// response has every field: none of them may be null (§5).
func (c *Client) response(r Response) map[string]any {
	b := map[string]any{
		"SurveyId": r.SurveyID, "Version": c.definition(r.SurveyID).Version, "Provider": c.Survey.Provider, "ResponseId": r.ID,
		"OutboundKey": r.OutboundID, "IsResponseAnonymous": r.ContactID == "" || r.ContactOrigin == "",
		"IdOrigin": "", "Id": "", "RespondedOn": c.Form.local(r.At), "ResponseUrl": "",
	}
	if r.ContactID != "" && r.ContactOrigin != "" { // one without the other names nobody
		b["IdOrigin"], b["Id"] = r.ContactOrigin, r.ContactID
	}
	return b
}

func (c *Client) detail(surveyID string, d Detail) map[string]any {
	id, text := d.QuestionID, d.Text
	for _, q := range c.Survey.Definitions[surveyID].Questions {
		if q.ID == d.QuestionID && q.As != "" {
			id = q.As
		}
	}
	if !c.Survey.RefuseLong {
		text = cut(detailEntity, "ResponseText", text)
	}
	return map[string]any{
		"QuestionId": id, "Version": c.definition(surveyID).Version, "ResponseIdCol": "", "ResponseIdRow": d.Choice, "ResponseText": text,
	}
}

// CheckDefinitions tells what of the surveys SAP would not take, by the name of SAP's field.
func CheckDefinitions(all map[string]Definition) error {
	for _, id := range slices.Sorted(maps.Keys(all)) {
		c := Client{Options: Options{Survey: Survey{Definitions: all}}}
		example := []Response{{SurveyID: id}}
		bodies := append([]map[string]any{c.survey(example)}, c.questions(example)...)
		for i, body := range bodies {
			entity := questionEntity
			if i == 0 {
				entity = surveyEntity
			}
			if err := check(entity, body); err != nil {
				return fmt.Errorf("survey %s: %w", id, err)
			}
		}
		for _, q := range all[id].Questions {
			for _, row := range choices(q, "") {
				if err := check(answerEntity, row.(map[string]any)); err != nil {
					return fmt.Errorf("survey %s, question %s: %w", id, q.ID, err)
				}
			}
		}
	}
	return nil
}

// Asks tells whether a survey has that question. One without questions has every one.
func (d Definition) Asks(id string) bool {
	return len(d.Questions) == 0 || slices.ContainsFunc(d.Questions, func(q Question) bool { return q.ID == id })
}
