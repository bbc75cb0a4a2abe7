package qualtrics

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// object reads a JSON object strictly: wrong types, null, and in the end keys that nobody asked for are refused. It
// keeps the first mistake, so that callers read all fields and ask for it once with done.
type object struct {
	path   string // where the object stands in the body, ending in a dot, or empty
	fields map[string]any
	read   map[string]bool
	coded  bool // mistakes in the keys have the codes of POST /distributions
	wrong  *refusal
}

func parseObject(data []byte) (*object, error) {
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil || fields == nil {
		return nil, badRequest("The request body is not a JSON object.")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, badRequest("The request body holds more than one JSON object.")
	}
	return newObject("", fields), nil
}

func newObject(path string, fields map[string]any) *object {
	return &object{path: path, fields: fields, read: map[string]bool{}}
}

// has tells whether a key is there, without reading it.
func (o *object) has(name string) bool {
	_, ok := o.fields[name]
	return ok
}

// done gives the first mistake.
func (o *object) done() error {
	for _, name := range slices.Sorted(maps.Keys(o.fields)) {
		if o.wrong == nil && !o.read[name] {
			o.wrong = o.keyMistake(unexpectedKey(o.path + name))
		}
	}
	if o.wrong == nil {
		return nil
	}
	return o.wrong
}

// need refuses an object without that key.
func (o *object) need(names ...string) {
	for _, name := range names {
		if o.wrong == nil && !o.has(name) {
			o.wrong = o.keyMistake(missingParam(o.path + name))
		}
	}
}

// keyMistake keeps the code only where it was observed: codes are per service (qualtrics.md §2.5).
func (o *object) keyMistake(r *refusal) *refusal {
	if !o.coded {
		r.code = ""
	}
	return r
}

func (o *object) mistake(name, want string) {
	if o.wrong == nil {
		o.wrong = badRequest("Invalid value for %s: expected %s.", o.path+name, want)
	}
}

// take gives a value of type T, or its zero value with a mistake noted when there is another type.
func take[T any](o *object, name, want string) (value T, found bool) {
	o.read[name] = true
	given, found := o.fields[name]
	if !found {
		return value, false
	}
	value, ok := given.(T)
	if !ok {
		o.mistake(name, want)
	}
	return value, ok
}

func (o *object) text(name string) string {
	value, _ := take[string](o, name, "a string")
	return value
}

// optionalText tells an absent key from an empty text.
func (o *object) optionalText(name string) *string {
	value, found := take[string](o, name, "a string")
	if !found {
		return nil
	}
	return &value
}

func (o *object) boolean(name string) *bool {
	value, found := take[bool](o, name, "a boolean")
	if !found {
		return nil
	}
	return &value
}

func (o *object) texts(name string) []string {
	given, _ := take[[]any](o, name, "an array of strings")
	texts := make([]string, 0, len(given))
	for _, element := range given {
		text, ok := element.(string)
		if !ok {
			o.mistake(name, "an array of strings")
		}
		texts = append(texts, text)
	}
	return texts
}

// child gives the object under a key, empty where there is none. Its mistakes are the caller's to adopt.
func (o *object) child(name string) *object {
	fields, _ := take[map[string]any](o, name, "an object")
	return newObject(o.path+name+".", fields)
}

func (o *object) children(name string) []*object {
	given, _ := take[[]any](o, name, "an array of objects")
	objects := make([]*object, 0, len(given))
	for i, element := range given {
		fields, ok := element.(map[string]any)
		if !ok {
			o.mistake(name, "an array of objects")
		}
		objects = append(objects, newObject(fmt.Sprintf("%s%s[%d].", o.path, name, i), fields))
	}
	return objects
}

// adopt makes a child's first mistake the object's own.
func (o *object) adopt(child *object) {
	if err := child.done(); err != nil && o.wrong == nil {
		o.wrong = child.wrong
	}
}

// data reads a map of embedded or transaction data. Values are texts and, with scalars, numbers and booleans too; all
// are kept as texts (qualtrics.md §3.2, §8.10). Names have at most 200, values 1,024 characters (§3.2).
func (o *object) data(name string, scalars bool) map[string]string {
	if !o.has(name) {
		return nil
	}
	child, data := o.child(name), map[string]string{}
	for key, given := range child.fields {
		child.read[key] = true
		value, ok := scalar(given, scalars)
		switch {
		case !ok && scalars:
			child.mistake(key, "a string, number or boolean")
		case !ok:
			child.mistake(key, "a string")
		case key == "" || len([]rune(key)) > 200 || len([]rune(value)) > 1024:
			child.mistake(key, "a name of 1 to 200 and a value of at most 1024 characters")
		}
		data[key] = value
	}
	o.adopt(child)
	return data
}

func scalar(given any, scalars bool) (string, bool) {
	switch v := given.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), scalars
	case bool:
		return fmt.Sprint(v), scalars
	}
	return "", false
}

// same tells whether two texts are one to Qualtrics, which trims them and ignores case (qualtrics.md §3.2).
func same(a, b string) bool { return plain(a) == plain(b) }

func plain(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
