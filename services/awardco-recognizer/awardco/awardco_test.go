package awardco_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
)

func connect(t *testing.T) (*servicetest.Vendor, *awardco.Client) {
	t.Helper()
	v := servicetest.NewVendor(t)
	calls, err := outbound.New(outbound.Options{Vendor: "awardco", BaseURL: v.URL + "/api"})
	if err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(v.URL)
	if err != nil {
		t.Fatal(err)
	}
	return v, awardco.New(calls, base, settings.SecretOf("key"))
}

func say(body any) servicetest.Handler {
	return func(servicetest.Call) servicetest.Reply { return servicetest.Reply{Body: body} }
}

// A report as awardco.md §3.5 has it.
const (
	startReport  = "POST /api/v2/reports/5"
	reportStatus = "GET /api/v2/reports/tasks/7/status"
	reportPages  = "GET /api/invented-report-path"
)

func TestReportIsStartedPolledAndReadPageByPage(t *testing.T) {
	v, c := connect(t)
	v.Handle(startReport, say(map[string]any{"taskId": 7}))
	v.Handle(reportStatus, say(map[string]any{"status": "completed", "paginatedApiBaseUrl": v.URL + "/api/invented-report-path", "totalPages": 3}))
	v.Refuse(reportStatus, servicetest.Reply{Body: map[string]any{"status": "in progress"}})
	v.Handle(reportPages, func(c servicetest.Call) servicetest.Reply {
		row := "REC-" + c.Query.Get("page") + ",\"a \"\"note\"\"\nof two lines\",other;ref-R_" + c.Query.Get("page")
		return servicetest.Reply{Header: http.Header{"Content-Type": {"text/csv"}}, Body: "Recognition Id,Note,Tags\n" + row + "\n"}
	})
	found, ok, err := c.FindInReport(t.Context(), "R_2", time.Date(2026, 7, 24, 23, 0, 0, 0, time.UTC))
	if err != nil || !ok || found.ID != "REC-2" {
		t.Errorf("%+v %v %v", found, ok, err)
	}
	if n := len(v.Calls(reportPages)); n != 2 {
		t.Errorf("%d pages read, want 2: it was found", n)
	}
	var asked map[string]any
	if err := json.Unmarshal([]byte(v.Calls(startReport)[0].Body), &asked); err != nil || asked["startDate"] != "2026-07-24" {
		t.Errorf("%v %v", asked, err)
	}
	if _, ok, err := c.FindInReport(t.Context(), "R_9", time.Now()); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}

func TestReportThatCannotBeReadIsNeverTakenForAnEmptyOne(t *testing.T) {
	for name, c := range map[string]struct {
		status map[string]any
		page   string
		class  fault.Class
	}{
		"failed":              {map[string]any{"status": "error", "errorCode": 17, "message": "ada@example.org may not"}, "", fault.Transient},
		"of another status":   {map[string]any{"status": "paused"}, "", fault.Transient},
		"at a foreign host":   {map[string]any{"status": "completed", "paginatedApiBaseUrl": "https://files.example.org/x", "totalPages": 1}, "", fault.Person},
		"at no address":       {map[string]any{"status": "completed", "totalPages": 1}, "", fault.Person},
		"without a CSV":       {map[string]any{"status": "completed", "paginatedApiBaseUrl": "{}", "totalPages": 1}, "", fault.Transient},
		"with a broken CSV":   {map[string]any{"status": "completed", "paginatedApiBaseUrl": "{}", "totalPages": 1}, "a,b\n\"x", fault.Transient},
		"of too many pages":   {map[string]any{"status": "completed", "paginatedApiBaseUrl": "{}", "totalPages": 101}, "Tags\nother\n", fault.Person},
		"of pages not said":   {map[string]any{"status": "completed", "paginatedApiBaseUrl": "{}"}, "Tags\nref-R_1\n", fault.Transient},
		"of null pages":       {map[string]any{"status": "completed", "paginatedApiBaseUrl": "{}", "totalPages": nil}, "Tags\nref-R_1\n", fault.Transient},
		"by an unnamed field": {map[string]any{"paginatedApiBaseUrl": "{}", "totalPages": 1}, "Tags\nref-R_1\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			v, client := connect(t)
			if c.status["paginatedApiBaseUrl"] == "{}" {
				c.status["paginatedApiBaseUrl"] = v.URL + "/api/invented-report-path"
			}
			v.Handle(startReport, say(map[string]any{"taskId": "7"}))
			v.Handle(reportStatus, say(c.status))
			v.Handle(reportPages, func(servicetest.Call) servicetest.Reply {
				return servicetest.Reply{Header: http.Header{"Content-Type": {"text/csv"}}, Body: c.page}
			})
			_, ok, err := client.FindInReport(t.Context(), "R_1", time.Now())
			if c.class == "" {
				if !ok || err != nil {
					t.Errorf("%v %v", ok, err)
				}
				return
			}
			if ok || !fault.Is(err, c.class) || strings.Contains(err.Error(), "ada@") {
				t.Errorf("%v %v", ok, err)
			}
		})
	}
}

