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
	if c.query("skipToken") == "" {
		d.Reads++
		must(c.books.distributions.Put(d.ID, d))
	}
	a := c.switches
	page := linkPageOf{to: from}
	if !c.linksDelayed(d) {
		page = c.linksFrom(d.ID, from, pageAt(a.LinkPages, from), c.linksMissing(d))
	}
	elements, last := c.showLinks(page.links), ""
	if n := len(page.links); n > 0 {
		last = c.linkContact(page.links[n-1])
	}
	more := page.more || a.EmptyLastPage && len(elements) > 0
	result := c.listing(elements, last, page.to, more)
	if more && a.NextPageBaseURL != "" {
		result["nextPage"] = c.nextPage(strings.TrimRight(a.NextPageBaseURL, "/"), last, page.to) + "&proxyDepth=1&proxyInfo=" +
			url.QueryEscape(c.settings.Datacenter)
	}
	if !more && a.OmitNextPage {
		delete(result, "nextPage")
	}
	return result, nil
}

// linksDelayed tells whether a distribution has no links yet.
func (c *call) linksDelayed(d Distribution) bool {
	return c.now().Before(d.CreatedAt.Add(c.switches.LinkDelay)) || d.Reads <= c.switches.LinkDelayReads
}

// linksMissing gives every how many links one is missing from the answers at the moment, 0 for none.
func (c *call) linksMissing(d Distribution) int {
	a := c.switches
	late := a.MissingFor > 0 && !c.now().Before(d.CreatedAt.Add(a.MissingFor))
	if late || a.MissingReads > 0 && d.Reads > a.MissingReads {
		return 0
	}
	return a.MissingLinks
}

// linkPageOf is a part of a distribution's links, the place after it, and whether there are any more.
type linkPageOf struct {
	links []Link
	to    int
	more  bool
}

// linksFrom gives a distribution's links from a place on. Every nth that is missing is left out, and those of deleted
// contacts are.
func (s *Simulator) linksFrom(distributionID string, from, size, missing int) linkPageOf {
	var page linkPageOf
	ids := s.index.links[distributionID]
	for page.to = from; page.to < len(ids); page.to++ {
		link, _ := s.books.links.Get(ids[page.to])
		_, found := s.books.contacts.Get(link.ContactID)
		if !found || missing > 0 && (page.to+1)%missing == 0 {
			continue
		}
		if len(page.links) == size {
			page.more = true
			return page
		}
		page.links = append(page.links, link)
	}
	return page
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
	switch c.switches.LinkContactID {
	case "CGC":
		return link.LookupID
	case "MLRP":
		return "MLRP_" + tail(link.LookupID)
	}
	return link.ContactID
}

// showLinks gives the rows of links, and books that they were read.
func (c *call) showLinks(links []Link) []any {
	rows, ch := make([]any, 0, len(links)), c.changes()
	for _, link := range links {
		contact, _ := ch.contact(link.ContactID)
		exceeded := false
		if c.switches.FrequencyLimit > 0 {
			contact, exceeded = c.invite(contact)
			ch.put(contact)
		}
		rows = append(rows, c.showLink(link, contact, exceeded))
	}
	ch.write()
	return rows
}

func (c *call) showLink(link Link, contact Contact, exceeded bool) any {
	unsubscribed := contact.unsubscribed(link.ListID)
	shown := map[string]any{
		"contactId": c.linkContact(link), "transactionId": nullable(link.TransactionID), "link": link.URL,
		"exceededContactFrequency": exceeded, "linkExpiration": link.ExpiresAt.Format(isoTime), "status": "Email not sent",
		"lastName": nullable(contact.LastName), "firstName": nullable(contact.FirstName),
		"externalDataReference": nullable(contact.ExtRef), "email": nullable(contact.Email), "unsubscribed": unsubscribed,
	}
	if unsubscribed || exceeded && c.switches.FrequencyNullLink {
		shown["link"] = nil
	}
	if c.switches.OmitTransactionID {
		delete(shown, "transactionId")
	}
	if c.switches.UnsubscribedAsText {
		shown["unsubscribed"] = map[bool]string{false: "0", true: "1"}[unsubscribed]
	}
	return shown
}

// unsubscribed tells whether a contact opted out of a list or of the whole directory.
func (c Contact) unsubscribed(listID string) bool {
	return !c.UnsubscribedAt.IsZero() || !c.Memberships[listID].UnsubscribedAt.IsZero()
}

// invite counts an invitation of a contact and tells whether it has had too many before.
func (c *call) invite(contact Contact) (_ Contact, exceeded bool) {
	now := c.now()
	recent := make([]time.Time, 0, len(contact.Invitations)+1)
	for _, at := range contact.Invitations {
		if now.Sub(at) < c.switches.FrequencyWindow {
			recent = append(recent, at)
		}
	}
	contact.Invitations = append(recent, now)
	return contact, len(recent) >= c.switches.FrequencyLimit
}
