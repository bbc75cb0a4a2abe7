// Package logging makes the logger of a process.
package logging

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

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

// Settings are those of every process that logs.
type Settings struct {
	Level  string `envconfig:"LOG_LEVEL" default:"info" desc:"debug, info, warn or error"`
	Format string `envconfig:"LOG_FORMAT" default:"auto" desc:"text (coloured on a terminal), json, or auto: text on a terminal, json elsewhere"`
}

// Validate names the settings that are wrong, and what they may be.
func (s Settings) Validate() error {
	_, err := s.least()
	if !slices.Contains([]string{"", Auto, Text, JSON}, s.Format) {
		err = errors.Join(err, fmt.Errorf("LOG_FORMAT is %q; it may be auto, text or json", s.Format))
	}
	return err
}

// least is the lowest level that is logged.
func (s Settings) least() (least slog.Level, err error) {
	if s.Level == "" {
		return slog.LevelInfo, nil
	}
	if err := least.UnmarshalText([]byte(s.Level)); err != nil {
		return least, fmt.Errorf("LOG_LEVEL is %q; it may be debug, info, warn or error", s.Level)
	}
	return least, nil
}

// New makes a logger that writes to w. An empty format is [Auto], an empty level is info. The error is that of
// [Settings.Validate].
func New(w *os.File, s Settings) (*slog.Logger, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	least, _ := s.least() // it is valid
	terminal, format := term.IsTerminal(int(w.Fd())), s.Format
	if format == "" || format == Auto {
		format = JSON
		if terminal {
			format = Text
		}
	}
	if format == Text {
		return slog.New(traced{tint.NewTextHandler(w, &tint.Options{Level: least, NoColor: !terminal})}), nil
	}
	return slog.New(traced{slog.NewJSONHandler(w, &slog.HandlerOptions{Level: least})}), nil
}

// Discard makes a logger that keeps nothing.
func Discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
