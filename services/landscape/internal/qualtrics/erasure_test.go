package qualtrics_test

import (
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/landscape/internal/qualtrics"
)

const erasures = "/op-erase-personal-data"

func (b *brand) erasure(body string) string {
	b.t.Helper()
	id, _ := b.call("POST", erasures, body).want(200).at("result", "requestId").(string)
	if !strings.HasPrefix(id, "OP-") {
		b.t.Fatalf("the request has the id %q", id)
	}
	return id
}

func TestErasureTakesContactsAnswersAndLinksOfTheAddress(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.ErasureDuration = time.Minute })
	for _, email := range []string{"ada@example.org", "ben@example.org"} {
		id, _ := b.contact(`{"email":"` + email + `","extRef":"` + email + `"}`)
		b.distribute("SV_cart", b.batch(b.transaction(id, map[string]any{"n": email})), nil)
	}
	for _, link := range b.sim.Books().Links {
		b.submit(link.URL, "QID1", "1", "QID2", "1", "QID3", "2026-02-01", "QID4", "x")
	}
	before := b.sim.Books()
	if len(before.Contacts) != 2 || len(before.Links) != 2 || len(before.Responses) != 2 || len(before.Transactions) != 2 {
		t.Fatalf("%d contacts, %d links, %d responses", len(before.Contacts), len(before.Links), len(before.Responses))
	}
	search := b.erasure(`{"emails":["ADA@example.org"],"searchOnly":true}`)
	a := b.call("GET", erasures+"/"+search, "").want(200)
	check(t, "status at once", a.at("result", "status"), "InProgress")
	check(t, "data at once", a.at("result", "data"), nil)
	b.pass(time.Minute)
	a = b.call("GET", erasures+"/"+search, "").want(200)
	check(t, "status in the end", a.at("result", "status"), "Completed")
	if found, _ := a.at("result", "data").([]any); len(found) != 1 {
		t.Errorf("of contact and answer it lists %v, want the first record alone", found)
	}
	if len(b.sim.Books().Contacts) != 2 {
		t.Fatal("a search erased")
	}
	b.erasure(`{"emails":["ADA@example.org"]}`)
	if len(b.sim.Books().Contacts) != 2 {
		t.Error("erased before its time")
	}
	b.pass(time.Minute)
	after := b.sim.Books()
	if len(after.Contacts) != 1 || after.Contacts[0].Email != "ben@example.org" || len(after.Links) != 1 || len(after.Responses) != 1 || len(after.Transactions) != 1 {
		t.Errorf("left are %d contacts, %d links, %d responses, %d transactions", len(after.Contacts), len(after.Links), len(after.Responses), len(after.Transactions))
	}
	for _, e := range after.Erasures {
		if len(e.Emails) > 0 {
			t.Error("the books still say whom it was about")
		}
	}
	if link := after.Links[0]; link.ContactID != after.Contacts[0].ID {
		t.Error("the link that is left is not Ben's")
	}
	b.restart()
	if len(b.sim.Books().Contacts) != 1 {
		t.Error("a restart brings back who was erased")
	}
}

func TestErasureMayLeaveTheRowsOfLinks(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.ErasureKeepsLinks = true })
	id, _ := b.contact(`{"email":"ada@example.org"}`)
	b.distribute("SV_cart", b.batch(b.transaction(id, nil)), nil)
	b.erasure(`{"emails":["ada@example.org"]}`)
	if books := b.sim.Books(); len(books.Contacts) != 0 || len(books.Links) != 1 {
		t.Errorf("%d contacts and %d links", len(books.Contacts), len(books.Links))
	}
}

func TestErasureIsAskedForStrictlyAndByABrandAdministrator(t *testing.T) {
	b := start(t, nil)
	for _, body := range []string{`{}`, `{"emails":[]}`, `{"emails":["nobody"]}`, `{"emails":["a@b.c"],"surveyId":"SV_1"}`, `{"emails":["a@b.c"],"searchOnly":"no"}`, `{"emails":"a@b.c"}`} {
		b.call("POST", erasures, body).want(400)
	}
	b.call("GET", erasures+"/OP-none", "").want(404)
	id := b.erasure(`{"emails":["a@b.c"]}`)
	if err := b.sim.Change([]byte(`{"noBrandAdmin":true}`)); err != nil {
		t.Fatal(err)
	}
	b.call("POST", erasures, `{"emails":["a@b.c"]}`).want(403)
	b.call("GET", erasures+"/"+id, "").want(403)
}

func TestErasuresAreTwentyAMinute(t *testing.T) {
	b := start(t, func(s *qualtrics.Settings) { s.Assumed.Limits.Enforced = true })
	for range 20 {
		b.erasure(`{"emails":["a@b.c"]}`)
	}
	b.call("POST", erasures, `{"emails":["a@b.c"]}`).want(429)
	b.pass(time.Minute)
	b.erasure(`{"emails":["a@b.c"]}`)
}
