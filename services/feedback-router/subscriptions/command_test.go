package subscriptions_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/services/feedback-router/subscriptions"
)

const (
	listed    = "GET /API/v3/eventsubscriptions"
	make1     = "POST /API/v3/eventsubscriptions"
	remove    = "DELETE /API/v3/eventsubscriptions/{id}"
	token     = "invented-token"
	eventsURL = "https://hooks.example.org/qualtrics/events"
	oldURL    = "https://old.example.org/qualtrics/events"
	otherURL  = "https://other.example.com/hook"
	topic1    = "surveyengine.completedResponse.SV_1"
	topic2    = "surveyengine.completedResponse.SV_2"
	all       = "surveyengine.completedResponse.*"
)

// subscription is one of the brand's, with the key that nobody can read.
type subscription struct{ ID, Topics, URL, Key string }

// brand has subscriptions as qualtrics.md §3.9 has them.
type brand struct {
	*servicetest.Vendor
	t         *testing.T
	all       []subscription
	successes map[string]int
	refuse    bool // a topic and URL that are there already (qualtrics.md §9, row 19)
	made      int
	// refuseFrom is how many may be made before all more are refused; 0 means any number.
	refuseFrom int
}

func newBrand(t *testing.T, all ...subscription) *brand {
	b := &brand{Vendor: servicetest.NewVendor(t), t: t, all: slices.Clone(all), successes: map[string]int{}}
	b.Handle(listed, func(c servicetest.Call) servicetest.Reply {
		elements := []map[string]any{}
		for _, s := range b.all {
			elements = append(elements, map[string]any{
				"id": s.ID, "scope": "simbrand", "topics": s.Topics, "publicationUrl": s.URL, "encrypted": false, "successfulCalls": b.successes[s.ID],
			})
		}
		return servicetest.Reply{Body: map[string]any{"result": map[string]any{"elements": elements, "nextPage": nil}}}
	})
	b.Handle(make1, func(c servicetest.Call) servicetest.Reply {
		var body struct {
			Topics, PublicationURL, SharedKey string
			Encrypt                           bool
		}
		if err := c.Decode(&body); err != nil || body.Encrypt {
			t.Errorf("asked for %s: %v", c.Body, err)
		}
		if b.refuse && slices.ContainsFunc(b.all, func(s subscription) bool { return s.Topics == body.Topics && s.URL == body.PublicationURL }) {
			return refused(http.StatusBadRequest, "The topic is subscribed for this URL already.")
		}
		if b.refuseFrom > 0 && b.made >= b.refuseFrom {
			return refused(http.StatusBadRequest, "Not now.")
		}
		b.made++
		s := subscription{fmt.Sprint("SUB_new", b.made), body.Topics, body.PublicationURL, body.SharedKey}
		b.all = append(b.all, s)
		return servicetest.Reply{Body: map[string]any{"result": map[string]any{"id": s.ID}}}
	})
	b.Handle(remove, func(c servicetest.Call) servicetest.Reply {
		b.all = slices.DeleteFunc(b.all, func(s subscription) bool { return s.ID == c.Value("id") })
		return servicetest.Reply{Body: map[string]any{"meta": map[string]any{"httpStatus": "200 - OK"}}}
	})
	return b
}

func refused(status int, message string) servicetest.Reply {
	return servicetest.Reply{Status: status, Body: map[string]any{"meta": map[string]any{"error": map[string]any{"errorCode": "QMST_2.1", "errorMessage": message}}}}
}

type result struct {
	exit      int
	out, errs string
}

// run runs the command with these variables and no others of ours.
func (b *brand) run(env servicetest.Env, args ...string) result {
	b.t.Helper()
	settings := servicetest.Env{
		"QUALTRICS_BASE_URL": b.URL + "/API/v3", "QUALTRICS_API_TOKEN": token,
		"QUALTRICS_EVENTS_URL": eventsURL, "QUALTRICS_SHARED_KEY": "new-key, old-key", "QUALTRICS_SURVEYS": "SV_1,SV_2",
	}
	maps.Copy(settings, env)
	for name, value := range settings {
		b.t.Setenv(name, value)
	}
	var out, errs bytes.Buffer
	code := subscriptions.Run(b.t.Context(), args, &out, &errs)
	return result{code, out.String(), errs.String()}
}

