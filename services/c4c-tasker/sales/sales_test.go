package sales_test

import (
	"errors"
	"testing"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

func TestMarkerStaysWhateverTheLength(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
	}{
		{"Late", 0, "Late [R_1]"}, {"", 0, "[R_1]"}, {"Läßt warten", 9, "Läß [R_1]"}, {"Late", 3, " [R_1]"},
	} {
		if got := sales.Marked(c.text, "R_1", c.limit); got != c.want {
			t.Errorf("%q within %d: %q, want %q", c.text, c.limit, got, c.want)
		}
	}
}

func TestRefusalNamesThePartyByFieldOrByID(t *testing.T) {
	task := sales.Task{Subject: "Cart 1000123 of the account is late", AccountID: "1000123", ContactID: "1000456", ProcessorID: "8", OwnerID: "8"}
	fields := map[sales.Kind]string{sales.Account: "MainAccountPartyID", sales.Contact: "MainContactPartyID"}
	for words, want := range map[string]sales.Kind{
		"MainContactPartyID does not exist":                 sales.Contact,
		"Account 1000123 does not exist":                    sales.Account,
		"MainContactPartyID is not of the account 1000123":  sales.Contact,
		"Business partner 10001234 does not exist":          "",
		"Status is not known":                               "",
		"Value 8 is not known as an employee":               sales.Processor,
		"The MainAccountPartyIDs of your tasks are refused": "",
		"Subject 'Cart 1000123 late' too long":              "",
		"Subject \"Cart of account 1000123\" is too long":   "",
		"Cart 1000123 of the account is late: too long":     "",
		"Account '1000123' does not exist":                  sales.Account,
		"Number range 1000123 is used up":                   "",
	} {
		blamed, _ := sales.Blame(fault.New(fault.Refused, "create task: 400: %s", words), task, fields)
		var kind sales.Kind
		if blamed != nil {
			kind = blamed.Kind
		}
		if kind != want {
			t.Errorf("%q: %q, want %q", words, kind, want)
		}
	}
	for _, err := range []error{fault.New(fault.Down, "Account 1000123"), errors.New("Account 1000123")} {
		if blamed, _ := sales.Blame(err, task, fields); blamed != nil {
			t.Error("what is no refusal blames somebody")
		}
	}
}

// answered is a refusal as pkg/outbound makes it.
func answered(code, message string) error {
	f := fault.New(fault.Refused, "create account: 400 Bad Request: %s: %s", code, message)
	f.Err = &outbound.StatusError{Operation: "create account", Status: 400, Code: code}
	return f
}

func TestOurOwnWordsBlameNobody(t *testing.T) {
	fields := map[sales.Kind]string{sales.Account: "account"}
	for _, id := range []string{"400", "77"} {
		if blamed, _ := sales.Blame(answered("77", "A party is not wanted"), sales.Task{AccountID: id}, fields); blamed != nil {
			t.Errorf("account %s is blamed: %s", id, blamed)
		}
	}
	if blamed, sure := sales.Blame(answered("77", "account: nobody has the id 400"), sales.Task{AccountID: "400"}, fields); blamed == nil || !sure {
		t.Errorf("field and id: %v, sure %v", blamed, sure)
	}
	if blamed, sure := sales.Blame(answered("77", "account must not be closed"), sales.Task{AccountID: "400"}, fields); blamed == nil || sure {
		t.Errorf("the field alone: %v, sure %v", blamed, sure)
	}
}
