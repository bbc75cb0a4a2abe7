// Command console is where people see what waits for them and decide about it. See README.md.
package main

import (
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/console/console"
)

func main() { service.Main(console.Define()) }
