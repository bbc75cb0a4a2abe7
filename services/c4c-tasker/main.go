// Command c4c-tasker turns feedback into tasks in SAP Sales Cloud. See README.md.
package main

import (
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/c4c-tasker/tasker"
)

func main() { service.Main(tasker.Define()) }
