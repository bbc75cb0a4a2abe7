package standalone_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// TestLinkerKilledInTheMiddleOfAWave kills the process that makes a thousand links at once, when the import was sent and
// when the links are being read, and expects one link for each request, and none of anybody else.
func TestLinkerKilledInTheMiddleOfAWave(t *testing.T) {
	t.Parallel()
	broker := bustest.Start(t, topology.Settings{AckWait: 3 * time.Second})
	vendors := freeAddress(t)
	launch(t, "landscape", "HTTP_ADDR="+vendors, "DATA_DIR="+t.TempDir(), "LANDSCAPE_PUBLIC_URL=http://"+vendors, "LANDSCAPE_PEOPLE=off",
		"QUALTRICS_API_TOKEN=token", `LANDSCAPE_QUALTRICS={"latency":"100ms","importDuration":"2s"}`, "INGRESS_AUTH=none")
	linker := launch(t, topology.QualtricsLinker, "HTTP_ADDR=127.0.0.1:0", "NATS_URL="+broker.URL(), "INGRESS_AUTH=none",
		"QUALTRICS_BASE_URL=http://"+vendors+"/API/v3", "QUALTRICS_API_TOKEN=token", "QUALTRICS_DIRECTORY_ID=POOL_simulated",
		"QUALTRICS_MAILING_LIST_ID=CG_simulated", "QUALTRICS_SURVEY_ID=SV_service")
	eventually(t, "vendors ready", time.Minute, func() bool { return get(t.Context(), "http://"+vendors+"/readyz", nil) })

	const n = 1000
	for i := range n {
		m := nats.NewMsg(subjects.SurveyLinkRequested)
		m.Data = fmt.Appendf(nil, `{"requestId":"A%d","contact":{"externalId":"P-%d","email":"p%[1]d@example.com"}}`, i, i)
		if _, err := broker.JS.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []struct {
		operation string
		calls     int
	}{
		{"POST /directories/{d}/mailinglists/{m}/transactioncontacts", 1},
		{"GET /distributions/{e}/links", 4},
	} {
		eventually(t, step.operation, 2*time.Minute, func() bool { return called(t, vendors, step.operation) >= step.calls })
		linker.kill()
		linker.start()
	}
	eventually(t, "all links", 3*time.Minute, func() bool {
		return len(broker.Messages(topology.Events, subjects.SurveyLinkCreated)) >= n
	})
	var books landscape.Books
	if !get(t.Context(), "http://"+vendors+"/landscape/books.json", &books) {
		t.Fatal("no books")
	}
	of := map[string]string{} // the request that a transaction is for
	for _, transaction := range books.Qualtrics.Transactions {
		of[transaction.ID] = transaction.Data["requestId"]
	}
	links, owner := map[string]int{}, map[string]string{} // in Qualtrics: how many by request, and whose by URL
	for _, link := range books.Qualtrics.Links {
		links[of[link.TransactionID]]++
		owner[link.URL] = of[link.TransactionID]
	}
	for i := range n {
		if got := links[fmt.Sprint("A", i)]; got != 1 {
			t.Errorf("A%d has %d links", i, got)
		}
	}
	for _, m := range broker.Messages(topology.Events, subjects.SurveyLinkCreated) {
		var created struct{ RequestID, Link string }
		if err := json.Unmarshal(m.Data, &created); err != nil || owner[created.Link] != created.RequestID {
			t.Errorf("%s got the link of %q", created.RequestID, owner[created.Link])
		}
	}
	if dead := broker.Messages(topology.DeadLetters, "deadletter.>"); len(dead) > 0 {
		t.Errorf("%d dead letters", len(dead))
	}
}

// called tells how often the landscape was called for an operation.
func called(t *testing.T, vendors, operation string) int {
	var counts struct {
		Calls []struct {
			Operation string
			Calls     int
		}
	}
	if !get(t.Context(), "http://"+vendors+"/landscape/calls", &counts) {
		return 0
	}
	for _, o := range counts.Calls {
		if o.Operation == operation {
			return o.Calls
		}
	}
	return 0
}
