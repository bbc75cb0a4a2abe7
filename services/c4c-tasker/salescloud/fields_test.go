package salescloud

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata/edmx"
	"github.com/closeloop/closeloop/pkg/odata/edmx/edmxtest"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

var everything = Options{
	Priority: "3", Status: "1", TextType: "10002", Language: "EN", Zone: "UTC", DocumentType: "0006", Reference: InSubject,
}

var fullTask = sales.Task{
	Reference: "R_1", Subject: "Late", Text: "Where is it?", AccountID: "1", ContactID: "2", ProcessorID: "3", OwnerID: "4",
	Due: time.Date(2026, 7, 27, 16, 0, 0, 0, time.UTC),
}

func TestEveryFieldThatIsSentIsInTheMetadataWithThatLength(t *testing.T) {
	schema := edmxtest.Load(t, edmxtest.SalesTasks)
	client := &Client{options: everything}
	for entity, table := range map[string][]field{"Tasks": fields, "TasksTextCollection": textFields} {
		for _, f := range table {
			property, ok := schema[entity].Properties[f.name]
			if want := (edmx.Property{Name: f.name, Type: property.Type, MaxLength: f.max, Nullable: true}); !ok || property != want {
				t.Errorf("%s.%s of %d characters: the metadata has %+v", entity, f.name, f.max, property)
			}
			if client.body(fullTask, table)[f.name] == nil {
				t.Errorf("%s is in the table and not sent", f.name)
			}
		}
	}
	if !slices.Contains(schema["Tasks"].Navigations, "TasksTextCollection") || schema["TasksTextCollection"].Properties[parentField].Name == "" {
		t.Error("the metadata has no text below a task, or no parent of it")
	}
	if _, exists := schema["Tasks"].Properties["ExternalID"]; exists { // else it would be the better reference
		t.Error("tasks have an ExternalID")
	}
}

func TestWhatIsTooLongIsRefusedWithItsFieldBeforeItIsSent(t *testing.T) {
	client := &Client{options: everything}
	if err := client.Vet(fullTask); err != nil {
		t.Fatalf("a good task: %v", err)
	}
	long := strings.Repeat("ü", 61)
	for field, change := range map[string]func(*sales.Task){
		"accountId":   func(t *sales.Task) { t.AccountID = long },
		"contactId":   func(t *sales.Task) { t.ContactID = long },
		"processorId": func(t *sales.Task) { t.ProcessorID = long },
		"ownerId":     func(t *sales.Task) { t.OwnerID = long },
		"priority":    func(t *sales.Task) { t.Priority = "02" },
		"responseId":  func(t *sales.Task) { t.Reference = "R_*" },
	} {
		task := fullTask
		change(&task)
		if f := fault.From(client.Vet(task)); f.Class != fault.Invalid || f.Field != field {
			t.Errorf("%s: %s %q: %s", field, f.Class, f.Field, f.Reason)
		}
	}
	task := fullTask
	task.AccountID = "1000*"
	if f := fault.From(client.Vet(task)); f.Class != fault.Invalid || f.Field != "accountId" {
		t.Errorf("a wildcard: %s %q", f.Class, f.Field)
	}
}

func TestWhatSettingsSendHasItsLimit(t *testing.T) {
	limits := Limits()
	for _, name := range []string{
		"C4C_DEFAULT_ACCOUNT_ID", "C4C_DOCUMENT_TYPE", "C4C_LANGUAGE", "C4C_PRIORITY", "C4C_PROCESSOR_ID", "C4C_STATUS", "C4C_TEXT_TYPE", "C4C_ZONE",
	} {
		if limits[name] == 0 {
			t.Errorf("%s has no limit: %v", name, slices.Sorted(maps.Keys(limits)))
		}
	}
}
