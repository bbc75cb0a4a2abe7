package ingress_test

import (
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// completed is the event of sap-s4-event-mesh-commerce.md §1.
const completed = `{"specversion":"1.0","type":"sap.s4.beh.serviceorder.v1.ServiceOrder.Completed.v1","source":"/default/sap.s4.beh/S4CLNT100",
	"id":"0a1b2c3d-0000-4000-8000-000000000040","time":"2026-07-24T09:30:00Z","datacontenttype":"application/json",
	"data":{"ServiceOrder":"8000000123","CustMgmtObjectType":"BUS2000116","ServiceOrderUUID":"0a1b2c3d-0000-4000-8000-000000000041",
		"ServiceOrderType":"SRVO","ServiceOrderDescription":"Compressor check"}}`

const completedType = "sap.s4.beh.serviceorder.v1.ServiceOrder.Completed.v1"

func TestHandshakeAllowsTheSenderThatAsks(t *testing.T) {
	f := start(t, servicetest.Env{"INGRESS_API_KEYS": "key"})
	answer := f.Do("OPTIONS", "/s4/events", "", "", "WebHook-Request-Origin", "eventmesh.example.com", "X-API-Key", "key").Want(200)
	if got := answer.Header.Get("WebHook-Allowed-Origin"); got != "eventmesh.example.com" {
		t.Errorf("allowed %q", got)
	}
	f.Do("OPTIONS", "/s4/events", "", "", "X-API-Key", "key").WantProblem(400, "WebHook-Request-Origin")
	refused := f.Do("OPTIONS", "/s4/events", "", "", "WebHook-Request-Origin", "eventmesh.example.com").WantProblem(401)
	if got := refused.Header.Get("WebHook-Allowed-Origin"); got != "" {
		t.Errorf("a stranger is allowed %q", got)
	}
}

func TestCompletedServiceOrderIsStoredInWhateverModeItComes(t *testing.T) {
	const keys = `{"ServiceOrder":"8000000123"}`
	for name, c := range map[string]struct {
		contentType, body string
		header            []string
		want              string
	}{
		"structured":       {"application/cloudevents+json; charset=utf-8", completed, nil, `{"serviceOrder":"8000000123","changedAt":"2026-07-24T09:30:00Z"}`},
		"application/json": {"application/json", completed, nil, `{"serviceOrder":"8000000123","changedAt":"2026-07-24T09:30:00Z"}`},
		"binary": {"application/json", keys,
			[]string{"ce-specversion", "1.0", "ce-type", completedType, "ce-id", "1", "ce-source", "/s4", "ce-time", "2026-07-24T11:30:00+02:00"},
			`{"serviceOrder":"8000000123","changedAt":"2026-07-24T09:30:00Z"}`},
		"type with slashes": {"application/json", strings.Replace(completed, completedType, strings.ReplaceAll(completedType, ".", "/"), 1), nil,
			`{"serviceOrder":"8000000123","changedAt":"2026-07-24T09:30:00Z"}`},
		"what tenants add": {"application/json", strings.Replace(completed, `"data":{`,
			`"data":{"ContactPerson":"1000456","SoldToParty":"1000123","ServiceDocChangedDateTime":"/Date(1784885401000+0000)/",`, 1), nil,
			`{"serviceOrder":"8000000123","contactPerson":"1000456","soldToParty":"1000123","changedAt":"2026-07-24T09:30:01Z"}`},
		"a time of the order alone": {"application/json", strings.NewReplacer(`"time":"2026-07-24T09:30:00Z",`, ``, `"data":{`, `"data":{"ServiceDocChangedDateTime":"2026-07-24T09:30:01.5Z",`).Replace(completed), nil,
			`{"serviceOrder":"8000000123","changedAt":"2026-07-24T09:30:01.500Z"}`},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			var receipt struct{ ID, LoopID string }
			if f.Do("POST", "/s4/events", c.contentType, c.body, c.header...).Want(202).JSON(&receipt); receipt.ID == "" {
				t.Error("no receipt")
			}
			stored := f.stored(t, subjects.OrderCompleted)
			if len(stored) != 1 {
				t.Fatalf("%d events", len(stored))
			}
			same(t, subjects.OrderCompleted, stored[0], c.want)
		})
	}
}

func TestCompletionIsStoredOnceAndASecondCompletionAgain(t *testing.T) {
	f := start(t, nil)
	for range 3 {
		f.Post("/s4/events", completed).Want(202)
	}
	f.Post("/s4/events", strings.Replace(completed, "09:30:00Z", "10:30:00Z", 1)).Want(202)
	if n := f.all(t); n != 2 {
		t.Errorf("%d events, want 2", n)
	}
}

func TestOtherEventsAreAnsweredWellAndNotStored(t *testing.T) {
	f := start(t, nil)
	for _, kind := range []string{"Created", "Changed", "Released", "ReleaseRevoked"} {
		f.Post("/s4/events", strings.Replace(completed, "Completed", kind, 1)).Want(200)
	}
	f.Do("POST", "/s4/events", "application/json", `"not even an order"`, "ce-specversion", "1.0", "ce-type", "sap.s4.beh.salesorder.v1.SalesOrder.Created.v1").Want(200)
	if n := f.all(t); n != 0 {
		t.Errorf("%d events stored", n)
	}
}

func TestBadEventsAreAnsweredWithTheFieldAndNotStored(t *testing.T) {
	f := start(t, nil)
	for _, c := range []struct {
		name, body string
		fields     []string
	}{
		{"no order", strings.Replace(completed, `"ServiceOrder":"8000000123",`, ``, 1), []string{"data.ServiceOrder"}},
		{"order as a number", strings.Replace(completed, `"8000000123"`, `8000000123`, 1), []string{"data.ServiceOrder"}},
		{"too long an order", strings.Replace(completed, `"8000000123"`, `"80000001234"`, 1), []string{"data.ServiceOrder"}},
		{"too long a contact", strings.Replace(completed, `"data":{`, `"data":{"ContactPerson":"10004567890",`, 1), []string{"data.ContactPerson"}},
		{"no time", strings.Replace(completed, `"time":"2026-07-24T09:30:00Z",`, ``, 1), []string{"time"}},
		{"wrong time", strings.Replace(completed, `2026-07-24T09:30:00Z`, `24.07.2026`, 1), []string{"time"}},
		{"no type", strings.Replace(completed, `"type"`, `"typ"`, 1), []string{"type"}},
		{"another version", strings.Replace(completed, `"1.0"`, `"0.3"`, 1), []string{"specversion"}},
		{"data as a text", strings.Replace(completed, `"data":{`, `"data":"x","more":{`, 1), []string{"data"}},
		{"no data", strings.Replace(completed, `"data":{`, `"more":{`, 1), []string{"data"}},
		{"no JSON", `order 8000000123`, nil},
		{"empty", ``, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.Do("POST", "/s4/events", "application/cloudevents+json", c.body).WantProblem(400, c.fields...)
		})
	}
	f.Do("POST", "/s4/events", "application/cloudevents-batch+json", `[`+completed+`]`).WantProblem(400, "Content-Type")
	if n := f.all(t); n != 0 {
		t.Errorf("%d events of bad input", n)
	}
}
