package odata

import (
	"bytes"
	"cmp"
	"encoding/json"
	"encoding/xml"
	"errors"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/outbound"
)

// Entity decodes an answer that holds one entity: {"d":{…}} as Gateway gives it, {"d":{"results":{…}}} as C4C does,
// and a list of exactly one (odata-v2.md §4).
type Entity[T any] struct{ Value T }

// UnmarshalJSON reads each of the envelopes.
func (e *Entity[T]) UnmarshalJSON(data []byte) error {
	var list List[T]
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list.Items) != 1 {
		return errors.New("one entity is expected, the answer has " + strconv.Itoa(len(list.Items)))
	}
	e.Value = list.Items[0]
	return nil
}

// List decodes an answer that holds a list: {"d":{"results":[…]}}, and where there is just one, an object in place of
// the array (odata-v2.md §4, §6).
type List[T any] struct {
	Items Array[T]
	// Count is __count, how many there are on all pages; -1 if it was not asked for.
	Count int
	// Next is __next, the address of the next page; empty on the last.
	Next string
}

// UnmarshalJSON reads each of the envelopes.
func (l *List[T]) UnmarshalJSON(data []byte) error {
	var outer struct {
		D json.RawMessage `json:"d"`
	}
	if err := json.Unmarshal(data, &outer); err != nil {
		return err
	}
	if len(outer.D) == 0 || string(outer.D) == "null" {
		return errors.New("there is no envelope d")
	}
	l.Count, l.Next = -1, ""
	if err := json.Unmarshal(outer.D, &l.Items); err != nil || outer.D[0] != '{' {
		return err
	}
	var w wrapper
	if err := json.Unmarshal(outer.D, &w); err != nil {
		return err
	}
	l.Next = w.Next
	if w.Count != "" {
		n, err := strconv.Atoi(string(w.Count))
		if err != nil {
			return errors.New("__count is not a number")
		}
		l.Count = n
	}
	return nil
}

// wrapper is an object that stands for what is in it, or for something not read yet.
type wrapper struct {
	Results  json.RawMessage `json:"results"`
	Deferred json.RawMessage `json:"__deferred"`
	Count    Decimal         `json:"__count"`
	Next     string          `json:"__next"`
}

// Array decodes the values of a navigation property: […], {"results":[…]}, and the single object that converters from
// XML make of a list of one (odata-v2.md §6). Null and what is deferred, that is not part of the answer, is empty. It
// is written as a plain array.
type Array[T any] []T

// UnmarshalJSON reads each of the forms.
func (a *Array[T]) UnmarshalJSON(data []byte) error {
	*a = nil
	data = bytes.TrimSpace(data)
	if data[0] != '{' {
		return json.Unmarshal(data, (*[]T)(a))
	}
	var w wrapper
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	switch {
	case w.Results != nil && w.Results[0] == '[':
		return json.Unmarshal(w.Results, (*[]T)(a))
	case w.Results != nil:
		return a.one(w.Results)
	case w.Deferred != nil:
		return nil
	}
	return a.one(data)
}

func (a *Array[T]) one(data []byte) error {
	if string(data) == "null" {
		return nil
	}
	var item T
	if err := json.Unmarshal(data, &item); err != nil {
		return err
	}
	*a = Array[T]{item}
	return nil
}

// ErrorWords takes code and message out of an error answer: the JSON envelope with its details, XML, or plain text,
// which SAP gives before its OData layer is reached (odata-v2.md §4). It is the Words of every call of this package.
func ErrorWords(a outbound.Answer) (code, message string) {
	body := bytes.TrimSpace(a.Body)
	switch {
	case bytes.HasPrefix(body, []byte("{")):
		return jsonWords(body)
	case bytes.HasPrefix(body, []byte("<")):
		var e struct {
			Code    string `xml:"code"`
			Message string `xml:"message"`
		}
		if xml.Unmarshal(body, &e) == nil {
			return e.Code, e.Message
		}
	}
	return "", ""
}

func jsonWords(body []byte) (code, message string) {
	var e struct {
		Error struct {
			Code       string    `json:"code"`
			Message    errorText `json:"message"`
			InnerError struct {
				Details Array[struct {
					Message errorText `json:"message"`
				}] `json:"errordetails"`
			} `json:"innererror"`
		} `json:"error"`
	}
	// What does not fit is left out; the rest is still worth reading.
	_ = json.Unmarshal(body, &e)
	texts := []string{string(e.Error.Message)}
	for _, d := range e.Error.InnerError.Details {
		if !strings.Contains(strings.Join(texts, "; "), string(d.Message)) {
			texts = append(texts, string(d.Message))
		}
	}
	return e.Error.Code, strings.TrimPrefix(strings.Join(texts, "; "), "; ")
}

// errorText is a text, or an object with language and value.
type errorText string

func (t *errorText) UnmarshalJSON(data []byte) error {
	var s string
	var o struct{ Value string }
	if json.Unmarshal(data, &s) != nil {
		_ = json.Unmarshal(data, &o)
	}
	*t = errorText(cmp.Or(s, o.Value))
	return nil
}
