// Command awardco-recognizer submits recognitions to Awardco. See README.md.
package main

import (
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
)

func main() { service.Main(recognizer.Define()) }
