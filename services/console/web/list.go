package web

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/closeloop/closeloop/pkg/httpdoor"
)

// List is a list of rows T, newest first, that is asked for page by page; C says before what a page begins, zero with the newest.
type List[T any, C comparable] struct {
	// Name is that of the CSV file, Columns its head and Cells its rows.
	Name    string
	Columns []string
	Cells   func([]T) [][]string
	// Find gives the rows before that place, limit at most, and the place before which the next page begins: zero where there is none.
	Find func(ctx context.Context, before C, limit int) ([]T, C, error)
	// Page shows rows to people, and JSON is what programs are told.
	Page func(rows []T, next C) (*httpdoor.Response, error)
	JSON func(rows []T, next C) any
}

// atOnce is how many rows of a whole list are found, and sent, at a time.
const atOnce = 1000

// Answer gives the page that was asked for in the form that the caller wants. As CSV a list is whole, however long, unless limit
// or before is among the parameters: a file does not show that it is a part. Programs find the address of the next page
// in the header Link too.
func (l *List[T, C]) Answer(ctx context.Context, r *httpdoor.Request, before C, limit int) (*httpdoor.Response, error) {
	form := FormOf(r)
	whole := form == CSV && r.Query.Get("limit") == "" && r.Query.Get("before") == ""
	if whole {
		limit = atOnce
	}
	rows, next, err := l.Find(ctx, before, limit)
	if err != nil {
		return nil, err
	}
	answer := &httpdoor.Response{Header: http.Header{}}
	switch {
	case form == Page:
		return l.Page(rows, next)
	case form == JSON:
		answer.Body = l.JSON(rows, next)
	case whole && !none(next):
		return sheet(l.Name, l.all(rows, next)), nil
	default:
		answer = Table(l.Name, l.Columns, l.Cells(rows))
	}
	if !none(next) {
		answer.Header.Set("Link", "<"+With(r, "before", fmt.Sprint(next))+`>; rel="next"`)
	}
	return answer, nil
}

func none[C comparable](next C) bool {
	var zero C
	return next == zero
}

// all writes these rows and those on the pages after them. No more than a page is held at a time.
func (l *List[T, C]) all(rows []T, next C) httpdoor.Streamed {
	return func(ctx context.Context, to io.Writer) error {
		rows, next := rows, next
		for head := l.Columns; ; head = nil {
			if _, err := io.WriteString(to, written(head, l.Cells(rows))); err != nil || none(next) {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			var err error
			if rows, next, err = l.Find(ctx, next, atOnce); err != nil {
				return fmt.Errorf("the list %s was not written to its end: %w", l.Name, err)
			}
		}
	}
}

// written gives rows as CSV, below a head where there is one.
func written(head []string, rows [][]string) string {
	var b strings.Builder
	if head != nil {
		writeRow(&b, head)
	}
	for _, row := range rows {
		writeRow(&b, row)
	}
	return b.String()
}
