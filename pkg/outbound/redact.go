package outbound

import (
	"cmp"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// patterns are applied in this order: headers before what may be inside them, addresses before the @ in them.
var patterns = []struct {
	find *regexp.Regexp
	put  string
}{
	{regexp.MustCompile(`(?i)\b((?:set-)?cookie\s*:)[^\r\n]*`), "$1 [secret]"},
	{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}`), "$1 [secret]"},
	{regexp.MustCompile(`\beyJ[\w-]+\.[\w-]+(?:\.[\w-]*)?`), "[secret]"},
	{regexp.MustCompile(`(?i)([\w-]*(?:token|api[_-]?key|password|passwd|secret|signature|hmac|sessionid\w*)["']?\s*[:=]\s*["']?)[^\s"',;&]{4,}`), "${1}[secret]"},
	{regexp.MustCompile(`(?i)\b(https?://)(?:[^\s/?#"'<>@]*@)?([^\s/?#"'<>@]+)[/?#][^\s"'<>]*`), "$1$2/[…]"},
	// Survey links without their host: qualtrics.md §3.7.
	{regexp.MustCompile(`(?i)(?:/jfe/form/|/SE/?\?|\bQ_DL=)[^\s"'<>]*`), "[link]"},
	{regexp.MustCompile(`[^\s<>"'(),;:=]+(?:@|%40)[^\s<>"'(),;:&]+`), "[e-mail]"},
	// International, (area) number, 0area number, and three groups. Ids, dates and times stay: a person needs them.
	{regexp.MustCompile(`(^|[^\w-])(?:\+\d[\d ()./-]{5,}\d|\(\d{2,5}\)[ -]?\d[\d -]{4,}\d|0\d{1,4}[ /-]\d[\d /-]{4,}\d|\d{3}[-. ]\d{3}[-. ]\d{4}\b)`), "$1[phone]"},
	// SAP names the person who holds a lock: odata-v2.md §3.
	{regexp.MustCompile(`(?i)\b(locked by (?:user )?)[^.;,"]+`), "${1}[user]"},
}

// Redact masks what must not be in an error: e-mail addresses, phone numbers as people write them, tokens, cookies,
// survey links and the path and query of every URL, and each of the personal texts of three characters or more
// wherever it occurs, whatever its case.
func Redact(s string, personal ...string) string {
	s = redactPersonal(s, personal)
	for _, p := range patterns {
		s = p.find.ReplaceAllString(s, p.put)
	}
	return s
}

func redactPersonal(s string, personal []string) string {
	var texts []string
	for _, p := range spellings(personal) {
		p = strings.TrimSpace(strings.ToValidUTF8(p, ""))
		if utf8.RuneCountInString(p) >= 3 {
			texts = append(texts, regexp.QuoteMeta(p))
		}
	}
	if len(texts) == 0 {
		return s
	}
	// The longest first, lest a first name leaves half of a full name.
	slices.SortFunc(texts, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return regexp.MustCompile("(?i)"+strings.Join(texts, "|")).ReplaceAllString(s, "[personal]")
}

// spellings adds to each text the forms in which a vendor may repeat it: on one line, line by line, and as JSON.
func spellings(texts []string) []string {
	var all []string
	for _, t := range texts {
		all = append(all, t, plain(t))
		all = append(all, strings.FieldsFunc(t, func(c rune) bool { return c == '\n' || c == '\r' })...)
		if escaped, err := json.Marshal(t); err == nil {
			all = append(all, strings.Trim(string(escaped), `"`))
		}
	}
	return all
}

// plain puts a text on one line without control characters: it ends up in a message header.
func plain(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "�"), func(r rune) bool {
		return unicode.IsSpace(r) || !unicode.IsGraphic(r)
	}), " ")
}

// clip cuts a text to limit characters, the last of which then is an ellipsis.
func clip(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit-1]) + "…"
}
