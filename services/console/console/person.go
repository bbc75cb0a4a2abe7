package console

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
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
	// Emails are in lower case, Phones digits alone.
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
	// Recognised are responses for which the person, an employee, was to be recognised; they are their customers'.
	Recognised set `json:"recognised"`
	// Mailboxes are e-mail addresses of the person that were found and not given; Taken those that others have too.
	Mailboxes set `json:"mailboxes"`
	Taken     set `json:"taken"`
}

func newPerson() *person {
	return &person{
		Emails: set{}, ExternalIDs: set{}, Phones: set{}, Contacts: set{}, Links: set{}, Loops: set{}, Shared: set{}, Requests: set{},
		Responses: set{}, Recognised: set{}, Mailboxes: set{}, Taken: set{},
	}
}

// known is how much is known of the person: it grows as long as there is more to be found.
func (p *person) known() int {
	return len(p.Emails) + len(p.ExternalIDs) + len(p.Contacts) + len(p.Links) + len(p.Loops) + len(p.Shared)*2 + len(p.Requests) +
		len(p.Responses) + len(p.Recognised) + len(p.Mailboxes) + len(p.Taken)
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

// leavesOf flattens a body; one that is no JSON is a single value.
func leavesOf(body []byte) []leaf {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil || decoder.More() {
		return []leaf{{"", string(body)}}
	}
	return flatten(nil, "", value)
}

func flatten(leaves []leaf, path string, value any) []leaf {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			leaves = flatten(leaves, strings.TrimPrefix(path+"."+name, "."), inner)
		}
	case []any:
		for _, inner := range v {
			leaves = flatten(leaves, path, inner)
		}
	case string:
		leaves = append(leaves, leaf{path, v})
	case json.Number:
		leaves = append(leaves, leaf{path, v.String()})
	default:
		leaves = append(leaves, leaf{path, ""}) // for its name
	}
	return leaves
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

// identity tells whether a sight is about the person, or about somebody else; neither where it does not say. A phone names
// somebody only where nothing better does: many share a switchboard's.
func (p *person) identity(s sight) (mine, foreign bool) {
	named, phoned := false, false
	for _, l := range s.leaves {
		switch {
		case l.value == "":
		case l.isEmail():
			named, mine = true, mine || p.Emails[plainEmail(l.value)]
		case l.isExternalID():
			named, mine = true, mine || p.ExternalIDs[l.value]
		case l.at("contact.phone"):
			phoned = phoned || p.Phones[digits(l.value)]
		}
	}
	if !named {
		mine = phoned
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
	mine, foreign := p.identity(s)
	if foreign && p.Loops[s.loop] {
		delete(p.Loops, s.loop)
		p.Shared.add(s.loop)
	}
	p.noteMailboxes(s, mine)
	follows := !foreign && p.follows(s)
	switch {
	case follows, mine && !s.late:
		p.learn(s, mine)
		return theirs
	case p.recognised(s):
		return mentioned
	case s.late:
		return nothing
	case !foreign && p.named(s):
		p.learn(s, mine)
		return theirs
	case p.mentions(s):
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

// learn keeps the ids of what belongs to the person.
func (p *person) learn(s sight, mine bool) {
	if s.loop != "" && !p.Shared[s.loop] {
		p.Loops.add(s.loop)
	}
	for _, l := range s.leaves {
		switch {
		case mine && l.isExternalID():
			p.ExternalIDs.add(l.value)
		case l.free():
		case l.at("requestId"):
			p.Requests.add(l.value)
		case l.at("responseId"):
			p.Responses.add(l.value)
		case l.at("link"):
			p.Links.add(l.value)
		case strings.HasPrefix(l.value, "CID_"), strings.HasPrefix(l.value, "CGC_"), strings.HasPrefix(l.value, "MLRP_"):
			p.Contacts.add(l.value)
		}
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

// mentions tells whether an e-mail address of the person stands anywhere in it, names of fields included.
func (p *person) mentions(s sight) bool {
	return slices.ContainsFunc(s.leaves, func(l leaf) bool { return p.mentionedIn(l.value) || p.mentionedIn(l.path) })
}

// holdsExternalID tells whether an externalId of the person is part of a value.
func (p *person) holdsExternalID(l leaf) bool {
	for id := range p.ExternalIDs {
		if strings.Contains(l.value, id) {
			return true
		}
	}
	return false
}

func (p *person) mentionedIn(text string) bool {
	if !strings.Contains(text, "@") && !strings.Contains(text, "%40") {
		return false
	}
	text = strings.ReplaceAll(strings.ToLower(text), "%40", "@")
	for email := range p.Emails {
		for rest := text; ; {
			at := strings.Index(rest, email)
			if at < 0 {
				break
			}
			end := at + len(email)
			if !endsInAddress(rest[:at]) && !goesOn(rest[end:]) {
				return true
			}
			rest = rest[at+1:]
		}
	}
	return false
}

// endsInAddress tells that what comes before is the beginning of a longer address: that of somebody else.
func endsInAddress(before string) bool {
	return before != "" && (alphanumeric(before[len(before)-1]) || strings.ContainsRune("._+-", rune(before[len(before)-1])))
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

// digits gives a phone number as they are compared: without what people put between.
func digits(phone string) string {
	only := strings.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return r
		}
		return -1
	}, phone)
	return only
}
