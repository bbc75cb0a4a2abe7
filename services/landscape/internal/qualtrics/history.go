package qualtrics

// listHistory joins contacts to responses (qualtrics.md §3.8).
func listHistory(c *call) (any, error) {
	d, err := c.distribution(false)
	if err != nil {
		return nil, err
	}
	from, err := c.skip()
	if err != nil {
		return nil, err
	}
	page := c.linksFrom(d.ID, from, pageAt(c.switches.HistoryPages, from), 0)
	elements, last := []any{}, ""
	for _, link := range page.links {
		elements, last = append(elements, c.showHistory(link)), link.ContactID
	}
	return c.listing(elements, last, page.to, page.more), nil
}

func (c *call) showHistory(link Link) any {
	contact, _ := c.books.contacts.Get(link.ContactID)
	shown := map[string]any{
		"contactId": link.ContactID, "contactLookupId": link.LookupID, "distributionId": link.DistributionID,
		"status": c.historyStatus(link), "surveyLink": nullable(link.URL), "contactFrequencyRuleId": nil,
		"responseId": nullable(link.ResponseID), "responseStartedAt": nil, "responseCompletedAt": nil,
		"sentAt": nil, "openedAt": nil, "surveySessionId": nil,
	}
	if contact.unsubscribed(link.ListID) {
		shown["surveyLink"] = nil // as in links
	}
	if link.State != Unopened {
		shown["responseStartedAt"] = link.OpenedAt.Format(isoTime)
		shown["surveySessionId"] = "FS_" + tail(link.ID)
	}
	if response, found := c.books.responses.Get(link.ResponseID); found {
		shown["responseStartedAt"] = response.StartedAt.Format(isoTime)
		shown["responseCompletedAt"] = response.RecordedAt.Format(isoTime)
	}
	if survey, _ := c.settings.survey(link.SurveyID); survey.Anonymize && link.ResponseID != "" {
		shown["responseId"] = "Anonymous"
	}
	return shown
}

// historyStatus is one of those statuses that links without a mail can have.
func (c *call) historyStatus(link Link) string {
	switch {
	case link.State == Unopened:
		return "Pending"
	case link.State == Answered:
		return "SurveyFinished"
	case !c.now().Before(link.ExpiresAt):
		return "SessionExpired"
	}
	return "SurveyStarted"
}

// listContactHistory gives a contact's answers, or its e-mails, of which links without a mail have none (qualtrics.md
// §3.2 "Lists and history").
func listContactHistory(c *call) (any, error) {
	contact, _, err := c.contact()
	if err != nil {
		return nil, err
	}
	var answered []Link
	switch c.query("type") {
	case "email":
	case "response":
		answered = c.books.links.Find(func(l Link) bool { return l.ContactID == contact.ID && l.ResponseID != "" })
	default:
		return nil, badRequest("Invalid value for type: expected email or response.")
	}
	return paged(c, answered, 100, 100, func(link Link) (string, any) {
		response, _ := c.books.responses.Get(link.ResponseID)
		return link.ID, map[string]any{
			"responseId": response.ID, "distributionId": link.DistributionID, "surveyId": link.SurveyID,
			"dateStarted": response.StartedAt.Format(isoTime), "dateCompleted": response.RecordedAt.Format(isoTime),
			"surveyFinished": true,
		}
	})
}
