package linker_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// ask publishes n requests of different people.
func (f fixture) ask(n int) {
	for i := range n {
		f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(brief, fmt.Sprint("A", i), fmt.Sprint("P-", i), fmt.Sprint("p", i)))
	}
}

// own waits for n links and checks that each is of the transaction of the request that it was made for, and that no
// request has two.
func (f fixture) own(t *testing.T, n int) {
	t.Helper()
	bustest.Eventually(t, fmt.Sprint(n, " links"), func() bool { return len(servicetest.Events(t, f.broker, subjects.SurveyLinkCreated)) >= n })
	f.Settled()
	seen := map[string]bool{}
	for _, e := range servicetest.Events(t, f.broker, subjects.SurveyLinkCreated) {
		m := e.Data.(*eventsv1.SurveyLinkCreated)
		if of := f.brand.requestOf(m.GetLink()); of != m.GetRequestId() {
			t.Errorf("%s got the link of %s", m.GetRequestId(), of)
		}
		if seen[m.GetRequestId()] {
			t.Errorf("%s has two links", m.GetRequestId())
		}
		seen[m.GetRequestId()] = true
	}
	if len(seen) != n {
		t.Errorf("%d requests have a link, want %d", len(seen), n)
	}
}

func TestManyRequestsTakeFewCalls(t *testing.T) {
	f := start(t, nil)
	f.ask(250)
	f.own(t, 250)
	calls := f.brand.calls()
	for pattern, most := range map[string]int{createBatch: 1, startImport: 1, importStatus: 1, createDistribution: 1, readLinks: 3} {
		if calls[pattern] != most {
			t.Errorf("%s was called %d times, want %d", pattern, calls[pattern], most)
		}
		delete(calls, pattern)
	}
	if len(calls) > 0 {
		t.Errorf("also called: %v", calls)
	}
}

func TestWhatAWaveSavesIsTold(t *testing.T) {
	f := start(t, nil)
	f.ask(250)
	f.own(t, 250)
	calls, instead := map[string]int{}, map[string]int{}
	for _, a := range f.Told(250) {
		for _, c := range a.Calls {
			if !c.Repeated && c.EventID == "" {
				calls[c.Operation]++
				instead[c.Operation] += max(c.InsteadOf, 1)
			}
		}
	}
	for operation, want := range map[string]struct{ calls, instead int }{
		"create batch": {1, 1}, "create import": {1, 3 * 250}, "create distribution": {1, 250}, "list links": {3, 250},
	} {
		if calls[operation] != want.calls || instead[operation] != want.instead {
			t.Errorf("%s: %d calls instead of %d, want %d instead of %d", operation, calls[operation], instead[operation], want.calls, want.instead)
		}
	}
}

func TestACallForOneRequestOfManyIsToldWithIt(t *testing.T) {
	f := start(t, nil)
	f.brand.noImports = true
	f.ask(12)
	f.own(t, 12)
	links := map[string]int{}
	for _, a := range f.Told(12) {
		for _, c := range a.Calls {
			if c.Operation == "create contact" && c.Outcome == "ok" {
				links[c.EventID]++
			}
		}
	}
	if len(links) != 12 || links[""] != 0 {
		t.Errorf("contacts made, by event: %v", links)
	}
}

// The traps 6 and 7 of qualtrics.md §8, all at once: mailboxes that several people share, people with several
// transactions, spelt differently each time, in a directory that takes them for one and overwrites the reference.
func TestNobodyGetsAnothersLink(t *testing.T) {
	const each = 1000 // of five rules
	for name, dedupe := range map[string][]string{
		"dedupe by e-mail": {"email"}, "by reference": {"extRef"}, "by both": {"email", "extRef"}, "by name": {"firstName", "lastName"}, "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, servicetest.Env{"QUALTRICS_GATHER_QUIET": "1s"}, dedupesBy(dedupe...))
			f.knowsTheRule(t)
			const request = `{"requestId":"A%d","contact":{"externalId":"%s","email":"%s","firstName":"F","lastName":"L%d"}}`
			for i := range each {
				person := i
				if i%5 == 4 {
					person-- // asked about a second transaction
				}
				reference, mailbox := fmt.Sprint("P-", person), fmt.Sprintf("box%d@example.com", person/3) // three share each mailbox
				if i%2 == 0 {
					reference, mailbox = strings.ToLower(reference), strings.ToUpper(mailbox[:1])+mailbox[1:]
				}
				f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(request, i, reference, mailbox, person/2)) // and two each name
			}
			f.own(t, each)
		})
	}
}

