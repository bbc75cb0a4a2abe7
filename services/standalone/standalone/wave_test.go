package standalone_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// TestLinkerKilledInTheMiddleOfAWave kills the process that makes a thousand links at once, when the import was sent and
// when the links are being read, and expects one link for each request, and none of anybody else.
func TestLinkerKilledInTheMiddleOfAWave(t *testing.T) {
	t.Parallel()
	l := startLinking(t, `{"latency":"100ms","importDuration":"2s"}`)
	for _, step := range []struct {
		operation string
		calls     int
	}{
		{theImport, 1},
		{"GET /distributions/{e}/links", 4},
	} {
		eventually(t, step.operation, 2*time.Minute, func() bool { return called(t, l.vendors, step.operation) >= step.calls })
		l.linker.kill()
		l.linker.start()
	}
	l.eachHasItsOwn(t)
}

const (
	// linksWanted at once make one wave.
	linksWanted = 1000
	// theImport is the call by which a wave's links are begun.
	theImport = "POST /directories/{d}/mailinglists/{m}/transactioncontacts"
)

// linking is a linker in a process of its own, asked for links, with Qualtrics in another.
type linking struct {
	broker  *bustest.Broker
	vendors string // address
	linker  *process
}

// startLinking starts vendors, of which Qualtrics has these switches, and a linker with these settings, and asks for links.
func startLinking(t *testing.T, switches string, settings ...string) *linking {
	t.Helper()
	l := &linking{broker: bustest.Start(t, topology.Settings{AckWait: 3 * time.Second}), vendors: freeAddress(t)}
	launch(t, "landscape", "HTTP_ADDR="+l.vendors, "DATA_DIR="+t.TempDir(), "LANDSCAPE_PUBLIC_URL=http://"+l.vendors, "LANDSCAPE_PEOPLE=off",
		"QUALTRICS_API_TOKEN=token", "LANDSCAPE_QUALTRICS="+switches, "INGRESS_AUTH=none")
	l.linker = launch(t, topology.QualtricsLinker, append([]string{
		"HTTP_ADDR=127.0.0.1:0", "NATS_URL=" + l.broker.URL(), "INGRESS_AUTH=none",
		"QUALTRICS_BASE_URL=http://" + l.vendors + "/API/v3", "QUALTRICS_API_TOKEN=token", "QUALTRICS_DIRECTORY_ID=POOL_simulated",
		"QUALTRICS_MAILING_LIST_ID=CG_simulated", "QUALTRICS_SURVEY_ID=SV_service",
	}, settings...)...)
	eventually(t, "vendors ready", time.Minute, func() bool { return get(t.Context(), "http://"+l.vendors+"/readyz", nil) })
	for i := range linksWanted {
		m := nats.NewMsg(subjects.SurveyLinkRequested)
		m.Data = fmt.Appendf(nil, `{"requestId":"A%d","contact":{"externalId":"P-%d","email":"p%[1]d@example.com"}}`, i, i)
		if _, err := l.broker.JS.PublishMsgAsync(m); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// eachHasItsOwn waits until all links are there, expects one for each request and none of anybody else, and gives the
// vendors' books.
func (l *linking) eachHasItsOwn(t *testing.T) (books landscape.Books) {
	t.Helper()
	eventually(t, "all links", 3*time.Minute, func() bool {
		return len(l.broker.Messages(topology.Events, subjects.SurveyLinkCreated)) >= linksWanted
	})
	if !get(t.Context(), "http://"+l.vendors+"/landscape/books.json", &books) {
		t.Fatal("no books")
	}
	of := map[string]string{} // the request that a transaction is for
	for _, transaction := range books.Qualtrics.Transactions {
		of[transaction.ID] = transaction.Data["requestId"]
	}
	links, owner := map[string]int{}, map[string]string{} // in Qualtrics: how many by request, and whose by URL
	for _, link := range books.Qualtrics.Links {
		links[of[link.TransactionID]]++
		owner[link.URL] = of[link.TransactionID]
	}
	for i := range linksWanted {
		if got := links[fmt.Sprint("A", i)]; got != 1 {
			t.Errorf("A%d has %d links", i, got)
		}
	}
	for _, m := range l.broker.Messages(topology.Events, subjects.SurveyLinkCreated) {
		var created struct{ RequestID, Link string }
		if err := json.Unmarshal(m.Data, &created); err != nil || owner[created.Link] != created.RequestID {
			t.Errorf("%s got the link of %q", created.RequestID, owner[created.Link])
		}
	}
	if dead := l.broker.Messages(topology.DeadLetters, topology.DeadLetterSubject("*")); len(dead) > 0 {
		t.Errorf("%d dead letters: %s", len(dead), dead[0].Header.Get(bus.HeaderReason))
	}
	return books
}

// called tells how often the landscape was called for an operation.
func called(t *testing.T, vendors, operation string) int {
	var counts struct {
		Calls []struct {
			Operation string
			Calls     int
		}
	}
	if !get(t.Context(), "http://"+vendors+"/landscape/calls", &counts) {
		return 0
	}
	for _, o := range counts.Calls {
		if o.Operation == operation {
			return o.Calls
		}
	}
	return 0
}
