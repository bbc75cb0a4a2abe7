package salescloud

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
)

// tenant answers reads by the set and what the filter begins with, such as "TasksCollection Subject eq"; what it was
// asked stays.
type tenant struct {
	mu      sync.Mutex
	answers map[string]answer
	asked   []string
}

// answer is a status, or a 200 with this under d.
type answer struct {
	status int
	d      any
}

// rows is a list as the vendor has it.
func rows(all ...map[string]any) answer { return answer{200, map[string]any{"results": all}} }

func (v *tenant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	asked := strings.TrimSpace(r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:] + " " + r.URL.Query().Get("$filter"))
	v.asked = append(v.asked, asked)
	w.Header().Set("Content-Type", "application/json")
	for begin, a := range v.answers {
		if !strings.HasPrefix(asked, begin) {
			continue
		}
		w.WriteHeader(a.status)
		if a.status == http.StatusOK {
			_ = json.NewEncoder(w).Encode(map[string]any{"d": a.d})
		}
		return
	}
	w.WriteHeader(http.StatusTeapot)
}

func (v *tenant) client(t *testing.T, o Options) *Client {
	t.Helper()
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	calls, err := outbound.New(outbound.Options{Vendor: Vendor, BaseURL: server.URL, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	session, err := odata.New(odata.Options{Outbound: calls, ServiceRoot: ServiceRoot})
	if err != nil {
		t.Fatal(err)
	}
	return New(session, o)
}

func TestLookUpBelievesNoTaskThatDoesNotShowTheReference(t *testing.T) {
	const exact, byEnd, field = "TasksCollection Subject eq", "TasksCollection endswith(Subject", "TasksCollection Ref_KUT eq"
	const exactText, textByEnd, above = "TasksTextCollectionCollection Text eq", "TasksTextCollectionCollection endswith(Text", "TasksCollection ObjectID eq"
	ours := map[string]any{"ObjectID": "A1", "ID": "1", "Subject": "Late [R_1]", "Ref_KUT": "R_1"}
	anothers := map[string]any{"ObjectID": "B2", "ID": "2", "Subject": "Late [R_2]", "Ref_KUT": "R_2"}
	otherCase := map[string]any{"ObjectID": "C3", "ID": "3", "Subject": "Late [r_1]", "Ref_KUT": "r_1"}
	ourText := map[string]any{"ParentObjectID": "A1", "Text": "Where is it? [R_1]"}
	anothersText := map[string]any{"ParentObjectID": "B2", "Text": "Where is it? [R_2]"}
	nothing, refused, unknown := answer{200, map[string]any{}}, answer{status: 400}, answer{status: 501}

	for name, c := range map[string]struct {
		subject   string
		reference Reference
		field     string
		answers   map[string]answer
		found     string
		class     fault.Class
		calls     int
	}{
		"by the subject as sent":                        {answers: map[string]answer{exact: rows(ours)}, found: "1", calls: 1},
		"by its end, whoever changed the rest":          {answers: map[string]answer{exact: rows(), byEnd: rows(ours)}, found: "1", calls: 2},
		"among others":                                  {answers: map[string]answer{exact: rows(anothers, ours)}, found: "1", calls: 1},
		"not there":                                     {answers: map[string]answer{exact: rows(), byEnd: rows()}, calls: 2},
		"endswith is refused":                           {answers: map[string]answer{exact: rows(), byEnd: refused}, calls: 2},
		"endswith is not implemented":                   {answers: map[string]answer{exact: rows(), byEnd: unknown}, calls: 2},
		"endswith is ignored":                           {answers: map[string]answer{exact: rows(), byEnd: rows(anothers)}, calls: 2},
		"every filter is ignored":                       {answers: map[string]answer{exact: rows(anothers), byEnd: rows(anothers)}, class: fault.Person, calls: 2},
		"every filter is refused":                       {answers: map[string]answer{exact: refused, byEnd: unknown}, class: fault.Person, calls: 2},
		"a stand-in that answers nothing":               {answers: map[string]answer{exact: nothing, byEnd: nothing}, calls: 2},
		"another case is another response":              {answers: map[string]answer{exact: rows(otherCase), byEnd: rows(otherCase)}, calls: 2},
		"a wildcard in the subject":                     {subject: "Late *", answers: map[string]answer{byEnd: rows(ours)}, found: "1", calls: 1},
		"a wildcard, and endswith is refused":           {subject: "Late *", answers: map[string]answer{byEnd: refused}, class: fault.Person, calls: 1},
		"the vendor is out":                             {answers: map[string]answer{exact: {status: 503}}, class: fault.Down, calls: 1},
		"the tenant's field":                            {field: "Ref_KUT", answers: map[string]answer{field: rows(ours)}, found: "1", calls: 1},
		"the tenant's field, ignored":                   {field: "Ref_KUT", answers: map[string]answer{field: rows(anothers)}, class: fault.Person, calls: 1},
		"the tenant's field, nothing":                   {field: "Ref_KUT", answers: map[string]answer{field: nothing}, calls: 1},
		"the text as sent":                              {reference: InText, answers: map[string]answer{exactText: rows(ourText), above: rows(ours)}, found: "1", calls: 2},
		"the text's end":                                {reference: InText, answers: map[string]answer{exactText: refused, textByEnd: rows(ourText), above: rows(ours)}, found: "1", calls: 3},
		"the text, ignored":                             {reference: InText, answers: map[string]answer{exactText: rows(anothersText), textByEnd: rows(anothersText)}, class: fault.Person, calls: 2},
		"the text, and another task than the one above": {reference: InText, answers: map[string]answer{exactText: rows(ourText), above: rows(anothers)}, class: fault.Person, calls: 2},
	} {
		t.Run(name, func(t *testing.T) {
			v := &tenant{answers: c.answers}
			task := sales.Task{Reference: "R_1", Subject: "Late", Text: "Where is it?"}
			if c.subject != "" {
				task.Subject = c.subject
			}
			client := v.client(t, Options{Reference: c.reference, ReferenceField: c.field})
			got, found, err := client.Find(t.Context(), task)
			if class := classOf(err); class != c.class || found != (c.found != "") || found && got != (sales.Created{ObjectID: "A1", ID: "1"}) {
				t.Errorf("%v %+v, %v; want %q and class %q", found, got, err, c.found, c.class)
			}
			if len(v.asked) != c.calls {
				t.Errorf("asked %q, want %d calls", v.asked, c.calls)
			}
		})
	}
}

func classOf(err error) fault.Class {
	if err == nil {
		return ""
	}
	return fault.From(err).Class
}

func TestTextOfAnotherTaskIsNotOurs(t *testing.T) {
	text := func(parent, id string) answer {
		return rows(map[string]any{"ObjectID": id, "ParentObjectID": parent, "Text": "Where is it?"})
	}
	for name, c := range map[string]struct {
		answer answer
		found  bool
	}{
		"ours": {text("A1", "T1"), true}, "another's": {text("B2", "T2"), false}, "no key": {text("A1", ""), false}, "nothing": {answer{200, map[string]any{}}, false},
	} {
		v := &tenant{answers: map[string]answer{"TasksTextCollectionCollection": c.answer}}
		_, found, err := v.client(t, Options{}).FindText(t.Context(), sales.Created{ObjectID: "A1"}, sales.Task{Text: "Where is it?"})
		if err != nil || found != c.found {
			t.Errorf("%s: %v %v", name, found, err)
		}
	}
}

func TestListsNeverStandBeforeATaskUnlessStrict(t *testing.T) {
	codes := func(all ...string) answer {
		var list []map[string]any
		for _, code := range all {
			list = append(list, map[string]any{"Code": code})
		}
		return rows(list...)
	}
	options := Options{Priority: "3", Status: "1", Lists: ListsLenient}
	urgent := sales.Task{Priority: "5"}
	for name, c := range map[string]struct {
		priorities, statuses answer
		wrong                int
		unread               bool
		check                fault.Class
	}{
		"all is well":           {codes("3", "5"), codes("1"), 0, false, ""},
		"not the event's":       {codes("3"), codes("1"), 0, false, fault.Invalid},
		"not the setting's":     {codes("5"), codes("1"), 1, false, ""},
		"missing":               {answer{status: 404}, codes("1"), 0, false, ""},
		"a stand-in":            {answer{200, map[string]any{}}, codes("", "1"), 0, false, ""},
		"out":                   {answer{status: 503}, codes("2"), 0, true, ""},
		"broken":                {answer{status: 500}, codes("2"), 1, true, ""},
		"forbidden":             {answer{status: 403}, codes("2"), 1, true, ""},
		"refused credentials":   {answer{status: 401}, codes("2"), 0, true, ""},
		"refused":               {answer{status: 400}, codes("1"), 0, true, ""},
		"one wrong, one broken": {codes("5"), answer{status: 500}, 1, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			v := &tenant{answers: map[string]answer{priorityList: c.priorities, statusList: c.statuses}}
			client := v.client(t, options)
			if err := client.Check(t.Context(), urgent); err != nil || len(v.asked) != 0 {
				t.Fatalf("before any list was read: %v after %q", err, v.asked)
			}
			wrong, err := client.Settings(t.Context())
			if len(wrong) != c.wrong || (err != nil) != c.unread {
				t.Errorf("wrong %q, error %v", wrong, err)
			}
			asked := len(v.asked)
			if err := client.Check(t.Context(), urgent); classOf(err) != c.check || len(v.asked) != asked {
				t.Errorf("with the lists in hand: %v after %q", err, v.asked[asked:])
			}
		})
	}
	t.Run("a list in hand outlives a failure", func(t *testing.T) {
		v := &tenant{answers: map[string]answer{priorityList: codes("3"), statusList: codes("1")}}
		client := v.client(t, options)
		_, _ = client.Settings(t.Context())
		v.answers[priorityList] = answer{status: 500}
		if _, err := client.Settings(t.Context()); err == nil {
			t.Error("the failure is not told")
		}
		if err := client.Check(t.Context(), urgent); classOf(err) != fault.Invalid {
			t.Errorf("the list in hand: %v", err)
		}
	})
	t.Run("strict", func(t *testing.T) {
		strict := options
		strict.Lists = ListsStrict
		for _, priorities := range []answer{codes("5"), {status: 404}, {status: 403}, {status: 401}} {
			v := &tenant{answers: map[string]answer{priorityList: priorities, statusList: codes("1")}}
			if err := v.client(t, strict).Check(t.Context(), sales.Task{}); classOf(err) != fault.Unauthorized {
				t.Errorf("%+v: %v", priorities, err)
			}
		}
	})
}
