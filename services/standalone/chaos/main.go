// Command chaos runs a scenario in which something goes wrong with closeloop's real binaries, which it builds: see
// scripts/README.md. What is done in an installation that runs somewhere else is the command drill.
package main

import (
	"fmt"
	"os"

	"github.com/closeloop/closeloop/services/standalone/internal/chaos"
)

const usage = `usage: chaos lost    [-events 10000] [-seed 1] [-rate 50]
       chaos kill    [-events 10000] [-seed 1] [-rate 50] [-each] [-every 2s] [-kill-for 10m]
       chaos cluster [-events 10000] [-seed 1] [-rate 50] [-stopped 15s] [-cut 1m]
       chaos down    [-events 10000] [-seed 1] [-for 10m] [-vendor sap-sales-cloud] [-other awardco]
       chaos poison  [-events 10000] [-seed 1] [-rate 50] [-stretches 6]
       chaos import  [-events 10000] [-seed 1] [-steps 1,2,3,4,5,6]
all of them: [-patience 6m] [-keep]
`

var scenarios = map[string]chaos.Scenario{
	"lost":    chaos.Lost,
	"kill":    chaos.Kill,
	"cluster": chaos.Cluster,
	"down":    chaos.Down,
	"poison":  chaos.Poison,
	"import":  chaos.Import,
}

func main() {
	scenario, args, err := choose(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
	chaos.Main("chaos", scenario, args)
}

// choose gives the scenario that the first argument names, and the rest.
func choose(args []string) (chaos.Scenario, []string, error) {
	if len(args) == 0 || scenarios[args[0]] == nil {
		return nil, nil, fmt.Errorf("what is to go wrong?\n%s", usage)
	}
	return scenarios[args[0]], args[1:], nil
}
