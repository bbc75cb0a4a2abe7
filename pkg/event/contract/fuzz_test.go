package contract_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/event/contract"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// FuzzBody holds that any body is a message that is written and read again unchanged, or violations that name a place in
// it and repeat nothing personal; and that a path leads to a field or is said to lead nowhere.
func FuzzBody(f *testing.F) {
	for i, s := range []struct{ body, path string }{
		{`{"requestId":"A","contact":{"email":"ada@example.com","firstName":1}}`, "contact.email"},
		{`{"requestId":"A","contact":{"email":"ada@example.com","email":"ada@example.com"}}`, "contact.attributes.a.b"},
		{`[{"requestId":"A"},{"contact":{"ada@example.com":{}}}]`, "transaction.data"}, {`[]`, ""}, {`[1]`, "a..b"}, {"\n\n {\"a\":\n\"\xc3\xa9\",}", "."},
		{`{"values":{"ada@example.com":{"x":NaN}},"values":{}}`, "values.ada@example.com"}, {`{"values":{"a":"\ud800"}}`, "values.a.b.c"}, {`{"score":"x","recipient":[]}`, "recipient.email"},
		{`{"url":1e999}`, "url"}, {`{"amount":123456789012345678901234567890}`, "decidedAt"}, {`{"decidedAt":"ada@example.com"}`, "decided_at"}, {`null`, "[0]"}, {`"ada@example.com"`, "values"},
		{strings.Repeat("[", 11000), "a"}, {strings.Repeat(`{"values":`, 300), "a"},
	} {
		f.Add(byte(i), []byte(s.body), s.path)
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte, path string) {
		m := subjects.All[int(which)%len(subjects.All)].New()
		md := m.ProtoReflect().Descriptor()
		if field, err := contract.Lookup(md, path); err == nil {
			_ = field.Wanted()
			if again, err := contract.Lookup(md, field.String()); err != nil || again.String() != field.String() {
				t.Errorf("%q leads to %q, which leads to %q, %v", path, field, again, err)
			}
		} else {
			wantViolations(t, err)
		}
		items, _, err := contract.Items(body)
		wantViolations(t, err)
		for _, item := range items {
			if err := contract.Unmarshal(item, m.ProtoReflect().New().Interface()); err != nil {
				wantViolations(t, err)
			}
		}
		if err := contract.Unmarshal(body, m); err != nil {
			wantViolations(t, err)
			return
		}
		wantViolations(t, contract.Validate(m))
		written, err := contract.Marshal(m)
		if err != nil {
			t.Fatalf("read, but cannot be written: %v", err)
		}
		back := m.ProtoReflect().New().Interface()
		if err := contract.Unmarshal(written, back); err != nil || !proto.Equal(back, m) {
			t.Errorf("%s: %v, was %v", written, err, m)
		}
	})
}

func wantViolations(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	v, ok := contract.AsViolations(err)
	if !ok || len(v.Fields) == 0 {
		t.Fatalf("got %T %v", err, err)
	}
	for _, f := range v.Fields {
		if f.Message == "" || strings.Contains(f.Field+f.Message, "@example") {
			t.Errorf("got %+v", f)
		}
	}
}
