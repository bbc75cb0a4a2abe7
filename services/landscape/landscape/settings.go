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
)

// Settings of landscape. The credentials bear the names that the services know them by, so that one environment serves
// both sides.
type Settings struct {
	service.Common
	DataDir   string `envconfig:"DATA_DIR" desc:"directory of landscape.db, the vendors' books; default: in memory only"`
	PublicURL string `envconfig:"LANDSCAPE_PUBLIC_URL" default:"http://localhost:8080" desc:"scheme and host at which people and services reach the landscape; survey links begin with it"`

	DoorsURL    string          `envconfig:"LANDSCAPE_DOORS_URL" desc:"scheme and host of the doors of ingress, which campaigns and webhooks call; default: LANDSCAPE_PUBLIC_URL"`
	DoorsAPIKey settings.Secret `envconfig:"LANDSCAPE_DOORS_API_KEY" desc:"sent to these doors as X-API-Key, one of their INGRESS_API_KEYS; default: none"`

	QualtricsToken         settings.Secret `envconfig:"QUALTRICS_API_TOKEN" default:"simulated-token" desc:"API token of the simulated Qualtrics"`
	QualtricsSharedKey     settings.Secret `envconfig:"QUALTRICS_SHARED_KEY" desc:"key that signs the events of its subscription; default: they are not signed"`
	QualtricsDirectoryID   string          `envconfig:"QUALTRICS_DIRECTORY_ID" default:"POOL_simulated" desc:"its directory: POOL_…"`
	QualtricsMailingListID string          `envconfig:"QUALTRICS_MAILING_LIST_ID" default:"CG_simulated" desc:"its mailing list: CG_…"`

	MarketingUsername string          `envconfig:"SAP_MARKETING_USERNAME" default:"simulator" desc:"communication user of the simulated SAP Marketing Cloud"`
	MarketingPassword settings.Secret `envconfig:"SAP_MARKETING_PASSWORD" default:"simulator" desc:"its password"`

	SalesUsername    string          `envconfig:"C4C_USERNAME" default:"simulator" desc:"technical user of the simulated SAP Sales Cloud"`
	SalesPassword    settings.Secret `envconfig:"C4C_PASSWORD" default:"simulator" desc:"its password"`
	SalesProcessorID string          `envconfig:"C4C_PROCESSOR_ID" default:"8000000002" desc:"an employee who exists there"`

	AwardcoAPIKey   settings.Secret `envconfig:"AWARDCO_API_KEY" default:"simulator" desc:"API key of the simulated Awardco"`
	AwardcoProgram  string          `envconfig:"AWARDCO_PROGRAM" default:"Qualtrics CSAT Recognition" desc:"its recognition programme"`
	AwardcoApproval bool            `envconfig:"AWARDCO_APPROVAL" default:"false" desc:"whether a person approves the programme's recognitions, on the overview page"`

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
	for name, address := range map[string]string{"LANDSCAPE_PUBLIC_URL": s.PublicURL, "LANDSCAPE_DOORS_URL": s.doors()} {
		target, err := url.Parse(address)
		if err != nil || target.Host == "" || target.Scheme != "http" && target.Scheme != "https" {
			wrong = append(wrong, fmt.Errorf("%s must be a URL with scheme and host, as in http://localhost:8080", name))
		}
	}
	if s.People != peopleAuto && s.People != peopleOff {
		wrong = append(wrong, fmt.Errorf("LANDSCAPE_PEOPLE is %q; it may be %s or %s", s.People, peopleAuto, peopleOff))
	}
	if s.PeopleDelay < 0 {
		wrong = append(wrong, errors.New("LANDSCAPE_PEOPLE_DELAY must not be below 0"))
	}
	return errors.Join(wrong...)
}

func (s *Settings) doors() string { return strings.TrimRight(cmp.Or(s.DoorsURL, s.PublicURL), "/") }
