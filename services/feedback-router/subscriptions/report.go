package subscriptions

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// report is what the command prints.
type report struct {
	// DryRun says that nothing was done.
	DryRun        bool    `json:"dryRun"`
	Subscriptions []entry `json:"subscriptions"`
}

// entry is one subscription.
type entry struct {
	// Action is kept, created or deleted; empty in a list.
	Action string `json:"action,omitempty"`
	// ID is empty for what would be created.
	ID              string `json:"id,omitempty"`
	Topics          string `json:"topics"`
	URL             string `json:"url"`
	SuccessfulCalls int    `json:"successfulCalls"`
	// Ours is left out where nobody said where ours send to.
	Ours   *bool  `json:"ours,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (r *report) write(out io.Writer, asJSON bool) error {
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(r)
	}
	if len(r.Subscriptions) == 0 {
		_, err := fmt.Fprintln(out, "no subscriptions")
		return err
	}
	if r.DryRun {
		if _, err := fmt.Fprintln(out, "nothing was done; this would be:"); err != nil {
			return err
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, e := range r.Subscriptions {
		what, id := e.Action, e.ID
		switch {
		case what == "" && e.Ours == nil:
			what = "?"
		case what == "" && *e.Ours:
			what = "ours"
		case what == "":
			what = "other"
		}
		if id == "" {
			id = "-"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d delivered\t%s\n", what, id, e.Topics, e.URL, e.SuccessfulCalls, e.Reason)
	}
	return table.Flush()
}
