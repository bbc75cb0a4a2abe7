package standalone_test

import (
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/standalone/standalone"
)

// TestACampaignUnderThePrintedPermissions runs every service as a process of its own, over TLS with a certificate, and under
// its own user with the rights that `topology permissions` prints; the topology is applied by the job's user. It plays a
// campaign with answers, tasks and recognitions while a vendor is out for a time, then has a dead letter mended and
// replayed in the console. The broker must refuse nobody anything, and no service may complain.
func TestACampaignUnderThePrintedPermissions(t *testing.T) {
	t.Parallel()
	broker := bustest.StartSecure(t, topology.Settings{}, "")
	vendors, doors, desk := freeAddress(t), freeAddress(t), freeAddress(t)
	attributes := t.TempDir() + "/attributes.yaml"
	if err := os.WriteFile(attributes, landscape.AttributesFile, 0o600); err != nil {
		t.Fatal(err)
	}
	common := map[string]string{
		"INGRESS_API_KEYS": "test-key", "LOG_LEVEL": "info",
		"QUALTRICS_BASE_URL": "http://" + vendors + "/API/v3", "QUALTRICS_API_TOKEN": "token", "QUALTRICS_DIRECTORY_ID": "POOL_simulated",
		"QUALTRICS_MAILING_LIST_ID": "CG_simulated", "QUALTRICS_SURVEY_ID": "SV_service", "QUALTRICS_SHARED_KEY": "shared",
		"SAP_MARKETING_BASE_URL": "http://" + vendors, "SAP_MARKETING_USERNAME": "user", "SAP_MARKETING_PASSWORD": "secret",
		"C4C_BASE_URL": "http://" + vendors, "C4C_USERNAME": "user", "C4C_PASSWORD": "secret", "C4C_PROCESSOR_ID": "8000000002",
		"AWARDCO_BASE_URL": "http://" + vendors + "/api", "AWARDCO_API_KEY": "key", "AWARDCO_PROGRAM": "Qualtrics CSAT Recognition",
		"OPEN_CHANNEL_ATTRIBUTES_FILE": attributes,
	}
	start := func(name string, of ...map[string]string) *process {
		all := maps.Clone(common)
		for _, more := range of {
			maps.Copy(all, more)
		}
		var env []string
		for variable, value := range all {
			env = append(env, variable+"="+value)
		}
		return launch(t, name, env...)
	}
	start("landscape", map[string]string{
		"HTTP_ADDR": vendors, "DATA_DIR": t.TempDir(), "LANDSCAPE_PUBLIC_URL": "http://" + vendors,
		"LANDSCAPE_DOORS_URL": "http://" + doors, "LANDSCAPE_DOORS_API_KEY": "test-key",
	})
	addresses := map[string]string{topology.Ingress: doors, topology.Console: desk}
	services := map[string]*process{}
	for _, s := range topology.Of(topology.Settings{}).Services {
		if addresses[s.Name] == "" {
			addresses[s.Name] = freeAddress(t)
		}
		services[s.Name] = start(s.Name, broker.Env(s.Name), map[string]string{"HTTP_ADDR": addresses[s.Name]})
	}
	for _, address := range append(slices.Collect(maps.Values(addresses)), vendors) {
		eventually(t, address+" ready", time.Minute, func() bool { return get(t.Context(), "http://"+address+"/readyz", nil) })
	}

	outage := `{"vendor":"sap-sales-cloud","kind":"status","status":503,"times":5}`
	if status, body := postJSON(t.Context(), t, "http://"+vendors+"/landscape/faults", outage); status/100 != 2 {
		t.Fatalf("no outage: %d %s", status, body)
	}
	const members = 25
	playCampaign(t, vendors, members)
	var problem error
	eventually(t, "everything that a campaign leads to", 4*time.Minute, func() bool {
		var books landscape.Books
		if !get(t.Context(), "http://"+vendors+"/landscape/books.json", &books) {
			return false
		}
		problem = standalone.Check(books, landscape.Expected(members))
		return problem == nil
	})

	broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"m-1","contact":{"externlId":"P-1","email":"ada@example.com"}}`)
	mended := `{"why":"misspelt","by":"ada","body":{"requestId":"m-1","contact":{"externalId":"P-1","email":"ada@example.com"}}}`
	eventually(t, "the dead letter is replayed", time.Minute, func() bool {
		status, _ := postJSON(t.Context(), t, "http://"+desk+"/dead-letters/1/replay", mended)
		return status == http.StatusOK
	})
	eventually(t, "its link", time.Minute, func() bool {
		created := broker.Messages(topology.Events, subjects.SurveyLinkCreated)
		return slices.ContainsFunc(created, func(m *jetstream.RawStreamMsg) bool { return strings.Contains(string(m.Data), `"m-1"`) })
	})

	for name, p := range services {
		if code := p.stop(); code != 0 {
			t.Errorf("%s ended with %d", name, code)
		}
		for line := range strings.SplitSeq(p.output.String(), "\n") {
			if strings.Contains(line, "Violation") || strings.Contains(line, "the broker re") {
				t.Errorf("%s: %s", name, line)
			}
		}
		if published, subscribed := broker.Asked(name); len(published) == 0 || len(subscribed) == 0 {
			t.Errorf("the broker did not see %s: %d subjects published, %d subscribed", name, len(published), len(subscribed))
		}
	}
	if refused := broker.Refused(); len(refused) > 0 {
		t.Errorf("the broker refused %d times: %s", len(refused), strings.Join(refused, "\n"))
	}
}
