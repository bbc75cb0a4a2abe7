package console

import (
	"slices"
	"testing"
)

func TestFieldsAreListedOnce(t *testing.T) {
	for body, want := range map[string][]string{
		`{"b":1,"a":{"c":null,"d":[]}}`:                            {"a.c", "b"},
		`{"list":[{"v":1},{"v":2,"w":["x","y"]},3,{"v":{"u":1}}]}`: {"list[]", "list[].v", "list[].v.u", "list[].w[]"},
		`[[1],[2]]`: {"[][]"}, `1`: {""}, `{}`: {}, `{"a":`: {},
	} {
		if got := fieldsOf([]byte(body)); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", body, got, want)
		}
	}
}
