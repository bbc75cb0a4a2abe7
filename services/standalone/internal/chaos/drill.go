package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// drillSettings say where the installation is that a drill works with.
type drillSettings struct {
	NATS      bus.Connection
	Landscape string          `envconfig:"DRILL_LANDSCAPE_URL" default:"http://landscape:8080" desc:"the simulated vendors: scheme and host"`
	Door      string          `envconfig:"DRILL_DOOR" default:"c4c-tasker" desc:"host, and port, of the door of c4c-tasker"`
	Services  string          `envconfig:"DRILL_SERVICES" desc:"host and port of all services' doors; each address of the host is one whose memory is watched; default: none is"`
	APIKey    settings.Secret `envconfig:"DRILL_API_KEY" required:"true" desc:"one of INGRESS_API_KEYS of c4c-tasker"`
	Username  string          `envconfig:"SAP_MARKETING_USERNAME" default:"simulator" desc:"communication user of the simulated SAP Marketing Cloud"`
	Password  settings.Secret `envconfig:"SAP_MARKETING_PASSWORD" required:"true" desc:"its password"`
}

const drillDoc = `Puts events into an installation that runs somewhere else, with simulated vendors whose customers do not act
(LANDSCAPE_PEOPLE=off), and holds the vendors' books against what was accepted. What goes wrong meanwhile is somebody else's part:
scripts/cluster-drill.`

// Drill is the scenario in which somebody else runs the system and breaks it. What it holds of earlier runs is left out.
func Drill(ctx context.Context, o *options, flags *flag.FlagSet, args []string) (err error) {
	s := &drillSettings{}
	limit := flags.Int("memory", 64, "fail when a service was ever seen with more memory, in MB; 0: never")
	flags.Usage = func() { flags.PrintDefaults(); settings.Help(flags.Output(), "drill", drillDoc, s) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := settings.Load(s); err != nil {
		return err
	}
	log, err := logging.New(os.Stderr, logging.Settings{Format: logging.JSON, Level: "warn"})
	if err != nil {
		return err
	}
	r, err := join(ctx, o, s, log)
	if err != nil {
		return err
	}
	defer r.nats.Stop()
	defer func() { err = errors.Join(err, r.end()) }()
	if err := r.prepare(ctx); err != nil {
		return err
	}
	memory := watchMemory(ctx, s.Services)
	err = r.through(ctx)
	used := memory.stop()
	if err != nil {
		return err
	}
	return errors.Join(r.report(ctx), r.reportMemory(used, *limit))
}

// join makes a run of what runs already. Its nats is to be stopped.
func join(ctx context.Context, o *options, s *drillSettings, log *slog.Logger) (*run, error) {
	b, err := bus.Connect(ctx, bus.Options{Service: "drill", Connection: s.NATS, Log: log})
	if err != nil {
		return nil, err
	}
	there := lab.Until(ctx, time.Minute, "the broker answers", func() (bool, error) { return b.Ready() == nil, nil })
	if there != nil {
		err := errors.Join(there, b.Ready())
		b.Close()
		return nil, err
	}
	vendors := lab.Landscape{URL: s.Landscape, Username: s.Username, Password: s.Password.Reveal()}
	doors := map[string]string{topology.C4CTasker: s.Door}
	return &run{
		options: *o, name: "drill", work: plan(o.seed, o.events, usual), nats: joined{b, s.NATS.URL},
		fleet: lab.Join(b.JetStream(), vendors, doors, s.APIKey.Reveal()),
	}, nil
}

// joined is a broker that somebody else runs.
type joined struct {
	bus *bus.Bus
	url string
}

// URL implements [lab.Broker].
func (j joined) URL() string { return j.url }

// Stop implements [lab.Broker]: it only leaves.
func (j joined) Stop() { j.bus.Close() }

// reportMemory prints the most memory of each service, and fails for those that took more than so many MB.
func (r *run) reportMemory(used map[string]int64, limit int) error {
	var errs []error
	for _, name := range append(lab.Services, topology.Console) {
		most, seen := used[name]
		if !seen {
			if len(used) > 0 {
				errs = append(errs, fmt.Errorf("the memory of %s was never seen", name))
			}
			continue
		}
		fmt.Fprintf(r.out, "most memory of %s: %.1f MB\n", name, float64(most)/1e6)
		if limit > 0 && most > int64(limit)*1_000_000 {
			errs = append(errs, fmt.Errorf("%s took more than %d MB of memory", name, limit))
		}
	}
	return errors.Join(errs...)
}