func (b *brand) want(subs ...subscription) {
	b.t.Helper()
	if !slices.Equal(b.all, subs) {
		b.t.Errorf("the brand has %+v, want %+v", b.all, subs)
	}
}

// changes are the calls that change something, in their order.
func (b *brand) changes() (all []string) {
	for _, c := range b.Calls(make1, remove) {
		method, _, _ := strings.Cut(c.Pattern, " ")
		all = append(all, method)
	}
	return all
}

var other = subscription{"SUB_other", all, otherURL, "theirs"}

func TestEnsureMakesExactlyOneForEachSurveyAndThenNothing(t *testing.T) {
	b := newBrand(t, other)
	want := []subscription{other, {"SUB_new1", topic1, eventsURL, "new-key"}, {"SUB_new2", topic2, eventsURL, "new-key"}}
	for i := range 2 {
		r := b.run(nil, "ensure")
		if r.exit != 0 {
			t.Fatalf("%+v", r)
		}
		b.want(want...)
		if verb := []string{"created", "kept"}[i]; strings.Count(r.out, verb) != 2 || strings.Contains(r.out, "-key") {
			t.Errorf("run %d says\n%s", i, r.out)
		}
	}
	if n := len(b.changes()); n != 2 {
		t.Errorf("%d changes, want 2", n)
	}
}

func TestEnsureReplacesOursAndNeverTouchesOthers(t *testing.T) {
	alien := subscription{"SUB_alien", topic1, otherURL, "theirs"}
	b := newBrand(t, other, alien,
		subscription{"SUB_1", topic1, "HTTPS://Hooks.Example.org/qualtrics/events", ""},
		subscription{"SUB_2", topic1, eventsURL, ""}, // twice
		subscription{"SUB_3", all, eventsURL, ""},    // and a third time
		subscription{"SUB_4", topic2, oldURL, ""})    // moved
	b.successes["SUB_2"] = 7
	r := b.run(nil, "ensure", "--duplicates", "--was", oldURL)
	if r.exit != 0 {
		t.Fatalf("%+v", r)
	}
	b.want(other, alien, subscription{"SUB_2", topic1, eventsURL, ""}, subscription{"SUB_new1", topic2, eventsURL, "new-key"})
	if got := b.changes(); !slices.Equal(got, []string{"POST", "DELETE", "DELETE", "DELETE"}) {
		t.Errorf("changed by %v: the new one comes first", got)
	}
	for _, want := range []string{"duplicate of SUB_2", "not wanted any more", "former address"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in\n%s", want, r.out)
		}
	}
}

func TestWhatSendsToAnotherAddressIsNotOursUnlessSaid(t *testing.T) {
	old := subscription{"SUB_4", topic1, oldURL, ""}
	b := newBrand(t, old)
	b.run(nil, "ensure")
	if b.all[0] != old || len(b.all) != 3 {
		t.Errorf("the brand has %+v", b.all)
	}
}

func TestReplaceMakesAllAnewBeforeItDeletes(t *testing.T) {
	b := newBrand(t, other, subscription{"SUB_1", topic1, eventsURL, "old-key"}, subscription{"SUB_2", topic2, eventsURL, "old-key"})
	if r := b.run(nil, "replace"); r.exit != 0 {
		t.Fatalf("%+v", r)
	}
	b.want(other, subscription{"SUB_new1", topic1, eventsURL, "new-key"}, subscription{"SUB_new2", topic2, eventsURL, "new-key"})
	if got := b.changes(); !slices.Equal(got, []string{"POST", "POST", "DELETE", "DELETE"}) {
		t.Errorf("changed by %v", got)
	}
}

