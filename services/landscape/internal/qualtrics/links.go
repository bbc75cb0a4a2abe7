package qualtrics

import (
	"net/url"
	"strings"
	"time"
)

const linkPage = 100 // qualtrics.md §3.7: observed

// generateLinks makes the links of a distribution, for what its batch or list holds now.
func (s *Simulator) generateLinks(d Distribution) {
	var links []Link
	for _, t := range s.addressees(d) {
		contact, found := s.books.contacts.Get(t.ContactID)
		member, inList := contact.Memberships[t.ListID]
		if !found || !inList {
			continue
		}
		link := Link{
			DistributionID: d.ID, SurveyID: d.SurveyID, ContactID: contact.ID, LookupID: member.LookupID, ListID: t.ListID,
			TransactionID: t.ID, LinkType: d.LinkType, ExpiresAt: d.ExpiresAt, State: Unopened,
		}
		link.ID = newID("") + "_" + tail(d.SurveyID) + "_" + member.LookupID
		link.URL = s.settings.BaseURL + "/jfe/form/" + url.PathEscape(d.SurveyID) + "?Q_DL=" + link.ID + "&Q_CHL=gl"
		links = append(links, link)
		s.index.links[d.ID] = append(s.index.links[d.ID], link.ID)
	}
	must(s.books.links.PutAll(links, func(l Link) string { return l.ID }))
}

// addressees are the transactions of the batch or, without a batch, the members of the list as transactions without id.
func (s *Simulator) addressees(d Distribution) []Transaction {
	if d.BatchID != "" {
		batch, _ := s.books.batches.Get(d.BatchID)
		return s.transactionsOf(batch.TransactionIDs)
	}
	if d.LookupID != "" {
		return []Transaction{{ContactID: s.index.byLookup[d.LookupID], ListID: d.ListID}}
	}
	var all []Transaction
	for _, contactID := range s.index.members[d.ListID] {
		all = append(all, Transaction{ContactID: contactID, ListID: d.ListID})
	}
	return all
}

// listLinks gives the links of a distribution, 100 a page (qualtrics.md §3.7). Reading a link counts as an invitation.
func listLinks(c *call) (any, error) {
	d, err := c.distribution(true)
	if err != nil {
		return nil, err
	}
	from, err := c.skip()
	if err != nil {
		return nil, err
	}
	a := c.settings.Assumed
	if c.now().Before(d.CreatedAt.Add(a.LinkDelay)) {
		d.ID = "" // there are no links of it yet
	}
	links, to, more := c.linksFrom(d.ID, from, pageAt(a.LinkPages, from))
	elements, last := []any{}, ""
	for _, link := range links {
		elements, last = append(elements, c.showLink(link)), c.linkContact(link)
	}
	more = more || a.EmptyLastPage && len(elements) > 0
	result := c.listing(elements, last, to, more)
	if more && a.NextPageBaseURL != "" {
		result["nextPage"] = c.nextPage(strings.TrimRight(a.NextPageBaseURL, "/"), last, to)
	}
	if !more && a.OmitNextPage {
		delete(result, "nextPage")
	}
	return result, nil
}

// linksFrom gives a distribution's links from a place on, the place after them, and whether there are any more. Links
// that are never told and those of deleted contacts are left out.
func (s *Simulator) linksFrom(distributionID string, from, size int) (links []Link, to int, more bool) {
	ids := s.index.links[distributionID]
	for to = from; to < len(ids); to++ {
		link, _ := s.books.links.Get(ids[to])
		_, found := s.books.contacts.Get(link.ContactID)
		if n := s.settings.Assumed.MissingLinks; !found || n > 0 && (to+1)%n == 0 {
			continue
		}
		if len(links) == size {
			return links, to, true
		}
		links = append(links, link)
	}
	return links, to, false
}

// pageAt is the size of the page that begins there, with the sizes repeating.
func pageAt(sizes []int, from int) int {
	if len(sizes) == 0 {
		return linkPage
	}
	for at, i := 0, 0; ; i++ {
		size := sizes[i%len(sizes)]
		if at += size; at > from {
			return size
		}
	}
}

func (c *call) linkContact(link Link) string {
	switch c.settings.Assumed.LinkContactID {
	case "CGC":
		return link.LookupID
	case "MLRP":
		return "MLRP_" + tail(link.LookupID)
	}
	return link.ContactID
}

func (c *call) showLink(link Link) any {
	contact, _ := c.books.contacts.Get(link.ContactID)
	unsubscribed := contact.unsubscribed(link.ListID)
	exceeded := c.countInvitation(contact)
	shown := map[string]any{
		"contactId": c.linkContact(link), "transactionId": nullable(link.TransactionID), "link": link.URL,
		"exceededContactFrequency": exceeded, "linkExpiration": link.ExpiresAt.Format(isoTime), "status": "Email not sent",
		"lastName": nullable(contact.LastName), "firstName": nullable(contact.FirstName),
		"externalDataReference": nullable(contact.ExtRef), "email": nullable(contact.Email), "unsubscribed": unsubscribed,
	}
	if unsubscribed || exceeded && c.settings.Assumed.FrequencyNullLink {
		shown["link"] = nil
	}
	if c.settings.Assumed.OmitTransactionID {
		delete(shown, "transactionId")
	}
	if c.settings.Assumed.UnsubscribedAsText {
		shown["unsubscribed"] = map[bool]string{false: "0", true: "1"}[unsubscribed]
	}
	return shown
}

// unsubscribed tells whether a contact opted out of a list or of the whole directory.
func (c Contact) unsubscribed(listID string) bool {
	return !c.UnsubscribedAt.IsZero() || !c.Memberships[listID].UnsubscribedAt.IsZero()
}

// countInvitation counts the reading of a link and tells whether the contact has had too many invitations before it.
func (c *call) countInvitation(contact Contact) (exceeded bool) {
	limit := c.settings.Assumed.FrequencyLimit
	if limit == 0 {
		return false
	}
	now := c.now()
	recent := make([]time.Time, 0, len(contact.Invitations)+1)
	for _, at := range contact.Invitations {
		if now.Sub(at) < c.settings.Assumed.FrequencyWindow {
			recent = append(recent, at)
		}
	}
	exceeded = len(recent) >= limit
	contact.Invitations = append(recent, now)
	c.putContact(contact)
	return exceeded
}

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
	links, to, more := c.linksFrom(d.ID, from, linkPage)
	elements, last := []any{}, ""
	for _, link := range links {
		elements, last = append(elements, c.showHistory(link)), link.ContactID
	}
	return c.listing(elements, last, to, more), nil
}

func (c *call) showHistory(link Link) any {
	status := map[string]string{Unopened: "Pending", Opened: "SurveyStarted", Answered: "SurveyFinished", Consumed: "SurveyStarted"}
	shown := map[string]any{
		"contactId": link.ContactID, "contactLookupId": link.LookupID, "distributionId": link.DistributionID,
		"status": status[link.State], "surveyLink": link.URL, "contactFrequencyRuleId": nil,
		"responseId": nullable(link.ResponseID), "responseStartedAt": nil, "responseCompletedAt": nil,
		"sentAt": nil, "openedAt": nil, "surveySessionId": nil,
	}
	if response, found := c.books.responses.Get(link.ResponseID); found {
		shown["responseStartedAt"] = response.StartedAt.Format(isoTime)
		shown["responseCompletedAt"] = response.RecordedAt.Format(isoTime)
		shown["surveySessionId"] = "FS_" + tail(response.ID)
	}
	return shown
}
