// Package trial tells what a changed file of rules would do: it evaluates it beside the rules in force over recorded answers,
// and says what would be published, not be published any more, or be published otherwise.
//
// It only reads. Nothing is published, noted or remembered by a trial.
package trial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/rules"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

// The limits of one trial, so that none takes the console's memory or its time.
const (
	// SourceMost is the largest file that is tried, in bytes.
	SourceMost = 256 << 10
	// listedMost is how many differences are told one by one; all are counted.
	listedMost = 2000
	// reasonsMost is how many reasons are told apart for each rule.
	reasonsMost = 20

	answersMost = 20_000
	timeMost    = 20 * time.Second
)

// Kinds of differences between the rules in force and those that are tried.
const (
	Publish = "publish" // would be published, and is not by the rules in force
	Drop    = "drop"    // would not be published any more
	Change  = "change"  // would be published otherwise
	Fail    = "fail"    // could not be worked out: the answer would be a dead letter, and is none by the rules in force
	Mend    = "mend"    // is a dead letter by the rules in force, and would be none, nor be published
)

// Kinds lists them in the order in which people look at them.
var Kinds = []string{Publish, Drop, Change, Fail, Mend}

// Trial is what is to be tried.
type Trial struct {
	// Before are the rules in force, After those that may follow.
	Before, After *rules.Set
	// From and To bound when the answers were stored: From <= t < To.
	From, To time.Time
	// Survey leaves out the answers of others, "" for none.
	Survey string
	// Shown gives a field's value as people may see it.
	Shown func(field, value string) string

	// The limits of a test, 0 for those of this package.
	answersMost int
	timeMost    time.Duration
	window      uint64
}

// Result is what came of it.
type Result struct {
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`
	Survey string    `json:"survey,omitempty"`
	// Answers is how many were looked at, a response that was recorded twice once; Unreadable ones break their contract.
	Answers    int `json:"answers"`
	Unreadable int `json:"unreadable"`
	// Complete says that these are all answers of the period. Where it is false, Stopped says why, and all answers since Since
	// were looked at, perhaps with some that are older; the zero time says that not even that is known. Stopped is "after …".
	Complete bool      `json:"complete"`
	Stopped  string    `json:"stopped,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Rules    []*Rule   `json:"rules"`
	// Differences are the first of them that were met, the latest answers before the others; Different is how many there are.
	Differences []Difference `json:"differences"`
	Different   int          `json:"different"`
}

// Rule is what became of one rule.
type Rule struct {
	// Rule is its name as it would be, or was where it would be gone. Was is its name in force where that is another.
	Rule string `json:"rule"`
	Was  string `json:"was,omitempty"`
	// New and Gone say that it is in one of the files only.
	New  bool `json:"new,omitempty"`
	Gone bool `json:"gone,omitempty"`
	// Before and After are what it makes of the answers now and then.
	Before Counts `json:"before"`
	After  Counts `json:"after"`
	// Counts of the differences, by kind.
	Counts map[string]int `json:"counts"`
	// Reasons why answers would be dead letters.
	Reasons []Reason `json:"reasons,omitempty"`
}

// Counts are answers by what a rule makes of them.
type Counts struct {
	Published   int `json:"published"`
	DeadLetters int `json:"deadLetters"`
}

// Reason is why answers would be dead letters.
type Reason struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

// Difference is one answer of which a rule would make something else.
type Difference struct {
	Rule       string    `json:"rule"`
	Kind       string    `json:"kind"`
	LoopID     string    `json:"loopId"`
	ResponseID string    `json:"responseId"`
	SurveyID   string    `json:"surveyId,omitempty"`
	At         time.Time `json:"at"` // when the answer was stored
	// Before and After are the subjects that it is published to, "" where it is not.
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
	// Fields that differ; of what is new all that are set.
	Fields []Field `json:"fields,omitempty"`
	// Why it is not published, or could not be.
	Why string `json:"why,omitempty"`
}

