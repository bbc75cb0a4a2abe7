package odatasim

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Codes of the simulated services' faults. A real system's codes are those of its message classes; clients may use
// the status and show code and text, nothing more.
const (
	CodeUnknownProperty = "ZZ/001"
	CodeBadValue        = "ZZ/002"
	CodeTooLong         = "ZZ/003"
	CodeReadOnly        = "ZZ/004"
	CodeBadQuery        = "ZZ/005"
	CodeNotFound        = "ZZ/006"
	CodeConflict        = "ZZ/007"
	CodeNotAllowed      = "ZZ/008"
	CodeBadBody         = "ZZ/009"
	CodeInternal        = "ZZ/500"
)

// Fault is a refusal as the caller sees it. Its message names fields, never their contents.
type Fault struct {
	Status  int
	Code    string
	Message string
}

// Error is the message.
func (f *Fault) Error() string { return f.Message }

// Refuse makes a Fault.
func Refuse(status int, code, format string, args ...any) error {
	return &Fault{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

func asFault(err error) *Fault {
	if fault, ok := errors.AsType[*Fault](err); ok {
		return fault
	}
	return &Fault{Status: http.StatusInternalServerError, Code: CodeInternal, Message: "The simulator could not keep its books"}
}

// FaultBody is the form of a fault's body.
type FaultBody string

// The forms of a fault's body (odata-v2.md §4 and §12).
const (
	TextFault FaultBody = "text"
	JSONFault FaultBody = "json"
	XMLFault  FaultBody = "xml"
)

type faultJSON struct {
	Error struct {
		Code    string `json:"code"`
		Message struct {
			Lang  string `json:"lang"`
			Value string `json:"value"`
		} `json:"message"`
		InnerError *innerError `json:"innererror,omitempty"`
	} `json:"error"`
}

type innerError struct {
	ErrorDetails []errorDetail `json:"errordetails"`
}

type errorDetail struct {
	Code     string `json:"code"`
	Message  string `json:"message"`
	Severity string `json:"severity"`
	Target   string `json:"target"`
}

type faultXML struct {
	XMLName xml.Name `xml:"http://schemas.microsoft.com/ado/2007/08/dataservices/metadata error"`
	Code    string   `xml:"code"`
	Message struct {
		Lang string `xml:"xml:lang,attr"`
		Text string `xml:",chardata"`
	} `xml:"message"`
}

// writeFault answers with a fault in the form given; inner adds innererror to the JSON form.
func writeFault(w http.ResponseWriter, f *Fault, form FaultBody, inner bool) {
	w.Header().Del("ETag")
	switch form {
	case TextFault:
		write(w, f.Status, "text/plain; charset=utf-8", []byte(f.Message))
	case XMLFault:
		write(w, f.Status, "application/xml; charset=utf-8", f.xml())
	default:
		write(w, f.Status, "application/json; charset=utf-8", f.json(inner))
	}
}

func (f *Fault) json(inner bool) []byte {
	var body faultJSON
	body.Error.Code = f.Code
	body.Error.Message.Lang, body.Error.Message.Value = "en", f.Message
	if inner {
		body.Error.InnerError = &innerError{[]errorDetail{{Code: f.Code, Message: f.Message, Severity: "error"}}}
	}
	encoded, _ := json.Marshal(body) // strings only: cannot fail
	return encoded
}

func (f *Fault) xml() []byte {
	body := faultXML{Code: f.Code}
	body.Message.Lang, body.Message.Text = "en", f.Message
	encoded, _ := xml.Marshal(body)
	return append([]byte(strings.TrimSpace(xml.Header)), encoded...)
}

func write(w http.ResponseWriter, status int, contentType string, body []byte) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller may be gone
}
