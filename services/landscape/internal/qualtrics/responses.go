package qualtrics

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const preview = 1

// statusLabels are the statuses of responses that the simulator makes (qualtrics.md §3.13); only the first label is
// documented.
var statusLabels = map[int]string{
	0: "IP Address", preview: "Survey Preview", 2: "Survey Test", 4: "Imported", 8: "Spam",
}

// session is a survey being answered: by whom, with which data at hand.
type session struct {
	survey    Survey
	link      Link // without id: an anonymous session
	contact   Contact
	query     url.Values
	startedAt time.Time
}

// answers are what a person gave, by question.
type answers map[string]answer

// record makes a response of a session's answers and stores it. The caller announces it.
func (s *Simulator) record(in session, given answers) Response {
	now := s.now()
	if in.startedAt.IsZero() {
		in.startedAt = now
	}
	r := Response{
		ID: newID("R_"), SurveyID: in.survey.ID, LinkID: in.link.ID, DistributionID: in.link.DistributionID,
		LookupID: in.link.LookupID, StartedAt: in.startedAt, RecordedAt: now,
		Words: map[string]string{}, Recipient: in.recipient(), Values: map[string]any{}, Labels: map[string]any{},
		DisplayedValues: map[string][]int{},
	}
	if statuses := s.settings.Assumed.ResponseStatuses; len(statuses) > 0 {
		r.Status = statuses[s.books.responses.Len()%len(statuses)]
	}
	if in.query.Get("Q_CHL") == "preview" {
		r.Status = preview
	}
	for id, a := range given {
		r.Words[id] = a.words
	}
	r.Embedded = s.embedded(in, r)
	s.fill(&r, in, given)
	must(s.books.responses.Put(r.ID, r))
	return r
}

// recipient is what piped text and the response tell of the person; nothing for an anonymous or anonymised answer.
func (in session) recipient() map[string]string {
	if in.link.ID == "" || in.survey.Anonymize {
		return nil
	}
	return map[string]string{
		"Email": in.contact.Email, "FirstName": in.contact.FirstName, "LastName": in.contact.LastName,
		"ExternalDataReference": in.contact.ExtRef,
	}
}

// embedded is the data of contact, transaction and address, as they are now, cut down to what the flow declares
// (qualtrics.md §1.1, §8.9), and what the flow itself sets.
func (s *Simulator) embedded(in session, r Response) map[string]string {
	data := merged(in.contact.EmbeddedData, in.contact.Memberships[in.link.ListID].PrivateEmbeddedData)
	if t, found := s.books.transactions.Get(in.link.TransactionID); found {
		data = merged(data, t.Data)
	}
	kept := map[string]string{}
	for _, field := range in.survey.Flow {
		value := data[field.Name]
		if in.query.Has(field.Name) {
			value = in.query.Get(field.Name)
		}
		kept[field.Name] = value
	}
	for _, q := range in.survey.Questions {
		if words := r.Words[q.ID]; q.Field != "" && words != "" {
			kept[q.Field] = words
		}
	}
	r.Embedded = kept
	for _, field := range in.survey.Flow {
		if field.Set != "" {
			kept[field.Name] = pipe(field.Set, r.piped)
		}
	}
	maps.DeleteFunc(kept, func(_, value string) bool { return value == "" })
	return kept
}

// fill writes what GET gives: answers by question, embedded data flat beside them and as texts (qualtrics.md §3.13).
func (s *Simulator) fill(r *Response, in session, given answers) {
	for _, q := range in.survey.Questions {
		r.DisplayedFields = append(r.DisplayedFields, q.key())
		if codes := q.codes(); codes != nil {
			r.DisplayedValues[q.ID] = codes
		}
		a, answered := given[q.ID]
		if !answered {
			continue
		}
		r.Values[q.key()] = a.value
		if q.Kind == Choice {
			r.Labels[q.ID] = a.words
		}
	}
	for name, value := range r.Embedded {
		r.Values[name] = value
	}
	maps.Copy(r.Values, s.standardValues(*r, in))
	r.Labels["finished"], r.Labels["status"] = "True", statusLabels[r.Status]
}

func (s *Simulator) standardValues(r Response, in session) map[string]any {
	channel := "anonymous"
	if in.link.ID != "" {
		channel = s.settings.Assumed.DistributionChannel
	}
	if r.Status == preview {
		channel = "preview"
	}
	values := map[string]any{
		"startDate": r.StartedAt.Format(isoTime), "endDate": r.RecordedAt.Format(isoTime),
		"recordedDate": r.RecordedAt.Format(isoMilli), "status": r.Status, "finished": 1, "progress": 100,
		"duration": int(r.RecordedAt.Sub(r.StartedAt).Seconds()), "distributionChannel": channel,
		"userLanguage": strings.ToUpper(cmp.Or(in.contact.Language, "EN")),
	}
	if !in.survey.Anonymize {
		values["ipAddress"], values["locationLatitude"], values["locationLongitude"] = "203.0.113.9", "10.5", "20.5"
	}
	for name, value := range map[string]string{
		"recipientEmail": r.Recipient["Email"], "recipientFirstName": r.Recipient["FirstName"],
		"recipientLastName": r.Recipient["LastName"], "externalDataReference": r.Recipient["ExternalDataReference"],
	} {
		if value != "" {
			values[name] = value
		}
	}
	return values
}

// piped gives what piped text of that kind and path stands for (assumed, qualtrics.md §3.11).
func (r Response) piped(kind, path string) string {
	switch kind {
	case "e":
		name := strings.TrimPrefix(path, "Field/")
		switch name {
		case "ResponseID":
			return r.ID
		case "SurveyID":
			return r.SurveyID
		}
		return r.Embedded[name]
	case "q":
		question, _, _ := strings.Cut(path, "/")
		return r.Words[question]
	case "m":
		return r.Recipient[path]
	}
	return ""
}

// getResponse gives a response, after a while in which it is not there yet (qualtrics.md §3.13, §8.14).
func getResponse(c *call) (any, error) {
	survey, found := c.settings.survey(c.request.PathValue("s"))
	if !found {
		return nil, surveyNotFound()
	}
	r, found := c.books.responses.Get(c.request.PathValue("r"))
	if !found || r.SurveyID != survey.ID {
		return nil, notFound("Response not found.")
	}
	r.Reads++
	must(c.books.responses.Put(r.ID, r))
	a := c.switches
	if r.Reads <= a.NotReadyReads || c.now().Before(r.RecordedAt.Add(a.NotReadyFor)) {
		c.status = http.StatusAccepted
		return map[string]any{"message": "The Survey Response is not yet available. Please try again later."}, nil
	}
	return map[string]any{
		"responseId": r.ID, "values": r.Values, "labels": r.Labels,
		"displayedFields": slices.Clone(r.DisplayedFields), "displayedValues": r.DisplayedValues,
	}, nil
}
