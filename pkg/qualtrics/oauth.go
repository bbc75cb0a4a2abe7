package qualtrics

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/settings"
)

// OAuth are client credentials (qualtrics.md §2.3).
type OAuth struct {
	ClientID     string
	ClientSecret settings.Secret
	// Scope lists scopes, separated by spaces. Which ones distributions, batches and responses need is not documented
	// (§9, row 12).
	Scope string
}

// bearer fetches the access token and fetches the next one when nine tenths of its life are over, or else when it is
// refused.
type bearer struct {
	OAuth
	out    *outbound.Client
	url    string
	flight singleflight.Group
	now    func() time.Time

	mu   sync.Mutex
	held string
	// renew is when the next one is to be fetched, ends when held is good for nothing.
	renew, ends time.Time
}

// defaultLife is how long a token is taken to live where the grant does not say.
const defaultLife = time.Hour

func newBearer(o OAuth, out *outbound.Client) *bearer {
	u := out.BaseURL()
	u.Path, u.RawPath = "/oauth2/token", "" // Not under /API/v3.
	return &bearer{OAuth: o, out: out, url: u.String(), now: time.Now}
}

// token gives the token in hand or fetches one; callers at the same time share the fetch, which outlives each of them.
func (b *bearer) token(ctx context.Context) (string, error) {
	b.mu.Lock()
	held, renew, ends := b.held, b.renew, b.ends
	b.mu.Unlock()
	if held != "" && b.now().Before(renew) {
		return held, nil
	}
	ch := b.flight.DoChan("", func() (any, error) { return b.fetch(context.WithoutCancel(ctx)) })
	select {
	case r := <-ch:
		if r.Err != nil && held != "" && b.now().Before(ends) {
			return held, nil // it is good for a while still, and the next call tries again
		}
		token, _ := r.Val.(string)
		return token, r.Err
	case <-ctx.Done():
		return "", fault.New(fault.Transient, "waiting for an access token, the work was ended: %w", ctx.Err())
	}
}

func (b *bearer) fetch(ctx context.Context) (string, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if b.Scope != "" {
		form.Set("scope", b.Scope)
	}
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(b.ClientID, b.ClientSecret.Reveal())
	answer, err := b.out.Do(ctx, outbound.Call{
		Operation: "fetch access token", Method: http.MethodPost, URL: b.url, Header: r.Header,
		Body: []byte(form.Encode()), ContentType: "application/x-www-form-urlencoded", JSON: true,
		Personal: []string{b.ClientID}, Words: oauthWords, Grants: true,
	})
	if fault.Is(err, fault.Refused) { // A wrong client or scope is no message's fault.
		f := *fault.From(err)
		f.Class = fault.Unauthorized
		return "", &f
	}
	if err != nil {
		return "", err
	}
	var grant struct {
		AccessToken string   `json:"access_token"`
		ExpiresIn   *float64 `json:"expires_in"`
	}
	if err := answer.Decode(&grant); err != nil {
		return "", err
	}
	if grant.AccessToken == "" {
		return "", answer.Malformed("there is no access_token")
	}
	life, now := defaultLife, b.now()
	if grant.ExpiresIn != nil {
		life = outbound.TokenLife(*grant.ExpiresIn)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held, b.renew, b.ends = grant.AccessToken, now.Add(life/10*9), now.Add(life)
	return b.held, nil
}

// drop forgets a token that was refused, unless a newer one has taken its place.
func (b *bearer) drop(token string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held == token {
		b.held = ""
	}
}

func oauthWords(a outbound.Answer) (code, message string) {
	var body struct {
		Code    string `json:"error"`
		Message string `json:"error_description"`
	}
	_ = json.Unmarshal(a.Body, &body)
	return body.Code, body.Message
}