func TestReplaceThatFailsOnTheWaySaysToRunItAgain(t *testing.T) {
	old := []subscription{{"SUB_1", topic1, eventsURL, "old-key"}, {"SUB_2", topic2, eventsURL, "old-key"}}
	fresh := subscription{"SUB_new1", topic1, eventsURL, "new-key"}
	for name, c := range map[string]struct {
		args []string
		fail func(*brand)
		left []subscription
	}{
		"making the second": {[]string{"replace"}, func(b *brand) { b.refuseFrom = 1 }, []subscription{old[0], old[1], fresh}},
		"deleting the first": {[]string{"replace"}, func(b *brand) { b.Refuse(remove, refused(http.StatusForbidden, "no")) },
			[]subscription{old[0], old[1], fresh, {"SUB_new2", topic2, eventsURL, "new-key"}}},
		"making the second of those that were deleted": {[]string{"replace", "--delete-first"}, func(b *brand) { b.refuseFrom = 1 }, []subscription{fresh}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBrand(t, old...)
			b.successes["SUB_1"], b.successes["SUB_2"] = 40, 50
			c.fail(b)
			if r := b.run(nil, c.args...); r.exit != 1 || !strings.Contains(r.errs, "run replace again, not ensure") {
				t.Errorf("%+v", r)
			}
			b.want(c.left...)
			b.refuseFrom = 0
			if r := b.run(nil, "ensure"); r.exit != 0 {
				t.Errorf("%+v", r)
			}
			for _, s := range c.left {
				if !slices.Contains(b.all, s) {
					t.Errorf("ensure has deleted %s", s.ID)
				}
			}
			if r := b.run(nil, "replace"); r.exit != 0 {
				t.Errorf("%+v", r)
			}
			for _, s := range b.all {
				if len(b.all) != 2 || s.Key != "new-key" {
					t.Errorf("the brand has %+v", b.all)
				}
			}
		})
	}
}

func TestEnsureDeletesNoneOfAKindUnlessTold(t *testing.T) {
	twice := []subscription{{"SUB_1", topic1, eventsURL, "old-key"}, {"SUB_2", topic1, eventsURL, "new-key"}}
	b := newBrand(t, twice...)
	b.successes["SUB_1"] = 40
	env := servicetest.Env{"QUALTRICS_SURVEYS": "SV_1"}
	if r := b.run(env, "ensure"); r.exit != 0 || strings.Count(r.out, "one of 2 of a kind") != 2 || !strings.Contains(r.out, "--duplicates") {
		t.Errorf("%+v", r)
	}
	b.want(twice...)
	if r := b.run(env, "ensure", "--duplicates"); r.exit != 0 || !strings.Contains(r.out, "duplicate of SUB_1") {
		t.Errorf("%+v", r)
	}
	b.want(twice[0])
}

func TestListThatDoesNotKnowOursSaysSo(t *testing.T) {
	b := newBrand(t, other, subscription{"SUB_1", topic1, oldURL, ""})
	env := servicetest.Env{"QUALTRICS_EVENTS_URL": ""}
	r := b.run(env, "list")
	if strings.Contains(r.out, "other  SUB_") || strings.Contains(r.out, "ours") || strings.Count(r.out, "?  SUB_") != 2 {
		t.Errorf("%+v", r)
	}
	if r := b.run(env, "list", "--json"); strings.Contains(r.out, "ours") {
		t.Errorf("%+v", r)
	}
	if r := b.run(env, "list", "--was", oldURL); !strings.Contains(r.out, "ours  SUB_1") || !strings.Contains(r.out, "?     SUB_other") {
		t.Errorf("%+v", r)
	}
}

func TestReplaceInABrandThatRefusesTwoOfAKind(t *testing.T) {
	old := subscription{"SUB_1", topic1, eventsURL, "old-key"}
	b := newBrand(t, old)
	b.refuse = true
	env := servicetest.Env{"QUALTRICS_SURVEYS": "SV_1"}
	if r := b.run(env, "replace"); r.exit != 1 || !strings.Contains(r.errs, "--delete-first") {
		t.Errorf("%+v", r)
	}
	b.want(old)
	if r := b.run(env, "replace", "--delete-first"); r.exit != 0 {
		t.Errorf("%+v", r)
	}
	b.want(subscription{"SUB_new1", topic1, eventsURL, "new-key"})
}

