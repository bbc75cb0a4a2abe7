package salescloud

import (
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// Account is a customer: a company (CorporateAccountCollection) or, with Person, an individual
// (IndividualCustomerCollection).
type Account struct {
	ID             string `json:"id"` // at most 10 characters
	Name           string `json:"name"`
	Email          string `json:"email"`
	ExternalID     string `json:"externalId"`
	ExternalSystem string `json:"externalSystem"`
	Person         bool   `json:"person"`
}

// Contact is a person of a company (ContactCollection).
type Contact struct {
	ID             string `json:"id"` // at most 10 characters
	AccountID      string `json:"accountId"`
	Name           string `json:"name"`
	Email          string `json:"email"`
	ExternalID     string `json:"externalId"`
	ExternalSystem string `json:"externalSystem"`
}

// Employee is somebody who works on tasks (EmployeeCollection). ID is the BusinessPartnerID, which tasks refer to.
type Employee struct {
	ID         string `json:"id"` // at most 10 characters
	EmployeeID string `json:"employeeId"`
	UserID     string `json:"userId"`
	Name       string `json:"name"`
	Email      string `json:"email"`
}

// party is a business partner in the books.
type party[T any] struct {
	Party     T         `json:"party"`
	ChangedOn time.Time `json:"changedOn"`
}

// AddAccount adds the account, or changes the one of that id.
func (s *Simulator) AddAccount(a Account) error { return add(s.accounts, a.ID, a, s.now()) }

// AddContact adds the contact, or changes the one of that id.
func (s *Simulator) AddContact(c Contact) error { return add(s.contacts, c.ID, c, s.now()) }

// AddEmployee adds the employee, or changes the one of that id.
func (s *Simulator) AddEmployee(e Employee) error { return add(s.employees, e.ID, e, s.now()) }

// add leaves a party that is there already as it is, its change date included.
func add[T comparable](t *store.Table[party[T]], id string, p T, now time.Time) error {
	_, err := t.Update(id, func(old party[T], found bool) (party[T], bool) {
		return party[T]{p, now}, !found || old.Party != p
	})
	return err
}

// partyObjectID is the same for the same party, whenever it is asked for.
func partyObjectID(set, id string) string { return hexUpper(partyUUID(set, id)) }

func partyUUID(set, id string) uuid.UUID { return uuid.NewSHA1(uuid.NameSpaceURL, []byte(set+"/"+id)) }

func hexUpper(id uuid.UUID) string { return strings.ToUpper(strings.ReplaceAll(id.String(), "-", "")) }

func (s *Simulator) partySets() []*odatasim.Set {
	return []*odatasim.Set{
		{Name: accountSet, Type: accountType, List: s.listAccounts(accountSet, "AccountID", false)},
		{Name: individualSet, Type: individualType, List: s.listAccounts(individualSet, "CustomerID", true)},
		{Name: contactSet, Type: contactType, List: s.listContacts},
		{Name: employeeSet, Type: employeeType, List: s.listEmployees},
	}
}

func (s *Simulator) listAccounts(set, idField string, persons bool) func(*odatasim.Filter) []odatasim.Row {
	return func(*odatasim.Filter) []odatasim.Row {
		var rows []odatasim.Row
		for _, a := range s.accounts.Find(func(a party[Account]) bool { return a.Party.Person == persons }) {
			rows = append(rows, odatasim.Row{Values: map[string]string{
				"ObjectID": partyObjectID(set, a.Party.ID), idField: a.Party.ID, "Name": a.Party.Name, "Email": a.Party.Email,
				"ExternalID": a.Party.ExternalID, "ExternalSystem": a.Party.ExternalSystem, "ChangedOn": odatasim.FormatDate(a.ChangedOn),
			}})
		}
		return rows
	}
}

func (s *Simulator) listContacts(*odatasim.Filter) []odatasim.Row {
	var rows []odatasim.Row
	for _, c := range s.contacts.All() {
		rows = append(rows, odatasim.Row{Values: map[string]string{
			"ObjectID": partyObjectID(contactSet, c.Party.ID), "ContactID": c.Party.ID, "AccountID": c.Party.AccountID,
			"Name": c.Party.Name, "Email": c.Party.Email, "ExternalID": c.Party.ExternalID, "ExternalSystem": c.Party.ExternalSystem,
			"ChangedOn": odatasim.FormatDate(c.ChangedOn),
		}})
	}
	return rows
}

func (s *Simulator) listEmployees(*odatasim.Filter) []odatasim.Row {
	var rows []odatasim.Row
	for _, e := range s.employees.All() {
		rows = append(rows, odatasim.Row{Values: map[string]string{
			"ObjectID": partyObjectID(employeeSet, e.Party.ID), "BusinessPartnerID": e.Party.ID, "EmployeeID": e.Party.EmployeeID,
			"UserID": e.Party.UserID, "Name": e.Party.Name, "Email": e.Party.Email,
		}})
	}
	return rows
}

// partyFields are the fields of a task that hold a party's id, where they are looked up, and the field for the name.
var partyFields = []struct {
	id, name string
	find     func(*Simulator, string) (string, bool)
}{
	{"MainAccountPartyID", "Account", (*Simulator).accountName},
	{"MainContactPartyID", "PrimaryContact", (*Simulator).contactName},
	{"ProcessorPartyID", "Processor", (*Simulator).employeeName},
	{"MainEmployeeResponsiblePartyID", "Owner", (*Simulator).employeeName},
}

func (s *Simulator) accountName(id string) (string, bool) {
	a, ok := s.accounts.Get(id)
	return a.Party.Name, ok
}

func (s *Simulator) contactName(id string) (string, bool) {
	c, ok := s.contacts.Get(id)
	return c.Party.Name, ok
}

func (s *Simulator) employeeName(id string) (string, bool) {
	e, ok := s.employees.Get(id)
	return e.Party.Name, ok
}

// describeParties checks that the parties of a task exist and writes their names.
func (s *Simulator) describeParties(values map[string]string) error {
	for _, f := range partyFields {
		name, known := f.find(s, values[f.id])
		if values[f.id] != "" && !known && !s.settings.AcceptUnknownParties {
			return s.unknownParty(f.id, values[f.id])
		}
		values[f.name] = name
	}
	if s.settings.NeedAccount && values["MainAccountPartyID"] == "" {
		return odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "A task needs a business partner")
	}
	return nil
}

