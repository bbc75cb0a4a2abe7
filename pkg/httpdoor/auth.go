package httpdoor

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/closeloop/closeloop/pkg/settings"
)

// Credentials are what opens [Guarded] routes. Any one of them does, except where a certificate is required as well.
type Credentials struct {
	// Basic are users of HTTP Basic authentication, each as user:password; one may be listed more than once.
	Basic settings.Secrets
	// APIKeys may stand in the header X-API-Key.
	APIKeys settings.Secrets
	// Bearers accepts access tokens. Default: none are.
	Bearers *Bearers
	// Certificates of clients that TLS has verified.
	Certificates Certificates
	// None lets everybody in.
	None bool
}

// secret tells that something can be sent which opens the door.
func (c Credentials) secret() bool { return c.Basic.IsSet() || c.APIKeys.IsSet() || c.Bearers != nil }

// certificate tells that a certificate opens the door by itself: where it is one credential of several, or the only one.
func (c Credentials) certificate() bool {
	return c.Certificates.Accepted && !(c.Certificates.Required && c.secret())
}

// digest stands for a secret: all are of one length, so comparing them takes the same time whatever they are.
type digest [sha256.Size]byte

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// guard checks credentials.
type guard struct {
	Credentials
	schemes []string
	// quiet is a challenge for scripts of a page. To one that it knows a browser would ask the person for a password, in a window
	// of its own and in the middle of the page.
	quiet   string
	guesses *guesses
}

func newGuard(realm string, c Credentials, guesses *guesses) guard {
	g := guard{Credentials: c, guesses: guesses, quiet: fmt.Sprintf("Session realm=%q", realm)}
	if c.APIKeys.IsSet() && !c.Basic.IsSet() {
		g.schemes = append(g.schemes, fmt.Sprintf("ApiKey realm=%q", realm))
	}
	if c.Basic.IsSet() || !c.secret() {
		g.schemes = append(g.schemes, fmt.Sprintf("Basic realm=%q, charset=\"UTF-8\"", realm))
	}
	if c.Bearers != nil {
		g.schemes = append(g.schemes, fmt.Sprintf("Bearer realm=%q", realm))
	}
	return g
}

// warn says what is unusual about the credentials, once guarded routes exist.
func (g guard) warn(log *slog.Logger) {
	switch {
	case g.None:
		log.Warn("guarded routes are open to everybody, because INGRESS_AUTH=none")
	case !g.secret() && !g.certificate():
		log.Warn("guarded routes refuse everybody: set INGRESS_BASIC_USERS, INGRESS_API_KEYS, INGRESS_OAUTH_ISSUER or HTTP_CLIENT_CA_FILE, or INGRESS_AUTH=none")
	}
}

// caller is who was let in.
type caller struct {
	// user is the name that the credentials prove, if they prove one.
	user string
	// guest says that the door's own credentials would not have let them in.
	guest bool
	// key tells callers apart for the limit of requests.
	key string
}

// admit finds credentials that open the door, or are those of guests. address is where the request comes from.
func (g guard) admit(r *http.Request, address string, guests settings.Secrets) (caller, error) {
	if g.None {
		return caller{key: address}, nil
	}
	attempt := attemptOf(r)
	limited := g.guesses.allowed(address, attempt)
	if c, ok := g.admits(attempt, limited == nil, guests); ok {
		return c, nil
	}
	if name, ok := g.Certificates.holder(r.TLS); ok && g.certificate() {
		return caller{user: name, key: "certificate " + name}, nil
	}
	refused := error(g.challenge(r, "credentials are missing or wrong"))
	if token, given := bearerOf(r); given && g.Bearers != nil {
		who, err := g.Bearers.check(r.Context(), token)
		if err == nil {
			return caller{user: who, key: "bearer " + who}, nil
		}
		refused = g.refuse(err)
	}
	if limited == nil {
		limited = g.guesses.failed(address, attempt)
	}
	if limited != nil {
		return caller{}, limited
	}
	return caller{}, refused
}

// password finds out whose password an attempt holds.
func (g guard) password(a attempt, address string, guests settings.Secrets) (Guest, error) {
	if err := g.guesses.allowed(address, a); err != nil {
		return Guest{}, err
	}
	if c, ok := g.admits(a, true, guests); ok {
		return Guest{User: c.user, Limited: c.guest}, nil
	}
	if err := g.guesses.failed(address, a); err != nil {
		return Guest{}, err
	}
	return Guest{}, Unauthorized("user or password is wrong")
}

// attempt is a secret that a request holds.
type attempt struct {
	basic, apiKey  bool
	user, password string
	key            string
}

func attemptOf(r *http.Request) attempt {
	a := attempt{key: r.Header.Get("X-API-Key")}
	a.apiKey = a.key != ""
	a.user, a.password, a.basic = r.BasicAuth()
	return a
}

// admits compares with every secret there is, so that the time taken tells nothing. The digests are made anew each time,
// which costs less than a microsecond for each: secrets change while the door is open. Without passwords, the attempt's is
// not looked at. A user has no colon: with one, part of a password could stand in the name, for which guesses are counted.
func (g guard) admits(a attempt, passwords bool, guests settings.Secrets) (caller, bool) {
	if given := digestOf(a.user + ":" + a.password); a.basic && passwords && !strings.Contains(a.user, ":") {
		own, guest := match(g.Basic.Reveal(), given) == 1, match(guests.Reveal(), given) == 1
		if own || guest {
			return caller{user: a.user, guest: !own, key: string(given[:])}, true
		}
	}
	given := digestOf(a.key)
	return caller{key: string(given[:])}, a.apiKey && match(g.APIKeys.Reveal(), given) == 1
}

func match(known []string, given digest) int {
	found := 0
	for _, secret := range known {
		k := digestOf(secret)
		found |= subtle.ConstantTimeCompare(k[:], given[:])
	}
	return found
}

func bearerOf(r *http.Request) (token string, given bool) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(token), strings.EqualFold(scheme, "Bearer")
}

// challenge is the answer to whoever has no good credentials.
func (g guard) challenge(r *http.Request, detail string) *Problem {
	p := Unauthorized(detail)
	p.header = http.Header{"Www-Authenticate": g.schemes}
	if mode := r.Header.Get("Sec-Fetch-Mode"); mode != "" && mode != "navigate" {
		p.header.Set("Www-Authenticate", g.quiet)
	}
	return p
}
