// Package calls counts the calls that a simulated vendor gets, by operation. The counts outlive a restart.
package calls

import (
	"log/slog"

	"github.com/closeloop/closeloop/services/landscape/internal/store"
)

// Counter counts calls by operation. It is safe for concurrent use.
type Counter struct {
	table *store.Table[count]
	log   *slog.Logger
}

type count struct {
	Operation string `json:"operation"`
	Calls     int    `json:"calls"`
}

// New opens the counter kept in the table of that name.
func New(s *store.Store, table string, log *slog.Logger) (*Counter, error) {
	t, err := store.NewTable[count](s, table)
	return &Counter{t, log}, err
}

// Add counts one call of the operation.
func (c *Counter) Add(operation string) {
	_, err := c.table.Update(operation, func(n count, _ bool) (count, bool) {
		return count{operation, n.Calls + 1}, true
	})
	if err != nil {
		c.log.Error("call not counted", "operation", operation, "error", err)
	}
}

// ByOperation gives the number of calls of each operation.
func (c *Counter) ByOperation() map[string]int {
	all := map[string]int{}
	for _, n := range c.table.All() {
		all[n.Operation] = n.Calls
	}
	return all
}
