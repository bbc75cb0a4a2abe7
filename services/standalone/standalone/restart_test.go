package standalone_test

import (
	"os"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/standalone/standalone"
)

// TestEachServiceKilledWhileTheCampaignRuns runs every service as a process of its own against one NATS, kills each of
// them at some moment of the campaign, and expects the same end as without.
func TestEachServiceKilledWhileTheCampaignRuns(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{AckWait: 3 * time.Second})
	vendors, doors := freeAddress(t), freeAddress(t)
	attributes := t.TempDir() + "/attributes.yaml"
	if err := os.WriteFile(attributes, landscape.AttributesFile, 0o600); err != nil {
		t.Fatal(err)
	}
	common := []string{
		"NATS_URL=" + broker.URL(), "INGRESS_API_KEYS=test-key", "LOG_LEVEL=info",
		"QUALTRICS_BASE_URL=http://" + vendors + "/API/v3", "QUALTRICS_API_TOKEN=token", "QUALTRICS_DIRECTORY_ID=POOL_simulated",
		"QUALTRICS_MAILING_LIST_ID=CG_simulated", "QUALTRICS_SURVEY_ID=SV_service", "QUALTRICS_SHARED_KEY=shared",
		"SAP_MARKETING_BASE_URL=http://" + vendors, "SAP_MARKETING_USERNAME=user", "SAP_MARKETING_PASSWORD=secret",
		"C4C_BASE_URL=http://" + vendors, "C4C_USERNAME=user", "C4C_PASSWORD=secret", "C4C_PROCESSOR_ID=8000000002",
		"AWARDCO_BASE_URL=http://" + vendors + "/api", "AWARDCO_API_KEY=key", "AWARDCO_PROGRAM=Qualtrics CSAT Recognition",
		"OPEN_CHANNEL_ATTRIBUTES_FILE=" + attributes,
		// The last recognitions of the campaign may be the ones that a kill hits before they are sent, with none after them
		// to prove it: they would wait an hour and then for a person, as they should.
		"AWARDCO_TRUST_FEED=true",
	}
	with := func(more ...string) []string { return append(append([]string{}, common...), more...) }
	launch(t, "landscape", with("HTTP_ADDR="+vendors, "DATA_DIR="+t.TempDir(), "LANDSCAPE_PUBLIC_URL=http://"+vendors,
		"LANDSCAPE_DOORS_URL=http://"+doors, "LANDSCAPE_DOORS_API_KEY=test-key")...)
	services := map[string]*process{topology.Ingress: launch(t, topology.Ingress, with("HTTP_ADDR="+doors)...)}
	order := []string{
		topology.QualtricsLinker, topology.SAPInteractionWriter, topology.FeedbackRouter, topology.C4CTasker, topology.AwardcoRecognizer,
	}
	for _, name := range order {
		services[name] = launch(t, name, with("HTTP_ADDR=127.0.0.1:0")...)
	}
	for _, address := range []string{vendors, doors} {
		eventually(t, address+" ready", time.Minute, func() bool { return get(t.Context(), "http://"+address+"/readyz", nil) })
	}

	const members = 25
	playCampaign(t, vendors, members)
	stored := func() uint64 {
		stream, err := broker.JS.Stream(t.Context(), topology.Events)
		if err != nil {
			t.Fatal(err)
		}
		return stream.CachedInfo().State.LastSeq
	}
	for _, name := range append(order, topology.Ingress) {
		before := stored()
		eventually(t, "the campaign moves on before "+name+" is killed", 2*time.Minute, func() bool { return stored() >= before+4 })
		services[name].kill()
		services[name].start()
	}

	var problem error
	eventually(t, "the same end as without", 4*time.Minute, func() bool {
		var books landscape.Books
		if !get(t.Context(), "http://"+vendors+"/landscape/books.json", &books) {
			return false
		}
		problem = standalone.Check(books, landscape.Expected(members))
		return problem == nil
	})
	for _, name := range order {
		if dead := broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(name)); len(dead) > 0 {
			t.Errorf("%s has %d dead letters: %s", name, len(dead), dead[0].Header.Get("Closeloop-Reason"))
		}
	}
}