func TestMergedContactsAreToldApartByTheReport(t *testing.T) {
	f := start(t, nil, dedupesBy("lastName")) // everybody is one
	f.knowsTheRule(t)
	for i := range 5 {
		f.broker.Publish(subjects.SurveyLinkRequested,
			fmt.Sprintf(`{"requestId":"A%d","contact":{"externalId":"P-%d","email":"p%d@example.com","lastName":"Smith"}}`, i, i, i))
	}
	f.own(t, 5)
	if f.brand.calls()[importReport] != 1 {
		t.Error("the report was not read")
	}
}

func TestMergedContactsThatCannotBeToldApartWaitForAPerson(t *testing.T) {
	f := start(t, nil, dedupesBy("lastName"))
	f.knowsTheRule(t)
	f.brand.noTransactions = true
	for i := range 3 {
		f.broker.Publish(subjects.SurveyLinkRequested,
			fmt.Sprintf(`{"requestId":"A%d","contact":{"externalId":"P-%d","email":"p%d@example.com","lastName":"Smith"}}`, i, i, i))
	}
	for _, letter := range f.Dead(3) {
		if letter.Class != "person" || !strings.Contains(letter.Reason, "CTR_") {
			t.Errorf("dead letter %+v", letter)
		}
	}
}

func TestRowThatIsNotProcessedIsMadeByItselfAndHasQualtricsWords(t *testing.T) {
	f := start(t, nil)
	f.ask(5)
	f.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"B1","contact":{"email":"b@example.com"},"transaction":{"data":{"refuse":"this row"}}}`)
	letter := f.Dead(1)[0]
	if letter.Class != "refused" || !strings.Contains(letter.Reason, "the row is not wanted") {
		t.Errorf("dead letter %+v", letter)
	}
	f.own(t, 5)
}

// An attribute of a contact that has the name of a transaction's field makes the row unprocessed (trap 10).
func TestAttributesAndFieldsOfOneNameGoApart(t *testing.T) {
	f := start(t, nil)
	f.ask(3)
	f.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"B1","contact":{"email":"b1@example.com","attributes":{"country":"GB"}}}`)
	f.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"B2","contact":{"email":"b2@example.com"},"transaction":{"data":{"country":"GB"}}}`)
	f.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"B3","contact":{"email":"b3@example.com","attributes":{"country":"GB"}},"transaction":{"data":{"country":"GB"}}}`)
	f.own(t, 6)
	if f.brand.calls()[createContact] != 2 {
		t.Errorf("called %v: two of the six cannot go with the others", f.brand.calls())
	}
}

func TestImportThatMakesNothingIsToldInQualtricsWords(t *testing.T) {
	f := start(t, nil)
	for i := range 40 {
		f.broker.Publish(subjects.SurveyLinkRequested, strings.Replace(strings.Replace(fmt.Sprintf(brief, fmt.Sprint("A", i), fmt.Sprint("P-", i), fmt.Sprint("p", i)),
			`{"requestId"`, `{"survey":{"mailingListId":"CG_wrong"},"requestId"`, 1), "\n", "", -1))
	}
	for _, letter := range f.Dead(40) {
		if letter.Class != "refused" || !strings.Contains(letter.Reason, "PACC_6") {
			t.Errorf("dead letter %+v", letter)
		}
	}
	if calls := f.brand.calls(); calls[createContact] > 3 {
		t.Errorf("called %v: the list does not exist for all of them", calls)
	}
}

