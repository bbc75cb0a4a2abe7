// Command chaos drives invitations, answers and cart feedback through closeloop's real binaries while something goes
// wrong, and holds the simulated vendors' own books against what was accepted: nothing lost, nothing twice. See
// scripts/README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `usage: chaos lost    [-events 10000] [-seed 1] [-rate 50]
       chaos kill    [-events 10000] [-seed 1] [-rate 50] [-each] [-every 2s] [-kill-for 10m]
       chaos cluster [-events 10000] [-seed 1] [-rate 50] [-stopped 15s] [-cut 1m]
       chaos down    [-events 10000] [-seed 1] [-for 10m] [-vendor sap-sales-cloud] [-other awardco]
       chaos poison  [-events 10000] [-seed 1] [-rate 50] [-stretches 6]
       chaos import  [-events 10000] [-seed 1] [-steps 1,2,3,4,5,6]
       chaos drill   [-events 10000] [-seed 1] [-rate 50] [-memory 64]: with what runs somewhere else; its settings: chaos drill -help
all of them: [-patience 6m] [-keep]
`

// scenario runs one kind of trouble; flags has the options of all, and takes those of its own.
type scenario func(ctx context.Context, o *options, flags *flag.FlagSet, args []string) error

var scenarios = map[string]scenario{
	"lost":    lost,
	"kill":    kill,
	"cluster": clustered,
	"down":    down,
	"poison":  poisoning,
	"import":  importing,
	"drill":   drill,
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := play(ctx, os.Args[1:], options{out: os.Stdout}); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// play runs the scenario that the arguments name.
func play(ctx context.Context, args []string, o options) error {
	if len(args) == 0 || scenarios[args[0]] == nil {
		return fmt.Errorf("what is to go wrong?\n%s", usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.IntVar(&o.events, "events", 10_000, "how many events")
	flags.Uint64Var(&o.seed, "seed", 1, "what is by chance is the same with the same seed")
	flags.Float64Var(&o.rate, "rate", 50, "events a second; 0: as fast as they are taken")
	flags.DurationVar(&o.patience, "patience", 6*time.Minute, "how long nothing may change before the rest is given up")
	flags.BoolVar(&o.keep, "keep", false, "keep logs and the broker's files")
	return scenarios[args[0]](ctx, &o, flags, args[1:])
}
