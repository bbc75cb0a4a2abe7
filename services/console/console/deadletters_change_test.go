package console

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

func TestChangesAreMadeInBodies(t *testing.T) {
	const body = `{"a":{"b":"x","n":12345678901234567890},"list":[{"v":"one"},{"v":"two"}],"values":{"Q.1":"one one"}}`
	tests := []struct{ name, body, change, want, wrong string }{
		{"set", body, `{"op":"set","field":"a.b","value":{"y":[1.50]}}`, `{"a":{"b":{"y":[1.50]},"n":12345678901234567890},"list":[{"v":"one"},{"v":"two"}],"values":{"Q.1":"one one"}}`, ""},
		{"set what is not there", `{}`, `{"op":"set","field":"a.b.c","value":null}`, `{"a":{"b":{"c":null}}}`, ""},
		{"remove", `{"a":{"b":1,"c":"<&>"}}`, `{"op":"remove","field":"a.b"}`, `{"a":{"c":"<&>"}}`, ""},
		{"rename", `{"acountId":"1"}`, `{"op":"rename","field":"acountId","to":"accountId"}`, `{"accountId":"1"}`, ""},
		{"rename onto another", `{"a":1,"b":2}`, `{"op":"rename","field":"a","to":"b"}`, ``, "b: is there already"},
		{"replace", `{"values":{"Q.1":"one one"}}`, `{"op":"replace","field":"values.Q.1","text":"one","with":""}`, `{"values":{"Q.1":" "}}`, ""},
		{"each of a list", `{"list":[{"v":"one"},{"v":"two"}]}`, `{"op":"set","field":"list[].v","value":"x"}`, `{"list":[{"v":"x"},{"v":"x"}]}`, ""},
		{"one of a list", `{"list":["one","two"]}`, `{"op":"replace","field":"list[1]","text":"t","with":"T"}`, `{"list":["one","Two"]}`, ""},
		{"beyond a list", `{"list":[1]}`, `{"op":"set","field":"list[1]","value":2}`, ``, "an entry that the list does not have"},
		{"a list itself", `{"list":[{"v":1}]}`, `{"op":"set","field":"list.v","value":2}`, ``, "say which entry"},
		{"an entry away", `{"list":[1]}`, `{"op":"remove","field":"list[0]"}`, ``, "can only be set"},
		{"nothing there", body, `{"op":"remove","field":"c.d"}`, ``, "changes nothing"},
		{"as it was", `{"a":"1"}`, `{"op":"set","field":"a","value":"1"}`, ``, "changes nothing"},
		{"into a text", `{"a":"1"}`, `{"op":"set","field":"a.b","value":"1"}`, ``, "holds no fields"},
		{"a number", `{"a":1}`, `{"op":"replace","field":"a","text":"1","with":"2"}`, ``, "is no text"},
		{"twice", `{"a":{"b":1,"b":2}}`, `{"op":"set","field":"c","value":1}`, ``, "has a field twice"},
		{"no JSON", `{"a":1} x`, `{"op":"set","field":"a","value":2}`, ``, "is no JSON object"},
		{"cut off", `{"a":1`, `{"op":"set","field":"a","value":2}`, ``, "is no JSON object"},
		{"a list for a body", `[1]`, `{"op":"set","field":"a","value":2}`, ``, "is no JSON object"},
	}
	for _, tt := range tests {
		var c Change
		if err := json.Unmarshal([]byte(tt.change), &c); err != nil {
			t.Fatal(err)
		}
		if err := checkChanges([]Change{c}); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		got, err := change([]byte(tt.body), false, []Change{c})
		if tt.wrong != "" {
			p, ok := errors.AsType[*httpdoor.Problem](err)
			if !ok || p.Status != 422 || !strings.Contains(p.Error(), tt.wrong) {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.wrong)
			}
			continue
		}
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %s, %v, want %s", tt.name, got, err, tt.want)
		}
	}
}

func TestChangesTogetherFitIntoARecord(t *testing.T) {
	value, err := json.Marshal(strings.Repeat("x", 60<<10))
	if err != nil {
		t.Fatal(err)
	}
	changes := slices.Repeat([]Change{{Op: opSet, Field: "text", Value: value}}, 4)
	if err := checkChanges(changes); err != nil {
		t.Errorf("%d of 60 KiB: %v", len(changes), err)
	}
	err = checkChanges(append(changes, changes[0]))
	p, ok := errors.AsType[*httpdoor.Problem](err)
	if !ok || p.Status != 400 || len(p.Errors) != 1 || p.Errors[0].Field != "edit" {
		t.Errorf("five of 60 KiB: %v", err)
	}
	// What the record writes is counted, which may be more than what was sent.
	quotes := Change{Op: opReplace, Field: "text", Text: strings.Repeat("\x01", 50<<10)}
	if p, ok := errors.AsType[*httpdoor.Problem](checkChanges([]Change{quotes})); !ok || p.Errors[0].Field != "edit" {
		t.Errorf("a text that is longer as JSON: %v", p)
	}
}

func TestTheContractIsListedWithItsLimits(t *testing.T) {
	fields := contractOf(subjects.FeedbackDeliveryLate)
	find := func(fields []contractField, path string) contractField {
		i := slices.IndexFunc(fields, func(f contractField) bool { return f.Path == path })
		if i < 0 {
			t.Fatalf("%s is not in %+v", path, fields)
		}
		return fields[i]
	}
	for _, want := range []contractField{
		{"responseId", "string", "at most 100 characters", true},
		{"text", "string", "at most 100000 characters", false},
		{"priority", "string", "at most 1 character", false},
		{"dueAt", "string", "must be empty or a time as in 2026-07-24T09:30:00Z", false},
	} {
		if got := find(fields, want.Path); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	request := contractOf(subjects.SurveyLinkRequested)
	if f := find(request, "contact.email"); f.Type != "string" || !strings.Contains(f.Rules, "e-mail") {
		t.Errorf("%+v", f)
	}
	if f := find(request, "contact"); !f.Required || f.Type != "object" {
		t.Errorf("%+v", f)
	}
	if contractOf("nothing.known") != nil {
		t.Error("an unknown subject has fields")
	}
}
