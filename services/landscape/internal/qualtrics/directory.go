package qualtrics

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// contactFields are what a write to a contact gives; nil and empty pointers leave the contact's own.
type contactFields struct {
	firstName, lastName, email, phone, extRef, language *string
	embeddedData, privateEmbeddedData                   map[string]string
	unsubscribed                                        *bool
}

// readContact reads a contact as it is written (qualtrics.md §3.2). In the directory the values of embedded data may
// be scalars, in a list they are texts; only a list has private embedded data.
func readContact(o *object, inList bool) contactFields {
	f := contactFields{
		firstName: o.optionalText("firstName"), lastName: o.optionalText("lastName"), email: o.optionalText("email"),
		phone: o.optionalText("phone"), extRef: o.optionalText("extRef"), language: o.optionalText("language"),
		embeddedData: o.data("embeddedData", !inList), unsubscribed: o.boolean("unsubscribed"),
	}
	if inList {
		f.privateEmbeddedData = o.data("privateEmbeddedData", true)
	}
	return f
}

func set(into *string, given *string) {
	if given != nil {
		*into = *given
	}
}

// apply changes a contact, in a list or (with an empty list) in the directory.
func (f contactFields) apply(contact Contact, listID string, now time.Time) Contact {
	set(&contact.FirstName, f.firstName)
	set(&contact.LastName, f.lastName)
	set(&contact.Email, f.email)
	set(&contact.Phone, f.phone)
	set(&contact.ExtRef, f.extRef)
	set(&contact.Language, f.language)
	contact.EmbeddedData = merged(contact.EmbeddedData, f.embeddedData)
	contact.ModifiedAt = now
	if listID == "" {
		contact.UnsubscribedAt = unsubscribe(contact.UnsubscribedAt, f.unsubscribed, now)
		return contact
	}
	member, found := contact.Memberships[listID]
	if !found {
		member.LookupID = newID("CGC_")
	}
	member.UnsubscribedAt = unsubscribe(member.UnsubscribedAt, f.unsubscribed, now)
	member.PrivateEmbeddedData = merged(member.PrivateEmbeddedData, f.privateEmbeddedData)
	contact.Memberships = merged(contact.Memberships, map[string]Membership{listID: member})
	return contact
}

func unsubscribe(since time.Time, given *bool, now time.Time) time.Time {
	switch {
	case given == nil, *given && !since.IsZero():
		return since
	case *given:
		return now
	}
	return time.Time{}
}

func merged[V any](old, given map[string]V) map[string]V {
	if len(given) == 0 {
		return old
	}
	all := make(map[string]V, len(old)+len(given))
	maps.Copy(all, old)
	maps.Copy(all, given)
	return all
}

// changes are contacts that are written together. The index follows at once, so that each change sees those before it.
type changes struct {
	*Simulator
	contacts map[string]Contact
	order    []string // ids, each once
}

func (s *Simulator) changes() *changes { return &changes{Simulator: s, contacts: map[string]Contact{}} }

func (ch *changes) contact(id string) (Contact, bool) {
	if contact, changed := ch.contacts[id]; changed {
		return contact, true
	}
	return ch.books.contacts.Get(id)
}

func (ch *changes) put(contact Contact) {
	if old, found := ch.contact(contact.ID); found {
		ch.unindex(old)
	}
	if _, twice := ch.contacts[contact.ID]; !twice {
		ch.order = append(ch.order, contact.ID)
	}
	ch.contacts[contact.ID] = contact
	ch.indexContact(contact)
}

func (ch *changes) write() {
	all := make([]Contact, 0, len(ch.order))
	for _, id := range ch.order {
		all = append(all, ch.contacts[id])
	}
	must(ch.books.contacts.PutAll(all, func(c Contact) string { return c.ID }))
}

// upsert makes a contact or, where an identity rule finds one, modifies it in place (qualtrics.md §3.2 "Duplicates").
func (ch *changes) upsert(f contactFields, listID string) (contact Contact, added bool) {
	now := ch.now()
	contact, found := ch.match(f)
	if !found {
		contact = Contact{ID: newID("CID_"), CreatedAt: now}
	}
	contact = f.apply(contact, listID, now)
	ch.put(contact)
	return contact, !found
}

