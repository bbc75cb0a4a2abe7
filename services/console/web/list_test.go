package web_test

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/services/console/web"
)

// countdown is a list of the numbers up to one, the largest first. It fails at that number, 0 for none.
func countdown(t *testing.T, from, failsAt int) *web.List[int, int] {
	t.Helper()
	return &web.List[int, int]{
		Name: "numbers", Columns: []string{"number"},
		Cells: func(rows []int) (cells [][]string) {
			for _, n := range rows {
				cells = append(cells, []string{strconv.Itoa(n)})
			}
			return cells
		},
		Find: func(_ context.Context, before, limit int) (rows []int, next int, err error) {
			if limit > 1000 {
				t.Errorf("%d rows are asked for at once", limit)
			}
			if before == 0 {
				before = from + 1
			}
			for n := before - 1; n > 0; n-- {
				if n == failsAt {
					return nil, 0, errors.New("unreadable")
				}
				if len(rows) == limit {
					return rows, n + 1, nil
				}
				rows = append(rows, n)
			}
			return rows, 0, nil
		},
		Page: func(rows []int, next int) (*httpdoor.Response, error) {
			return &httpdoor.Response{Body: "a page", Status: 200 + len(rows)}, nil
		},
		JSON: func(rows []int, _ int) any { return rows },
	}
}

// content is what an answer says, and what went wrong while it was made.
func content(t *testing.T, answer *httpdoor.Response) (string, error) {
	t.Helper()
	switch body := answer.Body.(type) {
	case []byte:
		return string(body), nil
	case httpdoor.Streamed:
		var b bytes.Buffer
		err := body(t.Context(), &b)
		return b.String(), err
	}
	t.Fatalf("a body of %T", answer.Body)
	return "", nil
}

func TestAListIsWholeAsCSV(t *testing.T) {
	for _, length := range []int{0, 1, 999, 1000, 1001, 2041, 3000} {
		answer, err := countdown(t, length, 0).Answer(t.Context(), request("/numbers?format=csv"), 0, 50)
		if err != nil {
			t.Fatal(err)
		}
		text, err := content(t, answer)
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if err != nil || len(lines) != length+1 || lines[0] != "number" || length > 0 && lines[length] != "1" || strings.Count(text, "number") != 1 {
			t.Errorf("of %d: %d lines, %v", length, len(lines), err)
		}
		if answer.Header.Get("Link") != "" || answer.Header.Get("Content-Disposition") != `attachment; filename="numbers.csv"` {
			t.Errorf("of %d: %v", length, answer.Header)
		}
	}
}

func TestAPartOfAListLeadsToTheNext(t *testing.T) {
	for path, want := range map[string]string{
		"/numbers?format=csv&limit=2":          `</numbers?before=9&format=csv&limit=2>; rel="next"`,
		"/numbers?format=csv&before=11":        `</numbers?before=9&format=csv>; rel="next"`,
		"/numbers?state=odd":                   `</numbers?before=9&state=odd>; rel="next"`,
		"/numbers?format=csv&limit=2&before=3": "",
	} {
		r, before := request(path), 0
		if v := r.Query.Get("before"); v != "" {
			before, _ = strconv.Atoi(v)
		}
		answer, err := countdown(t, 10, 0).Answer(t.Context(), r, before, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got := answer.Header.Get("Link"); got != want {
			t.Errorf("%s leads to %q", path, got)
		}
		if text, ok := answer.Body.([]byte); ok && strings.Count(string(text), "\n") != 3 {
			t.Errorf("%s: %s", path, text)
		}
	}
}

func TestAListThatCannotBeReadToItsEndIsNotTakenForWhole(t *testing.T) {
	if _, err := countdown(t, 2041, 2000).Answer(t.Context(), request("/numbers?format=csv"), 0, 50); err == nil {
		t.Error("it begins")
	}
	answer, err := countdown(t, 2041, 30).Answer(t.Context(), request("/numbers?format=csv"), 0, 50)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := content(t, answer); err == nil || strings.Count(text, "\n") < 1000 {
		t.Errorf("%d lines, %v", strings.Count(text, "\n"), err)
	}
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if err := answer.Body.(httpdoor.Streamed)(ctx, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
		t.Errorf("for who has gone: %v", err)
	}
}
