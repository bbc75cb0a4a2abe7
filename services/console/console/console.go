// Package console is the service console: dead letters, what became of them, and their replay, as JSON over HTTP; and the
// reader of the broker's word on deliveries that ran out.
//
// What it knows is in DEADLETTERS and OPERATIONS and nowhere else. It reads both from their beginning when it starts and
// keeps in memory what is needed to find a letter, never a body.
package console

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/services/console/loops"
	"github.com/closeloop/closeloop/services/console/numbers"
	"github.com/closeloop/closeloop/services/console/rulebook"
)

// Settings of console.
type Settings struct {
	service.Common
	DataDir          string `envconfig:"DATA_DIR" desc:"folder for the read model of the loops, which is built from the streams and may be deleted; default: a temporary one, built anew at each start"`
	EraseAtQualtrics bool   `envconfig:"ERASURE_QUALTRICS" default:"true" desc:"have qualtrics-linker pass erasures on to Qualtrics; false where there is none: a person does it"`
	Pages            PageSettings
	ErasurePatience  time.Duration `envconfig:"ERASURE_PATIENCE" default:"20m" desc:"how long an erasure waits for services that have something of the person in hand"`
}

// Validate reports what cannot work.
func (s *Settings) Validate() error {
	var wrong []error
	if s.ErasurePatience < 0 {
		wrong = append(wrong, errors.New("ERASURE_PATIENCE must be at least 0"))
	}
	if s.Auth == "none" && s.Pages.Readers.IsSet() {
		wrong = append(wrong, errors.New("INGRESS_AUTH=none contradicts CONSOLE_READERS"))
	}
	return errors.Join(wrong...)
}

// Define is the service.
func Define() service.Definition {
	s := &Settings{}
	return service.Definition{
		Name: topology.Console,
		Doc: "Shows dead letters and their causes, replays and discards them, and keeps who did so and why: " +
			"GET /dead-letters, POST /dead-letters/{sequence}/replay, GET /operations. " +
			"Forgets people: POST /erasures, GET /erasures/{id}. " +
			"Puts messages whose deliveries ran out into the dead letters.",
		Settings: s,
		Start:    func(ctx context.Context, h *service.Host) error { return start(ctx, h, s) },
	}
}

func start(ctx context.Context, h *service.Host, s *Settings) error {
	store, err := openLoops(ctx, h, s.DataDir)
	if err != nil {
		return fmt.Errorf("DATA_DIR: %w", err)
	}
	called := newAliases(s.Pages.SessionKey.Reveal())
	b, forgotten, jobBook, over := newBook(called.of), newErasures(), newJobBook(), &ended{note: h.Bus.Note, now: now}
	pages := newSite(h.Door, s, over)
	d := &desk{
		bus: h.Bus, book: b, called: called, log: h.Log, now: now, users: pages.sessions.names,
		letters: newFollower(h.Bus.JetStream(), topology.DeadLetters, b.addLetter, b.forgetLetters),
		operations: newFollower(h.Bus.JetStream(), topology.Operations,
			func(m *jetstream.RawStreamMsg) { b.addRecord(m); forgotten.add(m); jobBook.add(m); over.add(m) },
			func(gone func(uint64) bool) { b.forgetOperations(gone); forgotten.forget(gone); jobBook.forget(gone) }),
		done: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "closeloop_operations_total", Help: "What people did at this replica, by kind.",
		}, []string{"kind"}),
	}
	over.refresh = d.operations.catchUp
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
	f := &forgetter{
		bus: h.Bus, ledger: h.Ledger(), book: forgotten, log: h.Log, now: now, me: uuid.NewString(),
		patience: s.ErasurePatience, qualtrics: s.EraseAtQualtrics, loops: store,
	}
	h.Go("erasures", f.run)
	d.jobs = &jobs{desk: d, book: jobBook, log: h.Log, overwrite: f.overwrite, now: now, me: uuid.NewString(), wake: make(chan struct{}, 1)}
	h.Go("jobs", d.jobs.run)
	pages.routes()
	d.routes(pages)
	(&erasurePages{d, f}).routes(pages)
	all := &loopPages{store: store, reader: loops.NewReader(h.Bus.JetStream()), desk: d, links: s.Pages.Vendors}
	all.routes(pages)
	numbersRoutes(pages, numbers.New(store, now))
	ruleRoutes(pages, rulebook.New(store, h.Bus.JetStream(), shownField, called.of, d.tried, now))
	return nil
}
