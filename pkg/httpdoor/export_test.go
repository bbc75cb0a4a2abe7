package httpdoor

import (
	"net/http"
	"time"
)

// SetClock makes the keys of the tokens' issuer age by another clock.
func (b *Bearers) SetClock(now func() time.Time) { b.keys.now = now }

// SetTransport asks the tokens' issuer by another way than the network.
func (b *Bearers) SetTransport(t http.RoundTripper) { b.keys.client.Transport = t }

// Remembered is how many buckets the door keeps of those who guess.
func (d *Door) Remembered() int { return len(d.guard.guesses.known) }
