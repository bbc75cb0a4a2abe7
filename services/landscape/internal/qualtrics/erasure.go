package qualtrics

import (
	"slices"
	"strings"
	"time"
)

// Erasure is a request to erase personal data. Whom it was about is not kept.
type Erasure struct {
	ID         string    `json:"id"` // OP-
	SearchOnly bool      `json:"searchOnly"`
	RequestAt  time.Time `json:"requestedAt"`
	DoneAt     time.Time `json:"doneAt"`
	// Found is how many contacts and responses there were, and First the kind of the first of them.
	Found int    `json:"found"`
	First string `json:"first,omitempty"`
	// Emails are those of a request that is not done yet.
	Emails []string `json:"emails,omitempty"`
}

// maxEmails is how many addresses one request takes: as many as the product's own page (qualtrics.md §6.3; that the
// interface has the same limit is assumed).
const maxEmails = 500

// requestErasure takes a request, which is carried out later (qualtrics.md §3.14).
func requestErasure(c *call) (any, error) {
	if c.switches.NoBrandAdmin {
		return nil, forbidden()
	}
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	body.need("emails")
	emails, searchOnly := body.texts("emails"), body.boolean("searchOnly")
	if err := body.done(); err != nil {
		return nil, err
	}
	if len(emails) == 0 || len(emails) > maxEmails {
		return nil, badRequest("Invalid value for emails: expected 1 to %d.", maxEmails)
	}
	for _, email := range emails {
		if !strings.Contains(email, "@") {
			return nil, badRequest("Invalid value for emails: not an e-mail address.")
		}
	}
	e := Erasure{
		ID: newID("OP-"), SearchOnly: searchOnly != nil && *searchOnly, RequestAt: c.now(),
		DoneAt: c.now().Add(c.switches.ErasureDuration), Emails: emails,
	}
	must(c.books.erasures.Put(e.ID, e))
	return map[string]any{"requestId": e.ID}, nil
}

// getErasure tells how far a request is. There are data only when it is completed, and then of the first record alone
// (qualtrics.md §3.14).
func getErasure(c *call) (any, error) {
	if c.switches.NoBrandAdmin {
		return nil, forbidden()
	}
	e, found := c.books.erasures.Get(c.request.PathValue("o"))
	if !found {
		return nil, notFound("Request not found.")
	}
	if c.now().Before(e.DoneAt) {
		return map[string]any{"requestId": e.ID, "status": "InProgress"}, nil
	}
	e = c.erase(e)
	data := []any{}
	if e.First != "" {
		data = append(data, map[string]any{"type": e.First})
	}
	return map[string]any{"requestId": e.ID, "status": "Completed", "data": data}, nil
}

// runErasures carries out what is due.
func (s *Simulator) runErasures() {
	for _, e := range s.books.erasures.Find(func(e Erasure) bool { return len(e.Emails) > 0 && !s.now().Before(e.DoneAt) }) {
		s.erase(e)
	}
}

// erase carries out a request, once: contacts with these addresses, their answers, and what hangs on them. Answers in
// which the address was merely typed are not found (qualtrics.md §6.3).
func (s *Simulator) erase(e Erasure) Erasure {
	if len(e.Emails) == 0 {
		return e
	}
	wanted := map[string]bool{}
	for _, email := range e.Emails {
		wanted[plain(email)] = true
	}
	contacts := s.books.contacts.Find(func(c Contact) bool { return wanted[plain(c.Email)] })
	lookups, ids := map[string]bool{}, map[string]bool{}
	for _, c := range contacts {
		ids[c.ID] = true
		for _, m := range c.Memberships {
			lookups[m.LookupID] = true
		}
	}
	responses := s.books.responses.Find(func(r Response) bool { return lookups[r.LookupID] || wanted[plain(r.Recipient["Email"])] })
	e.Found, e.Emails = len(contacts)+len(responses), nil
	switch {
	case len(contacts) > 0:
		e.First = "contact"
	case len(responses) > 0:
		e.First = "response"
	}
	if !e.SearchOnly {
		s.eraseAll(contacts, responses, ids)
	}
	must(s.books.erasures.Put(e.ID, e))
	return e
}

func (s *Simulator) eraseAll(contacts []Contact, responses []Response, ids map[string]bool) {
	for _, c := range contacts {
		s.forgetContact(c)
	}
	for _, r := range responses {
		must(s.books.responses.Delete(r.ID))
	}
	if !s.settings.Assumed.ErasureKeepsLinks {
		for _, l := range s.books.links.Find(func(l Link) bool { return ids[l.ContactID] }) {
			must(s.books.links.Delete(l.ID))
			s.index.links[l.DistributionID] = slices.DeleteFunc(s.index.links[l.DistributionID], func(id string) bool { return id == l.ID })
		}
	}
	for _, t := range s.books.transactions.Find(func(t Transaction) bool { return ids[t.ContactID] }) {
		s.forgetTransaction(t)
	}
}
