//go:build unix

package scriptstest

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/needs"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

func TestEraseForgetsAPersonAndPrintsTheReceipt(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		needs.Missing(t, "curl", "scripts/erase calls the console with it")
	}
	b := bustest.Start(t, topology.Settings{})
	b.Publish(subjects.SurveyLinkRequested, `{"requestId":"A1","contact":{"externalId":"P-1","email":"ada@example.com"}}`)
	b.Publish(subjects.SurveyLinkRequested, `{"requestId":"B1","contact":{"externalId":"P-2","email":"ben@example.com"}}`)
	t.Setenv("CONSOLE_URL", startConsole(t, b, "INGRESS_AUTH=none", "ERASURE_QUALTRICS=false"))
	if r := run(t, "", "erase", "ada@example.com", "--by", "eve", "--why", "ada@example.com asked"); r.exit != 1 || !strings.Contains(r.err, "why") {
		t.Errorf("a reason that names the person: %+v", r)
	}
	r := mustRun(t, "", "erase", "ada@example.com", "--by", "eve", "--why", `asked by "letter"`)
	for _, want := range []string{
		": done\n", `asked for by eve at `, `asked by "letter"`, "EVENTS: 1 messages deleted and overwritten, looked at up to 2",
		"RETRIES: 0 messages", "OPERATIONS: 0 messages", "ledger: 0 tombstones, 0 cut, 0 dropped", "qualtrics: person\n", "a person must do it: Qualtrics: Admin",
		"sap-marketing: person", "sap-sales-cloud: person", "awardco: person",
	} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in\n%s", want, r.out)
		}
	}
	id := regexp.MustCompile(`erasure ([0-9a-f-]{36}): done`).FindStringSubmatch(r.out)
	if id == nil {
		t.Fatalf("no id in\n%s", r.out)
	}
	if again := mustRun(t, "", "erase", "--receipt", id[1]); again.out != r.out {
		t.Errorf("the receipt later is\n%s\nand was\n%s", again.out, r.out)
	}
	if left := b.Messages(topology.Events, ">"); len(left) != 1 || !strings.Contains(string(left[0].Data), "B1") {
		t.Errorf("%d events are left", len(left))
	}
	b.Publish(subjects.SurveyResponseReceived, `{"responseId":"R_1","values":{"why":"late"}}`)
	b.Publish(subjects.OrderCompleted, `{"serviceOrder":"1","contactPerson":"1000456"}`)
	b.Publish(subjects.SurveyLinkCreated, `{"requestId":"C1","link":"https://survey.example/1"}`)
	mustRun(t, "", "erase", "--response-id", "R_1", "--request-id", "C1", "--contact-id", "1000456", "--by", "eve", "--why", "asked")
	if left := b.Messages(topology.Events, ">"); len(left) != 1 {
		t.Errorf("%d events are left of a person who is named by ids", len(left)-1)
	}
	for _, args := range [][]string{{}, {"ada@example.com"}, {"--why", "x"}, {"ada@example.com", "ben@example.com", "--why", "x"}, {"7", "--why", "x"}} {
		if r := run(t, "", "erase", args...); r.exit != 2 || !strings.Contains(r.err+r.out, "usage") {
			t.Errorf("%v: %+v", args, r)
		}
	}
}
