// Command landscape simulates Qualtrics, SAP Marketing Cloud, SAP Sales Cloud and Awardco. See README.md.
package main

import (
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

func main() { service.Main(landscape.Define()) }
