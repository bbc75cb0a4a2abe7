package qualtrics

import (
	"net/http"
	"strings"
	"time"
)

// The actions that generate links (qualtrics.md §3.6).
const (
	batchAction = "CreateTransactionBatchDistribution"
	listAction  = "CreateDistribution"
)

// The kinds of link.
const (
	Individual = "Individual" // one use
	Multiple   = "Multiple"   // re-usable
)

const defaultLinkLife = 60*24*time.Hour - time.Second // qualtrics.md §3.6: observed

// createDistribution generates links. The path has two schemas (qualtrics.md §3.6): a body with an action generates
// links, one without sends e-mails, which the simulator does not do.
func createDistribution(c *call) (any, error) {
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	body.coded = true
	if !body.has("action") {
		return nil, refuseEmail(body)
	}
	d, err := c.readDistribution(body)
	if err != nil {
		return nil, err
	}
	if err := c.checkDistribution(d); err != nil {
		return nil, err
	}
	c.generateLinks(d) // first, so that a crash leaves no distribution without its links
	must(c.books.distributions.Put(d.ID, d))
	return map[string]any{"id": d.ID}, nil
}

func refuseEmail(body *object) error {
	for _, name := range []string{"message", "recipients", "header", "surveyLink", "sendDate", "embeddedData"} {
		body.read[name] = true
	}
	body.need("message", "recipients", "header", "surveyLink", "sendDate")
	if err := body.done(); err != nil {
		return err
	}
	return forbidden()
}

// readDistribution reads the schema that generates links. A key of the other action is an unexpected key.
func (c *call) readDistribution(o *object) (Distribution, error) {
	action := c.action(o)
	o.need("surveyId", "linkType")
	now := c.now()
	d := Distribution{
		ID: newID("EMD_"), SurveyID: o.text("surveyId"), LinkType: o.text("linkType"),
		ListID: o.text("mailingListId"), Description: o.text("description"),
		CreatedAt: now, ExpiresAt: now.Add(defaultLinkLife).Truncate(time.Second),
	}
	if action == batchAction {
		o.need("transactionBatchId")
		d.BatchID = o.text("transactionBatchId")
	}
	if action == listAction {
		o.need("mailingListId")
		d.LookupID = o.text("contactId")
	}
	if d.LinkType != Individual && d.LinkType != Multiple {
		o.mistake("linkType", "Individual or Multiple (this simulator makes no Anonymous links)")
	}
	c.readExpiry(o, &d)
	return d, o.done()
}

func (c *call) action(o *object) string {
	given := o.text("action")
	for _, action := range []string{batchAction, listAction} {
		if given == action || c.switches.TolerantAction && strings.EqualFold(given, action) {
			return action
		}
	}
	o.mistake("action", batchAction+" or "+listAction)
	return ""
}

func (c *call) readExpiry(o *object, d *Distribution) {
	text := o.optionalText("expirationDate")
	if text == nil {
		return
	}
	expires, ok := readTime(*text)
	switch most := c.switches.LinkMaxDays; {
	case !ok:
		o.mistake("expirationDate", "YYYY-MM-DD HH:MM:SS in UTC")
	case !expires.After(d.CreatedAt):
		o.mistake("expirationDate", "a time to come")
	case most > 0 && expires.After(d.CreatedAt.AddDate(0, 0, most)):
		o.mistake("expirationDate", "an earlier time")
	}
	d.ExpiresAt = expires
}

// checkDistribution refuses what the distribution names and is not there.
func (c *call) checkDistribution(d Distribution) error {
	survey, found := c.settings.survey(d.SurveyID)
	if !found {
		return surveyNotFound()
	}
	if !survey.Active {
		return badRequest("The survey is not active.")
	}
	if _, found := c.settings.list(d.ListID); d.ListID != "" && !found {
		return refuse(http.StatusBadRequest, "GP_0", "Invalid mailingListId parameter")
	}
	if _, found := c.books.batches.Get(d.BatchID); d.BatchID != "" && !found {
		return notFound("Transaction batch not found.")
	}
	if d.LookupID == "" {
		return nil
	}
	contact, _ := c.books.contacts.Get(c.index.byLookup[d.LookupID])
	if contact.Memberships[d.ListID].LookupID != d.LookupID {
		return badRequest("Invalid contactId parameter: expected the lookup id of a contact in the mailing list.")
	}
	return nil
}

