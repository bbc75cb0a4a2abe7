package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// shown is how many of a kind are listed one by one.
const shown = 20

// flows are timed from the event to the effect, by what it is called.
var flows = []string{"link", "link's interaction", "answer's interaction", "task", "recognition"}

// report holds the vendors' books against the workload, prints what was found, and fails unless it is all there once.
func (r *run) report(ctx context.Context) error {
	took := time.Since(r.begun)
	r.watch.stop()
	books, err := r.fleet.Landscape.Books(ctx)
	if err != nil {
		return err
	}
	v := judge(r.work, books, r.earlier)
	v.foreign = append(v.foreign, r.watch.foreign...)
	dead, err := deadLetters(ctx, r.fleet.JS, r.firstLetter)
	if err != nil {
		return err
	}
	unwanted, spared := r.sort(dead)
	missing := r.watch.missing(r.work)

	fmt.Fprintf(r.out, "\nscenario %s, seed %d, %d events\n", r.name, r.seed, len(r.work.inputs))
	for _, deed := range r.deeds {
		fmt.Fprintln(r.out, "  "+deed)
	}
	r.times()
	fmt.Fprintln(r.out)
	r.list(ctx, "lost", v.lost, true)
	r.list(ctx, "twice", v.twice, false)
	r.list(ctx, "foreign", v.foreign, false)
	var untold []string
	for _, e := range missing {
		untold = append(untold, e.subject+" "+e.event)
	}
	r.list(ctx, "event that should have followed", untold, false)
	r.list(ctx, "poisoned event without its dead letter", spared, false)
	if len(dead) > 0 {
		fmt.Fprintf(r.out, "%d dead letters, %d of them on purpose:\n", len(dead), len(dead)-len(unwanted))
		r.listDead(dead)
	}
	table := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "scenario\tseed\tevents\taccepted\teffects\tlost\ttwice\tforeign\tdead letters\tevents missing\tevents stored twice\ttook")
	fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", r.name, r.seed, len(r.work.inputs), r.watch.accepted(r.work), v.expected,
		len(v.lost), len(v.twice), len(v.foreign), len(unwanted), len(missing), r.watch.copies, took.Round(time.Second))
	if err := table.Flush(); err != nil {
		return err
	}
	if n := len(v.lost) + len(v.twice) + len(v.foreign) + len(unwanted) + len(missing) + len(spared); n > 0 {
		return fmt.Errorf("%s: not everything is there once", r.name)
	}
	return nil
}

// list prints some of what is wrong, with the ledger's records where they help.
func (r *run) list(ctx context.Context, what string, all []string, records bool) {
	for i, one := range all {
		if i == shown {
			fmt.Fprintf(r.out, "%s: … %d more\n", what, len(all)-shown)
			return
		}
		if records {
			one += " (" + record(ctx, r.ledger, one) + ")"
		}
		fmt.Fprintf(r.out, "%s: %s\n", what, one)
	}
}

// times prints how long effects took from their events.
func (r *run) times() {
	table := tabwriter.NewWriter(r.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "  from event to\tnumber\tp50\tp99\tlongest")
	for _, flow := range flows {
		t := r.watch.took(r.work, flow, func(*input) bool { return true })
		fmt.Fprintf(table, "  %s\t%d\t%s\t%s\t%s\n", flow, len(t), short(percentile(t, 50)), short(percentile(t, 99)), short(percentile(t, 100)))
	}
	_ = table.Flush() // to where all the rest goes
}

// percentile gives the time that p of a hundred do not exceed, 0 of none.
func percentile(times []time.Duration, p int) time.Duration {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[min(len(times)-1, (len(times)*p+99)/100-1)]
}

func short(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// letter is a dead letter.
type letter struct{ service, class, subject, reason, key string }

// deadLetters gives those from a sequence on.
func deadLetters(ctx context.Context, js jetstream.JetStream, first uint64) (all []letter, err error) {
	stream, err := js.Stream(ctx, topology.DeadLetters)
	if err != nil {
		return nil, err
	}
	for seq := first; ; {
		m, err := stream.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(topology.DeadLetterSubject("*")))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		var s said
		_ = json.Unmarshal(m.Data, &s) // a body that is none is a dead letter all the same
		l := letter{
			service: strings.TrimPrefix(m.Subject, topology.DeadLetterSubject("")), class: m.Header.Get(bus.HeaderClass),
			subject: m.Header.Get(bus.HeaderSubject), reason: m.Header.Get(bus.HeaderReason), key: s.ResponseID,
		}
		if l.subject == subjects.SurveyLinkRequested || l.subject == subjects.SurveyLinkCreated {
			l.key = s.RequestID
		}
		all = append(all, l)
		seq = m.Sequence + 1
	}
}

// sort tells the dead letters that nobody wanted, and the poisoned events that have none, unless they are held for ever.
func (r *run) sort(dead []letter) (unwanted []letter, spared []string) {
	poisonedKeys := map[string]bool{}
	for _, in := range r.work.inputs {
		if in.poison == invalid || in.poison == refused {
			poisonedKeys[in.key] = false
		}
	}
	for _, l := range dead {
		if _, ok := poisonedKeys[l.key]; ok {
			poisonedKeys[l.key] = true
		} else {
			unwanted = append(unwanted, l)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(poisonedKeys)) {
		if !poisonedKeys[key] {
			spared = append(spared, key)
		}
	}
	return unwanted, spared
}

// listDead prints dead letters by what they say, with an example each.
func (r *run) listDead(dead []letter) {
	type cause struct{ service, class, subject string }
	by := map[cause][]letter{}
	for _, l := range dead {
		c := cause{l.service, l.class, l.subject}
		by[c] = append(by[c], l)
	}
	for _, c := range slices.SortedFunc(maps.Keys(by), func(a, b cause) int {
		return cmp.Or(cmp.Compare(a.service, b.service), cmp.Compare(a.class, b.class), cmp.Compare(a.subject, b.subject))
	}) {
		fmt.Fprintf(r.out, "  %d of %s, class %s, %s; %s: %s\n", len(by[c]), c.service, c.class, c.subject, by[c][0].key, by[c][0].reason)
	}
}