func TestReportThatSaysItHasNoPagesIsEmpty(t *testing.T) {
	v, c := connect(t)
	v.Handle(startReport, say(map[string]any{"taskId": 7}))
	v.Handle(reportStatus, say(map[string]any{"status": "completed", "paginatedApiBaseUrl": v.URL + "/api/invented-report-path", "totalPages": 0}))
	if _, ok, err := c.FindInReport(t.Context(), "R_1", time.Now()); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
}

func TestUsersAreReadUnderAnySpellingUntilNobodyNewComes(t *testing.T) {
	v, c := connect(t)
	pages := map[string]any{
		"1": map[string]any{"data": []any{
			map[string]any{"employeeId": "E1", "email": "a@example.org", "firstName": "A", "lastName": "B", "username": "ab"},
			map[string]any{"employee_id": 2, "EmailAddress": "c@example.org", "archived": true},
			map[string]any{"employeeID": "E3", "active": "false"}, map[string]any{"email": "nobody"},
		}},
		"2": map[string]any{"data": []any{map[string]any{"employeeId": "E4", "status": "Terminated"}, map[string]any{"employeeId": "E5", "isActive": true}}},
	}
	v.Handle("GET /api/users", func(c servicetest.Call) servicetest.Reply {
		if page, ok := pages[c.Query.Get("page")]; ok {
			return servicetest.Reply{Body: page}
		}
		return servicetest.Reply{Body: pages["2"]} // a vendor that gives its last page for ever
	})
	got, err := c.Users(t.Context())
	want := []awardco.User{
		{"E1", "a@example.org", "ab", "A", "B", true}, {"2", "c@example.org", "", "", "", false}, {EmployeeID: "E3"},
		{EmployeeID: "E4"}, {EmployeeID: "E5", Active: true},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v %v", got, err)
	}
	v.Refuse("GET /api/users", servicetest.Reply{Body: map[string]any{"success": true}})
	if _, err := c.Users(t.Context()); err == nil {
		t.Error("a page without a list was taken for an empty one")
	}
}

func TestReferencesAreFoundAsTagsAndInNotes(t *testing.T) {
	item := map[string]any{"note": "Great [ref-R_1], really [ref-R_2]", "tags": []any{"teamwork", "#ref-R_3", map[string]any{"name": "ref-R_4"}}, "by": "ref-R_5 is no tag"}
	if got := fmt.Sprint(awardco.References(item)); got != "[R_1 R_2 R_3 R_4]" {
		t.Error(got)
	}
	for reference, want := range map[string]bool{"R_1": true, "r_2": true, "R_4": true, "R_5": false, "R_": false} {
		if awardco.Holds(item, reference) != want {
			t.Errorf("%s: not %v", reference, want)
		}
	}
}

