package rules

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"github.com/goccy/go-yaml/ast"

	"github.com/closeloop/closeloop/proto-events/subjects"
)

// maxSource is the most that a Kubernetes ConfigMap holds.
const maxSource = 1 << 20

// maxName bounds the name of a rule, which travels in logs and error texts.
const maxName = 100

// quotesHint helps where YAML takes an expression for something else.
const quotesHint = `an expression that begins with a sign or a quote, or has ": " or " #" in it, stands in single quotes`

var (
	surveyPattern   = regexp.MustCompile(`^SV_[A-Za-z0-9_]+$`)
	feedbackPattern = regexp.MustCompile(`^` + regexp.QuoteMeta(subjects.FeedbackPrefix) + `[A-Za-z0-9_-]+$`)
)

// Problem is one thing that is wrong in a rules file.
type Problem struct {
	// Line and Column are where it is, from 1. Columns count characters.
	Line, Column int
	// Rule is the name of the rule in quotes or, where it has none, its number from 1; "" for problems of the file itself.
	Rule string
	// Message says what is wrong, beginning with the key: when, with.subject.
	Message string
}

// Problems is the error of [Parse]: everything that is wrong in a rules file, in the order of the file.
type Problems struct {
	// File is the name that Parse was given.
	File string
	// List is never empty.
	List []Problem
}

// Error gives a line for each problem: rules.yaml:12:9: rule "csat-recognition": when: …
func (p *Problems) Error() string { return strings.Join(p.Lines(), "\n") }

// Lines gives the lines of Error, in the order of List.
func (p *Problems) Lines() []string {
	lines := make([]string, len(p.List))
	for i, problem := range p.List {
		rule := ""
		if problem.Rule != "" {
			rule = "rule " + problem.Rule + ": "
		}
		lines[i] = fmt.Sprintf("%s:%d:%d: %s%s", p.File, problem.Line, problem.Column, rule, problem.Message)
	}
	return lines
}

