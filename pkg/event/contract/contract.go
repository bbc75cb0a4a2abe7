// Package contract holds bodies against the messages of proto-events: it reads and writes their JSON and checks their
// rules, and says which field is wrong and what it should be, never what was sent. The names of fields are shown, the
// values of fields may be personal.
//
// Paths are those of the JSON: contact.email, members[3].email, values.QID1 for the entry QID1 of a map.
package contract

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
)

// Violation is one thing that is wrong with a body.
type Violation struct {
	// Field is the path of the field; empty for the body as a whole.
	Field string `json:"field"`
	// Message says what is wrong, for a person, without the value.
	Message string `json:"message"`
}

// Violations is the error of a body that breaks its contract. It holds at least one.
type Violations struct {
	Fields []Violation
}

// Error gives all violations as one line.
func (v *Violations) Error() string {
	parts := make([]string, len(v.Fields))
	for i, f := range v.Fields {
		parts[i] = f.Message
		if f.Field != "" {
			parts[i] = f.Field + ": " + f.Message
		}
	}
	return strings.Join(parts, "; ")
}

// Broken makes the error of a single violation.
func Broken(field, format string, args ...any) *Violations {
	return &Violations{Fields: []Violation{{Field: field, Message: fmt.Sprintf(format, args...)}}}
}

// Under gives the violations of a part as those of the whole: the part stands at prefix.
func (v *Violations) Under(prefix string) *Violations {
	under := &Violations{Fields: make([]Violation, len(v.Fields))}
	for i, f := range v.Fields {
		under.Fields[i] = Violation{Field: join(prefix, f.Field), Message: f.Message}
	}
	return under
}

// AsViolations finds the violations in err's chain.
func AsViolations(err error) (*Violations, bool) { return errors.AsType[*Violations](err) }

// Unmarshal reads JSON into a message. What is empty, is no JSON, or has an unknown field, a field twice or a value of
// another kind is refused as *[Violations] with the first of them; into is then to be thrown away. Rules are not
// checked: see [Validate].
func Unmarshal(body []byte, into proto.Message) error {
	if err := checkJSON(body); err != nil {
		return err
	}
	if err := protojson.Unmarshal(body, into); err != nil {
		return explain(err, body, into.ProtoReflect().Descriptor())
	}
	return nil
}

// Marshal writes a message as compact JSON: lowerCamelCase, what is not set left out.
func Marshal(m proto.Message) ([]byte, error) {
	loose, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var tight bytes.Buffer // protojson varies its spaces on purpose
	if err := json.Compact(&tight, loose); err != nil {
		return nil, err
	}
	return tight.Bytes(), nil
}

// Validate checks the rules of the message (buf.validate) and gives every breach at once as *[Violations]. Any other
// error is a rule that does not compile: a mistake in proto-events.
func Validate(m proto.Message) error {
	err := protovalidate.Validate(m)
	if broken, ok := errors.AsType[*protovalidate.ValidationError](err); ok {
		v := &Violations{}
		for _, b := range broken.Violations {
			field := pathOf(m.ProtoReflect().Descriptor(), b.Proto.GetField().GetElements())
			v.Fields = append(v.Fields, Violation{Field: field, Message: b.Proto.GetMessage()})
		}
		return v
	}
	if _, ok := errors.AsType[*protovalidate.RuntimeError](err); ok {
		return Broken("", "a rule cannot be computed: a number is beyond what can be handled")
	}
	return err
}

// Items splits a body that is one JSON object or a list of them; many tells the list. What is no JSON, or a list with
// anything but objects in it, is refused as *[Violations].
func Items(body []byte) (items []json.RawMessage, many bool, err error) {
	if err := checkJSON(body); err != nil {
		return nil, false, err
	}
	if bytes.TrimSpace(body)[0] != '[' {
		return []json.RawMessage{body}, false, nil
	}
	if err := json.Unmarshal(body, &items); err != nil {
		return nil, true, err
	}
	for i, item := range items {
		if item[0] != '{' {
			return nil, true, Broken(fmt.Sprintf("[%d]", i), "must be a JSON object")
		}
	}
	return items, true, nil
}

// checkJSON refuses what is no JSON at all and says where.
func checkJSON(body []byte) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return Broken("", "the body is empty")
	}
	if !utf8.Valid(body) {
		return Broken("", "the body is not UTF-8")
	}
	var whole json.RawMessage
	if syntax, ok := errors.AsType[*json.SyntaxError](json.Unmarshal(body, &whole)); ok {
		read := body[:max(syntax.Offset-1, 0)]
		line := bytes.Count(read, []byte("\n")) + 1
		column := utf8.RuneCount(read[bytes.LastIndexByte(read, '\n')+1:]) + 1
		return Broken("", "the body is not JSON from line %d, column %d", line, column)
	}
	return nil
}

// position is the one part of protojson's texts that is needed: where in the body it stopped.
var position = regexp.MustCompile(`line (\d+):(\d+)`)

// explain says in our words what protojson objects to. Its own texts vary by design and quote values.
func explain(err error, body []byte, md protoreflect.MessageDescriptor) error {
	var line, column int
	if at := position.FindString(err.Error()); at != "" {
		if _, err := fmt.Sscanf(at, "line %d:%d", &line, &column); err == nil {
			return locate(body, offsetOf(body, line, column)).complain(md)
		}
	}
	return Broken("", "the body cannot be read as %s: it is nested too deeply or ends within an escaped character", md.Name())
}

// offsetOf turns protojson's line and column, counted in characters from 1, into an offset.
func offsetOf(body []byte, line, column int) int64 {
	offset := 0
	for range line - 1 {
		offset += bytes.IndexByte(body[offset:], '\n') + 1
	}
	for range column - 1 {
		_, size := utf8.DecodeRune(body[offset:])
		offset += size
	}
	return int64(offset)
}

// pathOf writes protovalidate's path with the names of the JSON.
func pathOf(md protoreflect.MessageDescriptor, elements []*validate.FieldPathElement) string {
	path := ""
	for _, e := range elements {
		name := e.GetFieldName()
		if md != nil {
			if fd := md.Fields().ByNumber(protoreflect.FieldNumber(e.GetFieldNumber())); fd != nil {
				name, md = fd.JSONName(), messageOf(fd)
			}
		}
		path = join(path, name)
		switch {
		case e.HasIndex():
			path = join(path, fmt.Sprintf("[%d]", e.GetIndex()))
		case e.HasStringKey():
			path = join(path, Shown(e.GetStringKey()))
		case e.HasIntKey():
			path = join(path, fmt.Sprint(e.GetIntKey()))
		case e.HasUintKey():
			path = join(path, fmt.Sprint(e.GetUintKey()))
		case e.HasBoolKey():
			path = join(path, fmt.Sprint(e.GetBoolKey()))
		}
	}
	return path
}

// messageOf is the message that a field, or an entry of a map, holds; nil for scalars.
func messageOf(fd protoreflect.FieldDescriptor) protoreflect.MessageDescriptor {
	if fd.IsMap() {
		fd = fd.MapValue()
	}
	return fd.Message()
}

// join puts one step behind a path.
func join(path, step string) string {
	if path == "" || step == "" || strings.HasPrefix(step, "[") {
		return path + step
	}
	return path + "." + step
}

// plainName is what names of fields look like, in Qualtrics too (QID9#1_1). It leaves no room for addresses and links.
var plainName = regexp.MustCompile(`^[\pL\pN_.:#\[\] -]{1,100}$`)

// Shown gives a name that was sent if it may be repeated in an error, else a stand-in: a body of the wrong kind can
// bring anything as a name.
func Shown(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return "(name not shown)"
}
