package effect_test

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/fault"
)

func TestEndsOfEffectsAreCounted(t *testing.T) {
	l, _ := ledger(t)
	metrics := prometheus.NewRegistry()
	l = l.WithMetrics(metrics)
	_ = l.WithMetrics(metrics) // another part of the same service
	found, refused, later, person := &vendor{lose: true}, fault.New(fault.Refused, "no"), fault.New(fault.Throttled, "later"), fault.New(fault.Person, "which?")
	for range 2 { // unknown, then found
		_, _ = do(t.Context(), l, found, effect.Key{Effect: "c4c.task", Business: "lost"}, true)
	}
	for range 2 { // confirmed, then repeated
		_, _ = do(t.Context(), l, &vendor{}, effect.Key{Effect: "c4c.task", Business: "made"}, true)
	}
	for business, err := range map[string]error{"refused": refused, "later": later, "person": person} {
		_, _ = effect.Do(t.Context(), l, effect.Key{Effect: "c4c.task", Business: business}, cause(business),
			func(context.Context, *effect.Run) (string, error) { return "", err })
	}
	families, err := metrics.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "closeloop_effects_total" {
		t.Fatalf("%v, %v", families, err)
	}
	var got []string
	for _, m := range families[0].GetMetric() {
		if m.GetLabel()[0].GetValue() != "c4c.task" || m.GetCounter().GetValue() != 1 {
			t.Errorf("%v", m)
		}
		got = append(got, m.GetLabel()[1].GetValue())
	}
	if want := "again confirmed found person rejected repeated unknown"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
}
