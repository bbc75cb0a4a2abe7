package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/rules"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// inRule puts lines into a rule that is otherwise sound; line 1 of them is line 5 of the file.
func inRule(publish, lines string) string {
	return "rules:\n  - name: a\n    when: 'true'\n    publish: " + publish + "\n" + lines + "\n"
}

// withWhen makes a file whose condition begins at line 3, column 11.
func withWhen(when string) string {
	return "rules:\n  - name: a\n    when: " + when + "\n    publish: feedback.a\n    with: {subject: '\"s\"'}\n"
}

const (
	quotes   = `an expression that begins with a sign or a quote, or has ": " or " #" in it, stands in single quotes`
	known    = `; there are surveyId, responseId, requestId, values, labels and contact, and text needs quotes of its own: '"text"'`
	feedback = `subject, text, accountId, contactId, processorId, ownerId, priority and dueAt`
)

func TestEveryMistakeIsNamedWithItsPlace(t *testing.T) {
	tests := []struct {
		name, file string
		want       []string
	}{
		{"nothing", "", []string{`1:1: there is no list of rules; a file without any says so: "rules: []"`}},
		{"a comment alone", "# rules\n", []string{`1:1: there is no list of rules; a file without any says so: "rules: []"`}},
		{"no mapping", "- a\n", []string{`1:1: there must be keys with values here`}},
		{"an empty list's key alone", "rules:\n", []string{`1:1: rules: must be a list; a file without any says so: "rules: []"`}},
		{"an unknown key at the top", "rules: []\nversion: 1\n", []string{`2:1: unknown key "version"; there are rules`}},
		{"another key instead of rules", "ruels: []\n", []string{`1:1: unknown key "ruels"; there are rules`}},
		{"two documents", "rules: []\n---\nrules: []\n", []string{`2:1: the file is not YAML from here: a second document begins here; a rules file is one; ` + quotes}},
		{"no UTF-8", "rules: \xff\n", []string{`1:1: the file is not UTF-8 text`}},
		{"too large", strings.Repeat("#", 1<<20+1), []string{`1:1: the file is larger than 1048576 bytes`}},
		{"broken YAML", "rules:\n  - name: [a\n", []string{`2:11: the file is not YAML from here: sequence end token ']' not found; ` + quotes}},
		{"a key twice", withWhen("'true'\n    when: 'false'"), []string{`4:5: the file is not YAML from here: mapping key "when" already defined at [3:5]; ` + quotes}},
		{"text as a rule", "rules:\n  - a\n", []string{`2:3: rule 1: there must be keys with values here`}},

		{"unknown key in a rule", inRule("feedback.a", "    with: {subject: '\"s\"'}\n    wehn: x"),
			[]string{`6:5: rule "a": unknown key "wehn"; there are name, publish, surveys, when and with`}},
		{"an empty rule", "rules:\n  - {}\n",
			[]string{`2:3: rule 1: name is missing`, `2:3: rule 1: when is missing`, `2:3: rule 1: publish is missing`}},
		{"no name", "rules:\n  - when: 'true'\n    publish: feedback.a\n    with: {subject: '\"s\"'}\n", []string{`2:3: rule 1: name is missing`}},
		{"an empty name", "rules:\n  - name:\n    when: 'true'\n    publish: feedback.a\n    with: {subject: '\"s\"'}\n", []string{`2:5: rule 1: name: is empty`}},
		{"a name of control characters", "rules:\n  - name: \"a\\nb\"\n    when: 'true'\n    publish: feedback.a\n    with: {subject: '\"s\"'}\n",
			[]string{`2:11: rule 1: name: must be printable and at most 100 characters`}},
		{"a name twice", withWhen("'true'") + strings.TrimPrefix(withWhen("'true'"), "rules:\n"),
			[]string{`6:11: rule "a": name: line 2 has a rule of this name already`}},
		{"no when", "rules:\n  - name: a\n    publish: feedback.a\n    with: {subject: '\"s\"'}\n", []string{`2:3: rule "a": when is missing`}},
		{"no publish", "rules:\n  - name: a\n    when: 'true'\n", []string{`2:3: rule "a": publish is missing`}},

		{"surveys is text", inRule("feedback.a", "    with: {subject: '\"s\"'}\n    surveys: SV_1"), []string{`6:5: rule "a": surveys: must be a list of survey ids; leave it out for every survey`}},
		{"surveys is empty", inRule("feedback.a", "    with: {subject: '\"s\"'}\n    surveys: []"), []string{`6:5: rule "a": surveys: must be a list of survey ids; leave it out for every survey`}},
		{"no survey id", inRule("feedback.a", "    with: {subject: '\"s\"'}\n    surveys: [SV_1, cart]"), []string{`6:21: rule "a": surveys: must be ids of surveys, as in SV_0abc`}},

		{"a subject of ours", inRule("survey.response.received", ""), []string{`4:14: rule "a": publish: must be recognition.requested or feedback. followed by letters, digits, - and _`}},
		{"feedback without a token", inRule("feedback.", ""), []string{`4:14: rule "a": publish: must be recognition.requested or feedback. followed by letters, digits, - and _`}},
		{"feedback with two tokens", inRule("feedback.a.b", ""), []string{`4:14: rule "a": publish: must be recognition.requested or feedback. followed by letters, digits, - and _`}},
		{"feedback with a wildcard", inRule("feedback.*", ""), []string{`4:14: rule "a": publish: must be recognition.requested or feedback. followed by letters, digits, - and _`}},
		{"publish is a list", inRule("[feedback.a]", ""), []string{`4:5: rule "a": publish: must be one piece of text; ` + quotes}},

		{"no with", inRule("feedback.a", ""), []string{`2:3: rule "a": with.subject is missing (must be at least 1 characters)`}},
		{"a required field is left out", inRule("feedback.a", "    with: {text: values.x}"), []string{`5:5: rule "a": with.subject is missing (must be at least 1 characters)`}},
		{"no recipient", inRule("recognition.requested", "    with: {score: 5}"), []string{`5:5: rule "a": with.recipient is missing (value is required)`}},
		{"with is text", inRule("feedback.a", "    with: values"), []string{`5:5: rule "a": with: must have fields of its own, each with an expression: ` + feedback}},
		{"an unknown field", inRule("feedback.a", "    with:\n      subject: '\"s\"'\n      acountId: values.x"), []string{`7:7: rule "a": with: the event has no field "acountId"; there are ` + feedback}},
		{"a field of the other event", inRule("feedback.a", "    with: {subject: '\"s\"', score: 5}"), []string{`5:28: rule "a": with: the event has no field "score"; there are ` + feedback}},
		{"a field's name in the .proto file", inRule("feedback.a", "    with: {subject: '\"s\"', account_id: values.x}"), []string{`5:28: rule "a": with: the event has no field "account_id"; there are ` + feedback}},
		{"an unknown field of the recipient", inRule("recognition.requested", "    with: {recipient: {mail: values.x}}"), []string{`5:24: rule "a": with.recipient: the event has no field "mail"; there are employeeId, email, name and username`}},
		{"the recipient as one expression", inRule("recognition.requested", "    with: {recipient: values.rep}"), []string{`5:12: rule "a": with.recipient: must have fields of its own, each with an expression: employeeId, email, name and username`}},
		{"a field with fields that it does not have", inRule("feedback.a", "    with: {subject: {a: values.x}}"), []string{`5:12: rule "a": with.subject: must be one piece of text; ` + quotes}},
		{"the response's id", inRule("feedback.a", "    with: {responseId: responseId, subject: '\"s\"'}"), []string{`5:12: rule "a": with: responseId is filled in for every rule; leave it out`}},
		{"an empty field", inRule("feedback.a", "    with:\n      subject:\n      text: values.x"), []string{`6:7: rule "a": with.subject: is empty`}},
		{"a number for text", inRule("feedback.a", "    with: {subject: 5}"), []string{`5:21: rule "a": with.subject: must be text, but the expression gives a number`}},
		{"a condition for text", inRule("feedback.a", "    with: {subject: values.a == values.b}"), []string{`5:21: rule "a": with.subject: must be text, but the expression gives true or false`}},
		{"a time for text", inRule("feedback.a", "    with: {subject: '\"s\"', dueAt: timestamp(values.t)}"), []string{`5:35: rule "a": with.dueAt: must be text, but the expression gives a time`}},
		{"a list for text", inRule("feedback.a", "    with:\n      subject: '[values.a]'"), []string{`6:17: rule "a": with.subject: must be text, but the expression gives a list`}},
		{"an object for text", inRule("feedback.a", "    with:\n      subject: values"), []string{`6:16: rule "a": with.subject: must be text, but the expression gives an object`}},
		{"text for a number", inRule("recognition.requested", "    with:\n      recipient: {email: values.e}\n      score: string(values.s)"),
			[]string{`7:14: rule "a": with.score: must be a number, but the expression gives text; int(…) and double(…) make a number of text`}},
		{"text that is too long whatever the answer", inRule("feedback.a", "    with:\n      subject: '\"s\"'\n      priority: '\"urgent\"'"), []string{`7:7: rule "a": with.priority: must be at most 1 characters`}},
		{"a number that is not whole whatever the answer", inRule("recognition.requested", "    with:\n      recipient: {email: values.e}\n      amount: 2.5"), []string{`7:7: rule "a": with.amount: must be a whole number`}},
		{"an expression that fails whatever the answer", inRule("feedback.a", "    with:\n      subject: string(1 / 0)"), []string{`6:7: rule "a": with.subject: the expression cannot be worked out`}},

		{"when gives text", withWhen(`"'x'"`), []string{`3:12: rule "a": when: must be true or false, but gives text`}},
		{"when gives a number", withWhen(`int(values.csat)`), []string{`3:11: rule "a": when: must be true or false, but gives a number`}},
		{"an unknown variable", withWhen(`values.a == 1 && survey == "x"`), []string{`3:28: rule "a": when: undeclared reference to 'survey'` + known}},
		{"an unknown function", withWhen(`lower(values.a) == "x"`), []string{`3:16: rule "a": when: undeclared reference to 'lower'` + known}},
		{"a contact's field that is not known", withWhen(`contact.phone == "1" || contact["name"] == "x"`),
			[]string{`3:11: rule "a": when: contact has no "phone"; it has externalId and email`, `3:35: rule "a": when: contact has no "name"; it has externalId and email`}},
		{"types that do not go together", withWhen(`surveyId == 5`), []string{`3:20: rule "a": when: found no matching overload for '_==_' applied to '(string, int)'`}},
		{"a regular expression that is none", withWhen(`values.a.matches("[")`), []string{`3:28: rule "a": when: invalid matches argument`}},
		{"a conversion that never works", withWhen(`values.a > int("x")`), []string{`3:11: rule "a": when: type conversion error from 'string' to 'int'`}},
		{"an expression that YAML takes for a tag", withWhen("!values.a\n"), []string{`2:3: rule "a": publish is missing`, `3:5: rule "a": when: must be one piece of text; ` + quotes}},
		{"an anchor", withWhen("&a values.a"), []string{`3:5: rule "a": when: must be one piece of text; ` + quotes}},
		{"two mistakes in one expression", withWhen("one == two"), []string{`3:11: rule "a": when: undeclared reference to 'one'` + known, `3:18: rule "a": when: undeclared reference to 'two'` + known}},

		{"in single quotes", withWhen(`'values.a == ''é'' && foo'`), []string{`3:33: rule "a": when: undeclared reference to 'foo'` + known}},
		{"in double quotes", withWhen(`"values.a == \"x\" && \u0066oo"`), []string{`3:33: rule "a": when: undeclared reference to 'foo'` + known}},
		{"folded in double quotes", withWhen("\"values.a == 1 && \\\n      foo\""), []string{`4:7: rule "a": when: undeclared reference to 'foo'` + known}},
		{"folded in single quotes", withWhen("'values.a == 1   \n\n      && foo'"), []string{`5:10: rule "a": when: undeclared reference to 'foo'` + known}},
		{"folded without quotes", withWhen("values.a == 1\n      && foo   # why\n"), []string{`4:10: rule "a": when: undeclared reference to 'foo'` + known}},
		{"in a block", withWhen("|\n      values.a == 1 &&\n        foo"), []string{`5:9: rule "a": when: undeclared reference to 'foo'` + known}},
		{"in a folded block", withWhen(">-\n      values.a == 1 &&\n\n      foo"), []string{`6:7: rule "a": when: undeclared reference to 'foo'` + known}},
		{"in a block whose line before has accents", "rules:\n  - name: é😀\n    publish: feedback.a\n    with: {subject: '\"é😀\"', text: foo}\n    when: 'true'\n",
			[]string{`4:35: rule "é😀": with.text: undeclared reference to 'foo'` + known}},
		{"with Windows' line ends and a byte order mark", "\uFEFF" + strings.ReplaceAll(withWhen("foo"), "\n", "\r\n"), []string{`3:11: rule "a": when: undeclared reference to 'foo'` + known}},

		{"everything at once", `rules:
  - name: one
    when: foo
    publish: feedback.a
    with: {subject: 5, nope: 1}
  - when: 'true'
    publish: order.completed
    extra: 1
extra: 2
`, []string{
			`3:11: rule "one": when: undeclared reference to 'foo'` + known,
			`5:21: rule "one": with.subject: must be text, but the expression gives a number`,
			`5:24: rule "one": with: the event has no field "nope"; there are ` + feedback,
			`6:3: rule 2: name is missing`,
			`7:14: rule 2: publish: must be recognition.requested or feedback. followed by letters, digits, - and _`,
			`8:5: rule 2: unknown key "extra"; there are name, publish, surveys, when and with`,
			`9:1: unknown key "extra"; there are rules`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set, err := rules.Parse("rules.yaml", []byte(test.file))
			var problems *rules.Problems
			if set != nil || !errors.As(err, &problems) || problems.File != "rules.yaml" {
				t.Fatalf("got %v, %v for\n%s", set, err, test.file)
			}
			if got, want := err.Error(), "rules.yaml:"+strings.Join(test.want, "\nrules.yaml:"); got != want {
				t.Errorf("for\n%s\ngot\n%s\nwant\n%s", test.file, got, want)
			}
		})
	}
}

