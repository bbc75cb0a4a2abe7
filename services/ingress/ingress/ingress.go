// Package ingress is the service ingress: the door for everything that comes from outside. It authenticates, validates,
// stores, and only then answers.
package ingress

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/ingress/openchannel"
	"github.com/closeloop/closeloop/services/ingress/subscription"
)

// Settings of ingress.
type Settings struct {
	service.Common
	Fields         httpdoor.FieldSettings
	SharedKey      settings.Secrets `envconfig:"QUALTRICS_SHARED_KEY" desc:"shared key of the Qualtrics event subscription; several, separated by commas, while it is changed"`
	Unsigned       bool             `envconfig:"QUALTRICS_UNSIGNED_EVENTS" default:"false" desc:"true takes events of a subscription without a shared key, from callers with credentials of the door; without key and without this, events are refused"`
	AttributesFile string           `envconfig:"OPEN_CHANNEL_ATTRIBUTES_FILE" desc:"YAML file that says which attribute of a campaign member goes where; default: the names of SAP's published recipe"`
	MarketingArea  string           `envconfig:"OPEN_CHANNEL_MARKETING_AREA" default:"GLOBAL" desc:"marketing area of campaigns that name none"`
	BadMembers     string           `envconfig:"OPEN_CHANNEL_BAD_MEMBERS" default:"refuse" desc:"what to do with a package in which a member breaks the contract: refuse it as a whole, or dead-letter the member and take the others"`
	BodyLimit      int64            `envconfig:"OPEN_CHANNEL_BODY_LIMIT" default:"8388608" desc:"largest package of a campaign in bytes"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	if s.BadMembers != refuse && s.BadMembers != deadLetter {
		return fmt.Errorf("OPEN_CHANNEL_BAD_MEMBERS must be %s or %s", refuse, deadLetter)
	}
	if s.Unsigned && s.SharedKey.IsSet() {
		return errors.New("QUALTRICS_SHARED_KEY and QUALTRICS_UNSIGNED_EVENTS are both set: are the events signed or not?")
	}
	_, err := s.attributes()
	return err
}

func (s *Settings) attributes() (*openchannel.Attributes, error) {
	attributes, err := openchannel.LoadAttributes(s.AttributesFile)
	if err != nil {
		return nil, fmt.Errorf("OPEN_CHANNEL_ATTRIBUTES_FILE: %w", err)
	}
	return attributes, nil
}

const (
	refuse     = "refuse"
	deadLetter = "dead-letter"
)

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.Ingress,
		Doc: "Takes campaigns from SAP Marketing Cloud (Open Channel), events and answers from Qualtrics and service orders from SAP Event " +
			"Mesh; publishes survey.link.requested, survey.response.notified, survey.response.received and order.completed.",
		Settings: s,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

func start(h *service.Host, s *Settings) error {
	attributes, err := s.attributes()
	if err != nil {
		return err
	}
	fields, err := s.Fields.Load()
	if err != nil {
		return err
	}
	i := &ingress{
		settings: s, ledger: h.Ledger(), attributes: attributes, fields: fields, log: h.Log,
		accepting: &accept.Events{Source: h.Name, Bus: h.Bus},
		ignored: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_qualtrics_events_ignored_total",
			Help: "Events of Qualtrics that were answered well and not stored, as they tell of no completed response, by status: started, partial, active, other, or none.",
		}, []string{"status"}),
	}
	for _, kind := range subscription.Kinds() { // so that a rate can be taken from the first one on
		i.ignored.WithLabelValues(kind)
	}
	i.repeated = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "closeloop_qualtrics_events_repeated_total",
		Help: "Events of completed responses that Qualtrics, or somebody who had seen them, delivered again: answered well, and not stored again.",
	})
	for _, c := range []prometheus.Collector{i.ignored, i.repeated} {
		if err := h.Metrics.Register(c); err != nil {
			return err
		}
	}
	i.openChannel(h.Door)
	i.qualtricsDoors(h.Door)
	i.eventMesh(h.Door)
	return nil
}

// ok is the answer to pings.
func ok(context.Context, *httpdoor.Request) (*httpdoor.Response, error) {
	return &httpdoor.Response{Status: http.StatusOK}, nil
}

var _ accept.Publisher = (*bus.Bus)(nil)

// published is what the ledger keeps about an event that was published once.
type published struct {
	EventID string `json:"eventId"`
}
