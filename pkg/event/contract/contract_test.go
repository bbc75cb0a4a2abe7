package contract_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/closeloop/closeloop/pkg/event/contract"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
)

func TestUnmarshalReadsTheProtobufJSONMapping(t *testing.T) {
	body := `{"surveyId":"SV_1","response_id":"R_1","recordedAt":"2026-07-24T09:30:00Z",
		"values":{"csat":5,"why":"fine","none":null,"many":[1,{"a":2}]}}`
	got := &eventsv1.SurveyResponseReceived{}
	if err := contract.Unmarshal([]byte(body), got); err != nil {
		t.Fatal(err)
	}
	if got.GetResponseId() != "R_1" || got.GetRecordedAt().AsTime().Hour() != 9 || len(got.GetValues()) != 4 {
		t.Errorf("read %v", got)
	}
}

func TestUnmarshalNamesTheFieldAndNeverTheValue(t *testing.T) {
	const secret = "ada@example.com"
	tests := []struct {
		name, body, field, message string
		into                       proto.Message
	}{
		{name: "empty", body: " \n", message: "the body is empty"},
		{name: "cut off", body: `{"requestId":"A"`, message: "the body is not JSON from line 1, column 16"},
		{name: "comma at the end", body: "{\n \"requestId\": \"ä\",\n}", message: "the body is not JSON from line 3, column 1"},
		{name: "two documents", body: `{} {}`, message: "the body is not JSON from line 1, column 4"},
		{name: "not UTF-8", body: "{\"requestId\":\"\xff\"}", message: "the body is not UTF-8"},
		{name: "a list", body: `["` + secret + `"]`, message: "the body must be a JSON object"},
		{name: "a string", body: `"` + secret + `"`, message: "the body must be a JSON object"},
		{name: "unknown field", body: `{"requestID":"A"}`, field: "requestID",
			message: "is not a known field; known here: requestId, contact, transaction, survey, campaign"},
		{name: "unknown field below", body: "{\"requestId\":\"ä\",\n\"contact\":{\"externalId\":\"ü\",\"emial\":\"" + secret + `"}}`,
			field: "contact.emial", message: "is not a known field; known here: externalId, email, firstName, " +
				"lastName, phone, language, attributes"},
		{name: "address as a name", body: `{"` + secret + `":1}`, field: "(name not shown)",
			message: "is not a known field; known here: requestId, contact, transaction, survey, campaign"},
		{name: "twice", body: `{"contact":{"email":"` + secret + `","email":"b"}}`, field: "contact.email", message: "is there twice"},
		{name: "twice, once null", body: `{"contact":{"email":null,"email":"b"}}`, field: "contact.email", message: "is there twice"},
		{name: "twice under both names", body: `{"request_id":"A","requestId":"B"}`, field: "requestId", message: "is there twice"},
		{name: "map key twice", body: `{"contact":{"attributes":{"a.b":"1","a.b":"2"}}}`, field: "contact.attributes.a.b", message: "is there twice"},
		{name: "twice in a free value", body: `{"transaction":{"data":{"o":{"k":1,"k":2}}}}`, field: "transaction.data.o.k", message: "is there twice"},
		{name: "number for string", body: `{"contact":{"email":4711}}`, field: "contact.email", message: "must be a string"},
		{name: "string for object", body: `{"contact":"` + secret + `"}`, field: "contact", message: "must be an object"},
		{name: "list for object", body: `{"contact":["` + secret + `"]}`, field: "contact", message: "must be an object"},
		{name: "list for map", body: `{"contact":{"attributes":["` + secret + `"]}}`, field: "contact.attributes", message: "must be an object"},
		{name: "object as map value", body: `{"contact":{"attributes":{"Country":{"a":1}}}}`, field: "contact.attributes.Country", message: "must be a string"},
		{name: "half a character", body: `{"requestId":"\ud800 and more"}`, field: "requestId", message: "holds what is not Unicode text"},
		{name: "empty time", body: `{"transaction":{"occurredAt":""}}`, field: "transaction.occurredAt", message: "must be a time as in 2026-07-24T09:30:00Z"},
		{name: "time of another kind", body: `{"transaction":{"occurredAt":{"a":[]}}}`, field: "transaction.occurredAt", message: "must be a time as in 2026-07-24T09:30:00Z"},
		{name: "too deep", body: `{"transaction":{"data":{"o":` + strings.Repeat("[", 10001) + strings.Repeat("]", 10001) + `}}}`,
			message: "the body is not JSON from line 1, column 10026"},
		{name: "cut in half a character", body: `{"requestId":"\ud800"}`,
			message: "the body cannot be read as SurveyLinkRequested: it is nested too deeply or ends within an escaped character"},

		{name: "word for number", body: `{"score":"` + secret + `"}`, field: "score", message: "must be a number", into: &eventsv1.RecognitionRequested{}},

		{name: "field of a list entry", into: &descriptorpb.FileDescriptorProto{},
			body: `{"messageType":[{"name":"a"},{"name":"b","field":[{"nmae":"` + secret + `"}]}]}`, field: "messageType[1].field[0].nmae",
			message: "is not a known field; known here: name, number, label, type, typeName, extendee, defaultValue, oneofIndex, jsonName, options, proto3Optional"},
		{name: "value in a list entry", into: &descriptorpb.FileDescriptorProto{}, body: `{"messageType":[{"name":"a"},{"name":7}]}`,
			field: "messageType[1].name", message: "must be a string"},
		{name: "entry of a list", into: &descriptorpb.FileDescriptorProto{}, body: `{"dependency":["a",7]}`, field: "dependency[1]", message: "must be a string"},
		{name: "string for list", into: &descriptorpb.FileDescriptorProto{}, body: `{"dependency":"` + secret + `"}`, field: "dependency", message: "must be a list"},
		{name: "fraction", into: &descriptorpb.FileDescriptorProto{}, body: `{"publicDependency":[1.5]}`, field: "publicDependency[0]", message: "must be a whole number"},
		{name: "no boolean", into: &descriptorpb.FileOptions{}, body: `{"deprecated":"yes"}`, field: "deprecated", message: "must be true or false"},
		{name: "no such name", into: &descriptorpb.FileDescriptorProto{}, body: `{"edition":"` + secret + `"}`, field: "edition",
			message: "must be one of the names that the contract lists"},
		{name: "no Base64", into: &descriptorpb.UninterpretedOption{}, body: `{"stringValue":"!"}`, field: "stringValue", message: "must be a string in Base64"},
		{name: "no duration", into: &durationpb.Duration{}, body: `"soon"`, message: "the body must be a JSON object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			into := tt.into
			if into == nil {
				into = &eventsv1.SurveyLinkRequested{}
			}
			got := violations(t, contract.Unmarshal([]byte(tt.body), into))
			want := []contract.Violation{{Field: tt.field, Message: tt.message}}
			if !slices.Equal(got, want) {
				t.Errorf("got  %q\nwant %q", got, want)
			}
			if strings.Contains(fmt.Sprint(got), secret) {
				t.Error("the value is repeated")
			}
		})
	}
}

