package recognizer_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
)

// paying lets amounts through.
var paying = servicetest.Env{"AWARDCO_BUDGET": "CX 2026", "AWARDCO_MAX_AMOUNT": "25", "AWARDCO_MAX_AMOUNT_PER_DAY": "60"}

// award is a request for the response of that number.
func award(n, amount int) string {
	return fmt.Sprintf(`{"responseId":"R_%d","recipient":{"employeeId":"E1001"},"score":5,"program":"Customer praise","amount":%d}`, n, amount)
}

// given reads what the ledger counts for today.
func given(t *testing.T, broker *bustest.Broker) (spent, open int64) {
	t.Helper()
	bucket, err := broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := bucket.Get(t.Context(), effect.RecognitionBudget(time.Now().UTC().Format(time.DateOnly)).String())
	if err != nil {
		return 0, 0
	}
	var day struct {
		Spent int64
		Open  map[string]int64
	}
	if err := json.Unmarshal(entry.Value(), &day); err != nil {
		t.Fatal(err)
	}
	for _, amount := range day.Open {
		open += amount
	}
	return day.Spent, open
}

func wantGiven(t *testing.T, broker *bustest.Broker, spent, open int64) {
	t.Helper()
	if s, o := given(t, broker); s != spent || o != open {
		t.Errorf("%d spent and %d open, want %d and %d", s, o, spent, open)
	}
}

func TestAmountsNeedSettingsThatAllowAndPayThem(t *testing.T) {
	for name, c := range map[string]struct {
		env   servicetest.Env
		words string
	}{
		"none allowed": {nil, "AWARDCO_MAX_AMOUNT allows none"},
		"too much":     {servicetest.Env{"AWARDCO_BUDGET": "CX 2026", "AWARDCO_MAX_AMOUNT": "24", "AWARDCO_MAX_AMOUNT_PER_DAY": "60"}, "is 25, above the 24 of AWARDCO_MAX_AMOUNT"},
		"no budget":    {servicetest.Env{"AWARDCO_MAX_AMOUNT": "25", "AWARDCO_MAX_AMOUNT_PER_DAY": "60"}, "AWARDCO_BUDGET"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, c.env)
			f.broker.Publish(subjects.RecognitionRequested, award(1, 25))
			if letter := f.Dead(1)[0]; letter.Class != "person" || letter.Field != "amount" || !strings.Contains(letter.Reason, c.words) {
				t.Errorf("dead letter %+v", letter)
			}
			if n := len(f.awards.Calls()); n != 0 {
				t.Errorf("%d calls", n)
			}
			wantGiven(t, f.broker, 0, 0)
		})
	}
}

func TestAmountsOfADayStayBelowTheLimitInTheWholeFleet(t *testing.T) {
	f := start(t, paying)
	env := servicetest.Env{"AWARDCO_BASE_URL": f.awards.URL + "/api", "AWARDCO_API_KEY": apiKey}
	maps.Copy(env, paying)
	servicetest.Start(t, f.broker, recognizer.Define, env) // a second replica
	for n := range 6 {
		f.broker.Publish(subjects.RecognitionRequested, award(n, 25))
	}
	letters := f.Dead(4)
	f.Settled()
	for _, letter := range letters {
		if letter.Class != "person" || letter.Field != "amount" || !strings.Contains(letter.Reason, "is 25, and 50 of the 60") {
			t.Errorf("dead letter %+v", letter)
		}
	}
	if n := f.awards.count(); n != 2 {
		t.Errorf("%d recognitions of 25 with 60 a day, want 2", n)
	}
	wantGiven(t, f.broker, 50, 0)
	f.broker.Publish(subjects.RecognitionRequested, award(100, 10)) // what is left
	f.submittedCount(t, 3)
	wantGiven(t, f.broker, 60, 0)
}

func TestARefusedAmountIsGivenBackAndARepeatCountsOnce(t *testing.T) {
	f := start(t, paying)
	f.awards.Refuse(recognize, refused(400, "The budget is exhausted"))
	f.broker.Publish(subjects.RecognitionRequested, award(1, 25))
	f.Dead(1)
	wantGiven(t, f.broker, 0, 0)
	for range 3 { // mended, and said more than once
		f.broker.Publish(subjects.RecognitionRequested, award(1, 25), "ce-loopid", "L-1")
	}
	f.submittedCount(t, 1)
	f.Settled()
	if n := f.awards.count(); n != 1 {
		t.Errorf("%d recognitions, want 1", n)
	}
	wantGiven(t, f.broker, 25, 0)
}

func TestAnAmountIsCountedOnceWhenItsFirstTryWasThrottled(t *testing.T) {
	f := start(t, paying)
	f.awards.Refuse(recognize, servicetest.Reply{Status: 429, Header: map[string][]string{"Retry-After": {"1"}}})
	f.broker.Publish(subjects.RecognitionRequested, award(1, 25))
	f.submittedCount(t, 1)
	f.Settled()
	wantGiven(t, f.broker, 25, 0)
}

func TestAnAmountWhoseAnswerWasLostStaysCounted(t *testing.T) {
	f := start(t, paying)
	f.awards.Drop(recognize)
	f.broker.Publish(subjects.RecognitionRequested, award(1, 25))
	bustest.Eventually(t, "looked up", func() bool { return len(f.awards.Calls(feed)) > 0 })
	wantGiven(t, f.broker, 0, 25)
}

func TestAnOverfullDayOfAnotherProcessIsRespected(t *testing.T) {
	f := start(t, paying)
	bucket, err := f.broker.JS.KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	// A process died between counting and sending: its amount is counted, and its own repeat counts no second time.
	key := effect.RecognitionBudget(time.Now().UTC().Format(time.DateOnly)).String()
	if _, err := bucket.Create(t.Context(), key, []byte(`{"spent":35,"open":{"R_1":25}}`)); err != nil {
		t.Fatal(err)
	}
	f.broker.Publish(subjects.RecognitionRequested, award(2, 1))
	if letter := f.Dead(1)[0]; !strings.Contains(letter.Reason, "60 of the 60") {
		t.Errorf("dead letter %+v", letter)
	}
	f.broker.Publish(subjects.RecognitionRequested, award(1, 25))
	f.submittedCount(t, 1)
	f.Settled()
	wantGiven(t, f.broker, 60, 0)
}

// submittedCount waits for that many recognitions, beside whatever is in the dead letters.
func (f fixture) submittedCount(t *testing.T, wanted int) {
	t.Helper()
	bustest.Eventually(t, "submitted", func() bool {
		return len(servicetest.Events(t, f.broker, subjects.RecognitionSubmitted)) == wanted
	})
}
