package httpdoor_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/settings"
)

// issuer gives out tokens and publishes its keys.
type issuer struct {
	t *testing.T
	*httptest.Server
	asked  atomic.Int32
	mu     sync.Mutex
	status int
	keys   []any
}

func newIssuer(t *testing.T) *issuer {
	i := &issuer{t: t, status: http.StatusOK}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i.asked.Add(1)
		i.mu.Lock()
		defer i.mu.Unlock()
		w.WriteHeader(i.status)
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
	}))
	t.Cleanup(i.Close)
	return i
}

// publishes says what is at the JWKS address from now on.
func (i *issuer) publishes(status int, keys ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status, i.keys = status, keys
}

func (i *issuer) settings() httpdoor.OAuthSettings {
	return httpdoor.OAuthSettings{Issuer: "https://issuer.example", JWKSURL: i.URL, Audience: []string{"closeloop", "other-name"}}
}

// signer is a private key of the issuer.
type signer struct {
	id  string
	alg jose.SignatureAlgorithm
	key crypto.Signer
}

func newECDSA(t *testing.T, id string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, jose.ES256, key}
}

func newRSA(t *testing.T, id string) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, jose.RS256, key}
}

// public is the key as it is published.
func (s signer) public() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.key.Public(), KeyID: s.id, Use: "sig"}
}

func (s signer) sign(t *testing.T, claims map[string]any) string {
	t.Helper()
	return signed(t, jose.SigningKey{Algorithm: s.alg, Key: jose.JSONWebKey{Key: s.key, KeyID: s.id}}, claims)
}

