package standalone_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/services/c4c-tasker/tasker"
	"github.com/closeloop/closeloop/services/landscape/landscape"
)

const (
	late        = "feedback.delivery_late"
	taskCreated = "task.created"
	feedback    = `{"responseId":"R_1","subject":"Cart: delivery too late","text":"Wanted by 1 August","accountId":"1000123","contactId":"1000456","processorId":"8000000002"}`
)

// salesCloud is c4c-tasker before the simulated SAP Sales Cloud, with a door in front of it that tests can close.
type salesCloud struct {
	*servicetest.Service
	*landscape.Landscape
	t      *testing.T
	broker *bustest.Broker
	env    servicetest.Env

	mu    sync.Mutex
	faces []face
	calls []string
}

// face is what one call of an operation meets instead of the vendor.
type face struct {
	operation string
	serve     func(w http.ResponseWriter, r *http.Request, vendor http.Handler)
}

func startSalesCloud(t *testing.T, switches servicetest.Env, env servicetest.Env) *salesCloud {
	t.Helper()
	t.Parallel()
	own := servicetest.Env{"LANDSCAPE_PEOPLE": "off", "C4C_USERNAME": "simulated", "C4C_PASSWORD": "simulated"}
	maps.Copy(own, switches)
	s := &landscape.Settings{}
	if err := servicetest.Load(own, s); err != nil {
		t.Fatal(err)
	}
	l, err := landscape.New(s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	f := &salesCloud{Landscape: l, t: t, broker: bustest.Start(t, topology.Settings{})}
	mux := http.NewServeMux()
	mux.Handle("/sap/c4c/odata/", l.SalesCloud().API())
	mux.Handle("/sap/c4c/api/", l.SalesCloud2().API())
	server := httptest.NewServer(f.door(mux))
	t.Cleanup(func() {
		server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	f.env = servicetest.Env{"C4C_BASE_URL": server.URL, "C4C_USERNAME": "simulated", "C4C_PASSWORD": "simulated"}
	maps.Copy(f.env, env)
	f.Service = f.replica()
	return f
}

func (f *salesCloud) replica() *servicetest.Service {
	f.t.Helper()
	return servicetest.Start(f.t, f.broker, tasker.Define, f.env)
}

// operation is method and last part of the path: "POST TasksCollection".
func operation(r *http.Request) string {
	return r.Method + " " + r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
}

func (f *salesCloud) door(vendor http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if one := f.take(operation(r)); one != nil {
			one.serve(w, r, vendor)
			return
		}
		vendor.ServeHTTP(w, r)
	})
}

func (f *salesCloud) take(operation string) *face {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, operation)
	at := slices.IndexFunc(f.faces, func(one face) bool { return one.operation == operation })
	if at < 0 {
		return nil
	}
	one := f.faces[at]
	f.faces = slices.Delete(f.faces, at, at+1)
	return &one
}

// next puts something before the next call of an operation.
func (f *salesCloud) next(operation string, serve func(http.ResponseWriter, *http.Request, http.Handler)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faces = append(f.faces, face{operation, serve})
}

