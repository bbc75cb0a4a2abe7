package version2_test

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/salescloud/version2"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

const (
	employee = "0a1b2c3d-0000-4000-8000-000000000010"
	account  = "0a1b2c3d-0000-4000-8000-000000000020"
	contact  = "0a1b2c3d-0000-4000-8000-000000000040"

	// contractTask is the request of sap-sales-cloud.md §4.
	contractTask = `{"description":"Cart 00001234: delivery too late [R_0001]","owner":{"id":"` + employee + `"},"organizer":{"id":"` + employee + `"},"account":{"id":"` + account + `"},
 "startDateTime":"2026-07-24T09:30:00Z","dueDateTime":"2026-07-27T16:00:00Z","priority":"URGENT","status":"OPEN","taskCategory":"0002","notes":[{"content":"Reason: delivery too late"}]}`
)

type directory struct{}

func (directory) HasAccount(id string) bool  { return id == account }
func (directory) HasContact(id string) bool  { return id == contact }
func (directory) HasEmployee(id string) bool { return id == employee }

type client struct {
	*version2.Simulator
	t   *testing.T
	url string
}

func start(t *testing.T, settings version2.Settings) client {
	t.Helper()
	st, err := store.Open("")
	if err != nil {
		t.Fatal(err)
	}
	s, err := version2.New(st, settings, directory{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.API())
	t.Cleanup(server.Close)
	return client{s, t, server.URL + "/sap/c4c/api/v1"}
}

// call wants a status and gives the answer; a body that is "" is none.
func (c client) call(want int, method, path, body string, header ...string) (http.Header, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth("simulator", "simulator")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if response.StatusCode != want {
		c.t.Errorf("%s %s %s: %d, want %d: %s", method, path, body, response.StatusCode, want, text)
	}
	return response.Header, string(text)
}

// create makes the task and gives its id.
func (c client) create(body string) string {
	c.t.Helper()
	_, text := c.call(201, "POST", "/task-service/tasks", body)
	var answer struct {
		Value struct{ ID, DisplayID string }
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Value.ID == "" || answer.Value.DisplayID == "" {
		c.t.Fatalf("no object under value: %s", text)
	}
	return answer.Value.ID
}

func TestTaskOfTheContractIsCreated(t *testing.T) {
	c := start(t, version2.Settings{})
	c.create(contractTask)
	task := c.Books().Tasks[0]
	if task.Priority != "URGENT" || task.References["account"] != account || task.Due != "2026-07-27T16:00:00Z" || len(task.Notes) != 1 {
		t.Errorf("%+v", task)
	}
}

func TestWhatVersion2DoesNotTakeIsRefused(t *testing.T) {
	c := start(t, version2.Settings{})
	for _, body := range []string{
		`{}`, `[]`, `{"description":5}`, `{"description":"a","subject":"b"}`,
		`{"description":"a","dueDateTime":"2026-07-27T16:00:00.000Z"}`, `{"description":"a","dueDateTime":"2026-07-27T16:00:00+02:00"}`, `{"description":"a","dueDateTime":"/Date(1785168000000)/"}`,
		`{"description":"a","account":{"id":"1000123"}}`, `{"description":"a","account":"` + account + `"}`, `{"description":"a","account":{"id":"` + employee + `"}}`,
		`{"description":"a","contact":{"id":"` + contact + `"}}`, `{"description":"a","priority":"3"}`, `{"description":"a","status":"1"}`, `{"description":"a","notes":"b"}`,
	} {
		c.call(400, "POST", "/task-service/tasks", body)
	}
	c.call(415, "POST", "/task-service/tasks", contractTask, "Content-Type", "text/plain")
	c.call(401, "POST", "/task-service/tasks", contractTask, "Authorization", "Basic eDp5")
	if n := len(c.Books().Tasks); n != 0 {
		t.Errorf("%d tasks of refused calls", n)
	}
	refusing := start(t, version2.Settings{RefuseNotes: true, ContactField: "contact"})
	refusing.call(400, "POST", "/task-service/tasks", contractTask)
	refusing.create(`{"description":"a","contact":{"id":"` + contact + `"}}`)
}

func TestPatchNeedsTheEtagAMergePatchAndNoSubnodes(t *testing.T) {
	c := start(t, version2.Settings{})
	path := "/task-service/tasks/" + c.create(contractTask)
	header, _ := c.call(200, "GET", path, "")
	const merge = "application/merge-patch+json"
	c.call(428, "PATCH", path, `{"status":"COMPLETED"}`, "Content-Type", merge)
	c.call(412, "PATCH", path, `{"status":"COMPLETED"}`, "Content-Type", merge, "If-Match", `"0"`)
	c.call(415, "PATCH", path, `{"status":"COMPLETED"}`, "If-Match", header.Get("ETag"))
	if _, text := c.call(400, "PATCH", path, `{"notes":[{"content":"b"}]}`, "Content-Type", merge, "If-Match", header.Get("ETag")); !strings.Contains(text, "Subnodes must not be present") {
		t.Error(text)
	}
	c.call(200, "PATCH", path, `{"status":"COMPLETED"}`, "Content-Type", merge, "If-Match", header.Get("ETag"))
	c.call(201, "POST", path+"/notes", `{"content":"b"}`)
	c.call(404, "POST", "/task-service/tasks/x/notes", `{"content":"b"}`)
	if task := c.Books().Tasks[0]; task.Status != "COMPLETED" || len(task.Notes) != 2 {
		t.Errorf("%+v", task)
	}
}

func TestTasksAreFoundByTheirDescription(t *testing.T) {
	c := start(t, version2.Settings{})
	c.create(contractTask)
	for filter, want := range map[string]int{"description ew '[R_0001]'": 1, "description ct 'R_0001'": 1, "description eq 'R_0001'": 0, "description sw 'Cart'": 1} {
		_, text := c.call(200, "GET", "/task-service/tasks?%24filter="+strings.ReplaceAll(filter, " ", "%20"), "")
		var list struct{ Value []any }
		if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Value) != want {
			t.Errorf("%s: %s", filter, text)
		}
	}
	c.call(400, "GET", "/task-service/tasks?%24filter=x", "")
	start(t, version2.Settings{Search: version2.SearchRefused}).call(400, "GET", "/task-service/tasks?%24filter=description%20eq%20'a'", "")
}

func TestTokenHoldsUntilItExpires(t *testing.T) {
	c := start(t, version2.Settings{})
	_, text := c.call(200, "GET", "/iam-service/token", "")
	var grant struct {
		Value struct {
			AccessToken string `json:"access_token"`
		}
	}
	if err := json.Unmarshal([]byte(text), &grant); err != nil {
		t.Fatal(err)
	}
	bearer := "Bearer " + grant.Value.AccessToken
	c.call(200, "GET", "/task-service/tasks", "", "Authorization", bearer)
	c.call(401, "GET", "/iam-service/token", "", "Authorization", bearer)
	c.ExpireTokens()
	c.call(401, "GET", "/task-service/tasks", "", "Authorization", bearer)
}

func TestQuotaCountsCallsAndEventsAndEndsWithTheDay(t *testing.T) {
	var mu sync.Mutex
	told := map[string]bool{}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var event struct {
			ID   string
			Data struct{ CurrentImage struct{ ID string } }
		}
		mu.Lock()
		defer mu.Unlock()
		if json.NewDecoder(r.Body).Decode(&event) == nil && event.Data.CurrentImage.ID != "" && r.Header.Get("Content-Type") == "application/cloudevents+json" {
			told[event.ID] = true
		}
	}))
	defer hook.Close()
	now := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	c := start(t, version2.Settings{Quota: 3, Webhook: hook.URL, Now: func() time.Time { return now }})
	c.create(contractTask) // and its event
	c.call(200, "GET", "/task-service/tasks", "")
	now = now.Add(time.Hour)
	header, _ := c.call(429, "GET", "/task-service/tasks", "")
	if seconds, err := strconv.Atoi(header.Get("Retry-After")); err != nil || seconds != 23*60*60+1 {
		t.Errorf("Retry-After: %q", header.Get("Retry-After"))
	}
	now = now.Add(23 * time.Hour)
	c.call(200, "GET", "/task-service/tasks", "")
	c.Close()
	if mu.Lock(); len(told) != 1 {
		t.Errorf("%d events", len(told))
	}
	mu.Unlock()
}
