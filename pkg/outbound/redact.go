package outbound

import (
	"encoding/base64"
	"net/http"
	"regexp"
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
	{regexp.MustCompile(`(?i)[^\s<>"'(),;:=]+(?:@|%(?:25)*40|\\+u0040|&(?:amp;)*(?:#0*64|#x0*40|commat);)[^\s<>"'(),;:&]+`), "[e-mail]"},
	// International, (area) number, 0area number, and three groups. Ids, dates and times stay: a person needs them.
	{regexp.MustCompile(`(^|[^\w-])(?:\+\d[\d ()./-]{5,}\d|\(\d{2,5}\)[ -]?\d[\d -]{4,}\d|0\d{1,4}[ /-]\d[\d /-]{4,}\d|\d{3}[-. ]\d{3}[-. ]\d{4}\b)`), "$1[phone]"},
	// SAP names the person who holds a lock: odata-v2.md §3.
	{regexp.MustCompile(`(?i)\b(locked by (?:user )?)[^.;,"]+`), "${1}[user]"},
}

// Redact masks what must not be in an error: e-mail addresses, phone numbers as people write them, tokens, cookies,
// survey links and the path and query of every URL, and of the personal texts:
//
//   - each as a whole, from three characters or two letters on, and each of its lines. Those of up to five characters must be
//     words of their own, so that Tom is not found in customer;
//   - its beginning, where s has at least ten characters of it, or three with an ellipsis after them;
//   - any twelve characters or more of it in a row, if they are not of one word.
//
// What is found is masked to the ends of its words. Only letters, digits and symbols count, whatever their case and accents,
// and however s writes them: as JSON, XML and HTML, or in a URL, more than once too. The words of a name may stand in any
// order and by themselves, so give them as [Names].
func Redact(s string, personal ...string) string {
	s = redactPersonal(s, personal)
	for _, p := range patterns {
		s = p.find.ReplaceAllString(s, p.put)
	}
	return s
}

// Answers gives a text whose lines may be "question: answer", as a whole and each answer by itself, as personal texts for
// [Redact].
func Answers(text string) []string {
	all := []string{text}
	for line := range strings.Lines(text) {
		if _, answer, ok := strings.Cut(line, ": "); ok {
			all = append(all, answer)
		}
	}
	return all
}

// Names gives the names of people, each as a whole and word by word, as personal texts for [Redact].
func Names(names ...string) []string {
	var all []string
	for _, name := range names {
		all = append(all, name)
		if words := strings.FieldsFunc(name, func(r rune) bool { return !counts(r) && !unicode.IsMark(r) }); len(words) > 1 {
			all = append(all, words...)
		}
	}
	return all
}

// credentials gives what a vendor must not be quoted with of what it was sent: all but what says how to talk.
func credentials(h http.Header) []string {
	var all []string
	for name, values := range h {
		for _, value := range values {
			switch name {
			case "Accept", "Content-Type":
			case "Cookie":
				cookies, _ := http.ParseCookie(value)
				for _, cookie := range cookies {
					all = append(all, cookie.Value)
				}
			default:
				scheme, secret, two := strings.Cut(value, " ")
				if !two {
					scheme, secret = "", value
				}
				if secret != "fetch" { // in place of an X-Csrf-Token: odata-v2.md §2
					all = append(all, secret)
				}
				if user, err := base64.StdEncoding.DecodeString(secret); err == nil && scheme == "Basic" {
					_, password, _ := strings.Cut(string(user), ":")
					all = append(all, password)
				}
			}
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
