package qualtrics

// Sign, and Form of one field, for the golden vectors of qualtrics.md §3.10.
var Sign = sign

// FormField encodes one form field as events are encoded.
func FormField(name, value string, plusForSpace bool) string {
	s := &Simulator{}
	s.settings.Assumed.PlusForSpace = plusForSpace
	return s.form([]field{{name, value}})
}

// MessageJSON gives the MSG of a completed response.
func MessageJSON(surveyID, responseID, recipientID, eventContext, distributionID, completedDate, brandID string) string {
	return message{
		Status: "Complete", SurveyID: surveyID, ResponseID: responseID, RecipientID: recipientID,
		ResponseEventContext: eventContext, DistributionID: distributionID, CompletedDate: completedDate, BrandID: brandID,
	}.json()
}
