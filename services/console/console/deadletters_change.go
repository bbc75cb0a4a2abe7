package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// The changes that can be made in many bodies at once.
const (
	opSet     = "set"
	opRemove  = "remove"
	opRename  = "rename"
	opReplace = "replace"
)

// Change is one change, made in the body of each letter of a selection.
type Change struct {
	// Op is set, remove, rename or replace.
	Op string `json:"op"`
	// Field is the path of the field in the event's contract: contact.email, members[3].email, members[].email for each.
	Field string `json:"field"`
	// Value is what the field is set to.
	Value json.RawMessage `json:"value,omitempty"`
	// To is the field's new name, in the same object.
	To string `json:"to,omitempty"`
	// Text in the field is replaced by With, wherever it stands.
	Text string `json:"text,omitempty"`
	With string `json:"with,omitempty"`
}

// changesMost is how many changes one request may ask for, changeMost the size of one, and editMost that of all as JSON: with the
// letters of a job they stand in one record, which must fit into a message of the broker.
const (
	changesMost = 20
	changeMost  = 64 << 10
	editMost    = 256 << 10
)

// checkChanges names what is wrong with changes before any letter is looked at.
func checkChanges(changes []Change) error {
	if len(changes) > changesMost {
		return web.Wrong("edit", fmt.Sprintf("may hold at most %d changes", changesMost))
	}
	var wrong []httpdoor.FieldError
	for i, c := range changes {
		for _, w := range c.wrong() {
			wrong = append(wrong, httpdoor.FieldError{Field: fmt.Sprintf("edit[%d].%s", i, w.Field), Message: w.Message})
		}
	}
	if len(wrong) > 0 {
		return httpdoor.BadRequest("the change cannot be made in any body", wrong...)
	}
	if whole, err := json.Marshal(changes); err != nil || len(whole) > editMost {
		return web.Wrong("edit", fmt.Sprintf("must have at most %d bytes in all", editMost))
	}
	return nil
}

func (c Change) wrong() (wrong []httpdoor.FieldError) {
	refuse := func(name, message string) { wrong = append(wrong, httpdoor.FieldError{Field: name, Message: message}) }
	has := map[string]bool{"value": len(c.Value) > 0, "to": c.To != "", "text": c.Text != "", "with": c.With != ""}
	takes := map[string][]string{opSet: {"value"}, opRemove: {}, opRename: {"to"}, opReplace: {"text", "with"}}[c.Op]
	if takes == nil {
		refuse("op", "must be set, remove, rename or replace")
		return wrong
	}
	if segments := stepsOf(c.Field); len(segments) == 0 || strings.HasPrefix(segments[0], "[") || strings.Contains(c.Field, "..") {
		refuse("field", "must be the path of a field, as in contact.email")
	}
	if has["value"] && !json.Valid(c.Value) {
		refuse("value", "must be JSON")
	}
	if len(c.Field)+len(c.Value)+len(c.Text)+len(c.With)+len(c.To) > changeMost {
		refuse("value", fmt.Sprintf("must have at most %d bytes", changeMost))
	}
	for _, name := range takes {
		if !has[name] && name != "with" { // nothing may stand in place of a text
			refuse(name, "is required to "+c.Op+" a field")
		}
		delete(has, name)
	}
	for _, name := range []string{"value", "to", "text", "with"} {
		if has[name] {
			refuse(name, "does not go with "+c.Op)
		}
	}
	if strings.ContainsAny(c.To, ".[]") {
		refuse("to", "must be the name of a field in the same object, without dots")
	}
	return wrong
}

// shape is the change without what it puts into bodies, which may be about people.
func (c Change) shape() Change { return Change{Op: c.Op, Field: c.Field, To: c.To} }

// says tells the change in words, without what it puts into bodies.
func (c Change) says() string {
	switch c.Op {
	case opSet:
		return "set " + c.Field
	case opRemove:
		return "remove " + c.Field
	case opRename:
		return "rename " + c.Field + " to " + c.To
	}
	return "replace a text in " + c.Field
}

// stepsOf splits a path: members[3].email is members, [3], email.
func stepsOf(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(strings.TrimPrefix(strings.ReplaceAll(path, "[", ".["), "."), ".")
}

// mended makes the body that changes make of the letter's own.
func (d *desk) mended(ctx context.Context, o *Operation) (json.RawMessage, error) {
	m, err := d.letter(ctx, o.Letter)
	if err != nil {
		return nil, err
	}
	body, err := d.body(ctx, m)
	if err != nil {
		return nil, err
	}
	return change(body, structured(m.Header), o.changes)
}

// structured tells that the event's envelope is in the body.
func structured(h nats.Header) bool {
	for name, values := range h {
		if strings.EqualFold(name, event.HeaderContentType) && len(values) > 0 {
			mediaType, _, _ := mime.ParseMediaType(values[0])
			return strings.HasPrefix(mediaType, "application/cloudevents")
		}
	}
	return false
}

