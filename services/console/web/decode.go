package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strings"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// Decode reads the JSON of a request, and names the field that is wrong. The error is a [httpdoor.Problem].
func Decode(r *httpdoor.Request, into any) error {
	if r.ContentType != "application/json" {
		return httpdoor.NewProblem(http.StatusUnsupportedMediaType, "send JSON, and say so: Content-Type: application/json")
	}
	decoder := json.NewDecoder(bytes.NewReader(r.Body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil && decoder.More() {
		return httpdoor.BadRequest("there is something behind the JSON object")
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return Wrong(cmp.Or(wrong.Field, "body"), "must be "+named(wrong))
	}
	if err == nil {
		return nil
	}
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		return Wrong(contract.Shown(strings.Trim(name, `"`)), "is not known here")
	}
	return httpdoor.BadRequest("the request is no JSON object")
}

// named says what JSON was expected.
func named(wrong *json.UnmarshalTypeError) string {
	if wrong.Field == "sequences" { // or one of them
		return "a list of numbers"
	}
	switch wrong.Type.Kind() {
	case reflect.Struct:
		return "an object"
	case reflect.Slice:
		return "a list"
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	default:
		return "a number"
	}
}
