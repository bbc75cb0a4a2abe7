package qualtrics

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"slices"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Contact is a person in a mailing list. There is no unsubscribed: to send false with each contact would subscribe
// people again who opted out (qualtrics.md §6.2). Empty fields are left out.
type Contact struct {
	FirstName string `json:"firstName,omitempty"`
	LastName  string `json:"lastName,omitempty"`
	Email     string `json:"email,omitempty"`
	Phone     string `json:"phone,omitempty"`
	// ExtRef is the contact's key in our systems.
	ExtRef string `json:"extRef,omitempty"`
	// Language is one of Qualtrics' codes: EN, DE, PT-BR.
	Language string `json:"language,omitempty"`
	// EmbeddedData overwrites what an earlier contact left in the directory. Names up to 200 characters, values to 1,024.
	EmbeddedData map[string]string `json:"embeddedData,omitempty"`
}

func (c Contact) personal() []string {
	return slices.AppendSeq(append(outbound.Names(c.FirstName, c.LastName), c.Email, c.Phone), maps.Values(c.EmbeddedData))
}

// ContactIDs are the two ids of a contact in a list (qualtrics.md §2.10).
type ContactIDs struct {
	// ID is the directory-wide id, CID_…, which transactions want.
	ID string `json:"id"`
	// LookupID is the id within the list, CGC_…, which webhooks and some links name.
	LookupID string `json:"contactLookupId"`
}

// CreateContact puts a contact into a mailing list (qualtrics.md §3.2).
//
// A repeat changes the same contact if the directory dedupes by what the contact has; else it makes a second one.
// See [Client.Directories] for the criteria and [Client.FindContact] for the probe.
func (c *Client) CreateContact(ctx context.Context, listID string, contact Contact) (ContactIDs, error) {
	call := post("create contact", c.inDirectory("mailinglists", listID, "contacts"), contact)
	call.Write, call.Personal = true, contact.personal()
	r, err := send[ContactIDs](ctx, c, call)
	if err != nil {
		return ContactIDs{}, err
	}
	if r.result.ID == "" {
		return ContactIDs{}, r.answer.Malformed("there is no contact id")
	}
	return r.result, nil
}

// FindContact looks for a contact of the list by its external reference, or by e-mail if extRef is empty. It is the
// probe of [Client.CreateContact], after which a contact has its own extRef even where dedupe merged it into another's;
// so an e-mail is not asked where there is an extRef, lest it find somebody who shares the mailbox.
//
// It costs one search and one read for each contact found (qualtrics.md §3.2). The search may lag behind a contact
// just made; a contact that is found but not readable yet is [fault.NotYet].
func (c *Client) FindContact(ctx context.Context, listID, extRef, email string) (ContactIDs, bool, error) {
	filter := map[string]string{"filterType": "extRef", "comparison": "eq", "value": extRef}
	if extRef == "" {
		filter["filterType"], filter["value"] = "email", email
	}
	if filter["value"] == "" {
		return ContactIDs{}, false, c.fault(fault.Invalid, "find contact: neither external reference nor e-mail is given")
	}
	search := post("search contacts", c.inDirectory("contacts", "search"), map[string]any{"filter": filter})
	search.Query = url.Values{"pageSize": {"100"}}
	search.Personal = []string{email}
	for page, err := range pages[ContactIDs](ctx, c, search) {
		if err != nil {
			return ContactIDs{}, false, err
		}
		for _, hit := range page {
			ids, in, err := c.inList(ctx, hit.ID, listID)
			if err != nil || in {
				return ids, in, err
			}
		}
	}
	return ContactIDs{}, false, nil
}

// inList reads a contact for its id within the list. Right after its creation the read may be a 404.
func (c *Client) inList(ctx context.Context, contactID, listID string) (ContactIDs, bool, error) {
	type contact struct {
		Lists map[string]ContactIDs `json:"mailingListMembership"`
	}
	r, err := send[contact](ctx, c, outbound.Call{Operation: "read contact", Path: c.inDirectory("contacts", contactID)})
	if err != nil {
		return ContactIDs{}, false, notYet(err)
	}
	list, in := r.result.Lists[listID]
	if !in {
		return ContactIDs{}, false, nil
	}
	return ContactIDs{ID: contactID, LookupID: list.LookupID}, true, nil
}

// notYet makes a 404 of something just made a matter of time: reads lag behind writes (qualtrics.md §3.2).
func notYet(err error) error {
	if outbound.StatusOf(err) != http.StatusNotFound {
		return err
	}
	f := *fault.From(err)
	f.Class = fault.NotYet
	return &f
}
