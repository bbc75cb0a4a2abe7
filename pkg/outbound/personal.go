package outbound

import (
	"html"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// How much of a personal text makes it that text, by the [width] of what is compared.
const (
	// anywhere is from when on a text is also found within a word: SAP's users are called AMILLER.
	anywhere = 6
	// beginning is what a longer text is known by.
	beginning = 10
	// running is too long for a phrase that everybody uses, such as "does not".
	running = 12
	// torn is how much of a text must stand before an ellipsis, so many of which are looked at.
	torn, ellipses = 3, 100
	// layers is how often escapes are undone: each writer on the way may escape what another has escaped.
	layers = 5
)

// redactPersonal holds nothing in memory but what it makes of s and of one personal text, since those may be all that a
// batch of hundreds has sent.
func redactPersonal(s string, personal []string) string {
	if s == "" || len(personal) == 0 {
		return s
	}
	var views []*view
	runs := map[string]bool{} // those of s, and whether they are personal
	for reading := range readings(s) {
		v := newView(reading)
		views = append(views, v)
		for _, run := range runsOf(v.text) {
			runs[run] = false
		}
	}
	for _, p := range personal {
		for reading := range readings(strings.ToValidUTF8(p, "")) {
			texts := []string{newView(reading).text}
			for _, run := range runsOf(texts[0]) {
				if _, there := runs[run]; there {
					runs[run] = true
				}
			}
			for _, line := range lines(reading) {
				texts = append(texts, newView(line).text)
			}
			for _, text := range texts {
				for _, v := range views {
					v.find(strings.TrimSpace(text))
				}
			}
		}
	}
	hidden := make([]bool, len(s))
	for _, v := range views {
		for at, run := range runsOf(v.text) {
			if runs[run] {
				v.hit(at, at+len(run))
			}
		}
		v.hide(hidden)
	}
	return masked(s, hidden)
}

func masked(s string, hidden []bool) string {
	var b strings.Builder
	for i := range len(s) {
		switch {
		case !hidden[i]:
			b.WriteByte(s[i])
		case i == 0 || !hidden[i-1]:
			b.WriteString("[personal]")
		}
	}
	return b.String()
}

// view is a text as it is compared: letters, digits and symbols, without case and accents, and one space for what is
// between them.
type view struct {
	text string
	// from and to say for each byte of text which part of the source it comes from.
	from, to []int
	// cuts are where the source has an ellipsis.
	cuts []int
	hits []bool
}

func newView(reading []char) *view {
	text := make([]byte, 0, len(reading))
	v := &view{from: make([]int, 0, len(reading)), to: make([]int, 0, len(reading))}
	dots := 0
	for _, c := range reading {
		compared := folded(c.r)
		if last := len(text) - 1; compared == "" && last >= 0 { // an accent
			v.to[last] = c.to
		}
		for _, r := range compared {
			if r != '.' {
				dots = 0
			} else if dots++; dots == 2 && len(v.cuts) < ellipses {
				v.cuts = append(v.cuts, len(text)-1) // before the space of the first dot
			}
			last := len(text) - 1
			if !counts(r) {
				if r = ' '; last >= 0 && text[last] == ' ' {
					v.to[last] = c.to
					continue
				}
			}
			text = utf8.AppendRune(text, r)
			for len(v.from) < len(text) {
				v.from, v.to = append(v.from, c.from), append(v.to, c.to)
			}
		}
	}
	v.text, v.hits = string(text), make([]bool, len(text))
	return v
}

// find looks for a personal text: for all of it if it is short, else for its beginning and what goes on as it does.
func (v *view) find(personal string) {
	if n := utf8.RuneCountInString(personal); n < 2 || n == 2 && strings.ContainsFunc(personal, isNoLetter) {
		return
	}
	within := width(personal) >= anywhere
	head := headOf(personal)
	for from := 0; ; {
		at := strings.Index(v.text[from:], head)
		if at < 0 {
			break
		}
		at += from
		end := at + alike(v.text[at:], personal)
		if within || v.bounded(at) && v.bounded(end) {
			v.hit(at, end)
		}
		if from = end; head == personal { // another may begin within this one
			_, size := utf8.DecodeRuneInString(head)
			from = at + size
		}
	}
	for _, cut := range v.cuts {
		for n := range head {
			if width(head[:n]) >= torn && strings.HasSuffix(v.text[:cut], head[:n]) && v.bounded(cut-n) {
				v.hit(cut-n, cut)
			}
		}
	}
}

// headOf is the beginning that a text is known by. It reaches into the second word, since a first one of ten letters may as
// well be a word of the vendor's.
func headOf(text string) string {
	one := !strings.Contains(text, " ")
	for at, r := range text {
		head := text[:at+utf8.RuneLen(r)]
		if r != ' ' && width(head) >= beginning && (one || severalWords(head)) {
			return head
		}
	}
	return text
}

// alike is how many bytes two texts have in common at their beginning, in whole characters.
func alike(a, b string) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	for n < len(a) && n > 0 && !utf8.RuneStart(a[n]) {
		n--
	}
	return n
}

