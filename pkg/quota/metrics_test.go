package quota_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/quota"
)

func TestMetricsTellHowMuchOfALimitTheFleetUses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics, bucket := prometheus.NewRegistry(), &memory{}
		limits := quota.Limits{PerMinute: 600, Operations: map[string]int{"make": 100, "off": 0}, Groups: map[string]string{"create": "make"}, Parallel: 4}
		shown := quota.New(bucket, "acme", limits, quota.WithMetrics(metrics))
		other := quota.New(bucket, "acme", limits)
		_ = quota.New(bucket, "acme", limits, quota.WithMetrics(metrics)) // another client of the same service
		_ = quota.New(bucket, "umbrella", quota.Limits{PerMinute: 60}, quota.WithMetrics(metrics))
		turn := func(l *quota.Limiter, operation string) (release func()) {
			release, err := l.Admit(t.Context(), operation)
			if err != nil {
				t.Fatal(err)
			}
			return release
		}
		call := func(l *quota.Limiter, operation string) { turn(l, operation)() }
		for range 15 {
			call(other, "create") // by another replica
		}
		for range 5 {
			call(shown, "create")
		}
		for range 10 {
			call(shown, "list")
		}
		release := turn(shown, "list")
		want := map[string]float64{
			"used_ratio make acme": 0.2, "limit make acme": 100, "limit all acme": 600, "limit parallel acme": 4, "used_ratio all umbrella": 0,
		}
		got := samples(t, metrics)
		for name, value := range want {
			if is, there := got[name]; !there || is != value {
				t.Errorf("%s is %g, want %g", name, is, value)
			}
		}
		if len(got) != 8 || got["used_ratio parallel acme"] == 0 {
			t.Errorf("%v", got)
		}
		shown.Refused(t.Context(), "create", 30*time.Second)
		if now := samples(t, metrics)["limit make acme"]; now >= 100 || now < 1 {
			t.Errorf("a refusal taught nothing: %g", now)
		}
		release()
		<-time.After(time.Minute) // of the bubble: the fleet takes all places back, and the limiters rest
	})
}

func samples(t *testing.T, metrics *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := strings.TrimPrefix(family.GetName(), "closeloop_quota_")
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			values[name] = m.GetGauge().GetValue()
		}
	}
	return values
}