// Parse checks a rules file. name is what positions are given under. The error is a [*Problems] with everything that is
// wrong: a set is given only for a file without any problem.
func Parse(name string, source []byte) (*Set, error) {
	p := &reader{file: name, names: map[string]int{}}
	set := p.read(source)
	if len(p.problems) == 0 {
		return set, nil
	}
	slices.SortStableFunc(p.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return nil, &Problems{File: name, List: p.problems}
}

// reader reads a file and collects what is wrong with it.
type reader struct {
	file     string
	lines    [][]rune
	names    map[string]int // the line of each name
	rule     string         // the rule being read, for problems
	problems []Problem
}

func (p *reader) refuse(at position, format string, args ...any) {
	p.problems = append(p.problems, Problem{at.line, at.column, p.rule, fmt.Sprintf(format, args...)})
}

func (p *reader) read(source []byte) *Set {
	top := position{1, 1}
	if len(source) > maxSource {
		p.refuse(top, "the file is larger than %d bytes", maxSource)
		return nil
	}
	if !utf8.Valid(source) {
		p.refuse(top, "the file is not UTF-8 text")
		return nil
	}
	text := strings.ReplaceAll(strings.TrimPrefix(string(source), "\uFEFF"), "\r\n", "\n")
	p.lines = linesOf(text)
	root, at, err := parseYAML(text)
	if err != nil {
		p.refuse(at, "the file is not YAML from here: %s; %s", err, quotesHint)
		return nil
	}
	set := &Set{}
	found := p.keys(root, top, map[string]func(entry){
		"rules": func(e entry) { set.rules = p.rules(e) },
	})
	if root == nil || len(p.problems) == 0 && !found["rules"] {
		p.problems = nil
		p.refuse(top, `there is no list of rules; a file without any says so: "rules: []"`)
	}
	return set
}

// keys reads a mapping: known says what is done with each key. It gives the keys that were there.
func (p *reader) keys(n ast.Node, at position, known map[string]func(entry)) map[string]bool {
	found := map[string]bool{}
	list, ok := entries(n)
	if !ok {
		p.refuse(at, "there must be keys with values here")
		return found
	}
	for _, e := range list {
		read, ok := known[e.key]
		if !ok {
			p.refuse(e.at, "unknown key %q; there are %s", e.key, listed(slices.Sorted(maps.Keys(known))))
			continue
		}
		found[e.key] = true
		read(e)
	}
	return found
}

func (p *reader) rules(e entry) []rule {
	list, ok := e.value.(*ast.SequenceNode)
	if !ok {
		p.refuse(e.at, `rules: must be a list; a file without any says so: "rules: []"`)
		return nil
	}
	rules := make([]rule, len(list.Values))
	for i, n := range list.Values {
		p.rule = fmt.Sprint(i + 1)
		at := positionOf(list.Start)
		if i < len(list.Entries) {
			at = positionOf(list.Entries[i].Start)
		}
		rules[i] = p.oneRule(n, at)
	}
	p.rule = ""
	return rules
}

// oneRule reads a rule. The name comes first wherever it stands, so that every problem can name the rule.
func (p *reader) oneRule(n ast.Node, at position) rule {
	r := rule{line: at.line}
	var with *entry
	p.name(n, &r)
	found := p.keys(n, at, map[string]func(entry){
		"name":    func(entry) {},
		"surveys": func(e entry) { r.surveys = p.surveys(e) },
		"when":    func(e entry) { r.source, _ = scalar(e.value); r.when = p.when(e) },
		"publish": func(e entry) { r.publish = p.publish(e) },
		"with":    func(e entry) { with = &e },
	})
	if _, ok := entries(n); !ok {
		return r
	}
	for _, key := range []string{"name", "when", "publish"} {
		if !found[key] {
			p.refuse(at, "%s is missing", key)
		}
	}
	if r.publish != "" {
		r.with = p.with(r.publish, with, at)
	}
	return r
}

func (p *reader) name(n ast.Node, r *rule) {
	list, _ := entries(n)
	i := slices.IndexFunc(list, func(e entry) bool { return e.key == "name" })
	if i < 0 {
		return
	}
	text, at, ok := p.text(list[i], "name")
	if !ok {
		return
	}
	if utf8.RuneCountInString(text) > maxName || strings.ContainsFunc(text, func(c rune) bool { return !unicode.IsPrint(c) }) {
		p.refuse(at, "name: must be printable and at most %d characters", maxName)
		return
	}
	r.name, p.rule = text, fmt.Sprintf("%q", text)
	if line, taken := p.names[text]; taken {
		p.refuse(at, "name: line %d has a rule of this name already", line)
		return
	}
	p.names[text] = at.line
}

// text reads a scalar that must not be empty, and where it stands.
func (p *reader) text(e entry, key string) (string, position, bool) {
	text, ok := scalar(e.value)
	switch {
	case !ok:
		p.refuse(e.at, "%s: must be one piece of text; %s", key, quotesHint)
	case text == "":
		p.refuse(e.at, "%s: is empty", key)
		ok = false
	}
	return text, positionOf(e.value.GetToken()), ok
}

func (p *reader) surveys(e entry) []string {
	list, ok := e.value.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		p.refuse(e.at, "surveys: must be a list of survey ids; leave it out for every survey")
		return nil
	}
	surveys := make([]string, 0, len(list.Values))
	for _, n := range list.Values {
		id, ok := scalar(n)
		if !ok || !surveyPattern.MatchString(id) {
			p.refuse(positionOf(n.GetToken()), "surveys: must be ids of surveys, as in SV_0abc")
		}
		surveys = append(surveys, id)
	}
	return surveys
}