// runsOf gives each part of a text that is just long enough to be told from other texts, with its place.
func runsOf(text string) iter.Seq2[int, string] {
	return func(yield func(int, string) bool) {
		end, wide := 0, 0
		for at, first := range text {
			for end < len(text) && wide < running {
				r, size := utf8.DecodeRuneInString(text[end:])
				end, wide = end+size, wide+widthOf(r)
			}
			if wide < running {
				return
			}
			if run := text[at:end]; severalWords(run) && !yield(at, run) {
				return
			}
			wide -= widthOf(first)
		}
	}
}

// severalWords tells whether a text is more than one word, or in a script that does not part them.
func severalWords(text string) bool {
	return strings.Contains(strings.TrimSpace(text), " ") || strings.ContainsFunc(text, unparted)
}

func (v *view) hit(from, to int) {
	for ; from < to && v.text[from] == ' '; from++ {
	}
	for ; to > from && v.text[to-1] == ' '; to-- {
	}
	for i := from; i < to; i++ {
		v.hits[i] = true
	}
}

// hide marks in the source each word of which something was hit, and what was hit between words.
func (v *view) hide(hidden []bool) {
	for from, to := 0, 0; from < len(v.text); from = to {
		for to++; !v.bounded(to); to++ {
		}
		if !slices.Contains(v.hits[from:to], true) {
			continue
		}
		for i := from; i < to; i++ {
			for at := v.from[i]; at < v.to[i]; at++ {
				hidden[at] = true
			}
		}
	}
}

// bounded tells whether no word goes across a place.
func (v *view) bounded(at int) bool {
	if at == 0 || at == len(v.text) {
		return true
	}
	if !utf8.RuneStart(v.text[at]) {
		return false
	}
	before, _ := utf8.DecodeLastRuneInString(v.text[:at])
	after, _ := utf8.DecodeRuneInString(v.text[at:])
	return !inWord(before) || !inWord(after)
}

func inWord(r rune) bool {
	return (unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r)) && !unparted(r)
}
func isNoLetter(r rune) bool { return !unicode.IsLetter(r) }

// unparted tells whether a script has no spaces between words, or adds to words what others write beside them.
func unparted(r rune) bool {
	return r >= utf8.RuneSelf && (widthOf(r) > 1 || unicode.In(r, unicode.Hangul, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar))
}

// widthOf is how much a character says: one of Chinese or Japanese about as much as two letters.
func widthOf(r rune) int {
	if r >= utf8.RuneSelf && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) {
		return 2
	}
	return 1
}

func width(s string) int {
	n := 0
	for _, r := range s {
		n += widthOf(r)
	}
	return n
}

// counts tells whether a character is compared.
func counts(r rune) bool {
	return unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.Is(unicode.Mc, r) ||
		r >= utf8.RuneSelf && unicode.IsSymbol(r) && r != utf8.RuneError
}

// folded gives what is compared of a character: what it is composed of, without case and accents. Where nothing counts it
// is a space or dots, or nothing for a mark alone.
func folded(r rune) string {
	switch {
	case r == '.':
		return "."
	case r < utf8.RuneSelf && !counts(r):
		return " "
	case r < utf8.RuneSelf:
		return string(unicode.ToLower(r))
	}
	var b strings.Builder
	counted := false
	for _, part := range norm.NFKD.String(string(r)) {
		part = unicode.ToLower(unicode.ToUpper(part))
		switch {
		case unicode.In(part, unicode.Mn, unicode.Me):
		case part == 'ß':
			b.WriteString("ss")
			counted = true
		case counts(part):
			b.WriteRune(part)
			counted = true
		case part == '.': // of an ellipsis
			b.WriteRune(part)
		default:
			b.WriteRune(' ')
		}
	}
	if !counted && counts(r) {
		return string(r)
	}
	return b.String()
}

// char is a character of a text and which bytes of the source it stands for.
type char struct {
	r        rune
	from, to int
}

