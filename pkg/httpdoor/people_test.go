package httpdoor_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/settings"
)

// guests have passwords of their own; whoever holds the cookie "known" is recognized.
func guests() httpdoor.RouteOption {
	return httpdoor.Welcome(httpdoor.Guests{
		Users: settings.SecretsOf("rita:reads", "ada:reads"),
		Known: func(r *httpdoor.Request) (httpdoor.Guest, bool) {
			name, known := strings.CutPrefix(r.Header.Get("Cookie"), "known=")
			return httpdoor.Guest{User: name, Limited: name != "ada"}, known
		},
	})
}

// told says who the handler was told is calling.
func told(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	name := r.User
	if r.Guest {
		name += " as a guest"
	}
	return &httpdoor.Response{Body: []byte(name)}, nil
}

func TestGuestsMayUseTheRoutesThatWelcomeThem(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Credentials: credentials(t, httpdoor.Settings{BasicUsers: settings.SecretsOf("ada:operates"), APIKeys: settings.SecretsOf("key")})})
	d.Handle(http.MethodGet, "/welcome", httpdoor.Guarded, told, guests())
	d.Handle(http.MethodGet, "/guarded", httpdoor.Guarded, told)
	for name, tt := range map[string]struct {
		header           []string
		welcome, guarded string // "" for 401
	}{
		"nobody":                            {nil, "", ""},
		"the door's user":                   {basic("ada:operates"), "ada", "ada"},
		"a guest":                           {basic("rita:reads"), "rita as a guest", ""},
		"a user as a guest":                 {basic("ada:reads"), "ada as a guest", ""},
		"a wrong password":                  {basic("rita:operates"), "", ""},
		"recognized":                        {[]string{"Cookie", "known=rita"}, "rita as a guest", ""},
		"recognized and not limited":        {[]string{"Cookie", "known=ada"}, "ada", ""},
		"recognized, with a wrong password": {append(basic("ada:x"), "Cookie", "known=ada"), "", ""},
		"recognized, with a wrong key":      {[]string{"X-API-Key", "x", "Cookie", "known=ada"}, "", ""},
	} {
		for path, want := range map[string]string{"/welcome": tt.welcome, "/guarded": tt.guarded} {
			got := call(t, d, http.MethodGet, path, nil, tt.header...)
			if want == "" && got.Code != http.StatusUnauthorized || want != "" && got.Body.String() != want {
				t.Errorf("%s at %s: %d %s", name, path, got.Code, got.Body)
			}
		}
	}
}

func TestWhereEverybodyIsLetInNobodyIsRecognized(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Credentials: credentials(t, httpdoor.Settings{Auth: "none"})})
	d.Handle(http.MethodGet, "/welcome", httpdoor.Guarded, told, guests())
	if got := call(t, d, http.MethodGet, "/welcome", nil, "Cookie", "known=rita"); got.Code != http.StatusOK || got.Body.String() != "" {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestAPasswordIsCheckedWithinTheLimitOfWrongOnes(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{
		Credentials: credentials(t, httpdoor.Settings{BasicUsers: settings.SecretsOf("ada:operates")}), Limits: httpdoor.Limits{Failures: 2},
	})
	d.Handle(http.MethodPost, "/check", httpdoor.Open, func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		user, password, _ := strings.Cut(string(r.Body), ":")
		who, err := r.Check(user, password)
		if err != nil {
			return nil, err
		}
		return told(t.Context(), &httpdoor.Request{User: who.User, Guest: who.Limited})
	}, guests())
	d.Handle(http.MethodGet, "/guarded", httpdoor.Guarded, told)
	for _, tt := range []struct {
		password string
		status   int
		who      string
	}{
		{"ada:operates", 200, "ada"}, {"rita:reads", 200, "rita as a guest"}, {"rita:x", 401, ""}, {"nobody:x", 401, ""}, {":", 401, ""},
		{"ada:x", 401, ""}, {"ada:y", 401, ""}, {"ada:operates", 429, ""}, {"rita:reads", 200, "rita as a guest"},
	} {
		got := call(t, d, http.MethodPost, "/check", strings.NewReader(tt.password))
		if got.Code != tt.status || tt.who != "" && got.Body.String() != tt.who {
			t.Errorf("%s: %d %s", tt.password, got.Code, got.Body)
		}
	}
	if got := call(t, d, http.MethodGet, "/guarded", nil, basic("ada:operates")...); got.Code != http.StatusTooManyRequests {
		t.Errorf("wrong passwords of a form did not count at the door: %d", got.Code)
	}
}

// TestAPasswordWithAColonIsOfOneUser: else part of a guess could stand in the name, and each guess would count for another user.
func TestAPasswordWithAColonIsOfOneUser(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Credentials: credentials(t, httpdoor.Settings{BasicUsers: settings.SecretsOf("ada:pass:word")})})
	d.Handle(http.MethodGet, "/check", httpdoor.Open, func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		who, err := r.Check(r.Query.Get("user"), r.Query.Get("password"))
		return &httpdoor.Response{Body: who.User}, err
	}, guests())
	for query, status := range map[string]int{"user=ada&password=pass:word": 200, "user=ada:pass&password=word": 401} {
		if got := call(t, d, http.MethodGet, "/check?"+query, nil); got.Code != status {
			t.Errorf("%s: %d %s", query, got.Code, got.Body)
		}
	}
}

