package ingress_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// SAP Event Mesh fetches a token by client credentials and sends it with the handshake and each delivery
// (sap-s4-event-mesh-commerce.md §2).
func TestEventMeshComesWithAccessTokens(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1"}}})
	}))
	t.Cleanup(issuer.Close)
	f := start(t, servicetest.Env{
		"INGRESS_OAUTH_ISSUER": "https://issuer.example/oauth/token", "INGRESS_OAUTH_JWKS_URL": issuer.URL,
		"INGRESS_OAUTH_AUDIENCE": "closeloop", "INGRESS_OAUTH_SCOPE": "orders.write",
	})
	bearer := func(scope string) string {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := json.Marshal(map[string]any{
			"iss": "https://issuer.example/oauth/token", "aud": []string{"closeloop"}, "cid": "event-mesh", "grant_type": "client_credentials",
			"exp": time.Now().Add(time.Hour).Unix(), "scope": []string{scope},
		})
		if err != nil {
			t.Fatal(err)
		}
		signed, err := signer.Sign(payload)
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + token
	}
	const path, origin, structured = "/s4/events", "WebHook-Request-Origin", "application/cloudevents+json"
	f.Do("OPTIONS", path, "", "", origin, "eventmesh.example.com").WantProblem(401)
	f.Do("OPTIONS", path, "", "", origin, "eventmesh.example.com", "Authorization", bearer("orders.read")).WantProblem(403)
	f.Do("POST", path, structured, completed, "Authorization", bearer("orders.read")).WantProblem(403)
	if n := f.all(t); n != 0 {
		t.Fatalf("%d events without the scope", n)
	}
	good := bearer("orders.write")
	f.Do("OPTIONS", path, "", "", origin, "eventmesh.example.com", "Authorization", good).Want(200)
	f.Do("POST", path, structured, completed, "Authorization", good).Want(202)
	if n := len(f.stored(t, subjects.OrderCompleted)); n != 1 {
		t.Errorf("%d events, want 1", n)
	}
}
