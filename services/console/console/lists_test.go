package console_test

import (
	"encoding/csv"
	"fmt"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
)

// csv reads a list as a table, without its head.
func (f *fixture) csv(path string) (rows [][]string, next string) {
	f.t.Helper()
	answer := f.Get(path, "Accept", "text/csv").Want(200)
	rows, err := csv.NewReader(strings.NewReader(answer.Body)).ReadAll()
	if err != nil {
		f.t.Fatal(err)
	}
	return rows[1:], answer.Header.Get("Link")
}

// TestAListIsWholeAsATable though its page shows fifty.
func TestAListIsWholeAsATable(t *testing.T) {
	const many = 60
	f := start(t)
	f.fail(1, many)
	f.knows(many)
	bustest.Eventually(t, "the letters are read", func() bool { return f.list("").Total == many })
	body := `{"why":"tests","by":"ada","sequences":[%d],"job":true}`
	for n := range many {
		f.Post("/dead-letters/discard", fmt.Sprintf(body, n+1)).Want(202)
	}
	bustest.Eventually(t, "all is decided", func() bool { return f.list("?state=discarded").Total == many })
	for _, path := range []string{"/loops", "/dead-letters?state=all", "/operations", "/dead-letters/jobs"} {
		rows, next := f.csv(path)
		if len(rows) != many || next != "" {
			t.Errorf("%s: %d rows, the next at %q", path, len(rows), next)
		}
		part := path + "?limit=50"
		if strings.Contains(path, "?") {
			part = path + "&limit=50"
		}
		first, link := f.csv(part)
		address, isNext := strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`)
		if len(first) != 50 || !isNext {
			t.Errorf("%s: %d rows, the next at %q", part, len(first), link)
			continue
		}
		rest, next := f.csv(address)
		if len(rest) != many-50 || next != "" || fmt.Sprint(append(first, rest...)) != fmt.Sprint(rows) {
			t.Errorf("%s: %d rows, the next at %q", address, len(rest), next)
		}
		if got := f.Get(part).Want(200).Header.Get("Link"); got != link {
			t.Errorf("programs are led to %q", got)
		}
	}
	if page := f.browser().opens("/loops?before=1.1&limit=2", 200); !strings.Contains(page, `href="/loops?format=csv"`) {
		t.Error("the page leads to a part of the table")
	}
}
