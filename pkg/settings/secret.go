package settings

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// mask stands for what must not be seen.
const mask = "••••"

// Secret is a text that never shows itself: printed, logged or marshalled it is "••••", or empty where it is empty.
type Secret string

// Reveal gives the text itself, for the one place that must send or compare it.
func (s Secret) Reveal() string { return string(s) }

// String masks the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString masks the secret.
func (s Secret) GoString() string { return s.String() }

// Format masks the secret under every verb; without it a wrong verb shows the text.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue masks the secret in logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText masks the secret in JSON, YAML and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Secrets is a list of secrets, separated by commas or line breaks. Space around an entry and empty entries count for
// nothing.
type Secrets []Secret

// Decode reads the list; it is how envconfig does it.
func (s *Secrets) Decode(value string) error {
	*s = nil
	for entry := range strings.FieldsFuncSeq(value, func(c rune) bool { return c == ',' || c == '\n' }) {
		if entry = strings.TrimSpace(entry); entry != "" {
			*s = append(*s, Secret(entry))
		}
	}
	return nil
}
