package standalone_test

import (
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/qualtrics-linker/linker"
)

var (
	// oneByOne makes each link with calls of its own, waves none but one that is alone.
	oneByOne = servicetest.Env{"QUALTRICS_BULK": "false"}
	waves    = servicetest.Env{"QUALTRICS_BULK_FROM": "2"}
)

// links is qualtrics-linker before the simulated Qualtrics.
type links struct {
	*servicetest.Service
	t         *testing.T
	broker    *bustest.Broker
	landscape *landscape.Landscape
	url       string
}

// meetQualtrics starts both; switches are those of LANDSCAPE_QUALTRICS, dedupe the directory's rules.
func meetQualtrics(t *testing.T, switches, dedupe string, env servicetest.Env) *links {
	t.Helper()
	t.Parallel()
	var vendor atomic.Pointer[httpdoor.Door]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { vendor.Load().ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	s := &landscape.Settings{}
	if err := servicetest.Load(servicetest.Env{
		"LANDSCAPE_PUBLIC_URL": server.URL, "LANDSCAPE_PEOPLE": "off", "LANDSCAPE_QUALTRICS": "{" + switches + "}", "LANDSCAPE_QUALTRICS_DEDUPE": dedupe,
	}, s); err != nil {
		t.Fatal(err)
	}
	l, err := landscape.New(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	door := httpdoor.New(httpdoor.Options{})
	l.Mount(door)
	vendor.Store(door)
	all := servicetest.Env{
		"QUALTRICS_BASE_URL": server.URL + "/API/v3", "QUALTRICS_API_TOKEN": "simulated-token", "QUALTRICS_DIRECTORY_ID": "POOL_simulated",
		"QUALTRICS_MAILING_LIST_ID": "CG_simulated", "QUALTRICS_SURVEY_ID": "SV_service", "QUALTRICS_GATHER_QUIET": "500ms",
	}
	maps.Copy(all, env)
	broker := bustest.Start(t, topology.Settings{})
	return &links{t: t, broker: broker, landscape: l, url: server.URL, Service: servicetest.Start(t, broker, linker.Define, all)}
}

// person is what distinguishes the contacts of a test.
type person struct{ reference, mailbox, more string }

// strangers have nothing in common.
func strangers(n int) (all []person) {
	for i := range n {
		all = append(all, person{reference: fmt.Sprint("P-", i), mailbox: fmt.Sprintf("p%d@example.com", i)})
	}
	return all
}

// ask publishes a request for each, A<from> and on.
func (f *links) ask(from int, people ...person) {
	for i, p := range people {
		f.broker.Publish(subjects.SurveyLinkRequested,
			fmt.Sprintf(`{"requestId":"A%d","contact":{"externalId":%q,"email":%q%s}}`, from+i, p.reference, p.mailbox, p.more))
	}
}

// own waits for n links, and expects that in Qualtrics each request has one link and no other, and was told that one.
func (f *links) own(n int) {
	f.t.Helper()
	eventually(f.t, fmt.Sprint(n, " links"), time.Minute, func() bool { return len(f.broker.Messages(topology.Events, subjects.SurveyLinkCreated)) >= n })
	f.Settled()
	books := f.landscape.Books().Qualtrics
	of, owner, made := map[string]string{}, map[string]string{}, map[string]int{}
	for _, transaction := range books.Transactions {
		of[transaction.ID] = transaction.Data["requestId"]
	}
	for _, link := range books.Links {
		owner[link.URL] = of[link.TransactionID]
		made[of[link.TransactionID]]++
	}
	for request, links := range made {
		if links != 1 {
			f.t.Errorf("%s has %d valid links", request, links)
		}
	}
	told := servicetest.Events(f.t, f.broker, subjects.SurveyLinkCreated)
	if len(told) != n {
		f.t.Errorf("%d links were told, want %d", len(told), n)
	}
	for _, e := range told {
		if m := e.Data.(*eventsv1.SurveyLinkCreated); owner[m.GetLink()] != m.GetRequestId() {
			f.t.Errorf("%s got the link of %q", m.GetRequestId(), owner[m.GetLink()])
		}
	}
}

// misbehave makes calls of the simulated Qualtrics go wrong; fault is JSON without braces.
func (f *links) misbehave(fault string) {
	f.t.Helper()
	response, err := http.Post(f.url+"/landscape/faults", "application/json", strings.NewReader(`{"vendor":"qualtrics",`+fault+`}`))
	if err != nil {
		f.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode/100 != 2 {
		f.t.Fatalf("the fault %s is refused: %s", fault, response.Status)
	}
}

// Traps of qualtrics.md §8, each against the simulator.

func TestLinksOfABrandThatBehavesDifferently(t *testing.T) { // traps 1, 4, 5, 6, 7, 10, 21
	for name, c := range map[string]struct {
		switches, dedupe string
		people           []person
		env              servicetest.Env
	}{
		"as documented":                       {"", "externalDataReference", strangers(250), nil},
		"one by one":                          {"", "externalDataReference", strangers(8), oneByOne},
		"lookup ids and no transaction ids":   {"linkContactId: CGC, omitTransactionId: true", "externalDataReference", strangers(12), nil},
		"one by one, old ids":                 {"linkContactId: MLRP, omitTransactionId: true", "externalDataReference", strangers(4), oneByOne},
		"no links at first":                   {"linkDelayReads: 2", "off", strangers(12), nil},
		"one by one, no links at first":       {"linkDelayReads: 1", "off", strangers(4), oneByOne},
		"short pages, no end told":            {"linkPages: [3, 1], omitNextPage: true", "off", strangers(12), nil},
		"an empty page at the end":            {"linkPages: [6], emptyLastPage: true", "off", strangers(12), nil},
		"rows that are missing at first":      {"missingLinks: 3, missingReads: 1", "off", strangers(12), nil},
		"flags and indexes as texts":          {"unprocessedAsText: true, unsubscribedAsText: true", "off", strangers(6), nil},
		"contacts not found at once":          {"createWindow: 1s", "externalDataReference", strangers(3), oneByOne},
		"imports that take their time":        {"importDuration: 4s", "off", strangers(12), nil},
		"a shared mailbox, dedupe by e-mail":  {"", "email", family, waves},
		"a shared mailbox, by reference":      {"", "externalDataReference", family, waves},
		"a shared mailbox, no dedupe":         {"", "off", family, waves},
		"a shared mailbox, one by one":        {"", "email", family, oneByOne},
		"one name, dedupe by name":            {"", "lastName", named(6), waves},
		"attributes named as a field of ours": {"", "off", append(strangers(4), person{"P-9", "p9@example.com", `,"attributes":{"loopId":"mine"}`}), nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := meetQualtrics(t, c.switches, c.dedupe, c.env)
			f.ask(0, c.people...)
			f.own(len(c.people))
		})
	}
}

// family are three who share a mailbox, and one with three transactions.
var family = []person{
	{"P-1", "home@example.com", ""}, {"P-2", "Home@example.com", ""}, {" P-3 ", "hOme@example.com", ""},
	{"P-4", "four@example.com", ""}, {"P-4", "four@example.com", ""}, {"p-4", "FOUR@example.com", ""},
}

// named are strangers of the same name.
func named(n int) []person {
	all := strangers(n)
	for i := range all {
		all[i].more = `,"lastName":"Smith"`
	}
	return all
}

func TestNobodyIsTwiceInAWaveOfQualtrics(t *testing.T) { // traps 6, 7
	f := meetQualtrics(t, "", "email", waves)
	f.ask(0, family...)
	f.own(len(family))
	books := f.landscape.Books().Qualtrics
	contact := map[string]string{}
	for _, transaction := range books.Transactions {
		contact[transaction.ID] = transaction.ContactID
	}
	if len(books.Imports) != 3 || len(books.Batches) != 3 {
		t.Errorf("%d imports in %d batches, want 3", len(books.Imports), len(books.Batches))
	}
	for _, batch := range books.Batches {
		seen := map[string]bool{}
		for _, transaction := range batch.TransactionIDs {
			if seen[contact[transaction]] {
				t.Errorf("%s is twice in a batch", contact[transaction])
			}
			seen[contact[transaction]] = true
		}
	}
}

func TestEachLinkOfQualtricsIsReadOnce(t *testing.T) { // trap 4: each reading counts as an invitation
	for name, c := range map[string]struct {
		env    servicetest.Env
		people int
	}{"in a wave": {nil, 120}, "one by one": {oneByOne, 4}} {
		t.Run(name, func(t *testing.T) {
			f := meetQualtrics(t, "frequencyLimit: 9", "off", c.env) // without a rule Qualtrics does not count
			f.ask(0, strangers(c.people)...)
			f.own(c.people)
			for _, contact := range f.landscape.Books().Qualtrics.Contacts {
				if len(contact.Invitations) != 1 {
					t.Errorf("%s counts as invited %d times", contact.ExtRef, len(contact.Invitations))
				}
			}
		})
	}
}

func TestA504OfQualtricsThatHidesAWriteMakesNothingTwice(t *testing.T) { // traps 2, 3
	const people = 5
	for name, c := range map[string]struct {
		path string
		env  servicetest.Env
	}{
		"contact":              {`"method":"POST","path":"/contacts$"`, oneByOne},
		"transaction":          {`"method":"POST","path":"/transactions$"`, oneByOne},
		"batch":                {`"method":"POST","path":"/transactionbatches$"`, oneByOne},
		"distribution":         {`"method":"POST","path":"/distributions$"`, oneByOne},
		"links":                {`"method":"GET","path":"/links$"`, oneByOne},
		"batch of a wave":      {`"method":"POST","path":"/transactionbatches$"`, nil},
		"import":               {`"method":"POST","path":"/transactioncontacts$"`, nil},
		"status of the import": {`"method":"GET","path":"/transactioncontacts/"`, nil},
		"distribution of many": {`"method":"POST","path":"/distributions$"`, nil},
		"links of a wave":      {`"method":"GET","path":"/links$"`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := meetQualtrics(t, "", "off", c.env)
			f.misbehave(c.path + `,"kind":"late-status","status":504,"times":1`)
			f.ask(0, strangers(people)...)
			f.own(people)
			if books := f.landscape.Books().Qualtrics; len(books.Contacts) != people || len(books.Transactions) != people || len(books.Links) != people {
				t.Errorf("%d contacts, %d transactions, %d links of %d people", len(books.Contacts), len(books.Transactions), len(books.Links), people)
			}
		})
	}
}

func TestWhoeverOptedOutOfQualtricsStaysOut(t *testing.T) { // traps 8, 19
	for name, c := range map[string]struct {
		env servicetest.Env
		n   int
	}{"in a wave": {nil, 4}, "one by one": {oneByOne, 1}} {
		t.Run(name, func(t *testing.T) {
			f := meetQualtrics(t, "", "externalDataReference", c.env)
			f.ask(0, strangers(c.n)...)
			f.own(c.n)
			first := f.landscape.Books().Qualtrics.Contacts[0]
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.url+"/API/v3/directories/POOL_simulated/mailinglists/CG_simulated/contacts/"+first.ID,
				strings.NewReader(`{"unsubscribed":true}`))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", "application/json")
			request.Header.Set("X-API-TOKEN", "simulated-token")
			response, err := http.DefaultClient.Do(request)
			if err != nil || response.StatusCode != http.StatusOK {
				t.Fatal(response, err)
			}
			response.Body.Close()
			again := strangers(c.n)
			for i := range again {
				again[i].more = `,"firstName":"New"` // so that the contact is written anew
			}
			f.ask(c.n, again...)
			m := f.Published(subjects.SurveyLinkSuppressed, 1)[0].Data.(*eventsv1.SurveyLinkSuppressed)
			f.own(2*c.n - 1)
			if m.GetReason() != "UNSUBSCRIBED" || m.GetContact().GetExternalId() != first.ExtRef {
				t.Errorf("suppressed %v", m)
			}
			if now := f.landscape.Books().Qualtrics.Contacts[0]; now.FirstName != "New" || now.Memberships["CG_simulated"].UnsubscribedAt.IsZero() {
				t.Errorf("written anew as %q, in the lists %v", now.FirstName, now.Memberships)
			}
		})
	}
}

