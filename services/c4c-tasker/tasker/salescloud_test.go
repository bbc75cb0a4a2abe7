package tasker_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

const (
	root     = "/sap/c4c/odata/v1/c4codataapi"
	fetch    = "GET " + root + "/{$}"
	create   = "POST " + root + "/TasksCollection"
	find     = "GET " + root + "/TasksCollection"
	user     = "closeloop"
	password = "c4c-secret"
)

// salesCloud takes tasks as sap-sales-cloud.md has it: the fields that may be sent, their lengths, parties that exist,
// a token that belongs to the session.
type salesCloud struct {
	*servicetest.Vendor

	mu       sync.Mutex
	password string
	tasks    []task
}

// task has the fields of Tasks that may be sent on create; what is read-only is unknown here and so refused (§2, rule 4).
type task struct {
	Subject, Status, PriorityCode, MainAccountPartyID, MainContactPartyID       string
	ProcessorPartyID, MainEmployeeResponsiblePartyID                            string
	StartDateTime, StartDatetimeZoneCode, DueDateTime, DueDatetimeZoneCode      string
	DocumentType, Category, SalesTerritoryID, SalesOrganisationID, DivisionCode string
	TasksTextCollection                                                         []struct{ TypeCode, LanguageCode, Text string }

	objectID, id string
}

var (
	accounts  = []string{"1000123"}
	contacts  = []string{"1000456"}
	employees = []string{"8000000002", "8000000007"}
)

func newSalesCloud(t *testing.T) *salesCloud {
	v := &salesCloud{Vendor: servicetest.NewVendor(t), password: password}
	v.Handle(fetch, v.guarded(func(c servicetest.Call) servicetest.Reply {
		if c.Header.Get("X-Csrf-Token") != "fetch" {
			return refused(http.StatusBadRequest, "no token was asked for")
		}
		return servicetest.Reply{
			Header: http.Header{"X-Csrf-Token": {"token-1"}, "Set-Cookie": {"SAP_SESSIONID_ABC_100=s1; path=/; secure", "sap-usercontext=sap-client=100; path=/"}},
			Body:   map[string]any{"d": map[string]any{"EntitySets": []string{"TasksCollection"}}},
		}
	}))
	v.Handle(create, v.guarded(v.create))
	v.Handle(find, v.guarded(v.find))
	return v
}

func (v *salesCloud) guarded(h servicetest.Handler) servicetest.Handler {
	return func(c servicetest.Call) servicetest.Reply {
		v.mu.Lock()
		defer v.mu.Unlock()
		if c.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(user+":"+v.password)) {
			return refused(http.StatusUnauthorized, "Logon failed")
		}
		if c.Header.Get("Accept") != "application/json" {
			return servicetest.Reply{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/atom+xml"}}, Body: "<feed/>"}
		}
		return h(c)
	}
}

// setPassword changes the technical user's password.
func (v *salesCloud) setPassword(p string) { v.mu.Lock(); defer v.mu.Unlock(); v.password = p }

func (v *salesCloud) count() int { v.mu.Lock(); defer v.mu.Unlock(); return len(v.tasks) }

func (v *salesCloud) create(c servicetest.Call) servicetest.Reply {
	cookies := c.Header.Get("Cookie")
	if token := c.Header.Get("X-Csrf-Token"); token != "" && (token != "token-1" || !strings.Contains(cookies, "SAP_SESSIONID_ABC_100=s1")) || strings.Contains(cookies, "path=") {
		return servicetest.Reply{Status: http.StatusForbidden, Header: http.Header{"X-Csrf-Token": {"Required"}}, Body: "CSRF token validation failed"}
	}
	var t task
	if err := c.Decode(&t); err != nil {
		return refused(http.StatusBadRequest, err.Error())
	}
	if wrong := t.wrong(); wrong != "" {
		return refused(http.StatusBadRequest, wrong)
	}
	t.objectID, t.id = fmt.Sprintf("00163E0A1B2C1EE0A1B2C3D4E5A6%04d", len(v.tasks)+1), fmt.Sprint(40211+len(v.tasks))
	v.tasks = append(v.tasks, t)
	return servicetest.Reply{Status: http.StatusCreated, Body: map[string]any{"d": map[string]any{"results": map[string]any{
		"__metadata": map[string]any{"uri": "x"}, "ObjectID": t.objectID, "ID": t.id, "Status": t.Status,
		"TasksTextCollection": map[string]any{"__deferred": map[string]any{"uri": "x"}},
	}}}}
}

func (t task) wrong() string {
	known := func(id string, of []string) bool { return id == "" || slices.Contains(of, id) }
	switch {
	case t.Subject == "" || len([]rune(t.Subject)) > 765:
		return "Subject is empty or too long"
	case !slices.Contains([]string{"1", "2", "3", "4"}, t.Status):
		return "Status is not known"
	case !slices.Contains([]string{"", "1", "2", "3", "7"}, t.PriorityCode):
		return "PriorityCode is not known"
	case !known(t.MainAccountPartyID, accounts):
		return "Account " + t.MainAccountPartyID + " does not exist"
	case !known(t.MainContactPartyID, contacts):
		return "Contact " + t.MainContactPartyID + " does not exist"
	case !known(t.ProcessorPartyID, employees) || !known(t.MainEmployeeResponsiblePartyID, employees):
		return "Employee does not exist"
	case t.DueDateTime != "" && !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$`).MatchString(t.DueDateTime):
		return "DueDateTime is no time"
	}
	for _, text := range t.TasksTextCollection {
		if text.TypeCode != "10002" || len(text.LanguageCode) != 2 || text.Text == "" {
			return "a text is not as it must be"
		}
	}
	return ""
}

var bySubject = regexp.MustCompile(`^(?:endswith\(Subject,|Subject eq )'((?:[^'*]|'')+)'\)?$`)

func (v *salesCloud) find(c servicetest.Call) servicetest.Reply {
	filter := c.Query.Get("$filter")
	m := bySubject.FindStringSubmatch(filter)
	if m == nil {
		return refused(http.StatusBadRequest, "the filter is not understood")
	}
	found := []any{}
	wanted := strings.ReplaceAll(m[1], "''", "'")
	for _, t := range v.tasks {
		if t.Subject == wanted || strings.HasPrefix(filter, "endswith") && strings.HasSuffix(t.Subject, wanted) {
			found = append(found, map[string]any{"ObjectID": t.objectID, "ID": t.id, "Subject": t.Subject})
		}
	}
	return servicetest.Reply{Body: map[string]any{"d": map[string]any{"results": found}}}
}

func refused(status int, message string) servicetest.Reply {
	return servicetest.Reply{Status: status, Body: map[string]any{"error": map[string]any{
		"code": "ZZ/001", "message": map[string]any{"lang": "en", "value": message},
	}}}
}
