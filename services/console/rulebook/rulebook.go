// Package rulebook shows which rules are in force, and tries changes to them over recorded answers.
package rulebook

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/rules"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/trial"
	"github.com/closeloop/closeloop/services/console/web"
)

const (
	// lately is how far back it is counted how often a rule fired, and the period of a trial where none is asked for.
	lately = 7 * 24 * time.Hour
	// turnPatience is how long a trial waits for the one before it.
	turnPatience = 5 * time.Second
)

// Source is what services told of their rules. [loops.Store] knows it.
type Source interface {
	RuleSets(ctx context.Context) ([]activity.RuleSet, error)
	Numbers(ctx context.Context, span loops.Span) (loops.Numbers, error)
}

// Tried is what a trial asked of whom, as it is recorded before anything is shown: a rule can ask anything about an answer, and give
// what somebody said to any field.
type Tried struct {
	// Rules is the SHA-256 of the file that was tried, and Before that of the one it was compared with.
	Rules  string `json:"rules"`
	Before string `json:"before"`
	// From and To bound when the answers were stored: From <= t < To.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// Survey is the one whose answers were looked at, empty for all.
	Survey string `json:"survey,omitempty"`
}

// Recorder records who makes a trial, and why. Its error is a [httpdoor.Problem].
type Recorder func(ctx context.Context, r *httpdoor.Request, by, why string, t Tried) error

// Pages are GET /rules, for everybody who may read, and POST /rules/try for those alone who operate, with a reason that is recorded.
type Pages struct {
	source Source
	js     jetstream.JetStream
	shown  func(field, value string) string
	alias  func(id string) string
	record Recorder
	now    func() time.Time
	// turn is held by the one trial that is made at a time: each needs memory and a processor.
	turn chan struct{}
}

// New makes the pages. js reads the recorded answers; shown gives a field of an event, by its path, as everybody may see it, and
// alias what a loop or an answer is called, by its id; record is asked before each trial; now is the clock.
func New(source Source, js jetstream.JetStream, shown func(field, value string) string, alias func(id string) string, record Recorder, now func() time.Time) *Pages {
	return &Pages{source, js, shown, alias, record, now, make(chan struct{}, 1)}
}

// RuleSet is a file of rules as its service has it in force.
type RuleSet struct {
	activity.RuleSet
	// Rules are left out where the service could not tell the file, for its size.
	Rules []RuleInForce `json:"rules,omitempty"`

	set *rules.Set
}

// RuleInForce is one of its rules.
type RuleInForce struct {
	Name    string   `json:"name"`
	Surveys []string `json:"surveys,omitempty"`
	When    string   `json:"when"`
	Publish string   `json:"publish"`
	Line    int      `json:"line"`
	// Fired is in how many of the loops that began within the last seven days.
	Fired int `json:"fired"`
}

// Rules answers GET /rules.
func (p *Pages) Rules(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	if err := web.Known(r.Query, "format"); err != nil {
		return nil, err
	}
	sets, err := p.inForce(ctx)
	if err == nil {
		err = p.count(ctx, sets)
	}
	if err != nil {
		return nil, err
	}
	switch web.FormOf(r) {
	case web.Page:
		return rulesPage(r, sets, p.form(r, sets, askedTrial{})), nil
	case web.CSV:
		return rulesSheet(sets), nil
	default:
		return &httpdoor.Response{Body: struct {
			RuleSets []RuleSet `json:"ruleSets"`
		}{sets}}, nil
	}
}

// inForce gives what services told last.
func (p *Pages) inForce(ctx context.Context) ([]RuleSet, error) {
	latest, err := p.source.RuleSets(ctx)
	if err != nil {
		return nil, web.Unread(err)
	}
	sets := make([]RuleSet, len(latest))
	for i, s := range latest {
		sets[i] = RuleSet{RuleSet: s, set: parsed(s)}
		if sets[i].set == nil {
			continue
		}
		for _, rule := range sets[i].set.Rules() {
			sets[i].Rules = append(sets[i].Rules, RuleInForce{rule.Name, rule.Surveys, rule.When, rule.Publish, rule.Line, 0})
		}
	}
	return sets, nil
}

// count adds how often each rule fired lately.
func (p *Pages) count(ctx context.Context, sets []RuleSet) error {
	to := p.now()
	counted, err := p.source.Numbers(ctx, loops.Span{From: to.Add(-lately), To: to})
	if err != nil {
		return web.Unread(err)
	}
	fired := map[string]int{}
	for _, group := range counted.Rules {
		for _, c := range group.Funnel {
			if c.Name == string(loops.Acted) {
				fired[group.Name] = c.Count
			}
		}
	}
	for _, s := range sets {
		for i := range s.Rules {
			s.Rules[i].Fired = fired[s.Rules[i].Name]
		}
	}
	return nil
}