func (p *reader) publish(e entry) string {
	subject, at, ok := p.text(e, "publish")
	if ok && subject != subjects.RecognitionRequested && !feedbackPattern.MatchString(subject) {
		p.refuse(at, "publish: must be %s or %s followed by letters, digits, - and _", subjects.RecognitionRequested, subjects.FeedbackPrefix)
		ok = false
	}
	if !ok {
		return ""
	}
	return subject
}

func (p *reader) when(e entry) []condition {
	c, locate, ok := p.compile(e, "when")
	if !ok {
		return nil
	}
	if kind := c.GetType(c.Expr().ID()); kind.Kind() != cel.BoolKind && kind.Kind() != cel.DynKind {
		p.refuse(locate(c.start(c.Expr())), "when: must be true or false, but gives %s", kindName(kind))
		return nil
	}
	var when []condition
	for _, part := range conjuncts(c.Expr()) {
		at := locate(c.start(part))
		x, err := c.plan(part, p.place(at))
		if err != nil {
			p.refuse(at, "when: %s", err)
			continue
		}
		failed := "the condition is false"
		if len(x.reads) > 0 {
			failed = "the condition on " + listed(x.reads) + " is false"
		}
		when = append(when, condition{x, failed, c.text(part)})
	}
	return when
}

// compile checks the expression of an entry; locate gives the position of one of its characters.
func (p *reader) compile(e entry, key string) (c compiled, at func(int) position, ok bool) {
	text, _, ok := p.text(e, key)
	if !ok {
		return c, nil, false
	}
	at = func(offset int) position { return locate(p.lines, e.value, text, offset) }
	c, mistakes := compile(text)
	for _, m := range mistakes {
		p.refuse(at(m.offset), "%s: %s", key, m.message)
	}
	return c, at, len(mistakes) == 0
}

func (p *reader) place(at position) string {
	return fmt.Sprintf("%s:%d:%d", p.file, at.line, at.column)
}

// with reads the fields of what a rule publishes and checks what is already known of it against its contract. at is
// where the rule begins.
func (p *reader) with(subject string, with *entry, at position) message {
	contract, _ := subjects.Find(subject)
	m := message{make: contract.New}
	before := len(p.problems)
	positions := map[string]position{}
	if with != nil {
		at = with.at
		p.fields(&m, *with, nil, positions)
	}
	if len(p.problems) > before {
		return m
	}
	for _, v := range m.known(context.Background()) {
		if where, ok := positions[v.field]; ok {
			p.refuse(where, "with.%s: %s", v.field, v.reason)
		} else {
			p.refuse(at, "with.%s is missing (%s)", v.field, v.reason)
		}
	}
	return m
}

// fields reads the mapping e, which holds the fields of the message that path leads to.
func (p *reader) fields(m *message, e entry, path fieldPath, positions map[string]position) {
	list, ok := entries(e.value)
	if !ok {
		p.refuse(e.at, "with%s: must have fields of its own, each with an expression: %s", dotted(path), listed(m.names(path)))
		return
	}
	for _, item := range list {
		f, err := m.find(path, item.key)
		if err != nil {
			p.refuse(item.at, "with%s: %s", dotted(path), err)
			continue
		}
		positions[f.String()] = item.at
		if f.isMessage() {
			p.fields(m, item, f, positions)
			continue
		}
		if x, err := p.value(f, item); err == nil {
			m.fields = append(m.fields, x)
		}
	}
}

var errRefused = errors.New("refused")

func (p *reader) value(path fieldPath, e entry) (field, error) {
	key := "with." + path.String()
	c, locate, ok := p.compile(e, key)
	if !ok {
		return field{}, errRefused
	}
	at := locate(c.start(c.Expr()))
	x, err := c.plan(c.Expr(), p.place(at))
	if err == nil {
		err = path.fits(x.kind)
	}
	if err != nil {
		p.refuse(at, "%s: %s", key, err)
		return field{}, err
	}
	return field{path, x}, nil
}

func dotted(path fieldPath) string {
	if len(path) == 0 {
		return ""
	}
	return "." + path.String()
}
