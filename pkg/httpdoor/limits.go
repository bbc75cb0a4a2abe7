package httpdoor

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"
)

// Limits are how much a door takes. Probes, metrics and what is mounted have none. Zero values are no limit.
type Limits struct {
	// InFlight is how many requests guarded routes have at the same time, and how many open ones: strangers cannot take
	// the place of callers with credentials. One address has at most a quarter of the open ones.
	InFlight int
	// Rate is how many requests a second one caller may send in the long run, burstSeconds of it at once. A caller is its
	// credentials, or its address.
	Rate float64
	// Failures is how many wrong passwords or keys a minute one address may send for one user. Beyond them, no password of
	// that user is looked at; a key that is right opens the door all the same.
	Failures int
	// Proxies in front of the door, who say in X-Forwarded-For who is calling.
	Proxies []netip.Prefix
}

const (
	// burstSeconds of a caller's rate may come at once.
	burstSeconds = 10
	// remembered is how many callers are told apart; the one not heard of for longest is forgotten first.
	remembered = 8192
	// openShare is the part of the open places that one address may hold, as 1/openShare: who has no credentials cannot
	// take the place of vendors who sign.
	openShare = 4
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

// allowed refuses to look at a password after too many wrong ones for the same user from the same place. It cannot make an
// exception for the right one: that would answer the guess. Keys are looked at always: they are too long to be guessed, and
// callers who hold one need not suffer from a neighbour who does not.
func (g *guesses) allowed(address string, a attempt) error {
	if g == nil || !a.basic {
		return nil
	}
	if after := wait(g.of(a.userAt(address))); after > 0 {
		return tooManyWrong(after)
	}
	return nil
}

// failed counts what the attempt held and was wrong. The error says that there was too much of it.
func (g *guesses) failed(address string, a attempt) error {
	if g == nil {
		return nil
	}
	var limited error
	for _, target := range a.targets(address) {
		if bucket := g.of(target); !bucket.Allow() {
			limited = tooManyWrong(wait(bucket))
		}
	}
	return limited
}

func tooManyWrong(after time.Duration) *Problem { return tooMany("too many wrong credentials", after) }

// targets are what the attempt tries to open: a user, or the door by a key.
func (a attempt) targets(address string) []string {
	var targets []string
	if a.basic {
		targets = append(targets, a.userAt(address))
	}
	if a.apiKey {
		targets = append(targets, address+" key")
	}
	return targets
}

func (a attempt) userAt(address string) string {
	user := digestOf(a.user)
	return address + " user " + string(user[:])
}

// crowd limits how many requests there are, and how many of each caller.
type crowd struct {
	places  map[Access]*places
	callers *buckets
}

func newCrowd(l Limits) crowd {
	var c crowd
	if l.InFlight > 0 {
		c.places = map[Access]*places{
			Guarded: newPlaces(l.InFlight, l.InFlight),
			Open:    newPlaces(l.InFlight, max(1, l.InFlight/openShare)),
		}
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
	if !places.take(caller) {
		return nil, Unavailable("too many requests at the same time; the same request may be sent again", fullRetry)
	}
	return func() { places.free(caller) }, nil
}

// places are for requests at the same time: so many in all, and so many of each caller.
type places struct {
	all, each int

	mu    sync.Mutex
	taken int
	by    map[string]int
}

func newPlaces(all, each int) *places { return &places{all: all, each: each, by: map[string]int{}} }

func (p *places) take(caller string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.taken >= p.all || p.by[caller] >= p.each {
		return false
	}
	p.taken++
	p.by[caller]++
	return true
}

func (p *places) free(caller string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	if p.by[caller]--; p.by[caller] == 0 {
		delete(p.by, caller)
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
