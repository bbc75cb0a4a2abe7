// Command bench measures closeloop against the simulated vendors, by the vendors' own books: how many calls a number of
// requests costs, and how near to the vendors' quotas the work goes. See scripts/README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `usage: bench calls [-n 1,10,100,1000,10000]
       bench quota [-requests 3000] [-replicas 1,4] [-limit 500] [-kind bucket|fixed|sliding] [-known=true]
       bench bulk  [-requests 30000]
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	benches := map[string]func(context.Context, *flag.FlagSet, []string) error{"calls": calls, "quota": quotas, "bulk": bulk}
	if len(args) == 0 || benches[args[0]] == nil {
		return fmt.Errorf("what is to be measured?\n%s", usage)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	return benches[args[0]](ctx, flags, args[1:])
}
