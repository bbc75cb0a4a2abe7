// Package standalone runs every service, an embedded NATS and the simulated vendors in one process, and plays a small
// campaign through the whole loop.
package standalone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/embedded"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
	"github.com/closeloop/closeloop/services/c4c-tasker/tasker"
	"github.com/closeloop/closeloop/services/console/console"
	"github.com/closeloop/closeloop/services/feedback-router/router"
	"github.com/closeloop/closeloop/services/ingress/ingress"
	"github.com/closeloop/closeloop/services/qualtrics-linker/linker"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/writer"
)

// Settings of standalone itself; those of the services apply as well.
type Settings struct {
	service.Common
	topology.Settings
	DataDir  string `envconfig:"DATA_DIR" default:"data" desc:"folder for JetStream's files, the console's index and the simulated vendors' books"`
	NATSPort int    `envconfig:"STANDALONE_NATS_PORT" default:"4222" desc:"port of the embedded NATS on 127.0.0.1; -1 takes any free one"`
	Campaign int    `envconfig:"STANDALONE_CAMPAIGN" default:"25" desc:"members of the campaign that is played at the first start; 0 plays none"`
	Exit     bool   `envconfig:"STANDALONE_EXIT" default:"false" desc:"end when the campaign is over instead of staying up; the exit code says whether all went well"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	if s.Campaign < 0 || s.Campaign > 1000 {
		return fmt.Errorf("STANDALONE_CAMPAIGN must be 0 to 1000")
	}
	return nil
}

const doc = `Runs all of closeloop in one process: embedded NATS with JetStream on disk, every service, and simulated vendors.
It plays a small campaign through the whole loop, shows what happens, and stays up. Set a vendor's address and
credentials, and that vendor is the real one; no campaign is played then unless STANDALONE_CAMPAIGN says so.

  standalone             runs until SIGINT or SIGTERM
  standalone --version   prints version and commit`

// Main runs standalone until SIGINT or SIGTERM and gives the process's exit code. The second signal ends it at once.
func Main(args []string, out io.Writer, errOut *os.File) int {
	s := &Settings{}
	if len(args) > 0 && args[0] == "--version" {
		fmt.Fprintln(out, "standalone", service.Version())
		return 0
	}
	if len(args) > 0 {
		settings.Help(out, "standalone", doc, s)
		return 0
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(ctx, cancel)
	if err := load(s); err != nil {
		fmt.Fprintf(errOut, "standalone cannot start:\n%v\n", err)
		return service.ExitSettings
	}
	log, err := logging.New(errOut, s.Log)
	if err != nil {
		fmt.Fprintf(errOut, "standalone cannot start: %v\n", err)
		return service.ExitSettings
	}
	slog.SetDefault(log) // for what has no logger of its own
	if err := Run(ctx, s, log, out); err != nil {
		fmt.Fprintf(errOut, "standalone: %v\n", err)
		return service.ExitFailed
	}
	return 0
}

// load reads the settings, with defaults that suit one process on one machine.
func load(s *Settings) error {
	// Here the services of a whole landscape share one door: what would be too much for one of them is not.
	for name, value := range map[string]string{"HTTP_ADDR": "127.0.0.1:8080", "LOG_LEVEL": "warn", "HTTP_MAX_IN_FLIGHT": "0"} {
		if err := setDefault(name, value); err != nil {
			return err
		}
	}
	if err := settings.Load(s); err != nil {
		return err
	}
	if s.TLS.CertFile != "" {
		return errors.New("HTTP_TLS_CERT_FILE: services and simulated vendors call each other through this one door in plain HTTP; let a proxy in front of it speak TLS")
	}
	return openDoors(s)
}

// openDoors lets everybody on this machine call the doors unless credentials are set; nobody else.
func openDoors(s *Settings) error {
	if s.Closed() || s.Auth != "" {
		return nil
	}
	host, _, err := net.SplitHostPort(s.HTTPAddr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w", err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return errors.New("HTTP_ADDR is reachable from other machines: set INGRESS_API_KEYS or INGRESS_BASIC_USERS, or INGRESS_AUTH=none")
	}
	s.Auth = "none"
	return os.Setenv("INGRESS_AUTH", "none")
}

// Run starts everything, plays the campaign, and returns when ctx ends and all is drained.
func Run(ctx context.Context, s *Settings, log *slog.Logger, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	dir, err := filepath.Abs(s.DataDir)
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", s.HTTPAddr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: is another closeloop running? %w", err)
	}
	broker, err := startBroker(ctx, s, filepath.Join(dir, "jetstream"), log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer broker.Stop()

	address := reachable(listener.Addr())
	vendors, simulated, err := startVendors(s, dir, "http://"+address, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer vendors.Close()
	if err := setDefault("DATA_DIR", dir); err != nil { // the console has its index there too
		return errors.Join(err, listener.Close())
	}
	definitions, err := definitions()
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	var background sync.WaitGroup
	defer background.Wait()
	var played error
	err = service.RunAll(ctx, log, service.Shared{
		Common: &s.Common, Listener: listener, InProcess: broker,
		Mount: vendors.Mount,
		Ready: func() {
			background.Go(func() {
				if err := vendors.Run(ctx); err != nil && ctx.Err() == nil {
					log.Error("the simulated vendors stopped", "error", err)
				}
			})
			background.Go(func() {
				show := &show{out: out, vendors: vendors, simulated: simulated, address: address, nats: broker.URL()}
				played = show.play(ctx, s.Campaign)
				if s.Exit {
					stop()
				}
			})
		},
	}, definitions...)
	stop()
	background.Wait()
	if s.Exit {
		err = errors.Join(err, played)
	}
	return err
}

// reachable gives the address that people on this machine call for what listens there.
func reachable(a net.Addr) string {
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() || ip.IsLoopback() {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// startBroker starts the embedded NATS and applies the topology.
func startBroker(ctx context.Context, s *Settings, dir string, log *slog.Logger) (*embedded.Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("DATA_DIR: %w", err)
	}
	broker, err := embedded.Start(embedded.Options{Dir: dir, Port: s.NATSPort, Log: log})
	if err != nil {
		return nil, fmt.Errorf("%w (STANDALONE_NATS_PORT chooses another port)", err)
	}
	if err := declare(ctx, s, broker, log); err != nil {
		broker.Stop()
		return nil, err
	}
	return broker, nil
}

func declare(ctx context.Context, s *Settings, broker *embedded.Server, log *slog.Logger) error {
	nc, err := nats.Connect("", nats.InProcessServer(broker), nats.Name("closeloop/topology"))
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return topology.Of(s.Settings).Apply(ctx, js, log)
}

// definitions are the services with their settings loaded. Those of the simulated vendors were set before.
func definitions() ([]service.Definition, error) {
	all := []service.Definition{
		ingress.Define(), linker.Define(), writer.Define(), router.Define(), tasker.Define(), recognizer.Define(),
		console.Define(),
	}
	var errs []error
	for _, d := range all {
		if err := settings.Load(d.Settings); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", d.Name, err))
		}
	}
	return all, errors.Join(errs...)
}
