package qualtrics_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

const service = qualtrics.ServiceSurvey

// people makes contacts with one transaction each.
func (b *brand) people(n int) (contacts, transactions []string) {
	b.t.Helper()
	for i := range n {
		id, _ := b.contact(fmt.Sprintf(`{"firstName":"F%d","extRef":"P-%d","email":"p%d@example.org"}`, i, i, i))
		contacts, transactions = append(contacts, id), append(transactions, b.transaction(id, map[string]any{"requestId": fmt.Sprint("A", i)}))
	}
	return contacts, transactions
}

func TestTheTwoSchemasOfDistributionsDoNotMix(t *testing.T) {
	b := start(t, nil)
	batch := b.batch()
	for body, code := range map[string]string{
		// Generating links with keys of the other schema, or of the other action.
		`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_service","linkType":"Individual","transactionBatchId":"B","sendDate":"x"}`:  "RP_9",
		`{"action":"CreateDistribution","surveyId":"SV_service","linkType":"Individual","transactionBatchId":"B","mailingListId":"CG_simulated"}`:  "RP_9",
		`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_service","linkType":"Individual","transactionBatchId":"B","contactId":"x"}`: "RP_9",
		`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_service","linkType":"Individual"}`:                                          "RP_10",
		`{"action":"CreateTransactionBatchDistribution","linkType":"Individual","transactionBatchId":"B"}`:                                         "RP_10",
		`{"action":"CreateDistribution","surveyId":"SV_service","linkType":"Individual"}`:                                                          "RP_10",
		// Without an action it is the schema that sends e-mail.
		`{"surveyId":"SV_service","linkType":"Individual","transactionBatchId":"B"}`:               "RP_10",
		`{"message":{},"recipients":{},"header":{},"surveyLink":{},"sendDate":"x","linkType":"y"}`: "RP_9",
		// Wrong values.
		`{"action":"CreateTransactionBatchdistribution","surveyId":"SV_service","linkType":"Individual","transactionBatchId":"B"}`:                                        "",
		`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_service","linkType":"individual","transactionBatchId":"B"}`:                                        "",
		`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_service","linkType":"Individual","transactionBatchId":null}`:                                       "",
		`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_service","linkType":"Individual","transactionBatchId":"B","expirationDate":"15.04.2026"}`:          "",
		`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_service","linkType":"Individual","transactionBatchId":"B","expirationDate":"2026-01-01 00:00:00"}`: "",
	} {
		b.call("POST", "/distributions", strings.ReplaceAll(body, `"B"`, `"`+batch+`"`)).refused(400, code)
	}
	b.call("POST", "/distributions", `{"message":{},"recipients":{},"header":{},"surveyLink":{},"sendDate":"x"}`).refused(403, "QMST_2.1")
	if n := len(b.sim.Books().Distributions); n != 0 {
		t.Errorf("%d distributions were made by refused calls", n)
	}
}

func TestDistributionNeedsWhatItNames(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Surveys = append(s.Surveys, qualtrics.Survey{ID: "SV_closed", Name: "Closed"})
	})
	_, lookup := b.contact(`{"extRef":"P-1"}`)
	id := b.sim.Books().Contacts[0].ID
	batch := b.batch()
	for name, try := range map[string]struct {
		body   string
		status int
		code   string
	}{
		"survey": {`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_x","linkType":"Individual","transactionBatchId":"` + batch + `"}`, 404, "GSI_2"},
		"closed": {`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_closed","linkType":"Individual","transactionBatchId":"` + batch + `"}`, 400, ""},
		"list":   {`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_cart","linkType":"Individual","mailingListId":"CG_x","transactionBatchId":"` + batch + `"}`, 400, "GP_0"},
		"batch":  {`{"action":"CreateTransactionBatchDistribution","surveyId":"SV_cart","linkType":"Individual","transactionBatchId":"BT_x"}`, 404, ""},
		"CID":    {`{"action":"CreateDistribution","surveyId":"SV_cart","linkType":"Individual","mailingListId":"CG_simulated","contactId":"` + id + `"}`, 400, ""},
	} {
		t.Run(name, func(t *testing.T) { b.call("POST", "/distributions", try.body).refused(try.status, try.code) })
	}
	a := b.call("POST", "/distributions", `{"action":"CreateDistribution","surveyId":"SV_cart","linkType":"Individual",
		"mailingListId":"CG_simulated","contactId":"`+lookup+`"}`).want(200)
	links, _ := b.links(a.text("result", "id"), "SV_cart")
	if len(links) != 1 || links[0]["transactionId"] != nil {
		t.Errorf("got %v, want one link without a transaction", links)
	}
}

