package tasker

import (
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/odata"
	"github.com/closeloop/closeloop/pkg/outbound/outboundtest"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/c4c-tasker/sales"
	"github.com/closeloop/closeloop/services/c4c-tasker/salescloud"
	"github.com/closeloop/closeloop/services/c4c-tasker/salescloud2"
)

// FuzzAnswer holds that whatever SAP Sales Cloud answers, in either version, is read or becomes a fault of a known class
// without anything personal; that a task which may exist is never made again blindly; and that reading ends.
func FuzzAnswer(f *testing.F) {
	const task = `{"ObjectID":"00163E","ID":"40211","Subject":"late [R_1]","ParentObjectID":"00163E","Text":"Ada Lovelace"}`
	for _, s := range []struct {
		version byte
		status  int
		body    string
	}{
		{0, 201, `{"d":{"results":` + task + `}}`}, {0, 200, `{"d":{"results":[` + task + `,{"ObjectID":7}]}}`}, {0, 200, `{"d":{"results":[],"__next":"x"}}`}, {0, 200, `{"d":{}}`}, {0, 201, `{"d":{"ObjectID":""}}`}, {0, 201, ""}, {0, 200, `{"d":{"results":[{"Code":"1"},{"Code":null}]}}`},
		{0, 400, `{"error":{"code":"X","message":{"value":"Business partner 1000123 does not exist; Ada Lovelace late"}}}`}, {0, 404, `<error><message>Ada Lovelace</message></error>`}, {0, 400, `{"error":{"message":{"value":"Document is locked by user ADA"}}}`}, {0, 500, "Ada Lovelace"}, {0, 501, ""}, {0, 200, "<html>"},
		{1, 201, `{"value":{"id":"a","displayId":"40211","description":"x [R_1]","content":"Ada Lovelace"}}`}, {1, 200, `{"value":[{"id":"a","description":"x [R_1]","content":"Ada Lovelace"}]}`}, {1, 200, `{"value":[{"description":"other"}]}`}, {1, 400, `{"error":{"code":"X","message":"accountId 1000123 Ada Lovelace","details":[{"message":"contact"}]}}`},
		{2, 200, `{"value":{"access_token":"secret-token","expires_in":1e300}}` + outboundtest.Next + `{"value":{"id":"a"}}`}, {2, 200, `{"token":"a\nb"}`}, {2, 200, `{"access_token":"secret-token","expires_in":-5}` + outboundtest.Next + `{}`}, {2, 401, `{"value":7}`}, {1, 400, "secret-Password"},
	} {
		f.Add(s.version, s.status, []byte(s.body))
	}
	t1 := sales.Task{Reference: "R_1", Subject: "late at Lovelace", Text: "Ada Lovelace", AccountID: "1000123", ContactID: "1000456", Priority: "1"}
	f.Fuzz(func(t *testing.T, version byte, status int, content []byte) {
		var vendor *outboundtest.Vendor
		cloud := func() sales.Cloud {
			vendor = outboundtest.Of(t, status, "application/json", "", content)
			if version%3 > 0 {
				return salescloud2.New(vendor.Client(""), salescloud2.Options{
					Username: "u", Password: settings.SecretOf("secret-password"), Token: version%3 == 2, NotesPath: "/n/{id}", FindQuery: "q={marker}", BaseURL: "https://vendor.example",
				})
			}
			session, err := odata.New(odata.Options{Outbound: vendor.Client(""), ServiceRoot: "/odata", NoCSRF: true})
			if err != nil {
				t.Fatal(err)
			}
			return salescloud.New(session, salescloud.Options{
				Priority: "3", Status: "1", TextType: "10002", Language: "E", Zone: "UTC", SeparateTexts: true, Lists: salescloud.ListsLenient, Lookup: salescloud.LookupBefore,
			})
		}
		sound := func(err error) {
			t.Helper()
			outboundtest.Sound(t, err)
			vendor.Silent(err, "secret-password", "secret-token")
		}
		created, err := cloud().Create(t.Context(), t1)
		sound(err)
		if (err == nil) != (created.ObjectID != "") {
			t.Errorf("made %+v, and %v", created, err)
		}
		if err != nil && strings.Contains(err.Error(), "Ada Lovelace") && !strings.Contains(err.Error(), "fetch token") { // which tells nobody of her
			t.Errorf("repeats the text: %v", err)
		}
		if version%3 < 2 && (status < 300 || status > 999) && fault.Is(err, fault.Transient) {
			t.Errorf("it may have been made, and would be again: %v", err)
		}
		known, found, err := cloud().Find(t.Context(), t1)
		sound(err)
		if found && (err != nil || !strings.Contains(string(content), "R_1") && !strings.Contains(string(content), `\u`)) {
			t.Errorf("found %+v in %s, and %v", known, content, err)
		}
		_, _, err = cloud().FindText(t.Context(), sales.Created{ObjectID: "00163E"}, t1)
		sound(err)
		_, err = cloud().AddText(t.Context(), sales.Created{ObjectID: "00163E"}, t1)
		sound(err)
		sound(cloud().Check(t.Context(), t1))
		wrong, err := cloud().Settings(t.Context())
		if several, ok := err.(interface{ Unwrap() []error }); ok {
			for _, one := range several.Unwrap() {
				sound(one)
			}
		}
		for _, w := range wrong {
			if !strings.Contains(w, "C4C_") {
				t.Errorf("names no setting: %q", w)
			}
		}
	})
}
