package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// stepOf is a step of a bulk import, and how often Qualtrics must have been called, or how many links must have been
// published, since the linker was last killed, for the step to be in hand.
type stepOf struct {
	name, operation string
	links           bool
	times           int
}

var importSteps = []stepOf{
	{"batch made", "POST /directories/{d}/transactionbatches", false, 1},
	{"import sent", "POST /directories/{d}/mailinglists/{m}/transactioncontacts", false, 1},
	{"import being read", "GET /directories/{d}/mailinglists/{m}/transactioncontacts/{i}", false, 1},
	{"distribution made", "POST /distributions", false, 1},
	{"links being read", "GET /distributions/{e}/links", false, 2},
	{"link events being published", "", true, 20},
}

// Import is the scenario in which the linker is killed at each step of a bulk import, each step in an import of its own.
func Import(ctx context.Context, o *options, flags *flag.FlagSet, args []string) (err error) {
	only := flags.String("steps", "1,2,3,4,5,6", "at which of them")
	if err := flags.Parse(args); err != nil {
		return err
	}
	steps, err := chosen(*only)
	if err != nil {
		return err
	}
	w := plan(o.seed, o.events*len(steps), mix{invitations: 1})
	for i, in := range w.inputs { // one survey, so that they are made together
		in.survey, in.outboundID, in.stretch = landscape.ServiceSurvey, "", i/o.events
	}
	r, err := begin(ctx, "import", o, w, setUp{landscape: []string{`LANDSCAPE_QUALTRICS={"latency":"50ms","importDuration":"2s"}`}})
	defer func() { err = errors.Join(err, r.end()) }()
	if err != nil {
		return err
	}
	r.rate = 0
	killing, stop := context.WithCancel(ctx)
	defer stop()
	killed := make(chan error, len(steps))
	r.feeder.entering = func(ctx context.Context, i int) error {
		if err := r.allThere(ctx, i*o.events); err != nil {
			return err
		}
		before, err := r.reached(ctx, steps[i])
		go func() { killed <- r.killAt(killing, steps[i], before) }()
		return err
	}
	if err := r.through(ctx); err != nil {
		return err
	}
	stop()
	var errs []error
	for range steps {
		errs = append(errs, <-killed)
	}
	return errors.Join(append(errs, r.report(ctx))...)
}

// allThere waits until the first n inputs have all their effects.
func (r *run) allThere(ctx context.Context, n int) error {
	return lab.Until(ctx, time.Hour, "all that was put in is done", func() (bool, error) {
		return r.watch.accepted(r.work) >= n && len(r.watch.missing(r.work)) == 0, nil
	})
}

// killAt kills the linker when a step is in hand: more of what tells of it than before.
func (r *run) killAt(ctx context.Context, s stepOf, before int) error {
	err := lab.Until(ctx, time.Hour, s.name, func() (bool, error) {
		n, err := r.reached(ctx, s)
		return n >= before+s.times, err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if err := r.fleet.Service(topology.QualtricsLinker).Restart(); err != nil {
		return err
	}
	r.watch.mu.Lock()
	defer r.watch.mu.Unlock()
	r.did("import of %d: qualtrics-linker killed with SIGKILL, %s, after %s", r.events, s.name, time.Since(r.begun).Round(time.Second))
	return nil
}

// chosen gives the steps of these numbers, from 1.
func chosen(numbers string) (steps []stepOf, err error) {
	for number := range strings.SplitSeq(numbers, ",") {
		n, err := strconv.Atoi(number)
		if err != nil || n < 1 || n > len(importSteps) {
			return nil, fmt.Errorf("-steps: %q is not a number from 1 to %d", number, len(importSteps))
		}
		steps = append(steps, importSteps[n-1])
	}
	return steps, nil
}

// reached counts what a step is told by.
func (r *run) reached(ctx context.Context, s stepOf) (int, error) {
	if s.links {
		return lab.Count(ctx, r.fleet.JS, topology.Events, subjects.SurveyLinkCreated)
	}
	counted, err := r.fleet.Landscape.Calls(ctx)
	for _, o := range counted.Calls {
		if o.Vendor == landscape.Qualtrics && o.Operation == s.operation {
			return o.Calls, err
		}
	}
	return 0, err
}
