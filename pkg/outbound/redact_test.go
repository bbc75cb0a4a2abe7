package outbound_test

import (
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/outbound"
)

func TestRedactMasksPersonalData(t *testing.T) {
	tests := []struct {
		name, in, want string
		personal       []string
	}{
		{"e-mail", "contact ada.nord+x@example.org, twice", "contact [e-mail], twice", nil},
		{"e-mail in angle brackets", "<ada@example.org>", "<[e-mail]>", nil},
		{"e-mail escaped", "email=ada%40example.org&x=1", "email=[e-mail]&x=1", nil},
		{"survey link", `see "https://b.eu.qualtrics.com/jfe/form/SV_1?Q_DL=a_b_CGC_1&Q_CHL=gl".`, `see "https://b.eu.qualtrics.com/[…]".`, nil},
		{"survey link without host", "at /jfe/form/SV_1?Q_DL=a now", "at [link] now", nil},
		{"URL with password", "https://u:pw@h.example/x?y=z", "https://h.example/[…]", nil},
		{"URL of a host alone", "use https://sjc1.qualtrics.com instead", "use https://sjc1.qualtrics.com instead", nil},
		{"phone, international", "call +1 (202) 555-0100 now", "call [phone] now", nil},
		{"phone, no spaces", "phone:+12025550100", "phone:[phone]", nil},
		{"phone, national", "Tel 030 1234567, 0171/1234567", "Tel [phone], [phone]", nil},
		{"phone, groups", "202-555-0100", "[phone]", nil},
		{"bearer token", "Authorization: Bearer abcDEF123.x-y_z==", "Authorization: Bearer [secret]", nil},
		{"basic", "basic dXNlcjpwYXNzd29yZA==", "basic [secret]", nil},
		{"API token", `X-API-TOKEN: q9Zk1f2m3n4o5p`, `X-API-TOKEN: [secret]`, nil},
		{"JSON token", `{"access_token": "invented-token","n":1}`, `{"access_token": "[secret]","n":1}`, nil},
		{"JWT", "got eyJhbGciOi.eyJzdWIi.c2ln back", "got [secret] back", nil},
		{"cookie", "Set-Cookie: SAP_SESSIONID_A_1=s1; path=/", "Set-Cookie: [secret]", nil},
		{"session", "SAP_SESSIONID_ABC_100=s1s2s3; x", "SAP_SESSIONID_ABC_100=[secret]; x", nil},
		{"lock", "Record locked by user John Smith; try later", "Record locked by user [user]; try later", nil},
		{"personal, any case", "ADA NORD or ada lives", "[personal] or [personal] lives", []string{"Ada", "Ada Nord"}},
		{"personal, special characters", "paid (5+5)?", "paid [personal]?", []string{"(5+5)"}},
		{"personal, too short", "Li is in", "Li is in", []string{"Li", "", "  "}},
		{"personal, spaces around", "x Größe y", "x [personal] y", []string{" größe "}},
		{"personal, not UTF-8", "abc", "[personal]", []string{"abc\xff"}},
		{"ids, dates and times stay", "Order 8000000123 of 2026-01-15 09:30:00, CID_3kd0000000000001, 0a1b2c3d-0000-4000-8000-000000000001, 0000012345",
			"Order 8000000123 of 2026-01-15 09:30:00, CID_3kd0000000000001, 0a1b2c3d-0000-4000-8000-000000000001, 0000012345", nil},
		{"plain words stay", "CSRF token validation failed: Property InteractionTyp is not known", "CSRF token validation failed: Property InteractionTyp is not known", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := outbound.Redact(test.in, test.personal...); got != test.want {
				t.Errorf("got  %q\nwant %q", got, test.want)
			}
		})
	}
}

func TestWordsAreOneRedactedLine(t *testing.T) {
	got := outbound.Words("a\r\n\x00b\tada@example.org \xff"+strings.Repeat("z", 99), 20)
	if want := "a b [e-mail] �zzzzz…"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRedactKnowsALongAnswerInEveryForm(t *testing.T) {
	answer := "The driver was rude.\nHe said \"no\" twice."
	for _, echo := range []string{
		"Text: The driver was rude. He said \"no\" twice. is too long",
		`Text {"t":"The driver was rude.\nHe said \"no\" twice."} is too long`,
		"line 2: He said \"no\" twice.",
	} {
		if got := outbound.Redact(echo, answer); strings.Contains(got, "rude") || strings.Contains(got, "twice") {
			t.Errorf("the answer shows through: %s", got)
		}
	}
}