func TestWhoeverQualtricsHasAskedTooOftenIsLeftAlone(t *testing.T) { // trap 19
	for _, switches := range []string{"frequencyLimit: 1", "frequencyLimit: 1, frequencyNullLink: true"} {
		t.Run(switches, func(t *testing.T) {
			f := meetQualtrics(t, switches, "externalDataReference", nil)
			f.ask(0, strangers(3)...)
			f.own(3)
			f.ask(3, strangers(4)...) // three of them once more
			for _, e := range f.Published(subjects.SurveyLinkSuppressed, 3) {
				if m := e.Data.(*eventsv1.SurveyLinkSuppressed); m.GetReason() != "CONTACT_FREQUENCY" {
					t.Errorf("suppressed %v", m)
				}
			}
			f.own(4)
		})
	}
}

func TestImportOfQualtricsThatEndsWithZeroCountsIsNoSuccess(t *testing.T) { // traps 1, 24
	f := meetQualtrics(t, "", "off", nil)
	for i := range 5 {
		f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(
			`{"requestId":"A%d","contact":{"email":"p%[1]d@example.com"},"survey":{"mailingListId":"CG_unknown"}}`, i))
	}
	for _, letter := range f.Dead(5) {
		if letter.Class != "refused" || !strings.Contains(letter.Reason, "Mailing List not found") {
			t.Errorf("dead letter %+v", letter)
		}
	}
	f.own(0)
}

