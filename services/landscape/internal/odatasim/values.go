package odatasim

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// DateForms says which forms of a date are accepted in the body of a write.
type DateForms string

// Both forms are the default; which ones a tenant takes is assumed (odata-v2.md §12).
const (
	BothDateForms  DateForms = ""
	ISODatesOnly   DateForms = "iso"
	EpochDatesOnly DateForms = "epoch"
)

// ArrayForms says which forms of nested data are accepted in the body of a write.
type ArrayForms string

// All forms are the default (odata-v2.md §6); that a tenant takes one alone is assumed.
const (
	AllArrayForms   ArrayForms = ""
	PlainArraysOnly ArrayForms = "array"
	ResultsOnly     ArrayForms = "results"
)

var (
	guidForm    = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	decimalForm = regexp.MustCompile(`^-?([0-9]+)(?:\.([0-9]+))?$`)
	epochForm   = regexp.MustCompile(`^/Date\((-?[0-9]{1,15})([+-][0-9]{1,4})?\)/$`)
	isoForm     = regexp.MustCompile(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,7})?(Z|[+-][0-9]{2}:[0-9]{2})?$`)
)

// valueRules are the parts of a profile that decide about values in bodies.
type valueRules struct {
	dates   DateForms
	cutLong bool
}

// parse turns a JSON value into the text of a Row, or says why the property cannot have it. Null is the empty text.
func (p *Property) parse(value any, rules valueRules) (string, error) {
	if value == nil {
		return "", nil
	}
	switch p.Type {
	case Boolean:
		if b, ok := value.(bool); ok {
			return strconv.FormatBool(b), nil
		}
		return "", p.bad("a Boolean")
	case Int16, Int32:
		return p.parseInteger(value)
	}
	text, ok := value.(string)
	if !ok {
		return "", p.bad("a JSON string")
	}
	switch p.Type {
	case Guid:
		return p.parseGuid(text)
	case Decimal:
		return p.parseDecimal(text)
	case DateTime, DateTimeOffset:
		return p.parseDate(text, rules.dates)
	case Binary:
		if _, err := base64.StdEncoding.DecodeString(text); err != nil {
			return "", p.bad("base64")
		}
		return text, nil
	}
	return p.parseString(text, rules.cutLong)
}

func (p *Property) parseString(text string, cut bool) (string, error) {
	if p.MaxLength == 0 || utf8.RuneCountInString(text) <= p.MaxLength {
		return text, nil
	}
	if cut {
		return string([]rune(text)[:p.MaxLength]), nil
	}
	return "", Refuse(http.StatusBadRequest, CodeTooLong, "Value of property %s is longer than %d characters", p.Name, p.MaxLength)
}

func (p *Property) parseInteger(value any) (string, error) {
	bits := 32
	if p.Type == Int16 {
		bits = 16
	}
	number, ok := value.(json.Number)
	if !ok {
		return "", p.bad("a JSON number")
	}
	n, err := strconv.ParseInt(number.String(), 10, bits)
	if err != nil {
		return "", p.bad(fmt.Sprintf("a whole number of %d bits", bits))
	}
	return strconv.FormatInt(n, 10), nil
}

func (p *Property) parseGuid(text string) (string, error) {
	if !guidForm.MatchString(text) {
		return "", p.bad("a Guid with dashes")
	}
	return strings.ToLower(text), nil
}

func (p *Property) parseDecimal(text string) (string, error) {
	m := decimalForm.FindStringSubmatch(text)
	if m == nil {
		return "", p.bad("a decimal number as a JSON string")
	}
	whole := strings.TrimLeft(m[1], "0")
	if len(m[2]) > p.Scale || len(whole) > p.Precision-p.Scale {
		return "", p.bad(fmt.Sprintf("a decimal of at most %d digits, %d of them after the point", p.Precision, p.Scale))
	}
	return text, nil
}

// parseDate takes /Date(ms)/ and ISO. A zone on an Edm.DateTime is refused; an Edm.DateTimeOffset without one is UTC,
// as in the samples of the C4C guide (odata-v2.md §5).
func (p *Property) parseDate(text string, forms DateForms) (string, error) {
	if m := epochForm.FindStringSubmatch(text); m != nil && forms != ISODatesOnly {
		ms, err := strconv.ParseInt(m[1], 10, 64)
		if err != nil {
			return "", p.bad("a date")
		}
		return formatDate(time.UnixMilli(ms)), nil
	}
	if forms == EpochDatesOnly {
		return "", p.bad("a date in the form /Date(milliseconds)/")
	}
	when, err := parseISO(text, p.Type)
	if err != nil {
		return "", p.bad("a date: " + err.Error())
	}
	return formatDate(when), nil
}

func parseISO(text string, edm Edm) (time.Time, error) {
	m := isoForm.FindStringSubmatch(text)
	switch {
	case m == nil:
		return time.Time{}, fmt.Errorf("want yyyy-MM-ddTHH:mm:ss with at most seven digits of a second")
	case m[2] == "":
		return time.Parse("2006-01-02T15:04:05", text)
	case edm == DateTime:
		return time.Time{}, fmt.Errorf("an Edm.DateTime has no zone")
	}
	return time.Parse(time.RFC3339, text)
}

func formatDate(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// FormatDate gives the text that a Row holds for a point in time, cut to the 100 ns that OData can say.
func FormatDate(t time.Time) string { return formatDate(t.Truncate(100 * time.Nanosecond)) }

func (p *Property) bad(want string) error {
	return Refuse(http.StatusBadRequest, CodeBadValue, "Invalid value for property %s of type %s: expected %s", p.Name, p.Type, want)
}

// json gives the value as the answer shows it (odata-v2.md §5, column "JSON read").
func (p *Property) json(text string, noOffset bool) any {
	if text == "" && p.Type != String {
		return nil
	}
	switch p.Type {
	case Boolean:
		return text == "true"
	case Int16, Int32:
		return json.Number(text)
	case DateTime:
		return epoch(text, "")
	case DateTimeOffset:
		if noOffset {
			return epoch(text, "")
		}
		return epoch(text, "+0000")
	}
	return text
}

func epoch(text, offset string) string {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return text
	}
	return fmt.Sprintf("/Date(%d%s)/", t.UnixMilli(), offset)
}

// compare orders two texts of one property. Texts that its type cannot read are ordered as strings.
func (p *Property) compare(a, b string) int {
	switch p.Type {
	case DateTime, DateTimeOffset:
		ta, errA := time.Parse(time.RFC3339, a)
		tb, errB := time.Parse(time.RFC3339, b)
		if errA == nil && errB == nil {
			return ta.Compare(tb)
		}
	case Decimal, Int16, Int32:
		ra, okA := new(big.Rat).SetString(a)
		rb, okB := new(big.Rat).SetString(b)
		if okA && okB {
			return ra.Cmp(rb)
		}
	}
	return strings.Compare(a, b)
}

// literal reads a value of a URL ($filter or key) in the form that the type of the property asks for.
func (p *Property) literal(text string) (string, error) {
	inner, isQuoted := strings.CutSuffix(text, "'")
	prefix, inner, hasQuote := strings.Cut(inner, "'")
	switch {
	case p.Type == String && isQuoted && hasQuote && prefix == "":
		return strings.ReplaceAll(inner, "''", "'"), nil
	case p.Type == Guid && isQuoted && prefix == "guid":
		return p.parseGuid(inner)
	case p.Type == DateTime && isQuoted && prefix == "datetime", p.Type == DateTimeOffset && isQuoted && prefix == "datetimeoffset":
		return p.parseDate(inner, ISODatesOnly)
	case p.Type == Boolean && (text == "true" || text == "false"):
		return text, nil
	case (p.Type == Int16 || p.Type == Int32) && !isQuoted:
		return p.parseInteger(json.Number(text))
	case p.Type == Decimal && !isQuoted:
		return p.parseDecimal(strings.TrimRight(text, "mM"))
	}
	return "", Refuse(http.StatusBadRequest, CodeBadQuery, "Literal for property %s is not of type %s", p.Name, p.Type)
}

// urlLiteral is the inverse of literal.
func (p *Property) urlLiteral(text string) string {
	switch p.Type {
	case String:
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	case Guid:
		return "guid'" + text + "'"
	case DateTime, DateTimeOffset:
		return strings.ToLower(strings.TrimPrefix(string(p.Type), "Edm.")) + "'" + text + "'"
	}
	return text
}
