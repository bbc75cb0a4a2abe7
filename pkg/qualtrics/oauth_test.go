package qualtrics_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
)

// authority grants tokens t1, t2, … and lets only the latest one in.
type authority struct {
	mu      sync.Mutex
	grants  int
	calls   int
	life    int
	revoked bool             // nothing gets in until the next grant
	deny    http.HandlerFunc // in place of a grant
	wait    chan struct{}    // a grant waits for it
	arrived chan struct{}
}

func (a *authority) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/oauth2/token" {
		if a.wait != nil {
			a.arrived <- struct{}{}
			<-a.wait
		}
		a.grant(w, r)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.calls++
	if a.revoked || r.Header.Get("Authorization") != fmt.Sprintf("Bearer t%d", a.grants) || r.Header.Get("X-Api-Token") != "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	io.WriteString(w, result(`{"brandId":"simbrand"}`))
}

func (a *authority) grant(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id, secret, _ := r.BasicAuth()
	if id != "invented-client" || secret != "invented-secret" || r.Method != "POST" ||
		r.PostFormValue("grant_type") != "client_credentials" || r.PostFormValue("scope") != "read:users manage:all" {
		http.Error(w, "bad token request", http.StatusTeapot)
		return
	}
	if a.deny != nil {
		a.deny(w, r)
		return
	}
	a.grants++
	a.revoked = false
	fmt.Fprintf(w, `{"access_token":"t%d","token_type":"bearer","expires_in":%d}`, a.grants, a.life)
}

func (a *authority) want(t *testing.T, grants, calls int) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.grants != grants || a.calls != calls {
		t.Errorf("%d grants and %d calls, want %d and %d", a.grants, a.calls, grants, calls)
	}
}

func oauthClient(t *testing.T, a *authority) *qualtrics.Client {
	t.Helper()
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	return newClient(t, s.URL, nil, qualtrics.Options{OAuth: &qualtrics.OAuth{
		ClientID: "invented-client", ClientSecret: settings.SecretOf("invented-secret"), Scope: "read:users manage:all",
	}})
}

func whoAmI(t *testing.T, c *qualtrics.Client) {
	t.Helper()
	if _, err := c.WhoAmI(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAccessTokenIsKept(t *testing.T) {
	a := &authority{life: 86400}
	c := oauthClient(t, a)
	whoAmI(t, c)
	whoAmI(t, c)
	a.want(t, 1, 2)
}

func TestAccessTokenIsFetchedOnceForAll(t *testing.T) {
	a := &authority{life: 86400}
	c := oauthClient(t, a)
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { whoAmI(t, c) })
	}
	all.Wait()
	a.want(t, 1, 10)
}

func TestExpiredAccessTokenIsReplaced(t *testing.T) {
	a := &authority{life: 0}
	c := oauthClient(t, a)
	whoAmI(t, c)
	whoAmI(t, c)
	a.want(t, 2, 2)
}

func TestRevokedAccessTokenIsReplacedOnce(t *testing.T) {
	a := &authority{life: 86400}
	c := oauthClient(t, a)
	whoAmI(t, c)
	a.revoked = true
	whoAmI(t, c)
	a.want(t, 2, 3)
}

func TestAccessTokenThatIsNeverGoodIsUnauthorized(t *testing.T) {
	a := &authority{life: 86400}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/token" {
			a.grant(w, r)
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		a.calls++
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(s.Close)
	c := newClient(t, s.URL, nil, qualtrics.Options{OAuth: &qualtrics.OAuth{ClientID: "invented-client", ClientSecret: settings.SecretOf("invented-secret"), Scope: "read:users manage:all"}})
	_, err := c.WhoAmI(t.Context())
	wantClass(t, err, fault.Unauthorized)
	a.want(t, 2, 2)
}

func TestDeniedGrant(t *testing.T) {
	for name, test := range map[string]struct {
		deny  http.HandlerFunc
		class fault.Class
		words string
	}{
		"wrong scope": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			io.WriteString(w, `{"error":"invalid_scope","error_description":"invented-secret may not"}`)
		}, fault.Unauthorized, "fetch access token: 400 Bad Request: invalid_scope: [personal] may not"},
		"wrong client": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, fault.Unauthorized, "fetch access token: 401 Unauthorized"},
		"out of order": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }, fault.Down, "fetch access token: 503 Service Unavailable"},
		"no token":     {func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") }, fault.Transient, "fetch access token: the answer is not as documented: there is no access_token"},
	} {
		t.Run(name, func(t *testing.T) {
			a := &authority{deny: test.deny}
			_, err := oauthClient(t, a).WhoAmI(t.Context())
			if f := wantClass(t, err, test.class); f.Reason != test.words {
				t.Errorf("reason %q, want %q", f.Reason, test.words)
			}
			a.want(t, 0, 0)
		})
	}
}

