package rules

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/ext"
	"cel.dev/cel-go/interpreter"

	"github.com/closeloop/closeloop/pkg/fault"
)

const (
	// costLimit bounds one expression, in CEL's own units: about one for each operation, and one for ten characters
	// looked through. It leaves room for a regular expression of 100 characters over a text of 100,000.
	costLimit = 250_000
	// interruptEvery is after how many rounds of a loop the time limit is looked at.
	interruptEvery = 100
)

// contactFields are what the variable contact holds.
var contactFields = []string{"externalId", "email"}

// variables are what expressions may name.
var variables = []string{"surveyId", "responseId", "requestId", "values", "labels", "contact"}

// environment is made once: it costs more than everything compiled in it.
var environment = sync.OnceValues(func() (*cel.Env, error) {
	labelSharedErrors()
	answers := cel.MapType(cel.StringType, cel.DynType)
	return cel.NewEnv(
		cel.Variable("surveyId", cel.StringType),
		cel.Variable("responseId", cel.StringType),
		cel.Variable("requestId", cel.StringType),
		cel.Variable("values", answers),
		cel.Variable("labels", answers),
		cel.Variable("contact", cel.MapType(cel.StringType, cel.StringType)),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.EnableMacroCallTracking(), // for text
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateTimestampLiterals(), cel.ValidateDurationLiterals()),
		ext.Strings(),
	)
})

// labelSharedErrors writes a node id into the two errors that all of cel-go shares. Otherwise the first evaluation that
// meets one writes its own id there, which is a data race between goroutines.
func labelSharedErrors() {
	types.LabelErrNode(-1, types.NoSuchOverloadErr())
	types.LabelErrNode(-1, types.Int(math.MaxInt64).ConvertToType(types.TimestampType))
}

// expression is one compiled CEL expression.
type expression struct {
	program cel.Program
	kind    *cel.Type
	// place is file:line:column.
	place string
	// reads are the paths of the variables that it reads: values.csat.
	reads []string
	// nodes gives the path that a node of the expression reads.
	nodes map[int64]string
}

// missing is the error of an expression that reads what the answer does not hold.
type missing struct{ path string }

func (m missing) Error() string { return m.path + " is missing" }

// misfit is the error of an expression that cannot be worked out with what the answer holds. CEL's own words are left
// out because some of them repeat the value.
type misfit struct{ fields []string }

func (m misfit) Error() string {
	if len(m.fields) == 0 {
		return "the expression cannot be worked out"
	}
	return "the expression cannot be worked out with the kind of value in " + listed(m.fields)
}

// run works the expression out. The error is a missing, a misfit, or the [fault.Fault] of an evaluation that was
// stopped: Invalid for its cost, Transient for its time.
func (e *expression) run(ctx context.Context, vars map[string]any) (ref.Val, error) {
	result, _, err := e.program.ContextEval(ctx, vars)
	var cancelled interpreter.EvalCancelledError
	var failed *types.Err
	switch {
	case err == nil:
		return result, nil
	case errors.As(err, &cancelled) && cancelled.Cause == interpreter.CostLimitExceeded:
		return nil, fault.New(fault.Invalid, "the expression is too costly for this answer; it may do %d steps", costLimit)
	case ctx.Err() != nil:
		return nil, fault.New(fault.Transient, "the rules took longer than %s", timeLimit)
	case errors.As(err, &failed) && isMissing(failed):
		return nil, missing{e.nodeName(failed.NodeID())}
	default:
		return nil, misfit{e.reads}
	}
}

// isMissing tells a value that is not there from one of the wrong kind. cel-go keeps the type of this error to itself;
// its beginning is fixed text, and the tests fail should it change.
func isMissing(err *types.Err) bool {
	text := err.Error()
	return strings.HasPrefix(text, "no such key: ") || strings.HasPrefix(text, "index out of bounds: ")
}

func (e *expression) nodeName(id int64) string {
	if path := e.nodes[id]; path != "" {
		return path
	}
	return "a value"
}

// compiled is an expression that was checked.
type compiled struct {
	env    *cel.Env
	source []rune
	*ast.AST
}

// mistake is what is wrong in an expression, and at which character of it.
type mistake struct {
	offset  int
	message string
}

// compile checks an expression. A program of it or of a part is planned by [compiled.plan].
func compile(source string) (compiled, []mistake) {
	env, err := environment()
	if err != nil {
		return compiled{}, []mistake{{message: err.Error()}}
	}
	checked, issues := env.Compile(source)
	if issues.Err() != nil {
		return compiled{}, mistakesOf(source, issues)
	}
	c := compiled{env, []rune(source), checked.NativeRep()}
	return c, c.unknownContactFields()
}

func mistakesOf(source string, issues *cel.Issues) []mistake {
	var mistakes []mistake
	for _, e := range issues.Errors() {
		mistakes = append(mistakes, mistake{offsetOf(source, e.Location.Line(), e.Location.Column()), inOurWords(e.Message)})
	}
	return mistakes
}

// inOurWords helps with the commonest mistake: text without its own quotes, which CEL takes for a variable.
func inOurWords(message string) string {
	message, undeclared := strings.CutSuffix(message, " (in container '')")
	if undeclared {
		message += fmt.Sprintf(`; there are %s, and text needs quotes of its own: '"text"'`, listed(variables))
	}
	return message
}