func TestOneBadRowOfAnImportThatIsRefusedAsAWholeCostsTheOthersOneMoreRoundOrTwo(t *testing.T) {
	for name, status := range map[string]int{"refused": 400, "Qualtrics fails": 500} {
		for rows, imports := range map[int]int{20: 1, 40: 5, 200: 9} { // 20 by themselves; 40 in parts of 10; 200 in parts of 50, and 13
			t.Run(fmt.Sprint(name, " ", rows), func(t *testing.T) {
				f := start(t, servicetest.Env{"QUALTRICS_GATHER_QUIET": "1s"})
				f.brand.rejectWhole, f.brand.rejectStatus = "p7@example.com", status
				f.ask(rows)
				f.own(t, rows) // by itself even that one is good
				calls := f.brand.calls()
				if calls[startImport] != imports || calls[createContact] > 20 {
					t.Errorf("%d imports and %d contacts by themselves, want %d and at most 20", calls[startImport], calls[createContact], imports)
				}
				if got := f.brand.made(); got[0] != rows || got[1] != rows {
					t.Errorf("%v contacts, transactions, distributions", got)
				}
				if strings.Contains(f.Log(), `"outcome":"retry"`) {
					t.Error("requests were given back")
				}
			})
		}
	}
}

func TestPartsOfARefusedImportAreMadeAtTheSameTime(t *testing.T) {
	const parts = 4
	var begun atomic.Int32
	all := make(chan struct{})
	f := start(t, servicetest.Env{"QUALTRICS_GATHER_QUIET": "1s"}, func(v *brand) {
		v.instead = func(pattern string, _ servicetest.Call) *servicetest.Reply {
			if pattern != startImport {
				return nil
			}
			switch n := begun.Add(1); {
			case n == 1:
				r := refused(400, "IMP_2", "a row is wrong")
				return &r
			case n == 1+parts:
				close(all)
			}
			select {
			case <-all:
			case <-time.After(10 * time.Second):
				t.Error("an import waits for another to end")
			}
			return nil
		}
	})
	f.ask(43)
	f.own(t, 43)
}

