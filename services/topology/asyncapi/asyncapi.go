// Package asyncapi writes the AsyncAPI 3 document of closeloop's events from the contracts and the topology.
package asyncapi

import (
	"io"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// object keeps its keys in the order in which they were written, so that the document is the same every time.
type object = yaml.MapSlice

func put(o object, key string, value any) object {
	return append(o, yaml.MapItem{Key: key, Value: value})
}

// Write writes the document. What AsyncAPI has no words for stands in x- fields: stream, durables and the key by which
// JetStream recognises a repeat.
func Write(w io.Writer, t topology.Topology) error {
	var channels, operations, messages, schemas object
	seen := map[protoreflect.FullName]bool{}
	for _, c := range subjects.All {
		message := c.New().ProtoReflect().Descriptor()
		name := string(message.Name())
		channels = put(channels, c.Subject, channel(t, c, name))
		for _, s := range t.Services {
			if about(s.Publishes, c.Subject) {
				operations = put(operations, s.Name+" publishes "+c.Subject, operation("send", c.Subject))
			}
			if about(s.Takes, c.Subject) {
				operations = put(operations, s.Name+" takes "+c.Subject, operation("receive", c.Subject))
			}
		}
		if !seen[message.FullName()] {
			messages = put(messages, name, object{
				{Key: "name", Value: name},
				{Key: "contentType", Value: "application/json"},
				{Key: "headers", Value: ref("schemas", "Envelope")},
				{Key: "payload", Value: ref("schemas", name)},
			})
		}
		schemas = addSchemas(schemas, seen, message)
	}
	schemas = append(object{{Key: "Envelope", Value: envelope()}}, schemas...)
	document := object{
		{Key: "asyncapi", Value: "3.0.0"},
		{Key: "info", Value: object{
			{Key: "title", Value: "closeloop events"},
			{Key: "version", Value: "1.0.0"},
			{Key: "description", Value: "What closeloop's services say to each other over NATS JetStream. Made by `topology asyncapi`."},
			{Key: "license", Value: object{{Key: "name", Value: "Apache-2.0"}}},
		}},
		{Key: "defaultContentType", Value: "application/json"},
		{Key: "servers", Value: object{{Key: "nats", Value: object{
			{Key: "host", Value: "localhost:4222"}, {Key: "protocol", Value: "nats"},
		}}}},
		{Key: "channels", Value: channels},
		{Key: "operations", Value: operations},
		{Key: "components", Value: object{{Key: "messages", Value: messages}, {Key: "schemas", Value: schemas}}},
	}
	return yaml.NewEncoder(w, yaml.IndentSequence(true)).Encode(document)
}

// about tells whether any of the declared subjects belongs to the channel of a subject. Either may be feedback.*; a
// declared subject without a channel of its own belongs to that one.
func about(declared []string, subject string) bool {
	return slices.ContainsFunc(declared, func(d string) bool {
		own := slices.ContainsFunc(subjects.All, func(c subjects.Contract) bool { return c.Subject == d })
		return d == subject || covers(d, subject) || !own && covers(subject, d)
	})
}

func covers(pattern, subject string) bool {
	prefix, wild := strings.CutSuffix(pattern, "*")
	return wild && strings.HasPrefix(subject, prefix)
}

func ref(kind, name string) object {
	return object{{Key: "$ref", Value: "#/components/" + kind + "/" + name}}
}

func operation(action, subject string) object {
	return object{
		{Key: "action", Value: action},
		// A slash or tilde in a channel's key would have to be escaped; subjects have neither.
		{Key: "channel", Value: object{{Key: "$ref", Value: "#/channels/" + subject}}},
	}
}

func channel(t topology.Topology, c subjects.Contract, message string) object {
	var durables []string
	for _, s := range t.Services {
		if about(s.Takes, c.Subject) {
			durables = append(durables, s.Name)
		}
	}
	o := object{
		{Key: "address", Value: strings.ReplaceAll(c.Subject, "*", "{topic}")},
		{Key: "description", Value: c.Doc},
	}
	if strings.Contains(c.Subject, "*") {
		o = put(o, "parameters", object{{Key: "topic", Value: object{{Key: "description", Value: "chosen by a rule"}}}})
	}
	o = put(o, "messages", object{{Key: message, Value: ref("messages", message)}})
	o = put(o, "x-jetstream-stream", topology.Events)
	if len(durables) > 0 {
		o = put(o, "x-jetstream-durables", durables)
	}
	return put(o, "x-deduplication-key", c.Subject+"/<business key>")
}

func envelope() object {
	text := func(doc string) object {
		return object{{Key: "type", Value: "string"}, {Key: "description", Value: doc}}
	}
	return object{
		{Key: "type", Value: "object"},
		{Key: "description", Value: "CloudEvents 1.0 in binary mode, as NATS headers. Every header may be missing: what is missing is filled in."},
		{Key: "properties", Value: object{
			{Key: "ce-specversion", Value: object{{Key: "const", Value: "1.0"}}},
			{Key: "ce-id", Value: text("id of the event; default: stream and sequence")},
			{Key: "ce-source", Value: text("the service that published it")},
			{Key: "ce-type", Value: text("equals the subject")},
			{Key: "ce-time", Value: text("when it happened, RFC 3339")},
			{Key: "ce-subject", Value: text("the business key")},
			{Key: "ce-loopid", Value: text("the loop that it belongs to; default: ce-id")},
			{Key: "ce-loopstart", Value: text("when the loop's first event happened, RFC 3339; default: ce-time")},
			{Key: "content-type", Value: object{{Key: "const", Value: "application/json"}}},
			{Key: "Nats-Msg-Id", Value: text("the deduplication key: the same is stored once within two minutes")},
			{Key: "traceparent", Value: text("W3C trace context; counts as the parent where it is of the loop's own trace")},
		}},
	}
}

func addSchemas(schemas object, seen map[protoreflect.FullName]bool, m protoreflect.MessageDescriptor) object {
	if seen[m.FullName()] {
		return schemas
	}
	seen[m.FullName()] = true
	var properties object
	var nested []protoreflect.MessageDescriptor
	fields := m.Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		property, inner := schema(f)
		properties = put(properties, f.JSONName(), property)
		if inner != nil {
			nested = append(nested, inner)
		}
	}
	schemas = put(schemas, string(m.Name()), object{
		{Key: "type", Value: "object"},
		{Key: "additionalProperties", Value: false},
		{Key: "properties", Value: properties},
	})
	for _, n := range nested {
		schemas = addSchemas(schemas, seen, n)
	}
	return schemas
}

