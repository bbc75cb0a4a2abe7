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

// Decode takes an answer out of its envelope, {"d":…}, into into (odata-v2.md §4):
//
//	*[Array]       the entities of a list
//	*[List]        the same with count and next link
//	anything else  one entity: {"d":{…}} as Gateway has it, {"d":{"results":{…}}} as C4C does, or a list of just one
func Decode(body []byte, into any) error { return json.Unmarshal(body, &envelope{into}) }

type envelope struct{ into any }

// UnmarshalJSON makes an envelope fit for [outbound.Answer.Decode].
func (e *envelope) UnmarshalJSON(body []byte) error {
	var outer struct {
		D json.RawMessage `json:"d"`
	}
	if err := json.Unmarshal(body, &outer); err != nil {
		return err
	}
	if len(outer.D) == 0 || string(outer.D) == "null" {
		return errors.New("there is no envelope d")
	}
	if _, ok := e.into.(collection); ok {
		return json.Unmarshal(outer.D, e.into)
	}
	var entities Array[json.RawMessage]
	if err := json.Unmarshal(outer.D, &entities); err != nil {
		return err
	}
	if len(entities) != 1 {
		return errors.New("one entity is expected, the answer has " + strconv.Itoa(len(entities)))
	}
	return json.Unmarshal(entities[0], e.into)
}

// collection marks what holds any number of entities.
type collection interface{ collection() }

// List decodes a list with what is said about it.
type List[T any] struct {
	Items Array[T]
	// Count is __count, how many there are on all pages; -1 if it was not asked for.
	Count int
	// Next is __next, the address of the next page; empty on the last.
	Next string
}

func (l *List[T]) collection() {}

// UnmarshalJSON reads what is under d.
func (l *List[T]) UnmarshalJSON(data []byte) error {
	l.Count, l.Next = -1, ""
	if err := json.Unmarshal(data, &l.Items); err != nil || data[0] != '{' {
		return err
	}
	var w wrapper
	if err := json.Unmarshal(data, &w); err != nil {
		return err
	}
	l.Next = w.Next
	if w.Count == "" {
		return nil
	}
	n, err := strconv.Atoi(string(w.Count))
	if err != nil {
		return errors.New("__count is not a number")
	}
	l.Count = n
	return nil
}

// wrapper is an object that stands for what is in it, or for something not read yet.
type wrapper struct {
	Results  json.RawMessage `json:"results"`
	Deferred json.RawMessage `json:"__deferred"`
	Count    Decimal         `json:"__count"`
	Next     string          `json:"__next"`
}

// Array decodes a list of entities or the values of a navigation property: […], {"results":[…]}, and the single object
// that converters from XML make of a list of one (odata-v2.md §6). Null and what is deferred, that is not part of the answer, is empty. It
// is written as a plain array.
type Array[T any] []T

func (a *Array[T]) collection() {}

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
	var fields map[string]json.RawMessage
	if json.Unmarshal(data, &fields) == nil && len(fields) == 0 {
		return nil // null, or an object of nothing: there is none
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