func signed(t *testing.T, key jose.SigningKey, claims map[string]any) string {
	t.Helper()
	with, err := jose.NewSigner(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	made, err := with.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := made.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// claims are good ones, with changes; nil takes one away.
func claims(changes map[string]any) map[string]any {
	c := map[string]any{
		"iss": "https://issuer.example", "aud": []string{"closeloop"}, "sub": "event-mesh",
		"exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(), "scope": "loops.write loops.read",
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, value any) bool { return value == nil })
	return c
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func guarded(t *testing.T, s httpdoor.Settings) *httpdoor.Door {
	t.Helper()
	o, err := s.Options()
	if err != nil {
		t.Fatal(err)
	}
	d := httpdoor.New(o)
	d.Handle(http.MethodPost, "/", httpdoor.Guarded, whoami)
	return d
}

func TestAccessTokensOpenTheDoor(t *testing.T) {
	i, ec, rs := newIssuer(t), newECDSA(t, "k1"), newRSA(t, "k2")
	i.publishes(200, ec.public(), rs.public(), map[string]string{"kty": "later-kind", "kid": "k9"})
	narrow := i.settings()
	narrow.Scope, narrow.Clients = "loops.write", []string{"event-mesh"}
	stranger := newECDSA(t, "k1")
	publicKey, _ := rs.public().MarshalJSON()
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(ec.sign(t, claims(nil)), ".")[1] + "."
	good := ec.sign(t, claims(nil))
	const invalid, scope = `Bearer realm="closeloop", error="invalid_token"`, `Bearer realm="closeloop", error="insufficient_scope"`
	for name, tt := range map[string]struct {
		settings  httpdoor.OAuthSettings
		token     string
		status    int
		challenge string
	}{
		"ES256":                  {i.settings(), good, 200, ""},
		"RS256":                  {i.settings(), rs.sign(t, claims(nil)), 200, ""},
		"scope and client":       {narrow, good, 200, ""},
		"scope as list":          {narrow, ec.sign(t, claims(map[string]any{"scope": []string{"loops.write"}})), 200, ""},
		"scope as scp":           {narrow, ec.sign(t, claims(map[string]any{"scope": nil, "scp": []string{"loops.write"}})), 200, ""},
		"client as azp":          {narrow, ec.sign(t, claims(map[string]any{"sub": "somebody", "azp": "event-mesh"})), 200, ""},
		"one audience, as text":  {i.settings(), ec.sign(t, claims(map[string]any{"aud": "other-name"})), 200, ""},
		"a clock that is late":   {i.settings(), ec.sign(t, claims(map[string]any{"nbf": time.Now().Add(20 * time.Second).Unix()})), 200, ""},
		"another scope":          {narrow, ec.sign(t, claims(map[string]any{"scope": "loops.writer"})), 403, scope},
		"no scope":               {narrow, ec.sign(t, claims(map[string]any{"scope": nil})), 403, scope},
		"another client":         {narrow, ec.sign(t, claims(map[string]any{"azp": "somebody"})), 401, invalid},
		"expired":                {i.settings(), ec.sign(t, claims(map[string]any{"exp": time.Now().Add(-2 * time.Minute).Unix()})), 401, invalid},
		"without end":            {i.settings(), ec.sign(t, claims(map[string]any{"exp": nil})), 401, invalid},
		"not yet":                {i.settings(), ec.sign(t, claims(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()})), 401, invalid},
		"another issuer":         {i.settings(), ec.sign(t, claims(map[string]any{"iss": "https://issuer.example/"})), 401, invalid},
		"no issuer":              {i.settings(), ec.sign(t, claims(map[string]any{"iss": nil})), 401, invalid},
		"another audience":       {i.settings(), ec.sign(t, claims(map[string]any{"aud": "closeloop2"})), 401, invalid},
		"no audience":            {i.settings(), ec.sign(t, claims(map[string]any{"aud": nil})), 401, invalid},
		"somebody else's key":    {i.settings(), stranger.sign(t, claims(nil)), 401, invalid},
		"unknown key":            {i.settings(), newECDSA(t, "k7").sign(t, claims(nil)), 401, invalid},
		"changed on its way":     {i.settings(), good[:len(good)-4] + "AAAA", 401, invalid},
		"algorithm none":         {i.settings(), none, 401, invalid},
		"public key as a secret": {i.settings(), signed(t, jose.SigningKey{Algorithm: jose.HS256, Key: jose.JSONWebKey{Key: publicKey, KeyID: "k2"}}, claims(nil)), 401, invalid},
		"no token":               {i.settings(), "", 401, invalid},
		"a word":                 {i.settings(), "word", 401, invalid},
	} {
		t.Run(name, func(t *testing.T) {
			got := call(t, guarded(t, httpdoor.Settings{OAuth: tt.settings}), http.MethodPost, "/", nil, bearer(tt.token)...)
			if challenge := got.Header().Get("WWW-Authenticate"); got.Code != tt.status || challenge != tt.challenge {
				t.Errorf("%d, %s: %s", got.Code, challenge, got.Body)
			}
			if got.Code == 200 && got.Body.String() != `"event-mesh"` {
				t.Errorf("taken for %s", got.Body)
			}
		})
	}
}

func TestATokenIsOneCredentialOfSeveral(t *testing.T) {
	i, key := newIssuer(t), newECDSA(t, "k1")
	i.publishes(200, key.public())
	d := guarded(t, httpdoor.Settings{
		BasicUsers: settings.SecretsOf("sap:one"), APIKeys: settings.SecretsOf("key-1"), OAuth: i.settings(),
	})
	for name, tt := range map[string]struct {
		header []string
		status int
	}{
		"token":                               {bearer(key.sign(t, claims(nil))), 200},
		"user":                                {basic("sap:one"), 200},
		"key":                                 {[]string{"X-API-Key", "key-1"}, 200},
		"key, beside a token that is no good": {append(bearer("x"), "X-API-Key", "key-1"), 200},
		"nothing":                             {nil, 401},
	} {
		got := call(t, d, http.MethodPost, "/", nil, tt.header...)
		if got.Code != tt.status {
			t.Errorf("%s: %d", name, got.Code)
		}
		if schemes := strings.Join(got.Header().Values("WWW-Authenticate"), "; "); got.Code == 401 && schemes != `Basic realm="closeloop", charset="UTF-8"; Bearer realm="closeloop"` {
			t.Errorf("challenge %s", schemes)
		}
	}
}

func TestKeysOfTheIssuerMayRotate(t *testing.T) {
	i, first, second := newIssuer(t), newECDSA(t, "k1"), newECDSA(t, "k2")
	i.publishes(200, first.public())
	options, err := httpdoor.Settings{OAuth: i.settings()}.Options()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	options.Credentials.Bearers.SetClock(func() time.Time { return now })
	d := httpdoor.New(options)
	d.Handle(http.MethodPost, "/", httpdoor.Guarded, whoami)
	want := func(what string, s signer, status int, asked int32) {
		t.Helper()
		got := call(t, d, http.MethodPost, "/", nil, bearer(s.sign(t, claims(nil)))...)
		if got.Code != status || i.asked.Load() != asked {
			t.Errorf("%s: %d after %d questions, want %d after %d", what, got.Code, i.asked.Load(), status, asked)
		}
		if retry := got.Header().Get("Retry-After"); (got.Code == 503) != (retry != "") {
			t.Errorf("%s: Retry-After %q", what, retry)
		}
	}
	want("first key", first, 200, 1)
	want("again, from memory", first, 200, 1)
	now = now.Add(time.Minute)
	i.publishes(200, first.public(), second.public())
	want("a new key is looked for", second, 200, 2)
	want("one that nobody knows", newECDSA(t, "k3"), 401, 2) // just now the issuer was asked
	now = now.Add(10 * time.Minute)
	i.publishes(200, second.public())
	want("a key that was withdrawn", first, 401, 3)
	now = now.Add(10 * time.Minute)
	i.publishes(500)
	want("issuer down, keys known", second, 200, 4)
	want("issuer down, key unknown", first, 503, 4)
	now = now.Add(time.Hour)
	want("issuer down for too long", second, 503, 5)
	i.publishes(200)
	now = now.Add(time.Minute)
	want("issuer without keys", second, 503, 6)
	i.publishes(200, second.public())
	now = now.Add(time.Minute)
	want("issuer back", second, 200, 7)
}

func TestGoodTokensPassWhileWrongKeysAreSentFromTheirAddress(t *testing.T) {
	i, key := newIssuer(t), newECDSA(t, "k1")
	i.publishes(200, key.public())
	d := guarded(t, httpdoor.Settings{
		APIKeys: settings.SecretsOf("key-1"), OAuth: i.settings(), Limits: httpdoor.LimitSettings{Failures: 1},
	})
	wrong := []string{"X-API-Key", "x"}
	for _, status := range []int{401, 429} {
		if got := call(t, d, http.MethodPost, "/", nil, wrong...); got.Code != status {
			t.Errorf("a wrong key: %d, want %d", got.Code, status)
		}
	}
	good := bearer(key.sign(t, claims(nil)))
	for what, header := range map[string][]string{"a token": good, "a token beside a wrong key": append(wrong, good...)} {
		if got := call(t, d, http.MethodPost, "/", nil, header...); got.Code != 200 {
			t.Errorf("%s: %d", what, got.Code)
		}
	}
	for what, tt := range map[string]struct {
		header []string
		status int
	}{
		"a wrong token":                    {bearer("x"), 401},
		"a wrong token beside a wrong key": {append(wrong, bearer("x")...), 429},
	} {
		if got := call(t, d, http.MethodPost, "/", nil, tt.header...); got.Code != tt.status {
			t.Errorf("%s: %d, want %d", what, got.Code, tt.status)
		}
	}
}

// transport answers a request in place of the network.
type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

func TestNoGoodTokenWaitsForAnIssuerThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock stands still while somebody works
		first, second := newECDSA(t, "k1"), newECDSA(t, "k2")
		s := httpdoor.OAuthSettings{Issuer: "https://issuer.example", JWKSURL: "https://issuer.example/keys", Audience: []string{"closeloop"}}
		options, err := httpdoor.Settings{OAuth: s}.Options()
		if err != nil {
			t.Fatal(err)
		}
		asked, hangs, published := 0, false, first
		options.Credentials.Bearers.SetTransport(transport(func(r *http.Request) (*http.Response, error) {
			asked++
			if hangs {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			w := httptest.NewRecorder()
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{published.public()}})
			return w.Result(), nil
		}))
		d := httpdoor.New(options)
		d.Handle(http.MethodPost, "/", httpdoor.Guarded, whoami)
		end := map[string]any{"exp": time.Now().Add(24 * time.Hour).Unix()}
		tokens := map[string]string{"k1": first.sign(t, claims(end)), "k2": second.sign(t, claims(end))}
		want := func(what string, of signer, status, questions int) {
			t.Helper()
			began := time.Now()
			got := call(t, d, http.MethodPost, "/", nil, bearer(tokens[of.id])...)
			took := time.Since(began)
			synctest.Wait()
			if got.Code != status || status == 200 && took != 0 || asked != questions {
				t.Errorf("%s: %d in %s after %d questions, want %d at once after %d", what, got.Code, took, asked, status, questions)
			}
		}
		want("keys come", first, 200, 1)
		<-time.After(7 * time.Minute)
		want("keys of 7 minutes", first, 200, 1)
		hangs = true
		<-time.After(time.Minute)
		for range 5 {
			want("keys of 8 minutes, and a question under way", first, 200, 2)
		}
		for minute := 9; minute < 60; minute++ {
			<-time.After(time.Minute)
			want(fmt.Sprintf("keys of %d minutes", minute), first, 200, minute-6)
		}
		<-time.After(time.Minute)
		want("keys of an hour", first, 503, 54)
		hangs = false
		<-time.After(time.Minute)
		want("the issuer is back", first, 200, 55)
		published = second
		<-time.After(9 * time.Minute)
		want("a key that was withdrawn, until the question beside is answered", first, 200, 56)
		want("after it is answered, the new key", second, 200, 56)
		want("after it is answered, the old key", first, 401, 56)
	})
}

