package bus

import (
	"math/rand/v2"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
)

// delays is how long an event waits before its next attempt, by attempts made: close together at first, since most
// faults pass in seconds, then over a day, since a person must find out and mend the rest.
//
//	attempt  1  2  3  4   5   6   7   8   9   10   11   12   13  14  15  16  17
//	delay    1s 2s 4s 8s 15s 30s  1m  2m  5m  10m  20m  30m  1h  2h  4h  8h  8h   = 24 h 9 min in all
//
// Each is taken with jitter, between half and all of it, so that events that failed together do not return together,
// unless they were handled together.
var delays = []time.Duration{
	1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 15 * time.Second, 30 * time.Second,
	1 * time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
	1 * time.Hour, 2 * time.Hour, 4 * time.Hour, 8 * time.Hour, 8 * time.Hour,
}

// allDelays is how long an event is tried again at least, when its handler says when.
const allDelays = 24 * time.Hour

// retryDelay is the wait after that many attempts, or false when there have been enough. fraction, from 0 to 1, is how
// much of the jitter is taken.
func retryDelay(attempts int, fraction float64) (time.Duration, bool) {
	if attempts < 1 || attempts > len(delays) {
		return 0, attempts < 1
	}
	half := delays[attempts-1] / 2
	return half + time.Duration(fraction*float64(half)), true
}

// suspectDelay is how long an event is held that may have ended the process, by rounds: up to 10, 20, 40 … 600 seconds. Drawn, so
// that it comes back apart from those that were in hand with it; growing, so that what does end the process does so less and
// less often, until a person looks at it after about half an hour.
func suspectDelay(rounds int) time.Duration {
	return time.Second + rand.N(min(10*time.Second<<(rounds-1), 10*time.Minute))
}

// pauseDelay is how long a vendor is left alone after that many failures in a row, when it named no time itself: 2, 4, 8 … 60
// seconds. One that refuses our credentials is left alone for 10, 20, 40 … 300: some lock a user who knocks too often.
func pauseDelay(class fault.Class, failures int) time.Duration {
	first, longest := 2*time.Second, time.Minute
	if class == fault.Unauthorized || class == fault.Forbidden {
		first, longest = 10*time.Second, 5*time.Minute
	}
	return min(longest, first<<min(max(failures, 1)-1, 10))
}
