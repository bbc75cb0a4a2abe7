package qualtrics

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/quota"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Settings is how a service reaches Qualtrics, to be embedded in its settings.
type Settings struct {
	BaseURL      string          `envconfig:"QUALTRICS_BASE_URL" required:"true" desc:"Qualtrics: scheme, host of the brand's own data center, /API/v3"`
	APIToken     settings.Secret `envconfig:"QUALTRICS_API_TOKEN" desc:"API token; or client credentials below"`
	ClientID     string          `envconfig:"QUALTRICS_CLIENT_ID" desc:"OAuth client id, in place of the token"`
	ClientSecret settings.Secret `envconfig:"QUALTRICS_CLIENT_SECRET" desc:"its secret"`
	Scope        string          `envconfig:"QUALTRICS_SCOPE" default:"manage:all" desc:"OAuth scopes, separated by spaces"`
	PerMinute    int             `envconfig:"QUALTRICS_PER_MINUTE" default:"2900" desc:"calls a minute of all replicas of all services together; the brand has 3,000, shared with its other integrations; 0: no limit"`
	GroupLimits  map[string]int  `envconfig:"QUALTRICS_LIMITS" desc:"limits a minute of single groups of calls, in place of the published ones: links:400,contacts:300; of contacts, searches, transactions, batches, imports, importStatus, links, history, subscriptions, responses, erasures; 0: no limit"`
	Calls        int             `envconfig:"QUALTRICS_PARALLEL_CALLS" default:"8" desc:"parallel calls of this replica"`
	FleetCalls   int             `envconfig:"QUALTRICS_FLEET_PARALLEL" default:"0" desc:"parallel calls of all replicas of all services together; 0: no limit, as none is documented"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	switch {
	case s.APIToken.IsSet() == (s.ClientID != ""):
		return errors.New("set either QUALTRICS_API_TOKEN or QUALTRICS_CLIENT_ID with QUALTRICS_CLIENT_SECRET")
	case s.ClientID != "" && !s.ClientSecret.IsSet():
		return errors.New("QUALTRICS_CLIENT_SECRET is missing")
	case s.Calls < 1 || s.PerMinute < 0:
		return errors.New("QUALTRICS_PARALLEL_CALLS must be at least 1, QUALTRICS_PER_MINUTE at least 0")
	case s.FleetCalls < 0:
		return errors.New("QUALTRICS_FLEET_PARALLEL must be at least 0")
	}
	for group, limit := range s.GroupLimits {
		if _, known := published[group]; !known || limit < 0 {
			return fmt.Errorf("QUALTRICS_LIMITS: %s:%d must be one of %s with a number of at least 0", group, limit, strings.Join(slices.Sorted(maps.Keys(published)), ", "))
		}
	}
	return nil
}

// Vendor is Qualtrics' name in faults, metrics and limits.
const Vendor = "qualtrics"

// published are the brand's limits in calls a minute of the endpoints that we call and that have less than all calls
// together (qualtrics.md §4.1).
var published = map[string]int{
	"contacts": 500, "searches": 500, "transactions": 500, "batches": 500, "imports": 100, "importStatus": 500,
	"links": 500, "history": 300, "subscriptions": 120, "responses": 240,
	"erasures": 20,
}

// groups are the operations that these limits are for.
var groups = map[string]string{
	"create contact":      "contacts",
	"search contacts":     "searches",
	"create transaction":  "transactions",
	"create batch":        "batches",
	"create import":       "imports",
	"import status":       "importStatus",
	"list links":          "links",
	"read history":        "history",
	"list subscriptions":  "subscriptions",
	"create subscription": "subscriptions",
	"delete subscription": "subscriptions",
	"read response":       "responses",
	"erase personal data": "erasures",
	"read erasure":        "erasures",
}

// Limits are those of the whole fleet: what Qualtrics publishes, but for what the settings change.
func (s *Settings) Limits() quota.Limits {
	operations := maps.Clone(published)
	maps.Copy(operations, s.GroupLimits)
	return quota.Limits{PerMinute: s.PerMinute, Operations: operations, Groups: groups, Parallel: s.FleetCalls}
}

// ClientOptions is what [Settings.Client] needs beside the settings.
type ClientOptions struct {
	// DirectoryID as in [Options].
	DirectoryID string
	// Limiter keeps to [Settings.Limits] with the whole fleet. Nil: this client alone keeps to the limit of all calls.
	Limiter    outbound.Limiter
	Registerer prometheus.Registerer
	Log        *slog.Logger
}

// Client makes the client that the settings describe.
func (s *Settings) Client(o ClientOptions) (*Client, error) {
	options := outbound.Options{
		Vendor: Vendor, BaseURL: s.BaseURL, Parallel: s.Calls, Limiter: o.Limiter, Registerer: o.Registerer, Log: o.Log,
	}
	if o.Limiter == nil {
		options.PerMinute = s.PerMinute
	}
	calls, err := outbound.New(options)
	if err != nil {
		return nil, fmt.Errorf("QUALTRICS_BASE_URL: %w", err)
	}
	client := Options{Outbound: calls, Token: s.APIToken, DirectoryID: o.DirectoryID, Log: o.Log}
	if s.ClientID != "" {
		client.OAuth = &OAuth{ClientID: s.ClientID, ClientSecret: s.ClientSecret, Scope: s.Scope}
	}
	return New(client)
}
