package logging_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/closeloop/closeloop/pkg/logging"
)

const escape = "\x1b["

func TestFilesGetJSONUnlessTextIsAsked(t *testing.T) {
	for format, isJSON := range map[string]bool{"": true, logging.Auto: true, logging.JSON: true, logging.Text: false} {
		line := toFile(t, format, "")
		if got := json.Valid([]byte(line)); got != isJSON {
			t.Errorf("%q: wrote %s", format, line)
		}
		if !strings.Contains(line, "hello") || strings.Contains(line, escape) {
			t.Errorf("%q: wrote %q", format, line)
		}
	}
}

func TestTerminalsGetColourUnlessJSONIsAsked(t *testing.T) {
	for format, coloured := range map[string]bool{"": true, logging.Auto: true, logging.Text: true, logging.JSON: false} {
		line := toTerminal(t, format)
		if !strings.Contains(line, "hello") || strings.Contains(line, escape) != coloured {
			t.Errorf("%q: wrote %q", format, line)
		}
	}
}

func TestLevelHidesWhatIsBelow(t *testing.T) {
	for level, shown := range map[string]bool{"": true, "debug": true, "INFO": true, "warn": false, "error": false} {
		if line := toFile(t, logging.Text, level); (line != "") != shown {
			t.Errorf("%q: wrote %q", level, line)
		}
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	for settings, want := range map[logging.Settings]string{
		{Format: "xml"}: `LOG_FORMAT is "xml"; it may be auto, text or json`,
		{Level: "loud"}: `LOG_LEVEL is "loud"; it may be debug, info, warn or error`,
		{Level: "loud", Format: "xml"}: `LOG_LEVEL is "loud"; it may be debug, info, warn or error` + "\n" +
			`LOG_FORMAT is "xml"; it may be auto, text or json`,
	} {
		if _, err := logging.New(os.Stderr, settings); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestDiscardIsNotEnabled(t *testing.T) {
	if logging.Discard().Enabled(t.Context(), 100) {
		t.Error("something would be kept")
	}
}

func toFile(t *testing.T, format, level string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	log, err := logging.New(f, logging.Settings{Format: format, Level: level})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func toTerminal(t *testing.T, format string) string {
	t.Helper()
	screen, terminal, err := pty.Open()
	if err != nil {
		t.Skipf("no terminal can be opened here: %v", err)
	}
	defer func() { _ = errors.Join(terminal.Close(), screen.Close()) }()
	log, err := logging.New(terminal, logging.Settings{Format: format})
	if err != nil {
		t.Fatal(err)
	}
	log.Info("hello")
	line, err := bufio.NewReader(screen).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return line
}
