// Command qualtrics-linker makes personal survey links in Qualtrics. See README.md.
package main

import (
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/qualtrics-linker/linker"
)

func main() { service.Main(linker.Define()) }
