package console_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
)

// readModel is the content of all files that a console has in its folder.
func readModel(t *testing.T, dir string) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "console", "loops.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("a console in %s has no file: %v", dir, err)
	}
	var all []byte
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		all = append(all, content...)
	}
	return all
}

// TestNoConsoleRemembersAForgottenPerson looks for their ids in the files of the console that forgot them, of another, and of
// one that reads everything afterwards.
func TestNoConsoleRemembersAForgottenPerson(t *testing.T) {
	w := newTown(t)
	eve := customer{"EVE-4711", "Eve-4711@Example.com", "Lovelace", "https://survey.example/eve", "late"}
	w.lives(eve)
	w.lives(ben)
	w.qualtrics()
	dirs := []string{t.TempDir(), t.TempDir()}
	var consoles []*servicetest.Service
	for _, dir := range dirs {
		consoles = append(consoles, w.console(servicetest.Env{"DATA_DIR": dir}))
	}
	ids := []string{"P-EVE-4711", "QEVE-4711", "CID_EVE-4711", "CGC_EVE-4711", "R_EVE-4711", "L-EVE-4711", "1EVE-4711", "4EVE-4711"}
	for _, dir := range dirs {
		bustest.Eventually(t, "the loops are in the file", func() bool {
			content := readModel(t, dir)
			for _, id := range ids {
				if !bytes.Contains(content, []byte(id)) {
					return false
				}
			}
			return true
		})
	}
	receipt(t, consoles[0], forget(t, consoles[0], `{"why":"asked by letter","by":"eve","email":"eve-4711@example.com"}`).ID)
	dirs = append(dirs, t.TempDir())
	w.console(servicetest.Env{"DATA_DIR": dirs[2]})
	for _, dir := range dirs {
		bustest.Eventually(t, "it is forgotten, and Ben is not", func() bool {
			content := readModel(t, dir)
			for _, id := range append(ids, "eve-4711", "Eve-4711") {
				if bytes.Contains(content, []byte(id)) {
					return false
				}
			}
			return bytes.Contains(content, []byte("CID_B"))
		})
	}
}