func TestNobodyIsLetInWhileTheIssuerWasNeverReached(t *testing.T) {
	i, key := newIssuer(t), newECDSA(t, "k1")
	s := i.settings()
	i.Close()
	got := call(t, guarded(t, httpdoor.Settings{OAuth: s}), http.MethodPost, "/", nil, bearer(key.sign(t, claims(nil)))...)
	if got.Code != 503 || got.Header().Get("Retry-After") == "" {
		t.Errorf("%d, Retry-After %q", got.Code, got.Header().Get("Retry-After"))
	}
}

func TestKeysAreNotTakenFromWhereTheIssuerRedirectsTo(t *testing.T) {
	i, key := newIssuer(t), newECDSA(t, "k1")
	i.publishes(200, key.public())
	elsewhere := httptest.NewServer(http.RedirectHandler(i.URL, http.StatusFound))
	t.Cleanup(elsewhere.Close)
	s := i.settings()
	s.JWKSURL = elsewhere.URL
	got := call(t, guarded(t, httpdoor.Settings{OAuth: s}), http.MethodPost, "/", nil, bearer(key.sign(t, claims(nil)))...)
	if got.Code != 503 || i.asked.Load() != 0 {
		t.Errorf("%d, and the keys were asked for %d times where the redirect leads", got.Code, i.asked.Load())
	}
}

func TestOAuthSettingsThatCannotWorkAreNamed(t *testing.T) {
	good := httpdoor.OAuthSettings{Issuer: "https://issuer", JWKSURL: "https://issuer/keys", Audience: []string{"a"}}
	for want, change := range map[string]func(*httpdoor.OAuthSettings){
		"":                                   func(*httpdoor.OAuthSettings) {},
		"INGRESS_OAUTH_ISSUER":               func(s *httpdoor.OAuthSettings) { s.Issuer = "" },
		"INGRESS_OAUTH_AUDIENCE":             func(s *httpdoor.OAuthSettings) { s.Audience = nil },
		"INGRESS_OAUTH_JWKS_URL is required": func(s *httpdoor.OAuthSettings) { s.JWKSURL = "" },
		"INGRESS_OAUTH_JWKS_URL must be an addres": func(s *httpdoor.OAuthSettings) { s.JWKSURL = "http://issuer/keys" },
	} {
		s := good
		change(&s)
		if err := (httpdoor.Settings{OAuth: s}).Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	if err := (httpdoor.Settings{OAuth: good, Auth: "none"}).Validate(); err == nil {
		t.Error("a door is open and closed")
	}
}
