package event_test

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// FuzzDecode holds that any message under any subject is an event that travels unchanged, or a fault that names what is
// wrong and repeats nothing personal; and that even then it can be traced.
func FuzzDecode(f *testing.F) {
	const link = `{"requestId":"A1","contact":{"email":"ada@example.com","attributes":{"Country":"GB"}},"transaction":{"data":{"n":1e300,"b":true,"t":"x"}}}`
	for _, s := range []struct{ subject, headers, body string }{
		{subjects.SurveyLinkRequested, "", link},
		{subjects.SurveyLinkRequested, "ce-id: 1\nCE-Time: 2026-07-24T09:30:00Z\nce-loopid: %C3%A9 x\nce-type: survey.link.requested\nce-specversion: 1.0", link},
		{subjects.SurveyLinkRequested, "content-type: application/cloudevents+json; charset=utf-8", `{"id":"1","loopid":"L","type":"survey.link.requested","specversion":"1.0","traceparent":"00-a-b-01","data":` + link + `}`},
		{subjects.SurveyLinkRequested, "ce-time: 9999-12-31T23:59:59-23:59", link}, {subjects.SurveyLinkRequested, "ce-time: 0000-01-01T00:00:00+23:59", link},
		{subjects.SurveyLinkRequested, "ce-id: \"a\\\"b\"\nce-subject: %\nce-source: %zz%41", link}, {subjects.SurveyLinkRequested, "ce-id: %FF", link},
		{subjects.SurveyLinkRequested, "content-type: application/cloudevents-batch+json", "[]"}, {subjects.SurveyLinkRequested, "content-type: application/cloudevents", `{"data_base64":"e30="}`},
		{subjects.SurveyLinkRequested, "", `{"requestId":"A","contact":{"email":"ada@example.com","attributes":{"ada@example.com":""}},"ada@example.com":1}`},
		{subjects.SurveyResponseReceived, "", `{"surveyId":"SV_1","responseId":"R_1","recordedAt":"2026-07-24T09:30:00.123456789+02:00","values":{"a":null,"b":[1,{"c":-0}],"d":"\u0000"},"labels":{"a":"x"}}`},
		{subjects.RecognitionRequested, "", `{"responseId":"R","recipient":{},"score":"Infinity","amount":1e15}`}, {subjects.RecognitionRequested, "", `{"responseId":"R","recipient":{"name":"x"},"score":"NaN","amount":-0}`},
		{"feedback.x", "", `{"responseId":"R","subject":"s","dueAt":"2026-07-24T09:30:00Z"}`}, {"feedback.a b", "", `{}`}, {"nobody.knows", "", `{}`},
		{subjects.OrderCompleted, "", `{"serviceOrder":"1","changedAt":"9999-12-31T23:59:59.999999999Z"}`}, {subjects.TaskCreated, "", "{\"responseId\":\"R\",\"url\":\"\xff\"}"},
		{subjects.TaskCreated, "", ""}, {subjects.TaskCreated, "", "[]"}, {subjects.TaskCreated, "", strings.Repeat(`{"a":`, 20000)},
		{subjects.RecognitionApproved, "", `{"responseId":"R","amount":1e400}`}, {subjects.InteractionWritten, "", `{"kind":"SURVEY_RESPONSE","responseId":"a/b*.>"}`},
	} {
		f.Add(s.subject, s.headers, []byte(s.body))
	}
	at := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, subject, headers string, body []byte) {
		header := nats.Header{}
		for line := range strings.Lines(headers) {
			name, value, _ := strings.Cut(line, ":")
			header[name] = append(header[name], value)
		}
		e, err := event.Decode(subject, header, body, event.Origin{Stream: "EVENTS", Sequence: 7, Time: at})
		if e.ID == "" || e.LoopID == "" || e.Time.IsZero() || e.Type != subject {
			t.Errorf("cannot be traced: %+v", e)
		}
		if err != nil {
			wantRefusal(t, err)
			return
		}
		wantSame(t, e)
	})
}

func wantRefusal(t *testing.T, err error) {
	t.Helper()
	f := fault.From(err)
	if f.Class != fault.Invalid || f.Reason == "" {
		t.Errorf("class %q of %q", f.Class, err)
	}
	// What holds an address or a link cannot be a name of ours, nor a word of ours about it.
	if said := f.Field + " " + f.Reason; strings.Contains(said, "@example") || strings.ContainsFunc(f.Field, unicode.IsControl) {
		t.Errorf("personal, or unfit for a header: %q", said)
	}
}

// wantSame holds that what is published of an event is that event again.
func wantSame(t *testing.T, e event.Event) {
	t.Helper()
	m, err := event.Encode(e)
	if err != nil {
		t.Fatalf("decoded, but cannot be encoded: %v", err)
	}
	for name, values := range m.Header {
		if slices.ContainsFunc(values, func(v string) bool { return strings.ContainsFunc(v, unicode.IsControl) }) {
			t.Errorf("header %s holds what would break the protocol", name)
		}
	}
	back, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{Stream: "OTHER", Sequence: 1, Time: time.Unix(0, 0)})
	if err != nil {
		t.Fatalf("encoded, but cannot be decoded: %v\n%s\n%v", err, m.Data, m.Header)
	}
	if !proto.Equal(back.Data, e.Data) {
		t.Errorf("got %v, want %v", back.Data, e.Data)
	}
	for name, is := range map[string][2]string{
		"id": {back.ID, e.ID}, "loop": {back.LoopID, e.LoopID}, "source": {back.Source, e.Source}, "subject": {back.Subject, e.Subject},
		"trace parent": {back.TraceParent, e.TraceParent}, "trace state": {back.TraceState, e.TraceState}, "key": {back.DedupeKey(), e.DedupeKey()},
	} {
		if is[0] != is[1] {
			t.Errorf("%s is %q, was %q", name, is[0], is[1])
		}
	}
	if !back.Time.Equal(e.Time) {
		t.Errorf("at %s, was %s", back.Time, e.Time)
	}
}
