// Command qualtrics-subscriptions makes, lists and replaces our event subscriptions at Qualtrics. See --help.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/closeloop/closeloop/services/feedback-router/subscriptions"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := subscriptions.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	cancel()
	os.Exit(code)
}
