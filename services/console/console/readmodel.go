package console

import (
	"context"
	"maps"
	"path/filepath"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/console/loops"
)

// openLoops opens the read model, which follows the streams from then on, and closes when the service has stopped.
func openLoops(ctx context.Context, h *service.Host, dir string) (*loops.Store, error) {
	path := ""
	if dir != "" {
		path = filepath.Join(dir, "console", "loops.db")
	}
	store, err := loops.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	err = h.Metrics.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "closeloop_readmodel_behind", Help: "Messages that the console's read model of the loops has not read yet.",
	}, func() float64 { return float64(store.Progress().Behind) }))
	if err != nil {
		return nil, err
	}
	follower := loops.NewFollower(store, h.Bus.JetStream(), h.Log)
	h.Go("loops", func(ctx context.Context) error {
		defer store.Close() // what is not closed well is opened all the same, or built again
		return follower.Run(ctx)
	})
	return store, nil
}

// forgetLoops has the read model of this console forget a person. Every console notices by itself that messages were deleted, and
// takes back what they said; this one need not be waited for, nor may it hold an erasure up.
func (f *forgetter) forgetLoops(ctx context.Context, p *person) {
	if f.loops == nil {
		return
	}
	var ids []loops.ID
	for _, known := range []struct {
		kind   loops.IDKind
		values set
	}{
		{loops.Contact, p.ExternalIDs}, {loops.Contact, p.Contacts}, {loops.Contact, p.Emails}, {loops.Request, p.Requests}, {loops.Response, p.Responses},
	} {
		for value := range known.values {
			ids = append(ids, loops.ID{Kind: known.kind, Value: value})
		}
	}
	if err := f.loops.Forget(ctx, ids, slices.Collect(maps.Keys(p.Loops))); err != nil && ctx.Err() == nil {
		f.log.Warn("the read model has not forgotten a person yet: it does as soon as it has read that their messages are gone", "error", err)
	}
}
