package odata

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
)

const tokenHeader = "X-Csrf-Token"

// visit is what one call needs to know of a session. It is never changed, only replaced.
type visit struct {
	// epoch counts sessions, so that of many calls with a refused token one alone fetches the next.
	epoch int
	// begun tells that the service was asked for a token, which may be empty all the same.
	begun   bool
	token   string
	cookies map[string]string
}

// apply sets the cookies, and for a request that may modify the token. All cookies go back, as name and value only (odata-v2.md, rule 3).
func (v visit) apply(h http.Header, modifies bool) {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(v.cookies)) {
		pairs = append(pairs, name+"="+v.cookies[name])
	}
	if len(pairs) > 0 {
		h.Set("Cookie", strings.Join(pairs, "; "))
	}
	if modifies && v.token != "" {
		h.Set(tokenHeader, v.token)
	}
}

// session holds the cookies and the token of one technical user: fetched, replaced and dropped together
// (odata-v2.md, rule 1).
type session struct {
	idle   time.Duration
	csrf   bool
	fetch  func(context.Context) (http.Header, error)
	flight singleflight.Group

	mu   sync.Mutex
	now  visit
	used time.Time
}

func newSession(idle time.Duration, csrf bool, fetch func(context.Context) (http.Header, error)) *session {
	return &session{idle: idle, csrf: csrf, fetch: fetch}
}

// current gives the session as it is, or an empty one after too long a rest.
func (s *session) current() visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.used.IsZero() && time.Since(s.used) > s.idle {
		s.now = visit{epoch: s.now.epoch + 1}
	}
	s.used = time.Now()
	return s.now
}

// ready gives a session that a write can use, and begins one if there is none.
func (s *session) ready(ctx context.Context) (visit, error) {
	v := s.current()
	if !s.csrf || v.begun {
		return v, nil
	}
	return s.renewed(ctx, v.epoch)
}

// renewed gives a session younger than epoch stale. The first to ask fetches it, the others wait for that result, and
// who asks too late gets it at once. The fetch outlives its caller's context, since others wait for it too.
func (s *session) renewed(ctx context.Context, stale int) (visit, error) {
	ch := s.flight.DoChan(strconv.Itoa(stale), func() (any, error) {
		if v := s.current(); v.epoch != stale && v.begun {
			return v, nil
		}
		header, err := s.fetch(context.WithoutCancel(ctx))
		if err != nil {
			return nil, err
		}
		return s.replace(header), nil
	})
	select {
	case r := <-ch:
		if r.Err != nil {
			return visit{}, r.Err
		}
		return r.Val.(visit), nil
	case <-ctx.Done():
		return visit{}, fault.New(fault.Transient, "waiting for a session, the work was ended: %w", ctx.Err())
	}
}

func (s *session) replace(h http.Header) visit {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = visit{epoch: s.now.epoch + 1, begun: true, token: h.Get(tokenHeader), cookies: merged(nil, h)}
	s.used = time.Now()
	return s.now
}

// update takes up the cookies of an answer, unless its session is no longer the current one.
func (s *session) update(epoch int, h http.Header) {
	if len(h.Values("Set-Cookie")) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now.epoch == epoch {
		s.now.cookies = merged(s.now.cookies, h)
	}
}

// merged gives a new jar. Values are kept as they came, since net/http drops what it thinks invalid.
func merged(jar map[string]string, h http.Header) map[string]string {
	jar = maps.Clone(jar)
	if jar == nil {
		jar = map[string]string{}
	}
	for _, line := range h.Values("Set-Cookie") {
		pair, _, _ := strings.Cut(line, ";")
		name, value, ok := strings.Cut(pair, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			continue
		}
		if jar[name] = strings.TrimSpace(value); expired(line) {
			delete(jar, name)
		}
	}
	return jar
}

func expired(line string) bool {
	c, err := http.ParseSetCookie(line)
	if err != nil {
		return false
	}
	return c.MaxAge < 0 || c.MaxAge == 0 && !c.Expires.IsZero() && c.Expires.Before(time.Now())
}

// tokenRefused recognises the one 403 that a new token mends. C4C may leave out the header (odata-v2.md §2).
func tokenRefused(a outbound.Answer) bool {
	return a.Status == http.StatusForbidden &&
		(strings.EqualFold(a.Header.Get(tokenHeader), "required") || bytes.Contains(a.Body, []byte("CSRF token validation failed")))
}
