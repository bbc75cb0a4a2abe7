package console

import (
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/services/console/loops"
)

func TestALoopOfVeryManyEventsSaysWhatIsShown(t *testing.T) {
	t.Parallel()
	for events, says := range map[int]string{2: "", 36000: "the first 2 of its 36,000 events"} {
		s := &story{Loop: loops.Loop{Events: events, Places: []loops.Place{{Stream: topology.Events}, {Stream: topology.Activity}, {Stream: topology.Events}}}}
		var page strings.Builder
		if err := timelineNode(s).Render(&page); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page.String(), says) || strings.Contains(page.String(), "Shown are") != (says != "") {
			t.Errorf("of %d events: %s", events, page.String())
		}
	}
}

func TestATrySaysForWhichVendorItWaits(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		activity.Handled
		says string
	}{
		{activity.Handled{Outcome: activity.Paused, Class: fault.Busy, Vendor: "qualtrics", Reason: "qualtrics: waiting for the vendor to come back"}, "; waiting for qualtrics to come back"},
		{activity.Handled{Outcome: activity.Paused, Class: fault.Down}, "; waiting for its vendor to come back"},
		{activity.Handled{Outcome: activity.Held, Class: fault.Busy, Reason: "waiting for the vendor to come back"}, "waiting for the vendor to come back (busy)"}, // of an earlier version
	} {
		var page strings.Builder
		if err := attemptNode(attempt{Handled: c.Handled}).Render(&page); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(page.String(), c.says) || strings.Contains(page.String(), "somebody else") {
			t.Errorf("%s: %s", c.Outcome, page.String())
		}
	}
}
