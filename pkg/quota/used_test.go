package quota_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/quota"
)

func TestTheUseOfLimitsIsToldWhileItChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := quota.New(&memory{}, "acme", quota.Limits{PerMinute: 600, Operations: map[string]int{"make": 100}})
		ctx, end := context.WithCancel(t.Context())
		defer end()
		var told []activity.Quota
		var telling sync.WaitGroup
		telling.Go(func() { l.Tell(ctx, "c4c-tasker", func(q activity.Quota) { told = append(told, q) }) })
		synctest.Wait()
		if len(told) != 1 || told[0].Service != "c4c-tasker" || told[0].Vendor != "acme" || len(told[0].Limits) != 2 {
			t.Fatalf("at the start: %+v", told)
		}
		<-time.After(5 * time.Minute) // of the bubble
		if len(told) != 1 {
			t.Errorf("%d told while nothing changes", len(told))
		}
		for range 10 {
			release, err := l.Admit(t.Context(), "make")
			if err != nil {
				t.Fatal(err)
			}
			release()
		}
		<-time.After(11 * time.Second)
		if len(told) < 2 {
			t.Fatal("not told that it is used")
		}
		last := told[len(told)-1].Limits
		if all, own := last[0], last[1]; all.Name != "all" || all.Most != 600 || own.Name != "make" || own.Used != 10 || own.Most != 100 {
			t.Errorf("told %+v", last)
		}
		<-time.After(2 * time.Minute)
		quiet := len(told)
		if used := told[quiet-1].Limits[1].Used; used != 0 || quiet > 12 {
			t.Errorf("%d told, in the end %g are used", quiet, used)
		}
		<-time.After(61 * time.Minute)
		if len(told) != quiet+1 {
			t.Errorf("%d told in a quiet hour, want 1", len(told)-quiet)
		}
		end()
		telling.Wait()
	})
}