func TestGrantOutlivesTheCallThatAskedForIt(t *testing.T) {
	a := &authority{life: 86400, wait: make(chan struct{}), arrived: make(chan struct{}, 9)}
	c := oauthClient(t, a)
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error)
	go func() {
		_, err := c.WhoAmI(ctx)
		first <- err
	}()
	<-a.arrived
	cancel()
	err := <-first
	if wantClass(t, err, fault.Transient); !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "invented") {
		t.Errorf("the call that was ended: %v", err)
	}
	close(a.wait)
	whoAmI(t, c)
	a.want(t, 1, 1)
}

func TestAccessTokenIsFetchedBeforeItEndsAndUsedWhileNoOtherIsToBeHad(t *testing.T) {
	a := &authority{life: 86400}
	now := time.Now()
	c := oauthClient(t, a)
	qualtrics.SetOAuthClock(c, func() time.Time { return now })
	whoAmI(t, c)
	now = now.Add(22 * time.Hour) // nine tenths are over, but not all
	a.deny = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }
	whoAmI(t, c)
	a.want(t, 1, 2)
	a.deny = nil
	whoAmI(t, c)
	a.want(t, 2, 3)
	now = now.Add(25 * time.Hour)
	a.deny = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }
	_, err := c.WhoAmI(t.Context())
	wantClass(t, err, fault.Down)
	a.want(t, 2, 3)
}

func TestGrantThatDoesNotSayHowLongItLivesIsKeptForAWhile(t *testing.T) {
	a := &authority{deny: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"access_token":"t0"}`) }}
	c := oauthClient(t, a)
	whoAmI(t, c)
	a.deny = func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }
	whoAmI(t, c)
	a.want(t, 0, 2)
}

func TestForbiddenWithClientCredentialsNamesTheScopes(t *testing.T) {
	a := &authority{life: 86400}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth2/token" {
			a.grant(w, r)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(s.Close)
	o := qualtrics.Options{OAuth: &qualtrics.OAuth{ClientID: "invented-client", ClientSecret: settings.SecretOf("invented-secret"), Scope: "read:users manage:all"}}
	_, err := newClient(t, s.URL, nil, o).WhoAmI(t.Context())
	if f := wantClass(t, err, fault.Forbidden); !strings.Contains(f.Reason, "QUALTRICS_SCOPE") {
		t.Errorf("says %s", f.Reason)
	}
	_, err = newClient(t, s.URL, nil, qualtrics.Options{Token: settings.SecretOf(token)}).WhoAmI(t.Context())
	if f := wantClass(t, err, fault.Forbidden); strings.Contains(f.Reason, "QUALTRICS_SCOPE") {
		t.Errorf("with a token it says %s", f.Reason)
	}
}

func TestAClientSecretThatIsReplacedInItsFileIsUsed(t *testing.T) {
	a := &authority{life: 0} // so that each call fetches a token
	s := httptest.NewServer(a)
	t.Cleanup(s.Close)
	secret, replace := settingstest.Rotating(t, "old-secret")
	c := newClient(t, s.URL, nil, qualtrics.Options{OAuth: &qualtrics.OAuth{ClientID: "invented-client", ClientSecret: secret, Scope: "read:users manage:all"}})
	_, err := c.WhoAmI(t.Context())
	wantClass(t, err, fault.Unauthorized)
	replace("invented-secret")
	bustest.Eventually(t, "the new secret", func() bool { _, err := c.WhoAmI(t.Context()); return err == nil })
}

func TestWhatComesInPlaceOfATokenIsNotRepeated(t *testing.T) {
	for body, want := range map[string]string{
		"granted to you: abc123def456": "", `{"error":"invalid_client","error_description":"no such client"}`: "no such client",
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		c := newClient(t, s.URL, nil, qualtrics.Options{OAuth: &qualtrics.OAuth{ClientID: "invented-client", ClientSecret: settings.SecretOf("invented-secret")}})
		_, err := c.WhoAmI(t.Context())
		if err == nil || strings.Contains(err.Error(), "abc123") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", body, err)
		}
	}
}
