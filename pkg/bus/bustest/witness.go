package bustest

import (
	"context"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// witness takes a server's log and keeps who asked for what, and what was refused. It is safe for concurrent use.
type witness struct {
	mu   sync.Mutex
	no   []string
	asks map[ask]bool
}

// ask is a user who publishes or subscribes.
type ask struct{ user, operation, subject string }

// operation is a line about one: …"$G/user:ingress" - <<- [PUB survey.link.requested …].
var operation = regexp.MustCompile(`"\$G/user:([^"]+)" - <<- \[(H?PUB|SUB) (\S+)`)

func (w *witness) trace(line string) {
	found := operation.FindStringSubmatch(line)
	if found == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asks == nil {
		w.asks = map[ask]bool{}
	}
	w.asks[ask{found[1], strings.TrimPrefix(found[2], "H"), found[3]}] = true
}

func (w *witness) asked(user string) (published, subscribed []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a := range w.asks {
		switch {
		case a.user != user:
		case a.operation == "PUB":
			published = append(published, a.subject)
		default:
			subscribed = append(subscribed, a.subject)
		}
	}
	return published, subscribed
}

func (w *witness) refused() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.no
	w.no = nil
	return all
}

// refusals are what a server writes of what it does not allow.
var refusals = []string{"Publish Violation", "Subscription Violation", "authentication error"}

// Handle keeps the line if it is about rights.
func (w *witness) Handle(_ context.Context, r slog.Record) error {
	if slices.ContainsFunc(refusals, func(text string) bool { return strings.Contains(r.Message, text) }) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.no = append(w.no, r.Message)
	}
	return nil
}

// Enabled is for all that goes wrong.
func (w *witness) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

// WithAttrs needs none of them.
func (w *witness) WithAttrs([]slog.Attr) slog.Handler { return w }

// WithGroup needs none.
func (w *witness) WithGroup(string) slog.Handler { return w }
