// Package chaos drives invitations, answers and cart feedback through closeloop's real binaries while something goes wrong,
// and holds the simulated vendors' own books against what was accepted: nothing lost, nothing twice. See scripts/README.md.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Scenario is one kind of trouble; flags has the options of all, and takes those of its own.
type Scenario func(ctx context.Context, o *options, flags *flag.FlagSet, args []string) error

// Main is the main of a program that runs a scenario: with these arguments, until it is over or the process is to end. It
// ends the process with 1 unless everything is there once.
func Main(name string, s Scenario, args []string) {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := s.play(ctx, name, args, options{out: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		cancel()
		os.Exit(1)
	}
}

func (s Scenario) play(ctx context.Context, name string, args []string, o options) error {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.IntVar(&o.events, "events", 10_000, "how many events")
	flags.Uint64Var(&o.seed, "seed", 1, "what is by chance is the same with the same seed")
	flags.Float64Var(&o.rate, "rate", 50, "events a second; 0: as fast as they are taken")
	flags.DurationVar(&o.patience, "patience", 6*time.Minute, "how long nothing may change before the rest is given up")
	flags.BoolVar(&o.keep, "keep", false, "keep logs and the broker's files")
	return s(ctx, &o, flags, args)
}
