package trial

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/rules"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

const inForce = `rules:
  - {name: late, surveys: [SV_cart], when: values.QID1 == "Late", publish: feedback.delivery_late, with: {subject: '"Late"', text: values.why, accountId: values.account}}
  - {name: thanks, when: int(values.csat) >= 4, publish: recognition.requested, with: {recipient: {email: values.rep}, score: int(values.csat)}}
  - {name: price, when: values.QID1 == "Price", publish: feedback.wrong_price, with: {subject: '"Price"'}}
  - {name: calm, when: values.QID1 == "Calm", publish: feedback.calm, with: {subject: '"Calm"'}}
`

const changed = `rules:
  - {name: late, surveys: [SV_cart], when: values.QID1 == "Late", publish: feedback.delivery_late, with: {subject: '"Very late"', text: values.why, accountId: values.account}}
  - {name: thanks, when: int(values.csat) >= 5, publish: recognition.requested, with: {recipient: {email: values.rep}, score: int(values.csat)}}
  - {name: serene, when: values.QID1 == "Calm", publish: feedback.calm, with: {subject: '"Calm"'}}
  - {name: soon, when: has(values.date), publish: feedback.soon, with: {subject: '"Soon"', dueAt: values.date}}
`

func answer(n int, values string) string {
	return fmt.Sprintf(`{"surveyId":"SV_cart","responseId":"R_%d","values":{%s}}`, n, values)
}

// fixture is a broker with answers, and the console's connection to it.
type fixture struct {
	*bustest.Broker
	t  *testing.T
	js jetstream.JetStream
}

func start(t *testing.T) *fixture {
	t.Helper()
	t.Parallel()
	b := bustest.Start(t, topology.Settings{})
	return &fixture{b, t, b.Bus(topology.Console).JetStream()}
}

func (f *fixture) answered(n int, values string) {
	f.Publish(subjects.SurveyResponseReceived, answer(n, values), "ce-loopid", fmt.Sprint("L-", n))
}

func set(t *testing.T, source string) *rules.Set {
	t.Helper()
	s, err := rules.Parse("rules.yaml", []byte(source))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fixture) trial(before, after string) Trial {
	return Trial{
		Before: set(f.t, before), After: set(f.t, after), From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour),
		Shown: func(field, value string) string { return field + ":" + strings.Repeat("*", len(value)) },
	}
}