// lose lets the vendor act on the next call and cuts the connection.
func (f *salesCloud) lose(operation string) {
	f.next(operation, func(_ http.ResponseWriter, r *http.Request, vendor http.Handler) {
		vendor.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
}

// count is how many calls of an operation came.
func (f *salesCloud) count(operation string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == operation {
			n++
		}
	}
	return n
}

func (f *salesCloud) publish(body string) { f.t.Helper(); f.broker.Publish(late, body) }

// with is the feedback with other fields; nil leaves one out.
func with(t *testing.T, change map[string]any) string {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(feedback), &body); err != nil {
		t.Fatal(err)
	}
	maps.Copy(body, change)
	maps.DeleteFunc(body, func(_ string, v any) bool { return v == nil })
	encoded, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func (f *salesCloud) paused() (left time.Duration, paused bool) {
	f.t.Helper()
	consumer, err := f.broker.JS.Consumer(f.t.Context(), topology.Events, topology.C4CTasker)
	if err != nil {
		f.t.Fatal(err)
	}
	info := consumer.CachedInfo()
	return info.PauseRemaining, info.Paused
}

const createTask = "POST TasksCollection"

func TestSessionThatExpiresUnderParallelWorkersCostsOneFetch(t *testing.T) {
	const workers = 6
	f := startSalesCloud(t, nil, servicetest.Env{"C4C_PARALLEL": fmt.Sprint(workers)})
	f.publish(feedback)
	f.Published(taskCreated, 1)
	f.SalesCloud().ExpireSessions()
	// All of them hold the old token at the same time, so that all are refused.
	var all sync.WaitGroup
	all.Add(workers)
	for range workers {
		f.next(createTask, func(w http.ResponseWriter, r *http.Request, vendor http.Handler) {
			all.Done()
			all.Wait()
			vendor.ServeHTTP(w, r)
		})
	}
	for n := range workers {
		f.publish(with(t, map[string]any{"responseId": fmt.Sprintf("R_%d", n+2)}))
	}
	f.Published(taskCreated, 1+workers)
	books := f.SalesCloud().Books()
	if books.Calls["token"] != 2 || len(books.Tasks) != 1+workers || f.count(createTask) != 1+2*workers {
		t.Errorf("%d token fetches, %d tasks, %d calls to create; want 2, %d and %d", books.Calls["token"], len(books.Tasks), f.count(createTask), 1+workers, 1+2*workers)
	}
}

func TestRefusalForAnotherReasonThanTheTokenFetchesNone(t *testing.T) {
	f := startSalesCloud(t, nil, nil)
	f.next(createTask, func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		http.Error(w, "No authorization to create tasks", http.StatusForbidden)
	})
	f.publish(feedback)
	f.Published(taskCreated, 1)
	if tokens, created := f.SalesCloud().Books().Calls["token"], f.count(createTask); tokens != 1 || created != 2 {
		t.Errorf("%d token fetches, %d calls to create; want 1 and 2", tokens, created)
	}
}

func TestWithoutCSRFNoTokenIsFetched(t *testing.T) {
	f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{noCsrf: true}"}, servicetest.Env{"C4C_CSRF": "false"})
	f.publish(feedback)
	f.Published(taskCreated, 1)
	if n := f.SalesCloud().Books().Calls["token"]; n != 0 {
		t.Errorf("%d token fetches", n)
	}
}

func TestLockedRecordIsTriedAgainWhateverTheStatus(t *testing.T) {
	for _, switches := range []string{"{lockStatus: 409}", "{lockStatus: 400}", "{lockStatus: 500}", "{lockStatus: 500, errorBody: xml}", "{lockStatus: 423, innerError: true}"} {
		t.Run(switches, func(t *testing.T) {
			f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": switches}, nil)
			f.SalesCloud().LockNext(2)
			f.publish(feedback)
			f.Published(taskCreated, 1) // which fails at a dead letter
			if n := f.count(createTask); n != 3 {
				t.Errorf("%d calls to create, want 3", n)
			}
			if n := f.count("GET TasksCollection"); n != 0 {
				t.Errorf("%d look-ups: a lock leaves nothing open", n)
			}
			if strings.Contains(f.Log(), "the vendor is out") {
				t.Error("a lock was taken for a vendor that is out")
			}
		})
	}
}

func TestUnknownPartyWaitsForAPersonWithKindAndID(t *testing.T) {
	for _, words := range []string{`""`, "id", "quiet"} {
		t.Run(words, func(t *testing.T) {
			f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{partyWords: " + words + "}"}, nil)
			for i, c := range []struct{ field, kind string }{
				{"accountId", "account"}, {"contactId", "contact"}, {"processorId", "processor"}, {"ownerId", "responsible employee"},
			} {
				f.publish(with(t, map[string]any{"responseId": "R_" + c.field, c.field: "4711"}))
				letter := f.Dead(i + 1)[i]
				if letter.Class != "person" || letter.Field != c.field || !strings.Contains(letter.Reason, c.kind+" 4711") {
					t.Errorf("%s: %+v", c.field, letter)
				}
			}
			if looked := f.count("GET CorporateAccountCollection"); (looked > 0) != (words == "quiet") {
				t.Errorf("%d look-ups", looked)
			}
			// Mended, it is made at once.
			f.publish(with(t, map[string]any{"responseId": "R_accountId"}))
			bustest.Eventually(t, "the mended task", func() bool { return len(f.SalesCloud().Books().Tasks) == 1 })
		})
	}
}

