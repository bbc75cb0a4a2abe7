package standalone_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// awardcoCompany has everything that a refusal needs. E1001 to E1005 and E1000 (rep@example.com) are the demonstration's.
const awardcoCompany = `programs: [{id: P-T, name: With title, titleQuestion: true}, {id: P-X, name: From customers, external: true, centralBudget: true}],
  budgets: [{name: Small, balance: 30}],
  users: [{employeeId: E9, username: gone, email: gone@example.com, firstName: Grace, lastName: Okafor, archived: true}]`

// awards is awardco-recognizer and the simulated Awardco, each at the other's address.
type awards struct {
	*servicetest.Service
	t         *testing.T
	broker    *bustest.Broker
	landscape *landscape.Landscape
	url       string
}

// meetAwardco starts both; switches are those of LANDSCAPE_AWARDCO beside the company.
func meetAwardco(t *testing.T, switches string, env servicetest.Env) *awards {
	t.Helper()
	t.Parallel()
	var vendor atomic.Pointer[httpdoor.Door]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { vendor.Load().ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	all := servicetest.Env{
		"AWARDCO_BASE_URL": server.URL + "/api", "AWARDCO_API_KEY": "simulator", "AWARDCO_PROGRAM": "Qualtrics CSAT Recognition",
		"AWARDCO_WEBHOOK_SECRETS": "shared", "AWARDCO_INTAKE_URL": server.URL + "/external-recognition/t-1",
	}
	maps.Copy(all, env)
	a := &awards{t: t, broker: bustest.Start(t, topology.Settings{}), url: server.URL}
	a.Service = servicetest.Start(t, a.broker, recognizer.Define, all)

	s := &landscape.Settings{}
	if strings.TrimSpace(switches) != "" {
		switches += ", "
	}
	err := servicetest.Load(servicetest.Env{
		"LANDSCAPE_AWARDCO": "{" + switches + awardcoCompany + "}", "AWARDCO_WEBHOOK_SECRETS": "shared",
		"LANDSCAPE_AWARDCO_WEBHOOK_URL": a.URL + "/awardco/webhooks", "LANDSCAPE_PEOPLE": "off",
	}, s)
	if err != nil {
		t.Fatal(err)
	}
	if a.landscape, err = landscape.New(s, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	door := httpdoor.New(httpdoor.Options{})
	a.landscape.Mount(door)
	vendor.Store(door)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- a.landscape.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		if err := a.landscape.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// ask publishes a request; fields are JSON besides.
func (a *awards) ask(response, recipient, fields string) {
	a.t.Helper()
	a.broker.Publish(subjects.RecognitionRequested,
		fmt.Sprintf(`{"responseId":%q,"recipient":{%s},"score":5,"note":"Called me back within the hour."%s}`, response, recipient, fields))
}

func (a *awards) submitted(wanted int) []*eventsv1.RecognitionSubmitted {
	a.t.Helper()
	var all []*eventsv1.RecognitionSubmitted
	bustest.Eventually(a.t, "submitted", func() bool {
		all = nil
		for _, e := range servicetest.Events(a.t, a.broker, subjects.RecognitionSubmitted) {
			all = append(all, e.Data.(*eventsv1.RecognitionSubmitted))
		}
		return len(all) >= wanted
	})
	return all
}

// misbehave makes the next calls of the simulated Awardco go wrong; fault is JSON without braces.
func (a *awards) misbehave(fault string) {
	a.t.Helper()
	response, err := http.Post(a.url+"/landscape/faults", "application/json", strings.NewReader(`{"vendor":"awardco",`+fault+`}`))
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		a.t.Fatalf("the fault %s is refused: %s", fault, response.Status)
	}
}

// decide works the approvals queue off by its form.
func (a *awards) decide(id, what string, form url.Values) {
	a.t.Helper()
	response, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).
		PostForm(a.url+"/landscape/recognitions/"+id+"/"+what, form)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusSeeOther {
		a.t.Fatalf("%s of %s: %s", what, id, response.Status)
	}
}

func (a *awards) wantMade(n int) {
	a.t.Helper()
	if made := len(a.landscape.Books().Awardco.Recognitions); made != n {
		a.t.Errorf("Awardco holds %d recognitions, want %d", made, n)
	}
}

func TestAwardcoLostAnswerIsReadBackAndNotSentAgain(t *testing.T) { // trap 1
	for name, env := range map[string]servicetest.Env{
		"public, in the feed":         nil,
		"private, in report 5":        {"AWARDCO_READBACK": "report", "AWARDCO_PUBLIC": "false"},
		"tags refused, in the note":   {"AWARDCO_REFERENCE": "note"},
		"note of a private one":       {"AWARDCO_REFERENCE": "note", "AWARDCO_READBACK": "report", "AWARDCO_PUBLIC": "false"},
		"a gateway's 503 afterwards":  nil,
		"an answer cut in the middle": nil,
	} {
		t.Run(name, func(t *testing.T) {
			a := meetAwardco(t, "refuseUnknownTags: "+fmt.Sprint(env["AWARDCO_REFERENCE"] == "note")+", reportPageSize: 1", env)
			kind := map[string]string{"a gateway's 503 afterwards": `"late-status","status":503`, "an answer cut in the middle": `"truncated"`}[name]
			if kind == "" {
				kind = `"lost-answer"`
			}
			a.ask("R_0", `"employeeId":"E1001"`, "")
			a.submitted(1)
			a.misbehave(`"method":"POST","path":"/recognize$","times":1,"kind":` + kind)
			a.ask("R_1", `"employeeId":"E1001"`, "")
			m := a.submitted(2)[1]
			a.Settled()
			a.wantMade(2)
			if want := a.landscape.Books().Awardco.Recognitions[1].ID; m.GetRecognitionId() != want {
				t.Errorf("recognition %q, want %s", m.GetRecognitionId(), want)
			}
		})
	}
}

func TestAwardcoLostAnswerOfAPrivateOneWaitsForAPerson(t *testing.T) { // traps 1, 7
	a := meetAwardco(t, "", servicetest.Env{"AWARDCO_PUBLIC": "false", "AWARDCO_LOOK_FOR": "1s"})
	a.misbehave(`"method":"POST","path":"/recognize$","times":1,"kind":"lost-answer"`)
	a.ask("R_1", `"employeeId":"E1001"`, "")
	if letter := a.Dead(1)[0]; letter.Class != "person" || !strings.Contains(letter.Reason, "ref-R_1") {
		t.Errorf("dead letter %+v", letter)
	}
	a.wantMade(1)
}

func TestAwardcoRefusalsInEveryShapeAreRefusals(t *testing.T) { // traps 2, 5
	for shape, words := range map[string]string{"''": "Recipient not found", "'200'": "Recipient not found", "text": "Recipient not found", "html": "400"} {
		t.Run(shape, func(t *testing.T) {
			a := meetAwardco(t, "errors: "+shape, nil)
			a.ask("R_1", `"email":"nobody@example.com"`, "")
			if letter := a.Dead(1)[0]; letter.Class != "refused" || !strings.Contains(letter.Reason, words) || strings.Contains(letter.Reason, "nobody@") {
				t.Errorf("dead letter %+v", letter)
			}
			a.wantMade(0)
		})
	}
}

func TestAwardcoTitleNoteAndBudgetAreKeptWithinTheLimits(t *testing.T) { // trap 5
	a := meetAwardco(t, "noteMax: 150", servicetest.Env{
		"AWARDCO_NOTE_MAX": "150", "AWARDCO_TITLE": "{score} of 5 points, says a customer", "AWARDCO_PROGRAM_ID": "P-T",
		"AWARDCO_MAX_AMOUNT": "20", "AWARDCO_MAX_AMOUNT_PER_DAY": "1000", "AWARDCO_BUDGET": "Small",
	})
	a.broker.Publish(subjects.RecognitionRequested, `{"responseId":"R_1","recipient":{"username":"E1001"},"score":5,"amount":20,"note":"`+strings.Repeat("Wörter ", 30)+`"}`)
	a.submitted(1)
	made := a.landscape.Books().Awardco.Recognitions[0]
	if n := len([]rune(made.Note)); n > 150 || n < 140 || !strings.HasSuffix(made.Note, "Wörter…") {
		t.Errorf("note of %d characters: %s", n, made.Note)
	}
	if made.Title != "5 of 5 points, says a customer" || made.Program != "With title" || made.Budget != "Small" || made.Amount != 20 {
		t.Errorf("%+v", made)
	}
	a.ask("R_2", `"username":"E1001"`, `,"amount":20`) // 10 are left in the budget
	if letter := a.Dead(1)[0]; letter.Class != "refused" || !strings.Contains(letter.Reason, "exhausted") {
		t.Errorf("dead letter %+v", letter)
	}
	a.ask("R_3", `"username":"E1001"`, `,"title":"Said by herself"`)
	a.submitted(2)
	if title := a.landscape.Books().Awardco.Recognitions[1].Title; title != "Said by herself" {
		t.Errorf("title %q", title)
	}
	a.broker.Publish(subjects.RecognitionRequested, `{"responseId":"R_4","recipient":{"username":"E1001"},"score":5,"title":"`+strings.Repeat("x", 51)+`"}`)
	if letter := a.Dead(2)[1]; letter.Field != "title" {
		t.Errorf("dead letter %+v", letter)
	}
}

func TestAwardcoLongNoteIsRefusedWhereThatIsSet(t *testing.T) { // trap 5
	a := meetAwardco(t, "", servicetest.Env{"AWARDCO_NOTE_MAX": "150", "AWARDCO_NOTE_TOO_LONG": "refuse"})
	a.broker.Publish(subjects.RecognitionRequested, `{"responseId":"R_1","recipient":{"username":"E1001"},"note":"`+strings.Repeat("x", 151)+`"}`)
	if letter := a.Dead(1)[0]; letter.Class != "invalid" || letter.Field != "note" {
		t.Errorf("dead letter %+v", letter)
	}
	a.wantMade(0)
}

func TestAwardcoIsSentTheEmployeeIDThatItsUserListGives(t *testing.T) { // traps 4, 8
	for _, spelling := range []string{"listArchived: true", "listArchived: true, snakeCaseUsers: true", "hideUsernames: true"} {
		t.Run(spelling, func(t *testing.T) {
			a := meetAwardco(t, spelling, servicetest.Env{"AWARDCO_DIRECTORY": "users"})
			a.ask("R_1", `"email":"REP@example.com"`, "")
			a.ask("R_2", `"name":"Grace Okafor"`, "")
			a.ask("R_3", `"email":"gone@example.com","name":"Grace Okafor"`, "")
			a.ask("R_4", `"employeeId":"e1001"`, "")
			a.submitted(1)
			reasons := map[string]string{}
			for _, letter := range a.Dead(3) {
				if letter.Class != "person" || letter.Field != "recipient" || strings.Contains(letter.Reason, "@") || strings.Contains(letter.Reason, "Okafor") {
					t.Errorf("dead letter %+v", letter)
				}
				for _, r := range []string{"R_2", "R_3", "R_4"} {
					if strings.Contains(letter.Body, r) {
						reasons[r] = letter.Reason
					}
				}
			}
			if !strings.Contains(reasons["R_2"], "candidates: E1001") || strings.Contains(reasons["R_2"], "E9") {
				t.Errorf("a name alone: %s", reasons["R_2"])
			}
			if archived := strings.Contains(reasons["R_3"], "archived (E9)"); archived != strings.Contains(spelling, "listArchived") {
				t.Errorf("an archived one: %s", reasons["R_3"])
			}
			// A person fills the id in and replays.
			a.ask("R_2", `"employeeId":"E1001","name":"Grace Okafor"`, "")
			a.submitted(2)
			for n, want := range []string{"E1000", "E1001"} {
				if to := a.landscape.Books().Awardco.Recognitions[n].Recipients; !slices.Equal(to, []string{want}) {
					t.Errorf("recognition %d is for %v, want %s alone", n, to, want)
				}
			}
			if lists := a.landscape.Books().Awardco.Calls["GET /users"]; lists != 2 {
				t.Errorf("%d calls for the user list, want 2: a page and the end", lists)
			}
		})
	}
}

func TestAwardcoDecisionsComeBackThroughDuplicatesLossAndDisorder(t *testing.T) { // traps 3, 9
	a := meetAwardco(t, "webhookCopies: 2, webhookLag: 300ms, createdWhilePending: true, eventNames: {created: recognition.created, approved: ok, denied: nok}",
		servicetest.Env{"AWARDCO_PROGRAM": "From customers", "AWARDCO_APPROVAL": "true", "AWARDCO_WEBHOOK_EVENTS": "ok=approved,nok=declined"})
	const all = 6
	for n := range all {
		a.ask(fmt.Sprintf("R_%d", n), `"employeeId":"E1001"`, "")
	}
	responseOf := map[string]string{}
	for _, m := range a.submitted(all) {
		if m.GetState() != "PENDING_APPROVAL" {
			t.Errorf("state %s before anybody approved", m.GetState())
		}
		responseOf[m.GetRecognitionId()] = m.GetResponseId()
	}
	for n, r := range a.landscape.Books().Awardco.Recognitions {
		if n%2 == 0 {
			a.decide(r.ID, "approve", url.Values{"points": {"15"}})
		} else {
			a.decide(r.ID, "deny", url.Values{"reason": {"twice"}})
		}
	}
	bustest.Eventually(t, "all told", func() bool {
		for _, d := range a.landscape.Books().Awardco.Deliveries {
			if d.State != "delivered" {
				return false
			}
		}
		return true
	})
	approved, declined := servicetest.Events(t, a.broker, subjects.RecognitionApproved), servicetest.Events(t, a.broker, subjects.RecognitionDeclined)
	if len(approved) != all/2 || len(declined) != all/2 {
		t.Errorf("%d approved and %d declined, want %d each", len(approved), len(declined), all/2)
	}
	for _, e := range approved {
		if m := e.Data.(*eventsv1.RecognitionApproved); responseOf[m.GetRecognitionId()] != m.GetResponseId() || m.GetAmount() != 15 {
			t.Errorf("%v", m)
		}
	}
	for _, e := range declined {
		if m := e.Data.(*eventsv1.RecognitionDeclined); responseOf[m.GetRecognitionId()] != m.GetResponseId() || m.GetReason() != "twice" {
			t.Errorf("%v", m)
		}
	}
}

func TestAwardcoExternalRecognitionsAreReportedAsPendingAndDecidedByWebhook(t *testing.T) { // trap 3
	a := meetAwardco(t, "intake: {token: t-1}", servicetest.Env{
		"AWARDCO_MODE": "external", "AWARDCO_PROGRAM": "From customers", "AWARDCO_BASE_URL": "", "AWARDCO_API_KEY": "",
	})
	a.ask("R_1", `"employeeId":"E1001"`, "")
	if m := a.submitted(1)[0]; m.GetState() != "PENDING_APPROVAL" || m.GetRecognitionId() != "" {
		t.Errorf("%v", m)
	}
	made := a.landscape.Books().Awardco.Recognitions[0]
	if made.State != "pending" || made.Note != "Called me back within the hour. [ref-R_1]" || !slices.Equal(made.Tags, []string{"ref-R_1"}) {
		t.Errorf("%+v", made)
	}
	a.decide(made.ID, "approve", url.Values{"points": {"10"}})
	m := a.Published(subjects.RecognitionApproved, 1)[0].Data.(*eventsv1.RecognitionApproved)
	if m.GetResponseId() != "R_1" || m.GetRecognitionId() != made.ID || m.GetAmount() != 10 {
		t.Errorf("%v", m)
	}
	a.ask("R_2", `"employeeId":"E1001"`, `,"amount":5`)
	if letter := a.Dead(1)[0]; letter.Class != "person" || letter.Field != "amount" {
		t.Errorf("dead letter %+v", letter)
	}
}

func TestAwardcoLostAnswerOfTheIntakeWaitsUntilAwardcoTells(t *testing.T) { // trap 1
	a := meetAwardco(t, "intake: {token: t-1}", servicetest.Env{"AWARDCO_MODE": "external", "AWARDCO_PROGRAM": "From customers"})
	a.misbehave(`"method":"POST","path":"/external-recognition","times":1,"kind":"lost-answer"`)
	a.ask("R_1", `"employeeId":"E1001"`, "")
	if letter := a.Dead(1)[0]; letter.Class != "person" || !strings.Contains(letter.Reason, "ref-R_1") {
		t.Errorf("dead letter %+v", letter)
	}
	a.ask("R_1", `"employeeId":"E1001"`, "") // replayed, and nobody knows more
	a.Dead(2)
	made := a.landscape.Books().Awardco.Recognitions[0]
	a.decide(made.ID, "deny", url.Values{"reason": {"no"}})
	bustest.Eventually(t, "declined", func() bool { return len(servicetest.Events(t, a.broker, subjects.RecognitionDeclined)) == 1 })
	a.ask("R_1", `"employeeId":"E1001"`, "") // now it is known to have been made
	if m := a.submitted(1)[0]; m.GetRecognitionId() != made.ID {
		t.Errorf("%v", m)
	}
	a.wantMade(1)
}

func TestAwardcoThrottlingLosesNothing(t *testing.T) {
	a := meetAwardco(t, "rateLimit: 1", nil)
	for n := range 3 {
		a.ask(fmt.Sprintf("R_%d", n), `"employeeId":"E1001"`, "")
	}
	a.Published(subjects.RecognitionSubmitted, 3)
	a.Settled()
	a.wantMade(3)
}

func TestAwardcoThrottlingWithoutRetryAfterPausesTheFleet(t *testing.T) {
	a := meetAwardco(t, "rateLimit: 1, noRetryAfter: true", nil)
	for n := range 3 {
		a.ask(fmt.Sprintf("R_%d", n), `"employeeId":"E1001"`, "")
	}
	bustest.Eventually(t, "paused", func() bool {
		consumer, err := a.broker.JS.Consumer(t.Context(), topology.Events, topology.AwardcoRecognizer)
		return err == nil && consumer.CachedInfo().Paused
	})
	if dead := a.broker.Messages(topology.DeadLetters, ">"); len(dead) > 0 {
		t.Errorf("%d dead letters for the vendor's fault", len(dead))
	}
	if calls, made := a.landscape.Books().Awardco.Calls["POST /recognize"], len(a.landscape.Books().Awardco.Recognitions); calls <= made {
		t.Errorf("%d calls and %d recognitions: nothing was throttled", calls, made)
	}
}

func TestAwardcoRepeatsOfAnswersMakeOneRecognition(t *testing.T) { // trap 11: Qualtrics repeats its task for a day
	a := meetAwardco(t, "", nil)
	for range 5 {
		a.Post("/awardco/recognitions", `{"responseId":"R_1","recipient":{"employeeId":"E1001"},"score":5,"note":"Good."}`, "Prefer", "wait=20").Want(201)
	}
	a.Settled()
	a.wantMade(1)
}
