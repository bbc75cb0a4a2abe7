package odatasim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

var thing = &odatasim.EntityType{
	Name: "Thing",
	Properties: []odatasim.Property{
		{Name: "ID", Type: odatasim.Guid, Key: true},
		{Name: "Name", Type: odatasim.String, MaxLength: 10},
		{Name: "Kind", Type: odatasim.String},
		{Name: "At", Type: odatasim.DateTimeOffset},
		{Name: "Local", Type: odatasim.DateTime},
		{Name: "Count", Type: odatasim.Int16},
		{Name: "Amount", Type: odatasim.Decimal, Precision: 5, Scale: 2},
		{Name: "Open", Type: odatasim.Boolean},
		{Name: "Secret", Type: odatasim.String, NotFilterable: true, NotSortable: true},
		{Name: "Made", Type: odatasim.String, ReadOnly: true},
	},
}

func row(values ...string) odatasim.Row {
	r := odatasim.Row{Values: map[string]string{}}
	for i := 0; i < len(values); i += 2 {
		r.Values[values[i]] = values[i+1]
	}
	return r
}

func TestFilterKeepsTheRowsThatItDescribes(t *testing.T) {
	ada := row("Name", "O'Neil", "Kind", "a", "At", "2026-07-24T09:30:00.5Z", "Count", "5", "Amount", "12.50", "Open", "true",
		"ID", "0a1b2c3d-0000-4000-8000-000000000001", "Local", "2026-07-24T09:30:00Z")
	for _, c := range []struct {
		filter string
		want   bool
	}{
		{"Name eq 'O''Neil'", true},
		{"Name eq 'O'", false},
		{"Name ne 'x' and Kind eq 'a'", true},
		{"Kind eq 'b' or Kind eq 'a' and Count gt 4", true},
		{"(Kind eq 'b' or Kind eq 'a') and Count gt 5", false},
		{"not (Kind eq 'b')", true},
		{"not Kind eq 'a'", false},
		{"startswith(Name,'O') and endswith(Name,'l') eq true", true},
		{"substringof('Ne',Name)", true},
		{"substringof('ne',Name)", false},
		{"At ge datetimeoffset'2026-07-24T09:30:00Z'", true},
		{"At gt datetimeoffset'2026-07-24T11:30:01+02:00'", false},
		{"Local eq datetime'2026-07-24T09:30:00'", true},
		{"Count lt 10", true}, // as numbers: as text, 10 comes before 5
		{"Amount eq 12.5M", true},
		{"Open eq true", true},
		{"ID eq guid'0A1B2C3D-0000-4000-8000-000000000001'", true},
		{"Name eq null", false},
		{"Name ne null", true},
		{"Name eq '*Nei*'", false}, // no wildcards at the Gateway
	} {
		f, err := odatasim.ParseFilter(c.filter, thing, odatasim.GatewayGrammar)
		if err != nil {
			t.Errorf("%s: refused: %v", c.filter, err)
		} else if got := f.Matches(ada); got != c.want {
			t.Errorf("%s: got %t", c.filter, got)
		}
	}
}

func TestFilterOfC4CKnowsWildcardsAndLittleElse(t *testing.T) {
	for filter, want := range map[string]bool{
		"Name eq '*Nei*'":                    true,
		"Name eq 'O*'":                       true,
		"Name eq '*x'":                       false,
		"Name eq 'x' or Name eq 'O*'":        true,
		"startswith(Name,'O')":               true,
		"Name ge 'A' and endswith(Name,'l')": true,
	} {
		f, err := odatasim.ParseFilter(filter, thing, odatasim.C4CGrammar)
		if err != nil {
			t.Errorf("%s: refused: %v", filter, err)
		} else if got := f.Matches(row("Name", "O'Neil")); got != want {
			t.Errorf("%s: got %t", filter, got)
		}
	}
	for _, filter := range []string{
		"Name eq 'a' or Kind eq 'b'",
		"Name eq 'a' or (Name eq 'b' and Kind eq 'c')",
		"Name ne 'a'",
		"Count gt 5",
		"not Name eq 'a'",
		"substringof('a',Name)",
		"tolower(Name) eq 'a'",
		"startswith('O',Name)",
	} {
		wantRefusal(t, filter, odatasim.C4CGrammar)
	}
}

