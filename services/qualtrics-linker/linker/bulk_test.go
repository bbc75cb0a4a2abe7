package linker_test

import (
	"fmt"
	"strings"
	"testing"

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

// The traps 6 and 7 of qualtrics.md §8, all at once: mailboxes that several people share, people with several
// transactions, spelt differently each time, in a directory that takes them for one and overwrites the reference.
func TestNobodyGetsAnothersLink(t *testing.T) {
	const cases = 5000
	for name, dedupe := range map[string][]string{
		"dedupe by e-mail": {"email"}, "by reference": {"extRef"}, "by name": {"firstName", "lastName"}, "none": nil,
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, servicetest.Env{"QUALTRICS_GATHER_QUIET": "1s"})
			f.brand.dedupe = dedupe
			const request = `{"requestId":"A%d","contact":{"externalId":"%s","email":"%s","firstName":"F","lastName":"L%d"}}`
			for i := range cases / 4 {
				reference, mailbox := fmt.Sprint("P-", i), fmt.Sprintf("box%d@example.com", i/3) // three share each mailbox
				if i%2 == 0 {
					mailbox = strings.ToUpper(mailbox[:1]) + mailbox[1:]
				}
				f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(request, i, reference, mailbox, i/2)) // and two each name
			}
			f.own(t, cases/4)
		})
	}
}

func TestMergedContactsAreToldApartByTheReport(t *testing.T) {
	f := start(t, nil)
	f.brand.dedupe = []string{"lastName"} // everybody is one
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
	f := start(t, nil)
	f.brand.dedupe, f.brand.noTransactions = []string{"lastName"}, true
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
	if calls := f.brand.calls(); calls[createContact] > 2 {
		t.Errorf("called %v: the list does not exist for all of them", calls)
	}
}

func TestOneBadRowOfARefusedImportIsFound(t *testing.T) {
	f := start(t, nil)
	f.brand.rejectWhole = "p7@example.com"
	f.ask(30)
	f.own(t, 30) // by itself even that one is good
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