func (s *Simulator) unknownParty(field, id string) error {
	words := map[PartyWords]string{
		WordsField:   "Business partner of property " + field + " does not exist",
		WordsID:      "Business partner " + id + " does not exist",
		WordsNothing: "Business partner does not exist",
	}
	return odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "%s", words[s.settings.PartyWords])
}

// The sets of business partners.
const (
	accountSet    = "CorporateAccountCollection"
	individualSet = "IndividualCustomerCollection"
	contactSet    = "ContactCollection"
	employeeSet   = "EmployeeCollection"
)

// AccountUUID is the account's id in Version 2.
func AccountUUID(a Account) string {
	if a.Person {
		return partyUUID(individualSet, a.ID).String()
	}
	return partyUUID(accountSet, a.ID).String()
}

// ContactUUID is the contact's id in Version 2.
func ContactUUID(c Contact) string { return partyUUID(contactSet, c.ID).String() }

// EmployeeUUID is the employee's id in Version 2.
func EmployeeUUID(e Employee) string { return partyUUID(employeeSet, e.ID).String() }

// UUID gives the id in Version 2 of the account, contact or employee that has that id here; empty if there is none.
func (s *Simulator) UUID(id string) string {
	if a, ok := s.accounts.Get(id); ok {
		return AccountUUID(a.Party)
	}
	if c, ok := s.contacts.Get(id); ok {
		return ContactUUID(c.Party)
	}
	if e, ok := s.employees.Get(id); ok {
		return EmployeeUUID(e.Party)
	}
	return ""
}

// HasAccount tells whether an account has that UUID.
func (s *Simulator) HasAccount(uuid string) bool { return has(s.accounts, AccountUUID, uuid) }

// HasContact tells whether a contact has that UUID.
func (s *Simulator) HasContact(uuid string) bool { return has(s.contacts, ContactUUID, uuid) }

// HasEmployee tells whether an employee has that UUID.
func (s *Simulator) HasEmployee(uuid string) bool { return has(s.employees, EmployeeUUID, uuid) }

func has[T any](t *store.Table[party[T]], id func(T) string, uuid string) bool {
	return len(t.Find(func(p party[T]) bool { return id(p.Party) == uuid })) > 0
}

func values[T any](all []party[T]) []T {
	list := make([]T, 0, len(all))
	for _, p := range all {
		list = append(list, p.Party)
	}
	return list
}
