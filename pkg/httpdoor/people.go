package httpdoor

import (
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/closeloop/closeloop/pkg/settings"
)

// Guests are people who may use some routes beside those whom the door's credentials let in.
type Guests struct {
	// Users have passwords, each as user:password. Wrong ones count as those of the door's users do.
	Users settings.Secrets
	// Known finds out who sends a request that holds no credentials in its header, as by the cookie of a session. Default:
	// nobody is known.
	Known func(*Request) (Guest, bool)
}

// Guest is who was recognized.
type Guest struct {
	// User is the name.
	User string
	// Limited says that it is one of [Guests.Users], and nobody whom the door's credentials would let in.
	Limited bool
}

// Welcome lets guests use the route as well: [Request.Guest] says so of one who is limited, and the handler decides what they
// may. On an open route it lets nobody in, and lends [Request.Check] their passwords.
func Welcome(g Guests) RouteOption { return func(r *route) { r.guests = g } }

// SameOrigin refuses what changes something (all methods but GET, HEAD and OPTIONS) where a browser sends it for another site:
// browsers send their cookies and remembered passwords along. Programs, which say nothing of where they come from and have no
// cookies, are not concerned.
func SameOrigin() RouteOption { return func(r *route) { r.sameOrigin = true } }

// Problems has errors shown by show, as a page for people, or a way to sign in for whoever is a stranger. Where it gives nil
// the answer is the problem as for programs.
func Problems(show func(*Request, *Problem) *Response) RouteOption {
	return func(r *route) { r.problems = show }
}

// Check tells who has this password, among the door's users and the guests of the route; the limit of wrong ones holds. The error
// is a [Problem], 401 where the password is wrong.
func (r *Request) Check(user, password string) (Guest, error) { return r.check(user, password) }

// crossOrigin knows what browsers say of where a request comes from.
var crossOrigin = http.NewCrossOriginProtection()

func checkOrigin(c echo.Context, to route) error {
	if !to.sameOrigin {
		return nil
	}
	in := c.Request()
	silent := in.Header.Get("Sec-Fetch-Site") == "" && in.Header.Get("Origin") == ""
	safe := in.Method == http.MethodGet || in.Method == http.MethodHead || in.Method == http.MethodOptions
	if crossOrigin.Check(in) == nil && (safe || !silent || in.Header.Get("Cookie") == "") {
		return nil
	}
	return NewProblem(http.StatusForbidden, "the request comes from a page of another site; open our page and do it there")
}

// showProblem answers an error as the route shows it, and tells whether that is done. What is shown as no error at all, such as
// the way to sign in, is none in the log either.
func (d *Door) showProblem(c echo.Context, to route, r *Request, err error) (rest error) {
	if to.problems == nil || c.Response().Committed {
		return err
	}
	p := problemOf(err, r.ID)
	page := to.problems(r, p)
	if page == nil {
		return err
	}
	page.Status = orDefault(page.Status, p.Status)
	if err := write(c, page.with(p.headers())); err != nil {
		return err
	}
	if page.Status < http.StatusBadRequest {
		return nil
	}
	return p
}

// with adds headers that the response does not have.
func (r *Response) with(more http.Header) *Response {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	for name, values := range more {
		if r.Header[name] == nil {
			r.Header[name] = values
		}
	}
	return r
}

// encrypted tells that nobody could read the request on its way here: it came by TLS, or a trusted proxy says that it did.
func (d *Door) encrypted(r *http.Request) bool {
	if r.TLS != nil {
		return true
	}
	return r.Header.Get("X-Forwarded-Proto") == "https" && d.options.Limits.trusts(addressIn(r.RemoteAddr))
}
