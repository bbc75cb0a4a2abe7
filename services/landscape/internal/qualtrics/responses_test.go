package qualtrics_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// response reads the latest response by the API, when it is ready.
func (b *brand) response(surveyID string) answer {
	b.t.Helper()
	all := b.sim.Books().Responses
	return b.call("GET", "/surveys/"+surveyID+"/responses/"+all[len(all)-1].ID, "").want(200)
}

func TestSurveyIsAnsweredOnItsPage(t *testing.T) {
	b := start(t, nil)
	link, distribution := b.invite("SV_cart", map[string]any{
		"requestId": "A1", "product_name": "Garden chair", "account_id": 1000123, "contact_id": "1000456", "undeclared": "x",
	})
	status, page := b.visit(link)
	for _, want := range []string{"You left something in your cart", "Delivery too late", `type="radio"`, "<legend>", `<label for="QID3">`, `lang="en"`} {
		if status != 200 || !strings.Contains(page, want) {
			t.Errorf("got %d, a page without %s", status, want)
		}
	}
	b.pass(107 * time.Second)
	if status, page = b.submit(link, "QID1", "1", "QID2", "1", "QID3", "2026-02-01", "QID4", "Call after 5"); status != 200 || !strings.Contains(page, "Thank you") {
		t.Fatalf("got %d %s", status, page)
	}
	a := b.response("SV_cart")
	check(t, "values", a.at("result", "values"), map[string]any{
		"startDate": "2026-01-15T09:30:00Z", "endDate": "2026-01-15T09:31:47Z", "recordedDate": "2026-01-15T09:31:47.000Z",
		"status": 0, "finished": 1, "progress": 100, "duration": 107, "distributionChannel": "gl", "userLanguage": "EN",
		"ipAddress": "203.0.113.9", "locationLatitude": "10.5", "locationLongitude": "20.5",
		"recipientEmail": "ada@example.org", "recipientFirstName": "Ada", "recipientLastName": "Nord", "externalDataReference": "P-1001",
		"QID1": "Delivery too late", "QID2": 1, "QID3_TEXT": "2026-02-01", "QID4_TEXT": "Call after 5",
		"contact_me": "yes", "desired_date": "2026-02-01",
		"product_name": "Garden chair", "account_id": "1000123", "contact_id": "1000456", "requestId": "A1", "Country": "DE",
		"ResponseEventContext": "A1",
	})
	check(t, "labels", a.at("result", "labels"), map[string]any{"QID1": "Delivery too late", "QID2": "yes", "finished": "True", "status": "IP Address"})
	check(t, "fields", a.at("result", "displayedFields"), []string{"QID1", "QID2", "QID3_TEXT", "QID4_TEXT"})
	check(t, "shown", a.at("result", "displayedValues", "QID1"), []int{1, 2, 3})

	history := b.call("GET", "/distributions/"+distribution+"/history", "").want(200)
	check(t, "history", []any{history.at("result", "elements", 0, "status"), history.at("result", "elements", 0, "responseId")},
		[]any{"SurveyFinished", a.at("result", "responseId")})
}

func TestResponsesMayBeTestsImportsOrSpam(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.ResponseStatuses = []int{0, 2, 4, 8} })
	for _, want := range []int{0, 2, 4, 8, 0} {
		link, _ := b.invite(service, nil)
		b.submit(link, "QID1", "5", "QID2", "1")
		check(t, "status", b.response(service).at("result", "values", "status"), want)
	}
	check(t, "label of a normal one", b.response(service).at("result", "labels", "status"), "IP Address")
	b.submit(b.server.URL+"/jfe/form/SV_service?Q_CHL=preview", "QID1", "5", "QID2", "1")
	check(t, "status of a preview", b.response(service).at("result", "values", "status"), 1)
}

func TestNumbersAndChoicesAreCodesUnlessTheFlowNamesThem(t *testing.T) {
	b := start(t, nil)
	link, _ := b.invite(service, map[string]any{"rep_email": "rep@example.com"})
	b.submit(link, "QID1", "5", "QID2", "2", "QID3", "kind")
	a := b.response(service)
	for name, want := range map[string]any{
		"QID1": 5, "csat": "5", "QID2": 2, "solved": "partly", "QID3_TEXT": "kind", "why": "kind", "rep_email": "rep@example.com",
	} {
		check(t, name, a.at("result", "values", name), want)
	}
	check(t, "label", a.at("result", "labels", "QID2"), "partly")
}

