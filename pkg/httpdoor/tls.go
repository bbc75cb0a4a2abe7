package httpdoor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/closeloop/closeloop/pkg/livefile"
)

// TLSSettings are the certificate of a door, and those it asks for.
type TLSSettings struct {
	CertFile     string   `envconfig:"HTTP_TLS_CERT_FILE" desc:"file with the door's certificate and those between it and its CA; the door then speaks TLS 1.2 or newer alone. Default: plain HTTP"`
	KeyFile      string   `envconfig:"HTTP_TLS_KEY_FILE" desc:"file with the key of HTTP_TLS_CERT_FILE"`
	ClientCAFile string   `envconfig:"HTTP_CLIENT_CA_FILE" desc:"file with the certificates of those who may sign callers' certificates, which open the door from then on; needs HTTP_TLS_CERT_FILE"`
	ClientCert   string   `envconfig:"HTTP_CLIENT_CERT" default:"accepted" desc:"accepted: a certificate is one more credential; required: every route but probes and metrics needs one, besides the credentials that are set"`
	ClientNames  []string `envconfig:"HTTP_CLIENT_NAMES" desc:"callers whose certificates are taken, by a DNS name or the common name in them, separated by commas; default: all that the CA signed"`
}

// Certificates of clients, verified by TLS, are credentials.
type Certificates struct {
	// Accepted makes them open [Guarded] routes.
	Accepted bool
	// Required makes every route but probes and metrics need one, and guarded routes other credentials besides, where there
	// are any.
	Required bool
	// Names in certificates that are taken: DNS names, in any case, or common names. Default: all.
	Names []string
}

// What HTTP_CLIENT_CERT may be.
const (
	certAccepted = "accepted"
	certRequired = "required"
)

// open gives the configuration of each new connection, nil for plain HTTP, which follows the files.
func (s TLSSettings) open() (func() *tls.Config, Certificates, error) {
	c := Certificates{Accepted: s.ClientCAFile != "", Required: s.ClientCert == certRequired, Names: s.ClientNames}
	switch {
	case (s.CertFile == "") != (s.KeyFile == ""):
		return nil, c, errors.New("HTTP_TLS_CERT_FILE and HTTP_TLS_KEY_FILE belong together: set both or neither")
	case s.ClientCAFile != "" && s.CertFile == "":
		return nil, c, errors.New("HTTP_CLIENT_CA_FILE needs HTTP_TLS_CERT_FILE: certificates are shown within TLS")
	case !slices.Contains([]string{"", certAccepted, certRequired}, s.ClientCert):
		return nil, c, fmt.Errorf("HTTP_CLIENT_CERT is %q; it may be %s or %s", s.ClientCert, certAccepted, certRequired)
	case (c.Required || len(s.ClientNames) > 0) && s.ClientCAFile == "":
		return nil, c, errors.New("HTTP_CLIENT_CERT=required and HTTP_CLIENT_NAMES need HTTP_CLIENT_CA_FILE")
	case s.CertFile == "":
		return nil, c, nil
	}
	name, paths := "HTTP_TLS_CERT_FILE and HTTP_TLS_KEY_FILE", []string{s.CertFile, s.KeyFile}
	if s.ClientCAFile != "" {
		name, paths = "HTTP_TLS_CERT_FILE, HTTP_TLS_KEY_FILE and HTTP_CLIENT_CA_FILE", append(paths, s.ClientCAFile)
	}
	live, err := livefile.Open(name, configOf, paths...)
	if err != nil {
		return nil, c, err
	}
	return live.Get, c, nil
}

// configOf makes a configuration of certificate, key and, where it is there, the CA of clients. A client without a
// certificate gets through: probes have none, and the routes decide.
func configOf(contents [][]byte) (*tls.Config, error) {
	certificate, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2", "http/1.1"}}
	if len(contents) > 2 {
		config.ClientAuth, config.ClientCAs = tls.VerifyClientCertIfGiven, x509.NewCertPool()
		if !config.ClientCAs.AppendCertsFromPEM(contents[2]) {
			return nil, errors.New("HTTP_CLIENT_CA_FILE holds no certificate")
		}
	}
	return config, nil
}

// following is a configuration that asks get for each connection.
func following(get func() *tls.Config) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return get(), nil },
	}
}

// holder gives the name in the certificate of a connection; ok is false where there is none that counts. A connection may
// outlive its certificate.
func (c Certificates) holder(state *tls.ConnectionState) (name string, ok bool) {
	if !c.Accepted || state == nil || len(state.VerifiedChains) == 0 {
		return "", false
	}
	leaf := state.VerifiedChains[0][0]
	if time.Now().After(leaf.NotAfter) {
		return "", false
	}
	names := slices.DeleteFunc(append([]string{leaf.Subject.CommonName}, leaf.DNSNames...), func(name string) bool { return name == "" })
	if len(c.Names) == 0 && len(names) > 0 {
		return names[0], true
	}
	for _, name := range names {
		if slices.ContainsFunc(c.Names, func(taken string) bool { return strings.EqualFold(taken, name) }) {
			return name, true
		}
	}
	return "", len(c.Names) == 0
}

// certified asks for a certificate where one is required, whatever serves the route.
func (d *Door) certified(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if d.guard.Certificates.Required && !d.routes[c.Path()].quiet {
			if _, ok := d.guard.Certificates.holder(c.Request().TLS); !ok {
				return NewProblem(http.StatusUnauthorized, "a client certificate is needed")
			}
		}
		return next(c)
	}
}