func TestPartiesAreLookedUpBeforeBySetting(t *testing.T) {
	f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{acceptUnknownParties: true}"}, servicetest.Env{"C4C_PARTY_LOOKUP": "before"})
	f.publish(with(t, map[string]any{"contactId": "4711"}))
	if letter := f.Dead(1)[0]; letter.Class != "person" || letter.Field != "contactId" || !strings.Contains(letter.Reason, "contact 4711") {
		t.Errorf("%+v", letter)
	}
	f.publish(with(t, map[string]any{"responseId": "R_2"}))
	bustest.Eventually(t, "the next task", func() bool { return len(f.SalesCloud().Books().Tasks) == 1 })
	if n := f.count(createTask); n != 1 {
		t.Errorf("%d calls to create, want that of the known contact", n)
	}
}

func TestGuestsAsTheSettingsSay(t *testing.T) {
	for _, c := range []struct {
		guests                    string
		change                    map[string]any
		tasks                     int
		account, contact, comment string
	}{
		{"default-account", map[string]any{"accountId": "4711"}, 1, "1000101", "", "no contact of another account"},
		{"default-account", map[string]any{"accountId": nil, "contactId": nil}, 1, "1000101", "", "named nobody"},
		{"default-account", map[string]any{"contactId": "4711"}, 1, "1000123", "", "the account is known"},
		{"without", map[string]any{"accountId": "4711", "contactId": "4712"}, 1, "", "", "neither"},
		{"drop", map[string]any{"accountId": "4711"}, 0, "", "", "nothing"},
	} {
		t.Run(c.guests+" "+c.comment, func(t *testing.T) {
			env := servicetest.Env{"C4C_GUESTS": c.guests}
			if c.guests == "default-account" {
				env["C4C_DEFAULT_ACCOUNT_ID"] = "1000101"
			}
			f := startSalesCloud(t, nil, env)
			f.publish(with(t, c.change))
			bustest.Eventually(t, "handled", func() bool { return strings.Contains(f.Log(), `"outcome":"done"`) })
			f.Settled()
			tasks := f.SalesCloud().Books().Tasks
			if len(tasks) != c.tasks || c.tasks == 1 && (tasks[0].AccountID != c.account || tasks[0].ContactID != c.contact) {
				t.Errorf("tasks %+v", tasks)
			}
			if dropped := strings.Contains(f.Log(), "no task for a guest"); dropped != (c.tasks == 0) {
				t.Errorf("dropped and said so: %v", dropped)
			}
		})
	}
}

func TestTenantThatNeedsAnAccountRefusesTasksWithoutOne(t *testing.T) {
	f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{needAccount: true}"}, nil)
	f.publish(with(t, map[string]any{"accountId": nil, "contactId": nil}))
	if letter := f.Dead(1)[0]; letter.Class != "refused" || !strings.Contains(letter.Reason, "needs a business partner") {
		t.Errorf("%+v", letter)
	}
}

func TestSettingThatTheTenantDoesNotHaveIsAnAlarmAndNoDeadLetter(t *testing.T) {
	f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{codeLists: {TasksPriorityCodeCollection: [{code: A}, {code: B}], ActivityTextCollectionLanguageCodeCollection: [{code: DE}]}}"},
		servicetest.Env{"C4C_CODE_LISTS": "strict"})
	bustest.Eventually(t, "the alarm", func() bool {
		return strings.Contains(f.Log(), `C4C_PRIORITY is \"3\", but the tenant's TasksPriorityCodeCollection has A, B; C4C_LANGUAGE is \"EN\"`)
	})
	f.publish(feedback)
	bustest.Eventually(t, "work waits", func() bool { _, paused := f.paused(); return paused })
	if n := f.count(createTask); n != 0 {
		t.Errorf("%d calls to create", n)
	}
	if letters := f.broker.Messages(topology.DeadLetters, topology.DeadLetterSubject(topology.C4CTasker)); len(letters) != 0 {
		t.Errorf("%d dead letters for a setting", len(letters))
	}
}

