package console

import (
	"fmt"
	"slices"
	"strings"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// contractField is a field of an event, as the contract has it.
type contractField struct {
	Path, Type, Rules string
	Required          bool
}

// contractDepth is how deep fields are listed: what stands deeper is found out by checking.
const contractDepth = 4

// contractOf lists the fields of the events under a subject; nothing for a subject that is none of ours.
func contractOf(subject string) []contractField {
	c, ok := subjects.Find(subject)
	if !ok {
		return nil
	}
	return fieldsIn(nil, c.New().ProtoReflect().Descriptor(), "", 0)
}

func fieldsIn(all []contractField, md protoreflect.MessageDescriptor, prefix string, depth int) []contractField {
	fields := md.Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		path := prefix + fd.JSONName()
		all = append(all, describe(fd, path))
		inner := fd
		switch {
		case fd.IsMap():
			path, inner = path+".NAME", fd.MapValue()
		case fd.IsList():
			path += "[]"
		}
		if message := inner.Message(); message != nil && message.ParentFile().Package() == md.ParentFile().Package() && depth < contractDepth {
			all = fieldsIn(all, message, path+".", depth+1)
		}
	}
	return all
}

var articles = strings.NewReplacer("must be a ", "", "must be an ", "", "must be ", "")

func describe(fd protoreflect.FieldDescriptor, path string) contractField {
	f := contractField{Path: path, Type: articles.Replace(contract.Field{Descriptor: fd}.Wanted())}
	rules, ok := proto.GetExtension(fd.Options(), validate.E_Field).(*validate.FieldRules)
	if !ok || rules == nil {
		return f
	}
	var says []string
	for _, c := range rules.GetCel() {
		says = append(says, c.GetMessage())
	}
	m := rules.ProtoReflect()
	if of := m.WhichOneof(m.Descriptor().Oneofs().ByName("type")); of != nil {
		says = append(says, rulesIn(m.Get(of).Message(), fd.Kind() == protoreflect.StringKind)...)
	}
	f.Required = rules.GetRequired() || slices.Contains(says, leastOne)
	f.Rules = strings.Join(slices.DeleteFunc(says, func(s string) bool { return s == leastOne }), "; ")
	return f
}

// leastOne is the rule of a text that must not be empty, which is to say that it is required.
const leastOne = "at least 1 character"

// ruleWords say the rules that numbers and texts go by; others are named as protovalidate does.
var ruleWords = map[protoreflect.Name]string{
	"min_len": "at least %v characters", "max_len": "at most %v characters", "len": "exactly %v characters",
	"min_bytes": "at least %v bytes", "max_bytes": "at most %v bytes",
	"min_items": "at least %v entries", "max_items": "at most %v entries", "min_pairs": "at least %v entries", "max_pairs": "at most %v entries",
	"gte": "at least %v", "gt": "more than %v", "lte": "at most %v", "lt": "less than %v", "const": "must be %v",
	"pattern": "as in the pattern %v", "prefix": "begins with %v", "suffix": "ends with %v", "contains": "contains %v",
	"email": "an e-mail address", "uri": "an address with its scheme", "hostname": "a host name", "uuid": "a UUID",
	"finite": "a finite number", "unique": "no entry twice", "defined_only": "one of the names that the contract lists",
}

// rulesIn says the rules of one kind of field, in the order of the contract language.
func rulesIn(rules protoreflect.Message, text bool) []string {
	fields := rules.Descriptor().Fields()
	var says []string
	for i := range fields.Len() {
		fd := fields.Get(i)
		if !rules.Has(fd) || fd.Message() != nil {
			continue
		}
		says = append(says, ruleIn(fd, rules.Get(fd), text))
	}
	return says
}

func ruleIn(fd protoreflect.FieldDescriptor, v protoreflect.Value, text bool) string {
	words, known := ruleWords[fd.Name()]
	switch {
	case fd.IsList():
		return strings.ReplaceAll(string(fd.Name()), "_", " ") + " " + listOf(v.List())
	case text && fd.Name() == "min_len" && v.Uint() == 1:
		return leastOne
	case !known:
		words = strings.ReplaceAll(string(fd.Name()), "_", " ") + " %v"
	}
	if !strings.Contains(words, "%v") {
		return words
	}
	value := fmt.Sprint(v.Interface())
	if value == "1" {
		words = strings.TrimSuffix(words, "s")
	}
	return fmt.Sprintf(words, value)
}

func listOf(l protoreflect.List) string {
	var all []string
	for i := range l.Len() {
		all = append(all, fmt.Sprint(l.Get(i).Interface()))
	}
	return strings.Join(all, ", ")
}
