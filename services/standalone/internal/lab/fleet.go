package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// LandscapeName is the service that simulates the vendors.
const LandscapeName = "landscape"

// Services are the services that handle events, in the order of a loop.
var Services = []string{
	topology.Ingress, topology.QualtricsLinker, topology.SAPInteractionWriter, topology.FeedbackRouter, topology.C4CTasker,
	topology.AwardcoRecognizer,
}

// Fleet is one process of each service, and the simulated vendors.
type Fleet struct {
	// Dir holds the logs.
	Dir string
	// Landscape is the vendors.
	Landscape Landscape
	// JS is an administrator's JetStream.
	JS jetstream.JetStream

	// Gates are the ways to the vendors that were asked for, by the names that faults give them.
	Gates map[string]*Gate

	nc        *nats.Conn
	vendors   *Process
	services  map[string]*Process
	addresses map[string]string
	key       string
}

// Join makes a fleet of what somebody else runs, which Stop does not stop: doors are the addresses of services by name.
func Join(js jetstream.JetStream, vendors Landscape, doors map[string]string, apiKey string) *Fleet {
	return &Fleet{JS: js, Landscape: vendors, addresses: doors, key: apiKey}
}

// Options of [Start].
type Options struct {
	// Dir takes logs and settings files.
	Dir string
	// Programs are the services and the landscape.
	Programs Programs
	// Broker is where they connect. The topology is applied already.
	Broker Broker
	// Landscape are settings of the vendors beside the usual ones.
	Landscape []string
	// Gated are the vendors to which the way can be shut.
	Gated []string
}

// key is what the vendors show at the services' doors.
const key = "lab-key"

// Start starts vendors and services and waits until all are ready. The fleet must be stopped, also after an error.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{Dir: o.Dir, Gates: map[string]*Gate{}, services: map[string]*Process{}, addresses: map[string]string{}, key: key}
	var err error
	f.nc, err = nats.Connect(o.Broker.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(250*time.Millisecond), nats.ReconnectBufSize(-1))
	if err != nil {
		return f, err
	}
	if f.JS, err = jetstream.New(f.nc); err != nil {
		return f, err
	}
	for _, name := range append([]string{LandscapeName}, Services...) {
		if f.addresses[name], err = FreeAddress(); err != nil {
			return f, err
		}
	}
	attributes := filepath.Join(o.Dir, "attributes.yaml")
	if err := os.WriteFile(attributes, landscape.AttributesFile, 0o600); err != nil {
		return f, err
	}
	f.Landscape = Landscape{URL: "http://" + f.addresses[LandscapeName], Username: "user", Password: "secret"}
	at := map[string]string{} // scheme and host of each vendor
	for _, vendor := range []string{landscape.Qualtrics, landscape.Marketing, landscape.SalesCloud, landscape.Awardco} {
		at[vendor] = f.Landscape.URL
		if !slices.Contains(o.Gated, vendor) {
			continue
		}
		if f.Gates[vendor], err = OpenGate(f.addresses[LandscapeName]); err != nil {
			return f, err
		}
		at[vendor] = "http://" + f.Gates[vendor].Address
	}
	common := []string{
		"NATS_URL=" + o.Broker.URL(), "INGRESS_API_KEYS=" + key, "LOG_FORMAT=json", "LOG_LEVEL=info",
		"QUALTRICS_BASE_URL=" + at[landscape.Qualtrics] + "/API/v3", "QUALTRICS_API_TOKEN=token", "QUALTRICS_DIRECTORY_ID=POOL_simulated",
		"QUALTRICS_MAILING_LIST_ID=CG_simulated", "QUALTRICS_SURVEY_ID=SV_service", "QUALTRICS_SHARED_KEY=shared",
		"SAP_MARKETING_BASE_URL=" + at[landscape.Marketing], "SAP_MARKETING_USERNAME=user", "SAP_MARKETING_PASSWORD=secret",
		"C4C_BASE_URL=" + at[landscape.SalesCloud], "C4C_USERNAME=user", "C4C_PASSWORD=secret", "C4C_PROCESSOR_ID=8000000002",
		"AWARDCO_BASE_URL=" + at[landscape.Awardco] + "/api", "AWARDCO_API_KEY=key", "AWARDCO_PROGRAM=Qualtrics CSAT Recognition",
		"OPEN_CHANNEL_ATTRIBUTES_FILE=" + attributes,
	}
	vendors := append([]string{
		"LANDSCAPE_PUBLIC_URL=" + f.Landscape.URL, "LANDSCAPE_DOORS_URL=http://" + f.addresses[topology.Ingress], "LANDSCAPE_DOORS_API_KEY=" + key, "LANDSCAPE_PEOPLE=off", "LOG_LEVEL=warn",
	}, o.Landscape...)
	if f.vendors, err = f.launch(o.Programs, LandscapeName, slices.Concat(common, vendors)); err != nil {
		return f, err
	}
	for _, name := range Services {
		if f.services[name], err = f.launch(o.Programs, name, common); err != nil {
			return f, err
		}
	}
	for _, address := range f.addresses {
		if err := Ready(ctx, "http://"+address); err != nil {
			return f, err
		}
	}
	return f, nil
}

func (f *Fleet) launch(programs Programs, name string, env []string) (*Process, error) {
	program, own, err := programs.Command(name)
	if err != nil {
		return nil, err
	}
	return Launch(f.Dir, name, program, slices.Concat(own, env, []string{"HTTP_ADDR=" + f.addresses[name]})...)
}

// Service gives the process of a service.
func (f *Fleet) Service(name string) *Process { return f.services[name] }

// Door gives scheme and host of a service, and the key that its doors want in X-API-Key.
func (f *Fleet) Door(name string) (url, apiKey string) { return "http://" + f.addresses[name], f.key }

// Stop stops services, then vendors. What the services said stays.
func (f *Fleet) Stop() error {
	var errs []error
	for _, p := range f.services {
		if p != nil {
			p.Interrupt()
		}
	}
	for _, p := range f.services {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	for _, gate := range f.Gates {
		if gate != nil {
			errs = append(errs, gate.Shut())
		}
	}
	if f.vendors != nil {
		errs = append(errs, f.vendors.Stop())
	}
	if f.nc != nil {
		f.nc.Close()
	}
	return errors.Join(errs...)
}
