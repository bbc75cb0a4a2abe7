package salescloud_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
	"github.com/closeloop/closeloop/services/landscape/internal/salescloud"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

const service = "/sap/c4c/odata/v1/c4codataapi/"

// contractTask is the request of sap-sales-cloud.md, "What to build on".
const contractTask = `{"Subject":"Cart 00001234: delivery too late [R_0001]","Status":"1","PriorityCode":"2",
 "MainAccountPartyID":"1000123","MainContactPartyID":"1000456","ProcessorPartyID":"8000001","MainEmployeeResponsiblePartyID":"8000001",
 "DueDateTime":"2026-07-27T16:00:00Z","DueDatetimeZoneCode":"UTC",
 "TasksTextCollection":[{"TypeCode":"10002","LanguageCode":"EN","Text":"Reason: delivery too late. Response R_0001."}]}`

func open(t *testing.T, dir string, settings salescloud.Settings) (*salescloud.Simulator, *store.Store) {
	t.Helper()
	st, err := store.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := salescloud.New(st, settings, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		s.AddAccount(salescloud.Account{ID: "1000123", Name: "Example Ltd", Email: "office@example.com", ExternalID: "B2B-1", ExternalSystem: "SHOP"}),
		s.AddAccount(salescloud.Account{ID: "1000777", Name: "Ada Example", Person: true}),
		s.AddContact(salescloud.Contact{ID: "1000456", AccountID: "1000123", Name: "Grace Example", Email: "grace@example.com"}),
		s.AddEmployee(salescloud.Employee{ID: "8000001", EmployeeID: "E1", UserID: "ADMIN01", Name: "Rep Example", Email: "rep@example.com"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s, st
}

type client struct {
	t     *testing.T
	base  string
	http  *http.Client
	token string
}

func connect(t *testing.T, s *salescloud.Simulator) *client {
	t.Helper()
	server := httptest.NewServer(s.API())
	t.Cleanup(server.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, base: server.URL + service, http: &http.Client{Jar: jar}, token: "fetch"}
	_, header, _ := c.call("GET", "", "")
	c.token = header.Get("x-csrf-token")
	return c
}

func start(t *testing.T, settings salescloud.Settings) (*client, *salescloud.Simulator) {
	t.Helper()
	s, _ := open(t, "", settings)
	return connect(t, s), s
}

func (c *client) call(method, path, body string, header ...string) (int, http.Header, string) {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.SetBasicAuth("simulator", "simulator")
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("x-csrf-token", c.token)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := c.http.Do(r)
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

func (c *client) want(status int, method, path, body string, header ...string) string {
	c.t.Helper()
	got, _, text := c.call(method, path, body, header...)
	if got != status {
		c.t.Errorf("%s %s %s: status %d, want %d: %s", method, path, body, got, status, text)
	}
	return text
}

// create makes a task and gives what stands under d.results.
func (c *client) create(body string) map[string]any {
	c.t.Helper()
	var answer struct {
		D struct{ Results map[string]any }
	}
	if err := json.Unmarshal([]byte(c.want(201, "POST", "TasksCollection", body)), &answer); err != nil {
		c.t.Fatal(err)
	}
	return answer.D.Results
}

type list struct {
	D struct {
		Count   string `json:"__count"`
		Next    string `json:"__next"`
		Results []map[string]any
	}
}

func (c *client) read(path string) list {
	c.t.Helper()
	var l list
	if err := json.Unmarshal([]byte(c.want(200, "GET", path, "")), &l); err != nil {
		c.t.Fatal(err)
	}
	return l
}

func filter(text string) string { return "?$filter=" + url.PathEscape(text) }

func TestTaskOfTheContractIsCreated(t *testing.T) {
	c, s := start(t, salescloud.Settings{})
	status, header, body := c.call("POST", "TasksCollection", contractTask)
	if status != 201 {
		t.Fatalf("%d %s", status, body)
	}
	var answer struct {
		D struct {
			Results struct {
				Metadata                              struct{ URI, Type, ETag string } `json:"__metadata"`
				ObjectID, ID, DueDateTime, StatusText string
				TasksTextCollection                   struct {
					Deferred struct{ URI string } `json:"__deferred"`
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatalf("not an object under d.results: %s", body)
	}
	got := answer.D.Results
	address := c.base + "TasksCollection('" + got.ObjectID + "')"
	if len(got.ObjectID) != 32 || strings.ToUpper(got.ObjectID) != got.ObjectID || got.ID == "" || got.DueDateTime != "/Date(1785168000000+0000)/" || got.StatusText != "Open" {
		t.Errorf("%+v", got)
	}
	if header.Get("Location") != address || got.Metadata.URI != address || got.Metadata.Type != "c4codata.Tasks" {
		t.Errorf("address: %s, %s", header.Get("Location"), got.Metadata.URI)
	}
	if etag := header.Get("ETag"); !strings.HasPrefix(etag, `W/"datetimeoffset'`) || etag != got.Metadata.ETag || strings.Contains(etag, ":") {
		t.Errorf("etag: %s", etag)
	}
	if got.TasksTextCollection.Deferred.URI != address+"/TasksTextCollection" {
		t.Errorf("texts are not deferred: %s", body)
	}
	task := s.Books().Tasks[0]
	if task.ObjectID != got.ObjectID || task.Priority != "2" || task.OwnerID != "8000001" || len(task.Texts) != 1 || !task.DueAt.Equal(time.Date(2026, 7, 27, 16, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", task)
	}
	if task.Fields["Account"] != "Example Ltd" || task.Fields["Processor"] != "Rep Example" || task.Fields["PrimaryContact"] != "Grace Example" {
		t.Errorf("names of the parties: %v", task.Fields)
	}
}

func TestTextsAreReadAgainByObjectID(t *testing.T) {
	c, _ := start(t, salescloud.Settings{})
	task := c.create(contractTask)
	key := fmt.Sprintf("TasksCollection('%s')", task["ObjectID"])
	if got := c.read(key + "/TasksTextCollection").D.Results; len(got) != 1 || got[0]["Text"] != "Reason: delivery too late. Response R_0001." || got[0]["TypeCodeText"] != "Body Text" {
		t.Errorf("by navigation: %v", got)
	}
	if got := c.want(200, "GET", key+"?$expand=TasksTextCollection", ""); !strings.Contains(got, `{"d":{"results":{`) || !strings.Contains(got, `"TasksTextCollection":{"results":[{`) {
		t.Errorf("expanded: %s", got)
	}
	if got := c.read("TasksTextCollectionCollection" + filter(fmt.Sprintf("ParentObjectID eq '%s'", task["ObjectID"]))).D.Results; len(got) != 1 || got[0]["TaskID"] != task["ID"] {
		t.Errorf("by set: %v", got)
	}
}

func TestTextIsAddedByObjectIDOrByNumber(t *testing.T) {
	c, s := start(t, salescloud.Settings{})
	task := c.create(contractTask)
	before := s.Books().Tasks[0].Fields["ETag"]
	c.want(201, "POST", "TasksTextCollectionCollection", fmt.Sprintf(`{"ParentObjectID":%q,"TypeCode":"10002","LanguageCode":"EN","Text":"Second note"}`, task["ObjectID"]))
	c.want(201, "POST", "TasksTextCollectionCollection", fmt.Sprintf(`{"TaskID":%q,"TypeCode":"10002","Text":"Third note"}`, task["ID"]))
	c.want(201, "POST", fmt.Sprintf("TasksCollection('%s')/TasksTextCollection", task["ObjectID"]), `{"Text":"Fourth note"}`)
	got := s.Books().Tasks[0]
	if fmt.Sprint(got.Texts[1:]) != "[Second note Third note Fourth note]" || got.Fields["ETag"] == before {
		t.Errorf("%+v", got)
	}
	c.want(400, "POST", "TasksTextCollectionCollection", `{"Text":"lost"}`)
	c.want(400, "POST", "TasksTextCollectionCollection", `{"TaskID":"1","Text":"lost"}`)
	c.want(400, "POST", "TasksTextCollectionCollection", fmt.Sprintf(`{"TaskID":%q,"TypeCode":"1","Text":"unknown type"}`, task["ID"]))
	c.want(400, "POST", "TasksTextCollectionCollection", fmt.Sprintf(`{"TaskID":%q,"CreatedBy":"ME","Text":"read-only"}`, task["ID"]))
}

func TestTextIsChangedAndDeleted(t *testing.T) {
	c, s := start(t, salescloud.Settings{})
	c.create(contractTask)
	before := s.Books().Tasks[0].Fields["ETag"]
	key := fmt.Sprintf("TasksTextCollectionCollection('%s')", c.read("TasksTextCollectionCollection").D.Results[0]["ObjectID"])
	c.want(204, "PATCH", key, `{"Text":"Changed"}`)
	if got := s.Books().Tasks[0]; fmt.Sprint(got.Texts) != "[Changed]" || got.Fields["ETag"] == before {
		t.Errorf("%+v", got)
	}
	c.want(400, "PATCH", key, `{"TaskID":"1"}`)
	c.want(204, "DELETE", key, "")
	c.want(404, "GET", key, "")
	if got := s.Books().Tasks[0].Texts; len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestWritesThatTheFieldTableForbidsAreRefused(t *testing.T) {
	c, s := start(t, salescloud.Settings{})
	for _, field := range []string{
		`"ID":"40211"`,
		`"UUID":"0a1b2c3d-0000-4000-8000-000000000001"`,
		`"StatusText":"Open"`,
		`"Account":"Example Ltd"`,
		`"ReportedDateTime":"2026-07-27T16:00:00Z"`,
		`"ETag":"2026-07-27T16:00:00Z"`,
		`"ExternalID":"R_1"`,
		`"CompletionDatetimeZoneCode":"UTC"`,
		`"DueDateTimeZoneCode":"UTC"`,
		`"YY1_Response_KUT":"R_1"`,
		`"Subject":"` + strings.Repeat("x", 766) + `"`,
		`"PriorityCode":2`,
		`"PriorityCode":"02"`,
		`"PriorityCode":"5"`,
		`"Status":"9"`,
		`"DocumentType":"0001"`,
		`"DueDatetimeZoneCode":"MARS"`,
		`"CompletionPercent":50`,
		`"CompletionPercent":"1000.00"`,
		`"DueDateTime":"tomorrow"`,
		`"MainAccountPartyID":"999"`,
		`"MainContactPartyID":"1000123"`,
		`"ProcessorPartyID":"1000456"`,
		`"TasksTextCollection":[{"Text":5}]`,
		`"TasksTextCollection":[{"Txt":"a"}]`,
		`"TasksTextCollection":[{"LanguageCode":"ENG"}]`,
		`"TasksAttachmentFolder":[{"Name":"a"}]`,
	} {
		c.want(400, "POST", "TasksCollection", "{"+field+"}")
	}
	if got := s.Books().Tasks; len(got) != 0 {
		t.Errorf("%d tasks from refused calls", len(got))
	}
}

func TestObjectIDOfTheCallerIsIgnored(t *testing.T) {
	c, _ := start(t, salescloud.Settings{})
	if got := c.create(`{"ObjectID":"MINE","Subject":"a"}`)["ObjectID"]; got == "MINE" {
		t.Error("the caller's ObjectID was taken")
	}
}

func TestSwitchesOfTheTenant(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings salescloud.Settings
		body     string
		want     int
	}{
		{"priority 5", salescloud.Settings{CodeLists: map[string][]salescloud.Code{"TasksPriorityCodeCollection": {{Code: "5"}, {Code: "3"}}}}, `{"PriorityCode":"5"}`, 201},
		{"any document type", salescloud.Settings{CodeLists: map[string][]salescloud.Code{"TasksDocumentTypeCollection": nil}}, `{"DocumentType":"Z001"}`, 201},
		{"unknown parties", salescloud.Settings{AcceptUnknownParties: true}, `{"MainAccountPartyID":"999"}`, 201},
		{"no inline texts", salescloud.Settings{RefuseInlineTexts: true}, contractTask, 400},
		{"extension field", salescloud.Settings{ExtensionFields: []salescloud.ExtensionField{{"ResponseID_KUT", 40}}}, `{"ResponseID_KUT":"R_1"}`, 201},
		{"extension field too long", salescloud.Settings{ExtensionFields: []salescloud.ExtensionField{{"ResponseID_KUT", 2}}}, `{"ResponseID_KUT":"R_1"}`, 400},
		{"individual customer", salescloud.Settings{}, `{"MainAccountPartyID":"1000777"}`, 201},
		{"task without account", salescloud.Settings{NeedAccount: true}, `{"Subject":"a"}`, 400},
		{"task with account", salescloud.Settings{NeedAccount: true}, `{"MainAccountPartyID":"1000123"}`, 201},
		{"/Date()/ only", salescloud.Settings{Dates: odatasim.EpochDatesOnly}, contractTask, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, _ := start(t, c.settings)
			client.want(c.want, "POST", "TasksCollection", c.body)
		})
	}
}

func TestRefusalOfAnUnknownPartySaysAsMuchAsItsSwitch(t *testing.T) {
	for words, want := range map[salescloud.PartyWords]string{
		salescloud.WordsField: "MainAccountPartyID", salescloud.WordsID: "Business partner 999 ", salescloud.WordsNothing: "Business partner does not exist",
	} {
		c, _ := start(t, salescloud.Settings{PartyWords: words})
		if got := c.want(400, "POST", "TasksCollection", `{"MainAccountPartyID":"999"}`); !strings.Contains(got, want) {
			t.Errorf("%q: %s", words, got)
		}
	}
}

func TestSetThatTheTenantDoesNotHaveIsNotFound(t *testing.T) {
	c, _ := start(t, salescloud.Settings{MissingSets: []string{"TasksPriorityCodeCollection"}})
	c.want(404, "GET", "TasksPriorityCodeCollection", "")
	c.want(200, "GET", "TasksStatusCollection", "")
}

func TestCallsAboveTheRateAreRefusedUntilTheNextSecond(t *testing.T) {
	now := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	c, _ := start(t, salescloud.Settings{PerSecond: 2, NoCSRF: true, Now: func() time.Time { return now }}) // connecting was the first
	c.want(200, "GET", "TasksCollection", "")
	c.want(429, "GET", "TasksCollection", "")
	now = now.Add(time.Second)
	c.want(200, "GET", "TasksCollection", "")
}

func TestSettingsAreChangedByText(t *testing.T) {
	s, err := salescloud.Settings{Username: "kept"}.With([]byte(`{lockStatus: 500, dates: epoch, extensionFields: [{name: ResponseID_KUT, maxLength: 40}], codeLists: {TasksPriorityCodeCollection: [{code: "5"}]}}`))
	if err != nil || s.Username != "kept" || s.LockStatus != 500 || s.Dates != odatasim.EpochDatesOnly || s.ExtensionFields[0].MaxLength != 40 || s.CodeLists["TasksPriorityCodeCollection"][0].Code != "5" {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := (salescloud.Settings{Username: "kept"}).With(nil); err != nil || s.Username != "kept" {
		t.Errorf("nothing changed: %+v, %v", s, err)
	}
	for _, wrong := range []string{"{lockStat: 1}", "{dates: us}", "{partyWords: all}", "{errorBody: pdf}", "["} {
		if _, err := (salescloud.Settings{}).With([]byte(wrong)); err == nil {
			t.Errorf("%s is taken", wrong)
		}
	}
}

func TestPartiesHaveAUUIDInVersion2(t *testing.T) {
	_, s := start(t, salescloud.Settings{})
	for id, has := range map[string]func(string) bool{"1000123": s.HasAccount, "1000777": s.HasAccount, "1000456": s.HasContact, "8000001": s.HasEmployee} {
		if uuid := s.UUID(id); len(uuid) != 36 || !has(uuid) {
			t.Errorf("%s is %q", id, uuid)
		}
	}
	if s.UUID("999") != "" || s.HasAccount(s.UUID("1000456")) {
		t.Error("somebody has a UUID who should not")
	}
}

func TestExtensionFieldFindsTheTask(t *testing.T) {
	c, _ := start(t, salescloud.Settings{ExtensionFields: []salescloud.ExtensionField{{"ResponseID_KUT", 40}}})
	c.create(`{"Subject":"a","ResponseID_KUT":"R_1"}`)
	c.create(`{"Subject":"b","ResponseID_KUT":"R_2"}`)
	if got := c.read("TasksCollection" + filter("ResponseID_KUT eq 'R_2'")).D.Results; len(got) != 1 || got[0]["Subject"] != "b" {
		t.Errorf("%v", got)
	}
	if got := c.want(200, "GET", "$metadata", ""); !strings.Contains(got, `Name="ResponseID_KUT"`) || !strings.Contains(got, `c4c:extension-field="true"`) {
		t.Error("$metadata does not name the extension field")
	}
}

func TestStarInAFilterIsAWildcard(t *testing.T) {
	c, _ := start(t, salescloud.Settings{})
	c.create(`{"Subject":"Cart 1: delivery too late [R_0001]"}`)
	c.create(`{"Subject":"Cart 2: delivery too late [R_0002]"}`)
	for text, want := range map[string]int{
		"Subject eq 'Cart 1: delivery too late [R_0001]'":            1,
		"Subject eq '*[R_0001]'":                                     1,
		"Subject eq '*late*'":                                        2,
		"Subject eq '*'":                                             2,
		"Subject eq 'Cart'":                                          0,
		"endswith(Subject,'[R_0002]')":                               1,
		"startswith(Subject,'Cart') and Status eq '1'":               2,
		"Subject eq '*1]' or Subject eq '*2]'":                       2,
		"LastChangeDateTime ge datetimeoffset'2020-01-01T00:00:00Z'": 2,
	} {
		if got := c.read("TasksCollection" + filter(text)).D.Results; len(got) != want {
			t.Errorf("%s: %d found", text, len(got))
		}
	}
	for _, text := range []string{
		"Subject eq 'a' or Status eq '1'", "ETag ge datetimeoffset'2020-01-01T00:00:00Z'", "EntityLastChangedOn ge datetimeoffset'2020-01-01T00:00:00Z'",
		"substringof('late',Subject)", "Subject ne 'a'", "TasksTextCollection/Text eq 'a'",
	} {
		c.want(400, "GET", "TasksCollection"+filter(text), "")
	}
}

func TestListsComeInPagesOf1000Or100WhenExpanded(t *testing.T) {
	st, err := store.Open("")
	if err != nil {
		t.Fatal(err)
	}
	s, err := salescloud.New(st, salescloud.Settings{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for n := range 1001 {
		if err := s.AddContact(salescloud.Contact{ID: fmt.Sprint(n)}); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, s)
	first := c.read("ContactCollection?$inlinecount=allpages&$select=ContactID")
	if len(first.D.Results) != 1000 || first.D.Count != "1001" || !strings.Contains(first.D.Next, "$skiptoken=") {
		t.Fatalf("%d rows, next %s", len(first.D.Results), first.D.Next)
	}
	if second := c.read(strings.TrimPrefix(first.D.Next, c.base)); len(second.D.Results) != 1 || second.D.Next != "" || second.D.Results[0]["ContactID"] != "1000" {
		t.Errorf("second page: %v", second.D.Results)
	}
	for range 101 {
		c.create(`{"Subject":"a"}`)
	}
	if got := c.read("TasksCollection?$expand=TasksTextCollection&$select=ID,TasksTextCollection"); len(got.D.Results) != 100 || got.D.Next == "" {
		t.Errorf("%d expanded rows", len(got.D.Results))
	}
	if got := c.want(200, "GET", "TasksCollection/$count", ""); got != "101" {
		t.Errorf("$count: %s", got)
	}
	if got := c.read("TasksCollection?$top=2&$skip=100"); len(got.D.Results) != 1 {
		t.Errorf("$skip=100: %d rows", len(got.D.Results))
	}
}

func TestIfMatchGuardsAChange(t *testing.T) {
	now := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	c, s := start(t, salescloud.Settings{Now: func() time.Time { return now }}) // the etag changes even if the clock does not
	_, header, body := c.call("POST", "TasksCollection", contractTask)
	var created struct {
		D struct{ Results struct{ ObjectID, ID string } }
	}
	if err := json.Unmarshal([]byte(body), &created); err != nil {
		t.Fatal(err)
	}
	key, etag := "TasksCollection('"+created.D.Results.ObjectID+"')", header.Get("ETag")
	c.want(204, "PATCH", key, `{"Status":"2"}`, "If-Match", etag)
	c.want(412, "PATCH", key, `{"Status":"3"}`, "If-Match", etag)
	if got := s.Books().Tasks[0]; got.Status != "2" || got.Subject == "" || got.Fields["StatusText"] != "In Process" {
		t.Errorf("after PATCH: %+v", got)
	}
	_, header, _ = c.call("GET", key, "")
	c.want(204, "PATCH", key, `{"Status":"3","StatusText":"ignored","ID":"`+created.D.Results.ID+`"}`, "If-Match", header.Get("ETag"))
	c.want(400, "PATCH", key, `{"ID":"1"}`)
	c.want(400, "PATCH", key, `{"PriorityCode":"5"}`)
	c.want(204, "PUT", key, `{"Status":"4"}`)
	if got := s.Books().Tasks[0]; got.Subject != "" || got.ID != created.D.Results.ID || len(got.Texts) != 1 {
		t.Errorf("PUT overwrites what can be changed, and nothing else: %+v", got)
	}
	c.want(204, "DELETE", key, "")
	c.want(404, "GET", key, "")
}

func TestBusinessPartnersAreFound(t *testing.T) {
	c, _ := start(t, salescloud.Settings{})
	for path, want := range map[string]string{
		"CorporateAccountCollection" + filter("ExternalID eq 'B2B-1' and ExternalSystem eq 'SHOP'"): "AccountID 1000123",
		"IndividualCustomerCollection":                               "CustomerID 1000777",
		"ContactCollection" + filter("Email eq 'grace@example.com'"): "ContactID 1000456",
		"EmployeeCollection" + filter("UserID eq '*ADMIN*'"):         "BusinessPartnerID 8000001",
	} {
		field, id, _ := strings.Cut(want, " ")
		got := c.read(path).D.Results
		if len(got) != 1 || got[0][field] != id {
			t.Errorf("%s: %v", path, got)
		}
	}
	c.want(405, "POST", "ContactCollection", `{}`)
}

func TestCodeListsAreRead(t *testing.T) {
	c, _ := start(t, salescloud.Settings{})
	var codes []string
	for _, row := range c.read("TasksPriorityCodeCollection").D.Results {
		codes = append(codes, row["Code"].(string))
	}
	if fmt.Sprint(codes) != "[1 2 3 7]" {
		t.Errorf("priorities: %v", codes)
	}
	c.want(400, "GET", "TasksPriorityCodeCollection"+filter("Code eq '1'"), "")
	c.want(200, "GET", "TasksCategoryCollection"+filter("Context eq '0006'"), "")
	c.want(404, "GET", "TasksTextCollectionTypeCodeCollection", "")
}

func TestWithoutJSONAskedTheAnswerIsAtom(t *testing.T) {
	c, _ := start(t, salescloud.Settings{})
	_, header, body := c.call("POST", "TasksCollection", contractTask, "Accept", "*/*")
	if !strings.HasPrefix(header.Get("Content-Type"), "application/atom+xml") || !strings.Contains(body, "<d:PriorityCode>2</d:PriorityCode>") {
		t.Errorf("%s %s", header.Get("Content-Type"), body)
	}
}

func TestHeadersOfC4CAreHonoured(t *testing.T) {
	c, _ := start(t, salescloud.Settings{})
	status, header, body := c.call("POST", "TasksCollection", contractTask, "odata-no-response-payload", "true")
	if status != 201 || body != "" || header.Get("Location") == "" {
		t.Errorf("%d %q", status, body)
	}
	if got := c.want(200, "GET", "TasksCollection", "", "odata-no-codedescs", "true"); strings.Contains(got, "StatusText") || !strings.Contains(got, "Status") {
		t.Error(got)
	}
}

func TestTokenIsNeededUnlessSwitchedOff(t *testing.T) {
	c, s := start(t, salescloud.Settings{})
	s.ExpireSessions()
	status, header, body := c.call("POST", "TasksCollection", contractTask)
	if status != 403 || header.Get("x-csrf-token") != "" || body != "CSRF token validation failed" {
		t.Errorf("%d %s", status, body)
	}
	off, _ := start(t, salescloud.Settings{NoCSRF: true})
	if off.token != "" {
		t.Error("a token was given though none is needed")
	}
	off.create(contractTask)
}

func TestLockedRecordIsRefusedOnDemand(t *testing.T) {
	for status, want := range map[int]int{0: 409, 500: 500} {
		c, s := start(t, salescloud.Settings{LockStatus: status})
		s.LockNext(1)
		if got := c.want(want, "POST", "TasksCollection", contractTask); !strings.Contains(got, "ecord locked by user") {
			t.Error(got)
		}
		c.create(contractTask)
	}
}

func TestCallAboveTheLimitIsRefused(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	blocked := make(chan bool, 1)
	c, s := start(t, salescloud.Settings{MaxParallel: 1, Now: func() time.Time {
		select {
		case <-blocked: // one call waits for the time
			close(arrived)
			<-release
		default:
		}
		return time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	}, NoCSRF: true, AcceptUnknownParties: true})
	blocked <- true
	done := make(chan int)
	go func() {
		status, _, _ := c.call("POST", "TasksCollection", contractTask)
		done <- status
	}()
	<-arrived
	c.want(429, "GET", "TasksCollection", "")
	close(release)
	if status := <-done; status != 201 {
		t.Errorf("the first call: %d", status)
	}
	c.want(200, "GET", "TasksCollection", "")
	if got := s.Books().PeakParallel; got != 2 {
		t.Errorf("peak: %d", got)
	}
}

func TestBatchCreatesTasksTogetherOrNotAtAll(t *testing.T) {
	batch := func(bodies ...string) string {
		s := "--b\nContent-Type: multipart/mixed; boundary=c\n\n"
		for _, body := range bodies {
			s += "--c\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\nPOST TasksCollection HTTP/1.1\nContent-Type: application/json\nAccept: application/json\n\n" + body + "\n"
		}
		return strings.ReplaceAll(s+"--c--\n\n--b--\n", "\n", "\r\n")
	}
	c, s := start(t, salescloud.Settings{})
	got := c.want(202, "POST", "$batch", batch(`{"Subject":"a"}`, `{"Subject":"b"}`), "Content-Type", "multipart/mixed; boundary=b")
	if strings.Count(got, "HTTP/1.1 201 Created") != 2 || len(s.Books().Tasks) != 2 {
		t.Error(got)
	}
	got = c.want(202, "POST", "$batch", batch(`{"Subject":"c"}`, `{"ID":"1"}`), "Content-Type", "multipart/mixed; boundary=b")
	if strings.Count(got, "HTTP/1.1 400 Bad Request") != 1 || len(s.Books().Tasks) != 2 {
		t.Error(got)
	}
}

func TestBooksOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	s, st := open(t, dir, salescloud.Settings{})
	connect(t, s).create(contractTask)
	before := s.Books()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	s, st = open(t, dir, salescloud.Settings{})
	t.Cleanup(func() { _ = st.Close() })
	after := s.Books()
	if fmt.Sprint(after.Tasks, after.Accounts, after.Contacts, after.Employees, after.Calls) != fmt.Sprint(before.Tasks, before.Accounts, before.Contacts, before.Employees, before.Calls) {
		t.Errorf("before %+v\nafter %+v", before, after)
	}
	if next := connect(t, s).create(contractTask); next["ID"] == after.Tasks[0].ID {
		t.Error("a number was given twice")
	}
}