func (f *fixture) run(trial Trial) *Result {
	f.t.Helper()
	r, err := trial.Run(f.t.Context(), f.js)
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// state is the last sequence of every stream and bucket.
func (f *fixture) state() map[string]uint64 {
	f.t.Helper()
	all := map[string]uint64{}
	list := f.JS.ListStreams(f.t.Context())
	for info := range list.Info() {
		all[info.Config.Name] = info.State.LastSeq
	}
	if list.Err() != nil || len(all) < 6 {
		f.t.Fatal(list.Err(), all)
	}
	return all
}

func TestATrialTellsWhatWouldBeOtherwiseAndLeavesNoTrace(t *testing.T) {
	f := start(t)
	f.answered(1, `"QID1":"Late","why":"slow","account":"10"`)
	f.answered(2, `"csat":4,"rep":"rep@example.com"`)
	f.answered(3, `"csat":5,"rep":"rep@example.com"`)
	f.answered(4, `"QID1":"Price"`)
	f.answered(5, `"QID1":"Calm"`)
	f.answered(6, `"date":"2026-08-01T00:00:00Z"`)
	f.answered(7, `"date":"tomorrow"`)
	f.answered(1, `"QID1":"Late","why":"sent twice","account":"10"`)
	f.Publish(subjects.SurveyResponseReceived, `{"surveyId":"SV_cart"}`)
	f.Publish(subjects.OrderCompleted, `{"serviceOrder":"1"}`)
	before := f.state()

	r := f.run(f.trial(inForce, changed))

	if r.Answers != 7 || r.Unreadable != 1 || !r.Complete || r.Stopped != "" || r.Different != 5 {
		t.Errorf("got %+v", r)
	}
	want := []Rule{
		{Rule: "late", Before: Counts{1, 0}, After: Counts{1, 0}, Counts: map[string]int{Change: 1}},
		{Rule: "thanks", Before: Counts{2, 0}, After: Counts{1, 0}, Counts: map[string]int{Drop: 1}},
		{Rule: "serene", Was: "calm", Before: Counts{1, 0}, After: Counts{1, 0}, Counts: map[string]int{}},
		{Rule: "soon", New: true, After: Counts{1, 1}, Counts: map[string]int{Publish: 1, Fail: 1}, Reasons: []Reason{{
			`dueAt: rule "soon": must be empty or a time as in 2026-07-24T09:30:00Z`, 1}}},
		{Rule: "price", Gone: true, Before: Counts{1, 0}, Counts: map[string]int{Drop: 1}},
	}
	for i, w := range want {
		if i >= len(r.Rules) || !reflect.DeepEqual(*r.Rules[i], w) {
			t.Errorf("rule %d is %+v, want %+v", i, r.Rules[min(i, len(r.Rules)-1)], w)
		}
	}
	wantDifferences(t, r, []Difference{
		{Rule: "soon", Kind: Fail, LoopID: "L-7", ResponseID: "R_7", Why: want[3].Reasons[0].Reason},
		{Rule: "soon", Kind: Publish, LoopID: "L-6", ResponseID: "R_6", After: "feedback.soon",
			Fields: []Field{{"dueAt", "", "dueAt:" + strings.Repeat("*", 20)}, {"subject", "", "subject:****"}}},
		{Rule: "price", Kind: Drop, LoopID: "L-4", ResponseID: "R_4", Before: "feedback.wrong_price", Why: "the rule would be gone"},
		{Rule: "thanks", Kind: Drop, LoopID: "L-2", ResponseID: "R_2", Before: subjects.RecognitionRequested,
			Why: "the condition on values.csat is false (rules.yaml:3:26): int(values.csat) >= 5"},
		{Rule: "late", Kind: Change, LoopID: "L-1", ResponseID: "R_1", Before: subjects.FeedbackDeliveryLate, After: subjects.FeedbackDeliveryLate,
			Fields: []Field{{"subject", "subject:****", "subject:*********"}}},
	})

	if after := f.state(); !reflect.DeepEqual(before, after) {
		t.Errorf("the streams were at %v, and are at %v", before, after)
	}
	asked, _ := f.Asked(topology.Console)
	for _, subject := range asked {
		if !slices.Contains([]string{"$JS.API.STREAM.INFO.EVENTS", "$JS.API.DIRECT.GET.EVENTS"}, subject) {
			t.Errorf("the console published to %s", subject)
		}
	}
	if refused := f.Refused(); len(refused) > 0 {
		t.Errorf("the broker refused %v", refused)
	}
}

func wantDifferences(t *testing.T, r *Result, want []Difference) {
	t.Helper()
	for i, d := range r.Differences {
		if d.At.IsZero() || d.SurveyID != "SV_cart" {
			t.Errorf("%+v has no time, or another survey", d)
		}
		d.At, d.SurveyID = time.Time{}, ""
		if i >= len(want) || !reflect.DeepEqual(d, want[i]) {
			t.Errorf("got  %+v\nwant %+v", d, want[min(i, len(want)-1)])
		}
	}
	if len(r.Differences) != len(want) {
		t.Errorf("%d differences, want %d", len(r.Differences), len(want))
	}
}

func TestSameRulesMakeNoDifference(t *testing.T) {
	f := start(t)
	for n := range 3 {
		f.answered(n, `"QID1":"Late"`)
	}
	if r := f.run(f.trial(inForce, inForce)); r.Answers != 3 || r.Different != 0 || r.Rules[0].After.Published != 3 {
		t.Errorf("got %+v", r)
	}
}

func TestPeriodAndSurveySelectAnswers(t *testing.T) {
	f := start(t)
	f.answered(1, `"QID1":"Late"`)
	stored := f.Messages(topology.Events, subjects.SurveyResponseReceived)[0].Time
	f.Publish(subjects.SurveyResponseReceived, `{"surveyId":"SV_other","responseId":"R_2","values":{}}`)
	second := f.Messages(topology.Events, subjects.SurveyResponseReceived)[1].Time
	for name, c := range map[string]struct {
		from, to time.Time
		survey   string
		want     int
	}{
		"all":             {stored, second.Add(time.Nanosecond), "", 2},
		"one survey":      {stored, second.Add(time.Nanosecond), "SV_other", 1},
		"before the last": {stored, second, "", 1},
		"after the first": {second, second.Add(time.Hour), "", 1},
		"before all":      {stored.Add(-time.Hour), stored, "", 0},
		"after all":       {second.Add(time.Nanosecond), second.Add(time.Hour), "", 0},
	} {
		tried := f.trial(inForce, changed)
		tried.From, tried.To, tried.Survey = c.from, c.to, c.survey
		if r := f.run(tried); r.Answers != c.want || !r.Complete {
			t.Errorf("%s: %d answers, want %d: %+v", name, r.Answers, c.want, r)
		}
	}
}

func TestATrialOfAnEmptyStreamIsComplete(t *testing.T) {
	f := start(t)
	if r := f.run(f.trial(inForce, changed)); r.Answers != 0 || !r.Complete || len(r.Rules) != 5 {
		t.Errorf("got %+v", r)
	}
}

func TestTheLatestAnswersAreLookedAtWhereThereAreTooMany(t *testing.T) {
	f := start(t)
	for n := range 30 {
		f.answered(n, `"QID1":"Late"`)
		f.Publish(subjects.OrderCompleted, fmt.Sprintf(`{"serviceOrder":"%d"}`, n))
	}
	tried := f.trial(inForce, changed)
	tried.answersMost, tried.window = 10, 8 // four answers a part
	r := f.run(tried)
	stored := f.Messages(topology.Events, subjects.SurveyResponseReceived)
	if r.Answers != 12 || r.Complete || r.Stopped != "after 10 answers" || !r.Since.Equal(stored[18].Time) {
		t.Errorf("got %+v, want 12 answers since %s", r, stored[18].Time)
	}
	if first, last := r.Differences[0], r.Differences[11]; first.ResponseID != "R_29" || last.ResponseID != "R_18" {
		t.Errorf("from %s to %s", first.ResponseID, last.ResponseID)
	}
	tried.answersMost = 0
	if r := f.run(tried); r.Answers != 30 || !r.Complete {
		t.Errorf("got %+v", r)
	}
}

// costly takes longer than any test.
const costly = `rules:
  - {name: slow, when: 'values.l.all(a, values.l.all(b, values.l.all(c, a + b + c >= 0.0)))', publish: feedback.a, with: {subject: '"s"'}}
`

func (f *fixture) slow(n int) {
	for i := range n {
		f.answered(i, `"l":[`+strings.Repeat("0,", 59)+`0]`)
	}
}

func TestATrialEndsInItsTime(t *testing.T) {
	f := start(t)
	f.slow(20)
	tried := f.trial(inForce, costly)
	tried.timeMost = time.Nanosecond
	if r := f.run(tried); r.Answers != 0 || r.Complete || r.Stopped != "after 1ns" || !r.Since.IsZero() {
		t.Errorf("got %+v", r)
	}
}

func TestATrialEndsWithItsRequest(t *testing.T) {
	f := start(t)
	f.slow(3)
	ctx, cancel := context.WithCancel(t.Context())
	tried := f.trial(inForce, costly)
	r := tried.prepare()
	answers := answers{f.js, window, func(ctx context.Context, m *jetstream.RawStreamMsg) error {
		cancel()
		return r.take(ctx, m)
	}, r.passed}
	if err := answers.read(ctx, tried.From, tried.To); !errors.Is(err, context.Canceled) || r.Answers != 0 {
		t.Errorf("%v after %d answers", err, r.Answers)
	}
	if _, err := tried.Run(ctx, f.js); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
