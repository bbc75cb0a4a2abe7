package landscape_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// send makes a call and gives the status and the body of its answer.
func (r *running) send(t *testing.T, method, path, body string, header ...string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for pair := range slices.Chunk(header, 2) {
		request.Header.Set(pair[0], pair[1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// whoami calls Qualtrics so many times, and gives the statuses.
func (r *running) whoami(t *testing.T, times int) (statuses []int) {
	t.Helper()
	for range times {
		status, _ := r.send(t, "GET", "/API/v3/whoami", "", "X-API-TOKEN", "simulated-token")
		statuses = append(statuses, status)
	}
	return statuses
}

// counted reads what the vendors were called for.
func (r *running) counted(t *testing.T) (all struct {
	landscape.Calls
	QualtricsLimits []struct {
		Group                           string
		Calls, Admitted, Refused, Early int
		Refusals                        []struct{ Operation string }
	}
}) {
	t.Helper()
	status, body := r.send(t, "GET", "/landscape/calls", "")
	if err := json.Unmarshal([]byte(body), &all); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	return all
}

func TestCallsAreCountedByVendorAndOperation(t *testing.T) {
	r := start(t, newCloseloop(t), func(s *landscape.Settings) {
		s.People, s.QualtricsSwitches = "off", `{limits: {enforced: true, kind: sliding, calls: {whoami: 2}}}`
	})
	if got := r.whoami(t, 4); !slices.Equal(got, []int{200, 200, 429, 429}) {
		t.Fatalf("got %v", got)
	}
	r.send(t, "POST", "/landscape/faults", `{"vendor":"awardco","kind":"lost-answer","times":1}`)
	if response, err := http.Post(r.url+"/api/recognize", "application/json", strings.NewReader("{}")); err == nil {
		t.Errorf("got an answer: %d", response.StatusCode)
		_ = response.Body.Close()
	}
	r.send(t, "POST", "/oauth2/token", url.Values{"grant_type": {"client_credentials"}}.Encode(),
		"Content-Type", "application/x-www-form-urlencoded")
	r.send(t, "GET", "/API/v3/distributions/EMD_0/links?surveyId=SV_cart", "", "X-API-TOKEN", "other")
	r.send(t, "GET", "/sap/c4c/odata/v1/c4codataapi/TasksCollection('00163E')", "")
	r.send(t, "GET", "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV/Interactions?$top=1", "")
	r.send(t, "GET", "/api/users", "")
	var got []string
	for _, o := range r.counted(t).Calls.Calls {
		got = append(got, fmt.Sprint(o.Vendor, ": ", o.Operation, " ", o.Calls, " ", o.Statuses, " ", len(o.Throttled)))
	}
	want := []string{
		"awardco: GET /users 1 map[401:1] 0",
		"awardco: POST /recognize 1 map[0:1] 0",
		"qualtrics: GET /distributions/{e}/links 1 map[401:1] 0",
		"qualtrics: GET /whoami 4 map[200:2 429:2] 2",
		"qualtrics: POST /oauth2/token 1 map[401:1] 0",
		"sap-marketing: GET /API_MKT_INTERACTION_SRV/Interactions 1 map[401:1] 0",
		"sap-sales-cloud: GET /v1/c4codataapi/TasksCollection() 1 map[401:1] 0",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %s\nwant %s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := r.Calls().Total(landscape.Qualtrics); n != 6 {
		t.Errorf("%d calls of Qualtrics", n)
	}
	limits := r.counted(t).QualtricsLimits
	if len(limits) != 2 || limits[1].Group != "whoami" || limits[1].Calls != 2 || limits[1].Admitted != 2 || limits[1].Refused != 2 ||
		limits[1].Early != 1 || limits[1].Refusals[1].Operation != "GET /whoami" {
		t.Errorf("got %+v", limits)
	}

	if status, _ := r.send(t, "DELETE", "/landscape/calls", ""); status != http.StatusNoContent {
		t.Errorf("got %d", status)
	}
	if all := r.counted(t); len(all.Calls.Calls) != 0 || all.QualtricsLimits[1].Refused != 0 || len(r.Books().Qualtrics.Calls) != 0 {
		t.Errorf("not forgotten: %+v", all)
	}
	if got := r.whoami(t, 1); got[0] != 429 {
		t.Errorf("what was used up of the limit was forgotten too: %v", got)
	}
}

func TestQualtricsIsSwitchedWhileItRuns(t *testing.T) {
	r := start(t, newCloseloop(t), func(s *landscape.Settings) {
		s.People, s.QualtricsSwitches = "off", `{"errorRate": 1}`
	})
	const switches = "/landscape/qualtrics/switches"
	if got := r.whoami(t, 1); got[0] != 500 {
		t.Errorf("as set: %v", got)
	}
	for change, want := range map[string]int{`{"errorRate": 0, "tokenRevoked": true}`: 200, `{"errorRates": 0}`: 400, `{"seed": -1}`: 400} {
		if status, body := r.send(t, "PATCH", switches, change); status != want {
			t.Errorf("%s: %d %s", change, status, body)
		}
	}
	if got := r.whoami(t, 1); got[0] != 401 {
		t.Errorf("as switched: %v", got)
	}
	_, body := r.send(t, "GET", switches, "")
	var shown map[string]any
	if err := json.Unmarshal([]byte(body), &shown); err != nil || shown["tokenRevoked"] != true || shown["serverTimeout"] != "5s" {
		t.Errorf("got %s %v", body, err)
	}
	if status, _ := r.send(t, "DELETE", switches, ""); status != http.StatusNoContent {
		t.Errorf("got %d", status)
	}
	if got := r.whoami(t, 1); got[0] != 500 {
		t.Errorf("as set again: %v", got)
	}
	if err := r.SwitchQualtrics("errorRate: 0"); err != nil {
		t.Fatal(err)
	}
	if got := r.whoami(t, 1); got[0] != 200 {
		t.Errorf("as switched by a test: %v", got)
	}
}

func TestAccessTokensAreRevokedOnRequest(t *testing.T) {
	r := start(t, newCloseloop(t), func(s *landscape.Settings) { s.People, s.QualtricsClientID = "off", "mine" })
	request, err := http.NewRequestWithContext(t.Context(), "POST", r.url+"/oauth2/token", strings.NewReader("grant_type=client_credentials"))
	if err != nil {
		t.Fatal(err)
	}
	request.SetBasicAuth("mine", "simulated-secret")
	_, body := r.send(t, "POST", "/oauth2/token", "grant_type=client_credentials",
		"Authorization", request.Header.Get("Authorization"), "Content-Type", "application/x-www-form-urlencoded")
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal([]byte(body), &token); err != nil || token.AccessToken == "" {
		t.Fatal(body, err)
	}
	for _, want := range []int{200, 401} {
		if status, _ := r.send(t, "GET", "/API/v3/whoami", "", "Authorization", "Bearer "+token.AccessToken); status != want {
			t.Errorf("got %d, want %d", status, want)
		}
		r.send(t, "DELETE", "/landscape/qualtrics/tokens", "")
	}
}

func TestTheDirectoryKnowsPeopleByTheRulesOfTheSettings(t *testing.T) {
	for rules, want := range map[string]int{"externalDataReference": 2, "email": 1, "externalDataReference;email+lastName": 1, "off": 2} {
		r := start(t, newCloseloop(t), func(s *landscape.Settings) { s.People, s.QualtricsDedupe = "off", rules })
		for _, reference := range []string{"P-1", "P-2"} {
			if status, body := r.send(t, "POST", "/API/v3/directories/POOL_simulated/mailinglists/CG_simulated/contacts",
				`{"extRef":"`+reference+`","email":"a@example.org","lastName":"N"}`,
				"X-API-TOKEN", "simulated-token", "Content-Type", "application/json"); status != 200 {
				t.Fatal(status, body)
			}
		}
		if got := len(r.Books().Qualtrics.Contacts); got != want {
			t.Errorf("%s: %d contacts", rules, got)
		}
	}
}

// TestREADMENamesTheSwitches keeps the README's list of switches whole.
func TestREADMENamesTheSwitches(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, newCloseloop(t), func(s *landscape.Settings) { s.People = "off" })
	_, body := r.send(t, "GET", "/landscape/qualtrics/switches", "")
	var shown map[string]json.RawMessage
	if err := json.Unmarshal([]byte(body), &shown); err != nil {
		t.Fatal(err)
	}
	var limits map[string]json.RawMessage
	if err := json.Unmarshal(shown["limits"], &limits); err != nil {
		t.Fatal(err)
	}
	for name := range limits {
		shown["limits."+name] = nil
	}
	for name := range shown {
		if !regexp.MustCompile("`" + regexp.QuoteMeta(name) + "`").Match(readme) {
			t.Errorf("the README does not name %s", name)
		}
	}
}
