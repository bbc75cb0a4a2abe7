// Command drill puts events into an installation that runs somewhere else, and holds the simulated vendors' books against what
// was accepted: see -help, and scripts/cluster-drill, which runs it in a Kubernetes that it breaks meanwhile.
//
// It is a program of its own, and not one of the scenarios of the command chaos, because it becomes an image: what those need
// (a broker within the process, Docker) would double it.
package main

import (
	"os"

	"github.com/closeloop/closeloop/services/standalone/internal/chaos"
)

func main() { chaos.Main("drill", chaos.Drill, os.Args[1:]) }
