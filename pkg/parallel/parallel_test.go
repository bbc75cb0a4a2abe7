package parallel_test

import (
	"slices"
	"sync/atomic"
	"testing"

	"github.com/closeloop/closeloop/pkg/parallel"
)

func TestNoMoreThanTheLimitAreDoneAtATimeAndOrderIsKept(t *testing.T) {
	var now, most atomic.Int32
	all := make([]int, 200)
	for i := range all {
		all[i] = i
	}
	even := parallel.Where(all, 7, func(n int) bool {
		at := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); at > old && !most.CompareAndSwap(old, at); old = most.Load() {
		}
		return n%2 == 0
	})
	if len(even) != 100 || !slices.IsSorted(even) || even[99] != 198 {
		t.Errorf("%v", even)
	}
	if most.Load() > 7 {
		t.Errorf("%d at a time", most.Load())
	}
}
