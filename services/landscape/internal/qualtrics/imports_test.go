package qualtrics_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

const imports = list + "/transactioncontacts"

func counts(a answer) string {
	return fmt.Sprint(a.at("result", "percentComplete"), " ", a.at("result", "contacts", "count", "added"), " ",
		a.at("result", "contacts", "count", "updated"), " ", a.at("result", "contacts", "count", "failed"), " ",
		a.at("result", "transactions", "count", "created"))
}

func TestImportMakesContactsTransactionsAndMembershipInOneCall(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.ImportDuration = 10 * time.Second })
	known, _ := b.contact(`{"extRef":"P-1","firstName":"Ada"}`)
	batch := b.batch()
	a := b.call("POST", imports, `{"transactionMeta":{"batchId":"`+batch+`","fields":["orderNumber","amount"]},"contacts":[
		{"extRef":"P-1","lastName":"Nord","transactionData":{"orderNumber":"1","amount":49.9}},
		{"extRef":"P-2","email":"bob@example.org","embeddedData":{"Country":"DE"},"transactionData":{"orderNumber":"2"}},
		{"extRef":"P-3","email":"no address","transactionData":{"orderNumber":"3"}},
		{"extRef":"P-4","transactionData":{"colour":"red"}},
		{"extRef":"P-5","embeddedData":{"amount":"1"},"transactionData":{"orderNumber":"5"}}]}`).want(202)
	check(t, "unprocessed", a.at("result", "contacts", "unprocessed"), []int{3, 4})
	id := a.text("result", "id")
	if want := b.server.URL + "/API/v3" + imports + "/" + id; a.text("result", "tracking", "url") != want {
		t.Errorf("got tracking %v", a.at("result", "tracking", "url"))
	}
	check(t, "at first", counts(b.call("GET", imports+"/"+id, "")), "0 0 0 0 0")
	b.pass(5 * time.Second)
	check(t, "half way", counts(b.call("GET", imports+"/"+id, "")), "50 0 0 0 0")
	check(t, "batch", len(b.call("GET", directory+"/transactionbatches/"+batch+"/transactions", "").elements()), 0)
	b.pass(5 * time.Second)
	check(t, "in the end", counts(b.call("GET", imports+"/"+id, "").want(200)), "100 1 1 1 2")

	links, _ := b.links(b.distribute(service, batch, nil), service)
	if len(links) != 2 || links[0]["contactId"] != known || links[0]["lastName"] != "Nord" || links[1]["externalDataReference"] != "P-2" {
		t.Errorf("got %v", links)
	}
	data := b.call("GET", directory+"/transactions/"+fmt.Sprint(links[0]["transactionId"]), "")
	check(t, "data, as texts", data.at("result", "data"), map[string]string{"orderNumber": "1", "amount": "49.9"})

	report := b.call("GET", directory+"/imports/api-import/jobs/"+id+"/report", "").want(200)
	entries, _ := report.at("results", "importReportEntries").([]any)
	if len(entries) != 3 || report.at("result") != nil || report.at("meta") != nil {
		t.Fatalf("got %s", report.raw)
	}
	first, _ := entries[0].(map[string]any)
	check(t, "report", []any{first["sourceIndexId"], first["contactId"], first["transactionId"]},
		[]any{"0", known, links[0]["transactionId"]})
}

func TestRepeatedImportDuplicatesTransactions(t *testing.T) {
	b := start(t, nil)
	batch := b.batch()
	body := `{"transactionMeta":{"batchId":"` + batch + `","fields":["n"]},"contacts":[{"extRef":"P-1","transactionData":{"n":1}}]}`
	b.call("POST", imports, body).want(202)
	b.call("POST", imports, body).want(202)
	check(t, "transactions", len(b.call("GET", directory+"/transactionbatches/"+batch+"/transactions", "").elements()), 2)
	check(t, "contacts", len(b.sim.Books().Contacts), 1)
}

