package console

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/event"
)

// set is a set of texts; as JSON it is a list.
type set map[string]bool

// MarshalJSON gives the texts in order.
func (s set) MarshalJSON() ([]byte, error) {
	return json.Marshal(slices.AppendSeq([]string{}, slices.Values(slices.Sorted(maps.Keys(s)))))
}

// UnmarshalJSON reads what MarshalJSON gives.
func (s *set) UnmarshalJSON(data []byte) error {
	var all []string
	if err := json.Unmarshal(data, &all); err != nil {
		return err
	}
	*s = set{}
	for _, v := range all {
		(*s)[v] = true
	}
	return nil
}

func (s set) add(values ...string) {
	for _, v := range values {
		if v != "" {
			s[v] = true
		}
	}
}

// person is who is to be forgotten, and the ids of what is about them.
type person struct {
	// Emails are in lower case, Phones as plainPhone gives them.
	Emails      set `json:"emails"`
	ExternalIDs set `json:"externalIds"`
	Phones      set `json:"phones"`
	// Contacts are Qualtrics' ids of the person: CID_, CGC_, MLRP_.
	Contacts set `json:"contacts"`
	Links    set `json:"links"`
	Loops    set `json:"loops"`
	// Shared are loops that other people are in too: of these, only what names the person is theirs.
	Shared    set `json:"shared"`
	Requests  set `json:"requests"`
	Responses set `json:"responses"`
	// Asked are the requests and responses that were named in the request: they are the person's whoever they name.
	Asked set `json:"asked"`
	// Named are ids of theirs that hold an address of theirs, in lower case: they name them wherever they stand.
	Named set `json:"named"`
	// Recognised are responses for which the person, an employee, was to be recognised; they are their customers'.
	Recognised set `json:"recognised"`
	// Mailboxes are e-mail addresses of the person that were found and not given; Taken those that others have too.
	Mailboxes set `json:"mailboxes"`
	Taken     set `json:"taken"`
}

func newPerson() *person {
	return &person{
		Emails: set{}, ExternalIDs: set{}, Phones: set{}, Contacts: set{}, Links: set{}, Loops: set{}, Shared: set{}, Requests: set{},
		Responses: set{}, Asked: set{}, Named: set{}, Recognised: set{}, Mailboxes: set{}, Taken: set{},
	}
}

// UnmarshalJSON reads a person, also as an earlier version recorded it.
func (p *person) UnmarshalJSON(data []byte) error {
	type recorded person
	*p = *newPerson()
	return json.Unmarshal(data, (*recorded)(p))
}

// known is how much is known of the person: it grows as long as there is more to be found.
func (p *person) known() int {
	return len(p.Emails) + len(p.ExternalIDs) + len(p.Contacts) + len(p.Links) + len(p.Loops) + len(p.Shared)*2 + len(p.Requests) +
		len(p.Responses) + len(p.Named) + len(p.Recognised) + len(p.Mailboxes) + len(p.Taken)
}

// adoptMailboxes takes addresses for the person's own that were found with them and with nobody else.
func (p *person) adoptMailboxes() {
	for mailbox := range p.Mailboxes {
		if !p.Taken[mailbox] {
			p.Emails.add(mailbox)
		}
	}
}

// leaf is one value of a JSON document with its path.
type leaf struct{ path, value string }

// sight is a message, or a part of one, as it is looked at.
type sight struct {
	subject, loop string
	leaves        []leaf
	// late is what was stored after the erasure was asked for: it is the person's only where it follows from what was there.
	late bool
}

// leavesOf flattens a body. One that is no JSON gives what can be read of it, is a value itself, and is looked through for ids.
func leavesOf(body []byte) []leaf { return leavesAt("", body) }

// leavesAt flattens a JSON document that stands at a path.
func leavesAt(path string, body []byte) []leaf {
	f := flattener{Decoder: json.NewDecoder(bytes.NewReader(body))}
	f.UseNumber()
	if f.value(path, 0) == nil {
		if _, err := f.Token(); errors.Is(err, io.EOF) {
			return f.leaves
		}
	}
	leaves := append(f.leaves, leaf{path, string(body)})
	for text := range readings(string(body)) {
		for _, found := range idIn.FindAllStringSubmatch(text, -1) {
			leaves = append(leaves, leaf{idPaths[strings.ToLower(found[1])], found[2] + found[3] + found[4]})
		}
	}
	return leaves
}

var (
	// idIn finds the ids in what is no JSON, by their names.
	idIn = regexp.MustCompile(`(?i)\b(externalId|externalDataReference|contactPerson|contactId)["']?\s*[:=>]\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>,;&}]+))`)
	// idPaths is where they stand in events.
	idPaths = map[string]string{
		"externalid": "contact.externalId", "externaldatareference": "contact.externalId", "contactperson": "contactPerson", "contactid": "contactId",
	}
)