func TestFilterRefusesWhatTheMetadataForbids(t *testing.T) {
	for _, filter := range []string{
		"", "Name", "Name eq", "Name eq 'a", "Name eq 'a' and", "(Name eq 'a'", "Name eq 'a')", "Name eq 'a' Kind eq 'b'",
		"Nam eq 'a'", "Secret eq 'a'", "Name eq 5", "Count eq '5'", "Count eq 70000", "ID eq '0a1b2c3d-0000-4000-8000-000000000001'",
		"At eq '2026-07-24T09:30:00Z'", "At eq datetime'2026-07-24T09:30:00'", "Local eq datetime'2026-07-24T09:30:00Z'", "Name like 'a'",
	} {
		wantRefusal(t, filter, odatasim.GatewayGrammar)
	}
}

func wantRefusal(t *testing.T, filter string, g odatasim.Grammar) {
	t.Helper()
	_, err := odatasim.ParseFilter(filter, thing, g)
	if fault, ok := errors.AsType[*odatasim.Fault](err); !ok || fault.Status != http.StatusBadRequest {
		t.Errorf("%q: want a fault with status 400, got %v", filter, err)
	}
}

func TestFilterTellsWhichValuesItPinsAPropertyTo(t *testing.T) {
	for filter, want := range map[string]string{
		"Name eq 'a'":                                 "[a] true",
		"Kind eq 'k' and Name eq 'a'":                 "[a] true",
		"Name eq 'a' or Name eq 'b'":                  "[a b] true",
		"Name eq 'a' or Kind eq 'k'":                  "[a] false",
		"Name ne 'a'":                                 "[] false",
		"not (Name eq 'a')":                           "[] false",
		"(Name eq 'a' or Name eq 'b') and Count eq 1": "[a b] true",
	} {
		f, err := odatasim.ParseFilter(filter, thing, odatasim.GatewayGrammar)
		if err != nil {
			t.Fatal(err)
		}
		values, ok := f.Values("Name")
		if got := fmt.Sprintf("%v %t", values, ok); got != want {
			t.Errorf("%s: got %s, want %s", filter, got, want)
		}
	}
}

// shelf is a tiny service: things in memory.
type shelf struct {
	rows []odatasim.Row
	next int
}

func (s *shelf) service(p odatasim.Profile) *odatasim.Service {
	if p.Grammar.Operators == nil {
		p.Grammar = odatasim.GatewayGrammar
	}
	return &odatasim.Service{Root: "/svc", Namespace: "NS", Profile: p, Sets: []*odatasim.Set{{
		Name:   "Things",
		Type:   thing,
		List:   func(*odatasim.Filter) []odatasim.Row { return s.rows },
		Create: s.create,
	}}}
}

func (s *shelf) create(ctx context.Context, r odatasim.Row) (odatasim.Row, error) {
	s.next++
	r.Values["ID"] = fmt.Sprintf("0a1b2c3d-0000-4000-8000-%012d", s.next)
	return r, odatasim.Commit(ctx, func() error {
		s.rows = append(s.rows, r)
		return nil
	})
}

