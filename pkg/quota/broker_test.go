package quota_test

import (
	"context"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/quota"
)

// bucketOf is the bucket of a real broker, over a connection of its own.
func bucketOf(t testing.TB, b *bustest.Broker, service string) quota.Bucket {
	t.Helper()
	bucket, err := b.Bus(service).JetStream().KeyValue(t.Context(), topology.Limits)
	if err != nil {
		t.Fatal(err)
	}
	return bucket
}

func TestFourReplicasOnABrokerKeepThePace(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	const perMinute = 1200
	limits := quota.Limits{PerMinute: 2 * perMinute, Operations: map[string]int{"create": perMinute}, Parallel: 24}
	var all []*quota.Limiter
	for range 4 {
		all = append(all, quota.New(bucketOf(t, broker, topology.QualtricsLinker), "qualtrics", limits))
	}
	v := &vendor{latency: 40 * time.Millisecond}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	t.Logf("three nodes are ready")
	begun := time.Now()
	for _, l := range all {
		for range 8 {
			go work(ctx, l, "create", v)
		}
	}
	<-ctx.Done()
	took := time.Since(begun)
	v.mu.Lock()
	defer v.mu.Unlock()
	// Half a second is what the pace may be ahead for a while, and what calls take on a busy machine.
	allowed := perMinute * took.Minutes()
	within(t, "calls", len(v.calls), int(allowed*90/100)-perMinute/120, int(allowed)+perMinute/120)
	if v.most > 24 {
		t.Errorf("%d calls at once", v.most)
	}
	t.Logf("%d calls in %s, the limit is %.0f", len(v.calls), took, allowed)
}

// TestTheBrokersTimeIsShared is on three nodes, where any of them may answer a read and races end differently.
func TestTheBrokersTimeIsShared(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers take a few seconds")
	}
	broker := bustest.StartCluster(t, topology.Settings{Replicas: 3})
	limits := quota.Limits{PerMinute: 12}
	right := quota.New(bucketOf(t, broker, topology.QualtricsLinker), "qualtrics", limits)
	fast := quota.New(bucketOf(t, broker, topology.FeedbackRouter), "qualtrics", limits,
		quota.WithClock(func() time.Time { return time.Now().Add(time.Hour) }))
	t.Logf("three nodes are ready")
	begun := time.Now()
	for _, l := range []*quota.Limiter{right, fast} {
		bustest.Eventually(t, "a call is admitted", func() bool { // three nodes that have just begun may answer late
			release, err := l.Admit(t.Context(), "create")
			if err == nil {
				release()
			}
			return err == nil
		})
	}
	if took := time.Since(begun); took < 4900*time.Millisecond {
		t.Errorf("two of 12 calls a minute took %s", took)
	}
}

func BenchmarkAdmit(b *testing.B) {
	broker := bustest.Start(b, topology.Settings{})
	l := quota.New(bucketOf(b, broker, topology.QualtricsLinker), "qualtrics", quota.Limits{PerMinute: 10_000_000, Operations: map[string]int{"create": 10_000_000}})
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			release, err := l.Admit(b.Context(), "create")
			if err != nil {
				b.Error(err)
				return
			}
			release()
		}
	})
}
