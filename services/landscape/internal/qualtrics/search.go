package qualtrics

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

const searchCap = 10_000 // qualtrics.md §3.2: beyond it use the export

// filter tells whether a contact is wanted. Where key is set, only contacts that the index has under it are.
type filter struct {
	keep func(Contact) bool
	key  string
}

// searchKeys are what the index finds a contact by in searches.
func searchKeys(c Contact) (keys []string) {
	for _, name := range []string{"email", "extRef"} {
		if value := textFilters[name](c); plain(value) != "" {
			keys = append(keys, searchKey(name, value))
		}
	}
	return keys
}

func searchKey(name, value string) string { return name + "\x00" + plain(value) }

// search gives the contacts that are wanted, the oldest first.
func (s *Simulator) search(wanted filter) []Contact {
	if wanted.key == "" {
		return s.books.contacts.Find(wanted.keep)
	}
	var found []Contact
	for _, id := range s.index.bySearch[wanted.key] {
		if contact, _ := s.books.contacts.Get(id); wanted.keep(contact) {
			found = append(found, contact)
		}
	}
	slices.SortFunc(found, func(a, b Contact) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return found
}

var textFilters = map[string]func(Contact) string{
	"email":     func(c Contact) string { return c.Email },
	"firstName": func(c Contact) string { return c.FirstName },
	"lastName":  func(c Contact) string { return c.LastName },
	"language":  func(c Contact) string { return c.Language },
	"phone":     func(c Contact) string { return c.Phone },
	"extRef":    func(c Contact) string { return c.ExtRef },
}

var timeFilters = map[string]func(Contact) time.Time{
	"created":      func(c Contact) time.Time { return c.CreatedAt },
	"lastModified": func(c Contact) time.Time { return c.ModifiedAt },
}

// searchContacts finds contacts by the filters of qualtrics.md §3.2 "Search". An exactly full last page is followed by
// an empty one; skipToken is left out of the last.
func searchContacts(c *call) (any, error) {
	if err := c.directory(); err != nil {
		return nil, err
	}
	body, err := c.object()
	if err != nil {
		return nil, err
	}
	body.need("filter")
	wanted := readFilter(body.child("filter"), body)
	if err := body.done(); err != nil {
		return nil, err
	}
	embedded, err := c.flag("includeEmbedded")
	if err != nil {
		return nil, err
	}
	return c.found(c.search(wanted), embedded)
}

func (c *call) found(contacts []Contact, embedded bool) (any, error) {
	from, to, err := c.page(len(contacts), 100, 1000)
	if err != nil {
		return nil, err
	}
	size := 100
	if text := c.query("pageSize"); text != "" {
		size, _ = strconv.Atoi(text) // page has checked it
	}
	if from+size > searchCap {
		return nil, refuse(400, "BRE_0.5", "Paging beyond the first %d contacts is not possible.", searchCap)
	}
	result, last := map[string]any{}, ""
	elements := make([]any, 0, to-from)
	for _, contact := range contacts[from:to] {
		elements, last = append(elements, showFound(contact, embedded)), contact.ID
	}
	result["elements"] = elements
	if to-from == size {
		result["skipToken"] = last + "~" + strconv.Itoa(to)
	}
	return result, nil
}

// showFound spells the fields as search does (qualtrics.md §2.11).
func showFound(contact Contact, embedded bool) any {
	shown := map[string]any{
		"id": contact.ID, "firstName": nullable(contact.FirstName), "lastName": nullable(contact.LastName),
		"email": nullable(contact.Email), "phoneNumber": nullable(contact.Phone),
		"externalDataReference": nullable(contact.ExtRef), "language": nullable(contact.Language),
		"unsubscribed": !contact.UnsubscribedAt.IsZero(),
	}
	if embedded {
		shown["embeddedData"] = orEmpty(contact.EmbeddedData)
	}
	return shown
}

// readFilter reads one filter, or the conjunction of 2 to 5. Mistakes go to the whole body.
func readFilter(o, body *object) filter {
	defer body.adopt(o)
	if !o.has("conjunction") && !o.has("filters") {
		return readOne(o)
	}
	o.need("conjunction", "filters")
	if o.text("conjunction") != "and" {
		o.mistake("conjunction", `"and"`)
	}
	parts := o.children("filters")
	if len(parts) < 2 || len(parts) > 5 {
		o.mistake("filters", "2 to 5 filters")
	}
	var all []filter
	key := ""
	for _, part := range parts {
		one := readOne(part)
		all, key = append(all, one), cmp.Or(key, one.key)
		o.adopt(part)
	}
	return filter{key: key, keep: func(c Contact) bool {
		return !slices.ContainsFunc(all, func(one filter) bool { return !one.keep(c) })
	}}
}

func readOne(o *object) filter {
	o.need("filterType", "comparison")
	kind := o.text("filterType")
	if field, ok := textFilters[kind]; ok {
		return textFilter(o, kind, field)
	}
	if field, ok := timeFilters[kind]; ok {
		return timeFilter(o, field)
	}
	switch kind {
	case "inList":
		return listFilter(o)
	case "infoFieldState":
		return stateFilter(o)
	}
	o.mistake("filterType", "one of the filter types")
	return filter{}
}

func textFilter(o *object, name string, field func(Contact) string) filter {
	o.need("value")
	comparison, value := o.text("comparison"), o.text("value")
	if comparison != "eq" && comparison != "neq" {
		o.mistake("comparison", "eq or neq")
	}
	wanted := filter{keep: func(c Contact) bool { return same(field(c), value) == (comparison == "eq") }}
	if comparison == "eq" && (name == "email" || name == "extRef") && plain(value) != "" {
		wanted.key = searchKey(name, value)
	}
	return wanted
}

func timeFilter(o *object, field func(Contact) time.Time) filter {
	o.need("value")
	holds, known := map[string]func(int) bool{
		"eq": func(n int) bool { return n == 0 }, "neq": func(n int) bool { return n != 0 },
		"gt": func(n int) bool { return n > 0 }, "gte": func(n int) bool { return n >= 0 },
		"lt": func(n int) bool { return n < 0 }, "lte": func(n int) bool { return n <= 0 },
	}[o.text("comparison")]
	if !known {
		o.mistake("comparison", "eq, neq, gt, gte, lt or lte")
	}
	text := o.text("value")
	value, err := time.Parse(dateTime, text)
	if day, dayErr := time.Parse(time.DateOnly, text); dayErr == nil {
		value, err = day, nil
	}
	if err != nil {
		o.mistake("value", "yyyy-MM-dd or yyyy-MM-dd HH:mm:ss")
	}
	return filter{keep: func(c Contact) bool { return holds(cmp.Compare(field(c).Unix(), value.Unix())) }}
}

func listFilter(o *object) filter {
	o.need("mailingListId")
	listID := o.text("mailingListId")
	inside := o.boolean("comparison")
	return filter{keep: func(c Contact) bool {
		_, member := c.Memberships[listID]
		return member == *inside
	}}
}

func stateFilter(o *object) filter {
	o.need("field")
	name, comparison := o.text("field"), o.text("comparison")
	if name != "email" && name != "extRef" && name != "firstName" && name != "lastName" {
		o.mistake("field", "email, extRef, firstName or lastName")
	}
	if comparison != "empty" && comparison != "notEmpty" {
		o.mistake("comparison", "empty or notEmpty")
	}
	field := textFilters[name]
	return filter{keep: func(c Contact) bool { return (plain(field(c)) == "") == (comparison == "empty") }}
}