func TestValidateListsEveryBreachUnderItsJSONName(t *testing.T) {
	m := &eventsv1.SurveyLinkRequested{
		Contact: &eventsv1.Contact{
			Email:      "nobody-at-home",
			FirstName:  strings.Repeat("x", 256),
			Attributes: map[string]string{"Country": strings.Repeat("x", 1025), "a@b.c": strings.Repeat("x", 1025)},
		},
		Survey: &eventsv1.Survey{MailingListId: "nobody-at-home"},
	}
	got := violations(t, contract.Validate(m))
	var fields []string
	for _, v := range got {
		fields = append(fields, v.Field)
		if v.Message == "" || strings.Contains(v.Message, "nobody-at-home") {
			t.Errorf("%s: %q", v.Field, v.Message)
		}
	}
	slices.Sort(fields)
	want := []string{"contact.attributes.(name not shown)", "contact.attributes.Country", "contact.email",
		"contact.firstName", "requestId", "survey.mailingListId"}
	if !slices.Equal(fields, want) {
		t.Errorf("got %q, want %q", fields, want)
	}
}

func TestValidateCountsTheEntriesOfLists(t *testing.T) {
	batch := members(t)
	body := `{"memberList":[{"mailAddress":"a@example.com"},{"mailAddress":"b"}]}`
	if err := contract.Unmarshal([]byte(body), batch); err != nil {
		t.Fatal(err)
	}
	got := violations(t, contract.Validate(batch))
	if len(got) != 1 || got[0].Field != "memberList[1].mailAddress" {
		t.Errorf("got %v", got)
	}
}

func TestValidateSaysNothingOfWhatIsRight(t *testing.T) {
	for _, m := range []proto.Message{
		&eventsv1.SurveyLinkRequested{RequestId: "A", Contact: &eventsv1.Contact{Email: "ada@example.com"}},
		&eventsv1.RecognitionRequested{ResponseId: "R_1", Recipient: &eventsv1.Recipient{}, Amount: 25},
	} {
		if err := contract.Validate(m); err != nil {
			t.Error(err)
		}
	}
}

func TestValidateRefusesWhatNoRuleCanCompute(t *testing.T) {
	m := &eventsv1.RecognitionRequested{ResponseId: "R_1", Recipient: &eventsv1.Recipient{}, Amount: 1e300}
	if got := violations(t, contract.Validate(m)); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func TestMarshalIsCompactAndReadBack(t *testing.T) {
	m := &eventsv1.OrderCompleted{ServiceOrder: "8000000123", ChangedAt: timestamppb.New(timestamppb.Now().AsTime())}
	body, err := contract.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(body), `{"serviceOrder":"8000000123","changedAt":"`) {
		t.Errorf("wrote %s", body)
	}
	back := &eventsv1.OrderCompleted{}
	if err := contract.Unmarshal(body, back); err != nil || !proto.Equal(m, back) {
		t.Errorf("read %v back, %v", back, err)
	}
}

