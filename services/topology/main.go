// Command topology is the job that creates and updates what closeloop keeps in JetStream. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/bus/users"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/topology/asyncapi"
)

// Settings of the job.
type Settings struct {
	NATS    bus.Connection
	Log     logging.Settings
	Timeout time.Duration `envconfig:"TOPOLOGY_TIMEOUT" default:"2m" desc:"how long to wait for the broker and for a cluster's leader"`
	topology.Settings
}

const doc = `Creates what is missing and updates what differs in JetStream: streams, durable consumers, the bucket of the effect
ledger. It deletes nothing and may run as often as you like; run it before the services and after each upgrade.

  topology               applies
  topology permissions   prints the NATS users of all services with exactly the rights they need, as a nats-server's
                         authorization block, or with -format helm as values of the official NATS chart
  topology asyncapi      prints the AsyncAPI 3 document of all events
  topology --version     prints version and commit`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "topology:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s := &Settings{}
	command := "apply"
	if len(args) > 0 {
		command = args[0]
	}
	if command == "--help" || command == "-h" {
		settings.Help(out, "topology", doc, s)
		return nil
	}
	if command == "--version" {
		_, err := fmt.Fprintln(out, "topology", service.Version())
		return err
	}
	if err := settings.Load(s); err != nil {
		return err
	}
	declared := topology.Of(s.Settings)
	switch command {
	case "apply":
		log, err := logging.New(os.Stderr, s.Log)
		if err != nil {
			return err
		}
		return apply(ctx, s, declared, log)
	case "permissions":
		return permissions(args[1:], out, declared)
	case "asyncapi":
		return asyncapi.Write(out, declared)
	}
	return fmt.Errorf("unknown command %q: see topology --help", command)
}

// permissions prints the users in the form that the arguments ask for.
func permissions(args []string, out io.Writer, declared topology.Topology) error {
	flags := flag.NewFlagSet("topology permissions", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what is wrong is in the error
	format := flags.String("format", "conf", "")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w: see topology --help", err)
	}
	write, ok := map[string]func(io.Writer, []users.User) error{"conf": users.WriteConfig, "helm": users.WriteHelm}[*format]
	if !ok || flags.NArg() > 0 {
		return errors.New("topology permissions takes -format conf or -format helm")
	}
	return write(out, users.Of(declared))
}

func apply(ctx context.Context, s *Settings, declared topology.Topology, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	b, err := bus.Connect(ctx, bus.Options{Service: users.Job, Connection: s.NATS, Log: log})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := declared.Apply(ctx, b.JetStream(), log); err != nil {
		return errors.Join(err, b.Ready())
	}
	log.Info("applied", "streams", len(declared.Streams), "consumers", len(declared.Consumers), "replicas", declared.Streams[0].Replicas)
	return nil
}