// Field is one field of an event with its values, as people may see them.
type Field struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Run reads the answers and compares. The error is that of ctx, or of the broker.
func (t Trial) Run(ctx context.Context, js jetstream.JetStream) (*Result, error) {
	r := t.prepare()
	limited, cancel := context.WithTimeout(ctx, cmp.Or(t.timeMost, timeMost))
	defer cancel()
	err := answers{js, cmp.Or(t.window, window), r.take, r.passed}.read(limited, t.From, t.To)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, errEnough):
		r.Stopped = fmt.Sprintf("after %d answers", cmp.Or(t.answersMost, answersMost))
	case limited.Err() != nil:
		r.Stopped = fmt.Sprintf("after %s", cmp.Or(t.timeMost, timeMost))
	case err != nil:
		return nil, err
	default:
		r.Complete, r.Since = true, time.Time{}
	}
	return r.finish(), nil
}

// running is a trial on its way.
type running struct {
	Trial Trial
	*Result
	rules []*pair
	seen  map[string]bool // responses
	// earliest answer that was met.
	earliest time.Time
}

// pair is a rule before and after: its places in the outcomes, -1 where it is not there.
type pair struct {
	*Rule
	before, after int
	reasons       map[string]int
}

func (t Trial) prepare() *running {
	r := &running{
		Trial: t, Result: &Result{From: t.From, To: t.To, Survey: t.Survey, Rules: []*Rule{}, Differences: []Difference{}},
		seen: map[string]bool{}, rules: pairs(t.Before.Rules(), t.After.Rules()),
	}
	for _, p := range r.rules {
		r.Rules = append(r.Rules, p.Rule)
	}
	return r
}

// pairs finds for each rule what it was, by name, or by everything but the name and the fields.
func pairs(before, after []rules.Rule) []*pair {
	named := func(list []rules.Rule, name string) int {
		return slices.IndexFunc(list, func(r rules.Rule) bool { return r.Name == name })
	}
	var all []*pair
	taken := map[int]bool{}
	for i, now := range after {
		p := &pair{&Rule{Rule: now.Name, Counts: map[string]int{}}, named(before, now.Name), i, map[string]int{}}
		if p.before < 0 {
			p.before = slices.IndexFunc(before, func(was rules.Rule) bool {
				return !taken[named(before, was.Name)] && named(after, was.Name) < 0 && alike(was, now)
			})
			if p.New = p.before < 0; !p.New {
				p.Was = before[p.before].Name
			}
		}
		taken[p.before] = true
		all = append(all, p)
	}
	for i, was := range before {
		if !taken[i] {
			all = append(all, &pair{&Rule{Rule: was.Name, Gone: true, Counts: map[string]int{}}, i, -1, map[string]int{}})
		}
	}
	return all
}

func alike(a, b rules.Rule) bool {
	return a.Publish == b.Publish && a.When == b.When && slices.Equal(a.Surveys, b.Surveys)
}

// take looks at one answer.
func (r *running) take(ctx context.Context, m *jetstream.RawStreamMsg) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	e, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{Sequence: m.Sequence, Time: m.Time})
	answer, ok := e.Data.(*eventsv1.SurveyResponseReceived)
	if err != nil || !ok {
		r.Unreadable++
		return nil
	}
	if r.Trial.Survey != "" && r.Trial.Survey != answer.GetSurveyId() || r.seen[answer.GetResponseId()] {
		return nil
	}
	before, after := r.Trial.Before.EvaluateIn(ctx, answer), r.Trial.After.EvaluateIn(ctx, answer)
	if err := ctx.Err(); err != nil {
		return err // not all was worked out
	}
	r.seen[answer.GetResponseId()] = true
	r.Answers++
	if r.earliest.IsZero() || m.Time.Before(r.earliest) {
		r.earliest = m.Time
	}
	about := Difference{LoopID: e.LoopID, ResponseID: answer.GetResponseId(), SurveyID: answer.GetSurveyId(), At: m.Time}
	for _, p := range r.rules {
		r.compare(p, outcome(before, p.before), outcome(after, p.after), about)
	}
	return nil
}

