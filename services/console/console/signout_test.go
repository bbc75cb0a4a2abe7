package console_test

import (
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/services/console/console"
)

// Who signs out ends the session for whoever has a copy of its cookie: here, at another console, and at one that begins later.
func TestASessionThatWasSignedOutIsOverEverywhere(t *testing.T) {
	f := with(t, people)
	another := func() *fixture {
		return &fixture{servicetest.Start(t, f.broker, console.Define, maps.Clone(people)), t, f.broker, f.tasker}
	}
	holds := func(f *fixture, cookie string) *browser {
		b := f.browser()
		b.cookies["closeloop-session"] = cookie
		return b
	}
	b, other := f.browser(), another()
	b.signsIn("oona", "operates", http.StatusSeeOther)
	copied := b.cookies["closeloop-session"]
	holds(other, copied).opens("/loops", 200)
	stays := other.browser()
	stays.signsIn("oona", "operates", http.StatusSeeOther)
	stream := other.listens("/loops/live", copied)

	b.posts("/sign-out", "", http.StatusSeeOther)
	if b.cookies["closeloop-session"] != "" {
		t.Error("the browser keeps the cookie")
	}
	holds(f, copied).opens("/loops", http.StatusSeeOther)
	bustest.Eventually(t, "the other console knows that the session is over", func() bool {
		status, _, _ := holds(other, copied).do(http.MethodGet, "/loops", "")
		return status == http.StatusSeeOther
	})
	if _, err := io.Copy(io.Discard, stream); err != nil {
		t.Errorf("what was sent to the session goes on: %v", err)
	}
	holds(another(), copied).opens("/loops", http.StatusSeeOther)

	stays.opens("/loops", 200) // another session of the same person
	b.signsIn("oona", "operates", http.StatusSeeOther)
	b.opens("/loops", 200)

	for _, m := range f.broker.Messages(topology.Operations, ">") {
		if strings.Contains(string(m.Data), "oona") {
			t.Errorf("the record says who it was: %s", m.Data)
		}
	}
	if records := len(f.broker.Messages(topology.Operations, topology.SignOutSubject("*"))); records != 1 {
		t.Errorf("there are %d records", records)
	}
	holds(f, copied).posts("/sign-out", "", http.StatusSeeOther)
	holds(f, "rubbish."+copied).posts("/sign-out", "", http.StatusSeeOther)
	f.browser().posts("/sign-out", "", http.StatusSeeOther)
	if records := len(f.broker.Messages(topology.Operations, topology.SignOutSubject("*"))); records != 1 {
		t.Errorf("who has no session adds to the %d records", records)
	}
}
