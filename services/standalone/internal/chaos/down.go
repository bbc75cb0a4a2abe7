package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// flowsOf are the flows that end at each vendor, by what flows are called. What goes through one before it is a flow of
// its as well.
var flowsOf = map[string][]string{
	landscape.Qualtrics:  {"link", "link's interaction"},
	landscape.Marketing:  {"link's interaction", "answer's interaction"},
	landscape.SalesCloud: {"task"},
	landscape.Awardco:    {"recognition"},
}

// stretch is a part of a run with a name.
type stretch struct {
	name string
	long time.Duration
	// out is the vendor that is out meanwhile.
	out string
	// begin and end start and mend what is wrong in it.
	begin, end func(context.Context) error
}

// Down is the scenario in which one vendor is down for a while, and then another refuses our credentials.
func Down(ctx context.Context, o *options, flags *flag.FlagSet, args []string) (err error) {
	long := flags.Duration("for", 10*time.Minute, "how long the first vendor is down: half of it answering 503, half of it refusing connections; the second answers 401 for half as long")
	first := flags.String("vendor", landscape.SalesCloud, "the one that is down")
	second := flags.String("other", landscape.Awardco, "the one that refuses our credentials")
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := begin(ctx, "down", o, plan(o.seed, o.events, usual), setUp{gated: []string{*first}})
	defer func() { err = errors.Join(err, r.end()) }()
	if err != nil {
		return err
	}
	stretches := []stretch{
		{name: "before", long: *long / 4},
		r.answering(*first, 503, *long/2),
		r.refusing(*first, *long/2),
		{name: "between", long: *long / 4},
		r.answering(*second, 401, *long/2),
		{name: "after", long: *long / 4},
	}
	var all time.Duration
	for _, s := range stretches {
		all += s.long
	}
	r.rate = float64(r.events) / all.Seconds()
	r.did("%.1f events a second for all vendors", r.rate)
	playing, stop := context.WithCancel(ctx)
	defer stop()
	played := make(chan error, 1)
	go func() { played <- r.play(playing, stretches) }()
	if err := r.through(ctx); err != nil {
		return err
	}
	if err := <-played; err != nil {
		return err
	}
	slower := r.compare(stretches)
	return errors.Join(r.report(ctx), slower)
}

// answering is a stretch in which a vendor answers every call with a status.
func (r *run) answering(vendor string, status int, long time.Duration) stretch {
	var id string
	return stretch{
		name: fmt.Sprintf("%s answers %d", vendor, status), long: long, out: vendor,
		begin: func(ctx context.Context) (err error) {
			id, err = r.fleet.Landscape.Fault(ctx, landscape.Fault{Vendor: vendor, Kind: landscape.FaultStatus, Status: status})
			return err
		},
		end: func(ctx context.Context) error { return r.fleet.Landscape.Mend(ctx, id) },
	}
}

// refusing is a stretch in which nobody listens at a vendor's address.
func (r *run) refusing(vendor string, long time.Duration) stretch {
	gate := r.fleet.Gates[vendor]
	return stretch{
		name: vendor + " refuses connections", long: long, out: vendor,
		begin: func(context.Context) error { return gate.Shut() },
		end:   func(context.Context) error { return gate.Open() },
	}
}

// play lets the stretches pass, one after another.
func (r *run) play(ctx context.Context, stretches []stretch) error {
	for i, s := range stretches {
		r.feeder.stretch.Store(int32(i))
		if s.begin != nil {
			if err := s.begin(ctx); err != nil {
				return err
			}
			r.did("%s for %s, after %s", s.name, s.long, time.Since(r.begun).Round(time.Second))
		}
		select {
		case <-time.After(s.long):
		case <-ctx.Done():
			return ctx.Err()
		}
		if s.end != nil {
			if err := s.end(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare prints how long the flows took in each stretch, and fails where a flow was slower while another flow's vendor
// was out than before. What was stored before the backlog of an outage was done is left out of the stretches after it.
func (r *run) compare(stretches []stretch) error {
	table := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nstretch\tfrom event to\tnumber\tp50\tp99\t")
	before, again := map[string]time.Duration{}, map[string]time.Time{} // from when on a flow has caught up after an outage
	var errs []error
	for i, s := range stretches {
		affected := map[string]bool{}
		for _, flow := range flowsOf[s.out] {
			affected[flow] = true
		}
		for _, flow := range flows {
			took := r.watch.took(r.work, flow, func(in *input) bool { return in.stretch == i && in.stored.After(again[flow]) })
			p50, p99 := percentile(took, 50), percentile(took, 99)
			note := ""
			switch {
			case i == 0:
				before[flow] = p99
			case affected[flow]:
				note = "out"
			case s.out != "" && p99 > before[flow]*3/2 && p99 > before[flow]+500*time.Millisecond:
				note = "slower"
				errs = append(errs, fmt.Errorf("%s was slower while %s: p99 %s, before %s", flow, s.name, short(p99), short(before[flow])))
			}
			if affected[flow] {
				again[flow] = r.watch.last(r.work, flow, func(in *input) bool { return in.stretch == i })
			}
			fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", s.name, flow, len(took), short(p50), short(p99), note)
		}
	}
	return errors.Join(append(errs, table.Flush())...)
}
