package console

import "testing"

// TestSoMuchHasChangedThatItIsNotListed is of what a live page is told when more loops change at once than are listed.
func TestSoMuchHasChangedThatItIsNotListed(t *testing.T) {
	changes := make(chan []string, 2)
	changes <- []string{"L-2"}
	changes <- nil
	close(changes)
	if !next(changes, "L-1") {
		t.Error("L-1 may have changed, and nobody looks")
	}
	if next(changes, "L-1") {
		t.Error("nothing will change any more")
	}
}
