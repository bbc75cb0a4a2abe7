package main

import (
	"strings"
	"testing"
)

func TestWithoutAScenarioItSaysWhichThereAre(t *testing.T) {
	for _, args := range [][]string{nil, {"unheard-of"}} {
		_, _, err := choose(args)
		for name := range scenarios {
			if err == nil || !strings.Contains(err.Error(), "chaos "+name+" ") {
				t.Errorf("%q: %v does not name %s", args, err, name)
			}
		}
	}
}
