package web

import (
	"net/url"
	"slices"
	"strings"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// Known refuses parameters that would be ignored: a typing mistake must not look like an answer.
func Known(q url.Values, names ...string) error {
	for name := range q {
		if !slices.Contains(names, name) {
			return httpdoor.BadRequest("the query has a parameter that is not known",
				httpdoor.FieldError{Field: contract.Shown(name), Message: "is not known; known are " + strings.Join(names, ", ")})
		}
	}
	return nil
}

// Wrong refuses a parameter or a field: the message says what it must be.
func Wrong(name, message string) error {
	return httpdoor.BadRequest(name+" "+message, httpdoor.FieldError{Field: name, Message: message})
}
