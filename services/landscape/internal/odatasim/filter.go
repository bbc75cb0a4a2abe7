package odatasim

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// Grammar is the part of the $filter language that a system understands.
type Grammar struct {
	// Operators are the comparisons allowed.
	Operators []string
	// Functions are the functions allowed.
	Functions []string
	// Not allows the negation.
	Not bool
	// OneOr allows or between comparisons of one and the same property only.
	OneOr bool
	// Wildcards makes * in the value of eq stand for any text.
	Wildcards bool
}

// GatewayGrammar is the $filter language of SAP Gateway: the comparisons and text functions of OData v2.
var GatewayGrammar = Grammar{
	Operators: []string{"eq", "ne", "gt", "ge", "lt", "le"},
	Functions: []string{"startswith", "endswith", "substringof"},
	Not:       true,
}

// C4CGrammar is the $filter language of SAP Sales Cloud Version 1 (odata-v2.md §7).
var C4CGrammar = Grammar{
	Operators: []string{"eq", "ge", "le"},
	Functions: []string{"startswith", "endswith"},
	OneOr:     true,
	Wildcards: true,
}

// Filter is a $filter that has been checked against an entity type. A nil Filter keeps every row.
type Filter struct{ root node }

// ParseFilter reads a $filter. It refuses (as a Fault with status 400) what the grammar does not know, unknown and
// not filterable properties and literals of another type than the property's.
func ParseFilter(text string, t *EntityType, g Grammar) (*Filter, error) {
	tokens, err := tokenize(text)
	if err != nil {
		return nil, err
	}
	p := &filterParser{tokens: tokens, entity: t, grammar: g}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.peek() != "" {
		return nil, badFilter("unexpected %q", p.peek())
	}
	return &Filter{root}, nil
}

// Matches tells whether the row is kept.
func (f *Filter) Matches(row Row) bool { return f == nil || f.root.matches(row) }

// Values gives the values that the property has in every row kept, and false where the filter does not pin it down.
// It lets a simulator look rows up instead of reading all.
func (f *Filter) Values(property string) ([]string, bool) {
	if f == nil {
		return nil, false
	}
	return f.root.values(property)
}

type node interface {
	matches(row Row) bool
	values(property string) ([]string, bool)
	properties() []string
}

type junction struct {
	and         bool
	left, right node
}

func (j junction) matches(row Row) bool {
	if j.and {
		return j.left.matches(row) && j.right.matches(row)
	}
	return j.left.matches(row) || j.right.matches(row)
}

func (j junction) values(property string) ([]string, bool) {
	left, okLeft := j.left.values(property)
	right, okRight := j.right.values(property)
	switch {
	case j.and && okLeft:
		return left, true
	case j.and:
		return right, okRight
	}
	return slices.Concat(left, right), okLeft && okRight
}

func (j junction) properties() []string {
	all := slices.Concat(j.left.properties(), j.right.properties())
	slices.Sort(all)
	return slices.Compact(all)
}

type negation struct{ node }

func (n negation) matches(row Row) bool           { return !n.node.matches(row) }
func (n negation) values(string) ([]string, bool) { return nil, false }

type comparison struct {
	property *Property
	operator string
	value    string
	null     bool
	pattern  *regexp.Regexp // of an eq with wildcards
}

func (c comparison) matches(row Row) bool {
	have := row.Values[c.property.Name]
	missing := have == "" && c.property.Type != String
	switch {
	case c.null || missing: // null equals null only, and nothing is before or after it
		same := c.null && have == ""
		return same && c.operator == "eq" || !same && c.operator == "ne"
	case c.pattern != nil:
		return c.pattern.MatchString(have)
	}
	order := c.property.compare(have, c.value)
	switch c.operator {
	case "eq":
		return order == 0
	case "ne":
		return order != 0
	case "gt":
		return order > 0
	case "ge":
		return order >= 0
	case "lt":
		return order < 0
	}
	return order <= 0
}

func (c comparison) values(property string) ([]string, bool) {
	if c.property.Name != property || c.operator != "eq" || c.null || c.pattern != nil {
		return nil, false
	}
	return []string{c.value}, true
}

func (c comparison) properties() []string { return []string{c.property.Name} }

type textFunction struct {
	name     string
	property *Property
	value    string
}

func (f textFunction) matches(row Row) bool {
	have := row.Values[f.property.Name]
	switch f.name {
	case "startswith":
		return strings.HasPrefix(have, f.value)
	case "endswith":
		return strings.HasSuffix(have, f.value)
	}
	return strings.Contains(have, f.value)
}

func (f textFunction) values(string) ([]string, bool) { return nil, false }
func (f textFunction) properties() []string           { return []string{f.property.Name} }

// token: a quoted literal with its prefix, a bracket, a comma, or a word.
var tokenForm = regexp.MustCompile(`^(?:[A-Za-z]*'(?:[^']|'')*'|[(),]|[^\s(),']+)`)

