// Package rules decides what is to be done about an answer: it reads RULES_FILE (YAML, with conditions and values in
// CEL), checks all of it when it is read, and evaluates it against a survey.response.received.
//
// docs/rules.md describes the file for the people who write it.
package rules

import (
	"context"
	_ "embed"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// timeLimit is how long all rules together may take for one answer. 50 rules take less than a millisecond for an everyday
// answer, and the cost limit stops a single expression long before, so that only many hostile loops ever meet it.
const timeLimit = 5 * time.Second

//go:embed default.yaml
var defaultSource []byte

// defaultName is what positions in the embedded rules are given under.
const defaultName = "default.yaml"

// Set is a rules file that was checked. It never changes and may be used by any number of goroutines.
type Set struct {
	rules []rule
}

// rule is one entry of the file, ready to run.
type rule struct {
	name    string
	surveys []string
	source  string // of when
	when    []condition
	publish string
	with    message
	line    int
}

// condition is one part of a rule's "when"; the parts are joined by &&.
type condition struct {
	expression
	// failed is what to tell people when the condition is false.
	failed string
	// source is the condition itself.
	source string
}

// Outcome is what one rule makes of one answer. Its texts name fields and never hold an answer.
type Outcome struct {
	// Rule is the name of the rule.
	Rule string
	// Subject is where the rule publishes: feedback.<token> or recognition.requested.
	Subject string
	// Matched tells whether the condition is true.
	Matched bool
	// Message is what to publish, a FeedbackRaised or a RecognitionRequested that keeps its contract. It is nil where
	// the rule did not match and where Err is set.
	Message proto.Message
	// Why says which condition was false or which value is missing, where the rule did not match.
	Why string
	// Condition is the part of "when" that Why is about, in the words of the file.
	Condition string
	// Err says why a message could not be made. It is a [fault.Fault]: Invalid with rule and field where a value cannot
	// be worked out, the message breaks its contract or an expression is too costly; Transient where time ran out.
	Err error
}

// Len gives the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// conditionMost is how many characters of a condition are said.
const conditionMost = 200

// Reason says why the rule publishes nothing: Why with the condition, or Err; "" where it publishes.
func (o Outcome) Reason() string {
	switch {
	case o.Err != nil:
		return o.Err.Error()
	case o.Condition == "":
		return o.Why
	}
	condition := []rune(o.Condition)
	if len(condition) > conditionMost {
		condition = append(condition[:conditionMost-1], '…')
	}
	return o.Why + ": " + string(condition)
}

// Rule is what a rule says of itself.
type Rule struct {
	Name string
	// Surveys that it is for, none for every survey.
	Surveys []string
	// When is its condition and Publish its subject, as they are written.
	When, Publish string
	// Line is where it begins in the file, from 1.
	Line int
}

// Rules lists them in the order of the file.
func (s *Set) Rules() []Rule {
	list := make([]Rule, len(s.rules))
	for i, r := range s.rules {
		list[i] = Rule{r.name, slices.Clone(r.surveys), r.source, r.publish, r.line}
	}
	return list
}

// Evaluate gives the outcome of every rule for r, in the order of the file. It does no I/O and takes five
// seconds at most.
func (s *Set) Evaluate(r *eventsv1.SurveyResponseReceived) []Outcome {
	return s.EvaluateIn(context.Background(), r)
}

// EvaluateIn is [Set.Evaluate] for somebody who may lose interest: what is not worked out when ctx ends has a Transient Err.
func (s *Set) EvaluateIn(ctx context.Context, r *eventsv1.SurveyResponseReceived) []Outcome {
	ctx, cancel := context.WithTimeout(ctx, timeLimit)
	defer cancel()
	vars := variablesOf(r)
	outcomes := make([]Outcome, len(s.rules))
	for i := range s.rules {
		outcomes[i] = s.rules[i].evaluate(ctx, r, vars)
	}
	return outcomes
}

func (r *rule) evaluate(ctx context.Context, response *eventsv1.SurveyResponseReceived, vars map[string]any) Outcome {
	o := Outcome{Rule: r.name, Subject: r.publish}
	if len(r.surveys) > 0 && !slices.Contains(r.surveys, response.GetSurveyId()) {
		o.Why = "the rule is for " + numbered(len(r.surveys), "survey") + " " + listed(r.surveys)
		return o
	}
	for _, c := range r.when {
		why, stop := c.evaluate(ctx, vars)
		if stop != nil {
			o.Err = explain(r.name, "when", stop)
			return o
		}
		if why != "" {
			o.Why, o.Condition = why+" ("+c.place+")", c.source
			return o
		}
	}
	o.Matched = true
	o.Message, o.Err = r.with.build(ctx, r.name, response.GetResponseId(), vars)
	return o
}

// evaluate gives "" where the condition is true, or why it is not; a fault where the evaluation was stopped.
func (c *condition) evaluate(ctx context.Context, vars map[string]any) (string, *fault.Fault) {
	result, err := c.run(ctx, vars)
	switch {
	case err != nil && stopped(err) != nil:
		return "", stopped(err)
	case err != nil:
		return err.Error(), nil
	case result == types.True:
		return "", nil
	case result == types.False:
		return c.failed, nil
	default: // values.consent, and the answer is text
		return misfit{c.reads}.Error(), nil
	}
}

// variablesOf gives an answer as the variables of the expressions. What is missing there is missing here: an empty
// contact field and a JSON null are no values.
func variablesOf(r *eventsv1.SurveyResponseReceived) map[string]any {
	contact := map[string]any{}
	if id := r.GetContact().GetExternalId(); id != "" {
		contact["externalId"] = id
	}
	if email := r.GetContact().GetEmail(); email != "" {
		contact["email"] = email
	}
	return map[string]any{
		"surveyId":   r.GetSurveyId(),
		"responseId": r.GetResponseId(),
		"requestId":  r.GetRequestId(),
		"values":     plainFields(r.GetValues()),
		"labels":     plainFields(r.GetLabels()),
		"contact":    contact,
	}
}

func plainFields(fields map[string]*structpb.Value) map[string]any {
	plain := make(map[string]any, len(fields))
	for name, v := range fields {
		if p := plainValue(v); p != nil {
			plain[name] = p
		}
	}
	return plain
}

func plainValue(v *structpb.Value) any {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		return plainFields(kind.StructValue.GetFields())
	case *structpb.Value_ListValue:
		list := make([]any, len(kind.ListValue.GetValues()))
		for i, item := range kind.ListValue.GetValues() {
			list[i] = plainValue(item)
		}
		return list
	default:
		return v.AsInterface()
	}
}

// numbered gives the plural of a word where there are several.
func numbered(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}

// listed gives names for a sentence: a, b and c.
func listed(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " and " + names[last]
}

// Surveys gives the surveys that rules name, in no order.
func (s *Set) Surveys() []string {
	var all []string
	for _, r := range s.rules {
		all = append(all, r.surveys...)
	}
	return all
}
