package standalone_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect/effecttest"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
	"github.com/closeloop/closeloop/services/c4c-tasker/tasker"
	"github.com/closeloop/closeloop/services/qualtrics-linker/linker"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/writer"
)

// gateways are what a vendor's gateway answers while it fails, some to every call and some to writes alone.
var gateways = map[string]string{
	"502":                         `"kind":"status","status":502,"contentType":"text/html","body":"<html><body>Bad Gateway</body></html>"`,
	"503":                         `"kind":"status","status":503,"contentType":"text/html","body":"<html><body>Service Unavailable</body></html>"`,
	"a web page":                  `"kind":"html"`,
	"502 to writes":               `"kind":"status","status":502,"method":"POST"`,
	"a web page to writes":        `"kind":"html","method":"POST"`,
	"504 after it was done":       `"kind":"late-status","status":504,"contentType":"text/html","body":"<html><body>Gateway Timeout</body></html>"`,
	"503 of a gateway that waits": `"kind":"late-status","status":503,"retryAfter":1`,
}

// behindGateway is an effect that is caused once before the gateway fails, so that sessions are open, and once while it
// does.
type behindGateway struct {
	crashing
	subject, before, during string
}

// TestAGatewayThatFailsForAWhileLeavesNothingToAPerson has calls of a vendor answered by a gateway that fails, for as long
// as it takes until it was met twice, and expects that afterwards all is done once and nobody was asked.
func TestAGatewayThatFailsForAWhileLeavesNothingToAPerson(t *testing.T) {
	t.Parallel()
	invitations, invited := invitations(2)
	for name, c := range map[string]behindGateway{
		"task": {crashing{
			define: tasker.Define, outcomes: map[string]int{taskCreated: 2}, effects: tasks,
			want: []string{"Cart: delivery too late [R_1]", "Cart: delivery too late [R_2]"},
		}, late, feedback, with(t, map[string]any{"responseId": "R_2"})},
		"interaction": {crashing{
			define: writer.Define, env: servicetest.Env{"SAP_MARKETING_SETTLE": "2s"}, outcomes: map[string]int{subjects.InteractionWritten: 2},
			effects: interactions, want: []string{"SURVEY_LINK_CREATED A1", "SURVEY_LINK_CREATED A2"},
		}, subjects.SurveyLinkCreated, linkCreated(1), linkCreated(2)},
		"link": {crashing{
			define: linker.Define, env: oneByOne, outcomes: map[string]int{subjects.SurveyLinkCreated: 2}, effects: personalLinks, want: invited,
		}, subjects.SurveyLinkRequested, invitations[0], invitations[1]},
		"recognition": {crashing{
			define: recognizer.Define, env: servicetest.Env{"AWARDCO_TRUST_FEED": "true"}, outcomes: map[string]int{subjects.RecognitionSubmitted: 2},
			effects: recognitions, want: []string{"ref-R_1", "ref-R_2"},
		}, subjects.RecognitionRequested, recognition(1), recognition(2)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var all, ghosts sync.WaitGroup
			t.Cleanup(ghosts.Wait)
			for gateway, fault := range gateways {
				all.Go(func() { t.Run(gateway, func(t *testing.T) { c.run(t, &ghosts, fault) }) })
			}
			all.Wait()
		})
	}
}

func (c behindGateway) run(t *testing.T, ghosts *sync.WaitGroup, fault string) {
	w := c.world(t, ghosts)
	life := effecttest.NewLife(0, effecttest.Before)
	w.start(life)
	defer life.Kill()
	w.broker.Publish(c.subject, c.before)
	for subject := range c.outcomes {
		eventually(t, "the first one is done", time.Minute, func() bool { return len(w.broker.Messages(topology.Events, subject)) == 1 })
	}
	w.desk(http.MethodPost, "{"+fault+"}", nil)
	w.broker.Publish(c.subject, c.during)
	eventually(t, "calls meet the gateway", time.Minute, func() bool {
		var on struct{ Faults []struct{ Fired int } }
		w.desk(http.MethodGet, "", &on)
		return len(on.Faults) == 1 && on.Faults[0].Fired >= 2
	})
	w.desk(http.MethodDelete, "", nil)
	eventually(t, "all is done", 2*time.Minute, w.done)
	w.check()
}

// desk talks to the faults' desk of the vendors.
func (w *crashWorld) desk(method, body string, into any) {
	w.t.Helper()
	request := httptest.NewRequest(method, "/landscape/faults", strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.door.ServeHTTP(answer, request)
	if answer.Code/100 != 2 {
		w.t.Fatalf("%s of faults: %d %s", method, answer.Code, answer.Body)
	}
	if into != nil {
		if err := json.Unmarshal(answer.Body.Bytes(), into); err != nil {
			w.t.Fatal(err)
		}
	}
}

func linkCreated(i int) string {
	return fmt.Sprintf(`{"requestId":"A%d","link":"https://survey.example.com/jfe/form/SV_a1?Q_DL=%[1]d","surveyId":"SV_a1"}`, i)
}

func recognition(i int) string {
	return fmt.Sprintf(`{"responseId":"R_%d","recipient":{"employeeId":"E1001"},"score":5,"note":"Called me back."}`, i)
}

// What vendors hold, by the reference that is in it.

func tasks(w *crashWorld) map[string]int {
	n := map[string]int{}
	for _, task := range w.vendors.Books().SalesCloud.Tasks {
		n[task.Subject]++
	}
	return n
}

func interactions(w *crashWorld) map[string]int {
	n := map[string]int{}
	for _, i := range w.vendors.Books().Marketing.Interactions {
		n[i.Type+" "+i.SourceObject]++
	}
	return n
}

func recognitions(w *crashWorld) map[string]int {
	n := map[string]int{}
	for _, r := range w.vendors.Books().Awardco.Recognitions {
		n[strings.Join(r.Tags, " ")]++
	}
	return n
}