func TestIndividualLinkIsUsedOnce(t *testing.T) {
	b := start(t, nil)
	link, _ := b.invite(service, nil)
	var all sync.WaitGroup
	outcomes := make(chan int, 5)
	for range 5 {
		all.Go(func() {
			status, _ := b.submit(link, "QID1", "5", "QID2", "1")
			outcomes <- status
		})
	}
	all.Wait()
	close(outcomes)
	taken := 0
	for status := range outcomes {
		if status == 200 {
			taken++
		} else if status != 410 {
			t.Errorf("got %d", status)
		}
	}
	if taken != 1 || len(b.sim.Books().Responses) != 1 {
		t.Errorf("%d answers were taken, %d recorded", taken, len(b.sim.Books().Responses))
	}
	if status, page := b.visit(link); status != 410 || !strings.Contains(page, "already completed") {
		t.Errorf("got %d %s", status, page)
	}
	b.restart()
	if status, _ := b.visit(link); status != 410 {
		t.Errorf("after a restart: got %d", status)
	}
}

func TestMultipleLinkIsUsedAgain(t *testing.T) {
	b := start(t, nil)
	_, transactions := b.people(1)
	links, _ := b.links(b.distribute(service, b.batch(transactions...), map[string]any{"linkType": "Multiple"}), service)
	for range 2 {
		if status, _ := b.submit(fmt.Sprint(links[0]["link"]), "QID1", "5", "QID2", "1"); status != 200 {
			t.Errorf("got %d", status)
		}
	}
	check(t, "responses", len(b.sim.Books().Responses), 2)
}

func TestExpiredAndUnknownLinksSaySo(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Surveys = append(s.Surveys, qualtrics.Survey{ID: "SV_closed", Name: "Closed"})
	})
	link, _ := b.invite(service, nil)
	b.pass(60 * 24 * time.Hour)
	for address, want := range map[string]string{
		link: "410 expired",
		b.server.URL + "/jfe/form/SV_service?Q_DL=x":      "404 not found",
		strings.Replace(link, "SV_service", "SV_cart", 1): "404 not found",
		b.server.URL + "/jfe/form/SV_other":               "404 not found",
		b.server.URL + "/jfe/form/SV_closed":              "410 not active",
	} {
		status, page := b.visit(address)
		code, text, _ := strings.Cut(want, " ")
		if fmt.Sprint(status) != code || !strings.Contains(page, text) {
			t.Errorf("%s: got %d %s, want %s", address, status, page, want)
		}
		if status, _ := b.submit(address, "QID1", "5", "QID2", "1"); fmt.Sprint(status) != code {
			t.Errorf("%s: submitted with %d", address, status)
		}
	}
	check(t, "responses", len(b.sim.Books().Responses), 0)
}

func TestOpeningDoesNotConsumeALinkUnlessToldSo(t *testing.T) {
	for consumes, want := range map[bool]int{false: 200, true: 410} {
		b := start(t, func(s *qualtrics.Settings) { s.Assumed.OpeningConsumes = consumes })
		link, _ := b.invite(service, nil)
		b.visit(link)
		if status, _ := b.visit(link); status != want {
			t.Errorf("consumes %v: got %d", consumes, status)
		}
		if status, _ := b.submit(link, "QID1", "5", "QID2", "1"); status != 200 {
			t.Errorf("consumes %v: the page that was open cannot be submitted: %d", consumes, status)
		}
	}
}

func TestAnswersThatCannotBeTakenAreAskedForAgain(t *testing.T) {
	b := start(t, nil)
	link, _ := b.invite("SV_cart", nil)
	for name, fields := range map[string][]string{
		"nothing": nil, "a missing answer": {"QID1", "1"}, "no such choice": {"QID1", "4", "QID2", "1"},
		"a text for a code": {"QID1", "Delivery too late", "QID2", "1"}, "no date": {"QID1", "1", "QID2", "1", "QID3", "soon"},
	} {
		t.Run(name, func(t *testing.T) {
			status, page := b.submit(link, fields...)
			if status != 422 || !strings.Contains(page, `role="alert"`) || !strings.Contains(page, `aria-invalid="true"`) {
				t.Errorf("got %d %s", status, page)
			}
		})
	}
	_, page := b.submit(link, "QID1", "2", "QID4", `<script>alert("x")</script>`)
	if strings.Contains(page, "<script>") || !strings.Contains(page, `value="2" checked`) {
		t.Errorf("what was given is lost or not escaped: %s", page)
	}
	check(t, "responses", len(b.sim.Books().Responses), 0)
}

func TestResponseIsNotThereAtOnce(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.NotReadyReads, s.Assumed.NotReadyFor = 1, time.Minute })
	link, _ := b.invite(service, nil)
	b.submit(link, "QID1", "5", "QID2", "1")
	path := "/surveys/SV_service/responses/" + b.sim.Books().Responses[0].ID
	for range 2 {
		a := b.call("GET", path, "")
		if a.status != 202 || a.text("result", "message") != "The Survey Response is not yet available. Please try again later." || a.at("result", "values") != nil {
			t.Errorf("got %d %s", a.status, a.raw)
		}
	}
	b.pass(time.Minute)
	b.call("GET", path, "").want(200)
	b.call("GET", "/surveys/SV_cart/responses/"+b.sim.Books().Responses[0].ID, "").refused(404, "")
	b.call("GET", "/surveys/SV_service/responses/R_0", "").refused(404, "")
	b.call("GET", "/surveys/SV_0/responses/R_0", "").refused(404, "GSI_2")
}

