// Package console is the service console: dead letters, what became of them, and their replay, as JSON over HTTP; and the
// reader of the broker's word on deliveries that ran out.
//
// What it knows is in DEADLETTERS and OPERATIONS and nowhere else. It reads both from their beginning when it starts and
// keeps in memory what is needed to find a letter, never a body.
package console

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service"
)

// Settings of console.
type Settings struct{ service.Common }

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.Console,
		Doc: "Shows dead letters and their causes, replays and discards them, and keeps who did so and why: " +
			"GET /dead-letters, POST /dead-letters/{sequence}/replay, GET /operations. " +
			"Puts messages whose deliveries ran out into the dead letters.",
		Settings: s,
		Start:    func(_ context.Context, h *service.Host) error { return start(h, s) },
	}
}

func start(h *service.Host, s *Settings) error {
	credentials, err := s.Credentials()
	if err != nil {
		return err
	}
	b := newBook()
	d := &desk{
		bus: h.Bus, book: b, log: h.Log, now: now, users: credentials.Basic,
		letters:    newFollower(h.Bus.JetStream(), topology.DeadLetters, b.addLetter, b.forgetLetters),
		operations: newFollower(h.Bus.JetStream(), topology.Operations, b.addRecord, b.forgetOperations),
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_operations_total", Help: "What people did with dead letters at this replica, by kind.",
		}, []string{"kind"}),
	}
	rescues := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "closeloop_deliveries_ran_out_total", Help: "Messages that were delivered as often as their consumer allows, by what became of them.",
	}, []string{"outcome"})
	for _, c := range []prometheus.Collector{d.done, rescues, waiting{b}} {
		if err := h.Metrics.Register(c); err != nil {
			return err
		}
	}
	h.Door.AddCheck(h.Name+" index", nil, d.ready)
	h.Go("index", d.run)
	h.Go("advisories", func(ctx context.Context) error {
		return h.Bus.RescueUndelivered(ctx, func(r bus.Rescue) { rescues.WithLabelValues(string(r)).Inc() })
	})
	d.routes(h.Door)
	return nil
}
