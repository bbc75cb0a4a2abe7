package console

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestALivePageLooksAtMostOnceInAWhile however often loops change, and ends with its listener.
func TestALivePageLooksAtMostOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		changes, began := make(chan []string, 2), time.Now()
		changes <- []string{"L-1"}
		changes <- []string{"L-2"}
		var looks []time.Duration
		err := eachChange(ctx, changes, pauseFor(page), func() error {
			if looks = append(looks, time.Since(began)); len(looks) == 3 {
				cancel()
				close(changes)
			}
			return nil
		})
		if err != nil || len(looks) != 3 || looks[0] != 0 || looks[1] < livePause || looks[2] < 2*livePause {
			t.Errorf("it looks after %v, %v", looks, err)
		}
		if time.Since(began) != looks[2] {
			t.Error("it pauses when nobody listens any more")
		}
	})
}

// TestSoMuchHasChangedThatItIsNotListed is of what a live page is told when more loops change at once than are listed.
func TestSoMuchHasChangedThatItIsNotListed(t *testing.T) {
	changes := make(chan []string, 2)
	changes <- []string{"L-2"}
	changes <- nil
	close(changes)
	if !next(changes, "L-1") {
		t.Error("L-1 may have changed, and nobody looks")
	}
	if next(changes, "L-1") {
		t.Error("nothing will change any more")
	}
}

// TestALargePageIsLookedAtLessOften than one of the usual size.
func TestALargePageIsLookedAtLessOften(t *testing.T) {
	if pauseFor(1) != livePause || pauseFor(page) != livePause || pauseFor(pageMost) < 20*livePause {
		t.Error(pauseFor(1), pauseFor(page), pauseFor(pageMost))
	}
}
