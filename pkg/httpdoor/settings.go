package httpdoor

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/closeloop/closeloop/pkg/settings"
)

// Settings are those of every door.
type Settings struct {
	BasicUsers settings.Secrets `envconfig:"INGRESS_BASIC_USERS" desc:"who may call, as user:password, several separated by commas; the same user twice while a password changes"`
	APIKeys    settings.Secrets `envconfig:"INGRESS_API_KEYS" desc:"keys that may stand in the header X-API-Key, separated by commas"`
	Auth       string           `envconfig:"INGRESS_AUTH" desc:"none lets everybody in; left empty, callers need credentials"`
	OAuth      OAuthSettings
	TLS        TLSSettings
	Limits     LimitSettings
}

// LimitSettings say how much a door takes.
type LimitSettings struct {
	InFlight int      `envconfig:"HTTP_MAX_IN_FLIGHT" default:"256" desc:"requests at the same time to routes with credentials, and as many to routes without; more are answered 503 with Retry-After. 0 is no limit"`
	Rate     float64  `envconfig:"HTTP_RATE_LIMIT" default:"0" desc:"requests a second of one caller (its credentials, else its address), ten times that at once; more are answered 429 with Retry-After. 0 is no limit: not every vendor sends again what was refused"`
	Failures int      `envconfig:"HTTP_AUTH_FAILURES" default:"60" desc:"wrong passwords or keys a minute from one address, for each user; then 429 until some of the minute has gone by. 0 is no limit"`
	Proxies  []string `envconfig:"HTTP_TRUSTED_PROXIES" desc:"networks of proxies whose word about callers is believed (X-Forwarded-For, X-Forwarded-Proto), as 10.0.0.0/8, separated by commas; default: none, so that a proxy in front is the one address of all its callers"`
	Hops     int      `envconfig:"HTTP_PROXY_HOPS" default:"1" desc:"proxies that a request comes through: as many entries at the end of X-Forwarded-For count, and what a caller wrote before them does not. Above 1, HTTP_TRUSTED_PROXIES must name these proxies and nobody else"`
}

// Validate is the error of [Settings.Options].
func (s Settings) Validate() error {
	_, err := s.Options()
	return err
}

// Options reads the settings: credentials, TLS and limits, which come from files that are followed where the settings
// name files. The error names each variable that is wrong, and shows nothing of its secrets.
func (s Settings) Options() (Options, error) {
	var wrong []error
	say := func(err error) { wrong = append(wrong, err) }
	say(CheckUsers("INGRESS_BASIC_USERS", s.BasicUsers))
	if s.Auth != "" && s.Auth != "none" {
		say(fmt.Errorf("INGRESS_AUTH is %q; it may be empty or none", s.Auth))
	}
	if s.Auth == "none" && (s.BasicUsers.IsSet() || s.APIKeys.IsSet() || s.OAuth.set()) {
		say(errors.New("INGRESS_AUTH=none contradicts INGRESS_BASIC_USERS, INGRESS_API_KEYS and INGRESS_OAUTH_ISSUER"))
	}
	bearers, err := s.OAuth.bearers()
	say(err)
	config, certificates, err := s.TLS.open()
	say(err)
	limits, err := s.Limits.limits()
	say(err)
	if err := errors.Join(wrong...); err != nil {
		return Options{}, err
	}
	return Options{
		Credentials: Credentials{Basic: s.BasicUsers, APIKeys: s.APIKeys, Bearers: bearers, Certificates: certificates, None: s.Auth == "none"},
		TLS:         config, Limits: limits,
	}, nil
}

// Closed tells that callers need credentials of some kind, and that there are some.
func (s Settings) Closed() bool {
	return s.BasicUsers.IsSet() || s.APIKeys.IsSet() || s.OAuth.set() || s.TLS.ClientCAFile != ""
}

// Users are the names of those who have a password, as of now.
func (s Settings) Users() []string {
	var names []string
	for _, entry := range s.BasicUsers.Reveal() {
		name, _, _ := strings.Cut(entry, ":")
		names = append(names, name)
	}
	return names
}

// CheckUsers reports entries of a setting that are no user with a password, and has its file refuse them later on.
func CheckUsers(setting string, users settings.Secrets) error {
	check := func(entries []string) error {
		var wrong []error
		for i, entry := range entries {
			if user, password, _ := strings.Cut(entry, ":"); user == "" || password == "" {
				wrong = append(wrong, fmt.Errorf("%s: entry %d is not user:password", setting, i+1))
			}
		}
		return errors.Join(wrong...)
	}
	users.Accept(check)
	return check(users.Reveal())
}

func (s LimitSettings) limits() (Limits, error) {
	var wrong []error
	if s.InFlight < 0 || !(s.Rate >= 0) || s.Failures < 0 || s.Hops < 0 {
		wrong = append(wrong, errors.New("HTTP_MAX_IN_FLIGHT, HTTP_RATE_LIMIT, HTTP_AUTH_FAILURES and HTTP_PROXY_HOPS must not be below 0"))
	}
	l := Limits{InFlight: s.InFlight, Rate: s.Rate, Failures: s.Failures, Hops: s.Hops}
	for _, network := range s.Proxies {
		prefix, err := netip.ParsePrefix(strings.TrimSpace(network))
		if err != nil {
			wrong = append(wrong, fmt.Errorf("HTTP_TRUSTED_PROXIES: %q is no network as 10.0.0.0/8", network))
		}
		l.Proxies = append(l.Proxies, prefix)
	}
	return l, errors.Join(wrong...)
}
