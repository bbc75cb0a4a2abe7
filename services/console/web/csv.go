package web

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// Table answers with rows as CSV. What a spreadsheet would take for a formula is written as text; numbers stay numbers.
func Table(name string, head []string, rows [][]string) *httpdoor.Response {
	return sheet(name, []byte(written(head, rows)))
}

// sheet is an answer whose body is CSV.
func sheet(name string, body any) *httpdoor.Response {
	return &httpdoor.Response{
		ContentType: "text/csv; charset=utf-8", Body: body,
		Header: http.Header{"Content-Disposition": {`attachment; filename=` + strconv.Quote(name+".csv")}, "Cache-Control": {"no-store"}},
	}
}

// writeRow quotes more than [encoding/csv] does: whatever some spreadsheet, in some country, takes for the end of a cell.
func writeRow(b *strings.Builder, row []string) {
	for i, cell := range row {
		if i > 0 {
			b.WriteByte(',')
		}
		cell = harmless(cell)
		if strings.ContainsAny(cell, separators+`"'`) || strings.TrimSpace(cell) != cell {
			cell = `"` + strings.ReplaceAll(cell, `"`, `""`) + `"`
		}
		b.WriteString(cell)
	}
	b.WriteByte('\n')
}

// separators end a cell or a row for a spreadsheet, each where that is its setting.
const separators = ",;|\t\r\n"

var (
	// piece is what a spreadsheet with another separator than the comma would take for a cell, whatever the quotes say.
	piece = regexp.MustCompile(`[^` + separators + `]+`)
	// formula begins with one of the characters that make one, in any width, perhaps behind what is not seen or is stripped.
	formula = regexp.MustCompile("^[\\s\\p{Z}\\p{Cc}\\p{Cf}\"'`]*[=+\\-@\u2212\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20]")
	number  = regexp.MustCompile(`^ *[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)? *$`)
)

// harmless gives a cell in which nothing is taken for a formula: an apostrophe before it makes a spreadsheet show a text. A number
// is one as a whole cell only: +0;0 is a formula where the comma separates, and so is +0 before a tab.
func harmless(cell string) string {
	safe := cell
	if !number.MatchString(cell) {
		safe = piece.ReplaceAllStringFunc(cell, func(p string) string {
			if formula.MatchString(p) {
				return "'" + p
			}
			return p
		})
	}
	if safe != "" && strings.ContainsRune("\t\r\n", rune(safe[0])) { // which are stripped, and the rest is looked at
		return "'" + safe
	}
	return safe
}
