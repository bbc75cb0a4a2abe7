package qualtrics_test

import (
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/settings"
)

func TestLimitsAreThePublishedOnesUnlessSet(t *testing.T) {
	s := qualtrics.Settings{APIToken: settings.SecretOf("token"), Calls: 1, PerMinute: 2900, FleetCalls: 3, GroupLimits: map[string]int{"links": 400, "history": 0}}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	limits := s.Limits()
	if limits.PerMinute != 2900 || limits.Parallel != 3 {
		t.Errorf("limits of all calls: %+v", limits)
	}
	for operation, want := range map[string]int{ // qualtrics.md §4.1
		"create contact": 500, "search contacts": 500, "create transaction": 500, "create batch": 500, "create import": 100,
		"import status": 500, "list links": 400, "read history": 0, "create subscription": 120, "read response": 240,
		"create distribution": 0, "list transactions of batch": 0, "who am i": 0, // those of all calls
	} {
		if got := limits.Operations[limits.Groups[operation]]; got != want {
			t.Errorf("%s: %d a minute, want %d", operation, got, want)
		}
	}
}

func TestUnknownLimitsAreNamed(t *testing.T) {
	for _, wrong := range []map[string]int{{"link": 400}, {"links": -1}} {
		s := qualtrics.Settings{APIToken: settings.SecretOf("token"), Calls: 1, GroupLimits: wrong}
		if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "QUALTRICS_LIMITS") {
			t.Errorf("%v: %v", wrong, err)
		}
	}
}