func TestIntakeSendsTheBodyOfTheSettings(t *testing.T) {
	v := servicetest.NewVendor(t)
	calls, err := outbound.New(outbound.Options{Vendor: "awardco", BaseURL: v.URL})
	if err != nil {
		t.Fatal(err)
	}
	intake, err := awardco.NewIntake(calls, settings.SecretOf(v.URL+"/x/y?key=k"), awardco.IntakeKey{Header: "X-Key", Value: settings.SecretOf("secret")},
		map[string]string{"to.id": "recipient", "to.why": "note", "programme": "program", "marks": "tags", "ref": "reference"})
	if err != nil {
		t.Fatal(err)
	}
	v.Handle("POST /x/y", say(nil))
	r := awardco.Recognition{Reference: "R_1", InNote: true, Recipient: "E1", Note: "Great", ProgramName: "P"}
	for name, c := range map[string]struct {
		reply servicetest.Reply
		id    string
		class fault.Class
	}{
		"with an id":  {servicetest.Reply{Body: map[string]any{"id": 5}}, "5", ""},
		"empty":       {servicetest.Reply{Status: 202}, "", ""},
		"plain":       {servicetest.Reply{Header: http.Header{"Content-Type": {"text/plain"}}, Body: "OK"}, "", ""},
		"refused":     {servicetest.Reply{Body: map[string]any{"success": false, "message": "E1 is closed"}}, "", fault.Refused},
		"a login":     {servicetest.Reply{Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>"}, "", fault.Unknown},
		"a gateway's": {servicetest.Reply{Status: 502}, "", fault.Unknown},
	} {
		t.Run(name, func(t *testing.T) {
			v.Refuse("POST /x/y", c.reply)
			got, err := intake.Submit(t.Context(), r)
			if got.ID != c.id || (c.class == "") != (err == nil) || err != nil && !fault.Is(err, c.class) {
				t.Errorf("%+v, %v", got, err)
			}
		})
		if len(v.Calls()) == 0 {
			t.Fatal("not called")
		}
	}
	call := v.Calls()[0]
	want := `{"marks":["ref-R_1"],"programme":"P","ref":"R_1","to":{"id":"E1","why":"Great [ref-R_1]"}}`
	if call.Body != want || call.Header.Get("X-Key") != "secret" || call.Query.Get("key") != "k" {
		t.Errorf("%s %v", call.Body, call.Header)
	}
}

func TestKeysThatAreReplacedInTheirFilesAreUsed(t *testing.T) {
	v := servicetest.NewVendor(t)
	v.Handle("POST /x/new", say(nil))
	v.Handle("POST /x/old", say(nil))
	calls, err := outbound.New(outbound.Options{Vendor: "awardco", BaseURL: v.URL})
	if err != nil {
		t.Fatal(err)
	}
	address, move := settingstest.Rotating(t, v.URL+"/x/old?key=k1")
	key, replace := settingstest.Rotating(t, "one")
	intake, err := awardco.NewIntake(calls, address, awardco.IntakeKey{Header: "X-Key", Value: key}, map[string]string{"to": "recipient"})
	if err != nil {
		t.Fatal(err)
	}
	submit := func() {
		t.Helper()
		if _, err := intake.Submit(t.Context(), awardco.Recognition{Reference: "R_1", Recipient: "E1"}); err != nil {
			t.Fatal(err)
		}
	}
	submit()
	move(v.URL + "/x/new?key=k2")
	replace("two")
	bustest.Eventually(t, "the new address with the new key", func() bool {
		submit()
		for _, call := range v.Calls("POST /x/new") {
			if call.Header.Get("X-Key") == "two" && call.Query.Get("key") == "k2" {
				return true
			}
		}
		return false
	})
	if old := v.Calls("POST /x/old")[0]; old.Header.Get("X-Key") != "one" || old.Query.Get("key") != "k1" {
		t.Errorf("first sent %v to %v", old.Header, old.Query)
	}
}
