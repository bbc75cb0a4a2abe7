// Command ingress is the door for everything that comes from outside. See README.md.
package main

import (
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/ingress/ingress"
)

func main() { service.Main(ingress.Define()) }
