package rules

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
)

// responseID is the field of every message that the rules fill in themselves.
const responseID = "responseId"

// message is how a rule makes the message that it publishes.
type message struct {
	make   func() proto.Message
	fields []field
}

// field is one field of the message with its expression.
type field struct {
	path fieldPath
	expression
}

// complaint is a field of the message with what is wrong there.
type complaint struct{ field, reason string }

// build makes the message for one answer. The error is a [*fault.Fault] that names the rule and every field at fault.
func (m message) build(ctx context.Context, rule, response string, vars map[string]any) (proto.Message, error) {
	built := m.new(response)
	var complaints, absent []complaint
	for _, f := range m.fields {
		err := f.fill(ctx, built, vars)
		switch {
		case err == nil:
		case stopped(err) != nil:
			return nil, explain(rule, f.path.String(), stopped(err))
		case errors.As(err, new(missing)):
			absent = append(absent, f.complain(err))
		default:
			complaints = append(complaints, f.complain(err))
		}
	}
	if len(complaints) == 0 {
		complaints = because(breaches(built), absent)
	}
	if len(complaints) > 0 {
		return nil, complain(rule, complaints)
	}
	return built, nil
}

// known gives what breaks the contract whatever the answer is: fields without which no message keeps it, and fields
// whose expression names no variable.
func (m message) known(ctx context.Context) []complaint {
	built := m.new("R_1")
	var complaints []complaint
	var open []string
	for _, f := range m.fields {
		path := f.path.String()
		if len(f.reads) > 0 {
			open = append(open, path)
		} else if err := f.fill(ctx, built, nil); err != nil {
			open = append(open, path)
			complaints = append(complaints, complaint{path, err.Error()})
		}
	}
	for _, c := range breaches(built) {
		if !slices.ContainsFunc(open, func(path string) bool { return under(path, c.field) }) {
			complaints = append(complaints, c)
		}
	}
	return complaints
}

func (m message) new(response string) proto.Message {
	built := m.make()
	id := built.ProtoReflect().Descriptor().Fields().ByJSONName(responseID)
	built.ProtoReflect().Set(id, protoreflect.ValueOfString(response))
	return built
}

// breaches gives what is wrong with a message by its contract.
func breaches(m proto.Message) []complaint {
	err := contract.Validate(m)
	if err == nil {
		return nil
	}
	broken, ok := contract.AsViolations(err)
	if !ok {
		return []complaint{{reason: err.Error()}}
	}
	complaints := make([]complaint, len(broken.Fields))
	for i, v := range broken.Fields {
		complaints[i] = complaint{v.Field, v.Message}
	}
	return complaints
}

// because adds to each breach which value is missing, where that is why.
func because(breaches []complaint, absent []complaint) []complaint {
	for i, b := range breaches {
		for _, a := range absent {
			if under(a.field, b.field) {
				breaches[i].reason += "; " + a.reason
			}
		}
	}
	return breaches
}

// under tells whether path is whole or a field of it; "" is the message.
func under(path, whole string) bool {
	return whole == "" || path == whole || strings.HasPrefix(path, whole+".")
}

func (f *field) complain(err error) complaint {
	return complaint{f.path.String(), err.Error() + " (" + f.place + ")"}
}

func complain(rule string, complaints []complaint) *fault.Fault {
	reasons := make([]string, len(complaints))
	for i, c := range complaints {
		reasons[i] = c.field + ": " + c.reason
	}
	reasons[0] = complaints[0].reason
	f := fault.At(complaints[0].field, "rule %q: %s", rule, strings.Join(reasons, "; "))
	f.Rule = rule
	return f
}

// explain puts rule and field to the fault of an evaluation that was stopped.
func explain(rule, field string, f *fault.Fault) *fault.Fault {
	return &fault.Fault{Class: f.Class, Field: field, Rule: rule, Reason: fmt.Sprintf("rule %q: %s", rule, f.Reason), Err: f}
}

// stopped finds the fault of an evaluation that was stopped; nil for a missing or misfitting value.
func stopped(err error) *fault.Fault {
	var f *fault.Fault
	errors.As(err, &f)
	return f
}