func TestTolerantActionIsReadInAnyCase(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.TolerantAction = true })
	b.distribute(service, b.batch(), map[string]any{"action": "CreateTransactionBatchdistribution"})
}

func TestLinksExpireAfter60DaysUnlessTold(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.LinkMaxDays = 100 })
	_, transactions := b.people(1)
	for date, want := range map[string]string{
		"": "2026-03-16T09:29:59Z", "2026-04-15 09:31:00": "2026-04-15T09:31:00Z", "2026-04-15T09:31:00Z": "2026-04-15T09:31:00Z",
	} {
		more := map[string]any{}
		if date != "" {
			more["expirationDate"] = date
		}
		links, _ := b.links(b.distribute(service, b.batch(transactions...), more), service)
		check(t, "expiry", links[0]["linkExpiration"], want)
	}
	b.call("POST", "/distributions", `{"action":"CreateDistribution","surveyId":"SV_cart","linkType":"Individual",
		"mailingListId":"CG_simulated","expirationDate":"2027-01-01 00:00:00"}`).refused(400, "")
}

func TestLinkTellsWhoItIsFor(t *testing.T) {
	b := start(t, nil)
	contacts, transactions := b.people(1)
	links, _ := b.links(b.distribute(service, b.batch(transactions...), nil), service)
	link := links[0]
	address, err := url.Parse(fmt.Sprint(link["link"]))
	if err != nil || address.Path != "/jfe/form/SV_service" || address.Query().Get("Q_DL") == "" || address.Query().Get("Q_CHL") != "gl" {
		t.Errorf("got link %v", link["link"])
	}
	delete(link, "link")
	check(t, "link", link, map[string]any{
		"contactId": contacts[0], "transactionId": transactions[0], "exceededContactFrequency": false,
		"linkExpiration": "2026-03-16T09:29:59Z", "status": "Email not sent", "lastName": nil, "firstName": "F0",
		"externalDataReference": "P-0", "email": "p0@example.org", "unsubscribed": false,
	})
}

func TestLinkSwitches(t *testing.T) {
	for name, try := range map[string]struct {
		change func(*qualtrics.Switches)
		check  func(t *testing.T, link map[string]any)
	}{
		"lookup id": {func(s *qualtrics.Switches) { s.LinkContactID = "CGC" }, func(t *testing.T, link map[string]any) {
			if !strings.HasPrefix(fmt.Sprint(link["contactId"]), "CGC_") {
				t.Errorf("got %v", link["contactId"])
			}
		}},
		"older lookup id": {func(s *qualtrics.Switches) { s.LinkContactID = "MLRP" }, func(t *testing.T, link map[string]any) {
			if !strings.HasPrefix(fmt.Sprint(link["contactId"]), "MLRP_") {
				t.Errorf("got %v", link["contactId"])
			}
		}},
		"unsubscribed as text": {func(s *qualtrics.Switches) { s.UnsubscribedAsText = true }, func(t *testing.T, link map[string]any) {
			check(t, "unsubscribed", link["unsubscribed"], "0")
		}},
		"no transaction id": {func(s *qualtrics.Switches) { s.OmitTransactionID = true }, func(t *testing.T, link map[string]any) {
			if _, there := link["transactionId"]; there {
				t.Errorf("got %v", link)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, func(s *qualtrics.Settings) { try.change(&s.Assumed) })
			_, transactions := b.people(1)
			links, _ := b.links(b.distribute(service, b.batch(transactions...), nil), service)
			try.check(t, links[0])
		})
	}
}

func TestLinksComeInPagesOf100(t *testing.T) {
	b := start(t, nil)
	_, transactions := b.people(230)
	distribution := b.distribute(service, b.batch(transactions...), nil)
	links, pages := b.links(distribution, service)
	check(t, "pages", pages, []int{100, 100, 30})
	seen := map[any]bool{}
	for i, link := range links {
		seen[link["link"]] = true
		check(t, "order", link["transactionId"], transactions[i])
	}
	check(t, "different links", len(seen), 230)
	a := b.call("GET", "/distributions/"+distribution+"/links?surveyId=SV_service&skipToken=x", "")
	a.refused(400, "")
}