// distribution finds the distribution of a call, which has to name its survey as well.
func (c *call) distribution(needSurvey bool) (Distribution, error) {
	surveyID := c.query("surveyId")
	if needSurvey && surveyID == "" {
		return Distribution{}, missingParam("surveyId")
	}
	d, found := c.books.distributions.Get(c.request.PathValue("e"))
	if !found || d.Deleted || needSurvey && d.SurveyID != surveyID {
		return Distribution{}, distributionNotFound()
	}
	return d, nil
}

// listDistributions gives a survey's distributions, by the filters of qualtrics.md §3.6 "Other calls".
func listDistributions(c *call) (any, error) {
	surveyID := c.query("surveyId")
	if surveyID == "" {
		return nil, missingParam("surveyId")
	}
	if _, found := c.settings.survey(surveyID); !found {
		return nil, surveyNotFound()
	}
	from, to, err := c.sendDates()
	if err != nil {
		return nil, err
	}
	kind, listID := c.query("distributionRequestType"), c.query("mailingListId")
	wanted := c.books.distributions.Find(func(d Distribution) bool {
		return !d.Deleted && d.SurveyID == surveyID && (listID == "" || d.ListID == listID) &&
			(kind == "" || kind == "GeneratedInvite") && !d.CreatedAt.Before(from) && (to.IsZero() || !d.CreatedAt.After(to))
	})
	return paged(c, wanted, 100, 100, func(d Distribution) (string, any) { return d.ID, c.showDistribution(d) })
}

func (c *call) sendDates() (from, to time.Time, err error) {
	for name, into := range map[string]*time.Time{"sendStartDate": &from, "sendEndDate": &to} {
		text := c.query(name)
		if text == "" {
			continue
		}
		var ok bool
		if *into, ok = readTime(text); !ok {
			return from, to, badRequest("Invalid value for %s.", name)
		}
	}
	return from, to, nil
}

func getDistribution(c *call) (any, error) {
	d, err := c.distribution(true)
	if err != nil {
		return nil, err
	}
	return c.showDistribution(d), nil
}

// deleteDistribution ends the distribution and its links.
func deleteDistribution(c *call) (any, error) {
	d, err := c.distribution(false)
	if err != nil {
		return nil, err
	}
	d.Deleted = true
	must(c.books.distributions.Put(d.ID, d))
	return nil, nil
}

func (s *Simulator) showDistribution(d Distribution) any {
	var started, finished int
	for _, id := range s.index.links[d.ID] {
		link, _ := s.books.links.Get(id)
		if link.State != Unopened {
			started++
		}
		if link.State == Answered {
			finished++
		}
	}
	created := d.CreatedAt.Format(isoTime)
	return map[string]any{
		"id": d.ID, "parentDistributionId": nil, "ownerId": "UR_simulated", "organizationId": s.settings.Brand,
		"requestType": "GeneratedInvite", "requestStatus": "Generated", "description": d.Description,
		"sendDate": created, "createdDate": created, "modifiedDate": created,
		"recipients": map[string]any{
			"mailingListId": nullable(d.ListID), "contactId": nullable(d.LookupID), "transactionBatchId": nullable(d.BatchID),
		},
		"surveyLink": map[string]any{
			"surveyId": d.SurveyID, "linkType": d.LinkType, "expirationDate": d.ExpiresAt.Format(isoTime),
		},
		"stats": map[string]int{
			"sent": 0, "failed": 0, "started": started, "bounced": 0, "opened": 0, "skipped": 0,
			"finished": finished, "complaints": 0, "blocked": 0,
		},
	}
}
