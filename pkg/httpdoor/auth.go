package httpdoor

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/closeloop/closeloop/pkg/settings"
)

// Settings are those of every door.
type Settings struct {
	BasicUsers settings.Secrets `envconfig:"INGRESS_BASIC_USERS" desc:"who may call, as user:password, several separated by commas; the same user twice while a password changes"`
	APIKeys    settings.Secrets `envconfig:"INGRESS_API_KEYS" desc:"keys that may stand in the header X-API-Key, separated by commas"`
	Auth       string           `envconfig:"INGRESS_AUTH" desc:"none lets everybody in; left empty, callers need credentials"`
}

// Validate is the error of [Settings.Credentials].
func (s Settings) Validate() error {
	_, err := s.Credentials()
	return err
}

// Credentials reads the settings. The error names the variable that is wrong, and shows nothing of its secrets.
func (s Settings) Credentials() (Credentials, error) {
	c := Credentials{APIKeys: s.APIKeys, None: s.Auth == "none"}
	var wrong []error
	for i, entry := range s.BasicUsers {
		user, password, _ := strings.Cut(entry.Reveal(), ":")
		if user == "" || password == "" {
			wrong = append(wrong, fmt.Errorf("INGRESS_BASIC_USERS: entry %d is not user:password", i+1))
		}
		c.Basic = append(c.Basic, BasicUser{Name: user, Password: settings.Secret(password)})
	}
	if s.Auth != "" && !c.None {
		wrong = append(wrong, fmt.Errorf("INGRESS_AUTH is %q; it may be empty or none", s.Auth))
	}
	if c.None && len(s.BasicUsers)+len(s.APIKeys) > 0 {
		wrong = append(wrong, errors.New("INGRESS_AUTH=none contradicts INGRESS_BASIC_USERS and INGRESS_API_KEYS"))
	}
	if len(wrong) > 0 {
		return Credentials{}, errors.Join(wrong...)
	}
	return c, nil
}

// Credentials are what opens [Guarded] routes. Any one of them does.
type Credentials struct {
	// Basic users may be listed more than once, with different passwords.
	Basic []BasicUser
	// APIKeys may stand in the header X-API-Key.
	APIKeys []settings.Secret
	// None lets everybody in.
	None bool
}

// BasicUser is a user of HTTP Basic authentication.
type BasicUser struct {
	Name     string
	Password settings.Secret
}

// digest stands for a secret: all are of one length, so comparing them takes the same time whatever they are.
type digest [sha256.Size]byte

// guard checks credentials.
type guard struct {
	open        bool
	basic, keys []digest
	scheme      string
}

func newGuard(realm string, c Credentials) guard {
	g := guard{open: c.None, scheme: fmt.Sprintf("Basic realm=%q, charset=\"UTF-8\"", realm)}
	for _, u := range c.Basic {
		g.basic = append(g.basic, digestOf(u.Name+":"+u.Password.Reveal()))
	}
	for _, key := range c.APIKeys {
		g.keys = append(g.keys, digestOf(key.Reveal()))
	}
	if len(g.basic) == 0 && len(g.keys) > 0 {
		g.scheme = fmt.Sprintf("ApiKey realm=%q", realm)
	}
	return g
}

func digestOf(secret string) digest { return sha256.Sum256([]byte(secret)) }

// warn says what is unusual about the credentials, once guarded routes exist.
func (g guard) warn(log *slog.Logger) {
	switch {
	case g.open:
		log.Warn("guarded routes are open to everybody, because INGRESS_AUTH=none")
	case len(g.basic)+len(g.keys) == 0:
		log.Warn("guarded routes refuse everybody: set INGRESS_BASIC_USERS or INGRESS_API_KEYS, or INGRESS_AUTH=none")
	}
}

// admits compares with every credential there is, so that the time taken tells nothing. It gives the user whose password
// was right, if that is what opened.
func (g guard) admits(r *http.Request) (user string, ok bool) {
	if g.open {
		return "", true
	}
	admitted := 0
	if name, password, given := r.BasicAuth(); given && match(g.basic, digestOf(name+":"+password)) == 1 {
		user, admitted = name, 1
	}
	if key := r.Header.Get("X-API-Key"); key != "" {
		admitted |= match(g.keys, digestOf(key))
	}
	return user, admitted == 1
}

func match(known []digest, given digest) int {
	found := 0
	for _, k := range known {
		found |= subtle.ConstantTimeCompare(k[:], given[:])
	}
	return found
}

func (g guard) challenge() *Problem {
	p := Unauthorized("credentials are missing or wrong")
	p.header = http.Header{"Www-Authenticate": {g.scheme}}
	return p
}
