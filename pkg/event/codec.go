package event

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"mime"
	"net/textproto"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// The headers of the envelope. Written in lower case, read in any.
const (
	HeaderID          = "ce-id"
	HeaderType        = "ce-type"
	HeaderSource      = "ce-source"
	HeaderSubject     = "ce-subject"
	HeaderTime        = "ce-time"
	HeaderLoopID      = "ce-loopid"
	HeaderLoopStart   = "ce-loopstart"
	HeaderSpecVersion = "ce-specversion"
	HeaderContentType = "content-type"
	HeaderDataType    = "ce-datacontenttype"
	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"
)

const (
	specVersion    = "1.0"
	contentJSON    = "application/json"
	structuredMode = "application/cloudevents"
)

// Encode makes the message that [Decode] reads.
func Encode(e Event) (*nats.Msg, error) {
	body, err := contract.Marshal(e.Data)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", e.Type, err)
	}
	m := nats.NewMsg(e.Type)
	m.Data = body
	set := func(name, value string) {
		if value != "" {
			m.Header[name] = []string{escape(value)}
		}
	}
	set(HeaderSpecVersion, specVersion)
	set(HeaderID, e.ID)
	set(HeaderType, e.Type)
	set(HeaderSource, e.Source)
	set(HeaderSubject, e.Subject)
	set(HeaderTime, e.Time.UTC().Format(time.RFC3339Nano))
	set(HeaderLoopID, e.LoopID)
	if !e.LoopStart.IsZero() {
		set(HeaderLoopStart, e.LoopStart.UTC().Format(time.RFC3339Nano))
	}
	set(HeaderDataType, contentJSON)
	set(HeaderContentType, contentJSON)
	set(HeaderTraceParent, e.TraceParent)
	set(HeaderTraceState, e.TraceState)
	m.Header[nats.MsgIdHdr] = []string{escape(e.DedupeKey())}
	return m, nil
}

// Origin says where a message was first stored: it stands in for an envelope that is missing.
type Origin struct {
	Stream   string
	Sequence uint64
	// Time is when it was stored.
	Time time.Time
}

// ID is the event id of a message that came without one.
func (o Origin) ID() string { return o.Stream + "-" + strconv.FormatUint(o.Sequence, 10) }

// Decode reads an event. Missing: id from origin, loop from id, its start from time, time from origin, source "unknown". Refused as
// [fault.Invalid], with the field's name: an unknown subject, an envelope that contradicts it, a body that is empty, no
// JSON, has an unknown or a duplicate field, or breaks a field rule. Even then the event has id, loop and time, so that
// the dead letter can be traced.
func Decode(subject string, header nats.Header, body []byte, origin Origin) (Event, error) {
	e, body, err := Open(subject, header, body, origin)
	if err != nil {
		return e, err
	}
	c, ok := subjects.Find(subject)
	if !ok {
		return e, fault.New(fault.Invalid, "no event is known under the subject %q", subject)
	}
	data := c.New()
	if err := decodeBody(body, data); err != nil {
		return e, err
	}
	e.Data = data
	if e.Subject == "" {
		e.Subject = c.BusinessKey(data)
	}
	return e, nil
}

// Open reads the envelope alone, as [Decode] does, and gives the body that it holds as it is. The event then has no data, and a
// subject only where the envelope says one. With an error it has id, loop and time all the same.
func Open(subject string, header nats.Header, body []byte, origin Origin) (Event, []byte, error) {
	e := Event{Type: subject, ID: origin.ID(), Time: origin.Time.UTC(), Source: "unknown"}
	e.LoopID = e.ID
	all, body, err := unwrap(header, body)
	if err != nil {
		return e, nil, err
	}
	return e, body, e.fill(all)
}

func decodeBody(body []byte, into proto.Message) error {
	if err := contract.Unmarshal(body, into); err != nil {
		return invalid(err)
	}
	if err := contract.Validate(into); err != nil {
		return invalid(err)
	}
	return nil
}

// attributes are those of an envelope, by the names of their headers. There are a dozen: looking through them is quicker than
// a map, and every message of a stream has its own.
type attributes []attribute

type attribute struct{ name, value string }

func (all attributes) get(name string) string {
	for i := range all {
		if all[i].name == name {
			return all[i].value
		}
	}
	return ""
}

