package httpdoor

import (
	"bytes"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/closeloop/closeloop/pkg/event/contract"
)

// decodeForm reads a form by making JSON of it, so that one place knows what a field may hold.
func decodeForm(r *Request, into proto.Message, fields FieldMap) error {
	form, err := readForm(r)
	if err != nil {
		return err
	}
	a, md := newArrangement(tree{}), into.ProtoReflect().Descriptor()
	for _, name := range slices.Sorted(maps.Keys(form)) {
		path := orDefault(fields[name], name)
		a.place(md, name, path, func(at contract.Field) (any, string) { return formValue(at, form[name]) })
	}
	return checkTree(a, into)
}

func readForm(r *Request) (url.Values, error) {
	body := bytes.TrimSpace(r.Body)
	if len(body) == 0 {
		return nil, BadRequest("the body is empty")
	}
	if r.ContentType == typeMultipart {
		return readMultipart(r)
	}
	if body[0] == '{' || body[0] == '[' { // curl -d without a header; its "field name" would be the whole body
		return nil, NewProblem(http.StatusUnsupportedMediaType, "the body looks like JSON: send it with Content-Type: "+typeJSON)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, BadRequest("the body is no form: an escape or a separator in it is wrong")
	}
	return form, nil
}

func readMultipart(r *Request) (url.Values, error) {
	_, params, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	form, err := multipart.NewReader(bytes.NewReader(r.Body), params["boundary"]).ReadForm(int64(len(r.Body)))
	if err != nil {
		return nil, BadRequest("the body is no form with the parts that its Content-Type promises")
	}
	defer func() { _ = form.RemoveAll() }()
	files := &contract.Violations{}
	for _, name := range slices.Sorted(maps.Keys(form.File)) {
		files.Fields = append(files.Fields, FieldError{Field: contract.Shown(name), Message: "is a file; only text is taken"})
	}
	if len(files.Fields) > 0 {
		return nil, files
	}
	return form.Value, nil
}

// formValue makes the JSON value of a field from what a form holds for it; nil for a field that was left empty. The
// message says why it cannot be made.
func formValue(at contract.Field, sent []string) (value any, message string) {
	if slices.ContainsFunc(sent, func(s string) bool { return !utf8.ValidString(s) }) {
		return nil, "is not UTF-8"
	}
	if at.Map() || at.Kind() == protoreflect.MessageKind && !isText(at.Message()) {
		return nil, "cannot be sent in a form as a whole: name a field in it, as in " + at.String() + "." + example(at)
	}
	if at.List() {
		values := make([]any, len(sent))
		for i, s := range sent {
			values[i] = textValue(at, s)
		}
		return values, ""
	}
	if len(sent) != 1 {
		return nil, "was sent more than once"
	}
	return textValue(at, sent[0]), ""
}

// textValue writes a text as the protobuf JSON mapping wants it for the kind of field: numbers and times as strings.
// What does not fit is left as it is, and refused where all JSON is. An empty text says something in a string only.
func textValue(at contract.Field, text string) any {
	if at.Kind() == protoreflect.StringKind || at.Message() != nil && at.Message().FullName() == "google.protobuf.Value" {
		return text
	}
	switch text = strings.TrimSpace(text); {
	case text == "":
		return nil
	case at.Kind() != protoreflect.BoolKind:
		return text
	}
	switch strings.ToLower(text) {
	case "true", "yes", "on", "1":
		return true
	case "false", "no", "off", "0":
		return false
	}
	return text
}

// isText tells the messages that are written as one value.
func isText(md protoreflect.MessageDescriptor) bool {
	switch md.FullName() {
	case "google.protobuf.Timestamp", "google.protobuf.Duration", "google.protobuf.Value":
		return true
	}
	return false
}

// example is the name of something within a field.
func example(at contract.Field) string {
	if at.Map() || at.Message().Fields().Len() == 0 {
		return "NAME"
	}
	return at.Message().Fields().Get(0).JSONName()
}
