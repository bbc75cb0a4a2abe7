package salescloud2

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
)

// login makes calls as the technical user: by name and password, or by a token (sap-sales-cloud.md §4).
type login struct {
	out      *outbound.Client
	username string
	password settings.Secret
	token    bool
	flight   singleflight.Group

	mu    sync.Mutex
	held  string
	until time.Time
}

// do makes a call. A token that is refused is fetched again once, and the call repeated once: a 401 is raised before
// anything is done.
func (l *login) do(ctx context.Context, call outbound.Call) (*outbound.Answer, error) {
	if !l.token {
		call.Header = l.basic()
		return l.out.Do(ctx, call)
	}
	answer, refused, err := l.withToken(ctx, call)
	if !fault.Is(err, fault.Unauthorized) || outbound.StatusOf(err) != http.StatusUnauthorized || refused == "" {
		return answer, err
	}
	l.drop(refused)
	answer, _, err = l.withToken(ctx, call)
	return answer, err
}

// withToken gives the token that it used, unless there was none to use.
func (l *login) withToken(ctx context.Context, call outbound.Call) (*outbound.Answer, string, error) {
	token, err := l.bearer(ctx)
	if err != nil {
		return nil, "", err
	}
	call.Header = http.Header{"Authorization": {"Bearer " + token}}
	answer, err := l.out.Do(ctx, call)
	return answer, token, err
}

func (l *login) basic() http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(l.username, l.password.Reveal())
	return r.Header
}

// bearer gives the token in hand or fetches one; callers at the same time share the fetch, which outlives each of them.
func (l *login) bearer(ctx context.Context) (string, error) {
	if held := l.current(); held != "" {
		return held, nil
	}
	ch := l.flight.DoChan("", func() (any, error) {
		if held := l.current(); held != "" { // fetched since we looked
			return held, nil
		}
		return l.fetch(context.WithoutCancel(ctx))
	})
	select {
	case r := <-ch:
		token, _ := r.Val.(string)
		return token, r.Err
	case <-ctx.Done():
		return "", fault.New(fault.Transient, "waiting for a token, the work was ended: %w", ctx.Err())
	}
}

// current gives the token in hand, empty when there is none or its time is over.
func (l *login) current() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Now().After(l.until) {
		return ""
	}
	return l.held
}

// fetch logs in. The form of the answer is not documented; the forms that are known of such services are read.
func (l *login) fetch(ctx context.Context) (string, error) {
	answer, err := l.out.Do(ctx, outbound.Call{
		Operation: "fetch token", Path: Root + "/iam-service/token", Header: l.basic(), JSON: true, Words: words, Grants: true,
	})
	if fault.Is(err, fault.Refused) || fault.Is(err, fault.Forbidden) { // no message's fault
		f := *fault.From(err)
		f.Class = fault.Unauthorized
		return "", &f
	}
	if err != nil {
		return "", err
	}
	var g grant
	if err := answer.Decode(&g); err != nil {
		return "", err
	}
	if g.token == "" {
		return "", answer.Malformed("there is no token; C4C_V2_AUTH=basic does without")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held, l.until = g.token, time.Now().Add(g.life*9/10)
	return l.held, nil
}

// drop forgets a token that was refused, unless a newer one has taken its place.
func (l *login) drop(token string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held == token {
		l.held = ""
	}
}

// grant is a token: {"value":{"access_token":…}}, as every answer of Version 2 has it, or without value.
type grant struct {
	token string
	life  time.Duration
}

// UnmarshalJSON reads either form.
func (g *grant) UnmarshalJSON(body []byte) error {
	type fields struct {
		AccessToken string  `json:"access_token"`
		Token       string  `json:"token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	var outer struct {
		fields
		Value *fields `json:"value"`
	}
	if err := json.Unmarshal(body, &outer); err != nil {
		return err
	}
	f := outer.fields
	if outer.Value != nil {
		f = *outer.Value
	}
	if g.token = f.AccessToken; g.token == "" {
		g.token = f.Token
	}
	if g.life = outbound.TokenLife(f.ExpiresIn); g.life == 0 {
		g.life = tokenLife
	}
	return nil
}

// tokenLife is how long a token is used whose answer does not say.
const tokenLife = 10 * time.Minute
