package effect_test

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/effect/effecttest"
	"github.com/closeloop/closeloop/pkg/fault"
)

// inBucket is what JetStream takes as a key.
var inBucket = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]{1,600}$`)

// FuzzRecord holds that whatever stands in the ledger under whatever key, nothing is ever made twice: a record that tells of
// a call is believed or looked up, one that cannot be read is for a person, and only one that tells of none is acted upon.
func FuzzRecord(f *testing.F) {
	for _, s := range []struct{ business, record string }{
		{"R_1", `{"state":"confirmed","eventId":"e","loopId":"l","result":"id","changed":"2026-07-24T09:30:00Z"}`}, {"R_1", `{"state":"sent","steps":[{"name":"task","state":"sent","sentAt":"2026-07-24T09:30:00Z"}]}`},
		{"R_1", `{"state":"unknown","steps":[{"name":"task","state":"unknown","sentAt":"9999-07-24T09:30:00Z"}],"owner":"o","leaseUntil":"9999-12-31T00:00:00Z"}`}, {"", `{"state":"rejected","reason":"no"}`}, {"a.b*>\x00é", `{"state":"intended"}`},
		{strings.Repeat("é", 500), `{"state":"confirmed","result":{"a":1}}`}, {"=", `{"state":"confirmed"}`}, {"R_1", `{"state":"intended","steps":[{"name":"task","state":"confirmed","result":7},{"name":"task"}]}`}, {"R_1", `{"state":"odd","steps":[{"name":"task","state":"odd"}]}`},
		{"R_1", `{"state":"intended","wave":"x/y","about":"z"}`}, {"R_1", `{"steps":null,"notDone":"2026-07-24T09:30:00Z"}`}, {"R_1", "null"}, {"R_1", "[]"}, {"R_1", ""}, {"R_1", `{"leaseUntil":"ada@example.com"}`},
	} {
		f.Add(s.business, []byte(s.record))
	}
	f.Fuzz(func(t *testing.T, business string, stored []byte) {
		key := effect.Key{Effect: "c4c.task", Business: business}
		if name := key.String(); !inBucket.MatchString(name) {
			t.Errorf("%q is no key of a bucket", name)
		}
		bucket := &effecttest.Bucket{}
		bucket.Set(key.String(), stored)
		l := effect.New(bucket)
		var before effect.Record
		readable := json.Unmarshal(stored, &before) == nil
		sent := 0
		began := time.Now()
		done, err := effect.Do(t.Context(), l, key, cause("E"), func(ctx context.Context, run *effect.Run) (string, error) {
			return effect.Step(ctx, run, "task", effect.Write[string]{
				Send: func(context.Context) (string, error) { sent++; return "new", nil },
			})
		})
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("took %s", took)
		}
		told := before.State == effect.Confirmed
		for _, s := range before.Steps {
			told = told || s.Name == "task" && (s.State == effect.Sent || s.State == effect.Unknown || s.State == effect.Confirmed)
		}
		if sent > 1 || sent == 1 && (!readable || told) {
			t.Errorf("sent %d times, although the ledger has %s", sent, stored)
		}
		if !readable && !fault.Is(err, fault.Person) {
			t.Errorf("the record cannot be read, and %v", err)
		}
		if err != nil && strings.Contains(err.Error(), "@example") {
			t.Errorf("repeats what is stored: %v", err)
		}
		if err == nil && done.Result == "new" && sent == 0 {
			t.Error("claims what was not done")
		}
		if _, err := l.Look(t.Context(), key); err != nil && !fault.Is(err, fault.Person) {
			t.Errorf("looking: %v", err)
		}
	})
}