func TestPagesOfLinksMayBeShortEmptyOrElsewhere(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.LinkPages, s.Assumed.EmptyLastPage, s.Assumed.OmitNextPage = []int{2, 3}, true, true
	})
	_, transactions := b.people(7)
	distribution := b.distribute(service, b.batch(transactions...), nil)
	_, pages := b.links(distribution, service)
	check(t, "pages", pages, []int{2, 3, 2, 0})
	a := b.call("GET", "/distributions/"+distribution+"/links?surveyId=SV_service&skipToken=x~9", "").want(200)
	if result, _ := a.at("result").(map[string]any); len(result) != 1 {
		t.Errorf("want no nextPage, got %s", a.raw)
	}

	b = start(t, func(s *qualtrics.Settings) {
		s.Assumed.LinkPages, s.Assumed.NextPageBaseURL = []int{1}, "https://sjc1.qualtrics.com/"
	})
	_, transactions = b.people(2)
	distribution = b.distribute(service, b.batch(transactions...), nil)
	a = b.call("GET", "/distributions/"+distribution+"/links?surveyId=SV_service", "").want(200)
	if next := a.text("result", "nextPage"); !strings.HasPrefix(next, "https://sjc1.qualtrics.com/API/v3/distributions/EMD_") {
		t.Errorf("got %s", next)
	}
	last := b.call("GET", "/distributions/"+distribution+"/links?surveyId=SV_service&skipToken=x~1", "").want(200)
	if result, _ := last.at("result").(map[string]any); len(result) != 2 || result["nextPage"] != nil {
		t.Errorf("want nextPage null, got %s", last.raw)
	}
}

func TestLinksMayComeLateOrNotAtAll(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.LinkDelay, s.Assumed.MissingLinks = 3*time.Second, 5 })
	_, transactions := b.people(10)
	distribution := b.distribute(service, b.batch(transactions...), nil)
	if links, pages := b.links(distribution, service); len(links) != 0 || len(pages) != 1 {
		t.Errorf("got %d links at once", len(links))
	}
	b.pass(3 * time.Second)
	if links, _ := b.links(distribution, service); len(links) != 8 {
		t.Errorf("got %d links of 10, every fifth being lost", len(links))
	}
}

func TestLinksMayComeWithALaterReading(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.LinkDelayReads, s.Assumed.MissingLinks, s.Assumed.MissingReads = 2, 5, 3
	})
	_, transactions := b.people(10)
	distribution := b.distribute(service, b.batch(transactions...), nil)
	for _, want := range []int{0, 0, 8, 10, 10} {
		links, _ := b.links(distribution, service)
		check(t, "links", len(links), want)
	}
}

func TestMissingLinksMayComeInTime(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.MissingLinks, s.Assumed.MissingFor = 2, time.Hour })
	_, transactions := b.people(4)
	distribution := b.distribute(service, b.batch(transactions...), nil)
	links, _ := b.links(distribution, service)
	check(t, "at first", len(links), 2)
	b.pass(time.Hour)
	links, _ = b.links(distribution, service)
	check(t, "later", len(links), 4)
	// The history tells from the beginning that there are more.
	check(t, "history", len(b.call("GET", "/distributions/"+distribution+"/history", "").elements()), 4)
}

func TestNextPageMayBeOnAnotherHostThatAnswers(t *testing.T) {
	b := start(t, nil)
	elsewhere := strings.Replace(b.server.URL, "127.0.0.1", "localhost", 1)
	if err := b.sim.Change([]byte(`{linkPages: [2], nextPageBaseUrl: "` + elsewhere + `"}`)); err != nil {
		t.Fatal(err)
	}
	_, transactions := b.people(3)
	distribution := b.distribute(service, b.batch(transactions...), nil)
	first := b.call("GET", "/distributions/"+distribution+"/links?surveyId=SV_service", "").want(200)
	next, err := url.Parse(first.text("result", "nextPage"))
	if err != nil || next.Hostname() != "localhost" || next.Query().Get("proxyDepth") != "1" || next.Query().Get("proxyInfo") == "" {
		t.Errorf("got %v", next)
	}
	links, pages := b.links(distribution, service)
	check(t, "links and pages", []any{len(links), pages}, []any{3, []int{2, 1}})
}

