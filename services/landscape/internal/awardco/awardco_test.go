package awardco_test

import (
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// contractRecognition is the request of awardco.md §3.1.
const contractRecognition = `{"recipients":["E1001"],"giver":"grace@example.org","note":"Thank you for the quick help.","tagNames":["ref-900-1"],"amount":25,"isPublic":true,"recognitionProgramName":"Customer praise","budgetName":"CX 2026","title":"Quick help"}`

func open(t *testing.T, dir string, settings awardco.Settings) (*awardco.Simulator, *store.Store) {
	t.Helper()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := awardco.New(st, settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.AddUser(awardco.User{EmployeeID: "E1001", Username: "ada", FirstName: "Ada", LastName: "Example", Email: "ada@example.org", CurrencyCode: "EUR"}),
		s.AddUser(awardco.User{EmployeeID: "E1002", Username: "grace", Email: "grace@example.org"}),
		s.AddUser(awardco.User{EmployeeID: "E1003", Email: "gone@example.org", Archived: true}),
		s.AddProgram(awardco.Program{ID: "P1", Name: "Customer praise", TitleQuestion: true}),
		s.AddProgram(awardco.Program{ID: "P2", Name: "Central", CentralBudget: true}),
		s.AddProgram(awardco.Program{ID: "P3", Name: "From customers", External: true}),
		s.AddBudget(awardco.Budget{Name: "CX 2026", Balance: 60}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s, st
}

type client struct {
	t    *testing.T
	base string
	key  string
}

func connect(t *testing.T, s *awardco.Simulator) *client {
	t.Helper()
	server := httptest.NewServer(s.API())
	t.Cleanup(server.Close)
	return &client{t, server.URL + "/api", "simulator"}
}

func start(t *testing.T, settings awardco.Settings) (*client, *awardco.Simulator) {
	t.Helper()
	s, _ := open(t, "", settings)
	return connect(t, s), s
}

func (c *client) call(method, path, body string, header ...string) (int, http.Header, string) {
	c.t.Helper()
	address := path
	if !strings.HasPrefix(path, "http") {
		address = c.base + path
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, address, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("apikey", c.key)
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
	return response.StatusCode, response.Header, string(text)
}

func (c *client) want(status int, method, path, body string) string {
	c.t.Helper()
	got, _, text := c.call(method, path, body)
	if got != status {
		c.t.Errorf("%s %s %s: status %d, want %d: %s", method, path, body, got, status, text)
	}
	return text
}

func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

type answer struct {
	Success       bool
	RecognitionID string `json:"recognitionId"`
	Message       string
}

func TestRecognitionOfTheContractIsGranted(t *testing.T) {
	c, s := start(t, awardco.Settings{})
	got := decode[answer](t, c.want(200, "POST", "/recognize", contractRecognition))
	if !got.Success || got.RecognitionID == "" {
		t.Errorf("%+v", got)
	}
	b := s.Books()
	r := b.Recognitions[0]
	if r.ID != got.RecognitionID || fmt.Sprint(r.Recipients) != "[E1001]" || r.Giver != "E1002" || r.State != awardco.Granted || r.Program != "Customer praise" || r.Amount != 25 {
		t.Errorf("%+v", r)
	}
	if b.Users[0].Balance != 25 || b.Budgets[0].Balance != 35 {
		t.Errorf("user has %d, budget %d", b.Users[0].Balance, b.Budgets[0].Balance)
	}
}

func TestRepeatedPostRecognizesTwice(t *testing.T) {
	c, s := start(t, awardco.Settings{})
	first := decode[answer](t, c.want(200, "POST", "/recognize", contractRecognition))
	second := decode[answer](t, c.want(200, "POST", "/recognize", contractRecognition))
	if first.RecognitionID == second.RecognitionID || len(s.Books().Recognitions) != 2 {
		t.Error("the server knew the repeat")
	}
	if got := c.want(400, "POST", "/recognize", contractRecognition); !strings.Contains(got, "exhausted") { // 60 - 25 - 25 < 25
		t.Error(got)
	}
}

func TestRecipientIsFoundByIDMailOrUsername(t *testing.T) {
	c, s := start(t, awardco.Settings{})
	for _, identity := range []string{"E1001", "Ada@Example.org", "ada"} {
		c.want(200, "POST", "/recognize", fmt.Sprintf(`{"recipients":[%q],"recognitionProgramId":"P1"}`, identity))
	}
	for _, r := range s.Books().Recognitions {
		if r.Recipients[0] != "E1001" {
			t.Errorf("%v", r.Recipients)
		}
	}
	c.want(400, "POST", "/recognize", `{"recipients":["Ada Example"],"recognitionProgramId":"P1"}`) // never by name
}

func TestRecognitionsThatBreakARuleAreRefused(t *testing.T) {
	c, s := start(t, awardco.Settings{})
	for body, message := range map[string]string{
		`{"recipients":["E9"],"recognitionProgramId":"P1"}`:                                               "Recipient not found",
		`{"recipients":["gone@example.org"],"recognitionProgramId":"P1"}`:                                 "Recipient is archived",
		`{"recipients":[""],"recognitionProgramId":"P1"}`:                                                 "Recipient not found",
		`{"recipients":[],"recognitionProgramId":"P1"}`:                                                   "At least one recipient",
		`{"recognitionProgramId":"P1"}`:                                                                   "At least one recipient",
		`{"recipients":["E1001","E9"],"recognitionProgramId":"P1"}`:                                       "Recipient not found",
		`{"recipients":"E1001","recognitionProgramId":"P1"}`:                                              "recipients",
		`{"recipients":["E1001"]}`:                                                                        "Exactly one of",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","recognitionProgramName":"Customer praise"}`: "Exactly one of",
		`{"recipients":["E1001"],"recognitionProgramId":"P9"}`:                                            "program not found",
		`{"recipients":["E1001"],"recognitionProgramName":"customer praise"}`:                             "program not found",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","giver":"nobody@example.org"}`:               "Giver not found",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","title":"` + strings.Repeat("x", 51) + `"}`:  "title is longer",
		`{"recipients":["E1001"],"recognitionProgramId":"P2","title":"a"}`:                                "title is not possible",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","amount":25}`:                                "budgetName is required",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","amount":25,"budgetName":"None"}`:            "Budget not found",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","amount":61,"budgetName":"CX 2026"}`:         "exhausted",
		`{"recipients":["E1001","E1002"],"recognitionProgramId":"P1","amount":31,"budgetName":"CX 2026"}`: "exhausted",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","amount":-1}`:                                "amount",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","amount":2.5,"budgetName":"CX 2026"}`:        "amount",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","amount":"25","budgetName":"CX 2026"}`:       "amount",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","isPublic":"yes"}`:                           "isPublic",
		`{"recipients":["E1001"],"recognitionProgramId":"P1","message":"a"}`:                              `unknown field \"message\"`,
		`{"recipients":["E1001"],"recognitionProgramId":"P1"} {}`:                                         "not one JSON object",
		`[]`: "not one JSON object",
		``:   "not one JSON object",
	} {
		got := c.want(400, "POST", "/recognize", body)
		if decode[answer](t, got).Success || !strings.Contains(got, message) {
			t.Errorf("%s: %s", body, got)
		}
	}
	if got := s.Books(); len(got.Recognitions) != 0 || got.Budgets[0].Balance != 60 {
		t.Errorf("%+v", got)
	}
}

func TestRecognitionWithoutAProgram(t *testing.T) {
	c, s := start(t, awardco.Settings{})
	c.want(200, "POST", "/recognize/no-program", `{"recipients":["ada@example.org"],"giver":"","note":"Thank you.","tagNames":[],"amount":0,"isPublic":false}`)
	c.want(400, "POST", "/recognize/no-program", `{"recipients":["ada@example.org"],"recognitionProgramId":"P1"}`)
	if got := s.Books().Recognitions; len(got) != 1 || got[0].Program != "" || got[0].Public {
		t.Errorf("%+v", got)
	}
}

func TestCentralBudgetNeedsNoName(t *testing.T) {
	c, s := start(t, awardco.Settings{})
	c.want(200, "POST", "/recognize", `{"recipients":["E1001"],"recognitionProgramId":"P2","amount":100}`)
	if got := s.Books(); got.Users[0].Balance != 100 || got.Budgets[0].Balance != 60 {
		t.Errorf("%+v", got)
	}
}

func TestKeyDecidesWhatMayBeCalled(t *testing.T) {
	c, _ := start(t, awardco.Settings{Keys: map[string][]string{"all": nil, "reader": {awardco.Feed, awardco.Reports}}})
	for _, x := range []struct {
		key, method, path string
		want              int
	}{
		{"", "POST", "/recognize", 401}, {"wrong", "GET", "/users", 401}, {"reader", "POST", "/recognize", 403},
		{"reader", "GET", "/v1/custom-feed", 200}, {"reader", "GET", "/users", 403}, {"all", "POST", "/recognize", 200},
	} {
		c.key = x.key
		c.want(x.want, x.method, x.path, contractRecognition)
	}
	c, _ = start(t, awardco.Settings{Keys: map[string][]string{"reader": {awardco.Feed}}, MissingPermissionStatus: 401})
	c.key = "reader"
	c.want(401, "POST", "/recognize", contractRecognition)
}

func TestRefusalsTakeTheFormOfTheSettings(t *testing.T) {
	for shape, want := range map[awardco.ErrorShape]struct {
		status int
		media  string
		body   string
	}{
		awardco.JSONError: {400, "application/json", `{"success":false,"message":"At least one recipient is required"}`},
		awardco.OKError:   {200, "application/json", `{"success":false,`},
		awardco.TextError: {400, "text/plain; charset=utf-8", "At least"},
		awardco.HTMLError: {400, "text/html; charset=utf-8", "<html>"},
	} {
		c, _ := start(t, awardco.Settings{Errors: shape})
		status, header, body := c.call("POST", "/recognize", `{"recognitionProgramId":"P1"}`)
		if status != want.status || header.Get("Content-Type") != want.media || !strings.HasPrefix(body, want.body) {
			t.Errorf("%q: %d %s %s", shape, status, header.Get("Content-Type"), body)
		}
		c.key = "wrong"
		c.want(401, "GET", "/users", "")
	}
}

func TestOtherSwitches(t *testing.T) {
	c, s := start(t, awardco.Settings{PartialSuccess: true, NoRecognitionID: true, RefuseUnknownTags: true, Tags: []string{"cx"}, AcceptUnknownFields: true})
	got := c.want(200, "POST", "/recognize", `{"recipients":["E1001","E9"],"recognitionProgramId":"P1","tagNames":["cx"],"message":"a"}`)
	if got != "{\"success\":true}\n" || len(s.Books().Recognitions[0].Recipients) != 1 {
		t.Errorf("%s %+v", got, s.Books().Recognitions)
	}
	c.want(400, "POST", "/recognize", `{"recipients":["E9","E8"],"recognitionProgramId":"P1"}`)
	c.want(400, "POST", "/recognize", `{"recipients":["E1001"],"recognitionProgramId":"P1","tagNames":["other"]}`)
}

func TestIdempotencyKeyIsHonouredWhereSwitchedOn(t *testing.T) {
	c, s := start(t, awardco.Settings{IdempotencyHeader: "Idempotency-Key"})
	_, _, first := c.call("POST", "/recognize", contractRecognition, "Idempotency-Key", "R_1")
	_, _, again := c.call("POST", "/recognize", contractRecognition, "Idempotency-Key", "R_1")
	if first != again || len(s.Books().Recognitions) != 1 {
		t.Errorf("%s %s", first, again)
	}
	c.want(200, "POST", "/recognize", contractRecognition)
	if len(s.Books().Recognitions) != 2 {
		t.Error("a call without a key was taken for a repeat")
	}
}

func TestCallsAboveTheRateAreThrottled(t *testing.T) {
	now := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	for _, silent := range []bool{false, true} {
		c, _ := start(t, awardco.Settings{RateLimit: 2, NoRetryAfter: silent, Now: func() time.Time { return now }})
		c.want(200, "GET", "/users", "")
		c.want(200, "GET", "/users", "")
		status, header, _ := c.call("GET", "/users", "")
		if status != 429 || (header.Get("Retry-After") == "") != silent {
			t.Errorf("%d %v", status, header)
		}
		now = now.Add(time.Second)
		c.want(200, "GET", "/users", "")
	}
}

func TestExternalRecognitionWaitsForApproval(t *testing.T) {
	c, s := start(t, awardco.Settings{})
	got := decode[answer](t, c.want(200, "POST", "/recognize", `{"recipients":["E1001"],"recognitionProgramName":"From customers","note":"Great","isPublic":true}`))
	second, err := s.SubmitExternal(awardco.External{Program: "From customers", Recipient: "ada@example.org", Note: "Fast"})
	if err != nil || second.State != awardco.Pending {
		t.Fatalf("%+v %v", second, err)
	}
	if feed := c.want(200, "GET", "/v1/custom-feed", ""); strings.Contains(feed, got.RecognitionID) {
		t.Error("a pending recognition is in the feed")
	}
	if _, err := s.Approve(got.RecognitionID, awardco.Approval{Points: 61, Budget: "CX 2026"}); !errors.Is(err, awardco.ErrRefused) {
		t.Errorf("more points than the budget has: %v", err)
	}
	approved, err := s.Approve(got.RecognitionID, awardco.Approval{Points: 10, Budget: "CX 2026", Note: "Great work"})
	if err != nil || approved.State != awardco.Granted || approved.Note != "Great work" || approved.Amount != 10 {
		t.Errorf("%+v %v", approved, err)
	}
	denied, err := s.Deny(second.ID, "twice the same")
	if err != nil || denied.State != awardco.Denied || denied.Reason != "twice the same" {
		t.Errorf("%+v %v", denied, err)
	}
	b := s.Books()
	if b.Users[0].Balance != 10 || b.Budgets[0].Balance != 50 {
		t.Errorf("user has %d, budget %d", b.Users[0].Balance, b.Budgets[0].Balance)
	}
	feed := c.want(200, "GET", "/v1/custom-feed", "")
	if !strings.Contains(feed, got.RecognitionID) || strings.Contains(feed, second.ID) {
		t.Errorf("feed: %s", feed)
	}
	for _, id := range []string{got.RecognitionID, second.ID, "REC-9"} {
		if _, err := s.Approve(id, awardco.Approval{}); !errors.Is(err, awardco.ErrNotPending) {
			t.Errorf("%s approved again: %v", id, err)
		}
		if _, err := s.Deny(id, ""); !errors.Is(err, awardco.ErrNotPending) {
			t.Errorf("%s denied again: %v", id, err)
		}
	}
	for _, e := range []awardco.External{{Program: "Customer praise", Recipient: "E1001"}, {Program: "From customers", Recipient: "E9"}} {
		if _, err := s.SubmitExternal(e); !errors.Is(err, awardco.ErrRefused) {
			t.Errorf("%+v: %v", e, err)
		}
	}
}

func TestFeedIsReadPageByPageNewestFirst(t *testing.T) {
	c, _ := start(t, awardco.Settings{})
	for n := range 12 {
		c.want(200, "POST", "/recognize", fmt.Sprintf(`{"recipients":["E1001"],"recognitionProgramId":"P1","tagNames":["ref-%d"],"isPublic":true}`, n))
	}
	c.want(200, "POST", "/recognize", `{"recipients":["E1001"],"recognitionProgramId":"P1","tagNames":["private"]}`)
	type feed struct {
		Total int
		Data  []struct{ TagNames []string }
	}
	first := decode[feed](t, c.want(200, "GET", "/v1/custom-feed", ""))
	second := decode[feed](t, c.want(200, "GET", "/v1/custom-feed?page=2&limit=10", ""))
	if first.Total != 12 || len(first.Data) != 10 || first.Data[0].TagNames[0] != "ref-11" || len(second.Data) != 2 || second.Data[1].TagNames[0] != "ref-0" {
		t.Errorf("%+v %+v", first, second)
	}
	if third := decode[feed](t, c.want(200, "GET", "/v1/custom-feed?page=3", "")); len(third.Data) != 0 {
		t.Errorf("%+v", third)
	}
	c.want(400, "GET", "/v1/custom-feed?page=0", "")
	c.want(400, "GET", "/v1/custom-feed?limit=all", "")
}

type status struct {
	Status              string
	TaskID              int    `json:"taskId"`
	PaginatedAPIBaseURL string `json:"paginatedApiBaseUrl"`
	TotalPages          int
	DownloadURL         string `json:"downloadUrl"`
}

// readReport runs a report to its end and gives its lines by column.
func (c *client) readReport(id, body string) []map[string]string {
	c.t.Helper()
	task := decode[status](c.t, c.want(200, "POST", "/v2/reports/"+id, body)).TaskID
	path := fmt.Sprintf("/v2/reports/tasks/%d/status", task)
	s := decode[status](c.t, c.want(200, "GET", path, ""))
	for polls := 0; s.Status == "in progress" && polls < 5; polls++ {
		s = decode[status](c.t, c.want(200, "GET", path, ""))
	}
	if s.Status != "completed" || s.TotalPages == 0 || s.DownloadURL == "" {
		c.t.Fatalf("%+v", s)
	}
	var lines []map[string]string
	for page := 1; page <= s.TotalPages; page++ {
		code, header, body := c.call("GET", fmt.Sprintf("%s?page=%d", s.PaginatedAPIBaseURL, page), "")
		if code != 200 || header.Get("Content-Type") != "text/csv" {
			c.t.Fatalf("page %d: %d %s", page, code, header.Get("Content-Type"))
		}
		records, err := csv.NewReader(strings.NewReader(body)).ReadAll()
		if err != nil {
			c.t.Fatal(err)
		}
		for _, record := range records[1:] {
			line := map[string]string{}
			for i, column := range records[0] {
				line[column] = record[i]
			}
			lines = append(lines, line)
		}
	}
	return lines
}

func TestReport5FindsEveryGrantedRecognition(t *testing.T) {
	now := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	c, s := start(t, awardco.Settings{ReportPageSize: 2, Now: func() time.Time { return now }})
	for n := range 5 {
		c.want(200, "POST", "/recognize", fmt.Sprintf(`{"recipients":["E1001"],"recognitionProgramId":"P1","tagNames":["ref-%d","cx"],"note":"a,\"b\"\nc"}`, n))
		now = now.Add(24 * time.Hour)
	}
	if _, err := s.SubmitExternal(awardco.External{Program: "From customers", Recipient: "E1001"}); err != nil {
		t.Fatal(err)
	}
	all := c.readReport("5", `{"reportId":5,"paginate":true}`)
	if len(all) != 5 || all[4]["Tags"] != "ref-4;cx" || all[0]["Note"] != "a,\"b\"\nc" || all[0]["To User"] != "E1001" || all[0]["To Email"] != "ada@example.org" || all[0]["Program Name"] != "Customer praise" {
		t.Errorf("%v", all)
	}
	for body, want := range map[string]int{
		`{"startDate":"2026-07-25","endDate":"2026-07-26"}`:                    2,
		`{"startDate":"2026-07-28T09:30:00"}`:                                  1,
		`{"endDate":"2026-07-24T09:29:59Z"}`:                                   0,
		`{"timeRangeOption":"all time","timezone":"UTC","selectedColumns":[]}`: 5,
		``: 5,
	} {
		if got := c.readReport("5", body); len(got) != want {
			t.Errorf("%s: %d lines", body, len(got))
		}
	}
	if got := c.readReport("7", `{}`); len(got) != 6 || got[5]["Status"] != "pending" {
		t.Errorf("report 7: %v", got)
	}
}

func TestReportIsNotReadyAtOnce(t *testing.T) {
	c, _ := start(t, awardco.Settings{ReportPolls: 2})
	task := decode[status](t, c.want(200, "POST", "/v2/reports/5", `{}`)).TaskID
	path := fmt.Sprintf("/v2/reports/tasks/%d", task)
	for _, want := range []string{"in progress", "in progress", "completed"} {
		if want == "in progress" {
			c.want(404, "GET", path+"/pages?page=1", "")
		}
		if got := decode[status](t, c.want(200, "GET", path+"/status", "")); got.Status != want || got.TaskID != task {
			t.Errorf("%+v, want %s", got, want)
		}
	}
	c.want(200, "GET", path+"/pages?page=1", "")
	c.want(404, "GET", "/v2/reports/tasks/99/status", "")
	c.want(404, "POST", "/v2/reports/99", `{}`)
	c.want(400, "POST", "/v2/reports/5", `{"startDate":"yesterday"}`)
}

func TestUsersAreReadPageByPage(t *testing.T) {
	c, _ := start(t, awardco.Settings{})
	type users struct {
		Total int
		Users []map[string]any
	}
	got := decode[users](t, c.want(200, "GET", "/users?page=1&limit=1", ""))
	if got.Total != 2 || len(got.Users) != 1 || got.Users[0]["employeeId"] != "E1001" || got.Users[0]["email"] != "ada@example.org" || got.Users[0]["currencyCode"] != "EUR" || got.Users[0]["updated_at"] == "" {
		t.Errorf("%+v", got)
	}
	if got := decode[users](t, c.want(200, "GET", "/users?updatedSince=2100-01-01T00:00:00Z", "")); got.Total != 0 {
		t.Errorf("%+v", got)
	}
	c.want(400, "GET", "/users?updatedSince=today", "")
}

func TestUnknownAddressesAndMethodsAreNotServed(t *testing.T) {
	c, _ := start(t, awardco.Settings{})
	c.want(404, "POST", "/reward", `{}`)
	c.want(405, "GET", "/recognize", "")
}

func TestBooksOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	s, st := open(t, dir, awardco.Settings{ReportPolls: -1})
	c := connect(t, s)
	c.want(200, "POST", "/recognize", contractRecognition)
	task := decode[status](t, c.want(200, "POST", "/v2/reports/5", `{}`)).TaskID
	before := s.Books()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	s, st = open(t, dir, awardco.Settings{ReportPolls: -1})
	t.Cleanup(func() { _ = st.Close() })
	after := s.Books()
	if fmt.Sprint(after.Recognitions, after.Budgets, after.Calls) != fmt.Sprint(before.Recognitions, before.Budgets, before.Calls) || after.Users[0].Balance != 25 {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	c = connect(t, s)
	if got := decode[status](t, c.want(200, "GET", fmt.Sprintf("/v2/reports/tasks/%d/status", task), "")); got.Status != "completed" {
		t.Errorf("%+v", got)
	}
	if next := decode[answer](t, c.want(200, "POST", "/recognize", contractRecognition)); next.RecognitionID == before.Recognitions[0].ID {
		t.Error("an id was given twice")
	}
}
