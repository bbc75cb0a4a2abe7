// Package service is the main of every service: settings from the environment, logging, a connection to JetStream, an
// HTTP door with health, readiness and metrics, and a drain on SIGTERM that finishes what is in hand.
//
// A service is a [Definition]; its main is one line, and `standalone` runs many definitions in one process:
//
//	func main() { service.Main(tasker.Define()) }
package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/quota"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/pkg/tracing"
)

// Exit codes of [Main].
const (
	// ExitFailed: something broke while running; a restart may help.
	ExitFailed = 1
	// ExitSettings: the settings cannot work; no restart helps.
	ExitSettings = 2
)

// ErrStart is returned by [Run] and [RunAll] when a service could not be put together: a setting, or a file that a
// setting names, cannot work.
var ErrStart = errors.New("cannot start")

// Common is what every service's settings embed.
type Common struct {
	NATS         bus.Connection
	HTTPAddr     string `envconfig:"HTTP_ADDR" default:":8080" desc:"where the HTTP door listens"`
	Log          logging.Settings
	DrainTimeout time.Duration `envconfig:"DRAIN_TIMEOUT" default:"20s" desc:"how long a stopping service may take to finish what it holds"`
	Tracing      tracing.Settings
	httpdoor.Settings
}

func (c *Common) common() *Common { return c }

// Settings is a pointer to a struct that embeds [Common].
type Settings interface{ common() *Common }

// Definition is one service.
type Definition struct {
	// Name as in the topology.
	Name string
	// Doc is what --help says it does, a paragraph.
	Doc string
	// Settings are filled from the environment before Start.
	Settings Settings
	// NoBroker is for what does not talk to NATS: its host has no Bus.
	NoBroker bool
	// Start wires the service to its host: routes, handlers, background work. It must not block.
	Start func(ctx context.Context, h *Host) error
}

// Host is what a running service has.
type Host struct {
	Name string
	Log  *slog.Logger
	// Bus is connected, or on its way to be.
	Bus *bus.Bus
	// Door is the service's HTTP door; in standalone it is shared by all.
	Door *httpdoor.Door
	// Metrics takes the service's collectors.
	Metrics prometheus.Registerer

	ctx       context.Context
	end       context.CancelFunc
	consuming *bus.Consuming
	stops     []func(context.Context)
	running   sync.WaitGroup
}

// Handle starts the service's durable consumer and makes readiness depend on it.
func (h *Host) Handle(c bus.Consumer) {
	h.consuming = h.Bus.Consume(h.ctx, c)
	h.Door.AddCheck(h.Name+" consumer", h.consuming.Live, h.atBroker(h.consuming.Ready))
}

// atBroker is a check that only a connected broker can answer. As long as there is none the broker's own check says so,
// and this one would guess.
func (h *Host) atBroker(ready func() error) func() error {
	return func() error {
		if h.Bus.Ready() != nil {
			return nil
		}
		return ready()
	}
}

// Go runs work until the service stops. Work that ends earlier with an error makes the service not live.
func (h *Host) Go(name string, run func(context.Context) error) {
	var failed errorBox
	h.Door.AddCheck(h.Name+" "+name, failed.get, failed.get)
	h.running.Go(func() {
		if err := run(h.ctx); err != nil && h.ctx.Err() == nil {
			h.Log.Error("stopped working", "part", name, "error", err)
			failed.set(fmt.Errorf("%s: %w", name, err))
		}
	})
}

// OnStop runs f after consumers are drained and the door is shut, in reverse order of registration.
func (h *Host) OnStop(f func(context.Context)) { h.stops = append(h.stops, f) }

// Ledger opens the effect ledger. The bucket may not exist yet: it is bound at its first use, and the service is not
// ready before.
func (h *Host) Ledger() *effect.Ledger {
	bucket := &lateBucket{js: h.Bus.JetStream(), name: topology.Effects}
	h.Door.AddCheck(h.Name+" ledger", nil, h.atBroker(bucket.ready))
	return effect.New(bucket).WithMetrics(h.Metrics)
}

// Limiter keeps calls of the vendor within limits that hold for the whole fleet: all replicas of all services that name
// the same vendor share them. The bucket may not exist yet: it is bound at its first use, and the service is not ready
// before.
func (h *Host) Limiter(vendor string, l quota.Limits) outbound.Limiter {
	bucket := &lateBucket{js: h.Bus.JetStream(), name: topology.Limits}
	h.Door.AddCheck(h.Name+" limits", nil, h.atBroker(bucket.ready))
	limiter := quota.New(bucket, vendor, l, quota.WithLog(h.Log), quota.WithMetrics(h.Metrics))
	h.running.Go(func() {
		limiter.Tell(h.ctx, h.Name, func(q activity.Quota) { h.Bus.Tell(activity.KindQuota, q) })
	})
	return limiter
}

// Outcomes listens for what the service's topology declares as answers to callers who wait.
func (h *Host) Outcomes() (*bus.Outcomes, error) {
	declared, ok := topology.Of(topology.Settings{}).Service(h.Name)
	if !ok {
		return nil, fmt.Errorf("%s is not in the topology", h.Name)
	}
	o, err := h.Bus.Outcomes(append(declared.Awaits, topology.DeadLetterSubject(h.Name))...)
	if err != nil {
		return nil, err
	}
	h.OnStop(func(context.Context) { _ = o.Close() }) // the connection goes next anyway
	return o, nil
}

// drain finishes what the consumer has in hand.
func (h *Host) drain(ctx context.Context) {
	if h.consuming != nil {
		h.consuming.Drain(ctx)
	}
}

// close ends everything else, when the door is shut.
func (h *Host) close(ctx context.Context) {
	h.end() // it goes on where a start failed, or the door
	for _, stop := range slices.Backward(h.stops) {
		stop(ctx)
	}
	h.running.Wait()
	if h.Bus != nil {
		h.Bus.Close()
	}
}

// Main runs one service as a process: --help, --version and --healthy (which asks the one that runs beside it), else until
// SIGINT or SIGTERM. A second signal ends it at once.
func Main(d Definition) {
	os.Exit(run(d, os.Args[1:], os.Stdout, os.Stderr))
}

// usage is what --help says of the command line.
func usage(name string) string {
	return fmt.Sprintf(`  %[1]s             runs until SIGINT or SIGTERM
  %[1]s --healthy   asks the one that runs here with the same settings whether it is ready: exit code 0, or 1 and why not
  %[1]s --version   prints version and commit`, name)
}

func run(d Definition, args []string, stdout io.Writer, stderr *os.File) int {
	if len(args) > 0 {
		switch args[0] {
		case "--help", "-h", "help":
			settings.Help(stdout, d.Name, d.Doc+"\n\n"+usage(d.Name), d.Settings)
			return 0
		case "--version", "version":
			fmt.Fprintln(stdout, d.Name, Version())
			return 0
		case "--healthy", "healthy":
			return healthy(d, stderr)
		default:
			fmt.Fprintf(stderr, "%s takes its settings from the environment; see %s --help\n", d.Name, d.Name)
			return ExitSettings
		}
	}
	if err := settings.Load(d.Settings); err != nil {
		fmt.Fprintf(stderr, "%s cannot start:\n%v\n", d.Name, err)
		return ExitSettings
	}
	log, err := logging.New(stderr, d.Settings.common().Log)
	if err != nil {
		fmt.Fprintf(stderr, "%s cannot start: %v\n", d.Name, err)
		return ExitSettings
	}
	slog.SetDefault(log) // for what has no logger of its own
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	context.AfterFunc(ctx, cancel) // from here on a second signal has its default effect
	if err := Run(ctx, log, d); err != nil {
		log.Error("stopped", "error", err)
		if errors.Is(err, ErrStart) {
			return ExitSettings
		}
		return ExitFailed
	}
	return 0
}

// Run runs one service with loaded settings until ctx ends, then drains it.
func Run(ctx context.Context, log *slog.Logger, d Definition) error {
	listener, err := net.Listen("tcp", d.Settings.common().HTTPAddr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w", err)
	}
	return RunAll(ctx, log, Shared{Listener: listener, Common: d.Settings.common()}, d)
}

// Shared is what services in one process have in common.
type Shared struct {
	Common *Common
	// Listener of the one door; closed when RunAll returns.
	Listener net.Listener
	// InProcess connects to a server in this process instead of Common.NATS.
	InProcess nats.InProcessConnProvider
	// Mount adds handlers to the door before it serves.
	Mount func(*httpdoor.Door)
	// Ready is called when everything is started and the door is open. It must not block.
	Ready func()

	traces *tracing.Exporter
}

// doorGrace is how long a door finishes its requests, after the consumers have finished what they hold.
const doorGrace = 5 * time.Second

// traceGrace is how long sending the last spans may take: nothing else waits for it.
const traceGrace = 3 * time.Second

// sendTraces sends what is left of the traces.
func sendTraces(ctx context.Context, log *slog.Logger, x *tracing.Exporter) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceGrace)
	defer cancel()
	if err := x.Shutdown(limited); err != nil {
		log.Warn("the last spans could not be sent", "error", err)
	}
}

