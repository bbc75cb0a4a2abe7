package landscape

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/landscape/internal/awardco"
	"github.com/closeloop/closeloop/services/landscape/internal/demo"
	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

// Settings of landscape. The credentials bear the names that the services know them by, so that one environment serves
// both sides.
type Settings struct {
	service.Common
	DataDir   string `envconfig:"DATA_DIR" desc:"directory of landscape.db, the vendors' books; default: in memory only"`
	PublicURL string `envconfig:"LANDSCAPE_PUBLIC_URL" default:"http://localhost:8080" desc:"scheme and host at which people and services reach the landscape; survey links begin with it"`
	APIURL    string `envconfig:"LANDSCAPE_API_URL" desc:"scheme and host at which services reach the landscape, where it is another one; default: LANDSCAPE_PUBLIC_URL"`

	DoorsURL    string          `envconfig:"LANDSCAPE_DOORS_URL" desc:"scheme and host of the doors of ingress, which campaigns and webhooks call; default: LANDSCAPE_PUBLIC_URL"`
	DoorsAPIKey settings.Secret `envconfig:"LANDSCAPE_DOORS_API_KEY" desc:"sent to these doors as X-API-Key, one of their INGRESS_API_KEYS; default: none"`

	QualtricsToken         settings.Secret  `envconfig:"QUALTRICS_API_TOKEN" default:"simulated-token" desc:"API token of the simulated Qualtrics"`
	QualtricsSharedKey     settings.Secrets `envconfig:"QUALTRICS_SHARED_KEY" desc:"key that signs the events of its subscription, the first of several; default: they are not signed"`
	QualtricsDirectoryID   string           `envconfig:"QUALTRICS_DIRECTORY_ID" default:"POOL_simulated" desc:"its directory: POOL_…"`
	QualtricsMailingListID string           `envconfig:"QUALTRICS_MAILING_LIST_ID" default:"CG_simulated" desc:"its mailing list: CG_…"`

	QualtricsClientID     string          `envconfig:"QUALTRICS_CLIENT_ID" default:"simulated-client" desc:"its OAuth client"`
	QualtricsClientSecret settings.Secret `envconfig:"QUALTRICS_CLIENT_SECRET" default:"simulated-secret" desc:"the client's secret"`
	QualtricsDedupe       string          `envconfig:"LANDSCAPE_QUALTRICS_DEDUPE" default:"externalDataReference" desc:"identity rules of its directory, as email+lastName;externalDataReference, or off"`
	QualtricsSwitches     string          `envconfig:"LANDSCAPE_QUALTRICS" desc:"its switches, as YAML or JSON: {limits: {enforced: true}, linkDelay: 3s}"`

	MarketingUsername string          `envconfig:"SAP_MARKETING_USERNAME" default:"simulator" desc:"communication user of the simulated SAP Marketing Cloud"`
	MarketingPassword settings.Secret `envconfig:"SAP_MARKETING_PASSWORD" default:"simulator" desc:"its password"`
	MarketingSwitches string          `envconfig:"LANDSCAPE_MARKETING" desc:"how the simulated SAP Marketing Cloud differs from what its contract assumes, a YAML object as in {visibleAfter: 30s, noBatch: true}; see the README"`

	SalesUsername    string          `envconfig:"C4C_USERNAME" default:"simulator" desc:"technical user of the simulated SAP Sales Cloud"`
	SalesPassword    settings.Secret `envconfig:"C4C_PASSWORD" default:"simulator" desc:"its password"`
	SalesProcessorID string          `envconfig:"C4C_PROCESSOR_ID" default:"8000000002" desc:"an employee who exists there"`
	SalesSwitches    string          `envconfig:"LANDSCAPE_C4C" desc:"its switches, as YAML or JSON: {lockStatus: 500, extensionFields: [{name: ResponseID_KUT, maxLength: 40}]}"`
	Sales2Switches   string          `envconfig:"LANDSCAPE_C4C_V2" desc:"switches of its Version 2, as YAML or JSON: {quota: 30000, refuseNotes: true}"`

	AwardcoAPIKey   settings.Secret  `envconfig:"AWARDCO_API_KEY" default:"simulator" desc:"API key of the simulated Awardco"`
	AwardcoProgram  string           `envconfig:"AWARDCO_PROGRAM" default:"Qualtrics CSAT Recognition" desc:"its recognition programme"`
	AwardcoApproval bool             `envconfig:"AWARDCO_APPROVAL" default:"false" desc:"whether a person approves the programme's recognitions, on the overview page"`
	AwardcoSwitches string           `envconfig:"LANDSCAPE_AWARDCO" desc:"its switches, users and budgets, as YAML or JSON: {noteMax: 500, intake: {token: t-1}}"`
	AwardcoSecrets  settings.Secrets `envconfig:"AWARDCO_WEBHOOK_SECRETS" desc:"secrets of its webhook, the first of which signs; default: there is no webhook"`
	AwardcoWebhook  string           `envconfig:"LANDSCAPE_AWARDCO_WEBHOOK_URL" desc:"where its webhook goes; default: /awardco/webhooks at LANDSCAPE_DOORS_URL"`

	Campaign    int           `envconfig:"LANDSCAPE_CAMPAIGN" default:"0" desc:"members of the campaign that is played at the first start, when ingress answers; 0 plays none"`
	People      string        `envconfig:"LANDSCAPE_PEOPLE" default:"auto" desc:"auto: simulated customers open the mails and answer; off: nobody does, unless you do"`
	PeopleDelay time.Duration `envconfig:"LANDSCAPE_PEOPLE_DELAY" default:"3s" desc:"longest time between a mail and its answer"`
}

