package console_test

import (
	"encoding/csv"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/services/console/console"
)

// A person asks for an erasure, follows it to its receipt, and is told what is left to do; a reader sees that it was asked for.
func TestAPersonIsForgottenFromAPage(t *testing.T) {
	f := with(t, people)
	f.invites(1)
	b, reader := f.browser(), f.browser()
	b.signsIn("oona", "operates", http.StatusSeeOther)
	reader.signsIn("rita", "reads", http.StatusSeeOther)
	page := b.opens("/erasures", 200)
	_, rest, _ := strings.Cut(page, `name="key" value="`)
	key, _, found := strings.Cut(rest, `"`)
	if !found || !strings.Contains(page, "There are none.") || strings.Contains(reader.opens("/erasures", 200), `name="email"`) {
		t.Fatal(page)
	}

	form := url.Values{"key": {key}, "why": {"asked by letter, file 17"}, "email": {"ada1@example.com"}, "sure": {"true"}}
	without := func(name, value string) string {
		other := maps.Clone(form)
		other.Del(name)
		if value != "" {
			other.Set(name, value)
		}
		return other.Encode()
	}
	for field, refused := range map[string]string{
		"sure": without("sure", ""), "why": without("why", ""), "email": without("email", "ada at home"),
	} {
		status, _, page := b.do(http.MethodPost, "/erasures", refused)
		if status != http.StatusBadRequest || !strings.Contains(page, `id="erase-`+field+`" aria-invalid="true"`) || !strings.Contains(page, `href="#erase-`+field+`"`) ||
			field != "email" && !strings.Contains(page, `value="ada1@example.com"`) {
			t.Errorf("%s: %d %s", field, status, page)
		}
	}
	if _, _, page := b.do(http.MethodPost, "/erasures", without("why", "ada1@example.com asked")); !strings.Contains(page, "must not name the person") {
		t.Error(page)
	}
	reader.posts("/erasures", form.Encode(), http.StatusForbidden)

	address := b.posts("/erasures", form.Encode(), http.StatusSeeOther)
	if again := b.posts("/erasures", form.Encode(), http.StatusSeeOther); again != address {
		t.Errorf("the form that is sent twice asks twice: %s and %s", address, again)
	}
	f.hears(address+"/live", b.cookies["closeloop-session"])(`id="streams"`)
	var receipt console.Erasure
	bustest.Eventually(t, "the receipt is there", func() bool {
		f.Get(address, "X-API-Key", "key").Want(200).JSON(&receipt)
		return receipt.State == "done" || len(receipt.Vendors) > 0 && receipt.Vendors[0].Outcome == ""
	})
	for _, who := range []*browser{b, reader} {
		one, list := who.opens(address, 200), who.opens("/erasures", 200)
		for _, part := range []string{"oona", "asked by letter, file 17", "<code>EVENTS</code>", "At the vendors", "SAP", "Effect ledger", `data-live="` + address + `/live"`} {
			if !strings.Contains(one, part) {
				t.Errorf("no %q in\n%s", part, one)
			}
		}
		if !strings.Contains(list, `href="`+address+`"`) || !strings.Contains(list, "asked by letter, file 17") {
			t.Error(list)
		}
		if strings.Contains(one+list, "ada1@") {
			t.Error("a page says who was forgotten")
		}
	}
	if deleted := receipt.Deleted["EVENTS"]; deleted == 0 {
		t.Errorf("nothing was deleted: %+v", receipt)
	}
	rows, err := csv.NewReader(strings.NewReader(f.Get("/erasures?format=csv", "X-API-Key", "key").Want(200).Body)).ReadAll()
	if err != nil || len(rows) != 2 || rows[1][0] != receipt.ID || rows[1][4] != "oona" || rows[1][8] == "0" {
		t.Errorf("%v %q", err, rows)
	}
	if !strings.Contains(b.opens("/operations", 200), `href="/erasures"`) {
		t.Error("no page leads to the erasures")
	}
	reader.opens("/erasures/none", http.StatusNotFound)
}

func TestErasuresArePagedForPeopleAndWholeForPrograms(t *testing.T) {
	f := with(t, people)
	for _, who := range []string{"ada@example.com", "bob@example.com", "eve@example.com"} {
		f.Post("/erasures", `{"why":"asked","by":"eve","email":"`+who+`"}`, "X-API-Key", "key").Want(202)
	}
	var got struct {
		Erasures []console.Erasure
		Next     uint64
	}
	f.Get("/erasures", "X-API-Key", "key").Want(200).JSON(&got)
	if len(got.Erasures) != 3 || got.Next != 0 {
		t.Fatalf("%+v", got)
	}
	f.Get("/erasures?limit=2", "X-API-Key", "key").Want(200).JSON(&got)
	if len(got.Erasures) != 2 || got.Next == 0 {
		t.Fatalf("%+v", got)
	}
	if page := f.Get("/erasures?limit=2", "X-API-Key", "key", "Accept", "text/html").Want(200).Body; strings.Count(page, `aria-label="Erasure `) != 2 || !strings.Contains(page, `rel="next"`) {
		t.Error(page)
	}
}