// schema gives the JSON schema of a field by the protobuf JSON mapping, and the message that it refers to.
func schema(f protoreflect.FieldDescriptor) (object, protoreflect.MessageDescriptor) {
	if f.IsMap() {
		value, inner := kindSchema(f.MapValue())
		return object{{Key: "type", Value: "object"}, {Key: "additionalProperties", Value: value}}, inner
	}
	if f.IsList() {
		items, inner := kindSchema(f)
		return object{{Key: "type", Value: "array"}, {Key: "items", Value: items}}, inner
	}
	return kindSchema(f)
}

func kindSchema(f protoreflect.FieldDescriptor) (object, protoreflect.MessageDescriptor) {
	switch f.Kind() {
	case protoreflect.MessageKind:
		switch f.Message().FullName() {
		case "google.protobuf.Timestamp":
			return object{{Key: "type", Value: "string"}, {Key: "format", Value: "date-time"}}, nil
		case "google.protobuf.Value":
			return object{{Key: "description", Value: "any JSON value"}}, nil
		}
		return ref("schemas", string(f.Message().Name())), f.Message()
	case protoreflect.DoubleKind, protoreflect.FloatKind:
		return object{{Key: "type", Value: "number"}}, nil
	case protoreflect.BoolKind:
		return object{{Key: "type", Value: "boolean"}}, nil
	}
	return object{{Key: "type", Value: "string"}}, nil
}
