package chaos

import (
	"context"
	"errors"
	"flag"
	"net/http"

	"github.com/closeloop/closeloop/services/landscape/landscape"
)

// lostShare of all calls that change something lose their answers.
const lostShare = 0.2

// lose cuts the connection of that share of the calls, after the vendor has acted.
func (r *run) lose(ctx context.Context) (tell func() error, err error) {
	for i, method := range []string{http.MethodPost, http.MethodPut, http.MethodPatch} {
		f := landscape.Fault{Method: method, Kind: landscape.FaultLostAnswer, Rate: lostShare, Seed: r.seed + uint64(i)}
		if _, err := r.fleet.Landscape.Fault(ctx, f); err != nil {
			return nil, err
		}
	}
	return func() error {
		on, err := r.fleet.Landscape.Faults(ctx)
		fired := 0
		for _, f := range on {
			fired += f.Fired
		}
		r.did("%d answers of vendors lost after they had acted, %.0f %% of all POST, PUT and PATCH", fired, 100*lostShare)
		return err
	}, nil
}

// Lost is the scenario in which a fifth of the vendors' answers to writes are lost.
func Lost(ctx context.Context, o *options, flags *flag.FlagSet, args []string) (err error) {
	if err := flags.Parse(args); err != nil {
		return err
	}
	r, err := begin(ctx, "lost", o, plan(o.seed, o.events, usual), setUp{})
	defer func() { err = errors.Join(err, r.end()) }()
	if err != nil {
		return err
	}
	tell, err := r.lose(ctx)
	if err != nil {
		return err
	}
	if err := r.through(ctx); err != nil {
		return err
	}
	if err := tell(); err != nil {
		return err
	}
	return r.report(ctx)
}

// through feeds the whole workload and waits until it is at rest. What was not accepted by then is in the report.
func (r *run) through(ctx context.Context) error {
	feeding, stop := context.WithCancel(ctx)
	defer stop()
	fed := make(chan error, 1)
	go func() { fed <- r.feeder.feed(feeding, r.work, r.rate) }()
	if err := r.settle(ctx); err != nil {
		return err
	}
	stop()
	if err := <-fed; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
