package qualtrics_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

func TestContactIsModifiedInPlaceWhereARuleMatches(t *testing.T) {
	b := start(t, nil)
	id, lookup := b.contact(`{"firstName":"Ada","email":"ada@example.org","extRef":"P-1","embeddedData":{"Country":"DE","Segment":"A"}}`)
	if !strings.HasPrefix(id, "CID_") || !strings.HasPrefix(lookup, "CGC_") {
		t.Errorf("got ids %s, %s", id, lookup)
	}
	again, lookupAgain := b.contact(`{"lastName":"Nord","extRef":" p-1 ","embeddedData":{"Country":"AT"}}`)
	if again != id || lookupAgain != lookup {
		t.Errorf("got a second contact %s %s", again, lookupAgain)
	}
	a := b.call("GET", directory+"/contacts/"+id, "").want(200)
	check(t, "first name", a.at("result", "firstName"), "Ada")
	check(t, "last name", a.at("result", "lastName"), "Nord")
	check(t, "data", a.at("result", "embeddedData"), map[string]string{"Country": "AT", "Segment": "A"})
	check(t, "lookup id", a.at("result", "mailingListMembership", "CG_simulated", "contactLookupId"), lookup)
	check(t, "milliseconds", a.at("result", "creationDate"), time.Date(2026, 1, 15, 9, 30, 0, 0, time.UTC).UnixMilli())
}

func TestWithoutRulesEveryCreateMakesAContact(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Dedupe = nil })
	first, _ := b.contact(`{"extRef":"P-1"}`)
	second, _ := b.contact(`{"extRef":"P-1"}`)
	if first == second || len(b.sim.Books().Contacts) != 2 {
		t.Error("one contact was made of two")
	}
}

func TestRecordLackingAFieldSkipsTheRule(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) {
		s.Dedupe = []qualtrics.IdentityRule{{"externalDataReference"}, {"email", "lastName"}}
	})
	first, _ := b.contact(`{"email":"ada@example.org","lastName":"Nord"}`)
	for body, same := range map[string]bool{
		`{"email":"ADA@example.org","lastName":"nord"}`:                true,
		`{"email":"ada@example.org"}`:                                  false,
		`{"extRef":"P-9","email":"ada@example.org","lastName":"N"}`:    false,
		`{"extRef":"P-8","email":"ada@example.org","lastName":"Nord"}`: true,
	} {
		if id, _ := b.contact(body); (id == first) != same {
			t.Errorf("%s: same contact %v, want %v", body, id == first, same)
		}
	}
}

func TestSharedMailboxCollapsesTwoPeopleAndOverwritesExtRef(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Dedupe = []qualtrics.IdentityRule{{"email"}} })
	first, _ := b.contact(`{"email":"family@example.org","extRef":"P-1"}`)
	second, _ := b.contact(`{"email":"Family@example.org ","extRef":"P-2"}`)
	if first != second {
		t.Fatal("two contacts, want one")
	}
	a := b.call("GET", directory+"/contacts/"+first, "").want(200)
	check(t, "extRef", a.at("result", "extRef"), "P-2")
}

func TestContactWritesAreReadStrictly(t *testing.T) {
	b := start(t, nil)
	for _, body := range []string{
		`{"firstname":"Ada"}`, `{"firstName":1}`, `{"firstName":null}`, `{"phoneNumber":"+1"}`, `{"unsubscribed":"false"}`,
		`{"embeddedData":{"a":1}}`, `{"embeddedData":{"a":null}}`, `{"embeddedData":{"a":{}}}`, `{"embeddedData":[]}`,
		`{"embeddedData":{"a":"` + strings.Repeat("x", 1025) + `"}}`,
		`{"embeddedData":{"` + strings.Repeat("x", 201) + `":"a"}}`,
	} {
		b.call("POST", list+"/contacts", body).refused(400, "")
	}
	if n := len(b.sim.Books().Contacts); n != 0 {
		t.Errorf("%d contacts were made by refused calls", n)
	}
	b.call("POST", directory+"/mailinglists/CG_other/contacts", `{}`).refused(404, "PACC_6")
	b.call("POST", "/directories/POOL_other/mailinglists/CG_simulated/contacts", `{}`).refused(404, "")
}

func TestDirectoryContactTakesScalarsAsTextsAndHasNoLookupID(t *testing.T) {
	b := start(t, nil)
	a := b.call("POST", directory+"/contacts", `{"extRef":"P-1","embeddedData":{"n":49.90,"b":true,"s":"x"}}`).want(200)
	if a.at("result", "contactLookupId") != nil {
		t.Errorf("got %s", a.raw)
	}
	got := b.call("GET", directory+"/contacts/"+a.text("result", "id"), "").want(200)
	check(t, "data", got.at("result", "embeddedData"), map[string]string{"n": "49.90", "b": "true", "s": "x"})
	b.call("POST", directory+"/contacts", `{"privateEmbeddedData":{"n":"1"}}`).refused(400, "")
}

