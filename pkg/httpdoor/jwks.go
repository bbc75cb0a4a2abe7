package httpdoor

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"
)

const (
	// keysEarly is when keys are looked for again beside the requests, which none of them waits for.
	keysEarly = 8 * time.Minute
	// keysFresh is how long keys are used without looking: after that time at most, a key that the issuer has withdrawn
	// opens nothing any more, unless the issuer cannot be reached.
	keysFresh = 10 * time.Minute
	// keysStale is how long they are used while the issuer cannot be reached.
	keysStale = time.Hour
	// keysPause is the least time between two looks: a caller can name as many keys as it likes.
	keysPause = 5 * time.Second
	// keysTimeout is how long the issuer may take.
	keysTimeout = 5 * time.Second
	// keysLimit is the largest set of keys in bytes.
	keysLimit = 1 << 20
)

// keySet are the keys that an issuer publishes (RFC 7517). They are fetched when somebody asks, and kept.
type keySet struct {
	url    string
	client *http.Client
	now    func() time.Time
	flight singleflight.Group

	mu   sync.Mutex
	keys []jose.JSONWebKey
	// got is when keys came, tried when they were last asked for, with failed as its outcome.
	got, tried time.Time
	failed     error
}

func newKeySet(url string) *keySet {
	// A redirect could lead to where others can change the keys on their way.
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &keySet{url: url, client: &http.Client{Timeout: keysTimeout, CheckRedirect: stay}, now: time.Now}
}

// find gives the keys of an id: none where the issuer has no such key. The error is a *Problem: the keys cannot be had.
func (s *keySet) find(ctx context.Context, id string) ([]jose.JSONWebKey, error) {
	found, ask, wait := s.look(id)
	if !ask {
		return s.settled(found)
	}
	asked := s.flight.DoChan("", func() (any, error) { s.fetch(context.WithoutCancel(ctx)); return nil, nil })
	if !wait {
		return s.settled(found)
	}
	select {
	case <-asked:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	found, _, _ = s.look(id)
	return s.settled(found)
}

// look gives what is known of an id, whether the issuer is to be asked again, and whether its answer must be waited for:
// for an id that is new, and for keys that nobody has looked after for so long that they may have been withdrawn. An
// issuer that hangs is asked beside the requests, as long as the keys count.
func (s *keySet) look(id string) (found []jose.JSONWebKey, ask, wait bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	age, asked := now.Sub(s.got), now.Sub(s.tried)
	if age < keysStale {
		for _, key := range s.keys {
			if key.KeyID == id {
				found = append(found, key)
			}
		}
	}
	wait = len(found) == 0 || asked >= keysFresh
	return found, (wait || age >= keysEarly) && asked >= keysPause, wait
}

// settled decides on what was found: nothing means that there is no such key only if the issuer has said so.
func (s *keySet) settled(found []jose.JSONWebKey) ([]jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(found) == 0 && s.failed != nil {
		p := Unavailable("access tokens cannot be checked now: the keys of their issuer cannot be had", keysPause)
		p.cause = s.failed
		return nil, p
	}
	return found, nil
}

func (s *keySet) fetch(ctx context.Context) {
	keys, err := s.get(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried, s.failed = s.now(), err
	if err == nil {
		s.keys, s.got = keys, s.tried
	}
}

func (s *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := s.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("INGRESS_OAUTH_JWKS_URL answers %s", answer.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, keysLimit)).Decode(&set); err != nil {
		return nil, fmt.Errorf("INGRESS_OAUTH_JWKS_URL holds no set of keys: %w", err)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys { // one by one: a kind of key that we do not know is no reason to refuse the others
		var key jose.JSONWebKey
		if json.Unmarshal(raw, &key) == nil && key.Valid() && key.IsPublic() && slices.Contains([]string{"", "sig"}, key.Use) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("INGRESS_OAUTH_JWKS_URL holds no public key for signatures")
	}
	return keys, nil
}