// change makes the changes in a body. The same changes in the same body give the same bytes.
func change(body []byte, inEnvelope bool, changes []Change) (json.RawMessage, error) {
	whole, err := tree(body)
	if err != nil {
		return nil, err
	}
	event := whole
	if inEnvelope {
		var ok bool
		if event, ok = whole["data"].(map[string]any); !ok {
			return nil, unchanged("data", "is not there, or no object: mend this body by itself")
		}
	}
	before := written(whole)
	for _, c := range changes {
		if err := c.in(event, stepsOf(c.Field)); err != nil {
			return nil, err
		}
	}
	after := written(whole)
	if bytes.Equal(before, after) {
		return nil, unchanged(changes[0].Field, "stays as it is: the change changes nothing here")
	}
	return after, nil
}

func unchanged(name, message string) error {
	return httpdoor.Unprocessable("the change cannot be made in this body", httpdoor.FieldError{Field: contract.Shown(name), Message: message})
}

// tree reads a body. A field that is there twice is refused: one of the two would be lost in passing.
func tree(body []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	err := errDeep
	if json.Valid(body) { // which also bounds how deep it is
		value, err = branch(decoder)
	}
	object, ok := value.(map[string]any)
	switch _, rest := decoder.Token(); {
	case err == nil && ok && rest == io.EOF:
		return object, nil
	case errors.Is(err, errTwice):
		return nil, unchanged("body", "has a field twice: mend it by itself")
	}
	return nil, unchanged("body", "is no JSON object: mend it by itself")
}

var errTwice = errors.New("a field is there twice")

func branch(decoder *json.Decoder) (any, error) {
	token, err := decoder.Token()
	if err != nil {
		return nil, err
	}
	switch token {
	case json.Delim('{'):
		return object(decoder)
	case json.Delim('['):
		list := []any{}
		for decoder.More() {
			value, err := branch(decoder)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := decoder.Token()
		return list, err
	}
	return token, nil
}

func object(decoder *json.Decoder) (any, error) {
	fields := map[string]any{}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		value, err := branch(decoder)
		if err != nil {
			return nil, err
		}
		if _, twice := fields[name.(string)]; twice {
			return nil, errTwice
		}
		fields[name.(string)] = value
	}
	_, err := decoder.Token()
	return fields, err
}

// written gives the JSON of a body, its fields in order.
func written(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // what was read can be written
	return bytes.TrimSpace(b.Bytes())
}

// in makes the change where the path leads to. Where it leads to nothing, only set makes something.
func (c Change) in(value any, path []string) error {
	switch v := value.(type) {
	case map[string]any:
		name, rest := stepIn(v, path)
		if len(rest) == 0 {
			return c.at(v, name)
		}
		if _, there := v[name]; !there {
			if c.Op != opSet || strings.HasPrefix(rest[0], "[") {
				return nil
			}
			v[name] = map[string]any{}
		}
		return c.in(v[name], rest)
	case []any:
		return c.inList(v, path)
	}
	return unchanged(c.Field, "leads into something that holds no fields")
}

// stepIn finds the name that the path begins with: the names of free fields may have dots.
func stepIn(object map[string]any, path []string) (name string, rest []string) {
	for n := len(path); n > 0; n-- {
		name := strings.Join(path[:n], ".")
		if _, there := object[name]; there {
			return name, path[n:]
		}
	}
	return path[0], path[1:]
}

func (c Change) inList(list []any, path []string) error {
	inner, ok := strings.CutPrefix(path[0], "[")
	inner, closed := strings.CutSuffix(inner, "]")
	if !ok || !closed {
		return unchanged(c.Field, "leads into a list: say which entry as in members[3], or members[] for each")
	}
	if inner == "" {
		for i := range list {
			if err := c.entry(list, i, path[1:]); err != nil {
				return err
			}
		}
		return nil
	}
	i, err := strconv.Atoi(inner)
	if err != nil || i < 0 || i >= len(list) {
		return unchanged(c.Field, "names an entry that the list does not have")
	}
	return c.entry(list, i, path[1:])
}

func (c Change) entry(list []any, i int, rest []string) error {
	if len(rest) > 0 {
		return c.in(list[i], rest)
	}
	if c.Op == opRemove || c.Op == opRename {
		return unchanged(c.Field, "is an entry of a list, which can only be set")
	}
	holder := map[string]any{"": list[i]}
	err := c.at(holder, "")
	list[i] = holder[""]
	return err
}

// at makes the change at one field of an object.
func (c Change) at(object map[string]any, name string) error {
	old, there := object[name]
	switch c.Op {
	case opSet:
		object[name] = valueOf(c.Value)
	case opRemove:
		delete(object, name)
	case opRename:
		if !there {
			return nil
		}
		if _, taken := object[c.To]; taken {
			return unchanged(c.To, "is there already")
		}
		delete(object, name)
		object[c.To] = old
	case opReplace:
		text, ok := old.(string)
		if there && !ok {
			return unchanged(c.Field, "is no text, so that nothing can be replaced in it")
		}
		if there {
			object[name] = strings.ReplaceAll(text, c.Text, c.With)
		}
	}
	return nil
}

// valueOf reads JSON with its numbers as they are written; nil for none.
func valueOf(raw json.RawMessage) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	_ = decoder.Decode(&value)
	return value
}