func TestPostsFromOtherSitesAreRefused(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Credentials: credentials(t, httpdoor.Settings{Auth: "none"})})
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		d.Handle(method, "/ours", httpdoor.Guarded, ok, httpdoor.SameOrigin())
		d.Handle(method, "/any", httpdoor.Guarded, ok)
	}
	for name, tt := range map[string]struct {
		header []string
		status int
	}{
		"a program":                          {nil, 200},
		"our page":                           {[]string{"Sec-Fetch-Site", "same-origin", "Origin", "http://example.com", "Cookie", "a=b"}, 200},
		"our page, an old browser":           {[]string{"Origin", "http://example.com", "Cookie", "a=b"}, 200},
		"another site":                       {[]string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, 403},
		"another site, an old browser":       {[]string{"Origin", "https://evil.example"}, 403},
		"another host of the site":           {[]string{"Sec-Fetch-Site", "same-site", "Origin", "http://other.example.com"}, 403},
		"hidden":                             {[]string{"Origin", "null"}, 403},
		"says nothing and has cookies":       {[]string{"Cookie", "a=b"}, 403},
		"another site with a known password": {append(basic("ada:x"), "Origin", "https://evil.example"), 403},
	} {
		if got := call(t, d, http.MethodPost, "http://example.com/ours", nil, tt.header...); got.Code != tt.status {
			t.Errorf("%s: %d", name, got.Code)
		}
		if got := call(t, d, http.MethodGet, "http://example.com/ours", nil, tt.header...); got.Code != http.StatusOK {
			t.Errorf("%s may not read: %d", name, got.Code)
		}
		if got := call(t, d, http.MethodPost, "http://example.com/any", nil, tt.header...); got.Code != http.StatusOK {
			t.Errorf("%s at a route that does not ask: %d", name, got.Code)
		}
	}
}

func TestARouteShowsItsProblemsInItsOwnWay(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{Credentials: credentials(t, httpdoor.Settings{APIKeys: settings.SecretsOf("key")})})
	show := httpdoor.Problems(func(r *httpdoor.Request, p *httpdoor.Problem) *httpdoor.Response {
		switch {
		case r.Header.Get("Accept") != "text/html":
			return nil
		case p.Status == http.StatusUnauthorized:
			return &httpdoor.Response{Status: http.StatusSeeOther, Header: http.Header{"Location": {"/in?next=" + r.Path}}}
		}
		return &httpdoor.Response{ContentType: "text/html", Body: []byte("<p>" + p.Detail)}
	})
	d.Handle(http.MethodGet, "/things/{id}", httpdoor.Guarded, failing(httpdoor.NotFound("no such thing")), show)
	d.Handle(http.MethodGet, "/broken", httpdoor.Open, failing(errors.New("secret")), show)

	if got := call(t, d, http.MethodGet, "/things/1", nil); got.Code != 401 || got.problem(t).Status != 401 {
		t.Errorf("a program without credentials: %d %s", got.Code, got.Body)
	}
	if got := call(t, d, http.MethodGet, "/things/1", nil, "Accept", "text/html"); got.Code != 303 || got.Header().Get("Location") != "/in?next=/things/1" {
		t.Errorf("a person without credentials: %d %s", got.Code, got.Header())
	}
	if got := call(t, d, http.MethodGet, "/things/1", nil, "Accept", "text/html", "X-API-Key", "key"); got.Code != 404 || got.Body.String() != "<p>no such thing" {
		t.Errorf("a person: %d %s", got.Code, got.Body)
	}
	if got := call(t, d, http.MethodGet, "/broken", nil, "Accept", "text/html"); got.Code != 500 || strings.Contains(got.Body.String(), "secret") {
		t.Errorf("a fault: %d %s", got.Code, got.Body)
	}
}

func TestOnlyATrustedProxySaysThatARequestWasEncrypted(t *testing.T) {
	for name, tt := range map[string]struct {
		proxies []netip.Prefix
		header  []string
		want    string
	}{
		"plain":                       {nil, nil, "false"},
		"a stranger says so":          {nil, []string{"X-Forwarded-Proto", "https"}, "false"},
		"a proxy says so":             {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []string{"X-Forwarded-Proto", "https"}, "true"},
		"a proxy says that it is not": {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []string{"X-Forwarded-Proto", "http"}, "false"},
	} {
		d := httpdoor.New(httpdoor.Options{Limits: httpdoor.Limits{Proxies: tt.proxies}})
		d.Handle(http.MethodGet, "/", httpdoor.Open, func(_ context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
			return &httpdoor.Response{Body: r.Encrypted}, nil
		})
		r, w := httptest.NewRequest(http.MethodGet, "/", http.NoBody), httptest.NewRecorder() // from 192.0.2.1
		if len(tt.header) > 0 {
			r.Header.Set(tt.header[0], tt.header[1])
		}
		if d.ServeHTTP(w, r); w.Body.String() != tt.want {
			t.Errorf("%s: %s", name, w.Body)
		}
	}
}

type written string

func (w written) WriteTo(to io.Writer) (int64, error) {
	n, err := io.WriteString(to, string(w))
	return int64(n), err
}

func TestWhatCanWriteItselfDoes(t *testing.T) {
	d := httpdoor.New(httpdoor.Options{})
	d.Handle(http.MethodGet, "/", httpdoor.Open, answering(&httpdoor.Response{ContentType: "text/html", Body: written("<p>")}))
	if got := call(t, d, http.MethodGet, "/", nil); got.Body.String() != "<p>" || got.Header().Get("Content-Type") != "text/html" {
		t.Errorf("%s %s", got.Header(), got.Body)
	}
}