// deepest is how deep documents are read; what is deeper is taken as it stands.
const deepest = 100

// flattener reads a document piece by piece: of a field that stands twice, both are seen.
type flattener struct {
	*json.Decoder
	leaves []leaf
}

// value reads the value that comes next.
func (f *flattener) value(path string, depth int) error {
	token, err := f.Token()
	if err != nil {
		return err
	}
	text := ""
	switch t := token.(type) {
	case json.Delim:
		return f.inner(path, t, depth+1)
	case string:
		text = t
	case json.Number:
		text = t.String()
	}
	f.leaves = append(f.leaves, leaf{path, text})
	return nil
}

// inner reads what is in an object or a list.
func (f *flattener) inner(path string, opened json.Delim, depth int) error {
	if depth > deepest {
		return errors.New("it is too deep")
	}
	for f.More() {
		at := path
		if opened == '{' {
			token, err := f.Token()
			if err != nil {
				return err
			}
			name, _ := token.(string)
			f.leaves = append(f.leaves, leaf{path, name}) // which may be anything
			at = strings.TrimPrefix(path+"."+name, ".")
		}
		if err := f.value(at, depth); err != nil {
			return err
		}
	}
	_, err := f.Token()
	return err
}

// at tells a field by the end of its path: events stand in envelopes, letters and ledger records too.
func (l leaf) at(path string) bool {
	return l.path == path || strings.HasSuffix(l.path, "."+path)
}

// free tells what a survey, a caller or a customer may have called anything and filled with anything: it names no id of ours,
// whatever it is called.
func (l leaf) free() bool {
	return slices.ContainsFunc(strings.Split(l.path, "."), func(step string) bool {
		return step == "values" || step == "labels" || step == "attributes" || step == "data"
	})
}

// The fields that say whom an event is about, and not merely whom it mentions.
func (l leaf) isEmail() bool {
	return l.at("contact.email") || l.at("values.recipientEmail")
}

func (l leaf) isExternalID() bool {
	return l.at("contact.externalId") || l.at("values.externalDataReference") || l.at("contactPerson")
}

// The fields that say so where an event has none of those: the ids of the contact and of the account in SAP, as feedback and
// orders have them and as answers bring them, and the address that an answer gives as its customer's.
func (l leaf) isContact() bool {
	return l.at("values.contact_id") || l.at("values.contactId") || l.at("contactId") && !l.free()
}

func (l leaf) isAccount() bool {
	return l.at("values.account_id") || l.at("values.accountId") || (l.at("accountId") || l.at("soldToParty")) && !l.free()
}

func (l leaf) isOwnEmail() bool {
	at := strings.LastIndex(l.path, "values.")
	return at >= 0 && ownEmail.MatchString(l.path[at+len("values."):])
}

// ownEmail are names of values under which customers give addresses of their own: what is asked in a survey, and fields that
// are not called somebody else's, as rep_email is.
var ownEmail = regexp.MustCompile(`(?i)^(q(id)?\d.*|((your|my|customer|contact|recipient|respondent|user|client|guest)[-_ ]?)?e?[-_ ]?mail([-_ ]?address)?)$`)

// identity tells whether a sight is about the person, or about somebody else; neither where it does not say. What is no address
// of a contact and no key of one names somebody only where nothing better does: many share a phone, and an account.
func (p *person) identity(s sight) (mine, foreign bool) {
	var named, contact, own, account, phoned bool
	for _, l := range s.leaves {
		switch value := strings.TrimSpace(l.value); {
		case value == "":
		case l.isEmail():
			named, mine = true, mine || p.Emails[plainEmail(value)]
		case l.isExternalID():
			named, mine = true, mine || p.ExternalIDs[value]
		case l.isContact():
			contact, own = true, own || p.ExternalIDs[value]
		case l.isOwnEmail():
			own = own || p.Emails[plainEmail(value)]
		case l.isAccount():
			account = account || p.ExternalIDs[value]
		case l.at("contact.phone"):
			phoned = phoned || p.calls(value)
		}
	}
	if !named {
		mine = own || phoned || account && !contact
	}
	return mine, named && !mine
}

// verdict is what a sight is to the person.
type verdict int

const (
	nothing verdict = iota
	// mentioned: it holds something about them, and is about somebody or something else.
	mentioned
	// theirs: it belongs to one of their loops.
	theirs
)

