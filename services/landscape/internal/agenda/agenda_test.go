package agenda_test

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/agenda"
)

func TestThingsAreDoneWhenTheyAreDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, began, done := agenda.New(), time.Now(), []string{}
		a.Put("later", began.Add(2*time.Hour))
		a.Put("dropped", began)
		a.Put("moved", began)
		a.Put("overdue", began.Add(-time.Hour))
		a.Put("moved", began.Add(3*time.Hour))
		a.Drop("dropped")
		a.Drop("never there")
		ctx, cancel := context.WithCancel(t.Context())
		go a.Run(ctx, 1, func(_ context.Context, id string) {
			done = append(done, time.Since(began).String()+" "+id)
			if id == "later" {
				a.Put("again", time.Now())
			}
		})
		<-time.After(24 * time.Hour) // of the bubble's own time
		a.Put("new", time.Now())
		synctest.Wait()
		cancel()
		synctest.Wait()
		want := []string{"0s overdue", "2h0m0s later", "2h0m0s again", "3h0m0s moved", "24h0m0s new"}
		if !slices.Equal(done, want) {
			t.Errorf("got %q, want %q", done, want)
		}
	})
}

func TestAFewAreDoneAtOnceAndRunWaitsForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := agenda.New()
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			a.Put(id, time.Now())
		}
		ctx, cancel := context.WithCancel(t.Context())
		var begun, ended atomic.Int32
		returned := make(chan struct{})
		go func() {
			defer close(returned)
			a.Run(ctx, 3, func(ctx context.Context, _ string) {
				begun.Add(1)
				<-ctx.Done()
				<-time.After(time.Second) // of the bubble's own time
				ended.Add(1)
			})
		}()
		synctest.Wait()
		if begun.Load() != 3 {
			t.Errorf("%d at once, want 3", begun.Load())
		}
		cancel()
		<-returned
		if begun.Load() != 3 || ended.Load() != 3 {
			t.Errorf("%d begun and %d ended when Run returned", begun.Load(), ended.Load())
		}
	})
}