// codes answers a code list with these codes, whatever the vendor takes.
func codes(all ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		list := []map[string]string{}
		for _, code := range all {
			list = append(list, map[string]string{"Code": code})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"d": map[string]any{"results": list}})
	}
}

// answered gives a status and an error in the vendor's form.
func answered(status int, words string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": "ZZ/001", "message": map[string]string{"lang": "en", "value": words}}})
	}
}

func TestSettingThatAListDoesNotHaveIsAnAlarmAndWorkGoesOn(t *testing.T) {
	f := startSalesCloud(t, nil, servicetest.Env{"C4C_CODE_LISTS": "off"})
	f.env["C4C_CODE_LISTS"] = "lenient"
	f.next("GET TasksStatusCollection", codes("2", ""))
	lenient := f.replica()
	bustest.Eventually(t, "the alarm", func() bool {
		return strings.Contains(lenient.Log(), `"level":"ERROR"`) && strings.Contains(lenient.Log(), `C4C_STATUS is \"1\", but the tenant's TasksStatusCollection has 2"`)
	})
	f.publish(feedback)
	lenient.Published(taskCreated, 1)
	if _, paused := f.paused(); paused {
		t.Error("work waits for a setting")
	}
}

func TestListsThatCannotBeReadAreAWarningAndWorkGoesOn(t *testing.T) {
	for name, serve := range map[string]func(http.ResponseWriter, *http.Request, http.Handler){
		"no answer":    func(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) },
		"out":          answered(http.StatusServiceUnavailable, "Out"),
		"broken":       answered(http.StatusInternalServerError, "Broken"),
		"unauthorized": answered(http.StatusUnauthorized, "Logon failed"),
		"forbidden":    answered(http.StatusForbidden, "Not for you"),
	} {
		t.Run(name, func(t *testing.T) {
			f := startSalesCloud(t, nil, servicetest.Env{"C4C_CODE_LISTS": "off"})
			f.env["C4C_CODE_LISTS"] = "lenient"
			f.next("GET TasksPriorityCodeCollection", serve)
			lenient := f.replica()
			bustest.Eventually(t, "the warning", func() bool {
				return strings.Contains(lenient.Log(), "the code lists of SAP Sales Cloud cannot be read yet")
			})
			f.publish(with(t, map[string]any{"priority": "2"}))
			lenient.Published(taskCreated, 1)
			if _, paused := f.paused(); paused || strings.Contains(lenient.Log(), `"level":"ERROR"`) {
				t.Errorf("paused %v, or an alarm for a list", paused)
			}
			bustest.Eventually(t, "another try", func() bool { return f.count("GET TasksPriorityCodeCollection") >= 2 })
		})
	}
}

func TestMentionOfAKnownPartyMakesNoGuest(t *testing.T) {
	for _, guests := range []string{"drop", "without", "default-account"} {
		t.Run(guests, func(t *testing.T) {
			env := servicetest.Env{"C4C_GUESTS": guests}
			if guests == "default-account" {
				env["C4C_DEFAULT_ACCOUNT_ID"] = "1000101"
			}
			f := startSalesCloud(t, nil, env)
			f.next(createTask, answered(http.StatusBadRequest, "The account 1000123 has too many tasks: MainAccountPartyID"))
			f.publish(feedback)
			if letter := f.Dead(1)[0]; letter.Class != "person" || letter.Field != "accountId" || !strings.Contains(letter.Reason, "too many tasks") {
				t.Errorf("%+v", letter)
			}
			if n := f.count(createTask); n != 1 || strings.Contains(f.Log(), "no task for a guest") {
				t.Errorf("%d calls to create, or dropped", n)
			}
		})
	}
}