// judge tells what a sight is, and learns from it.
func (p *person) judge(s sight) verdict {
	mine, stranger := p.identity(s)
	foreign := stranger && !p.asked(s)
	if foreign && p.Loops[s.loop] {
		delete(p.Loops, s.loop)
		p.Shared.add(s.loop)
	}
	p.noteMailboxes(s, mine)
	follows := !foreign && p.follows(s)
	switch {
	case follows, mine && !s.late:
		p.learn(s, mine, stranger)
		return theirs
	case p.recognised(s):
		return mentioned
	case s.late:
		return nothing
	case !foreign && p.named(s):
		p.learn(s, mine, stranger)
		return theirs
	case p.mentions(s), p.isRecipient(s):
		if strings.HasPrefix(s.subject, recognitions) {
			p.Recognised.add(s.first("responseId"))
		}
		return mentioned
	}
	return nothing
}

// recognitions begins the subjects of events about employees.
const recognitions = "recognition."

// recognised tells what follows from a recognition of the person.
func (p *person) recognised(s sight) bool {
	return strings.HasPrefix(s.subject, recognitions) && p.Recognised[s.first("responseId")]
}

// isRecipient tells a recognition of the person by an id, where there is no address.
func (p *person) isRecipient(s sight) bool {
	return strings.HasPrefix(s.subject, recognitions) && slices.ContainsFunc(s.leaves, func(l leaf) bool {
		return (l.at("recipient.employeeId") || l.at("recipient.username")) && p.ExternalIDs[strings.TrimSpace(l.value)]
	})
}

// asked tells what was named in the request.
func (p *person) asked(s sight) bool {
	return len(p.Asked) > 0 && (p.Asked[s.first("requestId")] || p.Asked[s.first("responseId")])
}

// follows tells what belongs to something of the person by its ids.
func (p *person) follows(s sight) bool {
	return p.Loops[s.loop] || p.Requests[s.first("requestId")] || p.Responses[s.first("responseId")] || p.Contacts[s.first("recipientId")]
}

// named tells a sight that holds an id or link of the person.
func (p *person) named(s sight) bool {
	for _, l := range s.leaves {
		if p.Contacts[l.value] || p.Links[l.value] {
			return true
		}
	}
	return false
}

// learn keeps the ids of what belongs to the person. Of what is theirs and names a stranger, nothing that leads to more of the
// stranger's.
func (p *person) learn(s sight, mine, stranger bool) {
	if s.loop != "" && !p.Shared[s.loop] {
		p.Loops.add(s.loop)
	}
	p.nameBy(s.loop)
	for _, l := range s.leaves {
		switch {
		case mine && l.isExternalID():
			p.ExternalIDs.add(strings.TrimSpace(l.value))
		case l.free():
		case l.at("requestId"):
			p.Requests.add(l.value)
			p.nameBy(l.value)
		case l.at("responseId"):
			p.Responses.add(l.value)
			p.nameBy(l.value)
		case l.at(event.HeaderID), l.at("eventId"):
			p.nameBy(l.value)
		case l.at("link"):
			p.Links.add(l.value)
		case stranger:
		case strings.HasPrefix(l.value, "CID_"), strings.HasPrefix(l.value, "CGC_"), strings.HasPrefix(l.value, "MLRP_"):
			p.Contacts.add(l.value)
		}
	}
}

// nameBy takes an id of the person's for one of their names if it holds their address.
func (p *person) nameBy(id string) {
	if p.addressIn(id) {
		p.Named.add(strings.ToLower(id))
	}
}

// noteMailboxes remembers whose the addresses are that are found: one that several people share names none of them.
func (p *person) noteMailboxes(s sight, mine bool) {
	var emails, ids []string
	for _, l := range s.leaves {
		switch {
		case l.isEmail():
			emails = append(emails, plainEmail(l.value))
		case l.isExternalID() && l.value != "":
			ids = append(ids, l.value)
		}
	}
	own := slices.ContainsFunc(ids, func(id string) bool { return p.ExternalIDs[id] })
	for _, email := range emails {
		switch {
		case own && mine:
			p.Mailboxes.add(email)
		case p.Mailboxes[email] && len(ids) > 0:
			p.Taken.add(email)
		}
	}
}

// mentions tells whether an e-mail address of the person stands anywhere in it, or an id that holds one.
func (p *person) mentions(s sight) bool {
	return slices.ContainsFunc(s.leaves, func(l leaf) bool {
		if l.at("email") && oneEmail.MatchString(l.value) { // whatever it begins with
			return p.Emails[plainEmail(l.value)]
		}
		return p.mentionedIn(l.value)
	})
}

// oneEmail is an address and nothing else.
var oneEmail = regexp.MustCompile(`^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]*[A-Za-z0-9]$`)

// holdsExternalID tells whether an externalId of the person is part of a value.
func (p *person) holdsExternalID(l leaf) bool {
	for id := range p.ExternalIDs {
		if strings.Contains(l.value, id) {
			return true
		}
	}
	return false
}

