package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// system is closeloop with its simulated vendors, in processes of its own.
type system struct {
	dir, natsURL string
	env          []string
	vendors      lab.Landscape
	processes    []*lab.Process
	nc           *nats.Conn
	js           jetstream.JetStream
}

// start builds and starts standalone, without a campaign and without people who answer.
func start(ctx context.Context, env ...string) (*system, error) {
	dir, err := os.MkdirTemp("", "closeloop-bench-")
	if err != nil {
		return nil, err
	}
	s := &system{dir: dir}
	if err := s.start(ctx, env); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *system) start(ctx context.Context, env []string) error {
	address, err := lab.FreeAddress()
	if err != nil {
		return err
	}
	broker, err := lab.FreeAddress()
	if err != nil {
		return err
	}
	_, port, _ := strings.Cut(broker, ":")
	s.natsURL = "nats://" + broker
	s.vendors = lab.Landscape{URL: "http://" + address, Username: "simulated", Password: "simulated"}
	s.env = append(os.Environ(), append([]string{
		"DATA_DIR=" + filepath.Join(s.dir, "data"), "HTTP_ADDR=" + address, "STANDALONE_NATS_PORT=" + port,
		"STANDALONE_CAMPAIGN=0", "LANDSCAPE_PEOPLE=off", "INGRESS_AUTH=none",
		"LOG_FORMAT=json", "LOG_LEVEL=warn",
	}, env...)...)
	if err := s.launch(ctx, "standalone", "standalone"); err != nil {
		return err
	}
	if err := lab.Ready(ctx, s.vendors.URL); err != nil {
		return err
	}
	if s.nc, err = nats.Connect(s.natsURL); err != nil {
		return err
	}
	s.js, err = jetstream.New(s.nc)
	return err
}

// launch builds a service and starts it. What it says goes to a file beside its data.
func (s *system) launch(ctx context.Context, service, name string, env ...string) error {
	built, err := lab.Build(ctx, s.dir, service)
	if err != nil {
		return err
	}
	p, err := lab.Launch(s.dir, name, built[service], append(s.env, env...)...)
	if err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	return nil
}

// replicas starts further linkers, so that there are n in all.
func (s *system) replicas(ctx context.Context, n int) error {
	for i := 1; i < n; i++ {
		err := s.launch(ctx, topology.QualtricsLinker, fmt.Sprint("linker-", i),
			"HTTP_ADDR=127.0.0.1:0", "NATS_URL="+s.natsURL, "QUALTRICS_BASE_URL="+s.vendors.URL+"/API/v3", "QUALTRICS_API_TOKEN=simulated-token",
			"QUALTRICS_DIRECTORY_ID=POOL_simulated", "QUALTRICS_MAILING_LIST_ID=CG_simulated", "QUALTRICS_SURVEY_ID=SV_service")
		if err != nil {
			return err
		}
	}
	return nil
}

// close stops everything at the end of a measurement, whose own error is the one that counts.
func (s *system) close() {
	if err := s.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "bench: cleaning up:", err)
	}
}

func (s *system) stop() error {
	if s.nc != nil {
		s.nc.Close()
	}
	var errs []error
	for _, p := range s.processes {
		p.Interrupt()
	}
	for _, p := range s.processes {
		errs = append(errs, p.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// reach waits until there are n events under a subject, and fails on the first dead letter.
func (s *system) reach(ctx context.Context, patience time.Duration, subject string, n int) error {
	return lab.Until(ctx, patience, fmt.Sprint(n, " events ", subject), func() (bool, error) {
		dead, err := lab.Count(ctx, s.js, topology.DeadLetters, "deadletter.>")
		if err == nil && dead > 0 {
			err = fmt.Errorf("%d dead letters", dead)
		}
		have, countErr := lab.Count(ctx, s.js, topology.Events, subject)
		return have >= n, errors.Join(err, countErr)
	})
}

// request asks for n links, as fast as the broker takes them. campaign says that a campaign of SAP Marketing Cloud asks.
func (s *system) request(ctx context.Context, prefix string, n int, campaign bool) error {
	for i := range n {
		member := ""
		if campaign {
			member = outboundID(prefix, i)
		}
		body := fmt.Sprintf(`{"requestId":"%s-%d","contact":{"externalId":"%[1]s-P-%[2]d","email":"%[1]s-%[2]d@example.com","firstName":"Ada","lastName":"Nr %[2]d"},`+
			`"transaction":{"externalId":"%[1]s-%[2]d","data":{"sourceObject":"SERVICE_ORDER"}},"campaign":{"campaignId":"0000012345","outboundId":"%[3]s"}}`, prefix, i, member)
		if _, err := s.js.PublishAsync(subjects.SurveyLinkRequested, []byte(body)); err != nil {
			return err
		}
	}
	select {
	case <-s.js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func outboundID(prefix string, i int) string { return fmt.Sprintf("OB-%s-%06d", prefix, i) }

// invite writes what SAP Marketing Cloud itself writes when a campaign sends.
func (s *system) invite(ctx context.Context, prefix string, n int) error {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = outboundID(prefix, i)
	}
	return s.vendors.Invite(ctx, ids)
}

// limit is how one of the brand's limits stands.
type limit struct {
	Group                           string
	Calls, Admitted, Refused, Early int
}

// counted is what the vendors say of the calls that came to them.
type counted struct {
	landscape.Calls
	QualtricsLimits []limit
}

func (s *system) calls(ctx context.Context) (c counted, err error) {
	err = lab.Call(ctx, http.MethodGet, s.vendors.URL+"/landscape/calls", nil, &c)
	return c, err
}
