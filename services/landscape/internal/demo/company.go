// Package demo is the demonstration on top of the simulated vendors: a company with its representatives, its customers,
// and campaigns that ask the customers about it.
//
// Who the customers are and what they answer is the same in every campaign and on every machine, so that what a
// campaign must lead to can be told beforehand: see [Expected].
package demo

import (
	"errors"
	"fmt"

	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/people"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
)

// Seed makes the customers. A first campaign of 25 has every kind of answer among them.
const Seed = 17

// programID is that of the recognition programme in Awardco; it stays when the programme's name is changed.
const programID = "PRG-1"

// rep is a service representative, whom satisfied customers get recognised.
type rep struct{ id, first, last string }

var reps = []rep{
	{"E1001", "Grace", "Okafor"}, {"E1002", "Liam", "Fischer"}, {"E1003", "Mei", "Tanaka"},
	{"E1004", "Sofia", "Rossi"}, {"E1005", "Jonas", "Weber"},
}

func (r rep) name() string  { return r.first + " " + r.last }
func (r rep) email() string { return fmt.Sprintf("%s@example.com", r.id) }

// companies are the customers' accounts in SAP Sales Cloud, the first having the id firstAccount.
var companies = []string{"Alpenrad AG", "Brightwater Ltd", "Cyclope SARL", "Delta Outdoor GmbH", "Everest Sports Inc"}

// Ids of business partners have at most 10 digits.
const (
	firstAccount  = 1000101
	firstContact  = 2000001
	firstEmployee = 8000000001
)

var salesStaff = []string{"Hana Novak", "Oskar Lindgren", "Priya Keller"}

// Those whom the examples of the documentation speak of: who follows one by hand finds them here.
var (
	exampleAccount = salescloud.Account{ID: "1000123", Name: "Example Trading Ltd"}
	exampleContact = salescloud.Contact{
		ID: "1000456", AccountID: exampleAccount.ID, Name: "Ada Lovelace", Email: "ada@example.com", ExternalID: "P-1",
	}
	exampleRep = awardco.User{
		EmployeeID: "E1000", Username: "E1000", FirstName: "Robin", LastName: "Example", Email: "rep@example.com", CurrencyCode: "EUR",
	}
)

// Found sets the company up, as often as it is called: the programme with its representatives in Awardco; accounts and
// the sales staff in SAP Sales Cloud. processor is the id of whoever gets tasks, if that is not one of the staff. With
// approval the programme is an external one, whose recognitions wait in the approvals queue.
func Found(sales *salescloud.Simulator, awards *awardco.Simulator, program, processor string, approval bool) error {
	errs := []error{
		awards.AddProgram(awardco.Program{ID: programID, Name: program, CentralBudget: true, External: approval}),
		awards.AddUser(exampleRep), sales.AddAccount(exampleAccount), sales.AddContact(exampleContact),
	}
	for _, r := range reps {
		errs = append(errs, awards.AddUser(awardco.User{
			EmployeeID: r.id, Username: r.id, FirstName: r.first, LastName: r.last, Email: r.email(), CurrencyCode: "EUR",
		}))
	}
	for i, name := range companies {
		errs = append(errs, sales.AddAccount(salescloud.Account{ID: fmt.Sprint(firstAccount + i), Name: name}))
	}
	staff := map[string]string{processor: "Sales desk"}
	for i, name := range salesStaff {
		staff[fmt.Sprint(firstEmployee+i)] = name
	}
	delete(staff, "")
	for id, name := range staff {
		errs = append(errs, sales.AddEmployee(salescloud.Employee{ID: id, EmployeeID: "S" + id, UserID: "U" + id, Name: name}))
	}
	return errors.Join(errs...)
}

// enlist makes the first members known to SAP Sales Cloud: a task refers to its contact.
func enlist(sales *salescloud.Simulator, members int) error {
	for i := range members {
		p := people.PersonAt(Seed, i)
		err := sales.AddContact(salescloud.Contact{
			ID: contactID(i), AccountID: accountID(i), Name: p.FirstName + " " + p.LastName, Email: p.Email, ExternalID: p.ExternalID,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func accountID(index int) string { return fmt.Sprint(firstAccount + index%len(companies)) }
func contactID(index int) string { return fmt.Sprint(firstContact + index) }