func TestTwoInvitationsOfOnePageCountTwice(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.FrequencyLimit = 1 })
	id, _ := b.contact(`{"extRef":"P-1"}`)
	links, _ := b.links(b.distribute(service, b.batch(b.transaction(id, nil), b.transaction(id, nil)), nil), service)
	check(t, "exceeded", []any{links[0]["exceededContactFrequency"], links[1]["exceededContactFrequency"]}, []bool{false, true})
}

func TestHistoryJoinsBothIDsToTheResponse(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.HistoryPages = []int{2, 1} })
	contacts, transactions := b.people(5)
	distribution := b.distribute(service, b.batch(transactions...), map[string]any{"expirationDate": "2026-02-01 00:00:00"})
	links, _ := b.links(distribution, service)
	link := func(i int) string { return fmt.Sprint(links[i]["link"]) }
	b.visit(link(1))
	b.visit(link(2))
	b.pass(time.Minute)
	b.submit(link(2), "QID1", "5", "QID2", "1")
	b.call("PUT", list+"/contacts/"+contacts[3], `{"unsubscribed":true}`).want(200)

	read := func() (rows []map[string]any, pages []int) {
		for path := "/distributions/" + distribution + "/history"; path != ""; {
			a := b.call("GET", path, "").want(200)
			rows, pages = append(rows, a.elements()...), append(pages, len(a.elements()))
			path = strings.TrimPrefix(a.text("result", "nextPage"), b.server.URL+"/API/v3")
		}
		return rows, pages
	}
	rows, pages := read()
	check(t, "pages", pages, []int{2, 1, 2})
	books := b.sim.Books()
	for i, status := range []string{"Pending", "SurveyStarted", "SurveyFinished", "Pending", "Pending"} {
		check(t, "row", []any{rows[i]["contactId"], rows[i]["contactLookupId"], rows[i]["status"]},
			[]any{contacts[i], books.Links[i].LookupID, status})
	}
	for _, name := range []string{"externalDataReference", "transactionId"} {
		if _, there := rows[0][name]; there {
			t.Errorf("history has %s", name)
		}
	}
	check(t, "answered", []any{rows[2]["responseId"], rows[2]["responseStartedAt"], rows[2]["responseCompletedAt"]},
		[]any{books.Responses[0].ID, "2026-01-15T09:30:00Z", "2026-01-15T09:31:00Z"})
	check(t, "not answered", []any{rows[1]["responseId"], rows[1]["responseCompletedAt"], rows[3]["surveyLink"]}, []any{nil, nil, nil})
	b.pass(30 * 24 * time.Hour)
	rows, _ = read()
	check(t, "after the end", []any{rows[0]["status"], rows[1]["status"], rows[2]["status"]}, []string{"Pending", "SessionExpired", "SurveyFinished"})
}

func TestHistoryOfAnAnonymizedSurveyNamesNoResponse(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Surveys[0].Anonymize = true })
	link, distribution := b.invite(service, nil)
	b.submit(link, "QID1", "5", "QID2", "1")
	check(t, "response", b.call("GET", "/distributions/"+distribution+"/history", "").at("result", "elements", 0, "responseId"), "Anonymous")
}

func TestHistoryOfAContactListsItsAnswers(t *testing.T) {
	b := start(t, nil)
	link, distribution := b.invite(service, nil)
	contact := "/contacts/" + b.sim.Books().Contacts[0].ID + "/history"
	check(t, "before", len(b.call("GET", list+contact+"?type=response", "").want(200).elements()), 0)
	b.submit(link, "QID1", "5", "QID2", "1")
	for _, path := range []string{directory, list} {
		check(t, path, b.call("GET", path+contact+"?type=response", "").want(200).elements(), []map[string]any{{
			"responseId": b.sim.Books().Responses[0].ID, "distributionId": distribution, "surveyId": service,
			"dateStarted": "2026-01-15T09:30:00Z", "dateCompleted": "2026-01-15T09:30:00Z", "surveyFinished": true,
		}})
		check(t, "e-mails", len(b.call("GET", path+contact+"?type=email", "").want(200).elements()), 0)
		b.call("GET", path+contact, "").refused(400, "")
	}
}

