package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// FuzzBook holds that whatever stands in DEADLETTERS and OPERATIONS, by whomever written, is shown: each letter in one
// state that its history explains, as JSON, and with a mended body that is refused or reads as the event it is about.
func FuzzBook(f *testing.F) {
	const body = `{"responseId":"R_1","subject":"late"}`
	for _, s := range []struct{ headers, body, record string }{
		{"Closeloop-Subject: feedback.delivery_late\nCloseloop-Class: refused\nCloseloop-Reason: no\nCloseloop-Attempts: 3\nCloseloop-Stream: EVENTS\nCloseloop-Sequence: 7", body, `{"id":"a","kind":"replay","letter":1,"by":"x","why":"y"}`},
		{"Closeloop-Subject: feedback.x\nce-time: never\nCloseloop-Sequence: -1\nCloseloop-Attempts: 99999999999999999999", body, `{"id":"a","kind":"discard","letter":1}` + "\n" + `{"id":"a","kind":"sent","failed":"no"}`},
		{"Closeloop-Subject: feedback.x\nce-id: %FF\nce-type: task.created\nCE-Time: x\nce-time: y", body, `{"kind":"look","at":"0001-01-01T00:00:00Z"}` + "\n" + `{"kind":"","letter":18446744073709551615}`},
		{"Closeloop-Replay: a\nCloseloop-First-Seen: 2026-07-24T09:30:00Z", "\xff", `{"id":"a","kind":"replay","letter":2,"body":{"a":1}}` + "\n" + `{"id":"a","kind":"replay","letter":1,"sent":"2026-07-24T09:30:00Z"}`},
		{"", "", "null"}, {"Closeloop-Subject: nobody.knows", "[]", "[]"}, {"Closeloop-Subject: task.created", strings.Repeat("[", 2000), `{"body":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`},
	} {
		f.Add(s.headers, []byte(s.body), []byte(s.record))
	}
	at := time.Date(2026, 7, 24, 9, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, headers string, body, records []byte) {
		header := nats.Header{}
		for line := range strings.Lines(headers) {
			name, value, _ := strings.Cut(line, ":")
			header[name] = append(header[name], strings.TrimSpace(value))
		}
		b, letters := newBook(newAliases("").of), 2
		for sequence := range letters {
			b.addLetter(&jetstream.RawStreamMsg{Subject: topology.DeadLetterSubject("c4c-tasker"), Sequence: uint64(sequence + 1), Header: header, Data: body, Time: at})
		}
		sequence := uint64(0)
		for record := range bytes.Lines(records) {
			sequence++
			m := &jetstream.RawStreamMsg{Subject: "operations.1", Sequence: sequence, Data: record, Time: at.Add(time.Second)}
			b.addRecord(m)
			b.addRecord(m) // what is added twice is there once
		}
		all := b.selected(func(Standing) bool { return true })
		if len(all) != letters {
			t.Fatalf("%d letters of %d", len(all), letters)
		}
		for _, s := range all {
			looked, ok := b.look(s.Sequence)
			if !ok || looked.State != s.State || len(s.Cause) != 10 {
				t.Errorf("listed as %+v, looked at as %+v", s, looked)
			}
			if s.State != Open && s.Last == nil || s.FailedAgainAs != 0 && s.FailedAgainAs <= s.Sequence {
				t.Errorf("not explained: %+v", s)
			}
			if shown, err := json.Marshal(struct {
				Standing
				History []*Operation
				Body    json.RawMessage
				Fields  []string
			}{looked, b.history(s.Letter), shownBody(body), fieldsOf(body)}); err != nil {
				t.Errorf("cannot be shown: %v in %s", err, shown)
			}
		}
		counted := 0
		for _, c := range causes(all) {
			counted += c.Open + c.Replayed + c.Discarded
		}
		if counted != letters {
			t.Errorf("%d letters in causes", counted)
		}
		mend(t, header, body)
		b.forgetLetters(func(uint64) bool { return true })
		b.forgetOperations(func(uint64) bool { return true })
		if len(b.letters)+len(b.siblings)+len(b.operations)+len(b.about)+len(b.ids)+len(b.noteIDs) != 0 {
			t.Errorf("not forgotten: %+v", b)
		}
	})
}

// mend holds what is promised of a body that a person has mended.
func mend(t *testing.T, header nats.Header, body []byte) {
	t.Helper()
	mended, err := edited(bus.Replay{Operation: "a", Service: "c4c-tasker", Letter: header, Body: []byte(`{}`)}, body)
	if err != nil {
		wantRefusal(t, err)
		return
	}
	if _, err := mended.Event(); err != nil {
		t.Errorf("taken, and its service would refuse it: %v", err)
	}
}

func wantRefusal(t *testing.T, err error) {
	t.Helper()
	if problem, ok := errors.AsType[*httpdoor.Problem](err); ok && (problem.Status < 400 || problem.Status > 499) {
		t.Errorf("got %v", err)
	}
	if strings.Contains(err.Error(), "@example") {
		t.Errorf("repeats what was sent: %v", err)
	}
}

// FuzzAsked holds that what callers ask of the desk is understood or refused with the field, and nothing personal.
func FuzzAsked(f *testing.F) {
	for _, s := range []struct{ query, body string }{
		{"state=open&limit=10&before=7&class=refused", `{"why":"mended","by":"ada","body":{"a":1}}`}, {"limit=-1", `{"ada@example.com":1}`}, {"ada@example.com=1", `{"why":{"ada@example.com":1}}`}, {"before=0&state=x", `{"sequences":["ada@example.com"]}`},
		{"limit=99999999999999999999", `{"sequences":[1,-1,1.5]}`}, {"class=ada@example.com", `{} {}`}, {"state=all", `[]`}, {"%zz", ""}, {"", `{"upTo":1e400}`}, {"", strings.Repeat(`{"body":`, 10000)},
	} {
		f.Add(s.query, []byte(s.body))
	}
	f.Fuzz(func(t *testing.T, query string, body []byte) {
		if values, err := url.ParseQuery(query); err == nil {
			asked, err := filterOf(values, newAliases("").of)
			if err != nil {
				wantRefusal(t, err)
			} else if asked.limit < 1 || asked.limit > pageMost {
				t.Errorf("a page of %d", asked.limit)
			}
		}
		r := &httpdoor.Request{ContentType: "application/json", Body: body, Header: http.Header{}, Params: map[string]string{"sequence": query}}
		if sequence, err := sequenceOf(r); err == nil && sequence == 0 {
			t.Error("no letter has the sequence 0")
		}
		var one asked
		if err := decode(r, &one); err != nil {
			wantRefusal(t, err)
		}
		var many askedMany
		if err := decode(r, &many); err != nil {
			wantRefusal(t, err)
		}
	})
}
