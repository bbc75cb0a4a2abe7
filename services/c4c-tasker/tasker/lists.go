package tasker

import (
	"context"
	"strings"
	"time"

	"github.com/closeloop/closeloop/services/c4c-tasker/salescloud"
)

// How long to wait before the settings are held against the tenant's lists again: at first after something was amiss,
// and at most, which is also the time between two checks when all is well.
const (
	firstCheck = 5 * time.Second
	lastCheck  = time.Hour
)

// checkSettings holds the settings against the tenant's lists, at the start and once an hour: people should know before
// the first event does, and events need not wait for lists.
func (t *tasker) checkSettings(ctx context.Context) error {
	next := firstCheck
	for {
		wait := lastCheck
		if !t.settingsFit(ctx) {
			wait, next = next, min(2*next, lastCheck)
		} else {
			next = firstCheck
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// settingsFit checks once and tells what is amiss: an alarm for settings that the tenant does not have, a warning for
// lists that could not be read, which may be nobody's fault.
func (t *tasker) settingsFit(ctx context.Context) bool {
	wrong, err := t.cloud.Settings(ctx)
	if ctx.Err() != nil {
		return true
	}
	then := "work goes on, unless SAP refuses"
	if t.settings.V1.CodeLists == string(salescloud.ListsStrict) {
		then = "work waits, nothing is lost"
	}
	if wrong != nil {
		t.log.ErrorContext(ctx, "the settings do not fit SAP Sales Cloud", "reason", strings.Join(wrong, "; "), "then", then)
	}
	if err != nil {
		t.log.WarnContext(ctx, "the code lists of SAP Sales Cloud cannot be read yet, and are tried again",
			"reason", strings.ReplaceAll(err.Error(), "\n", "; "), "then", then)
	}
	return wrong == nil && err == nil
}