func TestGuestWaitsUntilTheLookUpCanTell(t *testing.T) {
	f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{partyWords: id}"}, servicetest.Env{"C4C_GUESTS": "drop"})
	f.next("GET CorporateAccountCollection", answered(http.StatusInternalServerError, "Broken"))
	f.publish(with(t, map[string]any{"accountId": "4711"}))
	bustest.Eventually(t, "dropped in the end", func() bool { return strings.Contains(f.Log(), "no task for a guest") })
	if looked, made := f.count("GET CorporateAccountCollection"), f.count(createTask); looked != 2 || made != 2 {
		t.Errorf("%d look-ups, %d calls to create; want 2 of each", looked, made)
	}
}

func TestPriorityThatTheTenantDoesNotHaveIsDeadWithItsField(t *testing.T) {
	f := startSalesCloud(t, nil, nil)
	bustest.Eventually(t, "the list in hand", func() bool { return f.count("GET TasksStatusCollection") == 1 })
	f.publish(with(t, map[string]any{"priority": "5"}))
	if letter := f.Dead(1)[0]; letter.Class != "invalid" || letter.Field != "priority" || !strings.Contains(letter.Reason, "1, 2, 3, 7") {
		t.Errorf("%+v", letter)
	}
	for n := range 3 {
		f.publish(with(t, map[string]any{"responseId": fmt.Sprintf("R_%d", n+2), "priority": "7"}))
	}
	bustest.Eventually(t, "the others", func() bool { return len(f.SalesCloud().Books().Tasks) == 3 })
	for set, n := range map[string]int{"TasksPriorityCodeCollection": 1, "TasksStatusCollection": 1, "TasksDueDatetimeZoneCodeCollection": 1} {
		if got := f.count("GET " + set); got != n {
			t.Errorf("%s was read %d times", set, got)
		}
	}
}

func TestTenantWithoutACodeListIsToleratedBySetting(t *testing.T) {
	missing := servicetest.Env{"LANDSCAPE_C4C": "{missingSets: [ActivityTextCollectionTypeCodeCollection], codeLists: {TasksPriorityCodeCollection: [{code: '5'}]}}"}
	t.Run("lenient", func(t *testing.T) {
		f := startSalesCloud(t, missing, servicetest.Env{"C4C_PRIORITY": "5"}) // the default
		f.publish(feedback)
		f.Published(taskCreated, 1)
	})
	t.Run("off", func(t *testing.T) {
		f := startSalesCloud(t, missing, servicetest.Env{"C4C_CODE_LISTS": "off", "C4C_PRIORITY": "5"})
		f.publish(feedback)
		f.Published(taskCreated, 1)
		if n := f.count("GET TasksPriorityCodeCollection"); n != 0 {
			t.Errorf("%d code lists read", n)
		}
	})
	t.Run("strict", func(t *testing.T) {
		f := startSalesCloud(t, missing, servicetest.Env{"C4C_CODE_LISTS": "strict", "C4C_PRIORITY": "5"})
		bustest.Eventually(t, "the alarm", func() bool {
			return strings.Contains(f.Log(), "no code list ActivityTextCollectionTypeCodeCollection: set C4C_CODE_LISTS=lenient")
		})
	})
}

func TestLostAnswerIsFoundByEveryKindOfReference(t *testing.T) {
	for _, c := range []struct {
		name          string
		env           servicetest.Env
		subject, text string
	}{
		{"subject", nil, "Cart: delivery too late [R_1]", "Wanted by 1 August"},
		{"text", servicetest.Env{"C4C_REFERENCE": "text"}, "Cart: delivery too late", "Wanted by 1 August [R_1]"},
		{"field", servicetest.Env{"C4C_REFERENCE_FIELD": "ResponseID_KUT"}, "Cart: delivery too late", "Wanted by 1 August"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{extensionFields: [{name: ResponseID_KUT, maxLength: 40}]}"}, c.env)
			f.publish(with(t, map[string]any{"responseId": "R_0"}))
			f.Published(taskCreated, 1)
			f.lose(createTask)
			f.publish(feedback)
			created := f.Published(taskCreated, 2)[1].Data.(interface{ GetTaskId() string })
			tasks := f.SalesCloud().Books().Tasks
			if len(tasks) != 2 || f.count(createTask) != 2 {
				t.Fatalf("%d tasks by %d calls, want 2 by 2", len(tasks), f.count(createTask))
			}
			if got := tasks[1]; got.ID != created.GetTaskId() || got.Subject != c.subject || fmt.Sprint(got.Texts) != "["+c.text+"]" {
				t.Errorf("found %s, want the task %+v", created.GetTaskId(), got)
			}
			if field := tasks[1].Fields["ResponseID_KUT"]; (field == "R_1") != (c.name == "field") {
				t.Errorf("the tenant's field is %q", field)
			}
		})
	}
}

