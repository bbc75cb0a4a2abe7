package servicetest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
)

// Step is what a run that is gone recorded about a step: its result where it has one, else that it was sent and no
// answer came.
type Step struct {
	Name   string
	Result any
}

// Crashed leaves in the ledger what a process left that was killed long ago at this effect, after these steps. No lease
// and no settling time has to be waited for.
func Crashed(t testing.TB, broker *bustest.Broker, key effect.Key, loopID string, steps ...Step) {
	t.Helper()
	long := time.Now().Add(-time.Hour)
	record := effect.Record{State: effect.Sent, EventID: "E-crashed", LoopID: loopID, Owner: "killed", LeaseUntil: long, Changed: long}
	for _, s := range steps {
		step := effect.StepRecord{Name: s.Name, State: effect.Sent, SentAt: long}
		if s.Result != nil {
			step.State, step.Result = effect.Confirmed, encode(t, s.Result)
		}
		record.Steps = append(record.Steps, step)
	}
	bucket, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bucket.Create(t.Context(), key.String(), encode(t, record)); err != nil {
		t.Fatal(err)
	}
}

// Record is what the ledger holds about an effect.
func Record(t testing.TB, broker *bustest.Broker, key effect.Key) effect.Record {
	t.Helper()
	bucket, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	record, err := effect.New(bucket).Look(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return record
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
