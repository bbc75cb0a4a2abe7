package effect_test

import (
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
)

// TestManyWorkersOneEffectOnThreeNodes meets the code that only replicas give to the loser of a race.
func TestManyWorkersOneEffectOnThreeNodes(t *testing.T) {
	if testing.Short() {
		t.Skip("three servers take a few seconds")
	}
	broker := bustest.StartCluster(t, topology.Settings{Replicas: 3})
	kv, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	race(t, effect.New(kv), 8, 25)
}