// parsed reads the rules that a service told; nil where it told none, or where they are too many for the console.
func parsed(s activity.RuleSet) *rules.Set {
	if s.Source == "" || len(s.Source) > trial.SourceMost {
		return nil
	}
	set, err := rules.Parse(s.Name, []byte(s.Source))
	if err != nil { // of a later version, perhaps
		return nil
	}
	return set
}

// ofRouter gives the set of the service that applies rules; the zero value where it is not known.
func ofRouter(sets []RuleSet) RuleSet {
	if at := slices.IndexFunc(sets, func(s RuleSet) bool { return s.Service == topology.FeedbackRouter }); at >= 0 {
		return sets[at]
	}
	return RuleSet{}
}

// askedTrial is what is to be tried, as it was asked for.
type askedTrial struct {
	// Source is the changed file. Before is the one that it is compared with, "" for the one in force.
	Source string `json:"source"`
	Before string `json:"before"`
	// From and To bound when answers were recorded; default: the last seven days.
	From   string `json:"from"`
	To     string `json:"to"`
	Survey string `json:"survey"`
	// Why and By are recorded, By where the credentials do not name anybody.
	Why string `json:"why"`
	By  string `json:"by"`
}

// surveyMost is how long a survey's id may be.
const surveyMost = 128

// Trial is what a changed file would do.
type Trial struct {
	// RuleSet is the hash of the rules that it was compared with, "" for those that were sent along.
	RuleSet string `json:"ruleSet,omitempty"`
	*trial.Result
	// Warnings are for whoever puts the file in force.
	Warnings []string `json:"warnings"`
}

// Try answers POST /rules/try.
func (p *Pages) Try(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
	asked, err := askedTrialOf(r)
	if err != nil {
		return nil, err
	}
	leave, err := p.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	sets, err := p.inForce(ctx)
	if err != nil {
		return nil, err
	}
	planned, err := p.plan(asked, ofRouter(sets))
	if err == nil {
		err = p.record(ctx, r, asked.By, asked.Why, asked.tried(planned, ofRouter(sets)))
	}
	if err != nil {
		return p.refused(r, sets, asked, err)
	}
	result, err := planned.Run(ctx, p.js)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, httpdoor.Unavailable("the recorded answers cannot be read now: "+err.Error(), turnPatience)
	}
	for i := range result.Differences {
		d := &result.Differences[i]
		d.LoopID, d.ResponseID = p.alias(d.LoopID), p.alias(d.ResponseID)
	}
	t := Trial{Result: result, Warnings: warnings(result)}
	if asked.Before == "" {
		t.RuleSet = ofRouter(sets).Hash
	}
	switch web.FormOf(r) {
	case web.Page:
		return trialPage(r, t, p.form(r, sets, asked)), nil
	case web.CSV:
		return trialSheet(t), nil
	default:
		return &httpdoor.Response{Body: t}, nil
	}
}

func askedTrialOf(r *httpdoor.Request) (a askedTrial, err error) {
	if r.ContentType == "application/json" {
		return a, web.Decode(r, &a)
	}
	v, err := web.Values(r)
	if err != nil {
		return a, err
	}
	a = askedTrial{v.Get("source"), v.Get("before"), v.Get("from"), v.Get("to"), v.Get("survey"), v.Get("why"), v.Get("by")}
	return a, web.Known(v, "source", "before", "from", "to", "survey", "why", "by")
}

// tried is what is recorded of a trial.
func (a askedTrial) tried(t trial.Trial, force RuleSet) Tried {
	before := force.Hash
	if a.Before != "" {
		before = digest(a.Before)
	}
	return Tried{digest(a.Source), before, t.From, t.To, t.Survey}
}

func digest(file string) string {
	sum := sha256.Sum256([]byte(file))
	return hex.EncodeToString(sum[:])
}

// enter waits for one's turn.
func (p *Pages) enter(ctx context.Context) (leave func(), err error) {
	patience, cancel := context.WithTimeout(ctx, turnPatience)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		return func() { <-p.turn }, nil
	case <-patience.Done():
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, httpdoor.Unavailable("somebody else tries a change at this moment; only one is tried at a time", turnPatience)
}

// plan makes a trial of what was asked for.
func (p *Pages) plan(a askedTrial, force RuleSet) (trial.Trial, error) {
	t := trial.Trial{Before: force.set, To: p.now(), Survey: strings.TrimSpace(a.Survey), Shown: p.shown}
	t.From = t.To.Add(-lately)
	if len(t.Survey) > surveyMost {
		return t, web.Wrong("survey", fmt.Sprintf("must have at most %d bytes", surveyMost))
	}
	var err error
	if t.From, t.To, err = a.period(t.From, t.To); err != nil {
		return t, err
	}
	name := "rules.yaml"
	if force.Name != "" {
		name = path.Base(force.Name)
	}
	if a.Before != "" {
		if t.Before, err = read("before", name, a.Before); err != nil {
			return t, err
		}
	}
	if t.After, err = read("source", name, a.Source); err != nil {
		return t, err
	}
	if t.Before == nil {
		return t, httpdoor.Unprocessable("it is not known here which rules are in force: "+unknown(force),
			httpdoor.FieldError{Field: "before", Message: "is needed: the file to compare with"})
	}
	return t, nil
}

