package standalone

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// show plays the campaign and tells what happens.
type show struct {
	out       io.Writer
	vendors   *landscape.Landscape
	simulated bool
	address   string
	nats      string
}

const (
	progressEvery = 200 * time.Millisecond
	// patience is how long nothing may change before the campaign is called stuck.
	patience = 90 * time.Second
)

// play starts the campaign at the first start, follows it to its end, and prints the result. The error says what is
// missing or too much.
func (s *show) play(ctx context.Context, members int) error {
	fmt.Fprintf(s.out, "\ncloseloop is up.\n\n  console             http://%s/\n  simulated vendors   http://%s/landscape/\n  health, metrics     http://%s/readyz  /metrics\n  NATS                %s\n\n"+
		"Open the console: choose a loop, open its mail and the survey in it, answer, and watch what follows arrive on the loop's page.\n\n",
		s.address, s.address, s.address, s.nats)
	if !s.simulated && os.Getenv("STANDALONE_CAMPAIGN") == "" {
		fmt.Fprintln(s.out, "A real vendor is set, so no campaign is played; set STANDALONE_CAMPAIGN to play one all the same.")
		return nil
	}
	if members == 0 {
		return nil
	}
	if len(s.vendors.Campaigns()) == 0 {
		fmt.Fprintf(s.out, "Playing a campaign with %d members through the whole loop.\n", members)
		if err := s.vendors.PlayCampaign(ctx, members); err != nil {
			return fmt.Errorf("the campaign did not start: %w", err)
		}
	} else {
		fmt.Fprintln(s.out, "Going on with the campaign of the last start.")
	}
	started := time.Now()
	want := expectation(s.vendors.Expected(members))
	have, err := s.follow(ctx, want)
	s.table(want, have, time.Since(started), ctx.Err() != nil)
	return err
}

// follow shows progress until everything has happened.
func (s *show) follow(ctx context.Context, want counts) (counts, error) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	last, changed := counts{}, time.Now()
	for {
		have := count(s.vendors.Books())
		if have != last {
			last, changed = have, time.Now()
			s.progress(want, have)
		}
		switch {
		case have.reached(want):
			s.endProgress()
			return have, have.wrong(want)
		case time.Since(changed) > patience:
			s.endProgress()
			return have, fmt.Errorf("nothing has changed for %s: %w", patience, have.wrong(want))
		}
		select {
		case <-ctx.Done():
			s.endProgress()
			return have, ctx.Err()
		case <-tick.C:
		}
	}
}

func (s *show) interactive() bool {
	f, ok := s.out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func (s *show) progress(want, have counts) {
	var parts []string
	for i, row := range have.rows() {
		parts = append(parts, fmt.Sprintf("%s %d/%d", row.what, row.count, want.rows()[i].count))
	}
	line := strings.Join(parts, " · ")
	if s.interactive() {
		fmt.Fprintf(s.out, "\r\x1b[K%s", line)
		return
	}
	fmt.Fprintln(s.out, line)
}

func (s *show) endProgress() {
	if s.interactive() {
		fmt.Fprintln(s.out)
	}
}

// table prints what happened.
func (s *show) table(want, have counts, took time.Duration, stopped bool) {
	fmt.Fprintln(s.out)
	w := tabwriter.NewWriter(s.out, 0, 4, 3, ' ', 0)
	fmt.Fprintln(w, "what\twhere\texpected\tthere\ttwice")
	for i, row := range have.rows() {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\n", row.what, row.where, want.rows()[i].count, row.count, row.twice)
	}
	_ = w.Flush() // a screen that is gone needs no table
	if stopped {
		return
	}
	fmt.Fprintf(s.out, "\nafter %.1f s. Open http://%s/ to choose a loop, read its mail, answer the survey, and watch what follows. Ctrl-C stops.\n",
		took.Seconds(), s.address)
}
