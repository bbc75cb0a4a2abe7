package standalone_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// TestLinkerStoppedInTheMiddleOfAWave sends SIGTERM to the process that makes a thousand links at once while the import is
// under way, which takes longer than the process may: it hands back what it holds and ends well in time, and the next one
// goes on with the same import.
func TestLinkerStoppedInTheMiddleOfAWave(t *testing.T) {
	t.Parallel()
	const grace = 5 * time.Second
	broker := bustest.Start(t, topology.Settings{AckWait: 3 * time.Second})
	vendors := freeAddress(t)
	launch(t, "landscape", "HTTP_ADDR="+vendors, "DATA_DIR="+t.TempDir(), "LANDSCAPE_PUBLIC_URL=http://"+vendors, "LANDSCAPE_PEOPLE=off",
		"QUALTRICS_API_TOKEN=token", `LANDSCAPE_QUALTRICS={"importDuration":"15s"}`, "INGRESS_AUTH=none")
	linker := launch(t, topology.QualtricsLinker, "HTTP_ADDR=127.0.0.1:0", "NATS_URL="+broker.URL(), "INGRESS_AUTH=none",
		"QUALTRICS_BASE_URL=http://"+vendors+"/API/v3", "QUALTRICS_API_TOKEN=token", "QUALTRICS_DIRECTORY_ID=POOL_simulated",
		"QUALTRICS_MAILING_LIST_ID=CG_simulated", "QUALTRICS_SURVEY_ID=SV_service", "DRAIN_TIMEOUT="+grace.String())
	eventually(t, "vendors ready", time.Minute, func() bool { return get(t.Context(), "http://"+vendors+"/readyz", nil) })

	const n = 1000
	for i := range n {
		m := nats.NewMsg(subjects.SurveyLinkRequested)
		m.Data = fmt.Appendf(nil, `{"requestId":"A%d","contact":{"externalId":"P-%d","email":"p%[1]d@example.com"}}`, i, i)
		if _, err := broker.JS.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the import was sent", time.Minute, func() bool {
		return called(t, vendors, "POST /directories/{d}/mailinglists/{m}/transactioncontacts") > 0
	})
	asked := time.Now()
	if err := linker.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, took := linker.wait(), time.Since(asked); code != 0 || took > grace+5*time.Second {
		t.Errorf("exit code %d after %s, want 0 within %s", code, took, grace+5*time.Second)
	}
	linker.start()
	eventually(t, "all links", 3*time.Minute, func() bool {
		return len(broker.Messages(topology.Events, subjects.SurveyLinkCreated)) >= n
	})
	var books landscape.Books
	if !get(t.Context(), "http://"+vendors+"/landscape/books.json", &books) {
		t.Fatal("no books")
	}
	of, links := map[string]string{}, map[string]int{}
	for _, transaction := range books.Qualtrics.Transactions {
		of[transaction.ID] = transaction.Data["requestId"]
	}
	for _, link := range books.Qualtrics.Links {
		links[of[link.TransactionID]]++
	}
	for i := range n {
		if got := links[fmt.Sprint("A", i)]; got != 1 {
			t.Errorf("A%d has %d links", i, got)
		}
	}
	if imports := len(books.Qualtrics.Imports); imports != 1 {
		t.Errorf("%d imports, want the one that was under way", imports)
	}
	if dead := broker.Messages(topology.DeadLetters, "deadletter.>"); len(dead) > 0 {
		t.Errorf("%d dead letters: %s", len(dead), dead[0].Header.Get("Closeloop-Reason"))
	}
}
