package qualtrics_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

func TestTransactionsFailOneByOneInA200(t *testing.T) {
	b := start(t, nil)
	id, lookup := b.contact(`{"extRef":"P-1"}`)
	outside := b.call("POST", directory+"/contacts", `{"extRef":"P-2"}`).want(200).text("result", "id")
	a := b.call("POST", directory+"/transactions", fmt.Sprintf(`{
		"good":    {"contactId":%q,"mailingListId":"CG_simulated","transactionDate":"2026-01-14 08:00:00","data":{"n":49.9,"b":true,"s":"x"}},
		"lookup":  {"contactId":%q,"mailingListId":"CG_simulated"},
		"unknown": {"contactId":"CID_0","mailingListId":"CG_simulated"},
		"list":    {"contactId":%q,"mailingListId":"CG_other"},
		"outside": {"contactId":%q,"mailingListId":"CG_simulated"}}`, id, lookup, id, outside)).want(200)
	created, _ := a.at("result", "createdTransactions").(map[string]any)
	failed, _ := a.at("result", "unprocessedTransactions").(map[string]any)
	if len(created) != 1 || len(failed) != 4 || a.text("result", "unprocessedTransactions", "lookup", "errorMessage") == "" {
		t.Fatalf("got %s", a.raw)
	}
	got := b.call("GET", directory+"/transactions/"+a.text("result", "createdTransactions", "good", "id"), "").want(200)
	check(t, "date", got.at("result", "transactionDate"), "2026-01-14 08:00:00")
	check(t, "data, as texts", got.at("result", "data"), map[string]string{"n": "49.9", "b": "true", "s": "x"})
}

func TestTransactionsAreReadStrictly(t *testing.T) {
	b := start(t, nil)
	id, _ := b.contact(`{"extRef":"P-1"}`)
	for _, item := range []string{
		`null`, `{}`, `{"contactId":"%s"}`, `{"contactId":"%s","mailingListId":null}`,
		`{"contactId":"%s","mailingListId":"CG_simulated","date":"2026-01-14 08:00:00"}`,
		`{"contactId":"%s","mailingListId":"CG_simulated","transactionDate":"2026-01-14 08:00:00 AM"}`,
		`{"contactId":"%s","mailingListId":"CG_simulated","transactionDate":"2026-01-14T08:00:00+01:00"}`,
		`{"contactId":"%s","mailingListId":"CG_simulated","data":{"n":null}}`,
		`{"contactId":"%s","mailingListId":"CG_simulated","data":{"n":{}}}`,
	} {
		body := item
		if item != "null" && item != "{}" {
			body = fmt.Sprintf(item, id)
		}
		b.call("POST", directory+"/transactions", `{"k":`+body+`}`).refused(400, "")
	}
	b.call("POST", directory+"/transactions", `{}`).refused(400, "")
	b.call("POST", "/directories/POOL_other/transactions", `{"k":{}}`).refused(404, "")
	if n := len(b.sim.Books().Transactions); n != 0 {
		t.Errorf("%d transactions were made by refused calls", n)
	}
}

func TestRepeatedTransactionIsASecondOne(t *testing.T) {
	b := start(t, nil)
	id, _ := b.contact(`{"extRef":"P-1"}`)
	first, second := b.transaction(id, map[string]any{"key": "A1"}), b.transaction(id, map[string]any{"key": "A1"})
	if first == second {
		t.Fatal("one transaction, want two")
	}
	path := directory + "/contacts/" + id + "/transactions"
	a := b.call("GET", path+"?withData=true&pageSize=1", "").want(200)
	check(t, "id", a.at("result", "elements", 0, "transactionId"), first)
	check(t, "data", a.at("result", "elements", 0, "data", "key"), "A1")
	next := b.callWith("GET", a.text("result", "nextPage"), "", map[string]string{"X-API-TOKEN": "simulated-token"}).want(200)
	check(t, "second page", next.at("result", "elements", 0, "transactionId"), second)
	if got := b.call("GET", path, "").want(200); got.at("result", "elements", 0, "data") != nil {
		t.Error("data without withData")
	}
	b.call("GET", path+"?withData=yes", "").refused(400, "")
}