func TestAnImportTakesAsLongAsItsRows(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.ImportDuration, s.Assumed.ImportPerRow = time.Second, 100*time.Millisecond
	})
	rows := strings.TrimSuffix(strings.Repeat(`{"firstName":"F"},`, 90), ",") // 1 s and 90 times 0.1 s
	id := b.call("POST", imports, `{"contacts":[`+rows+`]}`).want(202).text("result", "id")
	for _, want := range []string{"0 0 0 0 0", "25 0 0 0 0", "50 0 0 0 0", "75 0 0 0 0", "100 90 0 0 0"} {
		check(t, "progress", counts(b.call("GET", imports+"/"+id, "").want(200)), want)
		report := b.call("GET", directory+"/imports/api-import/jobs/"+id+"/report", "").want(200)
		entries, _ := report.at("results", "importReportEntries").([]any)
		if done := want[:3] == "100"; (len(entries) == 90) != done {
			t.Errorf("at %s: a report of %d rows", want, len(entries))
		}
		b.pass(2500 * time.Millisecond)
	}
}

func TestPeopleWhoShareAMailboxBecomeOneContactWithTheLastExtRef(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Dedupe = []qualtrics.IdentityRule{{"email"}} })
	batch := b.batch()
	a := b.call("POST", imports, `{"transactionMeta":{"batchId":"`+batch+`","fields":["n"]},"contacts":[
		{"extRef":"P-A","email":"family@example.org","transactionData":{"n":"A"}},
		{"extRef":"P-B","email":" Family@Example.org ","transactionData":{"n":"B"}},
		{"extRef":"P-C","email":"other@example.org","transactionData":{"n":"C"}}]}`).want(202)
	check(t, "counts", counts(b.call("GET", imports+"/"+a.text("result", "id"), "")), "100 2 1 0 3")
	links, _ := b.links(b.distribute(service, batch, nil), service)
	check(t, "rows", len(links), 3)
	if links[0]["contactId"] != links[1]["contactId"] || links[0]["externalDataReference"] != "P-B" ||
		links[1]["externalDataReference"] != "P-B" || links[0]["link"] == links[1]["link"] {
		t.Errorf("got %v", links)
	}
	// Only the transaction tells whose link it is.
	for i, want := range []string{"A", "B", "C"} {
		data := b.call("GET", directory+"/transactions/"+fmt.Sprint(links[i]["transactionId"]), "").want(200)
		check(t, "whose", data.at("result", "data", "n"), want)
	}
	report := b.call("GET", directory+"/imports/api-import/jobs/"+a.text("result", "id")+"/report", "").want(200)
	for i := range 3 {
		check(t, "report", report.at("results", "importReportEntries", i, "transactionId"), links[i]["transactionId"])
	}
}

