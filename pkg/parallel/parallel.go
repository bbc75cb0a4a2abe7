// Package parallel does the same for many things, a few of them at a time.
package parallel

import "sync"

// Each calls do for each of all, at most limit of them at a time, and returns when the last has returned.
func Each[T any](all []T, limit int, do func(T)) {
	var work sync.WaitGroup
	turns := make(chan struct{}, max(limit, 1))
	for _, one := range all {
		turns <- struct{}{}
		work.Go(func() {
			defer func() { <-turns }()
			do(one)
		})
	}
	work.Wait()
}

// Where is [Each], and gives those for which do says so, in their order.
func Where[T any](all []T, limit int, do func(T) bool) []T {
	yes, places := make([]bool, len(all)), make([]int, len(all))
	for i := range places {
		places[i] = i
	}
	Each(places, limit, func(i int) { yes[i] = do(all[i]) })
	kept := make([]T, 0, len(all))
	for i, one := range all {
		if yes[i] {
			kept = append(kept, one)
		}
	}
	return kept
}
