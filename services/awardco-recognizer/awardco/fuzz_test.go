package awardco_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/outbound/outboundtest"
	"github.com/closeloop/closeloop/pkg/settings"
	"github.com/closeloop/closeloop/services/awardco-recognizer/awardco"
)

// FuzzAnswer holds that whatever Awardco answers is read or becomes a fault of a known class without anything personal;
// that what may have been recognised is never sent again blindly; and that our key goes to Awardco alone.
func FuzzAnswer(f *testing.F) {
	for _, s := range []struct {
		status            int
		contentType, body string
	}{
		{200, "application/json", `{"success":true,"recognitionId":7}`}, {200, "application/json", `{"success":false,"message":"Ada Lovelace rep@example.com is not known"}`}, {200, "application/json", `{"recognitionId":{"a":[1e300]}}`}, {200, "application/json", `{}`},
		{200, "application/json", `[{"recognitionId":"REC-1","tags":["#ref-R_1"],"note":"x [ref-R_1]"}]`}, {200, "application/json", `{"data":{"items":[{"id":1}]}}` + outboundtest.Next + `{"data":[]}`}, {200, "application/json", `{"users":[{"employee_id":1,"Email":"a@b.example","isArchived":"no"},7,null]}`},
		{200, "application/json", `{"taskId":7}` + outboundtest.Next + `{"status":"completed","paginatedApiBaseUrl":"https://vendor.example/r?x=1","totalPages":2}` + outboundtest.Next + "Recognition Id,Tags\nREC-1,\"a;ref-R_1\"\n"},
		{200, "application/json", `{"taskId":"../x"}` + outboundtest.Next + `{"paginatedApiBaseUrl":"https://evil.example/","totalPages":1}`}, {200, "application/json", `{"taskId":1}` + outboundtest.Next + `{"status":"error","errorCode":{},"message":"rep@example.com"}`},
		{200, "application/json", `{"taskId":1}` + outboundtest.Next + `{"status":"completed","totalPages":-1}`}, {200, "application/json", `{"taskId":1}` + outboundtest.Next + `{"status":"completed","paginatedApiBaseUrl":"https://vendor.example/","totalPages":99999999}` + outboundtest.Next + "a\n\"b"},
		{200, "text/html", "<html>"}, {400, "application/json", `{"message":"Ada Lovelace rep@example.com"}`}, {400, "application/json", `{"message":"Brewster, Grace cannot receive recognitions"}`}, {401, "", ""}, {500, "", "rep@example.com"}, {403, "text/plain", "nothing for Secret-key"}, {200, "application/json", strings.Repeat("[", 5000) + strings.Repeat("]", 5000)},
	} {
		f.Add(s.status, s.contentType, []byte(s.body))
	}
	base, err := url.Parse("https://vendor.example/api")
	if err != nil {
		f.Fatal(err)
	}
	personal := []string{"Ada Lovelace", "Brewster", "rep@example.com", "secret-key"}
	f.Fuzz(func(t *testing.T, status int, contentType string, content []byte) {
		vendor := func() *outboundtest.Vendor { return outboundtest.Of(t, status, contentType, "", content) }
		client := func() *awardco.Client {
			v := vendor()
			v.Most = 1100 // pages of users are bounded by their number
			return awardco.New(v.Client("/api"), base, settings.SecretOf("secret-key"))
		}
		r := awardco.Recognition{Reference: "R_1", Recipient: "rep@example.com", Aliases: outbound.Names("Grace Brewster"), Note: "Ada Lovelace", ProgramName: "p"}
		_, err := client().Submit(t.Context(), r)
		outboundtest.Sound(t, err, personal...)
		if (status < 300 || status > 999) && (fault.Is(err, fault.Transient) || fault.Is(err, fault.Down)) {
			t.Errorf("it may have been recognised, and would be again: %v", err)
		}
		look, err := client().Look(t.Context(), "R_1", "R_2", "")
		outboundtest.Sound(t, err, "secret-key")
		if err != nil && look.Found || look.Found && look.Whole {
			t.Errorf("found %+v, and %v", look, err)
		}
		users, err := client().Users(t.Context())
		outboundtest.Sound(t, err, "secret-key")
		seen := map[string]bool{}
		for _, u := range users {
			if u.EmployeeID == "" || seen[u.EmployeeID] {
				t.Errorf("somebody without an id, or twice: %+v", u)
			}
			seen[u.EmployeeID] = true
		}
		intake, err := awardco.NewIntake(vendor().Client("/api"), settings.SecretOf("https://vendor.example/in/secret-key"), awardco.IntakeKey{}, map[string]string{"a.b": "note"})
		if err != nil {
			t.Fatal(err)
		}
		_, err = intake.Submit(t.Context(), r)
		outboundtest.Sound(t, err, personal...)
	})
}
