package linker

import "time"

// Hurry shortens the waits between looks at an import, and for missing links.
func Hurry() { looks, firstPoll = []time.Duration{300 * time.Millisecond}, 100*time.Millisecond }