func tokenize(text string) ([]string, error) {
	var tokens []string
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		token := tokenForm.FindString(rest)
		if token == "" {
			return nil, badFilter("a quote is not closed")
		}
		tokens, rest = append(tokens, token), rest[len(token):]
	}
	if len(tokens) == 0 {
		return nil, badFilter("it is empty")
	}
	return tokens, nil
}

type filterParser struct {
	tokens  []string
	entity  *EntityType
	grammar Grammar
}

func (p *filterParser) peek() string {
	if len(p.tokens) == 0 {
		return ""
	}
	return p.tokens[0]
}

func (p *filterParser) next() string {
	token := p.peek()
	if token != "" {
		p.tokens = p.tokens[1:]
	}
	return token
}

func (p *filterParser) expect(want string) error {
	if got := p.next(); got != want {
		return badFilter("expected %q, found %q", want, got)
	}
	return nil
}

func (p *filterParser) or() (node, error) {
	left, err := p.and()
	for err == nil && p.peek() == "or" {
		p.next()
		var right node
		if right, err = p.and(); err == nil {
			left = junction{left: left, right: right}
			err = p.checkOr(left)
		}
	}
	return left, err
}

func (p *filterParser) checkOr(n node) error {
	if p.grammar.OneOr && len(n.properties()) > 1 {
		return badFilter("or is possible on one and the same property only")
	}
	return nil
}

func (p *filterParser) and() (node, error) {
	left, err := p.unary()
	for err == nil && p.peek() == "and" {
		p.next()
		var right node
		if right, err = p.unary(); err == nil {
			left = junction{and: true, left: left, right: right}
		}
	}
	return left, err
}

func (p *filterParser) unary() (node, error) {
	switch token := p.peek(); {
	case token == "not":
		return p.not()
	case token == "(":
		return p.group()
	case len(p.tokens) > 1 && p.tokens[1] == "(":
		return p.function()
	}
	return p.comparison()
}

func (p *filterParser) not() (node, error) {
	if !p.grammar.Not {
		return nil, badFilter("not is not supported")
	}
	p.next()
	inner, err := p.unary()
	return negation{inner}, err
}

func (p *filterParser) group() (node, error) {
	p.next()
	inner, err := p.or()
	if err != nil {
		return nil, err
	}
	return inner, p.expect(")")
}

// function reads startswith(Prop,'x'), endswith(Prop,'x') or substringof('x',Prop), each with an optional eq true.
func (p *filterParser) function() (node, error) {
	f := textFunction{name: p.next()}
	if !slices.Contains(p.grammar.Functions, f.name) {
		return nil, badFilter("function %s is not supported", f.name)
	}
	p.next()
	first := p.next()
	if err := p.expect(","); err != nil {
		return nil, err
	}
	name, literal := first, p.next()
	if f.name == "substringof" {
		name, literal = literal, name
	}
	var err error
	if f.property, err = p.property(name); err != nil {
		return nil, err
	}
	if f.property.Type != String {
		return nil, badFilter("function %s needs a property of type %s", f.name, String)
	}
	if f.value, err = f.property.literal(literal); err != nil {
		return nil, err
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	if len(p.tokens) > 1 && p.tokens[0] == "eq" && p.tokens[1] == "true" {
		p.tokens = p.tokens[2:]
	}
	return f, nil
}

func (p *filterParser) comparison() (node, error) {
	property, err := p.property(p.next())
	if err != nil {
		return nil, err
	}
	c := comparison{property: property, operator: p.next()}
	if !slices.Contains(p.grammar.Operators, c.operator) {
		return nil, badFilter("operator %q is not supported", c.operator)
	}
	literal := p.next()
	if literal == "null" {
		c.null = true
		return c, nil
	}
	if c.value, err = property.literal(literal); err != nil {
		return nil, err
	}
	if p.grammar.Wildcards && c.operator == "eq" && property.Type == String && strings.Contains(c.value, "*") {
		c.pattern = wildcard(c.value)
	}
	return c, nil
}

func (p *filterParser) property(name string) (*Property, error) {
	property, ok := p.entity.property(name)
	switch {
	case !ok:
		return nil, Refuse(http.StatusBadRequest, CodeUnknownProperty, "Property %s is not known in entity type %s", name, p.entity.Name)
	case property.NotFilterable:
		return nil, Refuse(http.StatusBadRequest, CodeBadQuery, "Property %s is not filterable", name)
	}
	return property, nil
}

func wildcard(value string) *regexp.Regexp {
	parts := strings.Split(value, "*")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`(?s)^` + strings.Join(parts, ".*") + `$`)
}

func badFilter(format string, args ...any) error {
	return Refuse(http.StatusBadRequest, CodeBadQuery, "Invalid $filter: "+format, args...)
}
