package console

import (
	"strings"
	"testing"
)

func TestAnIdThatMayHoldAnAddressHasAnAlias(t *testing.T) {
	key := strings.Repeat("k", 32)
	a, same, other := newAliases(key), newAliases(key), newAliases(key+"2")
	for _, id := range []string{"", "L-1", "EVENTS-12", "R_1/2", "a=b#c~d", "~x", "Übung", "4f0c0c3e-9b0a-5b5e-8a39-0d0c4b7d6a11"} {
		if a.of(id) != id || a.id(id) != id || a.title(id) != id {
			t.Errorf("%q is called %q, and is %q", id, a.of(id), a.id(id))
		}
	}
	seen := map[string]bool{}
	for _, id := range []string{"ada@example.com", "bob@example.com", "ada%40example.com", "order of Ada", "ada＠example.com", "L-1@" + strings.Repeat("x", 300)} {
		called := a.of(id)
		if called == id || strings.Contains(called, "ada") || !named.MatchString(called) && len(called) < 256 || seen[called] {
			t.Errorf("%q is called %q", id, called)
		}
		seen[called] = true
		if a.id(called) != id || same.of(id) != called || same.id(called) != id {
			t.Errorf("%q is not found by %q", id, called)
		}
		if other.id(called) != called || other.of(id) == called {
			t.Errorf("%q is read with another key", called)
		}
		if title := a.title(called); strings.Contains(title, id) || !strings.HasPrefix(title, "•••• ") {
			t.Errorf("%q has the title %q", id, title)
		}
		for _, wrong := range []string{called[:len(called)-1], called + "A", aliasPrefix + called, aliasPrefix, aliasPrefix + "AAAA"} {
			if got := a.id(wrong); got != wrong {
				t.Errorf("%q is taken for %q", wrong, got)
			}
		}
	}
}
