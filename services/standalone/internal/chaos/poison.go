package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

const (
	// onePoisoned of so many is, by turns of each kind.
	onePoisoned = 100
	// slack is what the clock and the machine add to a p99 that is not the events' doing.
	slack = 20 * time.Millisecond
)

// Poison is the scenario in which clean stretches and stretches with poisoned events among the sound ones take turns.
func Poison(ctx context.Context, o *options, flags *flag.FlagSet, args []string) (err error) {
	stretches := flags.Int("stretches", 6, "clean and poisoned ones by turns")
	o.rate = 20 // unless asked for: at 50 some vendors' limits bind, and what is measured is the queue for them
	if err := flags.Parse(args); err != nil {
		return err
	}
	w := plan(o.seed, o.events, usual)
	counts := w.poison(*stretches)
	r, err := begin(ctx, "poison", o, w, setUp{})
	defer func() { err = errors.Join(err, r.end()) }()
	if err != nil {
		return err
	}
	r.did("%d stretches of %d events, every other one with 1 in %d poisoned: %d break the contract, %d are refused by the vendor, of %d every call fails with 500 during the stretch",
		*stretches, len(w.inputs) / *stretches, onePoisoned, counts[invalid], counts[refused], counts[unlucky])
	var id string
	mend := func(ctx context.Context) error {
		if id == "" {
			return nil
		}
		was := id
		id = ""
		return r.fleet.Landscape.Mend(ctx, was)
	}
	r.feeder.entering = func(ctx context.Context, i int) (err error) {
		if err := mend(ctx); err != nil {
			return err
		}
		// What the last stretch did must not be measured in this one.
		if err := r.allThere(ctx, w.before(i)); err != nil || i%2 == 0 {
			return err
		}
		id, err = r.fleet.Landscape.Fault(ctx, landscape.Fault{Contains: poisoned, Kind: landscape.FaultStatus, Status: http.StatusInternalServerError})
		return err
	}
	r.feeder.left = mend
	if err := r.through(ctx); err != nil {
		return err
	}
	slower := r.ratios()
	return errors.Join(r.report(ctx), slower)
}

// poison spoils one in a hundred inputs of every other stretch, and tells how many of each kind.
func (w *workload) poison(stretches int) map[poison]int {
	counts, kinds := map[poison]int{}, []poison{invalid, refused, unlucky}
	clean := 0
	for i, in := range w.inputs {
		in.stretch = i * stretches / len(w.inputs)
		if in.stretch%2 == 0 {
			continue
		}
		if clean++; clean < onePoisoned || in.of != nil || in.answered != nil || in.door {
			continue
		}
		clean = 0
		p := kinds[(counts[invalid]+counts[refused]+counts[unlucky])%len(kinds)]
		if p == refused && in.kind == answer { // nobody refuses an answer; one that nobody asks to recognise is just an answer
			in.outcome, in.survey = praise, landscape.ServiceSurvey
		}
		if p == unlucky {
			in.key = strings.Replace(in.key, "-", poisoned, 1)
		}
		in.poison = p
		counts[p]++
	}
	return counts
}

// before counts what is put in before a stretch begins.
func (w *workload) before(stretch int) (n int) {
	for _, in := range w.inputs {
		if in.stretch < stretch && in.of == nil {
			n++
		}
	}
	return n
}

// ratios prints how long the sound ones took in clean and in poisoned stretches, and fails where the poisoned were more
// than a tenth slower.
func (r *run) ratios() error {
	table := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nfrom event to\tclean: number\tp50\tp99\tpoisoned: number\tp50\tp99\tratio of p99")
	var errs []error
	for _, flow := range flows {
		of := func(turn int) []time.Duration {
			return r.watch.took(r.work, flow, func(in *input) bool { return in.poison == sound && in.of == nil && in.stretch%2 == turn })
		}
		clean, dirty := of(0), of(1)
		was, is := percentile(clean, 99), percentile(dirty, 99)
		ratio := float64(is) / float64(max(was, 1))
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%d\t%s\t%s\t%.2f\n", flow, len(clean), short(percentile(clean, 50)), short(was),
			len(dirty), short(percentile(dirty, 50)), short(is), ratio)
		if ratio > 1.1 && is-was > slack {
			errs = append(errs, fmt.Errorf("poisoned events made others slower: %s, p99 %s in place of %s", flow, short(is), short(was)))
		}
	}
	return errors.Join(append(errs, table.Flush())...)
}