// fill takes the envelope's attributes over what stands in for them.
func (e *Event) fill(all attributes) error {
	take := func(name string, into *string) {
		if v := all.get(name); v != "" {
			*into = v
		}
	}
	take(HeaderID, &e.ID)
	e.LoopID = e.ID
	take(HeaderLoopID, &e.LoopID)
	take(HeaderSource, &e.Source)
	take(HeaderSubject, &e.Subject)
	take(HeaderTraceParent, &e.TraceParent)
	take(HeaderTraceState, &e.TraceState)
	if v := all.get(HeaderSpecVersion); v != "" && v != specVersion {
		return fault.At(HeaderSpecVersion, "only CloudEvents 1.0 is understood")
	}
	if v := all.get(HeaderType); v != "" && v != e.Type {
		return fault.At(HeaderType, "contradicts the subject %s", e.Type)
	}
	if err := takeTime(all, HeaderTime, &e.Time); err != nil {
		return err
	}
	e.LoopStart = e.Time
	return takeTime(all, HeaderLoopStart, &e.LoopStart)
}

func takeTime(all attributes, name string, into *time.Time) error {
	v := all.get(name)
	if v == "" {
		return nil
	}
	t, err := time.Parse(time.RFC3339Nano, v)
	if t = t.UTC(); err != nil || t.IsZero() || t.Year() < 1 || t.Year() > 9999 { // a zone moves even years over the edge
		return fault.At(name, "must be a time as in 2026-07-24T09:30:00Z")
	}
	*into = t
	return nil
}

// unwrap gives the attributes under their header names and the bare body, from either mode of the NATS binding.
func unwrap(header nats.Header, body []byte) (attributes, []byte, error) {
	all := make(attributes, 0, len(header))
	for name, values := range header {
		name = strings.ToLower(name)
		if len(values) == 0 || !(strings.HasPrefix(name, "ce-") || name == HeaderContentType ||
			name == HeaderTraceParent || name == HeaderTraceState) {
			continue
		}
		value, err := unescape(textproto.TrimString(values[0]))
		if err != nil {
			return nil, nil, fault.At(contract.Shown(name), "%w", err)
		}
		all = append(all, attribute{name, value})
	}
	mediaType := all.get(HeaderContentType)
	if mediaType != contentJSON { // as nearly all are
		if parsed, _, err := mime.ParseMediaType(mediaType); err == nil {
			mediaType = parsed
		}
	}
	switch {
	case strings.HasPrefix(mediaType, structuredMode+"-batch"):
		return nil, nil, fault.At(HeaderContentType, "batches are not understood: publish one event a message")
	case strings.HasPrefix(mediaType, structuredMode):
		return unwrapStructured(body)
	}
	return all, body, nil
}

// unwrapStructured reads an event whose envelope is in the body (CloudEvents JSON format).
func unwrapStructured(body []byte) (attributes, []byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, nil, fault.New(fault.Invalid, "the body is not the JSON of a structured CloudEvent")
	}
	all := make(attributes, 0, len(fields))
	for name, raw := range fields {
		if name == "data" {
			continue
		}
		if name == "data_base64" {
			return nil, nil, fault.At(name, "binary data is not understood: data must be a JSON object")
		}
		var value string
		if err := json.Unmarshal(raw, &value); err != nil {
			return nil, nil, fault.At(contract.Shown(name), "must be a string")
		}
		if name != HeaderTraceParent && name != HeaderTraceState {
			name = "ce-" + name
		}
		all = append(all, attribute{name, value})
	}
	return all, fields["data"], nil
}

const upperHex = "0123456789ABCDEF"

// escape writes a header value as the CloudEvents bindings ask: what is not visible ASCII, and space, quote and
// percent, as percent-encoded UTF-8.
func escape(value string) string {
	var b strings.Builder
	for i := range len(value) {
		c := value[i]
		if c <= ' ' || c > '~' || c == '"' || c == '%' {
			b.WriteByte('%')
			b.WriteByte(upperHex[c>>4])
			b.WriteByte(upperHex[c&15])
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// unescape reads what escape wrote, and what lenient writers do: quotes around the value, lower-case hex, characters
// encoded without need. A percent sign that begins no encoding stands for itself.
func unescape(value string) (string, error) {
	if !strings.ContainsAny(value, `%"`) && utf8.ValidString(value) { // as nearly all are
		return value, nil
	}
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(value[1 : len(value)-1])
	}
	out := make([]byte, 0, len(value))
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			if encoded, err := hex.DecodeString(value[i+1 : i+3]); err == nil {
				out = append(out, encoded...)
				i += 2
				continue
			}
		}
		out = append(out, value[i])
	}
	if !utf8.Valid(out) {
		return "", fmt.Errorf("is not UTF-8")
	}
	return string(out), nil
}
