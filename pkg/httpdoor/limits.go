package httpdoor

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

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
	// Hops is how many proxies a request comes through: as many entries at the end of X-Forwarded-For count, each if it was
	// one of Proxies that wrote it. 0 is none.
	Hops int
}

const (
	// burstSeconds of a caller's rate may come at once.
	burstSeconds = 10
	// remembered is how many callers, or users at whom is guessed, are told apart.
	remembered = 8192
	// openShare is the part of the open places that one address may hold, as 1/openShare: who has no credentials cannot
	// take the place of vendors who sign.
	openShare = 4
	// fullRetry is when to try again while a door is full.
	fullRetry = 2 * time.Second
)

// buckets are a token bucket for each key; one that is not known is full.
type buckets struct {
	every rate.Limit
	burst int

	mu    sync.Mutex
	known map[string]*rate.Limiter
}

func newBuckets(every rate.Limit, burst int) *buckets {
	return &buckets{every: every, burst: max(1, burst), known: map[string]*rate.Limiter{}}
}

// take takes a token from the bucket of a key. Where there is none it gives the time until there is.
func (b *buckets) take(key string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	bucket := b.known[key]
	if bucket == nil {
		if len(b.known) >= remembered {
			b.forget()
		}
		bucket = rate.NewLimiter(b.every, b.burst)
		b.known[key] = bucket
	}
	now := time.Now()
	taken := bucket.ReserveN(now, 1)
	after := taken.DelayFrom(now)
	if after > 0 {
		taken.CancelAt(now)
	}
	return after
}

// wait gives the time until the bucket of a key has a token; 0 where it has one.
func (b *buckets) wait(key string) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if bucket := b.known[key]; bucket != nil {
		return wait(bucket)
	}
	return 0
}

// forget makes room: an eighth of the buckets go, the fullest first. A full one is as good as none, and an empty one goes only
// where all that stay are empty as well. Then nobody is refused for the lack of room, and nobody gains by it: to have a bucket
// forgotten, as much must have been taken from each of those that stay, seven times as many as go.
func (b *buckets) forget() {
	type level struct {
		key    string
		tokens float64
	}
	levels, now := make([]level, 0, len(b.known)), time.Now()
	for key, bucket := range b.known {
		levels = append(levels, level{key, bucket.TokensAt(now)})
	}
	slices.SortFunc(levels, func(x, y level) int { return cmp.Compare(y.tokens, x.tokens) })
	for _, fullest := range levels[:len(levels)/8] {
		delete(b.known, fullest.key)
	}
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

// guesses limits wrong secrets: those for one user from one address. All that comes from an address has no limit of its own:
// behind one that many share, strangers who make up users would shut everybody out. A nil *guesses does not limit.
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
	if after := g.wait(a.userAt(address)); after > 0 {
		return tooManyWrong(after)
	}
	return nil
}

// failed counts what the attempt held and was wrong. The error says that there was too much of it.
func (g *guesses) failed(address string, a attempt) error {
	if g == nil {
		return nil
	}
	var after time.Duration
	for _, target := range a.targets(address) {
		after = max(after, g.take(target))
	}
	if after > 0 {
		return tooManyWrong(after)
	}
	return nil
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
		if after := c.callers.take(caller); after > 0 {
			return nil, tooMany("too many requests", after)
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

// addressOf gives where a request comes from: an address, of IPv6 its network, as one host has as many of those addresses as
// it likes.
func (l Limits) addressOf(r *http.Request) string {
	ip := l.caller(r)
	if ip.Is4() {
		return ip.String()
	}
	network, err := ip.Prefix(64)
	if err != nil {
		return "unknown"
	}
	return network.String()
}

// caller gives the address of the caller: that of the other side, or what trusted proxies say. Each proxy appends to
// X-Forwarded-For who called it, so that the last entries are the words of as many proxies; all before them may be made up.
func (l Limits) caller(r *http.Request) netip.Addr {
	at := addressIn(r.RemoteAddr)
	said := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for hop := 1; hop <= min(l.Hops, len(said)) && l.trusts(at); hop++ {
		before := addressIn(strings.TrimSpace(said[len(said)-hop]))
		if !before.IsValid() {
			break
		}
		at = before
	}
	return at
}

// trusts tells that an address is one of our proxies'.
func (l Limits) trusts(ip netip.Addr) bool {
	return slices.ContainsFunc(l.Proxies, func(proxies netip.Prefix) bool { return proxies.Contains(ip) })
}

// addressIn reads an address, with or without a port; the zero one where there is none.
func addressIn(text string) netip.Addr {
	ip, err := netip.ParseAddr(text)
	if err != nil {
		with, _ := netip.ParseAddrPort(text)
		ip = with.Addr()
	}
	return ip.Unmap().WithZone("")
}
