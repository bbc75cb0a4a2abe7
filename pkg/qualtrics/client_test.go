package qualtrics_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
)

const (
	directory = "POOL_1aa0000000000001"
	list      = "CG_5aa0000000000001"
	survey    = "SV_1aa0000000000001"
	token     = "invented-api-token"
	meta      = `"meta":{"httpStatus":"200 - OK","requestId":"00000000-0000-4000-8000-000000000001","notice":null}`
)

// result is a success as qualtrics.md §2.4 has it.
func result(json string) string { return `{"result":` + json + `,` + meta + `}` }

// api answers each "METHOD path?query" under /API/v3 with what is given for it, and remembers what was asked.
type api struct {
	t       *testing.T
	url     string
	answers map[string]string
	asked   []string
	bodies  []string
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	request := r.Method + " " + strings.TrimPrefix(r.RequestURI, "/API/v3")
	a.asked = append(a.asked, request)
	a.bodies = append(a.bodies, string(body))
	if r.Header.Get("X-API-TOKEN") != token {
		w.WriteHeader(http.StatusUnauthorized)
		io.WriteString(w, `{"meta":{"httpStatus":"401 - Unauthorized"}}`)
		return
	}
	answer, ok := a.answers[request]
	if !ok {
		a.t.Errorf("unexpected request %s", request)
	}
	w.Header().Set("Content-Type", "application/json")
	// A status may be put before the body.
	status := 200
	if n, err := fmt.Sscanf(answer, "%d", &status); n == 1 && err == nil {
		answer = strings.TrimLeft(answer, "0123456789 ")
	}
	w.WriteHeader(status)
	io.WriteString(w, strings.ReplaceAll(answer, "BASE", a.url))
}

func serve(t *testing.T, answers map[string]string) (*qualtrics.Client, *api) {
	t.Helper()
	a := &api{t: t, answers: answers}
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	a.url = s.URL
	return newClient(t, s.URL, nil, qualtrics.Options{Token: settings.SecretOf(token), DirectoryID: directory}), a
}

