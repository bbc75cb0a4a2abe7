package qualtrics

import "time"

// SetOAuthClock gives the client's access tokens another clock.
func SetOAuthClock(c *Client, now func() time.Time) { c.oauth.now = now }
