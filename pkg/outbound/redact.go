package outbound

import (
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
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
	folded := strings.Map(fold, s)
	hidden := make([]bool, len(folded))
	found := false
	for _, text := range spellings(personal) {
		text = strings.Map(fold, text)
		for from := 0; ; {
			at := strings.Index(folded[from:], text)
			if at < 0 {
				break
			}
			for i := range text {
				hidden[from+at+i] = true
			}
			found = true
			_, size := utf8.DecodeRuneInString(text)
			from += at + size // they may overlap
		}
	}
	if !found {
		return s
	}
	var b strings.Builder
	at, before := 0, false
	for _, r := range s {
		switch {
		case !hidden[at]:
			b.WriteRune(r)
		case !before:
			b.WriteString("[personal]")
		}
		before = hidden[at]
		at += utf8.RuneLen(fold(r))
	}
	return b.String()
}

// fold gives letters that differ in case alone the same rune.
func fold(r rune) rune {
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	return least
}

// spellings gives each text of three characters or more in the forms in which a vendor may repeat it: on one line, line by
// line, and as JSON, XML and parts of a URL write it.
func spellings(texts []string) []string {
	var all []string
	for _, t := range texts {
		t = strings.ToValidUTF8(t, "")
		parts := append([]string{t, plain(t)}, strings.FieldsFunc(t, func(c rune) bool { return c == '\n' || c == '\r' })...)
		for _, p := range parts {
			if p = strings.TrimSpace(p); utf8.RuneCountInString(p) < 3 {
				continue
			}
			escaped, _ := json.Marshal(p) // a text always encodes
			inner := string(escaped[1 : len(escaped)-1])
			all = append(all, p, inner, ascii(inner), html.EscapeString(p), inXML.Replace(p), url.QueryEscape(p), url.PathEscape(p))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ascii writes what is in a JSON string as writers do that take no risk: \u00eb for ë.
func ascii(escaped string) string {
	var b strings.Builder
	for _, r := range escaped {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// inXML writes the named references, where html.EscapeString has the numbers of quotes.
var inXML = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;", "'", "&apos;")

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
