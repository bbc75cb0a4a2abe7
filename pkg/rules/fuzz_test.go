package rules_test

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/rules"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// FuzzParse holds that any file is either a set or a list of problems with places, and that any set evaluates.
func FuzzParse(f *testing.F) {
	for _, file := range []string{
		"", "rules: []", design, withWhen("!x"), withWhen("|\n      foo &&\n        bar"), withWhen("\"a \\\n  b\\u00e9\""), withWhen("'a''b'"),
		withWhen(">-\n      a\n\n      b"), "rules: &a [*a]", "rules:\n- {name: {}, when: [], with: {recipient: {recipient: {}}}}", "? [a]\n: b", "<<: {a: 1}",
		"\uFEFFrules:\r\n- a", "--- !!map {rules: ~}\n...\n", "rules: !x [1]", "%YAML 1.2\n---\nrules: []",
	} {
		f.Add([]byte(file))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		set, err := rules.Parse("t.yaml", file)
		if err == nil {
			wantSoundOutcomes(t, set.Evaluate(response(t, `{"surveyId":"SV_1","responseId":"R_1","values":{"csat":"5"}}`)))
			return
		}
		var problems *rules.Problems
		if !errors.As(err, &problems) || len(problems.List) == 0 {
			t.Fatalf("got %T %v", err, err)
		}
		for _, p := range problems.List {
			if p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Errorf("got %+v for %q", p, file)
			}
		}
	})
}

// FuzzEvaluate holds that any answer gives outcomes that keep their promises.
func FuzzEvaluate(f *testing.F) {
	for _, answer := range []string{
		`{}`, `{"values":{"csat":null}}`, `{"values":{"csat":"5","rep_email":"rep@example.com"},"responseId":"R_1"}`,
		`{"surveyId":"SV_cart","responseId":"R_1","values":{"QID1":"Delivery too late","contact_me":"yes","desired_date":1e300,"csat":1e300}}`,
		`{"values":{"csat":{"a":[1,{"b":null}]}},"labels":{"QID1":["x"]}}`, `{"values":{"csat":-0.5,"rep_email":7}}`,
	} {
		f.Add([]byte(answer))
	}
	set, err := rules.Parse("t.yaml", []byte(design+`  - name: everything
    when: values.size() > 0 && (values.csat != 1 || labels.QID1[0] == "x")
    publish: feedback.everything
    with: {subject: string(values.csat), text: '"a" + values.QID1', accountId: values.csat, dueAt: values.desired_date}
`))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		r := &eventsv1.SurveyResponseReceived{}
		if protojson.Unmarshal(answer, r) != nil {
			t.Skip("no answer")
		}
		wantSoundOutcomes(t, set.Evaluate(r))
	})
}

func wantSoundOutcomes(t *testing.T, outcomes []rules.Outcome) {
	t.Helper()
	for _, o := range outcomes {
		switch {
		case o.Err != nil:
			if f := fault.From(o.Err); o.Message != nil || f.Field == "" && f.Class == fault.Invalid && o.Rule == "" {
				t.Errorf("got %+v", o)
			}
		case o.Matched:
			if err := contract.Validate(o.Message); err != nil || o.Why != "" {
				t.Errorf("got %+v: %v", o, err)
			}
		case o.Why == "" || o.Message != nil:
			t.Errorf("got %+v", o)
		}
	}
}
