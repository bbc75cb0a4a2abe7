// Command standalone runs all of closeloop in one process, with an embedded NATS and simulated vendors. See README.md.
package main

import (
	"os"

	"github.com/closeloop/closeloop/services/standalone/standalone"
)

func main() { os.Exit(standalone.Main(os.Args[1:], os.Stdout, os.Stderr)) }