// offsetOf gives the character at a line (from 1) and column (from 0) of text.
func offsetOf(text string, line, column int) int {
	offset := 0
	for range line - 1 {
		_, rest, _ := strings.Cut(text, "\n")
		offset += len([]rune(text)) - len([]rune(rest))
		text = rest
	}
	return offset + max(column, 0)
}

// unknownContactFields finds what CEL cannot: the type of contact says nothing about its keys.
func (c compiled) unknownContactFields() []mistake {
	var mistakes []mistake
	c.visit(c.Expr(), func(e ast.Expr) {
		root, key := step(e)
		if key == "" || root.Kind() != ast.IdentKind || root.AsIdent() != "contact" || slices.Contains(contactFields, key) {
			return
		}
		message := fmt.Sprintf("contact has no %q; it has %s", key, listed(contactFields))
		mistakes = append(mistakes, mistake{c.start(root), message})
	})
	return mistakes
}

// plan makes root, which is c's expression or a part of it, ready to run. place is where root stands in the file.
func (c compiled) plan(root ast.Expr, place string) (expression, error) {
	part := ast.NewCheckedAST(ast.NewAST(root, c.SourceInfo()), c.TypeMap(), c.ReferenceMap())
	program, err := c.env.PlanProgram(part,
		cel.EvalOptions(cel.OptOptimize), cel.CostLimit(costLimit), cel.InterruptCheckFrequency(interruptEvery))
	if err != nil {
		return expression{}, err
	}
	e := expression{program: program, kind: c.GetType(root.ID()), place: place, nodes: map[int64]string{}}
	inner := map[int64]bool{}
	c.visit(root, func(x ast.Expr) {
		path := pathOf(x)
		e.nodes[x.ID()] = path
		if base, _ := step(x); base != nil {
			inner[base.ID()] = true
		}
		if path != "" && !inner[x.ID()] && isVariable(path) && !slices.Contains(e.reads, path) {
			e.reads = append(e.reads, path)
		}
	})
	return e, nil
}

// conjuncts gives the parts of an expression that && joins, so that the false one can be named.
func conjuncts(e ast.Expr) []ast.Expr {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != operators.LogicalAnd {
		return []ast.Expr{e}
	}
	var parts []ast.Expr
	for _, arg := range e.AsCall().Args() {
		parts = append(parts, conjuncts(arg)...)
	}
	return parts
}

// text gives a part as it is written, but for blanks, comments and needless parentheses.
func (c compiled) text(root ast.Expr) string {
	text, err := cel.ExprToString(root, c.SourceInfo())
	if err != nil { // nothing that compiles; if it were, people would still have Why
		return ""
	}
	return text
}

// start gives the first character of a part. The source info knows where an operator stands or a parenthesis opens, not
// what stands before it.
func (c compiled) start(root ast.Expr) int {
	first := len(c.source)
	c.visit(root, func(e ast.Expr) {
		if r, ok := c.SourceInfo().GetOffsetRange(e.ID()); ok {
			first = min(first, int(r.Start))
		}
	})
	for {
		first = c.beforeName(first)
		before := strings.TrimRight(string(c.source[:first]), " \n")
		if !strings.HasSuffix(before, "(") {
			return first
		}
		first = len([]rune(before)) - 1
	}
}

// beforeName goes from the parenthesis of a call to the name before it.
func (c compiled) beforeName(at int) int {
	if at >= len(c.source) || c.source[at] != '(' {
		return at
	}
	for at > 0 && isNameRune(c.source[at-1]) {
		at--
	}
	return at
}

func isNameRune(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }

func (c compiled) visit(root ast.Expr, each func(ast.Expr)) {
	ast.PreOrderVisit(root, ast.NewExprVisitor(each))
}

// pathOf names what an expression reads: values.csat, values["My field"], labels.QID2[0]; "" where it reads nothing.
func pathOf(e ast.Expr) string {
	if e.Kind() == ast.IdentKind {
		return e.AsIdent()
	}
	base, key := step(e)
	if base == nil {
		return ""
	}
	path := pathOf(base)
	switch {
	case path == "":
		return ""
	case key == "":
		return path + "[…]"
	case e.Kind() == ast.SelectKind:
		return path + "." + key
	default:
		return path + "[" + strconv.Quote(key) + "]"
	}
}

// step takes the last step off a path: base and, where it is written out, the name of the field that is read of it.
func step(e ast.Expr) (base ast.Expr, key string) {
	switch {
	case e.Kind() == ast.SelectKind:
		return e.AsSelect().Operand(), e.AsSelect().FieldName()
	case e.Kind() == ast.CallKind && e.AsCall().FunctionName() == operators.Index:
		args := e.AsCall().Args()
		if args[1].Kind() == ast.LiteralKind {
			if text, ok := args[1].AsLiteral().(types.String); ok {
				key = string(text)
			}
		}
		return args[0], key
	default:
		return nil, ""
	}
}

// isVariable tells a path of ours from one of a variable that a loop declares.
func isVariable(path string) bool {
	root := path
	if end := strings.IndexAny(path, ".["); end >= 0 {
		root = path[:end]
	}
	return slices.Contains(variables, root)
}