// fill works the field out and sets it. A missing value is a missing error, as is null.
func (f *field) fill(ctx context.Context, m proto.Message, vars map[string]any) error {
	result, err := f.run(ctx, vars)
	if err != nil {
		return err
	}
	if result.Type() == types.NullType {
		return missing{"the value"}
	}
	value, err := f.path.convert(result)
	if err != nil {
		return err
	}
	if value.Equal(f.path.last().Default()) {
		return nil // set or not, the event is the same; not to set it leaves an empty recipient out
	}
	into := m.ProtoReflect()
	for _, fd := range f.path[:len(f.path)-1] {
		into = into.Mutable(fd).Message()
	}
	into.Set(f.path.last(), value)
	return nil
}

// fieldPath leads to a field of a message; the empty path is the message itself.
type fieldPath []protoreflect.FieldDescriptor

// String gives the path with the names of the JSON: recipient.email.
func (p fieldPath) String() string {
	names := make([]string, len(p))
	for i, fd := range p {
		names[i] = fd.JSONName()
	}
	return strings.Join(names, ".")
}

func (p fieldPath) last() protoreflect.FieldDescriptor { return p[len(p)-1] }

func (p fieldPath) isMessage() bool { return p.last().Message() != nil }

// find gives the field name of the message that path leads to.
func (m message) find(path fieldPath, name string) (fieldPath, error) {
	if len(path) == 0 && name == responseID {
		return nil, fmt.Errorf("%s is filled in for every rule; leave it out", responseID)
	}
	fd := m.descriptor(path).Fields().ByJSONName(name)
	if fd == nil {
		return nil, fmt.Errorf("the event has no field %q; there are %s", name, listed(m.names(path)))
	}
	return append(slices.Clone(path), fd), nil
}

// names gives the fields that a rule may set.
func (m message) names(path fieldPath) []string {
	var names []string
	fields := m.descriptor(path).Fields()
	for i := range fields.Len() {
		if name := fields.Get(i).JSONName(); len(path) > 0 || name != responseID {
			names = append(names, name)
		}
	}
	return names
}

func (m message) descriptor(path fieldPath) protoreflect.MessageDescriptor {
	if len(path) > 0 {
		return path.last().Message()
	}
	return m.make().ProtoReflect().Descriptor()
}

// fits tells whether an expression of this type can give the field, as far as its type is known.
func (p fieldPath) fits(kind *cel.Type) error {
	switch kind.Kind() {
	case types.DynKind:
		return nil
	case types.StringKind:
		if p.last().Kind() == protoreflect.StringKind {
			return nil
		}
	case types.IntKind, types.UintKind, types.DoubleKind:
		if p.last().Kind() == protoreflect.DoubleKind {
			return nil
		}
	}
	return p.unfit(kind)
}

// convert makes the field's value of what its expression gave. A number of the answer becomes text by itself, since
// Qualtrics gives the same id as either.
func (p fieldPath) convert(result ref.Val) (protoreflect.Value, error) {
	isText := p.last().Kind() == protoreflect.StringKind
	switch v := result.(type) {
	case types.String:
		if isText {
			return protoreflect.ValueOfString(string(v)), nil
		}
	case types.Int, types.Uint, types.Double:
		number := float64(v.ConvertToType(types.DoubleType).(types.Double))
		switch {
		case math.IsNaN(number) || math.IsInf(number, 0):
			return protoreflect.Value{}, errors.New("must be a finite number")
		case isText:
			return protoreflect.ValueOfString(strconv.FormatFloat(number, 'f', -1, 64)), nil
		default:
			return protoreflect.ValueOfFloat64(number), nil
		}
	}
	return protoreflect.Value{}, p.unfit(result.Type().(*types.Type))
}

func (p fieldPath) unfit(kind *cel.Type) error {
	if p.last().Kind() == protoreflect.StringKind {
		return fmt.Errorf("must be text, but the expression gives %s", kindName(kind))
	}
	return fmt.Errorf("must be a number, but the expression gives %s; int(…) and double(…) make a number of text", kindName(kind))
}

// kindName says in everyday words what an expression gives.
func kindName(kind *cel.Type) string {
	switch kind.Kind() {
	case types.StringKind:
		return "text"
	case types.IntKind, types.UintKind, types.DoubleKind:
		return "a number"
	case types.BoolKind:
		return "true or false"
	case types.ListKind:
		return "a list"
	case types.MapKind:
		return "an object"
	case types.TimestampKind:
		return "a time"
	case types.DurationKind:
		return "a duration"
	case types.NullTypeKind:
		return "nothing"
	default:
		return kind.String()
	}
}
