package qualtrics

import (
	"crypto/subtle"
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

type accessToken struct {
	Token     string    `json:"token"`
	Scope     string    `json:"scope"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// authenticate takes an API token or an OAuth bearer token (qualtrics.md §2.2, §2.3), and gives the latter.
func (c *call) authenticate() (*accessToken, error) {
	refused := refuse(http.StatusUnauthorized, "", "The API token or access token is missing or invalid.")
	if token := c.request.Header.Get("X-API-TOKEN"); token != "" {
		if c.switches.TokenRevoked || c.settings.Token == "" || !equal(token, c.settings.Token) {
			return nil, refused
		}
		return nil, nil
	}
	scheme, bearer, _ := strings.Cut(c.request.Header.Get("Authorization"), " ")
	token, found := c.books.tokens.Get(bearer)
	if !strings.EqualFold(scheme, "Bearer") || !found || !c.now().Before(token.ExpiresAt) {
		return nil, refused
	}
	return &token, nil
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// checkScope refuses an access token that lacks the scope of an operation. An API token has the rights of its user.
func (c *call) checkScope(token *accessToken, operation, resource string) error {
	if token == nil || resource == "" || !c.switches.EnforceScopes {
		return nil
	}
	if renamed, found := c.switches.ScopeNames[resource]; found {
		resource = renamed
	}
	enough := []string{"manage:all", "manage:" + resource}
	if strings.HasPrefix(operation, http.MethodGet) || strings.HasSuffix(operation, "/search") {
		enough = append(enough, "read:"+resource)
	}
	for scope := range strings.FieldsSeq(token.Scope) {
		if slices.Contains(enough, scope) {
			return nil
		}
	}
	return forbidden()
}

// issueToken is the client credentials grant of OAuth (qualtrics.md §2.3).
func (s *Simulator) issueToken(w http.ResponseWriter, r *http.Request) {
	form, multipart, err := tokenForm(w, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.settings.Assumed
	id, secret, ok := r.BasicAuth()
	refused := ""
	switch {
	case !ok || s.settings.ClientID == "" || !equal(id, s.settings.ClientID) || !equal(secret, s.settings.ClientSecret):
		w.Header().Set("WWW-Authenticate", `Basic realm="oauth2"`)
		writeJSON(w, http.StatusUnauthorized, map[string]string{"error": "invalid_client"})
		return
	case err != nil, multipart && a.OAuthFormOnly:
		refused = "invalid_request"
	case form.Get("grant_type") != "client_credentials":
		refused = "unsupported_grant_type"
	case !a.grants(form.Get("scope")):
		refused = "invalid_scope"
	}
	if refused != "" {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": refused})
		return
	}
	token := accessToken{Token: newID(""), Scope: form.Get("scope"), ExpiresAt: s.now().Add(a.TokenLife)}
	must(s.books.tokens.Put(token.Token, token))
	writeJSON(w, http.StatusOK, map[string]any{
		"access_token": token.Token, "token_type": "bearer", "expires_in": int(a.TokenLife.Seconds()), "scope": token.Scope,
	})
}

// tokenForm reads the form of a token call in either encoding (qualtrics.md §2.3).
func tokenForm(w http.ResponseWriter, r *http.Request) (form url.Values, multipart bool, err error) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
		return nil, false, err
	case kind == "application/x-www-form-urlencoded":
		err = r.ParseForm()
	case kind == "multipart/form-data":
		multipart, err = true, r.ParseMultipartForm(1<<16)
	default:
		err = errors.New("neither form encoding")
	}
	return r.PostForm, multipart, err
}

// grants tells whether the client may have a token for these scopes.
func (a Switches) grants(scopes string) bool {
	if !a.EnforceScopes {
		return true
	}
	asked := strings.Fields(scopes)
	for _, scope := range asked {
		verb, resource, _ := strings.Cut(scope, ":")
		if verb != "read" && verb != "manage" || resource == "" ||
			len(a.GrantedScopes) > 0 && !slices.Contains(a.GrantedScopes, scope) {
			return false
		}
	}
	return len(asked) > 0
}

// RevokeAccessTokens ends every access token issued so far.
func (s *Simulator) RevokeAccessTokens() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, token := range s.books.tokens.All() {
		must(s.books.tokens.Delete(token.Token))
	}
}
