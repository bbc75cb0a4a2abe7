package outbound

import "time"

// longestToken bounds how long a token is used, whatever its issuer says of it.
const longestToken = 24 * time.Hour

// TokenLife is how long a token is good for of which a vendor says that it lives so many seconds: a day at the most, and
// never less than nothing.
func TokenLife(seconds float64) time.Duration {
	return time.Duration(min(max(seconds, 0), longestToken.Seconds()) * float64(time.Second))
}