func TestItemsSplitsListsOfObjects(t *testing.T) {
	for body, want := range map[string]int{`{"a":1}`: 1, ` [ {"a":1}, {"b":[2]} ] `: 2, `[]`: 0} {
		items, many, err := contract.Items([]byte(body))
		if err != nil || len(items) != want || many != strings.Contains(body, "[ ") && many != (body == "[]") {
			t.Errorf("%s: %q, %t, %v", body, items, many, err)
		}
	}
	for body, field := range map[string]string{"": "", "[": "", `[{},7]`: "[1]"} {
		_, _, err := contract.Items([]byte(body))
		if got := violations(t, err); got[0].Field != field {
			t.Errorf("%q: got %v", body, got)
		}
	}
}

func TestObjectKeepsNumbersAndRefusesNamesThatComeTwice(t *testing.T) {
	got, err := contract.Object([]byte(`{"n":12345678901234567890.10,"l":[{"a":null},"b",[]],"o":{}}`))
	if err != nil || fmt.Sprint(got) != "map[l:[map[a:<nil>] b []] n:12345678901234567890.10 o:map[]]" {
		t.Errorf("got %v, %v", got, err)
	}
	for body, field := range map[string]string{`{"a":1,"a":2}`: "a", `{"l":[0,{"o":{"k":1,"k":1}}]}`: "l[1].o.k", `[]`: "", `{"a`: "", "7": ""} {
		_, err := contract.Object([]byte(body))
		if got := violations(t, err); got[0].Field != field {
			t.Errorf("%s: got %v", body, got)
		}
	}
}

func TestLookupFollowsPaths(t *testing.T) {
	md := (&eventsv1.SurveyLinkRequested{}).ProtoReflect().Descriptor()
	for path, want := range map[string]string{
		"requestId":                  "requestId must be a string",
		"contact.first_name":         "contact.firstName must be a string",
		"contact":                    "contact must be an object",
		"contact.attributes":         "contact.attributes must be an object",
		"contact.attributes.A.B":     "contact.attributes.A.B must be a string",
		"transaction.data.x":         "transaction.data.x must be a value that JSON can hold",
		"transaction.occurredAt":     "transaction.occurredAt must be a time as in 2026-07-24T09:30:00Z",
		"contact.attributes.A.B.C=?": "contact.attributes.A.B.C=? must be a string",
	} {
		f, err := contract.Lookup(md, path)
		if err != nil || f.String()+" "+f.Wanted() != want {
			t.Errorf("%s: got %s %s, %v", path, f, f.Wanted(), err)
		}
	}
	for path, field := range map[string]string{"": "(name not shown)", "contact.mail": "contact.mail", "requestId.x": "requestId"} {
		_, err := contract.Lookup(md, path)
		if got := violations(t, err); got[0].Field != field {
			t.Errorf("%s: got %v", path, got)
		}
	}
}

func TestUnderMovesViolationsIntoAWhole(t *testing.T) {
	v := &contract.Violations{Fields: []contract.Violation{{Field: "contact.email", Message: "is wrong"}, {Message: "is empty"}}}
	if got := v.Under("[2]").Error(); got != "[2].contact.email: is wrong; [2]: is empty" {
		t.Error(got)
	}
	if got, ok := contract.AsViolations(fmt.Errorf("wrapped: %w", v)); !ok || got != v {
		t.Error("not found in the chain")
	}
}

func violations(t *testing.T, err error) []contract.Violation {
	t.Helper()
	v, ok := contract.AsViolations(err)
	if !ok {
		t.Fatalf("no violations but %v", err)
	}
	return v.Fields
}

// members makes a message with a list of messages, which no event has yet.
func members(t *testing.T) proto.Message {
	t.Helper()
	rule := &descriptorpb.FieldOptions{}
	proto.SetExtension(rule, validate.E_Field, validate.FieldRules_builder{
		String: validate.StringRules_builder{Email: new(true)}.Build(),
	}.Build())
	file := &descriptorpb.FileDescriptorProto{
		Name: new("members.proto"), Package: new("test"), Syntax: new("proto3"),
		Dependency: []string{"buf/validate/validate.proto"},
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: new("Batch"), Field: []*descriptorpb.FieldDescriptorProto{{
				Name: new("member_list"), JsonName: new("memberList"), Number: proto.Int32(1),
				Label: descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum(),
				Type:  descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), TypeName: new(".test.Member"),
			}}},
			{Name: new("Member"), Field: []*descriptorpb.FieldDescriptorProto{{
				Name: new("mail_address"), JsonName: new("mailAddress"), Number: proto.Int32(1), Options: rule,
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
				Type:  descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum(),
			}}},
		},
	}
	fd, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return dynamicpb.NewMessage(fd.Messages().ByName(protoreflect.Name("Batch")))
}