// outcome of a rule; one that is not there says nothing.
func outcome(all []rules.Outcome, at int) rules.Outcome {
	if at < 0 {
		return rules.Outcome{}
	}
	return all[at]
}

// passed notes how far back all answers were looked at.
func (r *running) passed() error {
	r.Since = r.earliest
	if r.Answers >= cmp.Or(r.Trial.answersMost, answersMost) {
		return errEnough
	}
	return nil
}

// compare counts what a rule makes of an answer, and notes where that is something else.
func (r *running) compare(p *pair, before, after rules.Outcome, d Difference) {
	p.Before.add(before)
	p.After.add(after)
	if after.Err != nil {
		p.failed(after.Reason())
	}
	d.Rule = p.Rule.Rule
	was, is := before.Message != nil, after.Message != nil
	if was {
		d.Before = before.Subject
	}
	if is {
		d.After = after.Subject
	}
	switch {
	case was && is:
		if d.Fields = r.fields(before.Message, after.Message); len(d.Fields) == 0 && d.Before == d.After {
			return
		}
		d.Kind = Change
	case is:
		d.Kind, d.Fields = Publish, r.fields(nil, after.Message)
		if before.Err != nil {
			d.Why = "a dead letter by the rules in force: " + before.Reason()
		}
	case after.Err != nil && before.Err == nil:
		d.Kind, d.Why = Fail, after.Reason()
	case was:
		d.Kind, d.Why = Drop, whyNot(p, after)
	case before.Err != nil && after.Err == nil:
		d.Kind, d.Why = Mend, whyNot(p, after)
	default:
		return
	}
	p.Rule.Counts[d.Kind]++
	if r.Different++; r.Different <= listedMost {
		r.Differences = append(r.Differences, d)
	}
}

func (c *Counts) add(o rules.Outcome) {
	switch {
	case o.Err != nil:
		c.DeadLetters++
	case o.Message != nil:
		c.Published++
	}
}

// failed counts a reason; those beyond the most that are told apart are one.
func (p *pair) failed(reason string) {
	if _, known := p.reasons[reason]; !known && len(p.reasons) >= reasonsMost {
		reason = "other reasons"
	}
	p.reasons[reason]++
}

func whyNot(p *pair, o rules.Outcome) string {
	if p.Gone {
		return "the rule would be gone"
	}
	return o.Reason()
}

// finish puts everything into order.
func (r *running) finish() *Result {
	for _, p := range r.rules {
		for reason, count := range p.reasons {
			p.Reasons = append(p.Reasons, Reason{reason, count})
		}
		slices.SortFunc(p.Reasons, func(a, b Reason) int {
			return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(a.Reason, b.Reason))
		})
	}
	slices.SortStableFunc(r.Differences, func(a, b Difference) int { return b.At.Compare(a.At) })
	return r.Result
}

// fields gives the fields in which two messages differ, by name.
func (r *running) fields(before, after proto.Message) []Field {
	was, is := flat(before), flat(after)
	names := maps.Clone(was)
	maps.Copy(names, is)
	var differ []Field
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if was[name] != is[name] && name != "responseId" {
			differ = append(differ, Field{name, r.shown(name, was[name]), r.shown(name, is[name])})
		}
	}
	return differ
}

func (r *running) shown(field, value string) string {
	if value == "" {
		return ""
	}
	return r.Trial.Shown(field, value)
}

// flat gives the fields of a message that are set, by their paths.
func flat(m proto.Message) map[string]string {
	all := map[string]string{}
	if m != nil {
		collect(all, "", m.ProtoReflect())
	}
	return all
}

func collect(all map[string]string, path string, m protoreflect.Message) {
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		name := path + fd.JSONName()
		if fd.Message() != nil && fd.Cardinality() != protoreflect.Repeated {
			collect(all, name+".", v.Message())
		} else {
			all[name] = v.String()
		}
		return true
	})
}