// An answer of 500 does not say that nothing was done.
func TestImportThatWasMadeAndAnswered500IsNotMadeAgain(t *testing.T) {
	f := start(t, nil, func(v *brand) {
		v.instead = func(pattern string, c servicetest.Call) *servicetest.Reply {
			if pattern != startImport {
				return nil
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			v.startImport(c)
			r := refused(500, "", "Internal Server Error")
			return &r
		}
	})
	f.ask(6)
	f.own(t, 6)
	if calls, got := f.brand.calls(), f.brand.made(); calls[startImport] != 1 || got[0] != 6 || got[1] != 6 {
		t.Errorf("called %v; %v contacts, transactions, distributions", calls, got)
	}
}

func TestBrandThatFailsForAllIsNotDividedForEver(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	f := start(t, servicetest.Env{"QUALTRICS_GATHER_QUIET": "1s"}, func(v *brand) {
		v.instead = func(pattern string, _ servicetest.Call) *servicetest.Reply {
			if pattern != startImport && pattern != createContact || !broken.Load() {
				return nil
			}
			r := refused(500, "", "Internal Server Error")
			return &r
		}
	})
	f.ask(100)
	bustest.Eventually(t, "all are given back", func() bool { return strings.Count(f.Log(), `"outcome":"retry"`) >= 100 })
	if calls := f.brand.calls(); calls[startImport] > 5 || calls[createContact] > 3 {
		t.Errorf("called %v", calls)
	}
	broken.Store(false)
	f.own(t, 100)
}

func TestSuppressedPeopleOfAWave(t *testing.T) {
	f := start(t, nil)
	f.brand.change = func(links []link) []link {
		links[0]["unsubscribed"], links[0]["link"] = "1", nil
		links[1]["exceededContactFrequency"] = true
		return links
	}
	f.ask(5)
	f.Published(subjects.SurveyLinkSuppressed, 2)
	f.own(t, 3)
}

func TestLinksThatAreMissingAtFirst(t *testing.T) {
	t.Run("all of them", func(t *testing.T) {
		f := start(t, nil)
		f.brand.late = 2
		f.ask(4)
		f.own(t, 4)
		if calls := f.brand.calls(); calls[readLinks] != 3 || calls[createDistribution] != 1 {
			t.Errorf("called %v", calls)
		}
	})
	t.Run("one of them", func(t *testing.T) {
		f := start(t, nil)
		f.brand.noHistory = true
		reads := 0
		f.brand.change = func(links []link) []link {
			if reads++; reads == 1 {
				return links[1:]
			}
			return links
		}
		f.ask(4)
		f.own(t, 4)
		if calls := f.brand.calls(); calls[readLinks] != 2 || calls[createDistribution] != 1 {
			t.Errorf("called %v", calls)
		}
	})
}

func TestLostAnswersOfAWave(t *testing.T) {
	for _, pattern := range []string{createBatch, startImport, createDistribution, readLinks, importStatus} {
		t.Run(pattern, func(t *testing.T) {
			f := start(t, nil)
			f.brand.Lose(pattern)
			f.ask(6)
			f.own(t, 6)
			if calls := f.brand.calls(); pattern != createBatch && calls[startImport] != 1 {
				t.Errorf("called %v: a second import is a second transaction for everybody", calls)
			}
			if got := f.brand.made(); got[0] != 6 || got[1] != 6 {
				t.Errorf("%v contacts, transactions, distributions", got)
			}
		})
	}
}

func TestImportWhoseRequestNeverArrivedIsMadeAnewInAnotherBatch(t *testing.T) {
	f := start(t, nil)
	f.brand.Drop(startImport)
	f.ask(6)
	f.own(t, 6)
	if got := f.brand.made(); got[0] != 6 || got[1] != 6 {
		t.Errorf("%v contacts, transactions, distributions", got)
	}
}

// Somebody's link is not shown, and dedupe has given his contact the name of another one, whose link is: it must not be
// taken for that one's.
func TestRowOfMergedContactsIsNobodysWhenOneIsMissing(t *testing.T) {
	f := start(t, nil, dedupesBy("lastName"))
	f.knowsTheRule(t)
	f.brand.change = func(links []link) []link {
		if len(f.brand.Calls(readLinks)) == 1 {
			return slices.DeleteFunc(links, func(l link) bool { return l["transactionId"] == "CTR_1" })
		}
		return links
	}
	for i := range 4 {
		f.broker.Publish(subjects.SurveyLinkRequested,
			fmt.Sprintf(`{"requestId":"A%d","contact":{"externalId":"P-%d","email":"p%d@example.com","lastName":"L%d"}}`, i, i, i, i/2))
	}
	f.own(t, 4)
}

func TestRequestIdOfAnotherPersonGetsNoLink(t *testing.T) {
	f := start(t, nil)
	f.brand.slow = 5
	f.ask(4)
	bustest.Eventually(t, "the wave is under way", func() bool { return len(f.brand.Calls(importStatus)) > 0 })
	f.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"A0","contact":{"externalId":"P-9","email":"p9@example.com"}}`)
	f.ask(4) // and the same ones again
	letter := f.Dead(1)[0]
	if letter.Class != "invalid" || letter.Field != "requestId" {
		t.Errorf("dead letter %+v", letter)
	}
	f.own(t, 4)
}

// Whoever asks twice gets what came of the first: when that must wait, so must the second.
func TestTwinsOfAWaveThatMustWaitWaitWithIt(t *testing.T) {
	f := start(t, nil)
	tooMany := refused(429, "", "Too many")
	tooMany.Header = http.Header{"Retry-After": {"1"}}
	f.brand.Refuse(createBatch, tooMany)
	for range 2 {
		f.ask(20)
	}
	bustest.Eventually(t, "all twice", func() bool { return len(servicetest.Events(t, f.broker, subjects.SurveyLinkCreated)) >= 20 })
	f.Settled()
	// One goes first alone when the pause ends, and a few may have come apart from the others.
	if got := f.brand.made(); got[0] != 20 || got[1] != 20 || f.brand.calls()[createContact] > 5 {
		t.Errorf("%v contacts, transactions, distributions; called %v", got, f.brand.calls())
	}
}

func TestTwoBadRowsSinkNoOther(t *testing.T) {
	f := start(t, nil)
	const bad = `{"requestId":"%s","contact":{"externalId":"%[1]s","email":"%[1]s@example.com"},"transaction":{"data":{"refuse":"this %[2]s"}}}`
	f.brand.rejectData = true
	f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(bad, "B1", "row"))
	f.ask(18)
	f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(bad, "B2", "field"))
	for _, letter := range f.Dead(2) {
		if letter.Class != "refused" {
			t.Errorf("dead letter %+v", letter)
		}
	}
	f.own(t, 18)
}

// One read in a hundred fails (qualtrics.md §2.8): no reason to give a wave back.
func TestFailedReadsOfAWaveAreRepeatedInPlace(t *testing.T) {
	for _, pattern := range []string{importStatus, readLinks} {
		t.Run(pattern, func(t *testing.T) {
			f := start(t, nil)
			f.brand.Refuse(pattern, refused(500, "", "Internal Server Error"))
			f.ask(5)
			f.own(t, 5)
			if strings.Contains(f.Log(), `"outcome":"retry"`) {
				t.Error("the wave was given back")
			}
		})
	}
}

func TestReportThatCannotBeReadIsNoFaultOfTheRequests(t *testing.T) {
	f := start(t, nil, dedupesBy("lastName"))
	f.knowsTheRule(t)
	f.brand.Refuse(importReport, refused(404, "", "Not found"))
	for i := range 4 {
		f.broker.Publish(subjects.SurveyLinkRequested,
			fmt.Sprintf(`{"requestId":"A%d","contact":{"externalId":"P-%d","email":"p%d@example.com","lastName":"Smith"}}`, i, i, i))
	}
	f.own(t, 4)
}

func TestImportThatQualtricsForgetsIsCounted(t *testing.T) {
	f := start(t, nil)
	for range 4 {
		f.brand.Refuse(importStatus, refused(404, "", "Job not found"))
	}
	f.ask(4)
	f.own(t, 4)
	if f.brand.calls()[listBatch] == 0 {
		t.Error("nobody counted what is in the batch")
	}
}

func TestLinksOfAWaveEndWithItsLatestExpiry(t *testing.T) {
	f := start(t, servicetest.Env{"QUALTRICS_LINK_LIFETIME": "48h"})
	for i, at := range []string{"2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-01T12:00:00Z"} {
		f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(brief, fmt.Sprint("A", i), fmt.Sprint("P-", i), fmt.Sprint("p", i)), "ce-time", at)
	}
	f.own(t, 3)
	if got := f.brand.body(t, createDistribution)["expirationDate"]; got != "2026-01-04 00:00:00" {
		t.Errorf("links end %v", got)
	}
}

func TestBrandThatTakesNoEmptyBatchIsServedOneByOne(t *testing.T) {
	f := start(t, nil)
	f.brand.noEmptyBatch = true
	f.ask(8)
	f.own(t, 8)
	before := len(f.brand.Calls(createBatch))
	for i := range 4 {
		f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(brief, fmt.Sprint("B", i), fmt.Sprint("Q-", i), fmt.Sprint("q", i)))
	}
	f.own(t, 12)
	if n := len(f.brand.Calls(createBatch)); n != before+4 {
		t.Errorf("%d batches for four more: what is refused is not asked for again", n-before)
	}
}

func TestQualtricsWithoutImportsIsServedOneByOne(t *testing.T) {
	f := start(t, nil)
	f.brand.noImports = true
	f.ask(12)
	f.own(t, 12)
	if n := len(f.brand.Calls(startImport)); n != 1 {
		t.Errorf("%d imports tried", n)
	}
}

// A subject of thousands of characters would end the connection, and the service with it.
func TestVeryLongIdIsRefusedAndTheNextIsDone(t *testing.T) {
	f := start(t, nil)
	long := "CG_" + strings.Repeat("x", 5000)
	for i := range 4 {
		f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(`{"requestId":"B%d","contact":{"email":"b%d@example.com"},"survey":{"mailingListId":"%s"}}`, i, i, long))
	}
	f.ask(3)
	for _, letter := range f.Dead(4) {
		if letter.Class != "invalid" || letter.Field != "survey.mailingListId" {
			t.Errorf("dead letter of class %s about %s", letter.Class, letter.Field)
		}
	}
	f.own(t, 3)
}
