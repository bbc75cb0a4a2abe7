package chaos

import (
	"context"
	"errors"
	"flag"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// Kill is the scenario in which services are killed and started again all the time.
func Kill(ctx context.Context, o *options, flags *flag.FlagSet, args []string) (err error) {
	each := flags.Bool("each", false, "kill each service about every -every, not one of them")
	every := flags.Duration("every", 2*time.Second, "how often")
	limit := flags.Duration("kill-for", 10*time.Minute, "when to stop killing at the latest, so that the run ends")
	if err := flags.Parse(args); err != nil {
		return err
	}
	name := "kill"
	if *each {
		name = "kill -each"
	}
	r, err := begin(ctx, name, o, plan(o.seed, o.events, usual), setUp{})
	defer func() { err = errors.Join(err, r.end()) }()
	if err != nil {
		return err
	}
	stop := r.killing(ctx, *every, *limit, *each)
	err = r.through(ctx)
	kills, lasted := stop()
	r.did("%d kills with SIGKILL over %s", kills, lasted.Round(time.Second))
	if err != nil {
		return err
	}
	return r.report(ctx)
}

// killing kills and starts services until stop is called or the limit is over.
func (r *run) killing(ctx context.Context, every, limit time.Duration, each bool) (stop func() (int, time.Duration)) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	var kills atomic.Int64
	var all sync.WaitGroup
	begun := time.Now()
	var over atomic.Int64
	round := func(wait func() time.Duration, victim func() string) {
		for {
			select {
			case <-time.After(wait()):
			case <-ctx.Done():
				return
			}
			if err := r.fleet.Service(victim()).Restart(); err != nil {
				return // reported by the end of all work
			}
			kills.Add(1)
			over.Store(int64(time.Since(begun)))
		}
	}
	if each {
		for i, name := range lab.Services {
			random := rand.New(rand.NewPCG(r.seed, uint64(i)+100))
			wait := func() time.Duration { return every/2 + time.Duration(random.Int64N(int64(every))) }
			all.Go(func() { round(wait, func() string { return name }) })
		}
	} else {
		random := rand.New(rand.NewPCG(r.seed, 100))
		all.Go(func() {
			round(func() time.Duration { return every }, func() string { return lab.Services[random.IntN(len(lab.Services))] })
		})
	}
	return func() (int, time.Duration) {
		cancel()
		all.Wait()
		return int(kills.Load()), time.Duration(over.Load())
	}
}