func TestABrokenExpressionIsNamedWhereItBreaks(t *testing.T) {
	_, err := rules.Parse("rules.yaml", []byte(withWhen(`values.a == `)))
	if err == nil || !strings.HasPrefix(err.Error(), `rules.yaml:3:22: rule "a": when: Syntax error: `) {
		t.Errorf("got %v", err)
	}
}

func TestSoundFilesAreTaken(t *testing.T) {
	for name, file := range map[string]string{
		"no rules":          "rules: []\n",
		"a name of numbers": strings.Replace(withWhen("true"), "name: a", "name: 5", 1),
		"several surveys":   inRule("feedback.a-b_9", "    surveys:\n      - SV_1\n      - SV_2\n    with:\n      subject: '\"s\"'"),
		"JSON":              `{"rules": [{"name": "a", "when": "true", "publish": "feedback.a", "with": {"subject": "'s'"}}]}`,
	} {
		t.Run(name, func(t *testing.T) { parse(t, file) })
	}
}

// A field of a kind that rules cannot set would be refused in every rule; then convert and fits need another case.
func TestEveryFieldOfThePublishedEventsCanBeSet(t *testing.T) {
	parse(t, inRule(subjects.FeedbackDeliveryLate, "    with: {subject: values.a, text: values.a, accountId: values.a, contactId: values.a, "+
		"processorId: values.a, ownerId: values.a, priority: values.a, dueAt: values.a}"))
	parse(t, inRule(subjects.RecognitionRequested, "    with: {recipient: {employeeId: values.a, email: values.a, name: values.a}, "+
		"score: values.a, note: values.a, program: values.a, amount: values.a}"))
}
