// Package recipients finds out who is to be recognised: it leads employee ids, e-mail addresses and usernames to the one
// employee id that Awardco knows the person by, and never takes a name for enough (awardco.md §1 rule 5, §6).
package recipients

import (
	"slices"
	"strings"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

// Person is an employee as a directory knows one.
type Person struct {
	// EmployeeID is Awardco's, which must be exact: a foreign one recognises somebody else (awardco.md §9 trap 8).
	EmployeeID string
	Email      string
	Username   string
	FirstName  string
	LastName   string
	// Active is false for those who are archived or have left.
	Active bool
}

// Identity is what a request says about its recipient. Any part may be empty.
type Identity struct{ EmployeeID, Email, Username, Name string }

// Empty tells that nothing is said.
func (i Identity) Empty() bool { return i == Identity{} }

// first is the identity to be passed on where there is no directory: the surest that is given.
func (i Identity) first() string {
	for _, identity := range []string{i.EmployeeID, i.Email, i.Username} {
		if identity != "" {
			return identity
		}
	}
	return ""
}

// Directory is a list of people that can be searched. It does not change.
type Directory struct {
	people                  []Person
	byID, byEmail, byUserID map[string][]int
}

// NewDirectory makes a directory of people.
func NewDirectory(people []Person) *Directory {
	d := &Directory{people: people, byID: map[string][]int{}, byEmail: map[string][]int{}, byUserID: map[string][]int{}}
	for i, p := range people {
		for in, key := range map[*map[string][]int]string{&d.byID: p.EmployeeID, &d.byEmail: fold(p.Email), &d.byUserID: p.Username} {
			if key != "" {
				(*in)[key] = append((*in)[key], i)
			}
		}
	}
	return d
}

// Len is the number of people.
func (d *Directory) Len() int { return len(d.people) }

// knows tells whether anything that identity says is in the directory, so that reading it anew is of no use.
func (d *Directory) knows(i Identity) bool {
	return len(d.byID[i.EmployeeID])+len(d.byEmail[fold(i.Email)])+len(d.byUserID[i.Username]) > 0
}

// Resolve gives the employee id of the one active person whom the identity names exactly. An employee id decides alone,
// unless another part names somebody else for sure. The error is a [fault.Person] at the field recipient that says what a
// person has to find out, with candidates by employee id: nothing personal is in it.
func (d *Directory) Resolve(i Identity) (string, error) {
	if i.first() == "" {
		return "", d.undecided(i, "a name alone is never enough to recognise somebody")
	}
	var sure []string
	var doubt error
	for _, part := range []struct {
		field string
		given string
		found []int
	}{
		{"employeeId", i.EmployeeID, d.byID[i.EmployeeID]},
		{"email", i.Email, d.byEmail[fold(i.Email)]},
		{"username", i.Username, d.byUserID[i.Username]},
	} {
		if part.given == "" {
			continue
		}
		id, err := d.one(i, part.field, part.found)
		if err != nil && part.field == "employeeId" {
			return "", err // whoever names an id means it
		}
		if err == nil && !slices.Contains(sure, id) {
			sure = append(sure, id)
		}
		if doubt == nil {
			doubt = err
		}
	}
	switch len(sure) {
	case 0:
		return "", doubt
	case 1:
		return sure[0], nil
	}
	return "", needsPerson("employeeId, email and username name different people (" + ids(sure) + "): leave the right one alone, and replay")
}

// one decides about the people found under one part of an identity.
func (d *Directory) one(i Identity, field string, found []int) (string, error) {
	active := slices.DeleteFunc(slices.Clone(found), func(n int) bool { return !d.people[n].Active })
	switch {
	case len(active) == 1:
		return d.people[active[0]].EmployeeID, nil
	case len(active) > 1:
		return "", needsPerson("several people have this " + field + " (" + d.ids(active) + "): fill in recipient.employeeId and replay")
	case len(found) > 0:
		return "", needsPerson("who has this " + field + " is archived (" + d.ids(found) + "): fill in another recipient.employeeId and replay, or leave it")
	}
	return "", d.undecided(i, "nobody in the directory has this "+field)
}

// undecided says what is missing, and who might be meant by the name.
func (d *Directory) undecided(i Identity, reason string) error {
	if named := d.named(i.Name); len(named) > 0 {
		return needsPerson(reason + "; candidates: " + d.ids(named) + ". Fill in recipient.employeeId and replay")
	}
	return needsPerson(reason + "; the directory has no candidate. Fill in recipient.employeeId and replay")
}

// named gives the active people who bear the name: all words of it, in any order and case, or else the same last name.
func (d *Directory) named(name string) []int {
	words := strings.Fields(fold(strings.ReplaceAll(name, ",", " ")))
	if len(words) == 0 {
		return nil
	}
	var exact, sameLast []int
	for n, p := range d.people {
		if !p.Active {
			continue
		}
		its := strings.Fields(fold(p.FirstName + " " + p.LastName))
		if !slices.ContainsFunc(words, func(w string) bool { return !slices.Contains(its, w) }) {
			exact = append(exact, n)
		} else if last := fold(p.LastName); last != "" && slices.Contains(words, last) {
			sameLast = append(sameLast, n)
		}
	}
	if len(exact) > 0 {
		return exact
	}
	return sameLast
}

func (d *Directory) ids(of []int) string {
	all := make([]string, len(of))
	for i, n := range of {
		all[i] = d.people[n].EmployeeID
	}
	return ids(all)
}

// mostCandidates is how many ids an error lists: more help nobody.
const mostCandidates = 5

// ids lists employee ids. Where a company uses addresses as ids they are masked.
func ids(all []string) string {
	text := strings.Join(all[:min(len(all), mostCandidates)], ", ")
	if more := len(all) - mostCandidates; more > 0 {
		text += ", …"
	}
	return outbound.Redact(text)
}

func fold(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func needsPerson(reason string) error {
	f := fault.New(fault.Person, "%s", reason)
	f.Field = "recipient"
	return f
}
