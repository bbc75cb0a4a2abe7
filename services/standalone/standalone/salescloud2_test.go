package standalone_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

const createTask2 = "POST tasks"

// startVersion2 is c4c-tasker before the simulated Version 2.
func startVersion2(t *testing.T, switches string, env servicetest.Env) *salesCloud {
	t.Helper()
	all := servicetest.Env{"C4C_VERSION": "2"}
	maps.Copy(all, env)
	return startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C_V2": switches}, all)
}

// inVersion2 is the feedback with the UUIDs of its parties.
func (f *salesCloud) inVersion2(change map[string]any) string {
	f.t.Helper()
	ids := map[string]any{"accountId": f.SalesCloud().UUID("1000123"), "contactId": f.SalesCloud().UUID("1000456"), "processorId": f.SalesCloud().UUID("8000000002")}
	maps.Copy(ids, change)
	return with(f.t, ids)
}

func TestVersion2TakesTheSameFeedback(t *testing.T) {
	f := startVersion2(t, "{contactField: contact}", servicetest.Env{"C4C_V2_CONTACT_FIELD": "contact", "C4C_V2_CATEGORY": "0002"})
	f.publish(f.inVersion2(map[string]any{"priority": "2", "dueAt": "2026-07-27T18:00:00.250+02:00"}))
	created := f.Published(taskCreated, 1)[0].Data.(interface {
		GetTaskId() string
		GetObjectId() string
		GetUrl() string
	})
	got := f.SalesCloud2().Books().Tasks[0]
	if got.Description != "Cart: delivery too late [R_1]" || got.Priority != "URGENT" || got.Status != "OPEN" || got.Due != "2026-07-27T16:00:00Z" || got.Category != "0002" || len(got.Notes) != 1 {
		t.Errorf("%+v", got)
	}
	for name, id := range map[string]string{"account": "1000123", "contact": "1000456", "owner": "8000000002", "organizer": "8000000002"} {
		if got.References[name] != f.SalesCloud().UUID(id) {
			t.Errorf("%s is %q", name, got.References[name])
		}
	}
	if created.GetObjectId() != got.ID || created.GetTaskId() != got.DisplayID || !strings.HasSuffix(created.GetUrl(), "/task-service/tasks/"+got.ID) {
		t.Errorf("told %v", created)
	}
	if n := len(f.SalesCloud().Books().Calls); n != 0 {
		t.Errorf("%d operations of Version 1 were called", n)
	}
}

func TestVersion2NeedsUUIDs(t *testing.T) {
	f := startVersion2(t, "{}", nil)
	f.Post("/c4c/task", feedback).WantProblem(400, "accountId")
	f.publish(feedback)
	if letter := f.Dead(1)[0]; letter.Class != "invalid" || letter.Field != "accountId" || !strings.Contains(letter.Reason, "UUID") {
		t.Errorf("%+v", letter)
	}
	const nobody = "0a1b2c3d-0000-4000-8000-000000000099"
	f.publish(f.inVersion2(map[string]any{"accountId": nobody}))
	if letter := f.Dead(2)[1]; letter.Class != "person" || letter.Field != "accountId" || !strings.Contains(letter.Reason, "account "+nobody) {
		t.Errorf("%+v", letter)
	}
}

func TestVersion2SettlesALostAnswer(t *testing.T) {
	const query = "$filter=description ew '{marker}'"
	for _, c := range []struct {
		switches, find, want string
	}{
		{"{}", query, ""},
		{"{}", "", "cannot be looked up"},
		{"{search: ignored}", query, "does not search by C4C_V2_FIND"},
		{"{search: refused}", query, "looking it up is refused"},
	} {
		t.Run(c.switches+c.find, func(t *testing.T) {
			env := servicetest.Env{}
			if c.find != "" {
				env["C4C_V2_FIND"] = c.find
			}
			f := startVersion2(t, c.switches, env)
			f.publish(f.inVersion2(map[string]any{"responseId": "R_0"}))
			f.Published(taskCreated, 1)
			f.lose(createTask2)
			f.publish(f.inVersion2(nil))
			if c.want == "" {
				f.Published(taskCreated, 2)
			} else if letter := f.Dead(1)[0]; letter.Class != "person" || !strings.Contains(letter.Reason, c.want) {
				t.Errorf("%+v", letter)
			}
			if n := len(f.SalesCloud2().Books().Tasks); n != 2 || f.count(createTask2) != 2 {
				t.Errorf("%d tasks by %d calls, want 2 by 2", n, f.count(createTask2))
			}
		})
	}
}

func TestVersion2AddsNotesInACallOfTheirOwn(t *testing.T) {
	f := startVersion2(t, "{refuseNotes: true}", servicetest.Env{"C4C_TEXTS": "separate"})
	f.lose("POST notes")
	f.publish(f.inVersion2(nil))
	f.Published(taskCreated, 1)
	if got := f.SalesCloud2().Books().Tasks; len(got) != 1 || len(got[0].Notes) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestVersion2QuotaIsAPauseUntilTheVendorSays(t *testing.T) {
	f := startVersion2(t, "{quota: 1}", nil)
	f.publish(f.inVersion2(nil))
	f.Published(taskCreated, 1)
	f.publish(f.inVersion2(map[string]any{"responseId": "R_2"}))
	bustest.Eventually(t, "a pause of hours", func() bool {
		left, paused := f.paused()
		return paused && left > 20*time.Hour
	})
	f.Published(taskCreated, 1) // which fails at a dead letter
}

func TestVersion2TokenThatExpiresCostsOneLogin(t *testing.T) {
	const workers = 4
	for _, switches := range []string{"{}", "{plainToken: true}"} {
		t.Run(switches, func(t *testing.T) {
			f := startVersion2(t, switches, servicetest.Env{"C4C_V2_AUTH": "token", "C4C_PARALLEL": fmt.Sprint(workers)})
			f.publish(f.inVersion2(nil))
			f.Published(taskCreated, 1)
			f.SalesCloud2().ExpireTokens()
			var all sync.WaitGroup
			all.Add(workers)
			for range workers {
				f.next(createTask2, func(w http.ResponseWriter, r *http.Request, vendor http.Handler) {
					all.Done()
					all.Wait()
					vendor.ServeHTTP(w, r)
				})
			}
			for n := range workers {
				f.publish(f.inVersion2(map[string]any{"responseId": fmt.Sprintf("R_%d", n+2)}))
			}
			f.Published(taskCreated, 1+workers)
			if books := f.SalesCloud2().Books(); books.Logins != 2 || len(books.Tasks) != 1+workers {
				t.Errorf("%d logins, %d tasks", books.Logins, len(books.Tasks))
			}
		})
	}
}

func TestCallThatFindsNoTurnWithinTheLimitsIsNoLostAnswer(t *testing.T) {
	f := startVersion2(t, "{}", servicetest.Env{"C4C_PER_MINUTE": "1"})
	f.publish(f.inVersion2(nil))
	f.Published(taskCreated, 1)
	f.publish(f.inVersion2(map[string]any{"responseId": "R_2"}))
	ledger, err := f.broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	bustest.Eventually(t, "an effect that is still only intended", func() bool {
		entry, err := ledger.Get(t.Context(), "c4c.task/R_2")
		return err == nil && strings.Contains(f.Log(), "not sent,") && !strings.Contains(string(entry.Value()), `"state":"sent"`)
	})
	if n := f.count(createTask2); n != 1 {
		t.Errorf("%d calls to create within a limit of one", n)
	}
}
