package chaos

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/containertest/cluster"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// nodes is a cluster as a broker.
type nodes struct {
	*cluster.Cluster
	out io.Writer
}

// Stop implements [lab.Broker].
func (n nodes) Stop() {
	if err := n.Close(); err != nil {
		fmt.Fprintln(n.out, "removing the nats-servers:", err)
	}
}

// Cluster is the scenario in which the leader of three nats-servers is stopped and started again, and its successor cut
// off the network.
func Cluster(ctx context.Context, o *options, flags *flag.FlagSet, args []string) (err error) {
	stopped := flags.Duration("stopped", 15*time.Second, "how long the leader is stopped")
	cut := flags.Duration("cut", time.Minute, "how long its successor is cut off")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var three *cluster.Cluster
	o.broker = func(ctx context.Context, _ string) (_ lab.Broker, err error) {
		if three, err = cluster.Start(ctx, 3); err != nil {
			return nil, err
		}
		settings := o.topology
		settings.Replicas = 3
		return nodes{three, o.out}, lab.Declare(ctx, three.URL(), settings)
	}
	r, err := begin(ctx, "cluster", o, plan(o.seed, o.events, usual), setUp{})
	defer func() { err = errors.Join(err, r.end()) }()
	if err != nil {
		return err
	}
	breaking, stop := context.WithCancel(ctx)
	defer stop()
	broken := make(chan error, 1)
	go func() { broken <- r.breakNodes(breaking, three, *stopped, *cut) }()
	if err := r.through(ctx); err != nil {
		return err
	}
	if err := <-broken; err != nil {
		return err
	}
	var ended []error
	for _, name := range lab.Services {
		if !r.fleet.Service(name).Alive() {
			ended = append(ended, fmt.Errorf("%s has ended and needs a restart", name))
		}
	}
	return errors.Join(append(ended, r.report(ctx))...)
}

// breakNodes stops and starts the leader of EVENTS when a quarter of the input is in, and cuts its successor off when half
// of it is.
func (r *run) breakNodes(ctx context.Context, three *cluster.Cluster, stopped, cut time.Duration) error {
	for _, trouble := range []struct {
		what         string
		part         int
		long         time.Duration
		begin, mends func(*cluster.Node, context.Context) error
	}{
		{"stopped", 4, stopped, (*cluster.Node).Stop, (*cluster.Node).Start},
		{"cut off the network", 2, cut, (*cluster.Node).Cut, (*cluster.Node).Heal},
	} {
		err := lab.Until(ctx, time.Hour, "so much is accepted", func() (bool, error) {
			return r.watch.accepted(r.work) >= len(r.work.inputs)/trouble.part, nil
		})
		if err != nil {
			return err
		}
		leader, err := three.Leader(ctx, topology.Events)
		if err != nil {
			return err
		}
		if err := trouble.begin(leader, ctx); err != nil {
			return err
		}
		r.did("%s, the leader of EVENTS, %s for %s, after %s", leader.Name, trouble.what, trouble.long, time.Since(r.begun).Round(time.Second))
		select {
		case <-time.After(trouble.long):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := trouble.mends(leader, ctx); err != nil {
			return err
		}
	}
	return nil
}
