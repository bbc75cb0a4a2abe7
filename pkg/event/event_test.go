package event_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

var origin = event.Origin{Stream: "EVENTS", Sequence: 42, Time: time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)}

const body = `{"responseId":"R_1","taskId":"40211"}`

func TestEncodeThenDecodeGivesTheSame(t *testing.T) {
	e, err := event.New("c4c-tasker", subjects.TaskCreated, &eventsv1.TaskCreated{ResponseId: "R_1 ä", TaskId: "1"})
	if err != nil {
		t.Fatal(err)
	}
	e.LoopID, e.TraceParent = `L "quoted" 100%`, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	e.LoopStart = e.Time.Add(-time.Hour)
	m, err := event.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	got, err := event.Decode(m.Subject, m.Header, m.Data, origin)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != e.ID || got.LoopID != e.LoopID || got.Subject != e.Subject || got.Source != e.Source ||
		!got.Time.Equal(e.Time) || !got.LoopStart.Equal(e.LoopStart) || got.TraceParent != e.TraceParent || got.Data.(*eventsv1.TaskCreated).GetResponseId() != "R_1 ä" {
		t.Errorf("got %+v\nwant %+v", got, e)
	}
	for name, values := range m.Header {
		for _, c := range []byte(values[0]) {
			if c <= ' ' || c > '~' {
				t.Errorf("header %s holds byte %#x, which is not visible ASCII", name, c)
			}
		}
	}
	if got, want := m.Header[event.HeaderLoopID][0], "L%20%22quoted%22%20100%25"; got != want {
		t.Errorf("escaped as %s, want %s", got, want)
	}
}

func TestDecodeReadsWhatLenientSendersWrite(t *testing.T) {
	structured := `{"specversion":"1.0","id":"E-1","source":"cli","type":"task.created","loopid":"L-1","time":"2026-01-02T03:04:05Z","data":` + body + `}`
	for _, c := range []struct {
		name   string
		header nats.Header
		body   string
		check  func(event.Event) bool
	}{
		{"no header at all", nil, body, func(e event.Event) bool {
			return e.ID == "EVENTS-42" && e.LoopID == "EVENTS-42" && e.Time.Equal(origin.Time) && e.LoopStart.Equal(origin.Time) && e.Subject == "R_1/"
		}},
		{"id only", nats.Header{"ce-id": {"E-1"}}, body, func(e event.Event) bool { return e.ID == "E-1" && e.LoopID == "E-1" }},
		{"any case", nats.Header{"CE-LoopID": {"L-1"}}, body, func(e event.Event) bool { return e.LoopID == "L-1" && e.ID == "EVENTS-42" }},
		{"quoted", nats.Header{"ce-loopid": {`"L \"1\""`}}, body, func(e event.Event) bool { return e.LoopID == `L "1"` }},
		{"lower-case hex and needless encoding", nats.Header{"ce-loopid": {"%4c%c3%b6"}}, body, func(e event.Event) bool { return e.LoopID == "Lö" }},
		{"lone percent", nats.Header{"ce-loopid": {"100%"}}, body, func(e event.Event) bool { return e.LoopID == "100%" }},
		{"structured", nats.Header{"Content-Type": {"Application/CloudEvents+json; charset=utf-8"}}, structured, func(e event.Event) bool {
			return e.ID == "E-1" && e.LoopID == "L-1" && e.Time.Year() == 2026 && e.Source == "cli"
		}},
		{"proto names", nil, `{"response_id":"R_1"}`, func(e event.Event) bool { return e.Data.(*eventsv1.TaskCreated).GetResponseId() == "R_1" }},
	} {
		e, err := event.Decode(subjects.TaskCreated, c.header, []byte(c.body), origin)
		if err != nil || !c.check(e) {
			t.Errorf("%s: %+v, %v", c.name, e, err)
		}
	}
}