func TestDistributionsAreListedInPages(t *testing.T) {
	b := start(t, nil)
	batch := b.batch()
	var made []any
	for range 120 {
		made = append(made, b.distribute(service, batch, nil))
	}
	for size, want := range map[string][]int{"": {100, 20}, "&pageSize=50": {50, 50, 20}} {
		var ids []any
		var pages []int
		for path := "/distributions?surveyId=SV_service&useNewPaginationScheme=true" + size; path != ""; {
			a := b.call("GET", path, "").want(200)
			for _, element := range a.elements() {
				ids = append(ids, element["id"])
			}
			pages = append(pages, len(a.elements()))
			path = strings.TrimPrefix(a.text("result", "nextPage"), b.server.URL+"/API/v3")
		}
		check(t, "pages", pages, want)
		check(t, "ids", ids, made)
	}
}

func TestReadingLinksNeedsTheRightSurvey(t *testing.T) {
	b := start(t, nil)
	distribution := b.distribute(service, b.batch(), nil)
	b.call("GET", "/distributions/"+distribution+"/links", "").refused(400, "RP_10")
	b.call("GET", "/distributions/"+distribution+"/links?surveyId=SV_cart", "").refused(404, "GED_3")
	b.call("GET", "/distributions/EMD_0/links?surveyId=SV_service", "").refused(404, "GED_3")
	if links, _ := b.links(distribution, service); len(links) != 0 {
		t.Errorf("links of an empty batch: %v", links)
	}
}

func TestASecondDistributionMakesSecondLinksForAll(t *testing.T) {
	b := start(t, nil)
	_, transactions := b.people(2)
	batch := b.batch(transactions...)
	first, _ := b.links(b.distribute(service, batch, nil), service)
	second, _ := b.links(b.distribute(service, batch, nil), service)
	for i := range first {
		one, two := fmt.Sprint(first[i]["link"]), fmt.Sprint(second[i]["link"])
		if one == two {
			t.Error("the same link twice")
		}
		for _, link := range []string{one, two} {
			if status, _ := b.visit(link); status != 200 {
				t.Errorf("got %d", status)
			}
		}
	}
}

func TestTwoTransactionsOfOneContactDifferInTransactionIDOnly(t *testing.T) {
	b := start(t, nil)
	id, _ := b.contact(`{"extRef":"P-1"}`)
	first, second := b.transaction(id, nil), b.transaction(id, nil)
	links, _ := b.links(b.distribute(service, b.batch(first, second), nil), service)
	if len(links) != 2 || links[0]["contactId"] != links[1]["contactId"] || links[0]["link"] == links[1]["link"] {
		t.Fatalf("got %v", links)
	}
	check(t, "extRefs", links[0]["externalDataReference"], links[1]["externalDataReference"])
	check(t, "transactions", []any{links[0]["transactionId"], links[1]["transactionId"]}, []any{first, second})
}

func TestUnsubscribedContactHasANullLink(t *testing.T) {
	for _, path := range []string{list, directory} {
		b := start(t, nil)
		contacts, transactions := b.people(2)
		b.call("PUT", path+"/contacts/"+contacts[0], `{"unsubscribed":true}`).want(200)
		links, _ := b.links(b.distribute(service, b.batch(transactions...), nil), service)
		check(t, path, []any{links[0]["link"], links[0]["unsubscribed"], links[1]["unsubscribed"]}, []any{nil, true, false})
		if links[1]["link"] == nil {
			t.Error("no link for the other")
		}
	}
}

func TestEachReadingOfALinkCountsAsAnInvitation(t *testing.T) {
	for null := range map[bool]bool{false: true, true: true} {
		b := start(t, func(s *qualtrics.Settings) {
			s.Assumed.FrequencyLimit, s.Assumed.FrequencyWindow, s.Assumed.FrequencyNullLink = 2, time.Hour, null
		})
		_, transactions := b.people(1)
		distribution := b.distribute(service, b.batch(transactions...), nil)
		var got []any
		for range 3 {
			links, _ := b.links(distribution, service)
			got = append(got, links[0]["exceededContactFrequency"], links[0]["link"] == nil)
		}
		check(t, "exceeded and null", got, []any{false, false, false, false, true, null})
		b.pass(time.Hour)
		links, _ := b.links(distribution, service)
		check(t, "after the window", links[0]["exceededContactFrequency"], false)
	}
}