func TestASubscriptionWhoseAnswerIsLostIsFoundAndNotMadeAgain(t *testing.T) {
	old := subscription{"SUB_1", topic1, eventsURL, "old-key"}
	b := newBrand(t, old)
	b.Lose(make1)
	if r := b.run(servicetest.Env{"QUALTRICS_SURVEYS": "SV_1"}, "replace"); r.exit != 0 || !strings.Contains(r.out, "SUB_new1") {
		t.Fatalf("%+v", r)
	}
	b.want(subscription{"SUB_new1", topic1, eventsURL, "new-key"})
}

func TestASubscriptionThatWasNotMadeKeepsTheOldOne(t *testing.T) {
	old := subscription{"SUB_1", topic1, eventsURL, "old-key"}
	b := newBrand(t, old)
	b.Drop(make1)
	if r := b.run(servicetest.Env{"QUALTRICS_SURVEYS": "SV_1"}, "replace"); r.exit != 1 || !strings.Contains(r.errs, "run the command again") {
		t.Fatalf("%+v", r)
	}
	b.want(old)
}

func TestDeleteTakesOursAlone(t *testing.T) {
	b := newBrand(t, other, subscription{"SUB_1", topic1, eventsURL, ""}, subscription{"SUB_2", topic2, eventsURL, ""})
	for _, id := range []string{other.ID, "SUB_unknown"} {
		if r := b.run(nil, "delete", "SUB_1", id); r.exit != 1 || !strings.Contains(r.errs, id) {
			t.Errorf("%+v", r)
		}
	}
	if n := len(b.changes()); n != 0 {
		t.Errorf("%d changes", n)
	}
	b.run(nil, "delete", "SUB_2")
	b.want(other, subscription{"SUB_1", topic1, eventsURL, ""})
	b.run(nil, "delete", "--all")
	b.want(other)
}

func TestDryRunChangesNothing(t *testing.T) {
	before := []subscription{other, {"SUB_1", all, eventsURL, ""}}
	b := newBrand(t, before...)
	for _, command := range [][]string{{"ensure", "--dry-run"}, {"replace", "--dry-run"}, {"delete", "--dry-run", "--all"}} {
		r := b.run(nil, command...)
		if r.exit != 0 || !strings.Contains(r.out, "nothing was done") || !strings.Contains(r.out, "SUB_1") {
			t.Errorf("%v: %+v", command, r)
		}
	}
	b.want(before...)
	if n := len(b.changes()); n != 0 {
		t.Errorf("%d changes", n)
	}
}

func TestListShowsWhoseTheyAreAndWhatComesTwice(t *testing.T) {
	b := newBrand(t, other, subscription{"SUB_1", topic1, "https://closeloop:hidden@hooks.example.org/qualtrics/events?key=hidden", ""},
		subscription{"SUB_2", all, "https://closeloop:hidden@hooks.example.org/qualtrics/events?key=hidden", ""})
	b.successes["SUB_1"] = 12
	env := servicetest.Env{"QUALTRICS_EVENTS_URL": "https://closeloop:hidden@hooks.example.org/qualtrics/events?key=hidden"}
	r := b.run(env, "list", "--json")
	var report struct {
		Subscriptions []struct {
			ID, Topics, URL, Reason string
			SuccessfulCalls         int
			Ours                    bool
		}
	}
	if err := json.Unmarshal([]byte(r.out), &report); err != nil || r.exit != 0 || len(report.Subscriptions) != 3 {
		t.Fatalf("%v: %+v", err, r)
	}
	if s := report.Subscriptions[0]; s.Ours || s.URL != otherURL || s.Reason != "" {
		t.Errorf("%+v", s)
	}
	if s := report.Subscriptions[1]; !s.Ours || s.SuccessfulCalls != 12 || !strings.Contains(s.Reason, "SUB_2") {
		t.Errorf("%+v", s)
	}
	if s := report.Subscriptions[2]; s.Reason != "" {
		t.Errorf("%+v", s)
	}
	people := b.run(env, "list")
	for _, want := range []string{"other", "ours", "12 delivered", "also come by SUB_2"} {
		if !strings.Contains(people.out, want) {
			t.Errorf("%q is missing in\n%s", want, people.out)
		}
	}
	if strings.Contains(r.out+people.out, "hidden") {
		t.Error("a password or key is shown")
	}
	if r := newBrand(t).run(nil, "list", "--json"); strings.Contains(r.out, "null") {
		t.Errorf("an empty list is %s", r.out)
	}
}

