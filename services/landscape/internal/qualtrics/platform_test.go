package qualtrics_test

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

func TestOneCallInAHundredFailsAndTheSameOnesEveryTime(t *testing.T) {
	pattern := func(seed uint64, acts bool) (failed []int, contacts int) {
		b := start(t, func(s *qualtrics.Settings) {
			s.Assumed.ErrorRate, s.Assumed.ErrorActs, s.Assumed.Seed = 0.01, acts, seed
		})
		for i := range 500 {
			a := b.call("POST", list+"/contacts", `{"extRef":"P-`+fmt.Sprint(i)+`"}`)
			if a.status == 200 {
				continue
			}
			a.refused(500, "")
			failed = append(failed, i)
		}
		return failed, len(b.sim.Books().Contacts)
	}
	first, contacts := pattern(7, false)
	if len(first) == 0 || len(first) > 15 || contacts != 500-len(first) {
		t.Errorf("%d of 500 failed, %d acted", len(first), contacts)
	}
	again, contacts := pattern(7, true)
	check(t, "same seed", again, first)
	check(t, "contacts when failures act", contacts, 500)
	if other, _ := pattern(8, false); asJSON(t, other) == asJSON(t, first) {
		t.Error("another seed, the same failures")
	}
}

func TestA504MayHideACompletedWrite(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.TimeoutRate = 1 })
	b.call("POST", list+"/contacts", `{"extRef":"P-1"}`).refused(504, "")
	b.call("POST", list+"/contacts", `{"extRef":null}`).refused(400, "")
	check(t, "contacts", len(b.sim.Books().Contacts), 1)
}

func TestACallThatTakesTooLongActsAndTimesOut(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.Latency, s.Assumed.ServerTimeout = time.Hour, 20*time.Millisecond
	})
	check(t, "the default", qualtrics.Defaults().Assumed.ServerTimeout, 0)
	began := time.Now()
	b.call("POST", list+"/contacts", `{"extRef":"P-1"}`).refused(504, "")
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("took %v", took)
	}
	check(t, "contacts", len(b.sim.Books().Contacts), 1)
	if err := b.sim.Change([]byte(`{latency: 15ms, serverTimeout: 1m}`)); err != nil {
		t.Fatal(err)
	}
	began = time.Now()
	b.call("GET", "/whoami", "").want(200)
	if took := time.Since(began); took < 15*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if err := b.sim.Change([]byte(`{serverTimeout: 0s}`)); err != nil {
		t.Fatal(err)
	}
	check(t, "server timeout", b.sim.Switches().ServerTimeout, 5*time.Second)
}

func TestARefusalIsProxiedToo(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.ProxiedTo = "sjc1.qualtrics.com" })
	a := b.call("GET", "/surveys/SV_0/responses/R_0", "")
	a.refused(404, "GSI_2")
	check(t, "notice", a.at("meta", "notice"),
		"Request proxied. For faster response times, use this host instead: sjc1.qualtrics.com")
}

func TestARevokedTokenIs401(t *testing.T) {
	b := start(t, nil)
	b.call("GET", "/whoami", "").want(200)
	if err := b.sim.Change([]byte(`tokenRevoked: true`)); err != nil {
		t.Fatal(err)
	}
	b.call("POST", list+"/contacts", `{}`).refused(401, "")
	b.callWith("GET", b.server.URL+"/API/v3/whoami", "", b.bearer("")).want(200) // the OAuth client has its own
	check(t, "contacts", len(b.sim.Books().Contacts), 0)
}

// token asks for an access token.
func (b *brand) token(scope string) answer {
	b.t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}}
	if scope != "" {
		form.Set("scope", scope)
	}
	return b.callWith("POST", b.server.URL+"/oauth2/token", form.Encode(), map[string]string{
		"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte("simulated-client:simulated-secret")),
		"Content-Type":  "application/x-www-form-urlencoded",
	})
}

func (b *brand) bearer(scope string) map[string]string {
	b.t.Helper()
	return map[string]string{
		"Authorization": "Bearer " + b.token(scope).want(200).text("access_token"), "Content-Type": "application/json",
	}
}

func TestScopesAreEnforcedWhereTheSwitchSaysSo(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.EnforceScopes, s.Assumed.ScopeNames = true, map[string]string{"survey_responses": "responses"}
	})
	for scope, want := range map[string]struct{ read, search, write int }{
		"read:directory_contacts":                        {200, 200, 403},
		"manage:directory_contacts":                      {200, 200, 200},
		"manage:all":                                     {200, 200, 200},
		"read:directories manage:directory_contacts":     {200, 200, 200},
		"manage:contact_transactions read:mailing_lists": {403, 403, 403},
	} {
		t.Run(scope, func(t *testing.T) {
			header := b.bearer(scope)
			at := func(path string) string { return b.server.URL + "/API/v3" + path }
			b.callWith("GET", at(list+"/contacts"), "", header).want(want.read)
			b.callWith("POST", at(directory+"/contacts/search"),
				`{"filter":{"filterType":"extRef","comparison":"eq","value":"P-1"}}`, header).want(want.search)
			b.callWith("POST", at(list+"/contacts"), `{"extRef":"P-1"}`, header).want(want.write)
		})
	}
	responses := b.server.URL + "/API/v3/surveys/SV_service/responses/R_0"
	b.callWith("GET", responses, "", b.bearer("read:survey_responses")).refused(403, "QMST_2.1")
	b.callWith("GET", responses, "", b.bearer("read:responses")).want(404)
	b.call("POST", list+"/contacts", `{}`).want(200) // an API token has no scopes
}

func TestTokensAreGivenForGrantedScopesOnly(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.EnforceScopes, s.Assumed.GrantedScopes = true, []string{"manage:distributions", "read:users"}
	})
	for scope, want := range map[string]int{
		"": 400, "distributions": 400, "write:distributions": 400, "manage:all": 400, "manage:distributions manage:all": 400,
		"manage:distributions": 200, "read:users manage:distributions": 200,
	} {
		a := b.token(scope).want(want)
		if want == 400 {
			check(t, scope, a.text("error"), "invalid_scope")
		}
	}
}

func TestAccessTokensEndInTimeOrWhenTheyAreRevoked(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.TokenLife = time.Minute })
	check(t, "life", b.token("").at("expires_in"), 60)
	whoami, header := b.server.URL+"/API/v3/whoami", b.bearer("")
	b.pass(time.Minute - 1)
	b.callWith("GET", whoami, "", header).want(200)
	b.pass(1)
	b.callWith("GET", whoami, "", header).want(401)
	header = b.bearer("")
	b.sim.RevokeAccessTokens()
	b.callWith("GET", whoami, "", header).refused(401, "")
}
