//go:build unix

package scriptstest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// build runs the script once before any time limit has to hold its building.
func build(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("bash", filepath.Join("..", "qualtrics-subscriptions"), "--help").CombinedOutput(); err != nil {
		t.Fatalf("building qualtrics-subscriptions: %v\n%s", err, out)
	}
}

func TestSubscriptionsAreListed(t *testing.T) {
	build(t)
	brand := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/API/v3/eventsubscriptions" || r.Header.Get("X-API-TOKEN") != "invented-token" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		fmt.Fprint(w, `{"result":{"elements":[{"id":"SUB_1","scope":"simbrand","topics":"surveyengine.completedResponse.SV_1",
			"publicationUrl":"https://hooks.example.org/qualtrics/events","encrypted":false,"successfulCalls":7}]},"meta":{"httpStatus":"200 - OK"}}`)
	}))
	t.Cleanup(brand.Close)
	t.Setenv("QUALTRICS_BASE_URL", brand.URL+"/API/v3")
	t.Setenv("QUALTRICS_API_TOKEN", "invented-token")
	t.Setenv("QUALTRICS_EVENTS_URL", "https://hooks.example.org/qualtrics/events")
	r := mustRun(t, "", "qualtrics-subscriptions", "list")
	for _, want := range []string{"ours", "SUB_1", "surveyengine.completedResponse.SV_1", "7 delivered"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in %s", want, r.out)
		}
	}
	t.Setenv("QUALTRICS_API_TOKEN", "another-token")
	if r := run(t, "", "qualtrics-subscriptions", "list"); r.exit != 1 || !strings.Contains(r.err, "brand administrator") {
		t.Errorf("%+v", r)
	}
}

func TestSubscriptionsSayWhatIsMissing(t *testing.T) {
	build(t)
	t.Setenv("QUALTRICS_BASE_URL", "")
	if r := run(t, "", "qualtrics-subscriptions", "ensure"); r.exit != 2 || !strings.Contains(r.err, "QUALTRICS_BASE_URL") {
		t.Errorf("%+v", r)
	}
	if r := run(t, "", "qualtrics-subscriptions"); r.exit != 2 {
		t.Errorf("%+v", r)
	}
	if r := run(t, "", "qualtrics-subscriptions", "--help"); r.exit != 0 || !strings.Contains(r.out, "replace") {
		t.Errorf("%+v", r)
	}
}
