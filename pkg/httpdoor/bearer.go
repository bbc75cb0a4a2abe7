package httpdoor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// OAuthSettings say which access tokens open a door: those of one issuer, for us.
type OAuthSettings struct {
	Issuer   string   `envconfig:"INGRESS_OAUTH_ISSUER" desc:"issuer (iss) of access tokens that open the door as Authorization: Bearer; default: none do"`
	JWKSURL  string   `envconfig:"INGRESS_OAUTH_JWKS_URL" desc:"where the issuer's keys are (its jwks_uri), with https; required with INGRESS_OAUTH_ISSUER"`
	Audience []string `envconfig:"INGRESS_OAUTH_AUDIENCE" desc:"audience (aud) that a token must be for, any of several separated by commas; required with INGRESS_OAUTH_ISSUER"`
	Scope    string   `envconfig:"INGRESS_OAUTH_SCOPE" desc:"scope that a token must hold; default: any"`
	Clients  []string `envconfig:"INGRESS_OAUTH_CLIENTS" desc:"clients whose tokens are taken, by the id in azp, client_id, cid or sub, separated by commas; default: any"`
}

func (s OAuthSettings) set() bool {
	return s.Issuer != "" || s.JWKSURL != "" || len(s.Audience) > 0 || s.Scope != "" || len(s.Clients) > 0
}

// bearers gives the check of tokens, nil where none are taken.
func (s OAuthSettings) bearers() (*Bearers, error) {
	if !s.set() {
		return nil, nil
	}
	var wrong []error
	for name, empty := range map[string]bool{
		"INGRESS_OAUTH_ISSUER": s.Issuer == "", "INGRESS_OAUTH_JWKS_URL": s.JWKSURL == "", "INGRESS_OAUTH_AUDIENCE": len(s.Audience) == 0,
	} {
		if empty {
			wrong = append(wrong, fmt.Errorf("%s is required where any INGRESS_OAUTH_ setting is there", name))
		}
	}
	if s.JWKSURL != "" && !private(s.JWKSURL) {
		wrong = append(wrong, errors.New("INGRESS_OAUTH_JWKS_URL must be an address with https (http on this host only): whoever can change the keys on their way opens the door"))
	}
	if len(wrong) > 0 {
		return nil, errors.Join(wrong...)
	}
	return &Bearers{settings: s, keys: newKeySet(s.JWKSURL)}, nil
}

// private tells that nobody in between can change what comes from the address.
func private(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip, _ := netip.ParseAddr(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (ip.IsLoopback() || u.Hostname() == "localhost")
}

// Bearers checks access tokens: JWTs, signed by a key that the issuer publishes.
type Bearers struct {
	settings OAuthSettings
	keys     *keySet
}

// algorithms that a token may be signed with: those with a public key. One with a shared secret would let whoever knows
// the public key sign.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// leeway is how far the issuer's clock may be from ours.
const leeway = time.Minute

// The ways in which a token is no good.
var (
	errToken = errors.New("the access token is not valid here")
	errScope = errors.New("the access token does not hold the scope that is needed here")
)

// claims are those that matter beside the registered ones. Issuers differ in their names: azp (OpenID Connect), client_id
// (RFC 9068), cid (SAP's XSUAA); scope is one text (RFC 8693) or a list (XSUAA), scp with some.
type claims struct {
	jwt.Claims
	AuthorizedParty string `json:"azp"`
	ClientID        string `json:"client_id"`
	CID             string `json:"cid"`
	Scope           words  `json:"scope"`
	SCP             words  `json:"scp"`
}

// client is who the token was given to.
func (c claims) client() string {
	for _, id := range []string{c.AuthorizedParty, c.ClientID, c.CID} {
		if id != "" {
			return id
		}
	}
	return c.Subject
}

// words are a list, or one text with spaces between.
type words []string

// UnmarshalJSON reads either.
func (w *words) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err == nil {
		*w = strings.Fields(text)
		return nil
	}
	return json.Unmarshal(data, (*[]string)(w))
}

// check gives the client of a token. The error is errToken or errScope, or a *Problem where it cannot be known now.
func (b *Bearers) check(ctx context.Context, raw string) (string, error) {
	token, err := jwt.ParseSigned(raw, algorithms)
	if err != nil || len(token.Headers) != 1 {
		return "", errToken
	}
	keys, err := b.keys.find(ctx, token.Headers[0].KeyID)
	if err != nil {
		return "", err
	}
	c, ok := verified(token, keys)
	if !ok || c.Expiry == nil {
		return "", errToken
	}
	expected := jwt.Expected{Issuer: b.settings.Issuer, AnyAudience: b.settings.Audience, Time: time.Now()}
	if c.ValidateWithLeeway(expected, leeway) != nil || len(b.settings.Clients) > 0 && !slices.Contains(b.settings.Clients, c.client()) {
		return "", errToken
	}
	if need := b.settings.Scope; need != "" && !slices.Contains(c.Scope, need) && !slices.Contains(c.SCP, need) {
		return "", errScope
	}
	return c.client(), nil
}

// verified reads the claims if one of the keys has signed them.
func verified(token *jwt.JSONWebToken, keys []jose.JSONWebKey) (c claims, ok bool) {
	for _, key := range keys {
		if key.Algorithm != "" && key.Algorithm != token.Headers[0].Algorithm {
			continue
		}
		c = claims{}
		if err := token.Claims(key.Key, &c); err == nil {
			return c, true
		}
	}
	return claims{}, false
}

// refuse answers a token that is no good (RFC 6750 §3.1).
func (g guard) refuse(err error) error {
	p, code := Unauthorized(err.Error()), "invalid_token"
	switch {
	case errors.Is(err, errScope):
		p, code = NewProblem(http.StatusForbidden, err.Error()), "insufficient_scope"
	case !errors.Is(err, errToken):
		return err
	}
	p.header = http.Header{"Www-Authenticate": {g.schemes[len(g.schemes)-1] + fmt.Sprintf(", error=%q", code)}}
	return p
}
