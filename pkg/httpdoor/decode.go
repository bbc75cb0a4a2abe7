package httpdoor

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/closeloop/closeloop/pkg/event/contract"
)

// Decode reads the body into a message and checks its rules. The body is JSON or a form of either encoding; the names
// in a form are paths, as recipient.email and values.QID1. fields maps names of the caller onto paths first; it may be
// nil. The error is a [Problem]: 415 for another kind of body, 400 with every field that is wrong and never its value.
func Decode(r *Request, into proto.Message, fields FieldMap) error {
	if r.IsForm() {
		return refuse(decodeForm(r, into, fields))
	}
	if err := wantJSON(r); err != nil {
		return err
	}
	return refuse(decodeJSON(r.Body, into, fields))
}

// DecodeMany is [Decode] for a body that is one object or a list of up to most of them. In a list the fields that are
// wrong are named by their place: [2].contact.email. All of it is good, or none is taken.
func DecodeMany[M proto.Message](r *Request, fields FieldMap, most int) ([]M, error) {
	if r.IsForm() {
		m := newOf[M]()
		return []M{m}, Decode(r, m, fields)
	}
	if err := wantJSON(r); err != nil {
		return nil, err
	}
	items, many, err := contract.Items(r.Body)
	if err != nil {
		return nil, refuse(err)
	}
	if len(items) == 0 || len(items) > most {
		return nil, BadRequest(fmt.Sprintf("the list must hold 1 to %d objects; it holds %d", most, len(items)))
	}
	messages, wrong := make([]M, len(items)), &contract.Violations{}
	for i, item := range items {
		messages[i] = newOf[M]()
		err := decodeJSON(item, messages[i], fields)
		if v, ok := contract.AsViolations(err); ok && many {
			wrong.Fields = append(wrong.Fields, v.Under(fmt.Sprintf("[%d]", i)).Fields...)
		} else if err != nil {
			return nil, refuse(err)
		}
	}
	if len(wrong.Fields) > 0 {
		return nil, refuse(wrong)
	}
	return messages, nil
}

func newOf[M proto.Message]() M {
	var none M
	return none.ProtoReflect().New().Interface().(M)
}

// refuse makes violations a problem and leaves other errors as they are.
func refuse(err error) error {
	if v, ok := contract.AsViolations(err); ok {
		return broken(v)
	}
	return err
}

func wantJSON(r *Request) error {
	if r.ContentType == typeJSON {
		return nil
	}
	if len(r.Body) == 0 {
		return BadRequest("the body is empty")
	}
	return NewProblem(http.StatusUnsupportedMediaType,
		fmt.Sprintf("say what the body is in Content-Type: %s, %s or %s", typeJSON, typeForm, typeMultipart))
}

func decodeJSON(body []byte, into proto.Message, fields FieldMap) error {
	if len(fields) == 0 {
		return check(body, into, nil)
	}
	object, err := contract.Object(body)
	if err != nil {
		return err
	}
	return checkTree(fields.arrange(tree(object), into), into)
}

// check reads JSON into the message and checks its rules. sentAs gives the caller's names of paths that were mapped.
func check(body []byte, into proto.Message, sentAs map[string]string) error {
	err := contract.Unmarshal(body, into)
	if err == nil {
		err = contract.Validate(into)
	}
	v, ok := contract.AsViolations(err)
	if !ok {
		return err
	}
	for i, f := range v.Fields {
		if name, mapped := sentAs[f.Field]; mapped {
			v.Fields[i].Message += fmt.Sprintf(" (sent as %s)", contract.Shown(name))
		}
	}
	return v
}

// arrangement is a body put together from what the caller sent under other names.
type arrangement struct {
	tree   tree
	sentAs map[string]string
	wrong  contract.Violations
}

func newArrangement(t tree) *arrangement { return &arrangement{tree: t, sentAs: map[string]string{}} }

// put places a value that was sent under name.
func (a *arrangement) put(name string, at contract.Field, value any) {
	if message := a.tree.put(at.Path, value); message != "" {
		a.refuse(name, message)
		return
	}
	if name != at.String() {
		a.sentAs[at.String()] = name
	}
}

func (a *arrangement) refuse(name, message string) {
	a.wrong.Fields = append(a.wrong.Fields, FieldError{Field: contract.Shown(name), Message: message})
}

func checkTree(a *arrangement, into proto.Message) error {
	if len(a.wrong.Fields) > 0 {
		return &a.wrong
	}
	body, err := json.Marshal(a.tree)
	if err != nil {
		return err
	}
	return check(body, into, a.sentAs)
}

// tree is a JSON object.
type tree map[string]any

// put places a value at a path; the message says why it cannot.
func (t tree) put(path []string, value any) (message string) {
	for ; len(path) > 1; path = path[1:] {
		if t[path[0]] == nil {
			t[path[0]] = map[string]any{}
		}
		below, ok := t[path[0]].(map[string]any)
		if !ok {
			return "belongs into " + path[0] + ", which is no object here"
		}
		t = below
	}
	if _, there := t[path[0]]; there {
		return "is there twice, under different names"
	}
	t[path[0]] = value
	return ""
}

// take removes what stands under a name, or under a path with dots; objects that hold nothing more go too.
func (t tree) take(name string) (value any, found bool) {
	if value, found = t[name]; found {
		delete(t, name)
		return value, true
	}
	first, rest, _ := strings.Cut(name, ".")
	below, ok := t[first].(map[string]any)
	if !ok || rest == "" {
		return nil, false
	}
	value, found = tree(below).take(rest)
	if found && len(below) == 0 {
		delete(t, first)
	}
	return value, found
}

// arrange moves what was sent under mapped names to their paths. All are taken before any is put, so that names may be
// exchanged.
func (f FieldMap) arrange(t tree, into proto.Message) *arrangement {
	a, md, taken := newArrangement(t), into.ProtoReflect().Descriptor(), map[string]any{}
	names := slices.Sorted(maps.Keys(f))
	for _, name := range names {
		if value, found := t.take(name); found {
			taken[name] = value
		}
	}
	for _, name := range names {
		if value, found := taken[name]; found {
			a.place(md, name, f[name], func(at contract.Field) (any, string) { return value, "" })
		}
	}
	return a
}

// place puts what value makes for the field at path.
func (a *arrangement) place(md protoreflect.MessageDescriptor, name, path string, value func(contract.Field) (any, string)) {
	at, err := contract.Lookup(md, path)
	if v, ok := contract.AsViolations(err); ok {
		a.wrong.Fields = append(a.wrong.Fields, v.Fields...)
		return
	}
	v, message := value(at)
	if message != "" {
		a.refuse(name, message)
	} else if v != nil {
		a.put(name, at, v)
	}
}