// The values of Settings.People.
const (
	peopleAuto = "auto"
	peopleOff  = "off"
)

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	var wrong []error
	for name, address := range map[string]string{"LANDSCAPE_PUBLIC_URL": s.PublicURL, "LANDSCAPE_API_URL": s.apis(), "LANDSCAPE_DOORS_URL": s.doors()} {
		target, err := url.Parse(address)
		if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
			wrong = append(wrong, fmt.Errorf("%s must be a URL with scheme and host, as in http://localhost:8080", name))
		}
	}
	if s.People != peopleAuto && s.People != peopleOff {
		wrong = append(wrong, fmt.Errorf("LANDSCAPE_PEOPLE is %q; it may be %s or %s", s.People, peopleAuto, peopleOff))
	}
	if _, err := s.switches(); err != nil {
		wrong = append(wrong, fmt.Errorf("LANDSCAPE_QUALTRICS: %w", err))
	}
	if _, err := s.marketing(nil); err != nil {
		wrong = append(wrong, err)
	}
	if s.Campaign < 0 || s.Campaign > demo.MaxMembers {
		wrong = append(wrong, fmt.Errorf("LANDSCAPE_CAMPAIGN must be 0 to %d", demo.MaxMembers))
	}
	if s.PeopleDelay < 0 {
		wrong = append(wrong, errors.New("LANDSCAPE_PEOPLE_DELAY must not be below 0"))
	}
	return errors.Join(wrong...)
}

// switches are those of the demonstration's brand, changed as the settings say.
func (s *Settings) switches() (qualtrics.Switches, error) {
	return qualtrics.Defaults().Assumed.With([]byte(s.QualtricsSwitches))
}

// dedupe are the identity rules of the directory.
func (s *Settings) dedupe() (rules []qualtrics.IdentityRule) {
	if s.QualtricsDedupe == "off" {
		return nil
	}
	for rule := range strings.SplitSeq(s.QualtricsDedupe, ";") {
		rules = append(rules, strings.Split(rule, "+"))
	}
	return rules
}

// sharedKey signs events; empty where there is none.
func (s *Settings) sharedKey() string {
	if !s.QualtricsSharedKey.IsSet() {
		return ""
	}
	return s.QualtricsSharedKey.Reveal()[0]
}

// awardco is a company with one API key, and a webhook where there is a secret for it.
func (s *Settings) awardco() (awardco.Settings, error) {
	a, err := awardco.Settings{}.With([]byte(s.AwardcoSwitches))
	if err != nil {
		return a, fmt.Errorf("LANDSCAPE_AWARDCO: %w", err)
	}
	a.Keys = map[string][]string{s.AwardcoAPIKey.Reveal(): nil}
	if s.AwardcoSecrets.IsSet() {
		a.Webhooks = []awardco.Webhook{{URL: cmp.Or(s.AwardcoWebhook, s.doors()+"/awardco/webhooks"), Secret: s.AwardcoSecrets.Reveal()[0]}}
	}
	return a, nil
}

func (s *Settings) apis() string { return cmp.Or(s.APIURL, s.PublicURL) }

func (s *Settings) doors() string { return strings.TrimRight(cmp.Or(s.DoorsURL, s.PublicURL), "/") }
