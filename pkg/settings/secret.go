package settings

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"

	"github.com/closeloop/closeloop/pkg/livefile"
)

// mask stands for what must not be seen.
const mask = "••••"

// Secret is a text that never shows itself: printed, logged or marshalled it is "••••", or empty where it is empty. One
// that was loaded from a file follows the file: reveal it each time it is used, and never keep what was revealed. The
// zero value is the empty secret; copies are the same secret.
type Secret struct{ hidden[string] }

// SecretOf makes a secret of a text.
func SecretOf(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{hidden[string]{&held[string]{fixed: text}}}
}

// Decode reads the secret; it is how envconfig does it.
func (s *Secret) Decode(value string) error {
	*s = SecretOf(value)
	return nil
}

// Reveal gives the text as it is now, for the one place that must send or compare it.
func (s Secret) Reveal() string { return s.reveal() }

func (s *Secret) follow(name, path string) (err error) {
	s.held, err = fromFile(name, path, func(text string) (string, error) { return text, nil })
	return err
}

// Secrets is a list of secrets, separated by commas or line breaks. Space around an entry and empty entries count for
// nothing. Several are for the time in which one is replaced by another. The rest is as with [Secret].
type Secrets struct{ hidden[[]string] }

// SecretsOf makes a list of texts.
func SecretsOf(texts ...string) Secrets {
	if len(texts) == 0 {
		return Secrets{}
	}
	return Secrets{hidden[[]string]{&held[[]string]{fixed: texts}}}
}

// Decode reads the list; it is how envconfig does it.
func (s *Secrets) Decode(value string) error {
	*s = SecretsOf(entries(value)...)
	return nil
}

// Reveal gives the texts as they are now, for the one place that must send or compare them.
func (s Secrets) Reveal() []string { return s.reveal() }

func (s *Secrets) follow(name, path string) (err error) {
	s.held, err = fromFile(name, path, func(text string) ([]string, error) {
		list := entries(text)
		if len(list) == 0 {
			return nil, fmt.Errorf("%s has no entry", path)
		}
		return list, nil
	})
	return err
}

func entries(value string) []string {
	var list []string
	for entry := range strings.FieldsFuncSeq(value, func(c rune) bool { return c == ',' || c == '\n' }) {
		if entry = strings.TrimSpace(entry); entry != "" {
			list = append(list, entry)
		}
	}
	return list
}

// hidden hides what it holds. It is behind a pointer, so that whatever prints a struct by its fields sees an address.
type hidden[T any] struct{ held *held[T] }

// held is a secret: from a file, or else fixed.
type held[T any] struct {
	fixed T
	file  *livefile.Value[T]
	check atomic.Pointer[func(T) error]
}

// fromFile holds what the file holds, less line breaks at its end.
func fromFile[T any](name, path string, parse func(string) (T, error)) (*held[T], error) {
	h := &held[T]{}
	var err error
	h.file, err = livefile.Open(name, func(contents [][]byte) (T, error) {
		text := strings.TrimRight(string(contents[0]), "\r\n")
		if text == "" {
			var none T
			return none, fmt.Errorf("%s is empty", path)
		}
		value, err := parse(text)
		if check := h.check.Load(); err == nil && check != nil {
			err = (*check)(value)
		}
		return value, err
	}, path)
	return h, err
}

// Accept says what a file's new content must pass to take the place of the one in force. The error must not show a secret.
func (h hidden[T]) Accept(check func(T) error) {
	if h.held != nil {
		h.held.check.Store(&check)
	}
}

// IsSet tells that there is a secret.
func (h hidden[T]) IsSet() bool { return h.held != nil }

func (h hidden[T]) reveal() T {
	switch {
	case h.held == nil:
		var none T
		return none
	case h.held.file != nil:
		return h.held.file.Get()
	}
	return h.held.fixed
}

// String masks the secret.
func (h hidden[T]) String() string {
	if !h.IsSet() {
		return ""
	}
	return mask
}

// GoString masks the secret.
func (h hidden[T]) GoString() string { return h.String() }

// Format masks the secret under every verb; without it a wrong verb shows the text.
func (h hidden[T]) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.String()) }

// LogValue masks the secret in logs.
func (h hidden[T]) LogValue() slog.Value { return slog.StringValue(h.String()) }

// MarshalText masks the secret in JSON, YAML and the like.
func (h hidden[T]) MarshalText() ([]byte, error) { return []byte(h.String()), nil }
