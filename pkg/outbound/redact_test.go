package outbound_test

import (
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

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
		{"e-mail in HTML", "ada&#64;example.org, ada&#x40;example.org, ada&amp;#64;example.org", "[e-mail], [e-mail], [e-mail]", nil},
		{"e-mail in JSON", `ada\u0040example.org`, "[e-mail]", nil},
		{"e-mail escaped twice", "ada%2540example.org", "[e-mail]", nil},
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
		{"personal, special characters", "paid (5+5)?", "paid ([personal])?", []string{"(5+5)"}},
		{"personal, two letters", "Li is in Li-Ning of Lisbon", "[personal] is in [personal]-Ning of Lisbon", []string{"Li", "", "  "}},
		{"personal, too short", "42 a, ???", "42 a, ???", []string{"a", "42", "???"}},
		{"personal, word of its own", "the customer Tom, TOM_1", "the customer [personal], [personal]_1", []string{"Tom"}},
		{"personal, within a word", "by AMILLER1", "by [personal]", []string{"Miller"}},
		{"personal, in another order", "Hopper, Grace is inactive", "[personal], [personal] is inactive", outbound.Names("Grace Hopper")},
		{"personal, without accents", "MULLER, Zoe", "[personal], [personal]", outbound.Names("Zoë Müller")},
		{"personal, composed otherwise", "Mu\u0308ller is inactive", "[personal] is inactive", []string{"Müller"}},
		{"personal, Chinese", "员工王伟不在, 客户李小龙先生抱怨", "员工[personal]不在, 客户[personal]先生抱怨", []string{"王伟", "李小龙"}},
		{"personal, end of a long text in Chinese", "值“司机非常粗鲁并且迟到了”太长", "值“[personal]”太长", []string{"昨天送货的司机非常粗鲁并且迟到了两个小时"}},
		{"personal, cut", "'My daughter Annika was very late for the b...' is too long", "'[personal]...' is too long", []string{"My daughter Annika was very late for the ball."}},
		{"personal, cut early", "'My daughte…' is too long", "'[personal]…' is too long", []string{"My daughter Annika was very late for the ball."}},
		{"personal, cut on both sides", "…Annika was very late…", "…[personal]…", []string{"My daughter Annika was very late for the ball."}},
		{"personal, name cut", "'Lovel...' or Love", "'[personal]...' or Love", []string{"Lovelace"}},
		{"personal, in pieces", "'very late' and 'the ball', by her daughter Annika was", "'very late' and 'the ball', by her [personal]", []string{"My daughter Annika was very late for the ball."}},
		{"personal, one line of several", "line 2: no way", "line 2: [personal]", []string{"Rude.\nNo way\nand late"}},
		{"personal, one answer of several", "value 'Ada Berg' is wrong", "value '[personal]' is wrong", outbound.Answers("Who: Ada Berg\nWhy: late again")},
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

func TestRedactKnowsPartsOfATextInEveryForm(t *testing.T) {
	const answer = "Zoë's driver said \"no & <never>\", then she was very angry"
	const part = "s driver said \"no & <never>\", then"
	twice := func(escape func(string) string) func(string) string {
		return func(s string) string { return escape(escape(s)) }
	}
	for name, written := range map[string]func(string) string{
		"JSON": asJSON, "ASCII JSON": asASCII, "JSON in JSON": twice(asASCII), "XML": html.EscapeString, "XML in XML": twice(html.EscapeString),
		"query": url.QueryEscape, "path": url.PathEscape, "URL in URL": twice(url.QueryEscape), "upper case": strings.ToUpper,
		"JSON in XML": func(s string) string { return html.EscapeString(asJSON(s)) },
		"lines":       func(s string) string { return strings.ReplaceAll(s, " ", "\r\n ") },
	} {
		if got, want := outbound.Redact("wrong: '"+written(part)+"' in Text", answer), "wrong: '[personal]"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "' in Text") || len(got) > 45 {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// prose is what customers write: long, and with the words that vendors use as well.
const prose = `The delivery was late again and I am not happy. I ordered a service for my account in May, the order was confirmed by e-mail, and
then the customer service told me that the information was missing. The request took two weeks: nobody could tell me whether the value on
the invoice is correct. It does not matter to me who is responsible, the driver or the company. Please check the contact and the phone
number that you have, because the message that I got was not for me. There is no reason to send a survey link twice. It is too long a
wait; I cannot be there in the morning, and the employee at the door was rude. Maybe the transaction failed, the property is not
easy to find, or the text on the label was wrong. My neighbour is a customer of yours already. Call again tomorrow, they said.`

// TestVendorsWordsStayReadable holds that what tells an operator what to do is said, beside texts that do not occur in it.
func TestVendorsWordsStayReadable(t *testing.T) {
	personal := append(outbound.Names("Mark Tom Li", "Ann-Marie Order", "von Art"), prose, "Late delivery at Mark's", "ada@example.com")
	for _, said := range []string{
		"Property InteractionTyp is not known",
		"Unexpected json key provided: sendDate",
		"RP_9: Invalid field value: language",
		"Recipient not found",
		"The recipient cannot receive recognitions",
		"Recipients are archived; title exceeds 50 characters",
		"Instance with the same key already exists",
		"CSRF token validation failed",
		"Business partner 1000123 does not exist",
		"Invalid value for AccountID; Party 1000456 of role 142 is not a contact",
		"Property Text has an invalid value: longer than 40 characters",
		"Subnodes must not be present",
		"500 - Internal Server Error, request 0a1b2c3d-0000-4000-8000-000000000001",
		"The Survey Response is not yet available. Please try again later.",
		"Mailing list CG_3kd0000000000001 was not found in directory POOL_1",
		"Resource not found for segment 'Interactions'",
		"Data type conversion error at DueDateTime; OData version 2.0",
		"Market, customer and article are mandatory",
	} {
		if got := outbound.Words(said, 300, personal...); got != said {
			t.Errorf("%s\nbecomes %s", said, got)
		}
	}
}

func TestWhatACustomerQuotesOfAVendorIsHidden(t *testing.T) {
	if got := outbound.Words("Recipient: user already exists", 300, "They say that my user already exists."); got != "Recipient: [personal]" {
		t.Error(got)
	}
}

func TestWordsOfAnAnswerLongerThanIsReadAreRedacted(t *testing.T) {
	text := strings.Repeat("The courier Bob was late. ", 2000)
	for name, said := range map[string]string{
		"a text longer than what is read": "wrong: " + text, "from its middle": "wrong: " + text[40:],
		"an address where reading ends": "wrong: " + strings.Repeat("https://x.example/"+strings.Repeat("y", 120)+" ", 200) + " " + text,
	} {
		got := outbound.Words(said, 300, text, "Bob")
		if strings.Contains(got, "Bob") || strings.Contains(got, "courier") || !strings.HasPrefix(got, "wrong: ") {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, fill := range []int{0, 1, 5, 14, 20, 25, 40} { // reading ends before, within or after the address
		said := strings.Repeat("The courier Bob was late, ", 640)[:16<<10-fill] + " ada.lovelace@example.com"
		if got := outbound.Words(said, 300, text, "Bob"); strings.Contains(got, "lovelace") {
			t.Errorf("half an address, %d: %s", fill, got)
		}
	}
}

// TestRedactingTakesNoTimeToSpeakOf holds that no text, however it repeats itself, makes a fault expensive.
func TestRedactingTakesNoTimeToSpeakOf(t *testing.T) {
	began := time.Now()
	texts := []string{strings.Repeat("a", 100_000), strings.Repeat("a ", 50_000), strings.Repeat("...a", 25_000), strings.Repeat("%25", 30_000) + "41", strings.Repeat("&a", 50_000)}
	for _, said := range texts {
		outbound.Words(said, 300, append(texts, strings.Repeat("a", 8))...)
	}
	if took := time.Since(began); took > time.Minute {
		t.Errorf("took %s", took)
	}
}
