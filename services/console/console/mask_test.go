package console

import (
	"strings"
	"testing"
	"unicode"

	"github.com/closeloop/closeloop/services/console/loops"
)

func TestWhatIsAboutAPersonIsMasked(t *testing.T) {
	for name, tt := range map[string]struct{ body, want string }{
		"an invitation": {
			`{"requestId":"A1B2","contact":{"externalId":"P-1001","email":"ada@example.com","firstName":"Ada","phone":"+44 1","language":"EN","attributes":{"Country":"GB"}},"transaction":{"externalId":"4711","occurredAt":"2026-07-24T09:30:00Z","data":{"requestId":"x","sourceObject":"SERVICE_ORDER"}},"campaign":{"campaignId":"0000012345","name":"Service survey"}}`,
			`{"requestId":"A1B2","contact":{"externalId":"P-1001","email":"•••• (15 characters)","firstName":"•••• (3 characters)","phone":"•••• (5 characters)","language":"EN","attributes":{"Country":"•••• (2 characters)"}},"transaction":{"externalId":"4711","occurredAt":"2026-07-24T09:30:00Z","data":{"requestId":"•••• (1 character)","sourceObject":"•••• (13 characters)"}},"campaign":{"campaignId":"0000012345","name":"Service survey"}}`,
		},
		"an answer": {
			`{"responseId":"R_1","values":{"csat":5,"responseId":"mine","contact_me":true,"nested":{"surveyId":"SV_x"}},"labels":{"csat":"very good"},"recordedAt":"2026-07-24"}`,
			`{"responseId":"R_1","values":{"csat":"••••","responseId":"•••• (4 characters)","contact_me":"••••","nested":{"surveyId":"•••• (4 characters)"}},"labels":{"csat":"•••• (9 characters)"},"recordedAt":"2026-07-24"}`,
		},
		"a name that is somebody's":  {`{"recipient":{"name":"Ada","employeeId":"E7"},"program":"CSAT"}`, `{"recipient":{"name":"•••• (3 characters)","employeeId":"E7"},"program":"CSAT"}`},
		"a link":                     {`{"requestId":"A","link":"https://survey.example/x","url":"https://c4c.example/1"}`, `{"requestId":"A","link":"•••• (24 characters)","url":"•••• (21 characters)"}`},
		"an e-mail for an id":        {`{"externalId":"ada@example.com","requestId":"Ada Lovelace"}`, `{"externalId":"•••• (15 characters)","requestId":"•••• (12 characters)"}`},
		"words for a code":           {`{"reason":"UNSUBSCRIBED","state":"Ada said no"}`, `{"reason":"UNSUBSCRIBED","state":"•••• (11 characters)"}`},
		"words for a date":           {`{"dueAt":"when Ada is back","expiresAt":"2026-10-24T00:00:00+02:00"}`, `{"dueAt":"•••• (16 characters)","expiresAt":"2026-10-24T00:00:00+02:00"}`},
		"what is not known":          {`{"hello":"world","n":1,"b":false,"null":null,"empty":""}`, `{"hello":"•••• (5 characters)","n":"••••","b":"••••","null":null,"empty":""}`},
		"a list":                     {`[{"requestId":"A"},{"email":"a@b.c"}]`, `[{"requestId":"A"},{"email":"•••• (5 characters)"}]`},
		"a structured event":         {`{"specversion":"1.0","id":"E-1","data":{"requestId":"A","email":"a@b.c"}}`, `{"specversion":"1.0","id":"E-1","data":{"requestId":"A","email":"•••• (5 characters)"}}`},
		"no JSON":                    {`Ada Lovelace`, `"•••• (12 characters)"`},
		"JSON with something behind": {`{"requestId":"A"} ada@example.com`, `"•••• (33 characters)"`},
		"JSON that ends early":       {`{"requestId":"A"`, `"•••• (16 characters)"`},
		"a text":                     {`"Ada"`, `"•••• (3 characters)"`},
		"a number that is an answer": {`{"score":5,"amount":25.50,"priority":1}`, `{"score":"••••","amount":25.50,"priority":1}`},
		"letters that are not ASCII": {`{"x":"Käthe"}`, `{"x":"•••• (5 characters)"}`},
		"markup":                     {`{"requestId":"<script>"}`, `{"requestId":"•••• (8 characters)"}`},
		"nothing":                    {``, `""`},
		"an e-mail for a name":       {`{"ada@example.com":1}`, `{"(name not shown)":"••••"}`},
		"too deep":                   {strings.Repeat(`{"a":`, 65) + "1" + strings.Repeat("}", 65), `"•••• (391 characters)"`},
		"lists that are too deep":    {strings.Repeat("[", 1000), `"•••• (1,000 characters)"`},
	} {
		if got := string(maskBody([]byte(tt.body))); got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, tt.want)
		}
	}
}

func TestAChangeBringsNothingToLight(t *testing.T) {
	const body = `{"contact":{"firstName":"Ada","language":"EN"},"externalId":"ada@example.com","values":{"why":"late"},"members":[{"token":"t0k"}]}`
	for name, tt := range map[string]struct {
		change Change
		secret string
	}{
		"a field is given a name that is shown":    {Change{Op: opRename, Field: "contact.firstName", To: "ownerId"}, `"Ada"`},
		"in a list":                                {Change{Op: opRename, Field: "members[].token", To: "taskId"}, `"t0k"`},
		"what is shown is rewritten":               {Change{Op: opReplace, Field: "externalId", Text: "@", With: "_"}, "ada_example"},
		"free fields are given a name that is not": {Change{Op: opRename, Field: "values", To: "contact2"}, `"late"`},
	} {
		after, err := change([]byte(body), false, []Change{tt.change})
		if err != nil || !strings.Contains(string(after), tt.secret) {
			t.Fatalf("%s: %s %v", name, after, err)
		}
		if got := string(maskMended(after, []Change{tt.change})); strings.Contains(got, tt.secret) || !strings.Contains(got, `"language":"EN"`) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestOfManyFieldsTheFirstAreListed(t *testing.T) {
	many := maskBody([]byte(`{"values":{"list":[` + strings.Repeat("1,", 200_000) + `1]},"requestId":"A"}`))
	if got := len(flatFields(many)); got != flatMost {
		t.Errorf("%d fields", got)
	}
}

func TestAnIdAddsNothingToAVendorsAddress(t *testing.T) {
	links := VendorLinks{Order: "https://erp.example/{id}?order={id}"}
	const want = "https://erp.example/a%20b%26c%3Dd%2F..%3Fe?order=a%20b%26c%3Dd%2F..%3Fe"
	if got := links.of(loops.ID{Kind: loops.Order, Value: "a b&c=d/..?e"}); got != want {
		t.Error(got)
	}
}

func FuzzNothingUnknownIsShown(f *testing.F) {
	f.Add(`{"email":"ada@example.com","values":{"requestId":"secret-1"}}`)
	f.Fuzz(func(t *testing.T, value string) {
		quoted := strings.NewReplacer(`"`, "", `\`, "").Replace(value)
		if len(quoted) < 20 || strings.ContainsAny(quoted, "•()") || !strings.ContainsFunc(strings.ReplaceAll(quoted, "null", ""), isWritten) {
			return // too short to be told from what is shown in its place, or brackets with nothing in them
		}
		for _, body := range []string{`{"text":"` + quoted + `"}`, `{"values":{"requestId":"` + quoted + `"}}`, quoted} {
			if got := string(maskBody([]byte(body))); strings.Contains(got, quoted) {
				t.Errorf("%s shows as %s", body, got)
			}
		}
	})
}

func isWritten(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }
