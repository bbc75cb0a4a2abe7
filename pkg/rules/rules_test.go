package rules_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/rules"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// design is the example that the product's design promises, to the letter.
const design = `rules:
  - name: delivery-too-late
    surveys: [SV_cart]                      # left out: every survey
    when: values.QID1 == "Delivery too late" && values.contact_me == "yes"
    publish: feedback.delivery_late
    with:                                   # a CEL expression for each field of the event
      subject: '"Cart Abandonment - Check Delivery Time"'
      text: '"Wanted by " + values.desired_date + ": " + values.product_name'
      accountId: values.account_id
      contactId: values.contact_id
  - name: csat-recognition
    when: int(values.csat) >= 4
    publish: recognition.requested
    with:
      recipient: {email: values.rep_email, name: values.rep_name}
      score: int(values.csat)
      note: values.why
`

func TestTheDesignsExampleRaisesTheFeedbackAndAsksForTheRecognition(t *testing.T) {
	for name, set := range map[string]*rules.Set{"design": parse(t, design), "embedded": embedded(t)} {
		t.Run(name, func(t *testing.T) {
			got := set.Evaluate(response(t, `{"surveyId":"SV_cart","responseId":"R_1","values":{
				"QID1":"Delivery too late","contact_me":"yes","desired_date":"2026-08-01","product_name":"Lamp",
				"account_id":"1000123","contact_id":"1000456",
				"csat":5,"rep_email":"rep@example.com","rep_name":"Rep","why":"quick"}}`))
			wantMatch(t, got[0], "delivery-too-late", subjects.FeedbackDeliveryLate, &eventsv1.FeedbackRaised{
				ResponseId: "R_1", Subject: "Cart Abandonment - Check Delivery Time", Text: "Wanted by 2026-08-01: Lamp",
				AccountId: "1000123", ContactId: "1000456",
			})
			wantMatch(t, got[1], "csat-recognition", subjects.RecognitionRequested, &eventsv1.RecognitionRequested{
				ResponseId: "R_1", Recipient: &eventsv1.Recipient{Email: "rep@example.com", Name: "Rep"}, Score: 5, Note: "quick",
			})
		})
	}
}

func TestOneRuleMatchesWithoutTheOther(t *testing.T) {
	got := parse(t, design).Evaluate(response(t, `{"surveyId":"SV_other","responseId":"R_2","values":{"csat":"4","rep_email":"rep@example.com"}}`))
	wantNoMatch(t, got[0], "the rule is for survey SV_cart")
	wantMatch(t, got[1], "csat-recognition", subjects.RecognitionRequested, &eventsv1.RecognitionRequested{
		ResponseId: "R_2", Recipient: &eventsv1.Recipient{Email: "rep@example.com"}, Score: 4,
	})
}

func TestTheConditionThatFailedIsGivenInTheWordsOfTheFile(t *testing.T) {
	r := response(t, `{"responseId":"R_1","values":{"a":1,"list":[1,2],"word":"abc"}}`)
	for when, want := range map[string]string{
		`values.a == 1 && (values.word == "x" || values.a > 5)`: `values.word == "x" || values.a > 5`,
		`has(values.b) && values.a == 1`:                        `has(values.b)`,
		`values.list.all(x, x > 1) && values.a == 1`:            `values.list.all(x, x > 1)`,
		`values.a == 1 && int(values.b) >= 4 // comment`:        `int(values.b) >= 4`,
		`!(values.word.startsWith("a"))`:                        `!values.word.startsWith("a")`,
		`values["word"] == "Delivery too late"`:                 `values["word"] == "Delivery too late"`,
	} {
		got := parse(t, withWhen("|\n      "+when)).Evaluate(r)[0]
		if got.Matched || got.Why == "" || got.Condition != want || got.Reason() != got.Why+": "+want {
			t.Errorf("%s: got %q (%s), want %q", when, got.Condition, got.Why, want)
		}
	}
}

func TestTheReasonIsShortWhateverTheConditionIs(t *testing.T) {
	r := response(t, `{"responseId":"R_1","values":{"a":1}}`)
	got := parse(t, withWhen(`values.a == "`+strings.Repeat("ä", 1000)+`"`)).Evaluate(r)[0].Reason()
	if n := len([]rune(got)); n > 300 || !strings.HasSuffix(got, "ää…") {
		t.Errorf("%d characters: %s", n, got)
	}
	for values, want := range map[string]string{`"a":2`: "", `"a":3`: `priority: rule "a": must be at most 1 characters`} {
		set := parse(t, "rules: [{name: a, when: 'values.a > 1', publish: feedback.a, with: {subject: '\"s\"', priority: 'values.a == 3 ? \"33\" : \"3\"'}}]")
		if got := set.Evaluate(response(t, `{"responseId":"R_1","values":{`+values+`}}`))[0].Reason(); got != want {
			t.Errorf("%s: got %q, want %q", values, got, want)
		}
	}
}

