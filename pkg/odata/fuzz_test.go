package odata_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/outbound/outboundtest"
	"github.com/closeloop/closeloop/pkg/settings"
)

// row is an entity with a field of each type that SAP sends.
type row struct {
	ID     string
	At     odata.DateTimeOffset
	Day    odata.DateTime
	Amount odata.Decimal
	Parts  odata.Array[struct{ ID string }]
}

// FuzzAnswer holds that whatever a service answers, alone or in a batch, becomes entities that are written and read again
// unchanged, or a fault of a known class without anything personal; and that reading ends.
func FuzzAnswer(f *testing.F) {
	const entity = `{"ID":"1","At":"/Date(1784885400000+0120)/","Day":"2026-07-24T09:30:00","Amount":"1.50","Parts":{"results":[{"ID":"a"}]}}`
	const lines = "--b\r\nContent-Type: application/http\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"d\":{\"results\":[" + entity + "]}}\r\n" +
		"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nContent-Type: application/http\r\nContent-ID: 1\r\n\r\nHTTP/1.1 201 Created\r\n\r\n{\"d\":" + entity + "}\r\n--c--\r\n\r\n--b--\r\n"
	for _, s := range []struct {
		status            int
		contentType, body string
	}{
		{200, "application/json", `{"d":` + entity + `}`}, {200, "application/json", `{"d":{"results":[` + entity + `],"__count":"1","__next":"Rows?$skiptoken=1"}}`},
		{200, "application/json", `{"d":[` + entity + `]}`}, {200, "application/json", `{"d":{"results":` + entity + `}}`}, {200, "application/json", `{"d":{"Parts":{"__deferred":{}}}}`},
		{200, "application/json", `{"d":{"__next":"http://evil.example/a b","results":[]}}` + outboundtest.Next + `{"d":{"results":""}}`}, {200, "application/json", `{"d":null}`},
		{200, "application/json", `{"d":{"At":"/Date(9223372036854775807+99999)/","Day":"/Date(-99999999999999999)/","Amount":1e5}}`}, {200, "application/json", `{"d":{"At":"9999-12-31T23:59:59-23:59","Amount":"NaN"}}`},
		{400, "application/json", `{"error":{"code":"X/001","message":{"lang":"en","value":"Ada Lovelace is not known"},"innererror":{"errordetails":[{"message":"more"}]}}}`},
		{400, "application/xml", `<error><code>X</code><message xml:lang="en">Ada Lovelace</message></error>`}, {403, "text/plain", "CSRF token validation failed"}, {423, "", "Record is locked by MILLER"}, {400, "text/plain", "not secret-PASSWORD"},
		{202, "multipart/mixed; boundary=b", lines}, {202, "multipart/mixed; boundary=b", strings.Replace(lines, "201 Created", "400 Bad", 1)}, {202, "multipart/mixed; boundary=b", lines[:len(lines)-4]},
		{202, "multipart/mixed; boundary=b", strings.Replace(lines, "HTTP/1.1 200 OK", "HTTP/1.1 99", 1)}, {202, "multipart/mixed", "--\r\n"}, {202, `multipart/mixed; boundary="b`, "--b--"}, {202, "multipart/mixed; boundary=b", "--b--"},
	} {
		f.Add(s.status, s.contentType, []byte(s.body))
	}
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte) {
		ask := func(session bool, do func(*odata.Client) error, personal ...string) {
			t.Helper()
			vendor := outboundtest.Of(t, status, contentType, "", body)
			c, err := odata.New(odata.Options{Outbound: vendor.Client(""), ServiceRoot: "/odata", NoCSRF: !session, Username: "u", Password: settings.SecretOf("secret-password")})
			if err != nil {
				t.Fatal(err)
			}
			err = do(c)
			outboundtest.Sound(t, err, personal...)
			vendor.Silent(err, "secret-password")
		}
		ask(true, func(c *odata.Client) error { return c.Put(t.Context(), "put", "Rows('1')", row{}) })
		ask(false, func(c *odata.Client) error {
			for one, err := range odata.Pages[row](t.Context(), c, "list", "Rows", url.Values{}, 10) {
				if err != nil {
					return err
				}
				wantWritten(t, one)
			}
			return nil
		})
		ask(false, func(c *odata.Client) error {
			var one row
			err := c.Create(t.Context(), "create", "Rows", row{}, &one, "Ada Lovelace")
			if err == nil {
				wantWritten(t, one)
			} else if class := fault.From(err).Class; class == fault.Transient && outbound.StatusOf(err) < 300 && outbound.StatusOf(err) > 0 {
				t.Errorf("a write that was done is %s: %v", class, err) // it would be done again
			}
			return err
		}, "Ada Lovelace")
		ask(false, func(c *odata.Client) error {
			var read odata.List[row]
			var made row
			errs, err := c.Batch(t.Context(), "batch", []odata.Step{
				{{Path: "Rows", Into: &read}}, {{Method: http.MethodPost, Path: "Rows", Body: row{}, Into: &made}},
			}, "Ada Lovelace")
			if err == nil && len(errs) != 2 {
				t.Errorf("%d outcomes of 2 steps", len(errs))
			}
			for _, err := range errs {
				outboundtest.Sound(t, err, "Ada Lovelace")
			}
			return err
		}, "Ada Lovelace")
	})
}

// wantWritten holds that what was read can be written, and says the same then to the millisecond.
func wantWritten(t *testing.T, read row) {
	t.Helper()
	written, err := json.Marshal(read)
	if err != nil {
		t.Fatalf("read, but cannot be written: %v", err)
	}
	var back row
	if err := json.Unmarshal(written, &back); err != nil {
		t.Fatalf("written, but cannot be read: %v in %s", err, written)
	}
	again, err := json.Marshal(back)
	if err != nil || !bytes.Equal(again, written) {
		t.Errorf("%s, was %s: %v", again, written, err)
	}
	for _, at := range []time.Time{read.At.Time, read.Day.Time} {
		if year := at.UTC().Year(); year < 1 || year > 9999 {
			t.Errorf("%s cannot be said in an event", at)
		}
	}
}
