package console

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/console/web"
)

// sessionTime is how long somebody stays signed in.
const sessionTime = 12 * time.Hour

// sessions are those who signed in. Nothing is kept of them here but which were ended: the cookie says who it is and until when,
// and is authenticated by a key and by the password itself, so that a password that is changed or taken away ends its sessions.
type sessions struct {
	// operators and readers are user:password, as of now.
	operators, readers settings.Secrets
	key                settings.Secret
	random             []byte // the key where none is set
	now                func() time.Time
	ended              *ended
}

func newSessions(operators, readers settings.Secrets, key settings.Secret, over *ended) *sessions {
	return &sessions{operators: operators, readers: readers, key: key, random: []byte(rand.Text()), now: now, ended: over}
}

// session is what a cookie says.
type session struct {
	ID     string    `json:"id"` // by which it is ended
	User   string    `json:"user"`
	Reads  bool      `json:"reads,omitempty"` // and no more
	Expiry time.Time `json:"expiry"`
}

// seal gives the cookie of somebody with this entry of user:password.
func (s *sessions) seal(who httpdoor.Guest, entry string) string {
	content, err := json.Marshal(session{ID: rand.Text(), User: who.User, Reads: who.Limited, Expiry: s.now().Add(sessionTime)})
	if err != nil {
		panic(err) // it is texts and a time
	}
	return base64.RawURLEncoding.EncodeToString(content) + "." + base64.RawURLEncoding.EncodeToString(s.sum(content, entry))
}

func (s *sessions) sum(content []byte, entry string) []byte {
	key := []byte(s.key.Reveal())
	if len(key) == 0 {
		key = s.random
	}
	password := sha256.Sum256([]byte(entry))
	mac := hmac.New(sha256.New, key)
	mac.Write(password[:])
	mac.Write(content)
	return mac.Sum(nil)
}

// known finds out who signed in, by the cookie.
func (s *sessions) known(r *httpdoor.Request) (httpdoor.Guest, bool) {
	told, ok := s.of(r)
	if !ok || s.ended.has(told.ID) {
		return httpdoor.Guest{}, false
	}
	return httpdoor.Guest{User: told.User, Limited: told.Reads}, true
}

// of reads the cookie of a request; false where it is not ours, or its time is over.
func (s *sessions) of(r *httpdoor.Request) (session, bool) {
	first, second, _ := strings.Cut(web.Cookie(r, web.SessionCookie), ".")
	content, err := base64.RawURLEncoding.DecodeString(first)
	sum, wrong := base64.RawURLEncoding.DecodeString(second)
	var told session
	if errors.Join(err, wrong) != nil || json.Unmarshal(content, &told) != nil || told.ID == "" {
		return session{}, false
	}
	entries := s.operators
	if told.Reads {
		entries = s.readers
	}
	for _, entry := range entries.Reveal() {
		if user, _, _ := strings.Cut(entry, ":"); user == told.User && hmac.Equal(sum, s.sum(content, entry)) && s.now().Before(told.Expiry) {
			return told, true
		}
	}
	return session{}, false
}

// nobody tells that there is no password to sign in with.
func (s *sessions) nobody() bool { return !s.operators.IsSet() && !s.readers.IsSet() }

// signInPage asks for user and password.
func (s *site) signInPage(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	next := localNext(r.Query.Get("next"))
	if s.open {
		return web.Redirect(next), nil
	}
	if _, in := s.sessions.known(r); in {
		return web.Redirect(next), nil
	}
	return s.askSignIn(r, next, "", ""), nil
}

func (s *site) askSignIn(r *httpdoor.Request, next, user, wrong string) *httpdoor.Response {
	body := []g.Node{g.If(wrong != "", web.Notice("bad", wrong))}
	if s.sessions.nobody() {
		body = append(body, web.Notice("warn", "Nobody can sign in here: set INGRESS_BASIC_USERS for people who operate, or CONSOLE_READERS for people who read."))
	} else {
		body = append(body, web.Post("/sign-in",
			web.Hidden("next", next),
			web.Field("User", "user", user, html.Required(), html.AutoComplete("username"), g.Attr("autocapitalize", "none"), g.Attr("spellcheck", "false")),
			web.Field("Password", "password", "", html.Type("password"), html.Required(), html.AutoComplete("current-password")),
			web.Button("Sign in"),
		))
	}
	return web.Show(r, web.View{Title: "Sign in", Body: body})
}

// localNext is where to go after signing in: a path of ours, whatever the address says.
func localNext(next string) string {
	if !web.Local(next) {
		return "/"
	}
	return next
}

// signIn takes user and password.
func (s *site) signIn(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	form, err := web.Values(r)
	if err != nil {
		return nil, err
	}
	user, password, next := form.Get("user"), form.Get("password"), localNext(form.Get("next"))
	who, err := r.Check(user, password)
	if p, ok := errors.AsType[*httpdoor.Problem](err); ok {
		page := s.askSignIn(r, next, user, "User or password is wrong.")
		page.Status = http.StatusForbidden
		if p.Status != http.StatusUnauthorized {
			page = s.askSignIn(r, next, user, "There were too many wrong passwords. Try again in a minute.")
			page.Status = p.Status
		}
		return page, nil
	}
	if err != nil {
		return nil, err
	}
	answer := web.Redirect(next)
	web.SetCookie(r, answer, web.SessionCookie, s.sessions.seal(who, user+":"+password), int(sessionTime/time.Second))
	return answer, nil
}

// signOut ends the session, also for whoever has a copy of its cookie.
func (s *site) signOut(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	answer := web.Redirect(cmp.Or(map[bool]string{true: "/"}[s.open], "/sign-in"))
	if told, ok := s.sessions.of(r); ok && s.sessions.ended.end(ctx, told) != nil {
		answer = web.Show(r, web.View{Title: "Signed out here", Status: http.StatusServiceUnavailable, Body: []g.Node{
			web.Notice("warn", "You are signed out in this browser. That the session is over could not be recorded now, so that another console would "+
				"take a copy of its cookie until "+told.Expiry.UTC().Format("15:04 UTC")+". Change the password where you fear that there is one."),
			html.P(html.A(html.Href("/sign-in"), g.Text("Sign in"))),
		}})
	}
	web.SetCookie(r, answer, web.SessionCookie, "", -1)
	return answer, nil
}
