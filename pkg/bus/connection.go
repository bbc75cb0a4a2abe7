package bus

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/settings"
)

// Connection says where the broker is and who connects. It is a part of the settings of whatever connects. What files hold
// is read anew for each connection, so that a rotated password or certificate needs no restart.
type Connection struct {
	URL       string          `envconfig:"NATS_URL" default:"nats://127.0.0.1:4222" desc:"address of NATS; several nodes of one cluster are separated by commas"`
	User      string          `envconfig:"NATS_USER" desc:"user at NATS: the name of the service, where its users are those of topology permissions"`
	Password  settings.Secret `envconfig:"NATS_PASSWORD" desc:"password of NATS_USER"`
	CredsFile string          `envconfig:"NATS_CREDS_FILE" desc:"file with NATS credentials (JWT and nkey), in place of NATS_USER"`
	CAFile    string          `envconfig:"NATS_CA_FILE" desc:"file with the certificates of those who may sign that of NATS; set, it makes TLS a must. Without it the system's count"`
	CertFile  string          `envconfig:"NATS_CERT_FILE" desc:"file with the certificate that is shown to NATS, where it asks for one"`
	KeyFile   string          `envconfig:"NATS_KEY_FILE" desc:"file with the key of NATS_CERT_FILE"`
}

// Validate reports what contradicts itself, by the names of the variables. It repeats no value: addresses may hold
// passwords.
func (c *Connection) Validate() error {
	var wrong []error
	named := c.User != "" || c.Password.Reveal() != ""
	switch {
	case named && c.CredsFile != "":
		wrong = append(wrong, errors.New("NATS_USER and NATS_CREDS_FILE are both set: who connects?"))
	case c.User == "" && named:
		wrong = append(wrong, errors.New("NATS_PASSWORD needs NATS_USER"))
	case named && c.Password.Reveal() == "":
		wrong = append(wrong, errors.New("NATS_USER needs NATS_PASSWORD or NATS_PASSWORD_FILE"))
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		wrong = append(wrong, errors.New("NATS_CERT_FILE and NATS_KEY_FILE belong together: set both or neither"))
	}
	inURL, err := users(c.URL)
	wrong = append(wrong, err)
	if inURL && (named || c.CredsFile != "") {
		wrong = append(wrong, errors.New("NATS_URL names a user, and so does NATS_USER or NATS_CREDS_FILE: who connects?"))
	}
	return errors.Join(wrong...)
}

// users tells whether an address names a user, and which address cannot be read.
func users(addresses string) (named bool, err error) {
	all := strings.Split(addresses, ",")
	for i, address := range all {
		address = strings.TrimSpace(address)
		if address == "" && len(all) > 1 {
			return false, fmt.Errorf("NATS_URL: address %d of %d is empty", i+1, len(all))
		}
		if !strings.Contains(address, "://") {
			address = "nats://" + address
		}
		u, err := url.Parse(address)
		if err != nil {
			return false, fmt.Errorf("NATS_URL: address %d of %d is no address: nats://host:4222", i+1, len(all))
		}
		named = named || u.User != nil
	}
	return named, nil
}

// Options are what nats.go needs to connect so. The error names the variable whose file cannot be used.
func (c *Connection) Options() ([]nats.Option, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var options []nats.Option
	if c.User != "" {
		options = append(options, nats.UserInfoHandler(func() (string, string) { return c.User, c.Password.Reveal() }))
	}
	if c.CredsFile != "" {
		if _, err := os.Stat(c.CredsFile); err != nil {
			return nil, fmt.Errorf("NATS_CREDS_FILE: %w", err)
		}
		options = append(options, nats.UserCredentials(c.CredsFile))
	}
	for _, tls := range []struct {
		variable, file string
		option         nats.Option
	}{
		{"NATS_CA_FILE", c.CAFile, nats.RootCAs(c.CAFile)},
		{"NATS_CERT_FILE and NATS_KEY_FILE", c.CertFile, nats.ClientCert(c.CertFile, c.KeyFile)},
	} {
		if tls.file == "" {
			continue
		}
		if err := tls.option(&nats.Options{}); err != nil {
			return nil, fmt.Errorf("%s: %w", tls.variable, err)
		}
		options = append(options, tls.option)
	}
	return options, nil
}