func TestDecodeRefusesWithTheField(t *testing.T) {
	for _, c := range []struct {
		name    string
		subject string
		header  nats.Header
		body    string
		field   string
	}{
		{"unknown field", subjects.TaskCreated, nil, `{"responseId":"R_1","taskID":"1"}`, "taskID"},
		{"unknown field below", subjects.SurveyLinkRequested, nil, `{"requestId":"A","contact":{"email":"a@example.com","mail":"x"}}`, "contact.mail"},
		{"missing e-mail", subjects.SurveyLinkRequested, nil, `{"requestId":"A","contact":{"externalId":"P"}}`, "contact.email"},
		{"twice", subjects.TaskCreated, nil, `{"responseId":"R_1","responseId":"R_2"}`, "responseId"},
		{"wrong kind", subjects.TaskCreated, nil, `{"responseId":1}`, "responseId"},
		{"other type", subjects.TaskCreated, nats.Header{"ce-type": {"order.completed"}}, body, "ce-type"},
		{"other version", subjects.TaskCreated, nats.Header{"ce-specversion": {"0.3"}}, body, "ce-specversion"},
		{"no time", subjects.TaskCreated, nats.Header{"ce-time": {"yesterday"}}, body, "ce-time"},
		{"bad UTF-8", subjects.TaskCreated, nats.Header{"ce-loopid": {"%C0%A0"}}, body, "ce-loopid"},
		{"batch", subjects.TaskCreated, nats.Header{"content-type": {"application/cloudevents-batch+json"}}, "[]", "content-type"},
		{"empty", subjects.TaskCreated, nil, ``, ""},
		{"no JSON", subjects.TaskCreated, nil, `<xml/>`, ""},
		{"unknown subject", "task.deleted", nil, body, ""},
	} {
		e, err := event.Decode(c.subject, c.header, []byte(c.body), origin)
		f := fault.From(err)
		if err == nil || f.Class != fault.Invalid || f.Field != c.field || f.Reason == "" {
			t.Errorf("%s: class %s, field %q, reason %q; want invalid at %q", c.name, f.Class, f.Field, f.Reason, c.field)
		}
		if e.ID == "" || e.LoopID == "" {
			t.Errorf("%s: an event that is refused must still be traceable", c.name)
		}
		if strings.Contains(err.Error(), "example.com") {
			t.Errorf("%s: the error repeats what was sent: %v", c.name, err)
		}
	}
}

func TestSameBusinessKeySameEvent(t *testing.T) {
	make := func() event.Event {
		e, err := event.New("x", subjects.RecognitionSubmitted, &eventsv1.RecognitionSubmitted{ResponseId: "R_1", State: "SUBMITTED"})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	if first, again := make(), make(); first.ID != again.ID || first.DedupeKey() != "recognition.submitted/R_1" {
		t.Errorf("id or key differ: %s", make().DedupeKey())
	}
	if d := make().Distinct("rule"); d.ID == make().ID || d.DedupeKey() != "recognition.submitted/R_1/rule" {
		t.Errorf("distinct events must differ: %s", d.DedupeKey())
	}
}

func TestNewRefusesDataOfAnotherSubject(t *testing.T) {
	if _, err := event.New("x", subjects.TaskCreated, &eventsv1.OrderCompleted{ServiceOrder: "1"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	for _, subject := range []string{"feedback.", "feedback.a.b", "feedback.*", "feedback.>", "feedback.a b", "feedback.a\x00", "feedback.a\u00a0b", "feedback.\x8f"} {
		if _, err := event.New("x", subject, &eventsv1.FeedbackRaised{ResponseId: "R", Subject: "s"}); !fault.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v", subject, err)
		}
	}
	if _, err := event.New("x", "feedback.wrong_price", &eventsv1.FeedbackRaised{ResponseId: "R", Subject: "s"}); err != nil {
		t.Errorf("a rule's own subject: %v", err)
	}
}

func TestWhatFollowsKnowsWhenItsLoopBegan(t *testing.T) {
	began := time.Date(2026, 7, 24, 9, 0, 0, 0, time.UTC)
	for name, cause := range map[string]event.Event{
		"of an event that began it":  {ID: "L-1", LoopID: "L-1", Time: began},
		"of one that followed":       {ID: "E-2", LoopID: "L-1", Time: began.Add(time.Hour), LoopStart: began},
		"in a loop that it was told": event.Event{ID: "E-2", Time: began.Add(time.Hour), LoopStart: began}.InLoop("L-1"),
	} {
		follows, err := event.After(cause, "c4c-tasker", subjects.TaskCreated, &eventsv1.TaskCreated{ResponseId: "R_1"})
		if err != nil || !follows.LoopStart.Equal(began) || follows.LoopID != "L-1" {
			t.Errorf("%s: %s, began %s, %v", name, follows.LoopID, follows.LoopStart, err)
		}
	}
}
