package router_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// told gives what the service told of one kind.
func told[T any](t *testing.T, f fixture, kind string) []T {
	t.Helper()
	var all []T
	for _, m := range f.broker.Messages(topology.Activity, topology.ActivitySubject(topology.FeedbackRouter, kind)) {
		var v T
		if err := json.Unmarshal(m.Data, &v); err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

// decisions waits until it was told what the rules said of an answer.
func decisions(t *testing.T, f fixture) []activity.Decision {
	t.Helper()
	var found []activity.Decision
	bustest.Eventually(t, "an attempt with decisions", func() bool {
		for _, a := range told[activity.Attempt](t, f, activity.KindAttempt) {
			for _, e := range a.Events {
				if e.Type == subjects.SurveyResponseReceived && len(e.Rules) > 0 {
					found = e.Rules
					return true
				}
			}
		}
		return false
	})
	return found
}

// inForce waits until rules of which is says so were told.
func inForce(t *testing.T, f fixture, what string, is func(activity.RuleSet) bool) activity.RuleSet {
	t.Helper()
	var last activity.RuleSet
	bustest.Eventually(t, what, func() bool {
		if all := told[activity.RuleSet](t, f, activity.KindRules); len(all) > 0 {
			last = all[len(all)-1]
		}
		return last.Service != "" && is(last)
	})
	return last
}

func TestPeopleAreToldWhatEachRuleSaidOfAnAnswer(t *testing.T) {
	path := rules(t, `rules:
  - {name: late, when: values.QID1 == "Delivery too late", publish: feedback.delivery_late, with: {subject: '"Late"'}}
  - {name: unhappy, when: 'has(values.QID1) && int(values.csat) <= 2', publish: feedback.unhappy, with: {subject: '"Unhappy"'}}
  - {name: elsewhere, surveys: [SV_a, SV_b], when: 'true', publish: feedback.elsewhere, with: {subject: '"Elsewhere"'}}
  - {name: unsaid, when: values.unsaid == "x", publish: feedback.unsaid, with: {subject: '"Unsaid"'}}
  - {name: broken, when: 'true', publish: feedback.broken, with: {subject: '"Broken"', priority: values.why}}
`)
	f := start(t, servicetest.Env{"RULES_FILE": path})
	f.broker.Publish(subjects.SurveyResponseReceived, received)

	got := decisions(t, f)
	hash := inForce(t, f, "the rules in force", func(activity.RuleSet) bool { return true }).Hash
	want := []activity.Decision{
		{Rule: "late", Fired: true, Subject: "feedback.delivery_late"},
		{Rule: "unhappy", Why: "the condition on values.csat is false (PLACE:3:48): int(values.csat) <= 2"},
		{Rule: "elsewhere", Why: "the rule is for surveys SV_a and SV_b"},
		{Rule: "unsaid", Why: `values.unsaid is missing (PLACE:5:26): values.unsaid == "x"`},
		{Rule: "broken", Why: `priority: rule "broken": must be at most 1 characters`},
	}
	if len(got) != len(want) {
		t.Fatalf("%d decisions, want %d", len(got), len(want))
	}
	for i, w := range want {
		w.RuleSet, w.Why = hash, strings.Replace(w.Why, "PLACE", path, 1)
		if !reflect.DeepEqual(got[i], w) {
			t.Errorf("got  %+v\nwant %+v", got[i], w)
		}
	}
	if text := fmt.Sprint(got); strings.Contains(text, "rep@example.com") || strings.Contains(text, "called") {
		t.Errorf("an answer was told: %s", text)
	}
	if refused := f.broker.Refused(); len(refused) > 0 {
		t.Errorf("the broker refused %v", refused)
	}
}

func TestPeopleAreToldWhichRulesAreInForce(t *testing.T) {
	const first = `rules: [{name: a, when: 'true', publish: feedback.a, with: {subject: '"A"'}}]`
	const second = `rules: [{name: b, when: 'true', publish: feedback.b, with: {subject: '"B"'}}]`
	path := rules(t, first)
	f := start(t, servicetest.Env{"RULES_FILE": path, "RULES_INTERVAL": "10ms"})
	replace := func(content string) {
		t.Helper()
		next := filepath.Join(t.TempDir(), "next")
		if err := os.WriteFile(next, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, path); err != nil {
			t.Fatal(err)
		}
	}
	set := inForce(t, f, "the rules at the start", func(s activity.RuleSet) bool { return s.Source == first })
	if set.Service != topology.FeedbackRouter || set.Name != path || len(set.Hash) != 64 || set.Since.IsZero() || set.At.IsZero() || set.Refused != "" {
		t.Errorf("got %+v", set)
	}
	replace("rules: [{name: a}]")
	refused := inForce(t, f, "a refusal", func(s activity.RuleSet) bool { return s.Refused != "" })
	if refused.Source != first || refused.Hash != set.Hash || !refused.Since.Equal(set.Since) || !strings.Contains(refused.Refused, `rule "a": when is missing`) {
		t.Errorf("got %+v", refused)
	}
	replace(second)
	changed := inForce(t, f, "the changed rules", func(s activity.RuleSet) bool { return s.Source == second })
	if changed.Hash == set.Hash || changed.Refused != "" {
		t.Errorf("got %+v", changed)
	}
	replace("rules:\n" + strings.Repeat("# much to say\n", 70_000) + " - {name: b, when: 'true', publish: feedback.b, with: {subject: '\"B\"'}}\n")
	if large := inForce(t, f, "rules that are too large", func(s activity.RuleSet) bool { return s.Hash != changed.Hash }); large.Source != "" || large.Refused != "" {
		t.Errorf("got a source of %d bytes, refused %q", len(large.Source), large.Refused)
	}
}
