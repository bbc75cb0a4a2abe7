// Package logging makes the logger of a process.
package logging

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// The formats that [New] knows.
const (
	// Auto is Text on a terminal and JSON elsewhere.
	Auto = "auto"
	// Text is for people, with colour on a terminal.
	Text = "text"
	// JSON is one object a line, for collectors.
	JSON = "json"
)

// New makes a logger that writes to w. An empty format is [Auto], an empty level is info; levels are debug, info, warn
// and error. The error names the setting, LOG_FORMAT or LOG_LEVEL, and what it may be.
func New(w *os.File, format, level string) (*slog.Logger, error) {
	var least slog.Level
	if level != "" {
		if err := least.UnmarshalText([]byte(level)); err != nil {
			return nil, fmt.Errorf("LOG_LEVEL is %q; it may be debug, info, warn or error", level)
		}
	}
	terminal := term.IsTerminal(int(w.Fd()))
	if format == "" || format == Auto {
		format = JSON
		if terminal {
			format = Text
		}
	}
	switch format {
	case Text:
		return slog.New(traced{tint.NewTextHandler(w, &tint.Options{Level: least, NoColor: !terminal})}), nil
	case JSON:
		return slog.New(traced{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: least})}), nil
	}
	return nil, fmt.Errorf("LOG_FORMAT is %q; it may be auto, text or json", format)
}

// Discard makes a logger that keeps nothing.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