// match finds the contact that is the same person by the first rule that finds one.
func (ch *changes) match(f contactFields) (Contact, bool) {
	for _, key := range ch.identities(f.apply(Contact{}, "", time.Time{})) {
		if id, found := ch.index.byIdentity[key]; found {
			return ch.contact(id)
		}
	}
	return Contact{}, false
}

// identities are what a contact is found by, one for each rule of which it lacks no field.
func (s *Simulator) identities(c Contact) []string {
	values := map[string]string{
		"email": c.Email, "firstName": c.FirstName, "lastName": c.LastName, "externalDataReference": c.ExtRef, "phone": c.Phone,
	}
	var keys []string
	for _, rule := range s.settings.Dedupe {
		key, complete := strings.Join(rule, "+"), true
		for _, criterion := range rule {
			value := plain(values[criterion])
			key, complete = key+"\x00"+value, complete && value != ""
		}
		if complete {
			keys = append(keys, key)
		}
	}
	return keys
}

// putContact writes one contact.
func (s *Simulator) putContact(contact Contact) {
	ch := s.changes()
	ch.put(contact)
	ch.write()
}

func (s *Simulator) unindex(old Contact) {
	for _, key := range s.identities(old) {
		if s.index.byIdentity[key] == old.ID {
			delete(s.index.byIdentity, key)
		}
	}
	for _, key := range searchKeys(old) {
		s.index.bySearch[key] = slices.DeleteFunc(s.index.bySearch[key], func(id string) bool { return id == old.ID })
	}
}

func (s *Simulator) indexContact(contact Contact) {
	for _, key := range s.identities(contact) {
		if _, taken := s.index.byIdentity[key]; !taken {
			s.index.byIdentity[key] = contact.ID
		}
	}
	for _, key := range searchKeys(contact) {
		s.index.bySearch[key] = append(s.index.bySearch[key], contact.ID)
	}
	for listID, member := range contact.Memberships {
		if _, known := s.index.byLookup[member.LookupID]; !known {
			s.index.members[listID] = append(s.index.members[listID], contact.ID)
		}
		s.index.byLookup[member.LookupID] = contact.ID
	}
}

// leaveList takes a contact out of the index of a list.
func (s *Simulator) leaveList(contact Contact, listID string) {
	delete(s.index.byLookup, contact.Memberships[listID].LookupID)
	s.index.members[listID] = slices.DeleteFunc(s.index.members[listID], func(id string) bool { return id == contact.ID })
}

// place checks directory and list of a call; the list is empty in a call on the directory.
func (c *call) place() (listID string, err error) {
	if err := c.directory(); err != nil {
		return "", err
	}
	listID = c.request.PathValue("m")
	if _, found := c.settings.list(listID); listID != "" && !found {
		return "", listNotFound()
	}
	return listID, nil
}

// contact finds the contact of a call. In a list, the contact is known by its lookup id as well.
func (c *call) contact() (Contact, string, error) {
	listID, err := c.place()
	if err != nil {
		return Contact{}, "", err
	}
	id := c.request.PathValue("c")
	if contactID, found := c.index.byLookup[id]; listID != "" && found {
		id = contactID
	}
	contact, found := c.books.contacts.Get(id)
	if _, member := contact.Memberships[listID]; !found || listID != "" && !member {
		return Contact{}, "", notFound("Contact not found.")
	}
	return contact, listID, nil
}

func createContact(c *call) (any, error) {
	listID, err := c.place()
	if err != nil {
		return nil, err
	}
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	fields := readContact(body, listID != "")
	if err := body.done(); err != nil {
		return nil, err
	}
	ch := c.changes()
	contact, _ := ch.upsert(fields, listID)
	ch.write()
	result := map[string]any{"id": contact.ID}
	if listID != "" {
		result["contactLookupId"] = contact.Memberships[listID].LookupID
	}
	return result, nil
}

func getContact(c *call) (any, error) {
	contact, listID, err := c.contact()
	if err != nil {
		return nil, err
	}
	if window := c.switches.CreateWindow; c.now().Before(contact.CreatedAt.Add(window)) {
		return nil, notFound("Contact not found.")
	}
	shown := c.showContact(contact)
	if listID != "" {
		showMembership(shown, contact.Memberships[listID])
	}
	return shown, nil
}

