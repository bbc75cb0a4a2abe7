package httpdoor

import (
	"net"
	"net/http"
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"
)

// Limits are how much a door takes. Probes, metrics and what is mounted have none. Zero values are no limit.
type Limits struct {
	// InFlight is how many requests guarded routes have at the same time, and how many open ones: strangers cannot take
	// the place of callers with credentials.
	InFlight int
	// Rate is how many requests a second one caller may send in the long run, burstSeconds of it at once. A caller is its
	// credentials, or its address.
	Rate float64
	// Failures is how many wrong passwords or keys a minute one address may send for one user.
	Failures int
	// Proxies in front of the door, who say in X-Forwarded-For who is calling.
	Proxies []netip.Prefix
}

const (
	// burstSeconds of a caller's rate may come at once.
	burstSeconds = 10
	// remembered is how many callers are told apart; the one not heard of for longest is forgotten first.
	remembered = 8192
	// fullRetry is when to try again while a door is full.
	fullRetry = 2 * time.Second
)

// buckets are a token bucket for each key.
type buckets struct {
	every rate.Limit
	burst int
	known *lru.Cache[string, *rate.Limiter]
}

func newBuckets(every rate.Limit, burst int) *buckets {
	known, err := lru.New[string, *rate.Limiter](remembered)
	if err != nil {
		panic(err) // remembered is not positive
	}
	return &buckets{every, max(1, burst), known}
}

func (b *buckets) of(key string) *rate.Limiter {
	fresh := rate.NewLimiter(b.every, b.burst)
	if known, ok, _ := b.known.PeekOrAdd(key, fresh); ok {
		b.known.Get(key) // heard of just now
		return known
	}
	return fresh
}

// wait is how long until the bucket has a token; 0 where it has one.
func wait(l *rate.Limiter) time.Duration {
	if missing := 1 - l.Tokens(); missing > 0 {
		return time.Duration(missing / float64(l.Limit()) * float64(time.Second))
	}
	return 0
}

func tooMany(detail string, after time.Duration) *Problem {
	p := NewProblem(http.StatusTooManyRequests, detail)
	p.RetryAfter = max(after, time.Second)
	return p
}

// guesses limits wrong secrets. A nil *guesses does not.
type guesses struct{ *buckets }

func newGuesses(perMinute int) *guesses {
	if perMinute == 0 {
		return nil
	}
	return &guesses{newBuckets(rate.Limit(float64(perMinute)/60), perMinute)}
}

// allowed refuses to look at a secret after too many wrong ones for the same user from the same place. It cannot make an
// exception for the right one: that would answer the guess.
func (g *guesses) allowed(address string, a attempt) error {
	if g == nil {
		return nil
	}
	for _, key := range a.targets(address) {
		if after := wait(g.of(key)); after > 0 {
			return tooMany("too many wrong credentials", after)
		}
	}
	return nil
}

func (g *guesses) failed(address string, a attempt) {
	if g == nil {
		return
	}
	for _, key := range a.targets(address) {
		g.of(key).Allow()
	}
}

// targets are what the attempt tries to open: a user, or the door by a key.
func (a attempt) targets(address string) []string {
	var targets []string
	if a.basic {
		user := digestOf(a.user)
		targets = append(targets, address+" user "+string(user[:]))
	}
	if a.apiKey {
		targets = append(targets, address+" key")
	}
	return targets
}

// crowd limits how many requests there are, and how many of each caller.
type crowd struct {
	places  map[Access]chan struct{}
	callers *buckets
}

func newCrowd(l Limits) crowd {
	var c crowd
	if l.InFlight > 0 {
		c.places = map[Access]chan struct{}{Guarded: make(chan struct{}, l.InFlight), Open: make(chan struct{}, l.InFlight)}
	}
	if l.Rate > 0 {
		c.callers = newBuckets(rate.Limit(l.Rate), int(l.Rate*burstSeconds))
	}
	return c
}

// enter takes a place, which leave gives back.
func (c crowd) enter(access Access, caller string) (leave func(), err error) {
	if c.callers != nil {
		if bucket := c.callers.of(caller); !bucket.Allow() {
			return nil, tooMany("too many requests", wait(bucket))
		}
	}
	places := c.places[access]
	if places == nil {
		return func() {}, nil
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	default:
		return nil, Unavailable("too many requests at the same time; the same request may be sent again", fullRetry)
	}
}

// addressOf gives where requests come from: an address, of IPv6 its network, as one host has as many of those addresses as
// it likes.
func addressOf(c echo.Context) string {
	ip, err := netip.ParseAddr(c.RealIP())
	if err != nil {
		return "unknown"
	}
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return network.String()
}

// extractor tells the address of the caller from those of the proxies that are trusted.
func extractor(proxies []netip.Prefix) echo.IPExtractor {
	if len(proxies) == 0 {
		return echo.ExtractIPDirect()
	}
	trust := []echo.TrustOption{echo.TrustLoopback(false), echo.TrustLinkLocal(false), echo.TrustPrivateNet(false)}
	for _, p := range proxies {
		trust = append(trust, echo.TrustIPRange(&net.IPNet{IP: p.Masked().Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}))
	}
	return echo.ExtractIPFromXFFHeader(trust...)
}
