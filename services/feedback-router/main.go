// Command feedback-router fetches answers and applies the rules to them. See README.md.
package main

import (
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/feedback-router/router"
)

func main() { service.Main(router.Define()) }
