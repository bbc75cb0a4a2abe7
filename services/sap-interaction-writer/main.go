// Command sap-interaction-writer writes survey links and answers to SAP Marketing Cloud as interactions. See README.md.
package main

import (
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/writer"
)

func main() { service.Main(writer.Define()) }
