package standalone

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// vendor is what stands for a real one while its address is not set.
type vendor struct {
	name string
	// address is the variable that makes it a real one.
	address string
	// simulated are the settings of the services for the simulator; {url} is its scheme and host.
	simulated map[string]string
}

// vendors lists what can be switched to the real one, each by itself.
var vendors = []vendor{
	{"Qualtrics", "QUALTRICS_BASE_URL", map[string]string{
		"QUALTRICS_BASE_URL": "{url}/API/v3", "QUALTRICS_API_TOKEN": "simulated-token",
		"QUALTRICS_DIRECTORY_ID": "POOL_simulated", "QUALTRICS_MAILING_LIST_ID": "CG_simulated",
		"QUALTRICS_SURVEY_ID": "SV_service", "QUALTRICS_SHARED_KEY": "simulated-shared-key",
	}},
	{"SAP Marketing Cloud", "SAP_MARKETING_BASE_URL", map[string]string{
		"SAP_MARKETING_BASE_URL": "{url}", "SAP_MARKETING_USERNAME": "simulated", "SAP_MARKETING_PASSWORD": "simulated",
		"CONSOLE_LINK_REQUEST": "/landscape/mail/{id}",
	}},
	{"SAP Sales Cloud", "C4C_BASE_URL", map[string]string{
		"C4C_BASE_URL": "{url}", "C4C_USERNAME": "simulated", "C4C_PASSWORD": "simulated", "C4C_PROCESSOR_ID": "8000000002",
		"C4C_TASK_URL": "{url}/landscape/tasks/{objectId}",
	}},
	{"Awardco", "AWARDCO_BASE_URL", map[string]string{
		"AWARDCO_BASE_URL": "{url}/api", "AWARDCO_API_KEY": "simulated-key", "AWARDCO_PROGRAM": "Qualtrics CSAT Recognition",
		"AWARDCO_WEBHOOK_SECRETS": "simulated-webhook-secret", "CONSOLE_LINK_RECOGNITION": "/landscape/recognitions/{id}",
	}},
}

// startVendors opens the simulated landscape and points the services to it, except to vendors whose real address is
// set. It tells whether all of them are simulated.
func startVendors(s *Settings, dir, url string, log *slog.Logger) (*landscape.Landscape, bool, error) {
	all := true
	for _, v := range vendors {
		if os.Getenv(v.address) != "" {
			all = false
			log.Warn("using the real vendor", "vendor", v.name)
			continue
		}
		for name, value := range v.simulated {
			if err := setDefault(name, replaceURL(value, url)); err != nil {
				return nil, false, err
			}
		}
	}
	if err := ownAttributes(dir); err != nil {
		return nil, false, err
	}
	own := map[string]string{"LANDSCAPE_PUBLIC_URL": url, "CONSOLE_LINKS": "Simulated vendors=/landscape/"}
	if s.Auth != "none" {
		if !s.APIKeys.IsSet() { // only users with passwords: the simulated vendors get a key of their own
			s.APIKeys = settings.SecretsOf(rand.Text())
		}
		own["LANDSCAPE_DOORS_API_KEY"] = s.APIKeys.Reveal()[0]
	}
	for name, value := range own {
		if err := setDefault(name, value); err != nil {
			return nil, false, err
		}
	}
	config := &landscape.Settings{}
	if err := settings.Load(config); err != nil {
		return nil, false, fmt.Errorf("landscape: %w", err)
	}
	config.DataDir = dir
	l, err := landscape.New(config, log.With("service", "landscape"))
	if err != nil {
		return nil, false, fmt.Errorf("landscape: %w", err)
	}
	return l, all, nil
}

// ownAttributes lets ingress read the attributes that the demonstration's campaign exports beside the recipe's.
func ownAttributes(dir string) error {
	if os.Getenv("OPEN_CHANNEL_ATTRIBUTES_FILE") != "" {
		return nil
	}
	path := filepath.Join(dir, "open-channel-attributes.yaml")
	if err := os.WriteFile(path, landscape.AttributesFile, 0o600); err != nil {
		return fmt.Errorf("DATA_DIR: %w", err)
	}
	return setDefault("OPEN_CHANNEL_ATTRIBUTES_FILE", path)
}