func call(t *testing.T, h http.Handler, method, target, body string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func text(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCreateChecksEveryValue(t *testing.T) {
	for body, want := range map[string]int{
		`{"Name":"0123456789"}`:                    201,
		`{"Name":"ÄÖÜÄÖÜÄÖÜÄ"}`:                    201, // ten characters, twenty octets
		`{"Name":"01234567890"}`:                   400,
		`{"Name":5}`:                               400,
		`{"Name":null}`:                            201,
		`{"Nam":"a"}`:                              400,
		`{"Made":"a"}`:                             400,
		`{"Count":5}`:                              201,
		`{"Count":"5"}`:                            400,
		`{"Count":5.5}`:                            400,
		`{"Count":32768}`:                          400,
		`{"Amount":"123.45"}`:                      201,
		`{"Amount":123.45}`:                        400,
		`{"Amount":"1234.5"}`:                      400,
		`{"Amount":"1.234"}`:                       400,
		`{"Open":true}`:                            201,
		`{"Open":"true"}`:                          400,
		`{"At":"2026-07-24T09:30:00Z"}`:            201,
		`{"At":"2026-07-24T09:30:00.1234567Z"}`:    201,
		`{"At":"2026-07-24T09:30:00.12345678Z"}`:   400,
		`{"At":"2026-07-24T09:30:00"}`:             201,
		`{"At":"/Date(1784885400000+0000)/"}`:      201,
		`{"At":"2026-07-24"}`:                      400,
		`{"At":"24.07.2026"}`:                      400,
		`{"Local":"2026-07-24T09:30:00"}`:          201,
		`{"Local":"2026-07-24T09:30:00Z"}`:         400,
		`{"Local":"/Date(-1)/"}`:                   201,
		`{"ID":"0a1b2c3d00004000800000000000001"}`: 400,
		`{"__metadata":{"type":"NS.Thing"}}`:       201,
		`[]`:                                       400,
		`{"Name":"a"} {"Name":"b"}`:                400,
		`{"Name":"a"`:                              400,
		`{"d":{"Name":"a"}}`:                       400,
	} {
		if got := call(t, (&shelf{}).service(odatasim.Profile{}), "POST", "/svc/Things", body); got.StatusCode != want {
			t.Errorf("%s: status %d, want %d: %s", body, got.StatusCode, want, text(t, got))
		}
	}
}

func TestDatesAreReadAsTheProfileAllows(t *testing.T) {
	for _, c := range []struct {
		forms      odatasim.DateForms
		iso, epoch int
	}{{odatasim.BothDateForms, 201, 201}, {odatasim.ISODatesOnly, 201, 400}, {odatasim.EpochDatesOnly, 400, 201}} {
		h := (&shelf{}).service(odatasim.Profile{Dates: c.forms})
		if got := call(t, h, "POST", "/svc/Things", `{"At":"2026-07-24T09:30:00Z"}`); got.StatusCode != c.iso {
			t.Errorf("%q: ISO: %d", c.forms, got.StatusCode)
		}
		if got := call(t, h, "POST", "/svc/Things", `{"At":"/Date(1784885400000)/"}`); got.StatusCode != c.epoch {
			t.Errorf("%q: /Date()/: %d", c.forms, got.StatusCode)
		}
	}
}

func TestAnswersShowValuesInTheFormsOfODataV2(t *testing.T) {
	s := &shelf{}
	body := `{"Name":"a","At":"2026-07-24T09:30:00Z","Local":"2026-07-24T09:30:00","Count":5,"Amount":"12.50","Open":true}`
	created := call(t, s.service(odatasim.Profile{}), "POST", "/svc/Things", body)
	var answer struct{ D map[string]any }
	if err := json.Unmarshal([]byte(text(t, created)), &answer); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{
		"At": "/Date(1784885400000+0000)/", "Local": "/Date(1784885400000)/", "Count": 5.0, "Amount": "12.50", "Open": true, "Kind": "",
	} {
		if answer.D[name] != want {
			t.Errorf("%s: got %v, want %v", name, answer.D[name], want)
		}
	}
	want := "http://example.com/svc/Things(guid'0a1b2c3d-0000-4000-8000-000000000001')"
	if got := created.Header.Get("Location"); got != want {
		t.Errorf("Location: got %s", got)
	}
	if got := call(t, s.service(odatasim.Profile{NoOffset: true}), "GET", strings.TrimPrefix(want, "http://example.com"), ""); !strings.Contains(text(t, got), `"At":"/Date(1784885400000)/"`) {
		t.Error("NoOffset: the offset is still there")
	}
}

func TestLongListsAreReadPageByPage(t *testing.T) {
	s := &shelf{}
	for i := range 7 {
		s.rows = append(s.rows, row("ID", fmt.Sprintf("0a1b2c3d-0000-4000-8000-%012d", i), "Count", fmt.Sprint(i), "Kind", "k"))
	}
	h := s.service(odatasim.Profile{PageSize: 3})
	next := "/svc/Things?$filter=" + url.QueryEscape("Kind eq 'k'") + "&$orderby=Count%20desc&$inlinecount=allpages&$top=6&$skip=1&$select=Count"
	var seen []float64
	for pages := 0; next != ""; pages++ {
		if pages > 2 {
			t.Fatal("the pages do not end")
		}
		var answer struct {
			D struct {
				Count   string `json:"__count"`
				Next    string `json:"__next"`
				Results []map[string]any
			}
		}
		if err := json.Unmarshal([]byte(text(t, call(t, h, "GET", next, ""))), &answer); err != nil {
			t.Fatal(err)
		}
		if answer.D.Count != "7" {
			t.Errorf("__count: got %q", answer.D.Count)
		}
		for _, r := range answer.D.Results {
			seen = append(seen, r["Count"].(float64))
			if _, ok := r["Kind"]; ok {
				t.Error("$select let Kind through")
			}
		}
		next = answer.D.Next
	}
	if got := fmt.Sprint(seen); got != "[5 4 3 2 1 0]" {
		t.Errorf("got %s", got)
	}
	if got := text(t, call(t, h, "GET", "/svc/Things/$count?$filter=Count%20ge%203", "")); got != "4" {
		t.Errorf("$count: got %s", got)
	}
}

func TestBadQueriesAreRefused(t *testing.T) {
	h := (&shelf{}).service(odatasim.Profile{})
	for _, q := range []string{
		"$top=-1", "$top=a", "$filter=", "$select=Nam", "$orderby=Secret", "$orderby=Name+up", "$foo=1", "$inlinecount=yes", "$top=1&$top=2", "$expand=Name", "$format=xlsx", "$filter=%zz",
	} {
		if got := call(t, h, "GET", "/svc/Things?"+q, ""); got.StatusCode != 400 {
			t.Errorf("%s: status %d", q, got.StatusCode)
		}
	}
	for method, target := range map[string]string{"PUT": "/svc/Things", "HEAD": "/svc/", "PATCH": "/svc/Things(guid'0a1b2c3d-0000-4000-8000-000000000001')"} {
		if got := call(t, (&shelf{rows: []odatasim.Row{row("ID", "0a1b2c3d-0000-4000-8000-000000000001")}}).service(odatasim.Profile{}), method, target, "{}"); got.StatusCode != 405 {
			t.Errorf("%s %s: status %d", method, target, got.StatusCode)
		}
	}
	for _, target := range []string{"/svc/Thing", "/svc/Things(guid'0a1b2c3d-0000-4000-8000-000000000001')", "/svc/Things/Name"} {
		if got := call(t, h, "GET", target, ""); got.StatusCode != 404 {
			t.Errorf("%s: status %d", target, got.StatusCode)
		}
	}
	for _, target := range []string{"/svc/Things('a')", "/svc/Things(", "/svc/Things()", "/svc/Things(Name='a')"} {
		if got := call(t, h, "GET", target, ""); got.StatusCode != 400 {
			t.Errorf("%s: status %d", target, got.StatusCode)
		}
	}
	if got := call(t, h, "POST", "/svc/Things", "{}", "Content-Type", "text/plain"); got.StatusCode != 415 {
		t.Errorf("text/plain: status %d", got.StatusCode)
	}
}

func TestWithoutJSONAskedTheAnswerIsAtom(t *testing.T) {
	s := &shelf{rows: []odatasim.Row{row("ID", "0a1b2c3d-0000-4000-8000-000000000001", "Name", "a<b", "Count", "5")}}
	h := s.service(odatasim.Profile{})
	for _, target := range []string{"/svc/", "/svc/$metadata", "/svc/Things", "/svc/Things(guid'0a1b2c3d-0000-4000-8000-000000000001')", "/svc/Nothing"} {
		got := call(t, h, "GET", target, "", "Accept", "*/*")
		body := text(t, got)
		if !strings.Contains(got.Header.Get("Content-Type"), "xml") {
			t.Errorf("%s: %s", target, got.Header.Get("Content-Type"))
		}
		decoder := xml.NewDecoder(strings.NewReader(body))
		for {
			if _, err := decoder.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v in %s", target, err, body)
			}
		}
	}
	if body := text(t, call(t, h, "GET", "/svc/Things", "", "Accept", "")); !strings.Contains(body, "<d:Name>a&lt;b</d:Name>") || !strings.Contains(body, `<d:Count m:type="Edm.Int16">5</d:Count>`) {
		t.Errorf("feed without its properties: %s", body)
	}
	if got := call(t, h, "GET", "/svc/Things?$format=json", "", "Accept", ""); !strings.Contains(got.Header.Get("Content-Type"), "json") {
		t.Error("$format=json was not honoured")
	}
	if body := text(t, call(t, h, "GET", "/svc/$metadata", "")); !strings.Contains(body, `<Property Name="Secret" Type="Edm.String" Nullable="true" sap:creatable="true" sap:updatable="true" sap:filterable="false"`) {
		t.Error("$metadata does not say that Secret is not filterable")
	}
}

// guarded is a service behind authentication and sessions, on a real port.
func guarded(t *testing.T, settings odatasim.SessionSettings) (*httptest.Server, *odatasim.Sessions) {
	t.Helper()
	settings.Cookies = []string{"SAP_SESSIONID_ABC_100", "sap-usercontext"}
	sessions := odatasim.NewSessions(settings)
	mux := http.NewServeMux()
	mux.Handle("/svc/", odatasim.BasicAuth("u", "p", sessions.Guard((&shelf{}).service(odatasim.Profile{}))))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server, sessions
}

type client struct {
	t      *testing.T
	http   *http.Client
	base   string
	token  string
	noAuth bool
}

func newClient(t *testing.T, base string) *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &client{t: t, http: &http.Client{Jar: jar}, base: base}
}