func TestTransactionSwitches(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Assumed.MaxTransactions, s.Assumed.MaxBatch, s.Assumed.RefuseEmptyBatch, s.Assumed.UnknownDirectoryIsEmpty = 1, 1, true, true
	})
	id, _ := b.contact(`{"extRef":"P-1"}`)
	one := fmt.Sprintf(`{"contactId":%q,"mailingListId":"CG_simulated"}`, id)
	b.call("POST", directory+"/transactions", `{"a":`+one+`,"b":`+one+`}`).refused(400, "")
	a := b.call("POST", "/directories/POOL_other/transactions", `{"a":`+one+`}`).want(200)
	check(t, "created", a.at("result", "createdTransactions"), map[string]any{})
	first, second := b.transaction(id, nil), b.transaction(id, nil)
	for _, ids := range []string{`[]`, fmt.Sprintf(`[%q,%q]`, first, second)} {
		b.call("POST", directory+"/transactionbatches", `{"transactionIds":`+ids+`,"creationDate":"2026-01-15 09:31:00"}`).refused(400, "")
	}
	b.batch(first)
}

func TestBatchHoldsItsTransactions(t *testing.T) {
	b := start(t, nil)
	id, _ := b.contact(`{"extRef":"P-1"}`)
	first, second := b.transaction(id, nil), b.transaction(id, nil)
	batch := b.batch()
	path := directory + "/transactionbatches/" + batch
	b.call("POST", path+"/transactions", fmt.Sprintf(`{"transactionIds":[%q]}`, first)).want(200)
	b.call("POST", path+"/transactions", fmt.Sprintf(`{"transactionIds":[%q]}`, second)).want(200)
	b.call("POST", path+"/transactions", fmt.Sprintf(`{"transactionIds":[%q]}`, second)).refused(400, "")
	b.call("POST", path+"/transactions", `{"transactionIds":["CTR_0"]}`).refused(400, "")
	b.call("POST", path+"/transactions", `{"transactionIds":[1]}`).refused(400, "")

	a := b.call("GET", path+"/transactions", "").want(200)
	if got := a.elements(); len(got) != 2 || got[0]["transactionId"] != first || got[1]["transactionId"] != second {
		t.Errorf("got %s", a.raw)
	}
	check(t, "date", b.call("GET", path, "").want(200).at("result", "creationDate"), "2026-01-15 09:31:00")
	check(t, "batch", b.call("GET", directory+"/transactionbatches", "").want(200).at("result", "elements", 0, "batchId"), batch)

	b.call("DELETE", directory+"/transactions/"+first, "").want(200)
	check(t, "left", len(b.call("GET", path+"/transactions", "").want(200).elements()), 1)
	b.call("DELETE", path, "").want(200)
	b.call("GET", path, "").refused(404, "")
}

func TestBatchDatesAreUTCWithoutZone(t *testing.T) {
	b := start(t, nil)
	for date, want := range map[string]int{
		"2026-01-15 21:31:00": 200, "2026-01-15T21:31:00Z": 200,
		"2026-01-15 09:31:00 PM": 400, "2026-01-15T09:31:00+01:00": 400, "2026-01-15": 400,
	} {
		b.call("POST", directory+"/transactionbatches", `{"transactionIds":[],"creationDate":"`+date+`"}`).want(want)
	}
	b.call("POST", directory+"/transactionbatches", `{"transactionIds":[]}`).refused(400, "")
	b.call("POST", directory+"/transactionbatches", `{"transactionIds":null,"creationDate":"2026-01-15 09:31:00"}`).refused(400, "")
}

func TestTransactionsOfABatchAreListed100APage(t *testing.T) {
	b := start(t, nil)
	id, _ := b.contact(`{"extRef":"P-1"}`)
	items := map[string]any{}
	for i := range 230 {
		items[fmt.Sprintf("k%03d", i)] = map[string]any{
			"contactId": id, "mailingListId": "CG_simulated", "transactionDate": "2026-01-14 08:00:00", "data": map[string]any{"n": i},
		}
	}
	created := b.call("POST", directory+"/transactions", asJSON(t, items)).want(200)
	var made []string
	for i := range 230 {
		made = append(made, created.text("result", "createdTransactions", fmt.Sprintf("k%03d", i), "id"))
	}
	var ids []any
	var pages []int
	for path := directory + "/transactionbatches/" + b.batch(made...) + "/transactions"; path != ""; {
		a := b.call("GET", path, "").want(200)
		pages = append(pages, len(a.elements()))
		for _, element := range a.elements() {
			ids = append(ids, element["transactionId"])
			if element["contactId"] != id || element["transactionDate"] != "2026-01-14 08:00:00" {
				t.Errorf("got %v", element)
			}
		}
		path = strings.TrimPrefix(a.text("result", "nextPage"), b.server.URL+"/API/v3")
	}
	check(t, "pages", pages, []int{100, 100, 30})
	check(t, "ids", ids, made)
	b.call("GET", directory+"/transactionbatches/BT_0/transactions", "").refused(404, "")
}
