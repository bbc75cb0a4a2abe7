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
		`{` + meta + `,"contacts":[{"extRef":"P-1","transactionData":{"n":[]}}]}`,
		`{"transactionMeta":{"fields":["n"]},"contacts":[{"transactionData":{"n":1}}]}`,
		`{"transactionMeta":{"batchId":"B","fields":[]},"contacts":[{"transactionData":{"n":1}}]}`,
		`{"contacts":[` + strings.Repeat(`{},`, 10_000) + `{}]}`,
	} {
		b.call("POST", imports, body).refused(400, "")
	}
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
	batch := b.batch()
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
}