func (c *client) do(method, path, body string) *http.Response {
	c.t.Helper()
	r, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("Content-Type", "application/json")
	if !c.noAuth {
		r.SetBasicAuth("u", "p")
	}
	if c.token != "" {
		r.Header.Set("x-csrf-token", c.token)
	}
	response, err := c.http.Do(r)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

func (c *client) fetch() string {
	c.t.Helper()
	c.token = "fetch"
	c.token = c.do("GET", "/svc/", "").Header.Get("x-csrf-token")
	return c.token
}

func TestWriteNeedsTokenAndCookiesOfOneSession(t *testing.T) {
	server, sessions := guarded(t, odatasim.SessionSettings{})
	c := newClient(t, server.URL)
	refused := c.do("POST", "/svc/Things", "{}")
	if refused.StatusCode != 403 || refused.Header.Get("x-csrf-token") != "Required" || text(t, refused) != "CSRF token validation failed" {
		t.Fatalf("without a token: %d", refused.StatusCode)
	}
	first := c.fetch()
	if got := c.do("POST", "/svc/Things", "{}"); got.StatusCode != 201 {
		t.Fatalf("with token and cookies: %d", got.StatusCode)
	}
	other := newClient(t, server.URL)
	other.fetch()
	other.token = first
	if got := other.do("POST", "/svc/Things", "{}"); got.StatusCode != 403 {
		t.Errorf("token of another session: %d", got.StatusCode)
	}
	other.token, other.http.Jar = first, nil
	if got := other.do("POST", "/svc/Things", "{}"); got.StatusCode != 403 {
		t.Errorf("token without cookies: %d", got.StatusCode)
	}
	if again := c.fetch(); again != first || sessions.Opened() != 2 {
		t.Errorf("a fetch within a session must give its token: %d sessions opened", sessions.Opened())
	}
	sessions.Expire()
	if got := c.do("POST", "/svc/Things", "{}"); got.StatusCode != 403 {
		t.Errorf("after the session's end: %d", got.StatusCode)
	}
	c.fetch()
	if got := c.do("POST", "/svc/Things", "{}"); got.StatusCode != 201 {
		t.Errorf("after a new fetch: %d", got.StatusCode)
	}
}

func TestEveryCookieOfTheSessionMustComeBack(t *testing.T) {
	server, _ := guarded(t, odatasim.SessionSettings{})
	c := newClient(t, server.URL)
	c.fetch()
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	filtered, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, cookie := range c.http.Jar.Cookies(address) {
		if strings.HasPrefix(cookie.Name, "SAP_SESSIONID") {
			filtered.SetCookies(address, []*http.Cookie{cookie})
		}
	}
	c.http.Jar = filtered
	if got := c.do("POST", "/svc/Things", "{}"); got.StatusCode != 403 {
		t.Errorf("cookies filtered by name: %d", got.StatusCode)
	}
}

func TestIdleSessionEnds(t *testing.T) {
	now := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	server, _ := guarded(t, odatasim.SessionSettings{Idle: time.Minute, Now: func() time.Time { return now }})
	c := newClient(t, server.URL)
	c.fetch()
	now = now.Add(59 * time.Second)
	if got := c.do("POST", "/svc/Things", "{}"); got.StatusCode != 201 {
		t.Errorf("within the idle time: %d", got.StatusCode)
	}
	now = now.Add(61 * time.Second)
	if got := c.do("POST", "/svc/Things", "{}"); got.StatusCode != 403 {
		t.Errorf("after it: %d", got.StatusCode)
	}
}

func TestTokenIsLostByHEADAndWithoutTheSlash(t *testing.T) {
	server, _ := guarded(t, odatasim.SessionSettings{})
	c := newClient(t, server.URL)
	c.token = "fetch"
	if got := c.do("HEAD", "/svc/", ""); got.StatusCode != 405 || got.Header.Get("x-csrf-token") != "" {
		t.Errorf("HEAD: %d", got.StatusCode)
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if got := c.do("GET", "/svc", ""); got.StatusCode/100 != 3 || got.Header.Get("x-csrf-token") != "" {
		t.Errorf("without the slash: %d", got.StatusCode)
	}
}

func TestWrongUserIsNotLetIn(t *testing.T) {
	server, _ := guarded(t, odatasim.SessionSettings{})
	c := newClient(t, server.URL)
	c.noAuth = true
	if got := c.do("GET", "/svc/Things", ""); got.StatusCode != 401 || got.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("without credentials: %d", got.StatusCode)
	}
}

func TestRefusalOfATokenTakesTheFormOfTheSettings(t *testing.T) {
	for _, c := range []struct {
		settings odatasim.SessionSettings
		header   string
		contains string
	}{
		{odatasim.SessionSettings{NoRequiredHeader: true}, "", "CSRF token validation failed"},
		{odatasim.SessionSettings{Body: odatasim.JSONFault}, "Required", `"value":"CSRF token validation failed"`},
		{odatasim.SessionSettings{Body: odatasim.XMLFault}, "Required", ">CSRF token validation failed</message>"},
	} {
		server, _ := guarded(t, c.settings)
		got := newClient(t, server.URL).do("POST", "/svc/Things", "{}")
		if body := text(t, got); got.Header.Get("x-csrf-token") != c.header || !strings.Contains(body, c.contains) {
			t.Errorf("%+v: %s", c.settings, body)
		}
	}
	server, _ := guarded(t, odatasim.SessionSettings{Unprotected: true})
	c := newClient(t, server.URL)
	if got := c.do("POST", "/svc/Things", "{}"); got.StatusCode != 201 || c.fetch() != "" {
		t.Errorf("check switched off: %d", got.StatusCode)
	}
}

// crlf makes the line ends of HTTP out of those of the source.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

const query = "--b\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\nGET Things?$filter=Name%20eq%20%27a%27 HTTP/1.1\nAccept: application/json\n\n\n"

func changes(bodies ...string) string {
	s := "--b\nContent-Type: multipart/mixed; boundary=c\n\n"
	for i, body := range bodies {
		s += fmt.Sprintf("--c\nContent-Type: application/http\nContent-Transfer-Encoding: binary\nContent-ID: %d\n\n", i+1)
		s += fmt.Sprintf("POST Things HTTP/1.1\nContent-Type: application/json\nAccept: application/json\nContent-Length: %d\n\n%s\n", len(body), body)
	}
	return s + "--c--\n\n"
}

func batch(t *testing.T, h http.Handler, body string) *http.Response {
	t.Helper()
	return call(t, h, "POST", "/svc/$batch", crlf(body), "Content-Type", "multipart/mixed; boundary=b")
}

// parts reads a multipart answer with the standard library: the content type and content of each part.
func parts(t *testing.T, contentType string, body io.Reader) (types, contents []string) {
	t.Helper()
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil {
		t.Fatal(err)
	}
	reader := multipart.NewReader(body, params["boundary"])
	for {
		p, err := reader.NextRawPart()
		if errors.Is(err, io.EOF) {
			return types, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(p)
		if err != nil {
			t.Fatal(err)
		}
		types, contents = append(types, p.Header.Get("Content-Type")), append(contents, string(content))
	}
}

func TestBatchAnswersEachPartInItsPlace(t *testing.T) {
	s := &shelf{}
	got := batch(t, s.service(odatasim.Profile{}), query+changes(`{"Name":"a"}`, `{"Name":"ä"}`)+query+"--b--\n")
	if got.StatusCode != 202 {
		t.Fatalf("status %d: %s", got.StatusCode, text(t, got))
	}
	types, contents := parts(t, got.Header.Get("Content-Type"), got.Body)
	if len(contents) != 3 || types[0] != "application/http" || !strings.HasPrefix(types[1], "multipart/mixed; boundary=") {
		t.Fatalf("parts: %q", types)
	}
	if !strings.HasPrefix(contents[0], "HTTP/1.1 200 OK\r\n") || !strings.HasSuffix(contents[0], `{"d":{"results":[]}}`) {
		t.Errorf("query before the changeset: %s", contents[0])
	}
	_, inner := parts(t, types[1], strings.NewReader(contents[1]))
	if len(inner) != 2 || !strings.HasPrefix(inner[0], "HTTP/1.1 201 Created\r\n") || !strings.Contains(inner[1], "Location: ") {
		t.Errorf("changeset: %q", inner)
	}
	if !strings.Contains(contents[2], `"Name":"a"`) {
		t.Errorf("query after the changeset: %s", contents[2])
	}
	if len(s.rows) != 2 {
		t.Errorf("%d rows stored", len(s.rows))
	}
}

func TestChangesetIsAllOrNothing(t *testing.T) {
	s := &shelf{}
	got := batch(t, s.service(odatasim.Profile{}), changes(`{"Name":"a"}`, `{"Nam":"b"}`)+changes(`{"Name":"c"}`)+"--b--\n")
	types, contents := parts(t, got.Header.Get("Content-Type"), got.Body)
	if got.StatusCode != 202 || len(contents) != 2 || types[0] != "application/http" || !strings.HasPrefix(contents[0], "HTTP/1.1 400 Bad Request\r\n") {
		t.Fatalf("%d %q", got.StatusCode, contents)
	}
	if len(s.rows) != 1 || s.rows[0].Values["Name"] != "c" {
		t.Errorf("stored: %v", s.rows)
	}
}

func TestContentIDIsRepeatedWhereTheProfileSays(t *testing.T) {
	for echo, want := range map[odatasim.ContentIDEcho]bool{odatasim.NoContentID: false, odatasim.MIMEContentID: true, odatasim.InnerContentID: true} {
		got := text(t, batch(t, (&shelf{}).service(odatasim.Profile{ContentID: echo}), changes(`{}`)+"--b--\n"))
		if strings.Contains(got, "Content-ID: 1") != want {
			t.Errorf("%q: %s", echo, got)
		}
	}
}

func TestMalformedBatchIsRefused(t *testing.T) {
	many := strings.Repeat(query, 3)
	for name, body := range map[string]string{
		"no closing boundary":  query,
		"no boundary":          "hello\n",
		"another boundary":     strings.ReplaceAll(query, "--b", "--x") + "--x--\n",
		"one empty line":       strings.TrimSuffix(query, "\n\n") + "--b--\n",
		"above the limit":      many + "--b--\n",
		"part without headers": "--b\nGET Things HTTP/1.1\n\n--b--\n",
	} {
		got := batch(t, (&shelf{}).service(odatasim.Profile{BatchLimit: 2}), body)
		if name == "one empty line" { // it breaks its own part only
			if _, contents := parts(t, got.Header.Get("Content-Type"), got.Body); len(contents) != 1 || !strings.HasPrefix(contents[0], "HTTP/1.1 400") {
				t.Errorf("%s: %q", name, contents)
			}
			continue
		}
		if got.StatusCode != 400 {
			t.Errorf("%s: status %d", name, got.StatusCode)
		}
	}
	if got := call(t, (&shelf{}).service(odatasim.Profile{}), "POST", "/svc/$batch", query+"--b--\n", "Content-Type", "multipart/mixed; boundary=b"); got.StatusCode != 400 {
		t.Errorf("LF instead of CRLF: status %d", got.StatusCode)
	}
}

func TestBadOperationIsRefusedInItsPlace(t *testing.T) {
	part := func(line string) string {
		return "--b\nContent-Type: application/http\nContent-Transfer-Encoding: binary\n\n" + line + "\n\n\n"
	}
	for name, body := range map[string]string{
		"leading slash":         part("GET /svc/Things HTTP/1.1"),
		"spaces in the address": part("GET Things?$filter=Name eq 'a' HTTP/1.1"),
		"write outside":         part("POST Things HTTP/1.1\nContent-Type: application/json"),
		"no HTTP version":       part("GET Things"),
		"not binary":            strings.Replace(part("GET Things HTTP/1.1"), "binary", "8bit", 1),
		"query in a changeset":  strings.Replace(changes("{}"), "POST Things", "GET Things", 1),
		"wrong length":          strings.Replace(changes(`{"Name":"a"}`), "Content-Length: 12", "Content-Length: 11", 1),
	} {
		got := batch(t, (&shelf{}).service(odatasim.Profile{}), body+query+"--b--\n")
		if got.StatusCode != 202 {
			t.Errorf("%s: status %d: %s", name, got.StatusCode, text(t, got))
			continue
		}
		_, contents := parts(t, got.Header.Get("Content-Type"), got.Body)
		if len(contents) != 2 || !strings.HasPrefix(contents[0], "HTTP/1.1 400") || !strings.HasPrefix(contents[1], "HTTP/1.1 200") {
			t.Errorf("%s: %q", name, contents)
		}
	}
}

func TestBatchAnswerGivesOctetsAndCRLF(t *testing.T) {
	got := batch(t, (&shelf{}).service(odatasim.Profile{}), changes(`{"Name":"ä"}`)+"--b--\n")
	body := []byte(text(t, got))
	head, rest, _ := bytes.Cut(body[bytes.Index(body, []byte("HTTP/1.1 201")):], []byte("\r\n\r\n"))
	answer, _, _ := bytes.Cut(rest, []byte("\r\n--"))
	if want := fmt.Sprintf("Content-Length: %d", len(answer)); !bytes.Contains(head, []byte(want)) {
		t.Errorf("want %s in %s", want, head)
	}
	if bytes.Count(body, []byte("\n")) != bytes.Count(body, []byte("\r\n")) {
		t.Error("a line does not end in CRLF")
	}
}
