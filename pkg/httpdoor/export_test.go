package httpdoor

import "time"

// SetClock makes the keys of the tokens' issuer age by another clock.
func (b *Bearers) SetClock(now func() time.Time) { b.keys.now = now }
