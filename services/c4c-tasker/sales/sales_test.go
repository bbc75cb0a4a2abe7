package sales_test

import (
	"errors"
	"testing"

	"github.com/closeloop/closeloop/pkg/fault"
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
	task := sales.Task{AccountID: "1000123", ContactID: "1000456", ProcessorID: "8", OwnerID: "8"}
	fields := map[sales.Kind]string{sales.Account: "MainAccountPartyID", sales.Contact: "MainContactPartyID"}
	for words, want := range map[string]sales.Kind{
		"MainContactPartyID does not exist":                 sales.Contact,
		"Account 1000123 does not exist":                    sales.Account,
		"MainContactPartyID is not of the account 1000123":  sales.Contact,
		"Business partner 10001234 does not exist":          "",
		"Status is not known":                               "",
		"Value 8 is not known as an employee":               sales.Processor,
		"The MainAccountPartyIDs of your tasks are refused": "",
	} {
		blamed := sales.Blame(fault.New(fault.Refused, "create task: 400: %s", words), task, fields)
		var kind sales.Kind
		if blamed != nil {
			kind = blamed.Kind
		}
		if kind != want {
			t.Errorf("%q: %q, want %q", words, kind, want)
		}
	}
	if sales.Blame(fault.New(fault.Down, "1000123"), task, fields) != nil || sales.Blame(errors.New("1000123"), task, fields) != nil {
		t.Error("what is no refusal blames somebody")
	}
}