func TestTheReportIsPagedWithoutAnEnvelope(t *testing.T) {
	b := start(t, nil)
	rows := make([]string, 230)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"extRef":"P-%d"}`, i)
	}
	id := b.call("POST", imports, `{"contacts":[`+strings.Join(rows, ",")+`]}`).want(202).text("result", "id")
	path := directory + "/imports/api-import/jobs/" + id + "/report"
	var pages []int
	var indexes []any
	for token := ""; ; {
		a := b.call("GET", path+token, "").want(200)
		entries, _ := a.at("results", "importReportEntries").([]any)
		pages = append(pages, len(entries))
		for i := range entries {
			indexes = append(indexes, a.at("results", "importReportEntries", i, "sourceIndexId"))
		}
		if a.text("skipToken") == "" {
			break
		}
		token = "?skipToken=" + a.text("skipToken")
	}
	check(t, "pages", pages, []int{100, 100, 30})
	for i, index := range indexes {
		check(t, "index, as a text", index, fmt.Sprint(i))
	}
	b.call("GET", directory+"/imports/api-import/jobs/0/report", "").refused(404, "")
}

func TestImportToAnUnknownPlaceSucceedsWithZeroCounts(t *testing.T) {
	b := start(t, nil)
	batch := b.batch()
	body := `{"transactionMeta":{"batchId":"%s","fields":["n"]},"contacts":[{"extRef":"P-1","transactionData":{"n":1}}]}`
	for name, try := range map[string]struct{ path, batch string }{
		"batch":     {imports, "BT_0"},
		"list":      {directory + "/mailinglists/CG_other/transactioncontacts", batch},
		"directory": {"/directories/POOL_other/mailinglists/CG_simulated/transactioncontacts", batch},
	} {
		a := b.call("POST", try.path, fmt.Sprintf(body, try.batch)).want(202)
		check(t, name, counts(b.call("GET", try.path+"/"+a.text("result", "id"), "").want(200)), "100 0 0 0 0")
	}
	if n := len(b.sim.Books().Contacts); n != 0 {
		t.Errorf("%d contacts", n)
	}
}

func TestImportIsReadStrictly(t *testing.T) {
	b := start(t, nil)
	meta := `"transactionMeta":{"batchId":"` + b.batch() + `","fields":["n"]}`
	for _, body := range []string{
		`{}`, `{"contacts":[]}`, `{"contacts":{}}`, `{"contacts":[null]}`, `{"contacts":[{"extRef":null}]}`,
		`{"contacts":[{"phone":"+1"}]}`, `{"contacts":[{"transactionDate":"2026-01-15 09:31:00"}]}`,
		`{"contacts":[{"extRef":"P-1","transactionData":{"n":1}}]}`,
		`{` + meta + `,"contacts":[{"extRef":"P-1"}]}`,
		`{` + meta + `,"contacts":[{"extRef":"P-1","transactionData":{"n":null}}]}`,
		`{` + meta + `,"contacts":[{"extRef":"P-1","embeddedData":{"m":null},"transactionData":{"n":1}}]}`,
		`{` + meta + `,"contacts":[{"extRef":"P-1","embeddedData":null,"transactionData":{"n":1}}]}`,
		`{` + meta + `,"contacts":[{"extRef":"P-1","contactId":"CID_1","transactionData":{"n":1}}]}`,
		`{` + meta + `,"contacts":[{"extRef":"P-1","transactionData":{"n":[]}}]}`,
		`{"transactionMeta":{"fields":["n"]},"contacts":[{"transactionData":{"n":1}}]}`,
		`{"transactionMeta":{"batchId":"B","fields":[]},"contacts":[{"transactionData":{"n":1}}]}`,
		`{"contacts":[` + strings.Repeat(`{},`, 10_000) + `{}]}`,
	} {
		b.call("POST", imports, body).refused(400, "")
	}
	b.call("POST", imports, `{"contacts":[{"firstName":"`+strings.Repeat("x", 5<<20)+`"}]}`).refused(413, "")
	b.call("POST", imports, `{"contacts":[{"extRef":"P-1"}]}`).want(202)
	b.call("GET", imports+"/0", "").refused(404, "")
}

func TestImportsOfAListWaitForEachOtherAndTheQueueHasAnEnd(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.ImportDuration, s.Assumed.ImportQueueStatus, s.Assumed.UnprocessedAsText = time.Minute, 503, true
	})
	body := `{"transactionMeta":{"batchId":"` + b.batch() + `","fields":["n"]},"contacts":[{"extRef":"P-1","transactionData":{"m":1}}]}`
	var ids []string
	for range 125 {
		a := b.call("POST", imports, body).want(202)
		ids = append(ids, a.text("result", "id"))
		check(t, "unprocessed", a.at("result", "contacts", "unprocessed"), []string{"0"})
	}
	b.call("POST", imports, body).refused(503, "")
	b.pass(time.Minute)
	check(t, "first", b.call("GET", imports+"/"+ids[0], "").at("result", "percentComplete"), 100)
	check(t, "second", b.call("GET", imports+"/"+ids[1], "").at("result", "percentComplete"), 0)
	b.call("POST", imports, body).want(202)
}

func TestAFullImportOf10000IsQuickAndReported(t *testing.T) {
	b := start(t, nil)
	rows := slices.Repeat([]string{""}, 10_000)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"extRef":"P-%d","transactionData":{"n":%d}}`, i, i)
	}
	batch, began := b.batch(), time.Now()
	a := b.call("POST", imports, `{"transactionMeta":{"batchId":"`+batch+`","fields":["n"]},"contacts":[`+strings.Join(rows, ",")+`]}`).want(202)
	id := a.text("result", "id")
	check(t, "counts", counts(b.call("GET", imports+"/"+id, "")), "100 10000 0 0 10000")
	report := b.call("GET", directory+"/imports/api-import/jobs/"+id+"/report?skipToken="+id+"~9900", "").want(200)
	entries, _ := report.at("results", "importReportEntries").([]any)
	if len(entries) != 100 || report.at("skipToken") != nil {
		t.Errorf("got %d entries, token %v", len(entries), report.at("skipToken"))
	}
	links, _ := b.links(b.distribute(service, batch, nil), service)
	check(t, "links", len(links), 10_000)
	if took := time.Since(began); took > 10*time.Second { // about one, with the books on disk
		t.Errorf("took %v", took)
	}
}