// addressIn tells whether an address of the person is part of a text, be it of a longer address: in ids and keys of theirs it is
// theirs whatever stands before it.
func (p *person) addressIn(text string) bool {
	for reading := range readings(text) {
		reading = strings.ToLower(reading)
		for email := range p.Emails {
			if strings.Contains(reading, email) {
				return true
			}
		}
	}
	return false
}

// mentionedIn tells whether an address of the person, or an id that holds one, stands in a text by itself.
func (p *person) mentionedIn(text string) bool {
	for reading := range readings(text) {
		reading = strings.ToLower(reading)
		for _, names := range []set{p.Emails, p.Named} {
			for name := range names {
				if standsIn(reading, name) {
					return true
				}
			}
		}
	}
	return false
}

// standsIn tells whether a name stands in a text and is no part of a longer address.
func standsIn(text, name string) bool {
	for rest := text; ; {
		at := strings.Index(rest, name)
		if at < 0 {
			return false
		}
		if !endsInAddress(rest[:at]) && !goesOn(rest[at+len(name):]) {
			return true
		}
		rest = rest[at+1:]
	}
}

// readingsMost is how often escapes are undone that were escaped themselves.
const readingsMost = 5

// readings gives a text as it stands and, where it may hold an address, with its escapes undone, one layer after the other: those
// of addresses in the web, of JSON within JSON, and of HTML.
func readings(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for range readingsMost {
			if !yield(text) || !strings.ContainsAny(text, `%\&`) {
				return
			}
			plain := escapes.ReplaceAllStringFunc(text, unescaped)
			if plain == text {
				return
			}
			text = plain
		}
	}
}

var escapes = regexp.MustCompile(`%[0-9A-Fa-f]{2}|\\u[0-9A-Fa-f]{4}|\\.|&#[0-9]{1,7};|&#[Xx][0-9A-Fa-f]{1,6};`)

// unescaped gives what an escape stands for.
func unescaped(escape string) string {
	number := func(digits string, base int) rune {
		n, _ := strconv.ParseInt(digits, base, 32)
		return rune(n)
	}
	switch last := len(escape) - 1; {
	case escape[0] == '%':
		octet, _ := hex.DecodeString(escape[1:])
		return string(octet)
	case escape[0] == '&' && (escape[2] == 'x' || escape[2] == 'X'):
		return string(number(escape[3:last], 16))
	case escape[0] == '&':
		return string(number(escape[2:last], 10))
	case strings.HasPrefix(escape, `\u`) && last == 5:
		return string(number(escape[2:], 16))
	case strings.ContainsAny(escape[1:], "nrtbf"):
		return " "
	}
	return escape[1:]
}

// endsInAddress tells that what comes before is the beginning of a longer address: that of somebody else. Signs with nothing before
// them are none.
func endsInAddress(before string) bool {
	before = strings.TrimRight(before, "._+-")
	return before != "" && alphanumeric(before[len(before)-1])
}

// goesOn tells that the domain goes on.
func goesOn(after string) bool {
	if strings.HasPrefix(after, ".") || strings.HasPrefix(after, "-") {
		return len(after) > 1 && alphanumeric(after[1])
	}
	return after != "" && alphanumeric(after[0])
}

func alphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// first gives the value of a field.
func (s sight) first(name string) string {
	for _, l := range s.leaves {
		if l.at(name) && !l.free() {
			return l.value
		}
	}
	return ""
}

// plainEmail gives an address as addresses are compared.
func plainEmail(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// plainPhone gives a phone number as they are compared: its digits without what is dialled before, after + where it says its country.
func plainPhone(phone string) string {
	phone = strings.TrimSpace(strings.ReplaceAll(phone, "(0)", ""))
	only := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, phone)
	if abroad, ok := strings.CutPrefix(only, "00"); ok || strings.HasPrefix(phone, "+") {
		return "+" + abroad
	}
	return strings.TrimPrefix(only, "0")
}

// The shortest number that is told by itself within its country, and the longest code of a country.
const (
	nationalDigits = 9
	countryDigits  = 3
)

// calls tells whether a number is one of the person's, with its country or without.
func (p *person) calls(phone string) bool {
	phone = plainPhone(phone)
	for known := range p.Phones {
		if samePhone(known, phone) || samePhone(phone, known) {
			return true
		}
	}
	return false
}

// samePhone compares a number with one that may lack the country.
func samePhone(full, short string) bool {
	digits := strings.TrimPrefix(full, "+")
	if digits == strings.TrimPrefix(short, "+") {
		return true
	}
	code, ok := strings.CutSuffix(digits, short)
	return ok && len(short) >= nationalDigits && len(code) <= countryDigits
}