func TestWithoutABrandAdministratorTheCommandSaysSo(t *testing.T) {
	for _, command := range []string{"list", "ensure"} {
		b := newBrand(t)
		b.Refuse(listed, refused(http.StatusForbidden, "The operation is forbidden."))
		if r := b.run(nil, command); r.exit != 1 || !strings.Contains(r.errs, "brand administrator") {
			t.Errorf("%+v", r)
		}
	}
}

func TestUnsignedSubscriptionsAreMadeOnlyWhereSaid(t *testing.T) {
	b := newBrand(t)
	env := servicetest.Env{"QUALTRICS_SHARED_KEY": "", "QUALTRICS_SURVEYS": "*"}
	if r := b.run(env, "ensure"); r.exit != 2 || !strings.Contains(r.errs, "QUALTRICS_UNSIGNED_EVENTS") {
		t.Errorf("%+v", r)
	}
	env["QUALTRICS_UNSIGNED_EVENTS"] = "true"
	if r := b.run(env, "ensure"); r.exit != 0 {
		t.Errorf("%+v", r)
	}
	b.want(subscription{"SUB_new1", all, eventsURL, ""})
}

func TestArgumentsAndSettingsThatCannotWorkAreNamed(t *testing.T) {
	b := newBrand(t)
	for _, c := range []struct {
		env  servicetest.Env
		args string
		says string
	}{
		{nil, "", "which command"},
		{nil, "lst", "lst"},
		{nil, "list more", "no ids"},
		{nil, "ensure --delete-first", "--delete-first"},
		{nil, "replace --duplicates", "--duplicates"},
		{nil, "ensure --all", "no ids"},
		{nil, "delete", "--all"},
		{nil, "delete --all SUB_1", "--all"},
		{nil, "list --nonsense", "nonsense"},
		{servicetest.Env{"QUALTRICS_BASE_URL": ""}, "list", "QUALTRICS_BASE_URL"},
		{servicetest.Env{"QUALTRICS_API_TOKEN": ""}, "list", "QUALTRICS_API_TOKEN"},
		{servicetest.Env{"QUALTRICS_EVENTS_URL": ""}, "ensure", "QUALTRICS_EVENTS_URL"},
		{servicetest.Env{"QUALTRICS_EVENTS_URL": "hooks.example.org"}, "list", "QUALTRICS_EVENTS_URL"},
		{servicetest.Env{"QUALTRICS_SURVEYS": ""}, "replace", "QUALTRICS_SURVEYS"},
		{servicetest.Env{"QUALTRICS_SURVEYS": "*,SV_1"}, "ensure", "QUALTRICS_SURVEYS"},
		{servicetest.Env{"QUALTRICS_SURVEYS": "cart"}, "ensure", "QUALTRICS_SURVEYS"},
		{servicetest.Env{"QUALTRICS_UNSIGNED_EVENTS": "true"}, "ensure", "QUALTRICS_SHARED_KEY"},
	} {
		t.Run(c.args+" "+c.says, func(t *testing.T) {
			b.t = t
			if r := b.run(c.env, strings.Fields(c.args)...); r.exit != 2 || !strings.Contains(r.errs, c.says) {
				t.Errorf("%+v", r)
			}
		})
	}
	if n := len(b.Calls()); n != 0 {
		t.Errorf("%d calls", n)
	}
}

func TestHelpNamesCommandsAndSettings(t *testing.T) {
	b := newBrand(t)
	r := b.run(nil, "--help")
	for _, want := range []string{"ensure", "replace", "--dry-run", "QUALTRICS_EVENTS_URL", "QUALTRICS_SHARED_KEY_FILE"} {
		if r.exit != 0 || !strings.Contains(r.out, want) {
			t.Errorf("%q is missing in %+v", want, r)
		}
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"QUALTRICS_EVENTS_URL", "QUALTRICS_SURVEYS", "qualtrics-subscriptions ensure", "qualtrics-subscriptions replace"} {
		if !bytes.Contains(readme, []byte(name)) {
			t.Errorf("the README does not tell of %s", name)
		}
	}
}
