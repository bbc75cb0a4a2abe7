package outbound_test

import (
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/outbound"
	"github.com/closeloop/closeloop/pkg/outbound/outboundtest"
)

// FuzzAnswer holds that whatever a vendor answers becomes an answer within the limit or a fault of the documented class.
func FuzzAnswer(f *testing.F) {
	huge := strings.Repeat("x", outboundtest.BodyLimit+1)
	const late = "the ball began long before your courier came"
	personal := []string{"Lovelace", "ada@example.com", "ball began lo", "your courier came"}
	for _, s := range []struct {
		status                        int
		contentType, retryAfter, body string
		write                         bool
	}{
		{200, "application/json", "", `{"a":1}`, false}, {200, "text/html", "", "<!doctype html><p>Sign in", true}, {200, "", "", "<html>", false},
		{404, "text/html; charset=utf-8", "", "<html>", false}, {429, "application/json", "86400", `{"message":"ada@example.com"}`, false},
		{503, "", "Sat, 25 Jul 2099 09:30:00 GMT", "", true}, {503, "", "99999999999999999999", "", false}, {429, "", "-1", "", true}, {302, "", "", "", true},
		{200, "application/json", "", huge, true}, {200, "application/json", "", huge, false}, {500, "text/plain", "", huge, true},
		{401, "text/plain; x", "1.5", "Ada Lovelace is locked by MILLER", false}, {501, ";", "", "\x00\xff", true}, {0, "", "", "", false},
		{400, "application/json", "", `{"error":"Ad\u0061 Lovelace"}`, true},
		{400, "application/json", "", `{"error":"'...ball began long before your...' of Lovelace, Ada"}`, true},
	} {
		f.Add(s.status, s.contentType, s.retryAfter, []byte(s.body), s.write)
	}
	f.Fuzz(func(t *testing.T, status int, contentType, retryAfter string, body []byte, write bool) {
		vendor := outboundtest.Of(t, status, contentType, retryAfter, body)
		vendor.Bodies = [][]byte{body}
		call := outbound.Call{Operation: "test", Write: write, JSON: true, Personal: append(outbound.Names("Ada Lovelace"), late)}
		began := time.Now()
		answer, err := vendor.Client("").Do(t.Context(), call)
		outboundtest.Sound(t, err, personal...)
		if answer != nil && len(answer.Body) > outboundtest.BodyLimit {
			t.Errorf("a body of %d bytes", len(answer.Body))
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("took %s", took)
		}
		switch {
		case err == nil && (answer.Status < 200 || answer.Status > 299):
			t.Errorf("%d is no success", answer.Status)
		case err == nil:
			var content any
			outboundtest.Sound(t, answer.Decode(&content), personal...)
		case answer == nil && write != fault.Is(err, fault.Unknown):
			t.Errorf("cut off, and %v of %v", err, write)
		case answer != nil && status >= 300 && status <= 999:
			want := outbound.Classify(status, write)
			if !fault.Is(err, want) && !(status == http.StatusNotFound && fault.Is(err, fault.Down)) || outbound.StatusOf(err) != status {
				t.Errorf("%d is %v, want %s", status, err, want)
			}
			wantWait(t, retryAfter, fault.From(err).After)
		}
	})
}

// wantWait holds what is said in digits against what is made of it.
func wantWait(t *testing.T, said string, got time.Duration) {
	t.Helper()
	if said == "" || len(said) > 30 || strings.Trim(said, "0123456789") != "" {
		return
	}
	want := 24 * time.Hour
	if seconds, err := strconv.ParseUint(said, 10, 31); err == nil {
		want = min(want, time.Duration(seconds)*time.Second)
	}
	if got != want {
		t.Errorf("Retry-After: %s is %s, want %s", said, got, want)
	}
}

// FuzzRedact holds that what is personal is masked in each of the ways in which a vendor may repeat it, and that of a long text
// so is a part.
func FuzzRedact(f *testing.F) {
	for _, personal := range []string{
		"Ada Lovelace", "Zoë Ångström", "O'Neil & Sons", "a\nb c", `a "quoted" \ word`, "+44 20 7946 0958", "李小龙先生", "ſſſ", "İstanbul", "a.b*c(", "<b>bold</b>", "\u2028abc",
		"My daughter Annika was very late for the ball because of your courier", "100 %41&amp;\\u0041 \\n sure", "Mu\u0308ller ﬁve ½ ᾳ ß", "司机非常粗鲁 并且迟到了两个小时",
	} {
		f.Add(personal, `{"message":"`, `" is not known"}`)
	}
	f.Add("ada", "https://example.com/a?token=abcd1234&x=", "")
	f.Add("ada@example.com", "Bearer abcdefgh12345678 ", " 0171 123 4567")
	masks := strings.NewReplacer("[personal]", "\ufffc", "[e-mail]", "\ufffc", "[phone]", "\ufffc", "[secret]", "\ufffc", "[link]", "\ufffc", "[user]", "\ufffc", "[…]", "\ufffc")
	f.Fuzz(func(t *testing.T, personal, before, after string) {
		if letters(personal) < 3 || len(personal) > 100 || !utf8.ValidString(personal) || strings.Contains(personal, "\ufffc") {
			t.Skip("too short to be told from other texts, or no text")
		}
		// What is around it may hold the same, up to where it stands.
		others := before + " \ufffc " + after + "\n" + masks.Replace(outbound.Redact(before+" [personal] "+after))
		absent := func(how, as string) {
			got := outbound.Redact(before+" "+as+" "+after, personal)
			if strings.Contains(masks.Replace(got), as) && !strings.Contains(others, as) {
				t.Errorf("%s: %q is in %q", how, as, got)
			}
		}
		for how, as := range map[string]string{
			"plain": personal, "json": asJSON(personal), "ascii json": asASCII(personal),
			"xml": html.EscapeString(personal), "query": url.QueryEscape(personal), "path": url.PathEscape(personal),
		} {
			absent(how, as)
		}
		if upper := strings.ToUpper(personal); strings.EqualFold(upper, personal) {
			absent("upper", upper)
		}
		runes := []rune(personal)
		part := string(runes[len(runes)/4 : len(runes)-len(runes)/8])
		if words := strings.Fields(part); letters(part) >= 12 && letters(words[0]) > 0 && len(words) > 1 && letters(words[len(words)-1]) > 0 {
			absent("part", part)
		}
	})
}

// letters counts what is certain to be compared.
func letters(s string) int {
	n := 0
	for _, r := range s {
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			n++
		}
	}
	return n
}

func asJSON(s string) string {
	encoded, _ := json.Marshal(s)
	return strings.TrimSuffix(strings.TrimPrefix(string(encoded), `"`), `"`)
}

// asASCII is what writers make that take no risk.
func asASCII(s string) string {
	var b strings.Builder
	for _, r := range asJSON(s) {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			b.WriteString(`\u` + strconv.FormatUint(0x10000+uint64(unit), 16)[1:])
		}
	}
	return b.String()
}