// bodyLimit leaves room for headers in what the broker takes as one message (1 MiB by default): an event must fit also
// when it is held for a retry or put into the dead letters.
const bodyLimit = 512 << 10

// RunAll runs services behind one door until ctx ends, then drains them: readiness turns false, consumers finish what
// they hold (in standalone the vendors they call are behind the same door), the door finishes its requests, connections
// close.
func RunAll(ctx context.Context, log *slog.Logger, shared Shared, definitions ...Definition) error {
	options, err := shared.Common.Options()
	if err != nil {
		return errors.Join(err, shared.Listener.Close())
	}
	if shared.traces, err = tracing.Open(ctx, shared.Common.Tracing, Version(), log); err != nil {
		return errors.Join(err, shared.Listener.Close())
	}
	defer sendTraces(ctx, log, shared.traces)
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	options.Name, options.Log, options.Registerer, options.Gatherer = doorName(definitions), log, registry, registry
	options.Grace, options.BodyLimit, options.Tracer = doorGrace, bodyLimit, shared.traces.For(doorName(definitions))
	door := httpdoor.New(options)
	door.Health()
	if shared.Mount != nil {
		shared.Mount(door)
	}
	hosts, err := startAll(ctx, log, shared, door, registry, definitions)
	if err != nil {
		return errors.Join(err, shared.Listener.Close())
	}
	log.Info("serving", "address", shared.Listener.Addr().String(), "version", Version())
	serving, shut := context.WithCancel(context.WithoutCancel(ctx))
	defer shut()
	served := make(chan error, 1)
	go func() { served <- door.Serve(serving, shared.Listener) }()
	if shared.Ready != nil {
		shared.Ready()
	}
	select {
	case <-ctx.Done():
	case err := <-served:
		served <- err
	}
	door.SetDraining()
	grace, cancel := context.WithTimeout(serving, shared.Common.DrainTimeout)
	defer cancel()
	each(hosts, func(h *Host) { h.drain(grace) })
	shut()
	err = <-served
	each(hosts, func(h *Host) { h.close(grace) })
	return err
}

func startAll(ctx context.Context, log *slog.Logger, shared Shared, door *httpdoor.Door, registry prometheus.Registerer, definitions []Definition) ([]*Host, error) {
	var hosts []*Host
	for _, d := range definitions {
		h, err := start(ctx, log.With("service", d.Name), shared, door, registry, d)
		if h != nil {
			hosts = append(hosts, h)
		}
		if err != nil {
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shared.Common.DrainTimeout)
			defer cancel()
			each(hosts, func(h *Host) { h.drain(grace); h.close(grace) })
			return nil, fmt.Errorf("%w: %s: %w", ErrStart, d.Name, err)
		}
	}
	return hosts, nil
}

// each does something for all hosts at the same time.
func each(hosts []*Host, do func(*Host)) {
	var all sync.WaitGroup
	for _, h := range hosts {
		all.Go(func() { do(h) })
	}
	all.Wait()
}

func doorName(definitions []Definition) string {
	if len(definitions) == 1 {
		return definitions[0].Name
	}
	return "standalone"
}

func start(ctx context.Context, log *slog.Logger, shared Shared, door *httpdoor.Door, registry prometheus.Registerer, d Definition) (*Host, error) {
	log.Info("starting", "settings", slog.GroupValue(settings.Attrs(d.Settings)...))
	h := &Host{
		Name: d.Name, Log: log, Door: door,
		Metrics: prometheus.WrapRegistererWith(prometheus.Labels{"service": d.Name}, registry),
	}
	h.ctx, h.end = context.WithCancel(ctx)
	if err := h.Metrics.Register(buildInfo()); err != nil {
		return h, err
	}
	if d.NoBroker {
		return h, d.Start(ctx, h)
	}
	b, err := bus.Connect(ctx, bus.Options{
		Service: d.Name, Connection: shared.Common.NATS, InProcess: shared.InProcess,
		Log: log, Registerer: registry, Tracer: shared.traces.For(d.Name),
	})
	if err != nil {
		return h, err
	}
	h.Bus = b
	door.AddCheck(d.Name+" broker", nil, b.Ready)
	return h, d.Start(ctx, h)
}

type errorBox struct {
	mu  sync.Mutex
	err error
}

func (b *errorBox) set(err error) { b.mu.Lock(); defer b.mu.Unlock(); b.err = err }
func (b *errorBox) get() error    { b.mu.Lock(); defer b.mu.Unlock(); return b.err }
