package standalone_test

import (
	"bytes"
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/feedback-router/subscriptions"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/standalone/standalone"
)

func TestLoopsCloseBySweepsWhenEveryEventOfQualtricsIsLost(t *testing.T) {
	t.Parallel()
	p := launch(t, "standalone", "DATA_DIR="+t.TempDir(), "HTTP_ADDR=127.0.0.1:0", "STANDALONE_NATS_PORT=-1", "STANDALONE_EXIT=true",
		"LANDSCAPE_QUALTRICS={eventLoss: 1, historyPages: [1]}", "QUALTRICS_SWEEP_INTERVAL=1s", "QUALTRICS_SWEEP_GRACE=0s")
	if code := p.wait(); code != 0 {
		t.Fatalf("exit code %d: not everything once and nothing twice", code)
	}
	if !strings.Contains(p.output.String(), "responses found of which no event had come") {
		t.Error("the sweep had nothing to do")
	}
}

func TestEventsThatComeAfterTheSweepChangeNothing(t *testing.T) {
	t.Parallel()
	const members = 25
	address := freeAddress(t)
	p := launch(t, "standalone", "DATA_DIR="+t.TempDir(), "HTTP_ADDR="+address, "STANDALONE_NATS_PORT=-1",
		"LANDSCAPE_QUALTRICS={eventDelay: 15s, eventSpread: 5s, eventDuplicates: 1}", "QUALTRICS_SWEEP_INTERVAL=1s", "QUALTRICS_SWEEP_GRACE=0s")
	var books landscape.Books
	eventually(t, "all done, before and after the events", 3*time.Minute, func() bool {
		if books = (landscape.Books{}); !get(t.Context(), "http://"+address+"/landscape/books.json", &books) {
			return false
		}
		for _, d := range books.Qualtrics.Deliveries {
			if d.State == "pending" {
				return false
			}
		}
		return len(books.Qualtrics.Responses) > 0 && standalone.Check(books, landscape.Expected(members)) == nil
	})
	if !strings.Contains(p.output.String(), "responses found of which no event had come") {
		t.Error("the sweep had nothing to do")
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// vendors runs the landscape alone and gives its address.
func vendors(t *testing.T) string {
	t.Helper()
	address := freeAddress(t)
	launch(t, "landscape", "HTTP_ADDR="+address, "LANDSCAPE_PUBLIC_URL=http://"+address, "INGRESS_AUTH=none", "LANDSCAPE_PEOPLE=off")
	eventually(t, "ready", time.Minute, func() bool { return get(t.Context(), "http://"+address+"/readyz", nil) })
	return address
}

// behave changes how the simulated Qualtrics behaves.
func behave(t *testing.T, address, switches string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPatch, "http://"+address+"/landscape/qualtrics/switches", strings.NewReader(switches))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the switches %s are refused: %s", switches, response.Status)
	}
}

func TestSubscriptionsOfTheSimulatedBrand(t *testing.T) {
	address := vendors(t)
	const events = "https://hooks.example.org/qualtrics/events"
	for name, value := range map[string]string{
		"QUALTRICS_BASE_URL": "http://" + address + "/API/v3", "QUALTRICS_API_TOKEN": "simulated-token", "QUALTRICS_EVENTS_URL": events,
		"QUALTRICS_SHARED_KEY": "key", "QUALTRICS_SURVEYS": "SV_service,SV_cart",
	} {
		t.Setenv(name, value)
	}
	run := func(code int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if got := subscriptions.Run(t.Context(), args, &out, &errs); got != code {
			t.Fatalf("%v ended with %d, want %d:\n%s%s", args, got, code, &out, &errs)
		}
		return out.String() + errs.String()
	}
	const theirs = 1 // of the demonstration, to another address
	want := func(subs int) {
		t.Helper()
		listed := run(0, "list")
		if n := strings.Count(listed, events); n != subs || strings.Count(listed, "\n") != subs+theirs {
			t.Errorf("%d of ours, want %d, beside %d:\n%s", n, subs, theirs, listed)
		}
	}
	run(0, "ensure")
	run(0, "ensure")
	want(2)
	run(0, "replace")
	want(2)
	behave(t, address, `{"refuseSameSubscription": true}`)
	if said := run(1, "replace"); !strings.Contains(said, "--delete-first") {
		t.Errorf("says %s", said)
	}
	want(2)
	run(0, "replace", "--delete-first")
	want(2)
	behave(t, address, `{"refuseSameSubscription": false, "timeoutRate": 1}`) // it acts, and the answer is lost
	run(1, "list")
	behave(t, address, `{"timeoutRate": 0, "noBrandAdmin": true}`)
	if said := run(1, "ensure"); !strings.Contains(said, "brand administrator") {
		t.Errorf("says %s", said)
	}
	behave(t, address, `{"noBrandAdmin": false}`)
	run(0, "delete", "--all")
	want(0)
}

func TestClientCredentialsOfTheSimulatedBrand(t *testing.T) {
	t.Parallel()
	address := vendors(t)
	client := func(scope string) *qualtrics.Client {
		t.Helper()
		s := qualtrics.Settings{
			BaseURL: "http://" + address + "/API/v3", ClientID: "simulated-client", ClientSecret: settings.SecretOf("simulated-secret"), Scope: scope, Calls: 2,
		}
		c, err := s.Client(qualtrics.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	whoAmI := func(c *qualtrics.Client) error {
		_, err := c.WhoAmI(context.WithoutCancel(t.Context()))
		return err
	}
	behave(t, address, `{"enforceScopes": true, "grantedScopes": ["read:users", "manage:all"]}`)
	users, everything := client("read:users"), client("manage:all")
	for _, c := range []*qualtrics.Client{users, everything} {
		if err := whoAmI(c); err != nil {
			t.Error(err)
		}
	}
	if _, err := everything.Directories(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := users.Directories(t.Context()); !fault.Is(err, fault.Forbidden) || !strings.Contains(err.Error(), "QUALTRICS_SCOPE") {
		t.Errorf("without the scope: %v", err)
	}
	if err := whoAmI(client("read:nonsense")); !fault.Is(err, fault.Unauthorized) || !strings.Contains(err.Error(), "invalid_scope") {
		t.Errorf("with a scope that is not granted: %v", err)
	}
	behave(t, address, `{"tokenLife": "50ms"}`)
	brief := client("manage:all")
	for end := time.Now().Add(300 * time.Millisecond); time.Now().Before(end); { // through the lives of several tokens
		if err := whoAmI(brief); err != nil {
			t.Fatal(err)
		}
	}
}
