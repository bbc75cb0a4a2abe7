package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// system is closeloop with its simulated vendors, in processes of its own.
type system struct {
	dir, url, natsURL string
	env               []string
	processes         []*exec.Cmd
	nc                *nats.Conn
	js                jetstream.JetStream
}

// start builds and starts standalone, without a campaign and without people who answer.
func start(ctx context.Context, env ...string) (*system, error) {
	dir, err := os.MkdirTemp("", "closeloop-bench-")
	if err != nil {
		return nil, err
	}
	s := &system{dir: dir}
	httpPort, err := freePort()
	if err != nil {
		return nil, err
	}
	natsPort, err := freePort()
	if err != nil {
		return nil, err
	}
	s.url, s.natsURL = "http://localhost:"+strconv.Itoa(httpPort), "nats://127.0.0.1:"+strconv.Itoa(natsPort)
	s.env = append(os.Environ(), append([]string{
		"DATA_DIR=" + filepath.Join(dir, "data"), "HTTP_ADDR=127.0.0.1:" + strconv.Itoa(httpPort), "STANDALONE_NATS_PORT=" + strconv.Itoa(natsPort),
		"STANDALONE_CAMPAIGN=0", "LANDSCAPE_PEOPLE=off", "INGRESS_AUTH=none",
		"LOG_FORMAT=json", "LOG_LEVEL=warn",
	}, env...)...)
	if err := s.launch(ctx, "./services/standalone", "standalone"); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	if s.nc, err = nats.Connect(s.natsURL); err == nil {
		s.js, err = jetstream.New(s.nc)
	}
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// launch builds a service and starts it. What it says goes to a file beside its data.
func (s *system) launch(ctx context.Context, folder, name string, env ...string) error {
	binary := filepath.Join(s.dir, filepath.Base(folder))
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, folder)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building %s: %w", folder, err)
	}
	output, err := os.Create(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary) // stopped by stop, which lets it drain
	cmd.Env, cmd.Stdout, cmd.Stderr = append(s.env, env...), output, output
	if err := cmd.Start(); err != nil {
		return err
	}
	s.processes = append(s.processes, cmd)
	return nil
}

// replicas starts further linkers, so that there are n in all.
func (s *system) replicas(ctx context.Context, n int) error {
	for i := 1; i < n; i++ {
		err := s.launch(ctx, "./services/qualtrics-linker", fmt.Sprint("linker-", i),
			"HTTP_ADDR=127.0.0.1:0", "NATS_URL="+s.natsURL, "QUALTRICS_BASE_URL="+s.url+"/API/v3", "QUALTRICS_API_TOKEN=simulated-token",
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
	for _, p := range s.processes {
		_ = p.Process.Signal(os.Interrupt)
	}
	for _, p := range s.processes {
		_ = p.Wait()
	}
	return os.RemoveAll(s.dir)
}

func (s *system) ready(ctx context.Context) error {
	return until(ctx, time.Minute, "closeloop is ready", func() (bool, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/readyz", nil)
		if err != nil {
			return false, err
		}
		return s.do(req, nil) == nil, nil
	})
}

// until waits for something, and gives up when nothing of it has come for so long: done tells how far it is by being
// called again.
func until(ctx context.Context, patience time.Duration, what string, done func() (bool, error)) error {
	ticker := time.NewTicker(25 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-deadline:
			return fmt.Errorf("it did not happen in %s: %s", patience, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// count tells how many events there are under a subject.
func (s *system) count(ctx context.Context, stream, subject string) (int, error) {
	str, err := s.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	info, err := str.Info(ctx, jetstream.WithSubjectFilter(subject))
	if err != nil {
		return 0, err
	}
	n := 0
	for _, messages := range info.State.Subjects {
		n += int(messages)
	}
	return n, nil
}

// reach waits until there are n events under a subject, and fails on the first dead letter.
func (s *system) reach(ctx context.Context, patience time.Duration, subject string, n int) error {
	return until(ctx, patience, fmt.Sprint(n, " events ", subject), func() (bool, error) {
		dead, err := s.count(ctx, topology.DeadLetters, "deadletter.>")
		if err == nil && dead > 0 {
			err = fmt.Errorf("%d dead letters", dead)
		}
		have, countErr := s.count(ctx, topology.Events, subject)
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

// invite writes what SAP Marketing Cloud itself writes when a campaign sends: a SURVEY_DISTRIBUTION for each member.
func (s *system) invite(ctx context.Context, prefix string, n int) error {
	calls, err := outbound.New(outbound.Options{Vendor: "sap-marketing", BaseURL: s.url})
	if err != nil {
		return err
	}
	session, err := odata.New(odata.Options{
		Outbound: calls, ServiceRoot: "/sap/opu/odata/sap/API_MKT_INTERACTION_SRV", Username: "simulated", Password: "simulated",
	})
	if err != nil {
		return err
	}
	const atOnce = 500
	for from := 0; from < n; from += atOnce {
		var all []any
		for i := from; i < min(from+atOnce, n); i++ {
			all = append(all, map[string]any{
				"InteractionUUID": "00000000-0000-0000-0000-000000000000", "InteractionType": "SURVEY_DISTRIBUTION",
				"InteractionTimeStampUTC": time.Now().UTC().Format(time.RFC3339), "InteractionSourceObjectType": "CUAN_CAMPAIGN_OUTBOUND",
				"InteractionSourceObject": outboundID(prefix, i),
			})
		}
		var ignored json.RawMessage
		if err := session.Create(ctx, "invite", "InteractionsDeepInsert", map[string]any{"Interactions": all}, &ignored); err != nil {
			return err
		}
	}
	return nil
}

// change sets switches of the simulated Qualtrics.
func (s *system) change(ctx context.Context, switches string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, s.url+"/landscape/qualtrics/switches", bytes.NewBufferString(switches))
	if err != nil {
		return err
	}
	return s.do(req, nil)
}

// operation is what the vendors say of the calls of one kind.
type operation struct {
	Vendor, Operation string
	Calls             int
	FirstAt, LastAt   time.Time
	Statuses          map[string]int
}

// limit is how one of the brand's limits stands.
type limit struct {
	Group                           string
	Calls, Admitted, Refused, Early int
}

type counted struct {
	Calls           []operation
	QualtricsLimits []limit
}

func (s *system) calls(ctx context.Context) (counted, error) {
	var c counted
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+"/landscape/calls", nil)
	if err == nil {
		err = s.do(req, &c)
	}
	return c, err
}

func (s *system) forgetCalls(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodDelete, s.url+"/landscape/calls", nil)
	if err != nil {
		return err
	}
	return s.do(req, nil)
}

func (s *system) do(req *http.Request, into any) error {
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	answer, err := client.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode >= 400 {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, answer.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}
