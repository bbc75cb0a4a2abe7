package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// options are the same for every scenario.
type options struct {
	events int
	seed   uint64
	// rate of the input, events a second.
	rate float64
	// patience is how long nothing may change before the rest is given up.
	patience time.Duration
	// keep leaves the folder with logs and the broker's files.
	keep bool
	// programs are the services; nil builds them.
	programs lab.Programs
	topology topology.Settings
	// broker starts the one to use, with its files in dir where they are its own; nil embeds one.
	broker func(ctx context.Context, dir string) (lab.Broker, error)
	out    io.Writer
}

// run is one system with what is put into it.
type run struct {
	options
	name  string
	begun time.Time
	dir   string

	nats   lab.Broker
	fleet  *lab.Fleet
	work   *workload
	watch  *watch
	ledger jetstream.KeyValue
	feeder *feeder

	// earlier are the effects that were in the vendors' books before, and firstLetter is the first dead letter after them.
	earlier     map[string]int
	firstLetter uint64

	// deeds are what was done to it, for the report.
	deeds []string
}

// setUp is what a scenario asks for beside the usual.
type setUp struct {
	landscape, gated []string
}

// begin starts a system for a workload. end must be called, also after an error.
func begin(ctx context.Context, name string, o *options, w *workload, s setUp) (*run, error) {
	r := &run{options: *o, name: name, work: w}
	var err error
	if r.dir, err = os.MkdirTemp("", "closeloop-chaos-"); err != nil {
		return r, err
	}
	if r.programs == nil {
		if r.programs, err = lab.Build(ctx, r.dir, append([]string{lab.LandscapeName}, lab.Services...)...); err != nil {
			return r, err
		}
	}
	if o.broker == nil {
		o.broker = func(ctx context.Context, dir string) (lab.Broker, error) {
			return lab.StartBroker(ctx, dir, o.topology)
		}
	}
	if r.nats, err = o.broker(ctx, filepath.Join(r.dir, "jetstream")); err != nil {
		return r, err
	}
	r.fleet, err = lab.Start(ctx, lab.Options{
		Dir: r.dir, Programs: r.programs, Broker: r.nats, Landscape: s.landscape, Gated: s.gated,
	})
	if err != nil {
		return r, err
	}
	return r, r.prepare(ctx)
}

// prepare readies a running fleet for the workload, and notes what is there of earlier ones.
func (r *run) prepare(ctx context.Context) (err error) {
	if r.ledger, err = r.fleet.JS.KeyValue(ctx, topology.Effects); err != nil {
		return err
	}
	books, err := r.fleet.Landscape.Books(ctx)
	if err != nil {
		return err
	}
	r.earlier, _ = inBooks(books)
	dead, err := r.fleet.JS.Stream(ctx, topology.DeadLetters)
	if err != nil {
		return err
	}
	r.firstLetter = dead.CachedInfo().State.LastSeq + 1
	if err := r.fleet.Landscape.Invite(ctx, r.work.outboundIDs()); err != nil {
		return err
	}
	if r.watch, err = observe(ctx, r.fleet.JS, r.work); err != nil {
		return err
	}
	r.feeder = &feeder{fleet: r.fleet, watch: r.watch}
	r.begun = time.Now()
	return nil
}

// end stops everything.
func (r *run) end() error {
	var errs []error
	if r.watch != nil {
		r.watch.stop()
	}
	if r.fleet != nil {
		errs = append(errs, r.fleet.Stop())
	}
	if r.nats != nil {
		r.nats.Stop()
	}
	if r.keep {
		fmt.Fprintln(r.out, "logs and files are in", r.dir)
	} else if r.dir != "" {
		errs = append(errs, os.RemoveAll(r.dir))
	}
	return errors.Join(errs...)
}

func (r *run) did(format string, args ...any) {
	r.deeds = append(r.deeds, fmt.Sprintf(format, args...))
}

// quietFor is how long nothing must be at work before all is taken for done: the vendors' webhooks come back within it.
const quietFor = 3 * time.Second

// settle waits until the system is at rest: all input accepted, nothing waits, nothing is in hand, nothing is held, and no
// webhook is on its way. It shows the progress, and gives up when nothing has changed for too long; what is missing then is
// in the books.
func (r *run) settle(ctx context.Context) error {
	tick, show := time.NewTicker(time.Second), time.Now()
	defer tick.Stop()
	var quiet, moved time.Time
	last := -1
	for {
		at, err := look(ctx, r.fleet.JS)
		accepted, missing := r.watch.accepted(r.work), len(r.watch.missing(r.work))
		now := time.Now()
		if state := accepted*1_000_000 + missing; err == nil && state != last {
			moved, last = now, state
		}
		if err != nil || !at.none() || accepted < len(r.work.inputs) || quiet.IsZero() && r.delivering(ctx) {
			quiet = time.Time{}
		} else if quiet.IsZero() {
			quiet = now
		}
		if now.Sub(show) > 10*time.Second {
			show = now
			fmt.Fprintf(r.out, "%6s  %d of %d accepted, %d effects not told of yet; %d wait, %d in hand, %d held\n",
				now.Sub(r.begun).Round(time.Second), accepted, len(r.work.inputs), missing, at.waiting, at.inHand, at.held)
		}
		switch {
		case !quiet.IsZero() && now.Sub(quiet) > quietFor:
			return nil
		case now.Sub(moved) > r.patience:
			fmt.Fprintf(r.out, "nothing has changed for %s\n", r.patience)
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// delivering tells whether Qualtrics still has webhooks to send.
func (r *run) delivering(ctx context.Context) bool {
	if r.work.realAnswers() == 0 {
		return false
	}
	books, err := r.fleet.Landscape.Books(ctx)
	if err != nil {
		return true
	}
	for _, d := range books.Qualtrics.Deliveries {
		if d.State == "pending" {
			return true
		}
	}
	return false
}
