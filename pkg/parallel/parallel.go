// Package parallel does the same for many things, a few of them at a time.
package parallel

import "sync"

// Times calls do with each number from 0 to below n, at most limit of them at a time, and returns when the last has
// returned.
func Times(n, limit int, do func(i int)) {
	var work sync.WaitGroup
	turns := make(chan struct{}, max(limit, 1))
	for i := range n {
		turns <- struct{}{}
		work.Go(func() {
			defer func() { <-turns }()
			do(i)
		})
	}
	work.Wait()
}

// Each is [Times] for each of all.
func Each[T any](all []T, limit int, do func(T)) {
	Times(len(all), limit, func(i int) { do(all[i]) })
}

// Where is [Each], and gives those for which do says so, in their order.
func Where[T any](all []T, limit int, do func(T) bool) []T {
	yes := make([]bool, len(all))
	Times(len(all), limit, func(i int) { yes[i] = do(all[i]) })
	kept := make([]T, 0, len(all))
	for i, one := range all {
		if yes[i] {
			kept = append(kept, one)
		}
	}
	return kept
}
