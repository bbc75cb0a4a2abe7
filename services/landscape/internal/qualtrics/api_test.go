package qualtrics_test

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"mime/multipart"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

func TestOnlyTheTokenLetsIn(t *testing.T) {
	b := start(t, nil)
	for name, header := range map[string]map[string]string{
		"no token":       {},
		"wrong token":    {"X-API-TOKEN": "other"},
		"wrong bearer":   {"Authorization": "Bearer other"},
		"basic":          {"Authorization": "Basic simulated-token"},
		"token in bears": {"Authorization": "Bearer simulated-token"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.callWith("GET", b.server.URL+"/API/v3/whoami", "", header)
			a.refused(401, "")
		})
	}
	a := b.call("GET", "/whoami", "").want(200)
	check(t, "brandId", a.at("result", "brandId"), "simbrand")
	check(t, "httpStatus", a.at("meta", "httpStatus"), "200 - OK")
	if a.text("meta", "requestId") == "" || a.header.Get("request-time") == "" {
		t.Errorf("no request id or time: %s %v", a.raw, a.header)
	}
	if got := b.sim.Books().Count("GET /whoami"); got != 1 {
		t.Errorf("counted %d calls, want the one that was let in", got)
	}
}

func TestOAuthTokenLetsInUntilItExpires(t *testing.T) {
	b := start(t, nil)
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("simulated-client:simulated-secret"))
	ask := func(contentType, body, authorization string) answer {
		return b.callWith("POST", b.server.URL+"/oauth2/token", body, map[string]string{
			"Authorization": authorization, "Content-Type": contentType,
		})
	}
	form := "application/x-www-form-urlencoded"
	ask(form, "grant_type=client_credentials", "Basic b3RoZXI6c2VjcmV0").want(401)
	ask(form, "grant_type=password", basic).want(400)
	ask("application/json", "{}", basic).want(400)

	a := ask(form, "grant_type=client_credentials&scope=manage%3Aall", basic).want(200)
	check(t, "type", a.at("token_type"), "bearer")
	check(t, "life", a.at("expires_in"), 86400)
	bearer := map[string]string{"Authorization": "Bearer " + a.text("access_token")}
	whoami := b.server.URL + "/API/v3/whoami"
	b.callWith("GET", whoami, "", bearer).want(200)
	b.restart()
	b.callWith("GET", whoami, "", bearer).want(200)
	b.pass(24 * time.Hour)
	b.callWith("GET", whoami, "", bearer).want(401)
}

func TestOAuthTakesMultipartUnlessToldNotTo(t *testing.T) {
	for strict, want := range map[bool]int{false: 200, true: 400} {
		b := start(t, func(s *qualtrics.Settings) { s.Assumed.OAuthFormOnly = strict })
		var body bytes.Buffer
		form := multipart.NewWriter(&body)
		if err := form.WriteField("grant_type", "client_credentials"); err != nil {
			t.Fatal(err)
		}
		if err := form.Close(); err != nil {
			t.Fatal(err)
		}
		b.callWith("POST", b.server.URL+"/oauth2/token", body.String(), map[string]string{
			"Content-Type":  form.FormDataContentType(),
			"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("simulated-client:simulated-secret")),
		}).want(want)
	}
}

func TestUnknownPathIsA404WithoutCodeAndRequestID(t *testing.T) {
	b := start(t, nil)
	a := b.call("GET", "/directory", "").want(404)
	if a.at("meta", "error") != nil || a.at("meta", "requestId") != nil {
		t.Errorf("got %s", a.raw)
	}
	b.call("DELETE", "/whoami", "").want(404)
}

func TestOversizedOrMistypedBodiesAreRefused(t *testing.T) {
	b := start(t, nil)
	b.call("POST", list+"/contacts", `{"firstName":"`+strings.Repeat("x", 5<<20)+`"}`).refused(413, "")
	b.callWith("POST", b.server.URL+"/API/v3"+list+"/contacts", `{}`, map[string]string{
		"X-API-TOKEN": "simulated-token", "Content-Type": "text/plain",
	}).refused(415, "")
	for _, body := range []string{``, `[]`, `null`, `{"firstName":}`, `{} {}`} {
		b.call("POST", list+"/contacts", body).refused(400, "")
	}
}

func TestDirectoriesTellTheIdentityRules(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Dedupe = []qualtrics.IdentityRule{{"externalDataReference"}, {"email", "lastName"}}
	})
	a := b.call("GET", "/directories", "").want(200)
	check(t, "rules", a.at("result", "elements", 0, "deduplicationCriteria"), map[string]bool{
		"email": true, "firstName": false, "lastName": true, "externalDataReference": true, "phone": false,
	})
	check(t, "id", a.at("result", "elements", 0, "directoryId"), "POOL_simulated")
}

func TestAProxiedCallWorksAndSaysSo(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.ProxiedTo = "sjc1.qualtrics.com" })
	a := b.call("GET", "/whoami", "").want(200)
	check(t, "notice", a.at("meta", "notice"),
		"Request proxied. For faster response times, use this host instead: sjc1.qualtrics.com")
}

func TestSettingsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, change := range map[string]func(*qualtrics.Settings){
		"base URL":     func(s *qualtrics.Settings) { s.BaseURL = "localhost" },
		"credentials":  func(s *qualtrics.Settings) { s.Token, s.ClientID = "", "" },
		"directory":    func(s *qualtrics.Settings) { s.DirectoryID = "1" },
		"criterion":    func(s *qualtrics.Settings) { s.Dedupe = []qualtrics.IdentityRule{{"mail"}} },
		"list":         func(s *qualtrics.Settings) { s.MailingLists[0].ID = "ML_1" },
		"survey":       func(s *qualtrics.Settings) { s.Surveys[0].ID = "1" },
		"flow":         func(s *qualtrics.Settings) { s.Surveys[0].Flow = nil },
		"contact id":   func(s *qualtrics.Settings) { s.Assumed.LinkContactID = "CTR" },
		"loss":         func(s *qualtrics.Settings) { s.Assumed.EventLoss = 1.5 },
		"page size":    func(s *qualtrics.Settings) { s.Assumed.LinkPages = []int{0} },
		"task body":    func(s *qualtrics.Settings) { s.Tasks = []qualtrics.WebServiceTask{{URL: "http://x"}} },
		"webhook's":    func(s *qualtrics.Settings) { s.Webhooks = []qualtrics.Webhook{{Topics: "*", URL: "x"}} },
		"topic":        func(s *qualtrics.Settings) { s.Webhooks = []qualtrics.Webhook{{Topics: "all", URL: "http://x"}} },
		"no criterion": func(s *qualtrics.Settings) { s.Dedupe = []qualtrics.IdentityRule{{}} },
	} {
		t.Run(name, func(t *testing.T) {
			st, err := store.Open("")
			if err != nil {
				t.Fatal(err)
			}
			settings := qualtrics.Defaults()
			settings.BaseURL = "http://localhost:8080"
			if _, err := qualtrics.New(st, settings, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatalf("the defaults are refused: %v", err)
			}
			change(&settings)
			if _, err := qualtrics.New(st, settings, slog.New(slog.DiscardHandler)); err == nil {
				t.Error("taken")
			}
		})
	}
}