func newClient(t *testing.T, url string, rt http.RoundTripper, o qualtrics.Options) *qualtrics.Client {
	t.Helper()
	out, err := outbound.New(outbound.Options{Vendor: "qualtrics", BaseURL: url + "/API/v3/", Transport: rt})
	if err != nil {
		t.Fatal(err)
	}
	o.Outbound = out
	c, err := qualtrics.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func wantClass(t *testing.T, err error, class fault.Class) *fault.Fault {
	t.Helper()
	var f *fault.Fault
	if !errors.As(err, &f) || f.Class != class {
		t.Fatalf("got error %v, want class %s", err, class)
	}
	return f
}

// wantBody compares the body of the last request.
func (a *api) wantBody(want string) {
	a.t.Helper()
	if got := a.bodies[len(a.bodies)-1]; got != want {
		a.t.Errorf("sent %s\nwant %s", got, want)
	}
}

func TestNewNamesTheWrongOption(t *testing.T) {
	out := func(base string) *outbound.Client {
		c, err := outbound.New(outbound.Options{Vendor: "qualtrics", BaseURL: base})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	good := out("https://eu.qualtrics.com/API/v3")
	for want, o := range map[string]qualtrics.Options{
		"no outbound client": {Token: settings.SecretOf(token)},
		"/API/v3":            {Outbound: out("https://eu.qualtrics.com"), Token: settings.SecretOf(token)},
		"either":             {Outbound: good},
		"either an API":      {Outbound: good, Token: settings.SecretOf(token), OAuth: &qualtrics.OAuth{ClientID: "a", ClientSecret: settings.SecretOf("b")}},
		"client secret":      {Outbound: good, OAuth: &qualtrics.OAuth{ClientID: "a"}},
	} {
		if _, err := qualtrics.New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
}

func TestWhoAmITellsOfAProxiedCallAndAlarmsOnce(t *testing.T) {
	const notice = "Request proxied. For faster response times, use this host instead: sjc1.qualtrics.com"
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"result":{"brandId":"simbrand","userId":"UR_1","userName":"ada","email":"ada@example.org","datacenter":"sjc1"},"meta":{"notice":"`+notice+`"}}`)
	}))
	t.Cleanup(s.Close)
	var log bytes.Buffer
	c := newClient(t, s.URL, nil, qualtrics.Options{Token: settings.SecretOf(token), Log: slog.New(slog.NewTextHandler(&log, nil))})
	for range 2 {
		got, err := c.WhoAmI(t.Context())
		if want := (qualtrics.Account{BrandID: "simbrand", UserID: "UR_1", Datacenter: "sjc1", Notice: notice}); got != want || err != nil {
			t.Errorf("got %+v, error %v", got, err)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "host=sjc1.qualtrics.com") {
		t.Errorf("%d alarms, want 1 that names the host:\n%s", n, &log)
	}
}

func TestDirectoriesGiveTheirDedupeCriteria(t *testing.T) {
	c, _ := serve(t, map[string]string{
		"GET /directories": result(`{"elements":[{"directoryId":"POOL_1","name":"Default","contactCount":3,"isDefault":true,
			"deduplicationCriteria":{"email":true,"firstName":false,"lastName":false,"externalDataReference":true,"phone":false}}],"nextPage":null}`),
	})
	got, err := c.Directories(t.Context())
	if err != nil || len(got) != 1 {
		t.Fatalf("got %+v, error %v", got, err)
	}
	d := got[0]
	if d.ID != "POOL_1" || !d.Default || !d.Dedupe.Email || !d.Dedupe.ExternalDataReference || d.Dedupe.Phone || d.Dedupe.FirstName || d.Dedupe.LastName {
		t.Errorf("got %+v", d)
	}
}

func TestFaultsHaveTheVendorsWords(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		class  fault.Class
		reason string
		code   string
	}{
		"refused":    {`400 {"meta":{"httpStatus":"400 - Bad Request","error":{"errorCode":"RP_9","errorMessage":"Unexpected json key provided: sendDate"}}}`, fault.Refused, "create batch: 400 Bad Request: RP_9: Unexpected json key provided: sendDate", "RP_9"},
		"forbidden":  {`403 {"meta":{"error":{"errorCode":"QMST_2.1","errorMessage":"The operation is forbidden."}}}`, fault.Forbidden, "create batch: 403 Forbidden: QMST_2.1: The operation is forbidden.", "QMST_2.1"},
		"no words":   {`404 {"meta":{"httpStatus":"404 - Not Found","requestId":null}}`, fault.Refused, `create batch: 404 Not Found: {"meta":{"httpStatus":"404 - Not Found","requestId":null}}`, ""},
		"quota":      {`429 {"meta":{"httpStatus":"429 - Too Many Requests"}}`, fault.Throttled, `create batch: 429 Too Many Requests: {"meta":{"httpStatus":"429 - Too Many Requests"}}`, ""},
		"timeout":    {`504 `, fault.Unknown, "create batch: 504 Gateway Timeout", ""},
		"no result":  {`200 {"meta":{}}`, fault.Unknown, "create batch: the answer is not as documented: there is no result", ""},
		"no id":      {`200 {"result":{}}`, fault.Unknown, "create batch: the answer is not as documented: there is no id", ""},
		"cut short":  {`200 {"result":{"id":"B`, fault.Unknown, "create batch: the answer is not as documented: unexpected end of JSON input", ""},
		"wrong type": {`200 {"result":{"id":7}}`, fault.Unknown, "create batch: the answer is not as documented: result.id is not of the documented type", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, map[string]string{"POST /directories/" + directory + "/transactionbatches": test.answer})
			_, err := c.CreateBatch(t.Context(), nil, time.Now())
			f := wantClass(t, err, test.class)
			if f.Reason != test.reason || f.Vendor != "qualtrics" {
				t.Errorf("vendor %s, reason\n%q, want\n%q", f.Vendor, f.Reason, test.reason)
			}
			var status *outbound.StatusError
			if !errors.As(err, &status) || status.Code != test.code {
				t.Errorf("cause %v, want code %q", f.Err, test.code)
			}
		})
	}
}

func TestWrongTokenIsUnauthorizedAndNotShown(t *testing.T) {
	s := httptest.NewServer(&api{t: t})
	t.Cleanup(s.Close)
	_, err := newClient(t, s.URL, nil, qualtrics.Options{Token: settings.SecretOf("wrong-token")}).WhoAmI(t.Context())
	if f := wantClass(t, err, fault.Unauthorized); strings.Contains(f.Error(), "wrong-token") {
		t.Errorf("the fault shows the token: %v", f)
	}
}

func TestNothingIsSentWithoutAnID(t *testing.T) {
	c, a := serve(t, nil)
	_, err := c.CreateContact(t.Context(), "", qualtrics.Contact{})
	wantClass(t, err, fault.Invalid)
	_, err = c.Response(t.Context(), survey, "")
	wantClass(t, err, fault.Invalid)
	for _, err := range c.Links(t.Context(), "", survey) {
		wantClass(t, err, fault.Invalid)
	}
	_, _, err = c.FindContact(t.Context(), list, "", "")
	wantClass(t, err, fault.Invalid)
	_, _, err = c.FindDistribution(t.Context(), survey, "")
	wantClass(t, err, fault.Invalid)
	_, err = c.CreateDistribution(t.Context(), qualtrics.Distribution{SurveyID: survey, BatchID: "BT_1"})
	wantClass(t, err, fault.Invalid)

	bare := newClient(t, "https://eu.qualtrics.com", nil, qualtrics.Options{Token: settings.SecretOf(token)})
	_, err = bare.CreateBatch(t.Context(), nil, time.Now())
	if f := wantClass(t, err, fault.Unauthorized); !strings.Contains(f.Reason, "no directory id is set") {
		t.Errorf("reason = %q", f.Reason)
	}
	if len(a.asked) != 0 {
		t.Errorf("asked %q", a.asked)
	}
}

func TestIDsAreEscapedInPaths(t *testing.T) {
	c, _ := serve(t, map[string]string{"GET /surveys/SV%2F..%3Fx/responses/R_1": `404 {}`})
	_, err := c.Response(t.Context(), "SV/..?x", "R_1")
	wantClass(t, err, fault.Refused)
}

func TestTimes(t *testing.T) {
	if got := qualtrics.FormatTime(time.Date(2026, 1, 15, 10, 30, 0, 9e8, time.FixedZone("", 3600))); got != "2026-01-15 09:30:00" {
		t.Errorf("written as %s", got)
	}
	want := time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC)
	for _, s := range []string{"2026-01-15 09:30:00", "2026-01-15T09:30:00Z", "2026-01-15T10:30:00.000+01:00"} {
		if got, err := qualtrics.ParseTime(s); got != want || err != nil {
			t.Errorf("%s is %s, error %v", s, got, err)
		}
	}
	if _, err := qualtrics.ParseTime("15.01.2026"); err == nil {
		t.Error("15.01.2026 was read")
	}
}

func TestATokenThatIsReplacedInItsFileIsUsed(t *testing.T) {
	s := httptest.NewServer(&api{t: t, answers: map[string]string{"GET /whoami": `{"result":{"brandId":"simbrand"}}`}})
	t.Cleanup(s.Close)
	secret, replace := settingstest.Rotating(t, "revoked-token")
	c := newClient(t, s.URL, nil, qualtrics.Options{Token: secret})
	_, err := c.WhoAmI(t.Context())
	wantClass(t, err, fault.Unauthorized)
	replace(token)
	bustest.Eventually(t, "the new token", func() bool { _, err := c.WhoAmI(t.Context()); return err == nil })
}