func TestDistributionIsFoundByItsDescription(t *testing.T) {
	b := start(t, nil)
	_, transactions := b.people(1)
	id := b.distribute(service, b.batch(transactions...), map[string]any{"description": "wave 7"})
	b.pass(time.Hour)
	other := b.distribute("SV_cart", b.batch(), nil)

	a := b.call("GET", "/distributions?surveyId=SV_service", "").want(200)
	if got := a.elements(); len(got) != 1 || got[0]["id"] != id || got[0]["description"] != "wave 7" ||
		got[0]["requestType"] != "GeneratedInvite" || got[0]["requestStatus"] != "Generated" {
		t.Errorf("got %s", a.raw)
	}
	b.call("GET", "/distributions", "").refused(400, "RP_10")
	b.call("GET", "/distributions?surveyId=SV_x", "").refused(404, "GSI_2")
	for query, want := range map[string]int{
		"&sendStartDate=2026-01-15T10:00:00Z": 0, "&sendEndDate=2026-01-15T10:00:00Z": 1, "&mailingListId=CG_x": 0,
		"&distributionRequestType=Invite": 0, "&distributionRequestType=GeneratedInvite": 1,
	} {
		check(t, query, len(b.call("GET", "/distributions?surveyId=SV_service"+query, "").want(200).elements()), want)
	}
	b.call("GET", "/distributions?surveyId=SV_service&sendEndDate=yesterday", "").refused(400, "")

	check(t, "one", b.call("GET", "/distributions/"+id+"?surveyId=SV_service", "").want(200).at("result", "description"), "wave 7")
	b.call("GET", "/distributions/"+id, "").refused(400, "RP_10")
	b.call("GET", "/distributions/"+other+"?surveyId=SV_service", "").refused(404, "GED_3")
}

func TestDeletedThingsBreakTheLinksAlreadyMailed(t *testing.T) {
	for name, remove := range map[string]func(b *brand, distribution, contact string){
		"distribution": func(b *brand, d, _ string) { b.call("DELETE", "/distributions/"+d, "").want(200) },
		"contact":      func(b *brand, _, c string) { b.call("DELETE", directory+"/contacts/"+c, "").want(200) },
		"membership":   func(b *brand, _, c string) { b.call("DELETE", list+"/contacts/"+c, "").want(200) },
	} {
		t.Run(name, func(t *testing.T) {
			b := start(t, nil)
			link, distribution := b.invite(service, nil)
			if status, _ := b.visit(link); status != 200 {
				t.Fatalf("got %d", status)
			}
			remove(b, distribution, b.sim.Books().Contacts[0].ID)
			if status, _ := b.visit(link); status != 404 {
				t.Errorf("got %d", status)
			}
		})
	}
}

func TestDistributionToAListAddressesAllItsMembers(t *testing.T) {
	b := start(t, nil)
	contacts, _ := b.people(3)
	b.call("DELETE", list+"/contacts/"+contacts[1], "").want(200)
	id := b.call("POST", "/distributions", `{"action":"CreateDistribution","surveyId":"SV_cart","linkType":"Individual",
		"mailingListId":"CG_simulated"}`).want(200).text("result", "id")
	links, _ := b.links(id, "SV_cart")
	if len(links) != 2 || links[0]["contactId"] != contacts[0] || links[1]["contactId"] != contacts[2] {
		t.Errorf("got %v", links)
	}
	first := fmt.Sprint(links[0]["link"])
	b.visit(first)
	b.submit(first, "QID1", "3", "QID2", "2")
	b.visit(fmt.Sprint(links[1]["link"]))
	a := b.call("GET", "/distributions/"+id+"?surveyId=SV_cart", "").want(200)
	check(t, "started and finished", []any{a.at("result", "stats", "started"), a.at("result", "stats", "finished")}, []int{2, 1})
	history := b.call("GET", "/distributions/"+id+"/history", "").want(200)
	check(t, "history", []any{history.at("result", "elements", 0, "status"), history.at("result", "elements", 1, "status")},
		[]string{"SurveyFinished", "SurveyStarted"})
}
