package demo

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

// answersByField is the embedded data that decides whether a workflow sends an answer as well, and how.
const (
	answersByField = "answers_by"
	asJSON         = "json"
	asForm         = "form"
)

// Surveys are the demonstration surveys, with the field that starts their workflows.
func Surveys() []qualtrics.Survey {
	surveys := qualtrics.DemoSurveys()
	for i := range surveys {
		surveys[i].Flow = append(surveys[i].Flow, qualtrics.Field{Name: answersByField})
	}
	return surveys
}

// Tasks are the workflows' web service tasks: two for each survey, one that sends JSON and one that sends a form. url is
// that of closeloop's door for answers, key its API key; none is sent where it is empty.
func Tasks(url, key string) []qualtrics.WebServiceTask {
	var tasks []qualtrics.WebServiceTask
	for _, survey := range Surveys() {
		fields := answerFields(survey)
		tasks = append(tasks,
			qualtrics.WebServiceTask{
				Name: "Answers of " + survey.ID + " as JSON", Survey: survey.ID, If: map[string]string{answersByField: asJSON},
				URL: url, Header: header(key), JSON: jsonTemplate(fields),
			},
			qualtrics.WebServiceTask{
				Name: "Answers of " + survey.ID + " as a form", Survey: survey.ID, If: map[string]string{answersByField: asForm},
				URL: url, Header: header(key), Form: formTemplate(fields),
			})
	}
	return tasks
}

// header is made anew for each task: a simulator may keep it.
func header(key string) map[string]string {
	if key == "" {
		return nil
	}
	return map[string]string{"X-API-Key": key}
}

// identity says which answer it is and whose: the fields of survey.response.received beside the values.
var identity = map[string]string{
	"surveyId": "${e://Field/SurveyID}", "responseId": "${e://Field/ResponseID}", "requestId": "${e://Field/requestId}",
}

var contact = map[string]string{
	"externalId": "${m://ExternalDataReference}", "email": "${m://Email}",
}

// answerFields are the values of an answer as the author of the survey's workflow lists them: everything that the flow
// declares.
func answerFields(survey qualtrics.Survey) map[string]string {
	fields := map[string]string{}
	for _, field := range survey.Flow {
		fields[field.Name] = fmt.Sprintf("${e://Field/%s}", field.Name)
	}
	return fields
}

func jsonTemplate(values map[string]string) string {
	body := map[string]any{"contact": contact, "values": values}
	for name, template := range identity {
		body[name] = template
	}
	text, err := json.Marshal(body)
	if err != nil {
		panic(err) // texts only
	}
	return string(text)
}

func formTemplate(values map[string]string) map[string]string {
	form := maps.Clone(identity)
	for name, template := range contact {
		form["contact."+name] = template
	}
	for name, template := range values {
		form["values."+name] = template
	}
	return form
}
