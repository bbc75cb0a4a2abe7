package qualtrics

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Settings is how a service reaches Qualtrics, to be embedded in its settings.
type Settings struct {
	BaseURL      string          `envconfig:"QUALTRICS_BASE_URL" required:"true" desc:"Qualtrics: scheme, host of the brand's own data center, /API/v3"`
	APIToken     settings.Secret `envconfig:"QUALTRICS_API_TOKEN" desc:"API token; or client credentials below"`
	ClientID     string          `envconfig:"QUALTRICS_CLIENT_ID" desc:"OAuth client id, in place of the token"`
	ClientSecret settings.Secret `envconfig:"QUALTRICS_CLIENT_SECRET" desc:"its secret"`
	Scope        string          `envconfig:"QUALTRICS_SCOPE" default:"manage:all" desc:"OAuth scopes, separated by spaces"`
	PerMinute    int             `envconfig:"QUALTRICS_PER_MINUTE" default:"2000" desc:"calls per minute of this replica; the brand's 3,000 are shared with its other integrations"`
	Calls        int             `envconfig:"QUALTRICS_PARALLEL_CALLS" default:"8" desc:"parallel calls of this replica"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	switch {
	case (s.APIToken == "") == (s.ClientID == ""):
		return errors.New("set either QUALTRICS_API_TOKEN or QUALTRICS_CLIENT_ID with QUALTRICS_CLIENT_SECRET")
	case s.ClientID != "" && s.ClientSecret == "":
		return errors.New("QUALTRICS_CLIENT_SECRET is missing")
	case s.Calls < 1 || s.PerMinute < 0:
		return errors.New("QUALTRICS_PARALLEL_CALLS must be at least 1, QUALTRICS_PER_MINUTE at least 0")
	}
	return nil
}

// ClientOptions is what [Settings.Client] needs beside the settings.
type ClientOptions struct {
	// DirectoryID as in [Options].
	DirectoryID string
	Registerer  prometheus.Registerer
	Log         *slog.Logger
}

// Client makes the client that the settings describe.
func (s *Settings) Client(o ClientOptions) (*Client, error) {
	calls, err := outbound.New(outbound.Options{
		Vendor: "qualtrics", BaseURL: s.BaseURL, Parallel: s.Calls, PerMinute: s.PerMinute, Registerer: o.Registerer, Log: o.Log,
	})
	if err != nil {
		return nil, fmt.Errorf("QUALTRICS_BASE_URL: %w", err)
	}
	options := Options{Outbound: calls, Token: s.APIToken.Reveal(), DirectoryID: o.DirectoryID, Log: o.Log}
	if s.ClientID != "" {
		options.OAuth = &OAuth{ClientID: s.ClientID, ClientSecret: s.ClientSecret.Reveal(), Scope: s.Scope}
	}
	return New(options)
}
