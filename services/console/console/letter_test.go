package console

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestAValueIsLeftOutWhereItStandsByItself(t *testing.T) {
	for _, tt := range []struct{ text, value, want string }{
		{"does not take the account nope", "nope", "does not take the account #"},
		{`"a" is no account of Anna, a`, "a", `"#" is no account of Anna, #`},
		{"nopenope nope.", "nope", "nopenope #."},
		{"über überall", "über", "# überall"},
		{"a reason", "", "a reason"},
	} {
		if got := without(tt.text, tt.value); got != tt.want {
			t.Errorf("%q without %q: %q", tt.text, tt.value, got)
		}
	}
}

func TestTheTextOfAFieldIsFoundInTheBody(t *testing.T) {
	const body = `{"contact":{"email":"x"},"members":[{"email":"y"}],"n":4,"values":{"a.b":"z"}}`
	for field, want := range map[string]string{
		"contact.email": "x", "members[0].email": "y", "members[1].email": "", "members[].email": "", "members[0]": "", "n": "", "contact": "",
		"values.a.b": "z", "contact.email.x": "", "": "",
	} {
		if got := fieldText(&jetstream.RawStreamMsg{Data: []byte(body)}, field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
		enveloped := &jetstream.RawStreamMsg{Data: []byte(`{"data":` + body + `}`), Header: nats.Header{"Content-Type": {"application/cloudevents+json"}}}
		if got := fieldText(enveloped, field); got != want {
			t.Errorf("%s in an envelope: %q, want %q", field, got, want)
		}
	}
	if got := fieldText(&jetstream.RawStreamMsg{Data: []byte("no JSON")}, "contact.email"); got != "" {
		t.Errorf("of no JSON: %q", got)
	}
}