func TestNewContactMayNotBeFoundForAWhile(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.CreateWindow = time.Second })
	id, _ := b.contact(`{"extRef":"P-1"}`)
	b.call("GET", directory+"/contacts/"+id, "").refused(404, "")
	b.pass(time.Second)
	b.call("GET", directory+"/contacts/"+id, "").want(200)
}

func TestLeavingTheListKeepsTheContactInTheDirectory(t *testing.T) {
	b := start(t, nil)
	id, lookup := b.contact(`{"extRef":"P-1"}`)
	a := b.call("DELETE", list+"/contacts/"+lookup, "").want(200)
	if a.at("result") != nil {
		t.Errorf("got %s", a.raw)
	}
	b.call("GET", list+"/contacts/"+lookup, "").refused(404, "")
	b.call("GET", directory+"/contacts/"+id, "").want(200)
	check(t, "members", len(b.call("GET", list+"/contacts", "").want(200).elements()), 0)
	b.call("DELETE", directory+"/contacts/"+id, "").want(200)
	b.call("GET", directory+"/contacts/"+id, "").refused(404, "")
	if again, _ := b.contact(`{"extRef":"P-1"}`); again == id {
		t.Error("a deleted contact came back")
	}
}

func TestOptOutHasTwoLevelsAndFalseTakesItBack(t *testing.T) {
	b := start(t, nil)
	id, lookup := b.contact(`{"extRef":"P-1","email":"ada@example.org"}`)
	state := func() string {
		a := b.call("GET", list+"/contacts/"+id, "").want(200)
		return fmt.Sprint(a.at("result", "directoryUnsubscribed"), " ", a.at("result", "mailingListUnsubscribed"))
	}
	steps := []struct{ method, path, body, want string }{
		{"PUT", list + "/contacts/" + lookup, `{"unsubscribed":true}`, "false true"},
		{"POST", list + "/contacts", `{"extRef":"P-1","firstName":"Ada"}`, "false true"},
		{"PUT", directory + "/contacts/" + id, `{"unsubscribed":true}`, "true true"},
		{"POST", list + "/contacts", `{"extRef":"P-1","unsubscribed":false}`, "true false"},
		{"PUT", directory + "/contacts/" + id, `{"unsubscribed":false}`, "false false"},
	}
	for i, step := range steps {
		b.call(step.method, step.path, step.body).want(200)
		if got := state(); got != step.want {
			t.Errorf("step %d: got %s, want %s", i, got, step.want)
		}
	}
	b.call("PUT", list+"/contacts/"+lookup, `{"unsubscribed":true}`).want(200)
	check(t, "opted out", len(b.call("GET", list+"/optedOutContacts?since=2026-01-15", "").elements()), 0)
	check(t, "opted out", len(b.call("GET", list+"/optedOutContacts?since=2026-01-15%2009:30:00", "").want(200).elements()), 1)
}

func TestListPagesHaveAtMost50(t *testing.T) {
	b := start(t, nil)
	for i := range 120 {
		b.contact(fmt.Sprintf(`{"extRef":"P-%d"}`, i))
	}
	b.call("GET", list+"/contacts?pageSize=51", "").refused(400, "")
	var sizes []int
	seen := map[any]bool{}
	for next := b.server.URL + "/API/v3" + list + "/contacts?useNewPaginationScheme=true"; next != ""; {
		a := b.callWith("GET", next, "", map[string]string{"X-API-TOKEN": "simulated-token"}).want(200)
		sizes = append(sizes, len(a.elements()))
		for _, element := range a.elements() {
			seen[element["contactLookupId"]] = true
		}
		next = a.text("result", "nextPage")
	}
	check(t, "pages", sizes, []int{50, 50, 20})
	check(t, "different contacts", len(seen), 120)
}

func TestSearchFindsByEveryFilter(t *testing.T) {
	b := start(t, nil)
	b.contact(`{"extRef":"P-1","email":"ada@example.org","firstName":"Ada","phone":"+1","embeddedData":{"Country":"DE"}}`)
	b.pass(24 * time.Hour)
	b.contact(`{"extRef":"P-2","email":"bob@example.org","firstName":"Bob"}`)
	b.call("POST", directory+"/contacts", `{"extRef":"P-3","email":"eve@example.org"}`).want(200)

	for filter, want := range map[string]string{
		`{"filterType":"extRef","comparison":"eq","value":" p-1 "}`:                                                                                                             "P-1",
		`{"filterType":"email","comparison":"neq","value":"ada@example.org"}`:                                                                                                   "P-2 P-3",
		`{"filterType":"phone","comparison":"eq","value":"+1"}`:                                                                                                                 "P-1",
		`{"filterType":"created","comparison":"lt","value":"2026-01-16"}`:                                                                                                       "P-1",
		`{"filterType":"created","comparison":"gte","value":"2026-01-16 09:30:00"}`:                                                                                             "P-2 P-3",
		`{"filterType":"inList","comparison":false,"mailingListId":"CG_simulated"}`:                                                                                             "P-3",
		`{"filterType":"infoFieldState","field":"firstName","comparison":"empty"}`:                                                                                              "P-3",
		`{"filterType":"infoFieldState","field":"email","comparison":"notEmpty"}`:                                                                                               "P-1 P-2 P-3",
		`{"conjunction":"and","filters":[{"filterType":"inList","comparison":true,"mailingListId":"CG_simulated"},{"filterType":"firstName","comparison":"eq","value":"bob"}]}`: "P-2",
	} {
		a := b.call("POST", directory+"/contacts/search", `{"filter":`+filter+`}`).want(200)
		var got []string
		for _, element := range a.elements() {
			got = append(got, fmt.Sprint(element["externalDataReference"]))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", filter, got, want)
		}
	}
	a := b.call("POST", directory+"/contacts/search?includeEmbedded=true",
		`{"filter":{"filterType":"extRef","comparison":"eq","value":"P-1"}}`).want(200)
	check(t, "phone", a.at("result", "elements", 0, "phoneNumber"), "+1")
	check(t, "data", a.at("result", "elements", 0, "embeddedData", "Country"), "DE")
	if a.at("result", "elements", 0, "extRef") != nil {
		t.Error("search spells it externalDataReference")
	}
}