func TestTextOfItsOwnCallIsAddedOnceThoughItsAnswerIsLost(t *testing.T) {
	f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{refuseInlineTexts: true}"}, servicetest.Env{"C4C_TEXTS": "separate"})
	const addText = "POST TasksTextCollectionCollection"
	f.lose(addText)
	f.publish(with(t, map[string]any{"text": "Wanted by 1 August:\r\n* the lamp"}))
	f.Published(taskCreated, 1)
	tasks := f.SalesCloud().Books().Tasks
	if len(tasks) != 1 || len(tasks[0].Texts) != 1 || f.count(addText) != 1 || f.count(createTask) != 1 {
		t.Errorf("tasks %+v by %d and %d calls", tasks, f.count(createTask), f.count(addText))
	}
}

func TestTenantsOwnWays(t *testing.T) {
	f := startSalesCloud(t,
		servicetest.Env{"LANDSCAPE_C4C": "{dates: epoch, codeLists: {TasksDueDatetimeZoneCodeCollection: [{code: CET}], TasksDocumentTypeCollection: [{code: Z001}], ActivityTextCollectionTypeCodeCollection: [{code: '10011'}]}}"},
		servicetest.Env{"C4C_DATES": "ticks", "C4C_ZONE": "CET", "C4C_DOCUMENT_TYPE": "Z001", "C4C_TEXT_TYPE": "10011", "C4C_STATUS": "2"})
	f.publish(with(t, map[string]any{"dueAt": "2026-07-27T18:00:00.250+02:00"}))
	f.Published(taskCreated, 1)
	got := f.SalesCloud().Books().Tasks[0]
	if !got.DueAt.Equal(time.Date(2026, 7, 27, 16, 0, 0, 0, time.UTC)) || got.Status != "2" || got.Fields["DocumentType"] != "Z001" || got.Fields["DueDatetimeZoneCode"] != "CET" || len(got.Texts) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestFleetKeepsWithinItsParallelCalls(t *testing.T) {
	const limit, events = 3, 40
	f := startSalesCloud(t, nil, servicetest.Env{"C4C_PARALLEL_CALLS": fmt.Sprint(limit), "C4C_PARALLEL": "6"})
	f.replica()
	for n := range events {
		f.publish(with(t, map[string]any{"responseId": fmt.Sprintf("R_%d", n)}))
	}
	f.Published(taskCreated, events)
	books := f.SalesCloud().Books()
	if len(books.Tasks) != events || books.PeakParallel > limit {
		t.Errorf("%d tasks, %d calls at once; want %d and at most %d", len(books.Tasks), books.PeakParallel, events, limit)
	}
}

func TestTooManyCallsAreAPauseAndNoDeadLetter(t *testing.T) {
	f := startSalesCloud(t, servicetest.Env{"LANDSCAPE_C4C": "{maxParallel: 1}"}, servicetest.Env{"C4C_CODE_LISTS": "off"})
	for n := range 6 {
		f.publish(with(t, map[string]any{"responseId": fmt.Sprintf("R_%d", n)}))
	}
	// A refusal that does not say until when ends the calls of that kind for a minute.
	eventually(t, "all tasks", 3*time.Minute, func() bool { return len(f.SalesCloud().Books().Tasks) >= 6 })
	f.Published(taskCreated, 6) // and no dead letter
	if n := len(f.SalesCloud().Books().Tasks); n != 6 {
		t.Errorf("%d tasks, want 6", n)
	}
}
