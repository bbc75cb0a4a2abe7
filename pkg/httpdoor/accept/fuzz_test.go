package accept_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/httpdoor/accept"
	"github.com/closeloop/closeloop/pkg/httpdoor/doortest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// routes are doors of the services that take an event's body, as JSON or as a form.
var routes = []struct{ path, subject string }{
	{"/c4c/task", subjects.FeedbackDeliveryLate}, {"/awardco/recognitions", subjects.RecognitionRequested},
	{"/qualtrics/responses", subjects.SurveyResponseReceived}, {"/sap/interactions", subjects.SurveyLinkCreated},
}

// links is the door that takes a list.
const links = "/survey/links"

const bodyLimit = 4 << 10

func doorWith(store *doortest.Store, fields httpdoor.FieldMaps) *httpdoor.Door {
	door := httpdoor.New(httpdoor.Options{BodyLimit: bodyLimit, Credentials: httpdoor.Credentials{None: true}})
	events := &accept.Events{Source: "test", Bus: store}
	for _, route := range routes {
		door.Handle(http.MethodPost, route.path, httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
			c, _ := subjects.Find(route.subject)
			m := c.New()
			if err := httpdoor.Decode(r, m, fields[route.path]); err != nil {
				return nil, err
			}
			return events.One(ctx, r, route.subject, m)
		})
	}
	door.Handle(http.MethodPost, links, httpdoor.Guarded, func(ctx context.Context, r *httpdoor.Request) (*httpdoor.Response, error) {
		ms, err := httpdoor.DecodeMany[*eventsv1.SurveyLinkRequested](r, nil, 3)
		if err != nil {
			return nil, err
		}
		return accept.Many(ctx, events, r, subjects.SurveyLinkRequested, ms)
	})
	return door
}

// FuzzDoor holds what a door promises (see doortest) of every request that brings an event's body, in any encoding, with
// any field map, and that waiting is within bounds.
func FuzzDoor(f *testing.F) {
	const task = `{"responseId":"R_1","subject":"late","text":"Ada Lovelace ada@example.com https://x.example/y","dueAt":""}`
	const form = "--b\r\nContent-Disposition: form-data; name=\"responseId\"\r\n\r\nR_1\r\n--b\r\nContent-Disposition: form-data; name=\"subject\"\r\n\r\nlate\r\n--b--\r\n"
	const maps = "/c4c/task:\n  complaint: text\n  who.is: accountId\n/awardco/recognitions:\n  rep: recipient.email\n"
	for _, s := range []struct {
		which                     byte
		contentType, prefer, body string
	}{
		{0, "application/json", "wait=1", task}, {0, "application/json; charset=latin1", "respond-async, wait=\"99999999999\"", `{"responseId":"R_1","subject":"s","complaint":"x","who":{"is":"1"}}`},
		{0, "application/x-www-form-urlencoded", "wait=-1", "responseId=R_1&subject=late&complaint=Ada+Lovelace&text=x"}, {0, "application/x-www-form-urlencoded", "", "responseId=%FF&subject=%zz;a"},
		{0, `multipart/form-data; boundary=b`, "", form}, {0, "multipart/form-data", "", form}, {0, `multipart/form-data; boundary=b`, "", strings.Replace(form, `name="subject"`, `name="f"; filename="ada@example.com"`, 1)},
		{1, "application/json", "", `{"responseId":"R_1","recipient":{"email":"rep@example.com"},"score":1e400,"amount":"NaN"}`}, {1, "application/x-www-form-urlencoded", "", "responseId=R&rep=ada@example.com&score=5&recipient=x&recipient.email=a@b.example"},
		{1, "application/x-www-form-urlencoded", "", "responseId=R&recipient.name=Ada&amount=-0&score=0x10"}, {2, "application/json", "", `{"responseId":"R_1","values":{"a":[{"b":null}],"QID1":"x"},"requestId":"r"}`},
		{2, "application/x-www-form-urlencoded", "", "responseId=R_1&values.QID1=x&values.a.b=y&recordedAt=2026-07-24T09:30:00Z&labels=z"}, {3, "application/json", "", `{"requestId":"r","link":"https://x.example/y?Q_DL=1","expiresAt":"ada@example.com"}`},
		{4, "application/json", "wait=61", `[{"requestId":"r","contact":{"email":"ada@example.com"}},{"requestId":"s","contact":{"email":"https://ada@x"}}]`}, {4, "application/json", "", "[]"}, {4, "application/json", "", "[{},{},{},{}]"},
		{4, "application/json", "", `{"requestId":"r","contact":{"email":"ada@example.com"},"transaction":{"occurredAt":"9999-12-31T23:59:59-23:59","data":{"a":1e300}}}`}, {0, "", "", ""}, {0, "text/plain", "", task},
		{0, "application/json", "", strings.Repeat("x", bodyLimit+1)}, {0, "application/json", "", strings.Repeat("[", bodyLimit)},
	} {
		f.Add(s.which, s.contentType, s.prefer, []byte(s.body), []byte(maps))
	}
	for _, file := range []string{"a: &a [*a]", "/c4c/task: {x: &y text, z: *y}", "/c4c/task:\n  a: values.b\n", "- /c4c/task", "/c4c/task: {a: text, b: text, text: subject}", "/c4c/task:\n\t", "? {a: b}\n: c", "!!binary x"} {
		f.Add(byte(0), "application/json", "", []byte(task), []byte(file))
	}
	f.Fuzz(func(t *testing.T, which byte, contentType, prefer string, body, file []byte) {
		path := filepath.Join(t.TempDir(), "fields.yaml")
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		fields, err := httpdoor.LoadFieldMaps(path, httpdoor.MappedRoutes)
		if err != nil && !strings.HasPrefix(err.Error(), "DOOR_FIELDS_FILE: ") {
			t.Errorf("does not name the setting: %v", err)
		}
		store := &doortest.Store{}
		to := links
		if n := int(which) % (len(routes) + 1); n < len(routes) {
			to = routes[n].path
		}
		header := http.Header{"Content-Type": {contentType}, "Prefer": {prefer}}
		answer := doortest.Knock(t, doorWith(store, fields), store, http.MethodPost, to, header, body)
		if len(body) > bodyLimit && answer.Code < 400 {
			t.Errorf("took %d bytes", len(body))
		}
		if stored := store.Events(); answer.Code == http.StatusAccepted && len(stored) == 0 || answer.Code < 400 && answer.Code != http.StatusAccepted {
			t.Errorf("answered %d, and stored %d", answer.Code, len(stored))
		}
		r := &httpdoor.Request{Header: header}
		if wait := r.Wait(); wait < 0 || wait > httpdoor.MaxWait {
			t.Errorf("waits %s", wait)
		}
	})
}