func updateContact(c *call) (any, error) {
	contact, listID, err := c.contact()
	if err != nil {
		return nil, err
	}
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	fields := readContact(body, listID != "")
	if err := body.done(); err != nil {
		return nil, err
	}
	c.putContact(fields.apply(contact, listID, c.now()))
	return nil, nil
}

// deleteContact takes a contact out of a list, or out of the directory with all that hangs on it (qualtrics.md §3.2).
func deleteContact(c *call) (any, error) {
	contact, listID, err := c.contact()
	if err != nil {
		return nil, err
	}
	if listID != "" {
		c.leaveList(contact, listID)
		contact.Memberships = maps.Clone(contact.Memberships)
		delete(contact.Memberships, listID)
		c.putContact(contact)
		return nil, nil
	}
	c.forgetContact(contact)
	return nil, nil
}

// forgetContact takes a contact out of the directory and all its lists.
func (s *Simulator) forgetContact(contact Contact) {
	for listID := range contact.Memberships {
		s.leaveList(contact, listID)
	}
	s.unindex(contact)
	must(s.books.contacts.Delete(contact.ID))
}

// listContacts pages through a list, 50 at most (qualtrics.md §3.2 "Lists and history").
func listContacts(c *call) (any, error) {
	listID, err := c.place()
	if err != nil {
		return nil, err
	}
	return paged(c, c.index.members[listID], 50, 50, func(id string) (string, any) {
		contact, _ := c.books.contacts.Get(id)
		shown := c.showContact(contact)
		showMembership(shown, contact.Memberships[listID])
		return id, shown
	})
}

// listOptedOut gives the members who opted out of the list, since a time where one is given.
func listOptedOut(c *call) (any, error) {
	listID, err := c.place()
	if err != nil {
		return nil, err
	}
	var since time.Time
	if text := c.query("since"); text != "" {
		var ok bool
		if since, ok = readTime(text); !ok {
			return nil, badRequest("Invalid value for since.")
		}
	}
	var out []Contact
	for _, id := range c.index.members[listID] {
		contact, _ := c.books.contacts.Get(id)
		if at := contact.Memberships[listID].UnsubscribedAt; !at.IsZero() && !at.Before(since) {
			out = append(out, contact)
		}
	}
	return paged(c, out, 100, 100, func(contact Contact) (string, any) {
		shown := c.showContact(contact)
		showMembership(shown, contact.Memberships[listID])
		return contact.ID, shown
	})
}

// showContact gives a contact as GET has it; times are milliseconds (qualtrics.md §2.11).
func (c *call) showContact(contact Contact) map[string]any {
	lists := map[string]any{}
	for listID, member := range contact.Memberships {
		list, _ := c.settings.list(listID)
		lists[listID] = map[string]any{
			"contactLookupId": member.LookupID, "name": list.Name, "ownerId": "UR_simulated",
			"unsubscribed": !member.UnsubscribedAt.IsZero(), "unsubscribeDate": millis(member.UnsubscribedAt),
		}
	}
	_, domain, _ := strings.Cut(contact.Email, "@")
	return map[string]any{
		"contactId": contact.ID, "creationDate": millis(contact.CreatedAt), "lastModified": millis(contact.ModifiedAt),
		"firstName": nullable(contact.FirstName), "lastName": nullable(contact.LastName),
		"email": nullable(contact.Email), "emailDomain": nullable(domain), "phone": nullable(contact.Phone),
		"extRef": nullable(contact.ExtRef), "language": nullable(contact.Language),
		"embeddedData":             orEmpty(contact.EmbeddedData),
		"directoryUnsubscribed":    !contact.UnsubscribedAt.IsZero(),
		"directoryUnsubscribeDate": millis(contact.UnsubscribedAt),
		"mailingListMembership":    lists,
	}
}

func showMembership(shown map[string]any, member Membership) {
	shown["contactLookupId"] = member.LookupID
	shown["mailingListUnsubscribed"] = !member.UnsubscribedAt.IsZero()
	shown["mailingListUnsubscribeDate"] = millis(member.UnsubscribedAt)
	shown["privateEmbeddedData"] = orEmpty(member.PrivateEmbeddedData)
}

func nullable(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

func orEmpty(data map[string]string) map[string]string {
	if data == nil {
		return map[string]string{}
	}
	return data
}
