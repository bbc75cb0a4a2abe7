package linker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// one asks for a link and waits for it.
func (f fixture) one(t *testing.T, id, reference, mailbox string) {
	t.Helper()
	made := func() int { return len(servicetest.Events(t, f.broker, subjects.SurveyLinkCreated)) }
	before := made()
	f.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(brief, id, reference, mailbox))
	bustest.Eventually(t, "the link of "+id, func() bool { return made() > before })
}

// knowsTheRule waits until the service has learnt what the directory takes two contacts for one by.
func (f fixture) knowsTheRule(t *testing.T) {
	t.Helper()
	bustest.Eventually(t, "the directory's rule is known", func() bool { return strings.Contains(f.Log(), "Qualtrics lets us in") })
}

func dedupesBy(fields ...string) func(*brand) { return func(v *brand) { v.dedupe = fields } }

func TestContactThatIsKnownIsNotMadeAgain(t *testing.T) {
	f := start(t, nil, dedupesBy("extRef"))
	f.knowsTheRule(t)
	f.one(t, "A1", "P-1", "ada")
	f.one(t, "A2", "P-1", "ada")
	f.one(t, "A3", "p-1 ", "ada") // the same person for Qualtrics, spelt differently: what is new must get there
	f.one(t, "A4", "P-1", "new")
	f.one(t, "A5", "P-1", "new")
	f.own(t, 5)
	if n := len(f.brand.Calls(createContact)); n != 3 {
		t.Errorf("the contact was sent %d times, want 3", n)
	}
	if n := len(f.brand.Calls(createTransaction)); n != 5 {
		t.Errorf("%d transactions, want 5", n)
	}
}

func TestContactOfADirectoryThatDoesNotDedupeIsMadeEachTime(t *testing.T) {
	f := start(t, nil)
	f.one(t, "A1", "P-1", "ada")
	f.one(t, "A2", "P-1", "ada")
	f.own(t, 2)
	if n := len(f.brand.Calls(createContact)); n != 2 {
		t.Errorf("the contact was sent %d times, want 2", n)
	}
}

func TestKnownContactThatWasDeletedIsMadeAgain(t *testing.T) {
	f := start(t, nil, dedupesBy("extRef"))
	f.knowsTheRule(t)
	f.one(t, "A1", "P-1", "ada")
	f.brand.mu.Lock()
	f.brand.gone = map[int]bool{0: true}
	f.brand.contacts[0].ExtRef = "nobody"
	f.brand.mu.Unlock()
	f.one(t, "A2", "P-1", "ada")
	f.own(t, 2)
}

func TestImportMakesWhatWasKnownUnsure(t *testing.T) {
	f := start(t, nil, dedupesBy("email"))
	f.knowsTheRule(t)
	f.one(t, "A1000", "P-1", "p1")
	f.ask(4) // another person has the mailbox of the first, and overwrites the contact
	f.own(t, 5)
	f.one(t, "A1001", "P-1", "p1")
	f.own(t, 6)
	if n := len(f.brand.Calls(createContact)); n != 2 {
		t.Errorf("the contact was sent %d times, want 2", n)
	}
}

func TestLinkThatThePagesNeverShowIsFoundInTheHistory(t *testing.T) {
	f := start(t, nil)
	f.brand.leftOut = "P-2"
	f.ask(4)
	f.own(t, 4)
	if calls := f.brand.calls(); calls[readHistory] != 1 || calls[createDistribution] != 1 {
		t.Errorf("called %v", calls)
	}
}