func TestRefusedTokenOfQualtricsStopsEverythingAndLosesNothing(t *testing.T) { // trap 17
	f := meetQualtrics(t, "", "off", nil)
	if err := f.landscape.SwitchQualtrics("{tokenRevoked: true}"); err != nil {
		t.Fatal(err)
	}
	f.ask(0, strangers(4)...)
	bustest.Eventually(t, "a pause", func() bool {
		consumer, err := f.broker.JS.Consumer(t.Context(), topology.Events, topology.QualtricsLinker)
		return err == nil && consumer.CachedInfo().Paused
	})
	if err := f.landscape.SwitchQualtrics("{tokenRevoked: false}"); err != nil {
		t.Fatal(err)
	}
	f.own(4)
	if dead := f.broker.Messages(topology.DeadLetters, ">"); len(dead) > 0 {
		t.Errorf("%d dead letters for a configuration's fault", len(dead))
	}
}

func TestQuotaOfQualtricsIsWaitedFor(t *testing.T) { // trap 18
	t.Run("with Retry-After", func(t *testing.T) {
		f := meetQualtrics(t, "limits: {enforced: true, kind: fixed, window: 2s, calls: {transactions: 5}}", "off", oneByOne)
		f.ask(0, strangers(12)...)
		f.own(12)
		refused, early := 0, 0
		for _, limit := range f.landscape.Books().Qualtrics.Limits {
			refused, early = refused+limit.Refused, early+limit.Early
		}
		if refused == 0 || early > 0 {
			t.Errorf("%d calls refused, %d of them before Retry-After was over", refused, early)
		}
		if dead := f.broker.Messages(topology.DeadLetters, ">"); len(dead) > 0 {
			t.Errorf("%d dead letters for the vendor's quota", len(dead))
		}
	})
	t.Run("without", func(t *testing.T) {
		f := meetQualtrics(t, "limits: {enforced: true, kind: fixed, calls: {transactions: 2}, noRetryAfter: true}", "off", oneByOne)
		f.ask(0, strangers(6)...)
		bustest.Eventually(t, "a pause", func() bool {
			consumer, err := f.broker.JS.Consumer(t.Context(), topology.Events, topology.QualtricsLinker)
			return err == nil && consumer.CachedInfo().Paused
		})
		if dead := f.broker.Messages(topology.DeadLetters, ">"); len(dead) > 0 {
			t.Errorf("%d dead letters for the vendor's quota", len(dead))
		}
	})
}
