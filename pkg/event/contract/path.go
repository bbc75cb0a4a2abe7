package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Field is a place in a message.
type Field struct {
	// Path leads there through the JSON, one name a step.
	Path []string
	// Descriptor is the field; nil for the message itself.
	Descriptor protoreflect.FieldDescriptor
	// Entry tells that the place is an entry of the list or map Descriptor, not the whole of it.
	Entry bool
}

// Lookup finds the field that a path with dots leads to: recipient.email, values.QID1. Names are read in lowerCamelCase
// and as in the .proto file. Behind a map stands one of its keys, dots in it and all. A path that leads nowhere is
// *[Violations] naming what is known where it went astray.
func Lookup(md protoreflect.MessageDescriptor, path string) (Field, error) {
	return walk(md, strings.Split(path, "."))
}

// Kind is the kind of what stands at the place: of the entry, where it is one.
func (f Field) Kind() protoreflect.Kind { return f.value().Kind() }

// Message is the message that stands at the place; nil for a scalar.
func (f Field) Message() protoreflect.MessageDescriptor { return f.value().Message() }

// List tells that a whole list stands at the place.
func (f Field) List() bool { return f.Descriptor.IsList() && !f.Entry }

// Map tells that a whole map stands at the place.
func (f Field) Map() bool { return f.Descriptor.IsMap() && !f.Entry }

// String gives the path with dots.
func (f Field) String() string {
	path := ""
	for _, step := range f.Path {
		path = join(path, step)
	}
	return path
}

// Wanted says what is to stand at the place: "must be a number".
func (f Field) Wanted() string {
	switch {
	case f.Descriptor == nil:
		return "the body must be a JSON object"
	case f.List():
		return "must be a list"
	case f.Map():
		return "must be an object"
	}
	switch f.Kind() {
	case protoreflect.BoolKind:
		return "must be true or false"
	case protoreflect.StringKind:
		return "must be a string"
	case protoreflect.BytesKind:
		return "must be a string in Base64"
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return "must be a number"
	case protoreflect.EnumKind:
		return "must be one of the names that the contract lists"
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return wantedMessage(f.Message())
	}
	return "must be a whole number"
}

func wantedMessage(md protoreflect.MessageDescriptor) string {
	switch md.FullName() {
	case "google.protobuf.Timestamp":
		return "must be a time as in 2026-07-24T09:30:00Z"
	case "google.protobuf.Duration":
		return "must be a duration in seconds as in 1.5s"
	case freeForm:
		return "must be a value that JSON can hold"
	}
	return "must be an object"
}

// freeForm is the message that is any JSON.
const freeForm protoreflect.FullName = "google.protobuf.Value"

func (f Field) value() protoreflect.FieldDescriptor {
	if f.Entry && f.Descriptor.IsMap() {
		return f.Descriptor.MapValue()
	}
	return f.Descriptor
}

// walk follows the steps; an entry of a list is the step "[3]".
func walk(md protoreflect.MessageDescriptor, steps []string) (Field, error) {
	var at Field
	for len(steps) > 0 {
		if md == nil {
			return at, Broken(at.String(), "holds no fields")
		}
		fd := fieldOf(md, steps[0])
		if fd == nil {
			return at, Broken(join(at.String(), Shown(steps[0])), "is not a known field; known here: %s", names(md))
		}
		at = Field{Path: append(at.Path, fd.JSONName()), Descriptor: fd}
		md, steps = messageOf(fd), steps[1:]
		if single := !fd.IsMap() && !fd.IsList(); single || len(steps) == 0 {
			continue
		}
		at.Entry = true
		if leaf := md == nil || md.FullName() == freeForm; fd.IsMap() && leaf {
			at.Path = append(at.Path, strings.Join(steps, "."))
			return at, nil
		}
		at.Path = append(at.Path, steps[0])
		steps = steps[1:]
	}
	return at, nil
}

func fieldOf(md protoreflect.MessageDescriptor, name string) protoreflect.FieldDescriptor {
	if fd := md.Fields().ByJSONName(name); fd != nil {
		return fd
	}
	return md.Fields().ByTextName(name)
}

func names(md protoreflect.MessageDescriptor) string {
	known := make([]string, md.Fields().Len())
	for i := range known {
		known[i] = md.Fields().Get(i).JSONName()
	}
	return strings.Join(known, ", ")
}

// spot is a place in a JSON text.
type spot struct {
	steps []string
	// key tells that it is a name, not a value; text that it is a string.
	key, text bool
}

// locate gives the name or value that holds the offset or follows it. The body is valid JSON.
func locate(body []byte, offset int64) spot {
	d := json.NewDecoder(bytes.NewReader(body))
	var levels []level
	for {
		token, err := d.Token()
		if err != nil {
			return spot{}
		}
		here := spot{}
		if end := token == json.Delim('}') || token == json.Delim(']'); end {
			levels = levels[:len(levels)-1]
		} else if len(levels) > 0 {
			here.key = levels[len(levels)-1].take(token)
		}
		if d.InputOffset() > offset {
			_, here.text = token.(string)
			for _, l := range levels {
				here.steps = append(here.steps, l.step())
			}
			return here
		}
		switch token {
		case json.Delim('{'):
			levels = append(levels, level{object: true})
		case json.Delim('['):
			levels = append(levels, level{index: -1})
		}
	}
}

// level is an object or a list around a place.
type level struct {
	object bool
	name   string
	// named tells that name is read and its value comes next.
	named bool
	index int
}

// take moves on to the next token within the level; key tells that it is a name.
func (l *level) take(token json.Token) (key bool) {
	if !l.object {
		l.index++
		return false
	}
	if l.named = !l.named; l.named {
		l.name, _ = token.(string)
	}
	return l.named
}

func (l *level) step() string {
	if l.object {
		return l.name
	}
	return fmt.Sprintf("[%d]", l.index)
}

// complain says what is wrong at a spot that protojson objected to.
func (s spot) complain(md protoreflect.MessageDescriptor) error {
	f, err := walk(md, s.steps)
	if err != nil {
		return err
	}
	for i := range f.Path {
		f.Path[i] = Shown(f.Path[i])
	}
	switch {
	case s.key:
		return Broken(f.String(), "is there twice")
	case s.text && f.Descriptor != nil && f.Kind() == protoreflect.StringKind && !f.List() && !f.Map():
		return Broken(f.String(), "holds what is not Unicode text")
	}
	return Broken(f.String(), "%s", f.Wanted())
}