// unknown says why the rules in force are not known.
func unknown(s RuleSet) string {
	switch {
	case s.Service == "":
		return topology.FeedbackRouter + " has not told; it does when it starts, and every hour"
	case s.Source == "" || len(s.Source) > trial.SourceMost:
		return "the file is too large to be shown here"
	default:
		return "the file is not understood here; is the console of an earlier version than " + s.Service + "?"
	}
}

// period gives the ends that were asked for in place of the usual ones.
func (a askedTrial) period(from, to time.Time) (time.Time, time.Time, error) {
	var err error
	q := url.Values{"from": {a.From}, "to": {a.To}}
	if a.To != "" {
		if to, err = web.Instant(q, "to"); err != nil {
			return from, to, err
		}
		from = to.Add(-lately)
	}
	if a.From != "" {
		if from, err = web.Instant(q, "from"); err != nil {
			return from, to, err
		}
	}
	if !from.Before(to) {
		return from, to, web.Wrong("from", "must be before to")
	}
	return from, to, nil
}

// read checks a file that was sent. The error says all that is wrong in it, as it would be refused.
func read(name, file, source string) (*rules.Set, error) {
	switch {
	case strings.TrimSpace(source) == "":
		return nil, web.Wrong(name, "is required: the whole file of rules")
	case len(source) > trial.SourceMost:
		return nil, web.Wrong(name, fmt.Sprintf("has more than %d KiB, which is too much to be tried here", trial.SourceMost>>10))
	}
	set, err := rules.Parse(file, []byte(source))
	wrong, ok := errors.AsType[*rules.Problems](err)
	if !ok {
		return set, err
	}
	return nil, &refusedFile{wrong, name}
}

// refusedFile is the error of a file that would not be put in force.
type refusedFile struct {
	*rules.Problems
	field string
}

// problem is what programs are told.
func (f *refusedFile) problem() error {
	var fields []httpdoor.FieldError
	for _, line := range f.Lines() {
		fields = append(fields, httpdoor.FieldError{Field: f.field, Message: line})
	}
	return httpdoor.Unprocessable("the file would be refused", fields...)
}

// refused answers a trial that cannot be made.
func (p *Pages) refused(r *httpdoor.Request, sets []RuleSet, a askedTrial, err error) (*httpdoor.Response, error) {
	if web.FormOf(r) == web.Page {
		if page := refusedPage(r, err, p.form(r, sets, a)); page != nil {
			return page, nil
		}
	}
	if wrong, ok := errors.AsType[*refusedFile](err); ok {
		return nil, wrong.problem()
	}
	return nil, err
}

// warnings are about what counting cannot show.
func warnings(r *trial.Result) []string {
	list := []string{}
	for _, rule := range r.Rules {
		if rule.Was != "" {
			list = append(list, fmt.Sprintf("Rule %q looks like %q under another name. A rule publishes once for each answer, and is known by its name: "+
				"under the new one it would publish again for every answer that is replayed.", rule.Rule, rule.Was))
		}
	}
	return list
}

// rulesSheet is the list as a table.
func rulesSheet(sets []RuleSet) *httpdoor.Response {
	var rows [][]string
	for _, s := range sets {
		for _, rule := range s.Rules {
			rows = append(rows, []string{s.Service, rule.Name, strings.Join(rule.Surveys, " "), rule.When, rule.Publish, strconv.Itoa(rule.Line), strconv.Itoa(rule.Fired), s.Hash})
		}
	}
	return web.Table("rules", []string{"service", "rule", "surveys", "when", "publish", "line", "fired_7_days", "rule_set"}, rows)
}

// trialSheet is a trial as a table: a row for each field that differs, and one for each difference without any.
func trialSheet(t Trial) *httpdoor.Response {
	var rows [][]string
	for _, d := range t.Differences {
		row := []string{d.Rule, d.Kind, d.LoopID, d.ResponseID, d.SurveyID, d.At.UTC().Format(time.RFC3339Nano), d.Before, d.After, d.Why}
		for _, f := range d.Fields {
			rows = append(rows, append(slices.Clone(row), f.Field, f.Before, f.After))
		}
		if len(d.Fields) == 0 {
			rows = append(rows, append(row, "", "", ""))
		}
	}
	return web.Table("rules-trial", []string{
		"rule", "kind", "loop_id", "response_id", "survey_id", "at", "published_before", "published_after", "why", "field", "before", "after",
	}, rows)
}
