package web

import (
	"cmp"
	"net/http"
	"net/url"
	"strings"

	g "maragu.dev/gomponents"
	"maragu.dev/gomponents/html"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// The cookies of the console.
const (
	// SessionCookie holds who signed in. Over TLS its name has the prefix __Host-, so that no other host of the domain can set it.
	SessionCookie = "closeloop-session"
	// byCookie remembers what somebody called themselves where nobody signs in.
	byCookie = "closeloop-by"
)

// Who is looking at a page.
type Who struct {
	// Name of whoever has credentials that say so; else what they called themselves the last time, or "".
	Name string
	// Proven says that credentials prove the name: nobody has to be asked who they are.
	Proven bool
	// Operates says that they may do more than read.
	Operates bool
	// Session says that they signed in, and so can sign out.
	Session bool
}

// may says in a word what they may, where that is not everything.
func (w Who) may() string {
	if w.Operates {
		return ""
	}
	return " (may read)"
}

// Person tells who is looking. Show what changes something, or shows personal data, only to who Operates; the routes refuse
// the others in any case.
func Person(r *httpdoor.Request) Who {
	w := Who{Name: r.User, Proven: r.User != "", Operates: !r.Guest}
	w.Session = w.Proven && r.Header.Get("Authorization") == "" && Cookie(r, SessionCookie) != ""
	if !w.Proven {
		w.Name, _ = url.QueryUnescape(Cookie(r, byCookie))
	}
	return w
}

// CookieName is the name of a cookie of this host alone: with the prefix that makes browsers see to it where the connection is
// encrypted.
func CookieName(r *httpdoor.Request, name string) string {
	if r.Encrypted {
		return "__Host-" + name
	}
	return name
}

// Cookie gives the value of a cookie that [SetCookie] set, "" where there is none.
func Cookie(r *httpdoor.Request, name string) string {
	c, err := (&http.Request{Header: r.Header}).Cookie(CookieName(r, name))
	if err != nil {
		return ""
	}
	return c.Value
}

// SetCookie has the browser keep a value for so many seconds, out of reach of scripts and of other sites' posts; below 0 it
// is dropped.
func SetCookie(r *httpdoor.Request, to *httpdoor.Response, name, value string, seconds int) {
	if to.Header == nil {
		to.Header = http.Header{}
	}
	to.Header.Add("Set-Cookie", (&http.Cookie{ //nolint:gosec // Secure wherever the connection is: not everybody has TLS within their own network
		Name: CookieName(r, name), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: r.Encrypted, SameSite: http.SameSiteLaxMode,
	}).String())
}

// Values are those of a form that a page of ours sent. The error is a [httpdoor.Problem].
func Values(r *httpdoor.Request) (url.Values, error) {
	if r.ContentType != typeForm {
		return nil, httpdoor.NewProblem(http.StatusUnsupportedMediaType, "send a form")
	}
	v, err := url.ParseQuery(string(r.Body))
	if err != nil {
		return nil, httpdoor.BadRequest("the form cannot be read: an escape or a separator in it is wrong")
	}
	return v, nil
}

const typeForm = "application/x-www-form-urlencoded"

// byYears is how long a browser remembers what somebody called themselves, in seconds.
const byYears = 365 * 24 * 60 * 60

// Remember has the browser remember the "by" of a form that was sent, where credentials say nothing of the name.
func Remember(r *httpdoor.Request, to *httpdoor.Response) {
	if r.User != "" || r.ContentType != typeForm {
		return
	}
	v, err := Values(r)
	if by := strings.TrimSpace(v.Get("by")); err == nil && by != "" && len(by) <= 200 {
		SetCookie(r, to, byCookie, url.QueryEscape(by), byYears)
	}
}

// WhyField asks why, and also who, where credentials do not say so: "why" and "by", as every operation is recorded with, and what
// of them was said already.
func WhyField(r *httpdoor.Request, why, by string) g.Node {
	who := Person(r)
	return g.Group{
		Field("Why", "why", why, html.Required(), html.MaxLength("1000"), html.AutoComplete("off")),
		g.If(!who.Proven, Field("Your name", "by", cmp.Or(by, who.Name), html.Required(), html.MaxLength("200"), html.AutoComplete("name"))),
	}
}
