package linker_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

const (
	eraseData   = "POST /API/v3/op-erase-personal-data"
	readErasure = "GET /API/v3/op-erase-personal-data/{request}"
)

// erases has the brand erase personal data, which is done at the nth look; the addresses asked for are sent on.
func erases(done int, asked chan<- []string) func(*brand) {
	return func(v *brand) {
		looks := 0
		v.Handle(eraseData, func(c servicetest.Call) servicetest.Reply {
			var body struct {
				Emails     []string `json:"emails"`
				SearchOnly *bool    `json:"searchOnly"`
			}
			if err := c.Decode(&body); err != nil || body.SearchOnly == nil || *body.SearchOnly {
				return refused(http.StatusBadRequest, "", "not an erasure")
			}
			asked <- body.Emails
			return result(map[string]any{"requestId": "OP-7"})
		})
		v.Handle(readErasure, func(c servicetest.Call) servicetest.Reply {
			v.mu.Lock()
			defer v.mu.Unlock()
			if looks++; c.Value("request") != "OP-7" || looks < done {
				return result(map[string]any{"requestId": c.Value("request"), "status": "InProgress"})
			}
			return result(map[string]any{"requestId": "OP-7", "status": "Completed"})
		})
	}
}

func ledger(t *testing.T, f fixture) (*effect.Ledger, jetstream.KeyValue) {
	t.Helper()
	bucket, err := f.broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	return effect.New(bucket), bucket
}

// forget keeps whom an erasure is about, and publishes it.
func forget(t *testing.T, f fixture, emails ...string) {
	t.Helper()
	l, _ := ledger(t, f)
	err := effect.Change(t.Context(), l, effect.Forgetting("E1"), func(effect.Whom) (effect.Whom, bool) { return effect.Whom{Emails: emails}, true })
	if err != nil {
		t.Fatal(err)
	}
	f.broker.Publish(subjects.ErasureRequested, `{"erasureId":"E1"}`)
}

func erased(t *testing.T, f fixture) *eventsv1.ErasureCompleted {
	t.Helper()
	return f.Published(subjects.ErasureCompleted, 1)[0].Data.(*eventsv1.ErasureCompleted)
}

func TestErasureIsPassedOnAndLookedAtUntilItIsDone(t *testing.T) {
	asked := make(chan []string, 10)
	f := start(t, nil, erases(3, asked))
	f.brand.Lose(eraseData) // the answer to the first request is lost: a repeat erases nothing more
	forget(t, f, "ada@example.com", "ada@example.org")
	done := erased(t, f)
	if done.GetVendor() != "qualtrics" || done.GetState() != "ERASED" || done.GetVendorRequestId() != "OP-7" || done.GetErasureId() != "E1" {
		t.Errorf("told %v", done)
	}
	if first := <-asked; !slices.Equal(first, []string{"ada@example.com", "ada@example.org"}) {
		t.Errorf("asked for %v", first)
	}
	if looks := len(f.brand.Calls(readErasure)); looks < 3 {
		t.Errorf("told after %d looks", looks)
	}
	for _, stream := range []string{topology.Events, topology.Retries, topology.DeadLetters} {
		for _, m := range f.broker.Messages(stream, ">") {
			if strings.Contains(string(m.Data), "@example") {
				t.Errorf("%s holds the address: %s", stream, m.Subject)
			}
		}
	}
	if strings.Contains(f.Log(), "@example") {
		t.Error("the log holds the address")
	}
}

func TestErasureThatWeMayNotAskForIsAPersonsAndLinksGoOn(t *testing.T) {
	f := start(t, nil, func(v *brand) {
		v.Handle(eraseData, func(servicetest.Call) servicetest.Reply {
			return refused(http.StatusForbidden, "QMST_2.1", "The operation is forbidden.")
		})
	})
	forget(t, f, "ada@example.com")
	if done := erased(t, f); done.GetState() != "PERSON" || !strings.Contains(done.GetReason(), "brand administrator") {
		t.Errorf("told %v", done)
	}
	f.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"A1","contact":{"externalId":"P-1","email":"ben@example.com"}}`)
	f.created(t)
	durable, err := f.broker.JS.Consumer(t.Context(), topology.Events, topology.QualtricsLinker)
	if err != nil || durable.CachedInfo().Paused {
		t.Errorf("the consumer is paused for it: %v", err)
	}
}

func TestErasureOfNobodyKnownWaitsForAPerson(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.ErasureRequested, `{"erasureId":"E9"}`)
	if dead := f.Dead(1)[0]; !strings.Contains(dead.Reason, "E9") {
		t.Errorf("the dead letter says %q", dead.Reason)
	}
}

func TestTheRequestOfAForgottenPersonIsGone(t *testing.T) {
	f := start(t, nil)
	f.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"A1","contact":{"externalId":"P-1","email":"ada@example.com"}}`)
	f.created(t)
	_, bucket := ledger(t, f)
	tombstone, err := effect.Tombstone(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Put(t.Context(), effect.Link("A1").String(), tombstone); err != nil {
		t.Fatal(err)
	}
	stored := len(f.broker.Messages(topology.Events, ">"))
	f.Get("/survey/links/A1").WantProblem(410)
	const again = `{"requestId":"A1","contact":{"externalId":"P-1","email":"ada@example.com"}}`
	f.Post("/survey/links", again).WantProblem(410)
	f.Post("/survey/links", again, "Prefer", "wait=5").WantProblem(410)
	f.Post("/survey/links", "["+again+"]").WantProblem(410)
	if n := len(f.broker.Messages(topology.Events, ">")); n != stored {
		t.Errorf("%d events more", n-stored)
	}
	calls := len(f.brand.Calls())
	f.broker.Publish(subjects.SurveyLinkRequested, again) // past the door
	f.Settled()
	if n := len(f.brand.Calls()); n != calls || len(f.broker.Messages(topology.DeadLetters, ">")) != 0 {
		t.Errorf("%d calls more, %d dead letters", n-calls, len(f.broker.Messages(topology.DeadLetters, ">")))
	}
}