func TestRulesSayWhatTheyAre(t *testing.T) {
	want := []rules.Rule{
		{Name: "delivery-too-late", Surveys: []string{"SV_cart"}, When: `values.QID1 == "Delivery too late" && values.contact_me == "yes"`,
			Publish: subjects.FeedbackDeliveryLate, Line: 2},
		{Name: "csat-recognition", When: "int(values.csat) >= 4", Publish: subjects.RecognitionRequested, Line: 11},
	}
	if got := parse(t, design).Rules(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestConditions(t *testing.T) {
	const values = `"five":5,"text":"5","half":4.5,"word":"abc","flag":true,"empty":"","none":null,
		"list":["Price",2,null],"object":{"inner":{"deep":"x"},"none":null},"My Field":"yes","late":"Delivery too late"`
	tests := []struct {
		when string
		why  string // "" for a match
	}{
		{`true`, ""},
		{`false`, "the condition is false (t.yaml:4:7)"},
		{`values.five == 5 && values.five >= 4.5 && values.half > 4 && values.half < 5`, ""},
		{`values.five == 5.0 && double(values.text) >= 5 && int(values.five) == 5 && int(values.text) == 5`, ""},
		{`int(values.half) == 4`, ""},
		{`values.flag`, ""},
		{`values.late.matches("^Deliv.*late$") && values.late.lowerAscii().contains("too")`, ""},
		{`"Price" in values.list && values.list.exists(x, x == 2) && size(values.list) == 3`, ""},
		{`values["My Field"] == "yes"`, ""},
		{`labels.QID2 == "Speed" && labels["QID2"].startsWith("Sp")`, ""},
		{`surveyId == "SV_1" && responseId == "R_1" && requestId == "A1"`, ""},
		{`contact.externalId == "P-1" && !has(contact.email)`, ""},
		{`has(values.five) && !has(values.gone) && !has(values.none) && !has(values.object.none)`, ""},
		{`values.gone == "x" || values.five == 5`, ""},
		{`has(values.gone) ? values.gone == "x" : true`, ""},
		{`timestamp("2026-07-24T09:30:00Z").getHours() == 9`, ""},
		{`values.empty == ""`, ""},

		{`values.five == 6`, "the condition on values.five is false (t.yaml:4:7)"},
		{`values.five == 5 && values.text == "6"`, "the condition on values.text is false (t.yaml:4:27)"},
		{`values.five == 5 && (values.text == "6" || labels.QID2 == values["My Field"])`,
			`the condition on values.text, labels.QID2 and values["My Field"] is false (t.yaml:4:27)`},
		{`!values.flag`, "the condition on values.flag is false (t.yaml:4:7)"},
		{`values.list.exists(x, x == 3)`, "the condition on values.list is false (t.yaml:4:7)"},

		{`values.gone == "x"`, "values.gone is missing (t.yaml:4:7)"},
		{`values.gone != "x"`, "values.gone is missing (t.yaml:4:7)"},
		{`!(values.gone == "x")`, "values.gone is missing (t.yaml:4:7)"},
		{`values.five == 5 && values.gone > 3`, "values.gone is missing (t.yaml:4:27)"},
		{`int(values.gone) >= 4`, "values.gone is missing (t.yaml:4:7)"},
		{`values.gone`, "values.gone is missing (t.yaml:4:7)"},
		{`values.none == ""`, "values.none is missing (t.yaml:4:7)"},
		{`values.object.inner.gone == "x"`, "values.object.inner.gone is missing (t.yaml:4:7)"},
		{`values.object.gone.deep == "x"`, "values.object.gone.deep is missing (t.yaml:4:7)"},
		{`values.gone.inner.deep == "x"`, "values.gone.inner.deep is missing (t.yaml:4:7)"},
		{`values.word.inner == "x"`, "values.word.inner is missing (t.yaml:4:7)"},
		{`values.list[7] == "x"`, "values.list[…] is missing (t.yaml:4:7)"},
		{`values[values.word] == "x"`, "values[…] is missing (t.yaml:4:7)"},
		{`values["not there"] == "x"`, `values["not there"] is missing (t.yaml:4:7)`},
		{`{"Price": "1"}[values.word] == "1"`, "a value is missing (t.yaml:4:7)"},
		{`values.list.exists(x, x.foo == 3)`, "x.foo is missing (t.yaml:4:7)"},
		{`contact.email.endsWith("@example.com")`, "contact.email is missing (t.yaml:4:7)"},
		{`labels.gone == "x"`, "labels.gone is missing (t.yaml:4:7)"},

		{`int(values.word) >= 4`, "the expression cannot be worked out with the kind of value in values.word (t.yaml:4:7)"},
		{`int(values.empty) >= 4`, "the expression cannot be worked out with the kind of value in values.empty (t.yaml:4:7)"},
		{`values.text >= 4`, "the expression cannot be worked out with the kind of value in values.text (t.yaml:4:7)"},
		{`values.five.contains("x")`, "the expression cannot be worked out with the kind of value in values.five (t.yaml:4:7)"},
		{`values.five`, "the expression cannot be worked out with the kind of value in values.five (t.yaml:4:7)"},
		{`values.word && true`, "the expression cannot be worked out with the kind of value in values.word (t.yaml:4:7)"},
		{`1 / int(values.five - 5.0) > 1`, "the expression cannot be worked out with the kind of value in values.five (t.yaml:4:7)"},
		{`1 / 0 > 1`, "the expression cannot be worked out (t.yaml:4:7)"},
	}
	r := response(t, `{"surveyId":"SV_1","responseId":"R_1","requestId":"A1","contact":{"externalId":"P-1"},
		"labels":{"QID2":"Speed"},"values":{`+values+`}}`)
	for _, test := range tests {
		t.Run(test.when, func(t *testing.T) {
			set := parse(t, "rules:\n  - name: a\n    when: |\n      "+test.when+"\n    publish: feedback.a\n    with: {subject: '\"s\"'}\n")
			got := set.Evaluate(r)[0]
			if test.why != "" {
				wantNoMatch(t, got, test.why)
				return
			}
			wantMatch(t, got, "a", "feedback.a", &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "s"})
		})
	}
}

func TestAnAnswerWithoutAnythingMatchesNothingAndBreaksNothing(t *testing.T) {
	for name, r := range map[string]*eventsv1.SurveyResponseReceived{"nil": nil, "empty": {}, "empty value": {Values: map[string]*structpb.Value{"csat": {}}}} {
		t.Run(name, func(t *testing.T) {
			wantNoMatch(t, parse(t, design).Evaluate(r)[1], "values.csat is missing (t.yaml:12:11)")
		})
	}
}

func TestFields(t *testing.T) {
	r := response(t, `{"responseId":"R_1","contact":{"email":"ada@example.com"},
		"values":{"csat":"5","number":1000123,"word":"abc","none":null,"list":[1],"long":"`+strings.Repeat("x", 61)+`","inf":"Infinity","flag":true}}`)
	tests := []struct {
		name, publish, with string
		want                proto.Message
		field, err          string
	}{
		{name: "a missing value leaves its field empty", publish: "feedback.a",
			with: `{subject: '"s"', text: '"Wanted by " + values.gone', accountId: values.none}`,
			want: &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "s"}},
		{name: "a fallback stands in for a missing value", publish: "feedback.a",
			with: `{subject: 'has(values.gone) ? values.gone : "s"', text: 'has(values.gone) ? values.gone : null'}`,
			want: &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "s"}},
		{name: "a number of the answer becomes text", publish: "feedback.a", with: `{subject: string(int(values.number)), accountId: values.number}`,
			want: &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "1000123", AccountId: "1000123"}},
		{name: "a table translates", publish: "feedback.a", with: `{subject: '"s"', priority: '{"abc": "1", "d": "2"}[values.word]'}`,
			want: &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "s", Priority: "1"}},
		{name: "a time is worked out", publish: "feedback.a",
			with: `{subject: '"s"', dueAt: 'string(timestamp("2026-07-24T09:30:00Z") + duration("24h"))'}`,
			want: &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "s", DueAt: "2026-07-25T09:30:00Z"}},
		{name: "numbers of every kind become the score", publish: "recognition.requested",
			with: `{recipient: {email: contact.email}, score: double(values.csat) / 2.0, amount: 3u}`,
			want: &eventsv1.RecognitionRequested{ResponseId: "R_1", Recipient: &eventsv1.Recipient{Email: "ada@example.com"}, Score: 2.5, Amount: 3}},
		{name: "all surveys' variables are there", publish: "feedback.a", with: `{subject: responseId + surveyId + requestId}`,
			want: &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "R_1"}},

		{name: "a required value is missing", publish: "feedback.a", with: `{subject: values.gone}`,
			field: "subject", err: `rule "a": must be at least 1 characters; values.gone is missing (t.yaml:5:21)`},
		{name: "a whole recipient is missing", publish: "recognition.requested", with: `{recipient: {email: values.gone, name: labels.gone}}`,
			field: "recipient", err: `rule "a": value is required; values.gone is missing (t.yaml:5:31); labels.gone is missing (t.yaml:5:50)`},
		{name: "true where text is wanted", publish: "feedback.a", with: `{subject: '"s"', accountId: values.flag}`,
			field: "accountId", err: `rule "a": must be text, but the expression gives true or false (t.yaml:5:39)`},
		{name: "text where a number is wanted", publish: "recognition.requested", with: `{recipient: {email: contact.email}, score: values.csat}`,
			field: "score", err: `rule "a": must be a number, but the expression gives text; int(…) and double(…) make a number of text (t.yaml:5:54)`},
		{name: "a list where text is wanted", publish: "feedback.a", with: `{subject: values.list}`,
			field: "subject", err: `rule "a": must be text, but the expression gives a list (t.yaml:5:21)`},
		{name: "no number at all", publish: "recognition.requested", with: `{recipient: {email: contact.email}, score: double(values.inf)}`,
			field: "score", err: `rule "a": must be a finite number (t.yaml:5:54)`},
		{name: "an expression fails", publish: "feedback.a", with: `{subject: '"s" + values.number'}`,
			field: "subject", err: `rule "a": the expression cannot be worked out with the kind of value in values.number (t.yaml:5:22)`},
		{name: "several fields fail", publish: "recognition.requested", with: `{recipient: {email: values.list}, score: int(values.word)}`,
			field: "recipient.email", err: `rule "a": must be text, but the expression gives a list (t.yaml:5:31); ` +
				`score: the expression cannot be worked out with the kind of value in values.word (t.yaml:5:52)`},
		{name: "the message breaks its contract", publish: "feedback.a", with: `{subject: '"s"', accountId: values.long}`,
			field: "accountId", err: `rule "a": must be at most 60 characters`},
		{name: "the recipient breaks its contract", publish: "recognition.requested", with: `{recipient: {email: values.word}, amount: int(values.csat)}`,
			field: "recipient.email", err: `rule "a": must be empty or an e-mail address`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set := parse(t, "rules:\n  - name: a\n    when: 'true'\n    publish: "+test.publish+"\n    with: "+test.with+"\n")
			got := set.Evaluate(r)[0]
			if test.err == "" {
				wantMatch(t, got, "a", test.publish, test.want)
				return
			}
			var f *fault.Fault
			if !errors.As(got.Err, &f) || f.Class != fault.Invalid || f.Field != test.field || f.Reason != test.err {
				t.Errorf("got %#v", got.Err)
			}
			if !got.Matched || got.Message != nil || got.Why != "" {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOutcomesHoldNothingOfTheAnswer(t *testing.T) {
	const secret = "Xyzzy"
	r := response(t, `{"surveyId":"SV_1","responseId":"R_1","contact":{"email":"`+secret+`","externalId":"`+secret+`"},
		"values":{"a":"`+secret+`","b":{"`+secret+`":1},"c":["`+secret+`"]},"labels":{"a":"`+secret+`"}}`)
	for _, x := range []string{
		`values.a`, `int(values.a)`, `values[values.a]`, `values.b[values.a]`, `timestamp(values.a)`, `duration(values.a)`, `values.a + 1`,
		`values.a.x`, `values.c[0] + 1`, `{"x": 1}[values.a]`, `values.a.matches(labels.a + "[")`, `"%d".format([values.a])`,
		`values.a.substring(99)`, `double(contact.email)`, `contact.externalId.charAt(50)`, `values.a.x.y.z`, `bool(values.a)`,
	} {
		t.Run(x, func(t *testing.T) {
			for _, got := range parse(t, fmt.Sprintf(`rules:
  - {name: a, when: %q, publish: feedback.a, with: {subject: '"s"'}}
  - {name: b, when: 'true', publish: recognition.requested, with: {recipient: {email: %q}, score: %q}}
`, "dyn("+x+") == 'x'", "dyn("+x+")", "dyn("+x+")")).Evaluate(r) {
				if text := fmt.Sprintf("%s %v", got.Why, got.Err); strings.Contains(text, secret) {
					t.Errorf("says %q", text)
				}
			}
		})
	}
}

func TestACostlyExpressionIsStoppedAndNamed(t *testing.T) {
	costly := `values.l.all(a, size(values.t.replace("x", "xyz")) > 0)`
	set := parse(t, `rules:
  - {name: slow-condition, when: '`+costly+`', publish: feedback.a, with: {subject: '"s"'}}
  - {name: slow-value, when: 'true', publish: feedback.a, with: {subject: 'string(`+costly+`)'}}
  - {name: quick, when: 'true', publish: feedback.a, with: {subject: '"s"'}}
`)
	r := response(t, `{"responseId":"R_1","values":{"t":"`+strings.Repeat("x", 9999)+`","l":[`+strings.Repeat("0,", 999)+`0]}}`)
	got := set.Evaluate(r)
	for i, want := range []struct{ field, rule string }{{"when", "slow-condition"}, {"subject", "slow-value"}} {
		f := fault.From(got[i].Err)
		if f.Class != fault.Invalid || f.Field != want.field || !strings.HasPrefix(f.Reason, fmt.Sprintf("rule %q: ", want.rule)) || got[i].Message != nil {
			t.Errorf("got %+v", got[i])
		}
	}
	wantMatch(t, got[2], "quick", "feedback.a", &eventsv1.FeedbackRaised{ResponseId: "R_1", Subject: "s"})
}

func TestRulesThatTakeTooLongAreTriedAgain(t *testing.T) {
	set := parse(t, withWhen(`"values.l.all(a, values.l.all(b, a + b != 1.0))"`))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := set.EvaluateIn(ctx, response(t, `{"responseId":"R_1","values":{"l":[`+strings.Repeat("0,", 299)+`0]}}`))[0]
	if f := fault.From(got.Err); f.Class != fault.Transient || f.Field != "when" || f.Reason != `rule "a": the rules took longer than 5s` {
		t.Errorf("got %+v", got)
	}
}

func TestASetServesManyGoroutines(t *testing.T) {
	set := parse(t, design+"  - {name: bad, when: values.csat + 1 > values.csat, publish: feedback.a, with: {subject: '\"s\"'}}\n")
	r := response(t, `{"surveyId":"SV_cart","responseId":"R_1","values":{"csat":"5","rep_email":"rep@example.com"}}`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got := set.Evaluate(r); got[0].Matched || got[1].Message == nil || got[2].Matched {
					t.Errorf("got %+v", got)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkEvaluate50Rules(b *testing.B) {
	var file strings.Builder
	file.WriteString(design)
	for i := range 48 {
		fmt.Fprintf(&file, `  - name: rule-%d
    when: values.QID1 == "Delivery too late" && int(values.csat) >= 2 && values.q%d.matches("a+b")
    publish: feedback.late
    with: {subject: '"Late"', text: '"Wanted by " + values.desired_date'}
`, i, i%10)
	}
	set, err := rules.Parse("t.yaml", []byte(file.String()))
	if err != nil {
		b.Fatal(err)
	}
	r := response(b, `{"surveyId":"SV_cart","responseId":"R_1","values":{"QID1":"Delivery too late","contact_me":"yes","csat":"5",
		"desired_date":"2026-08-01","rep_email":"rep@example.com","q1":"aab","q2":"aab","q3":"c","q4":"aab","q5":"c"}}`)
	b.ReportAllocs()
	for b.Loop() {
		set.Evaluate(r)
	}
}

func parse(t testing.TB, file string) *rules.Set {
	t.Helper()
	set, err := rules.Parse("t.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func embedded(t *testing.T) *rules.Set {
	live, err := rules.Watch(t.Context(), "", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return live.Set()
}

func response(t testing.TB, json string) *eventsv1.SurveyResponseReceived {
	t.Helper()
	r := &eventsv1.SurveyResponseReceived{}
	if err := protojson.Unmarshal([]byte(json), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func wantMatch(t *testing.T, got rules.Outcome, rule, subject string, message proto.Message) {
	t.Helper()
	if got.Rule != rule || got.Subject != subject || !got.Matched || got.Why != "" || got.Err != nil || !proto.Equal(got.Message, message) {
		t.Errorf("got %+v, want %s to publish %s %v", got, rule, subject, message)
	}
}

func wantNoMatch(t *testing.T, got rules.Outcome, why string) {
	t.Helper()
	if got.Matched || got.Message != nil || got.Err != nil || got.Why != why {
		t.Errorf("got  %+v\nwant %s", got, why)
	}
}