func TestAnonymousPreviewAndAnonymisedAnswers(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Surveys[0].Anonymize = true
		s.Assumed.DistributionChannel = "email"
	})
	b.submit(b.server.URL+"/jfe/form/SV_cart?product_name=Chair&undeclared=x", "QID1", "3", "QID2", "2")
	a := b.response("SV_cart")
	check(t, "anonymous", []any{a.at("result", "values", "distributionChannel"), a.at("result", "values", "product_name"),
		a.at("result", "values", "recipientEmail"), a.at("result", "values", "undeclared"), a.at("result", "values", "status")},
		[]any{"anonymous", "Chair", nil, nil, 0})

	link, _ := b.invite(service, map[string]any{"rep_name": "Rep"})
	b.submit(link, "QID1", "3", "QID2", "2")
	a = b.response(service)
	check(t, "anonymised", []any{a.at("result", "values", "distributionChannel"), a.at("result", "values", "rep_name"),
		a.at("result", "values", "recipientEmail"), a.at("result", "values", "externalDataReference"), a.at("result", "values", "ipAddress")},
		[]any{"email", "Rep", nil, nil, nil})

	b.submit(b.server.URL+"/jfe/form/SV_cart?Q_CHL=preview", "QID1", "3", "QID2", "2")
	check(t, "preview", b.response("SV_cart").at("result", "values", "status"), 1)
}

func TestAttributesAreResolvedWhenTheAnswerIsGiven(t *testing.T) {
	b := start(t, nil)
	link, _ := b.invite(service, map[string]any{"rep_name": "as it was"})
	b.contact(`{"extRef":"P-1001","embeddedData":{"Country":"AT","rep_name":"as it is now"}}`)
	b.submit(link, "QID1", "5", "QID2", "1")
	a := b.response(service)
	check(t, "contact's, overwritten since", a.at("result", "values", "Country"), "AT")
	check(t, "transaction's, kept", a.at("result", "values", "rep_name"), "as it was")
}

func TestBooksSurviveARestart(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.ImportDuration = time.Minute })
	link, distribution := b.invite("SV_cart", map[string]any{"requestId": "A1"})
	b.submit(link, "QID1", "1", "QID2", "1")
	batch := b.batch()
	job := b.call("POST", imports, `{"transactionMeta":{"batchId":"`+batch+`","fields":["n"]},"contacts":[{"extRef":"P-1001","transactionData":{"n":1}}]}`).want(202).text("result", "id")
	before := b.response("SV_cart")
	books := asJSON(t, b.sim.Books())
	b.restart()
	check(t, "books", asJSON(t, b.sim.Books()), books)
	check(t, "response", b.response("SV_cart").at("result"), before.at("result"))
	if links, _ := b.links(distribution, "SV_cart"); len(links) != 1 || links[0]["link"] != link {
		t.Errorf("got %v", links)
	}
	again, _ := b.contact(`{"extRef":"P-1001"}`)
	check(t, "the contact is still known", again, b.sim.Books().Contacts[0].ID)
	check(t, "the list is still there", len(b.call("GET", list+"/contacts", "").elements()), 1)
	b.pass(time.Minute)
	check(t, "the import goes on", counts(b.call("GET", imports+"/"+job, "")), "100 0 1 0 1")
	check(t, "transactions", len(b.call("GET", directory+"/contacts/"+again+"/transactions", "").elements()), 2)
	if n := b.sim.Books().Count("GET /distributions/{e}/links"); n != 2 {
		t.Errorf("counted %d readings of links", n)
	}
}

func TestAnswerStoredBeforeACrashIsAnnouncedAfterIt(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Webhooks = []qualtrics.Webhook{{Topics: completed("SV_cart"), URL: "http://x.invalid/"}}
	})
	link, _ := b.invite("SV_cart", nil)
	before := b.sim.Books().Links[0]
	b.submit(link, "QID1", "1", "QID2", "1")
	response := b.sim.Books().Responses[0]
	b.close()

	// The books as they are when the process ends right after the answer was stored.
	st, err := store.Open(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	response.Announced = false
	putRow(t, st, "qualtrics.responses", response.ID, response)
	putRow(t, st, "qualtrics.links", before.ID, before)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	b.open()
	check(t, "events", len(b.deliveries("event")), 2) // the one before the crash is still there
	if status, _ := b.visit(link); status != 410 {
		t.Errorf("the link can be used again: %d", status)
	}
}

func putRow[T any](t *testing.T, st *store.Store, table, key string, row T) {
	t.Helper()
	rows, err := store.NewTable[T](st, table)
	if err != nil {
		t.Fatal(err)
	}
	if err := rows.Put(key, row); err != nil {
		t.Fatal(err)
	}
}