func TestSearchRefusesWhatIsNotDocumented(t *testing.T) {
	b := start(t, nil)
	one := `{"filterType":"email","comparison":"eq","value":"x"}`
	for _, body := range []string{
		`{}`, one, `{"filter":{}}`, `{"filter":` + one + `,"conjunction":"and"}`,
		`{"filter":{"filterType":"email","comparison":"like","value":"x"}}`,
		`{"filter":{"filterType":"email","comparison":"eq"}}`,
		`{"filter":{"filterType":"mail","comparison":"eq","value":"x"}}`,
		`{"filter":{"filterType":"email","comparison":"eq","value":"x","field":"y"}}`,
		`{"filter":{"filterType":"created","comparison":"eq","value":"15.01.2026"}}`,
		`{"filter":{"filterType":"inList","comparison":"true","mailingListId":"CG_simulated"}}`,
		`{"filter":{"filterType":"infoFieldState","field":"phone","comparison":"empty"}}`,
		`{"filter":{"conjunction":"or","filters":[` + one + `,` + one + `]}}`,
		`{"filter":{"conjunction":"and","filters":[` + one + `]}}`,
		`{"filter":{"conjunction":"and","filters":[` + strings.Repeat(one+",", 5) + one + `]}}`,
		`{"filter":{"filters":[` + one + `,` + one + `]}}`,
	} {
		b.call("POST", directory+"/contacts/search", body).refused(400, "")
	}
}

func TestFullLastSearchPageIsFollowedByAnEmptyOne(t *testing.T) {
	b := start(t, nil)
	for i := range 4 {
		b.contact(fmt.Sprintf(`{"extRef":"P-%d"}`, i))
	}
	body := `{"filter":{"filterType":"extRef","comparison":"neq","value":"x"}}`
	var sizes []int
	token := ""
	for range 4 {
		a := b.call("POST", directory+"/contacts/search?pageSize=2&skipToken="+token, body).want(200)
		sizes = append(sizes, len(a.elements()))
		if token = a.text("result", "skipToken"); token == "" {
			break
		}
	}
	check(t, "pages", sizes, []int{2, 2, 0})
	b.call("POST", directory+"/contacts/search?skipToken=x", body).refused(400, "")
}

func TestSearchFollowsEveryChange(t *testing.T) {
	b := start(t, nil)
	first, _ := b.contact(`{"extRef":"P-1","email":"Shared@example.org"}`)
	b.pass(time.Second)
	second, _ := b.contact(`{"extRef":"P-2","email":"shared@example.org "}`)
	found := func(kind, value string) (ids []any) {
		t.Helper()
		a := b.call("POST", directory+"/contacts/search",
			`{"filter":{"conjunction":"and","filters":[{"filterType":"language","comparison":"neq","value":"FR"},`+
				`{"filterType":"`+kind+`","comparison":"eq","value":"`+value+`"}]}}`).want(200)
		for _, element := range a.elements() {
			ids = append(ids, element["id"])
		}
		return ids
	}
	check(t, "both, the older first", found("email", " SHARED@example.org"), []string{first, second})
	b.call("PUT", list+"/contacts/"+first, `{"email":"own@example.org"}`).want(200)
	for range 2 {
		check(t, "the other", found("email", "shared@example.org"), []string{second})
		check(t, "the changed", found("email", "own@example.org"), []string{first})
		check(t, "by reference", found("extRef", "p-1"), []string{first})
		b.restart()
	}
	b.call("PUT", list+"/contacts/"+first, `{"language":"FR"}`).want(200)
	check(t, "the whole filter counts", found("extRef", "P-1"), nil)
	b.call("DELETE", directory+"/contacts/"+second, "").want(200)
	check(t, "deleted", found("extRef", "P-2"), nil)
}
