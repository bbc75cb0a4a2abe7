package odatasim

import (
	"crypto/rand"
	"crypto/subtle"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

const tokenHeader = "X-Csrf-Token"

// SessionSettings say how a service keeps its sessions (odata-v2.md §1, §2 and §12).
type SessionSettings struct {
	// Cookies are the names of a session's cookies, the one with the session's id first.
	Cookies []string
	// Idle is how long an unused session lives. Default: 30 minutes (assumed).
	Idle time.Duration
	// Unprotected switches the CSRF check off: no token is given and none is asked for.
	Unprotected bool
	// NoRequiredHeader leaves x-csrf-token: Required out of the refusal, so that only its text tells the reason.
	NoRequiredHeader bool
	// Body is the form of the refusal. Default: TextFault.
	Body FaultBody
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Sessions are the sessions of one service. They live in memory: a restart ends them, as a restart of the vendor's
// system would.
type Sessions struct {
	settings SessionSettings

	mu     sync.Mutex
	open   map[string]*session
	opened int
}

type session struct {
	token   string
	cookies map[string]string
	used    time.Time
}

// NewSessions starts without any session.
func NewSessions(s SessionSettings) *Sessions {
	if s.Idle == 0 {
		s.Idle = 30 * time.Minute
	}
	if s.Body == "" {
		s.Body = TextFault
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	return &Sessions{settings: s, open: map[string]*session{}}
}

// Expire ends every session: the next write of each client is refused until it fetches a token again.
func (s *Sessions) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.open)
}

// Opened is how many sessions have been opened since the start. A client that logs in once per call makes it grow with
// every call (odata-v2.md §1).
func (s *Sessions) Opened() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened
}

// Guard lets reads through, opening a session where the caller has none, and lets a write through only with a token
// that belongs to the session of its cookies; every cookie of the session must come back (odata-v2.md §2).
func (s *Sessions) Guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.settings.Unprotected, r.Method == http.MethodHead: // HEAD gets no token; the service refuses it
		case r.Method == http.MethodGet:
			s.greet(w, r)
		case !s.admits(r):
			s.refuse(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Sessions) greet(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.find(r)
	if current == nil {
		current = s.start()
		for _, name := range s.settings.Cookies {
			http.SetCookie(w, &http.Cookie{Name: name, Value: current.cookies[name], Path: "/", HttpOnly: true, Secure: r.TLS != nil})
		}
	}
	if strings.EqualFold(r.Header.Get(tokenHeader), "fetch") {
		w.Header().Set(tokenHeader, current.token)
	}
}

func (s *Sessions) admits(r *http.Request) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	current := s.find(r)
	return current != nil && subtle.ConstantTimeCompare([]byte(current.token), []byte(r.Header.Get(tokenHeader))) == 1
}

// find gives the caller's session, or nil if it has none, if one of its cookies is missing or foreign, or if it was
// idle for too long.
func (s *Sessions) find(r *http.Request) *session {
	id, err := r.Cookie(s.settings.Cookies[0])
	if err != nil {
		return nil
	}
	current := s.open[id.Value]
	if current == nil {
		return nil
	}
	now := s.settings.Now()
	if now.Sub(current.used) > s.settings.Idle {
		delete(s.open, id.Value)
		return nil
	}
	for name, value := range current.cookies {
		if c, err := r.Cookie(name); err != nil || c.Value != value {
			return nil
		}
	}
	current.used = now
	return current
}

func (s *Sessions) start() *session {
	now := s.settings.Now()
	if len(s.open)%1024 == 1023 { // now and then is enough to keep the map small
		maps.DeleteFunc(s.open, func(_ string, old *session) bool { return now.Sub(old.used) > s.settings.Idle })
	}
	current := &session{token: rand.Text() + "==", cookies: map[string]string{}, used: now}
	for i, name := range s.settings.Cookies {
		if i == 0 || strings.Contains(name, "XSRF") {
			current.cookies[name] = rand.Text()
		} else {
			current.cookies[name] = "sap-client=100"
		}
	}
	s.open[current.cookies[s.settings.Cookies[0]]] = current
	s.opened++
	return current
}

func (s *Sessions) refuse(w http.ResponseWriter) {
	if !s.settings.NoRequiredHeader {
		w.Header().Set(tokenHeader, "Required")
	}
	writeFault(w, &Fault{http.StatusForbidden, CodeNotAllowed, "CSRF token validation failed"}, s.settings.Body, false)
}

// BasicAuth lets only this user through; any other caller is answered 401.
func BasicAuth(username, password string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, pass, ok := r.BasicAuth()
		if !ok || user != username || pass != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="SAP NetWeaver Application Server"`)
			writeFault(w, &Fault{http.StatusUnauthorized, CodeNotAllowed, "Logon failed"}, TextFault, false)
			return
		}
		next.ServeHTTP(w, r)
	})
}