// readings gives a text as it stands, and then with its escapes undone, once and again: those of all kinds, and those of each kind
// alone, since what looks like one of another kind may be the text itself.
func readings(s string) iter.Seq[[]char] {
	return func(yield func([]char) bool) {
		reading := make([]char, 0, len(s))
		for at, r := range s {
			_, size := utf8.DecodeRuneInString(s[at:])
			reading = append(reading, char{r, at, at + size})
		}
		if !yield(reading) {
			return
		}
		var kinds []string
		for _, kind := range []string{"%", `\`, "&"} {
			if strings.Contains(s, kind) {
				kinds = append(kinds, kind)
			}
		}
		if len(kinds) > 1 {
			kinds = append(kinds, strings.Join(kinds, ""))
		}
		for _, kind := range kinds {
			if !unescapings(reading, kind, yield) {
				return
			}
		}
	}
}

func unescapings(reading []char, kinds string, yield func([]char) bool) (more bool) {
	for range layers - 1 {
		next := unescaped(reading, kinds)
		if len(next) == len(reading) { // each escape is longer than what it stands for
			return true
		}
		if reading = next; !yield(reading) {
			return false
		}
	}
	return true
}

// lines gives each line of a text, where there are several.
func lines(reading []char) [][]char {
	var all [][]char
	from := 0
	for i, c := range reading {
		if c.r == '\n' || c.r == '\r' {
			all = append(all, reading[from:i])
			from = i + 1
		}
	}
	if from > 0 {
		all = append(all, reading[from:])
	}
	return all
}

// escapes undo what URLs, JSON, XML and HTML make of characters, by what it begins with.
var escapes = map[rune]func([]char) (string, int){'%': ofURL, '\\': ofJSON, '&': ofXML}

// unescaped undoes the escapes of some kinds.
func unescaped(reading []char, kinds string) []char {
	out := make([]char, 0, len(reading))
	for i := 0; i < len(reading); {
		text, n := "", 0
		if undo := escapes[reading[i].r]; undo != nil && strings.ContainsRune(kinds, reading[i].r) {
			text, n = undo(reading[i:])
		}
		if n == 0 {
			out = append(out, reading[i])
			i++
			continue
		}
		for _, r := range text {
			out = append(out, char{r, reading[i].from, reading[i+n-1].to})
		}
		i += n
	}
	return out
}

// ofURL reads the one to four bytes of a character as %C3%AB. It gives how many characters were read, 0 if that is no escape.
func ofURL(reading []char) (string, int) {
	var text []byte
	for n := 0; n < 3*utf8.UTFMax && n < len(reading) && reading[n].r == '%'; n += 3 {
		b, ok := hexOf(reading[n+1:], 2)
		if !ok {
			break
		}
		text = append(text, byte(b&0xff))
	}
	if len(text) == 0 {
		return "", 0
	}
	r, size := utf8.DecodeRune(text)
	return string(r), 3 * size
}

// ofJSON reads \n, \u00eb, a pair of surrogates, and what JavaScript has besides.
func ofJSON(reading []char) (string, int) {
	if len(reading) < 2 {
		return "", 0
	}
	switch r := reading[1].r; r {
	case 'b', 'f', 'n', 'r', 't':
		return map[rune]string{'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t"}[r], 2
	case '"', '\'', '\\', '/':
		return string(r), 2
	case 'x':
		if r, ok := hexOf(reading[2:], 2); ok {
			return string(r), 4
		}
	case 'u':
		r, ok := hexOf(reading[2:], 4)
		if !ok {
			return "", 0
		}
		if utf16.IsSurrogate(r) && len(reading) > 8 && reading[6].r == '\\' && reading[7].r == 'u' {
			if low, ok := hexOf(reading[8:], 4); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
				return string(utf16.DecodeRune(r, low)), 12
			}
		}
		return string(r), 6
	}
	return "", 0
}

// ofXML reads references by name and by number.
func ofXML(reading []char) (string, int) {
	const longest = 33 // that of &CounterClockwiseContourIntegral;
	var name strings.Builder
	for n, c := range reading[:min(len(reading), longest)] {
		name.WriteRune(c.r)
		if n > 0 && !unicode.IsLetter(c.r) && !unicode.IsDigit(c.r) && c.r != '#' && c.r != ';' {
			break
		}
		if c.r == ';' {
			if text := html.UnescapeString(name.String()); text != name.String() {
				return text, n + 1
			}
			break
		}
	}
	return "", 0
}

// hexOf reads so many hexadecimal digits.
func hexOf(reading []char, digits int) (rune, bool) {
	if len(reading) < digits {
		return 0, false
	}
	value := rune(0)
	for _, c := range reading[:digits] {
		digit := unicode.ToLower(c.r)
		switch {
		case digit >= '0' && digit <= '9':
			value = value<<4 | (digit - '0')
		case digit >= 'a' && digit <= 'f':
			value = value<<4 | (digit - 'a' + 10)
		default:
			return 0, false
		}
	}
	return value, true
}
