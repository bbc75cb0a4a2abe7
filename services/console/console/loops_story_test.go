package console_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/console"
	"github.com/closeloop/closeloop/services/console/loops"
)

// happened is one entry of a timeline as the API tells it.
type happened struct {
	Kind, Type string
	Place      loops.Place
	Event      *loops.Place
	Attempts   []struct {
		Outcome  string
		Sequence uint64
	}
	Operation *console.Operation
	Changes   []map[string]any
	Untaken   bool
}

// timeline waits until a loop's is as wanted, and gives it.
func (f *fixture) timeline(loop, until string, wanted func([]happened) bool) []happened {
	f.t.Helper()
	var story struct{ Timeline []happened }
	bustest.Eventually(f.t, until, func() bool {
		story.Timeline = nil
		got := f.Get("/loops/" + loop)
		if got.Status != 200 {
			return false
		}
		got.JSON(&story)
		return wanted(story.Timeline)
	})
	return story.Timeline
}

func kinds(all []happened) string {
	var text []string
	for _, h := range all {
		text = append(text, h.Kind)
	}
	return strings.Join(text, " ")
}

// TestALoopSaysThatAReplayHadAnotherBody, by whom and which, and shows the try that followed after it.
func TestALoopSaysThatAReplayHadAnotherBody(t *testing.T) {
	f := start(t)
	f.fail(1, 1)
	f.tasker.refuses(wants42)
	var j console.Job
	f.Post("/dead-letters/replay",
		`{"why":"wrong account","by":"r6","sequences":[1],"job":true,"edit":[{"op":"set","field":"accountId","value":"42"}]}`).Want(202).JSON(&j)
	f.ends(j.ID, "done")
	all := f.timeline("L-1", "the try after the replay is told", func(all []happened) bool { return len(all) == 4 && len(all[0].Attempts) == 1 })
	if kinds(all) != "event letter operation attempt" {
		t.Fatalf("in order: %s", kinds(all))
	}
	if first := all[0].Attempts[0]; first.Outcome != "dead letter" {
		t.Errorf("the first try: %+v", first)
	}
	if done := all[2]; !done.Operation.Edited || len(done.Changes) != 1 || fmt.Sprint(done.Changes[0]) != "map[field:accountId op:set]" {
		t.Errorf("the replay: %+v, %v", done.Operation, done.Changes)
	}
	if again := all[3]; len(again.Attempts) != 1 || again.Attempts[0].Outcome != "done" || again.Event == nil || again.Event.Sequence != all[0].Place.Sequence {
		t.Errorf("the try after it: %+v", again)
	}
	page := f.browser().opens("/loops/L-1", 200)
	mentions(t, page, `<a href="/dead-letters/1">#1</a>: replayed with another body`, "by r6 (as they said): wrong account",
		`<a href="/dead-letters/jobs/`+j.ID+`">of many</a>: set accountId`,
		"Tried again after its dead letter", `href="#at-events-1"`, `id="at-events-1"`, "sap-sales-cloud: accountId: account 1000001 is unknown")
	for _, wrong := range []string{"not there any more", "sap-sales-cloud: sap-sales-cloud"} {
		if strings.Contains(page, wrong) {
			t.Errorf("the page says %q", wrong)
		}
	}
	if rows := f.Get("/operations?format=csv").Want(200).Body; !strings.Contains(rows, ",job\n") || !strings.Contains(rows, ","+j.ID+"\n") {
		t.Errorf("the table of operations does not name the job: %s", rows)
	}
}

// TestEachEventHasItsOwnTries though a caller gave all of them one id.
func TestEachEventHasItsOwnTries(t *testing.T) {
	f := start(t)
	f.tasker.refuses(nil)
	for n := range 3 {
		f.broker.Publish(subjects.FeedbackDeliveryLate, feedback(n), "ce-id", "E-same", "ce-loopid", "L-1")
	}
	tries := func(all []happened) (n int) {
		for _, h := range all {
			n += len(h.Attempts)
		}
		return n
	}
	all := f.timeline("L-1", "all tries are told", func(all []happened) bool { return tries(all) == 3 })
	for _, h := range all {
		if h.Kind != "event" || len(h.Attempts) != 1 || h.Attempts[0].Sequence != h.Place.Sequence {
			t.Errorf("%+v", h)
		}
	}
}

// TestAnEventThatNobodyTakesSaysSo, which depends on the installation; what ends a loop is no such event.
func TestAnEventThatNobodyTakesSaysSo(t *testing.T) {
	t.Parallel()
	const taken, untaken = "feedback.wrong_price", "feedback.something_else"
	broker := bustest.Start(t, topology.Settings{TaskSubjects: []string{taken}})
	f := &fixture{servicetest.Start(t, broker, console.Define, nil), t, broker, nil}
	for _, subject := range []string{taken, untaken, subjects.FeedbackDeliveryLate} {
		broker.Publish(subject, feedback(1), "ce-loopid", "L-1")
	}
	broker.Publish("survey.nonsense", `{}`, "ce-loopid", "L-1")
	broker.Publish(subjects.TaskCreated, `{"responseId":"R_1","taskId":"4","objectId":"5"}`, "ce-loopid", "L-1")
	for _, h := range f.timeline("L-1", "all events are known", func(all []happened) bool { return len(all) == 5 }) {
		if h.Untaken != (h.Type == untaken || h.Type == "survey.nonsense") {
			t.Errorf("%s is untaken: %v", h.Type, h.Untaken)
		}
	}
	page := f.browser().opens("/loops/L-1", 200)
	if n := strings.Count(page, "No service takes events of this type"); n != 2 {
		t.Errorf("the page says it %d times", n)
	}
}

// TestOneMistakeIsOneCause whatever stands in the field that is wrong.
func TestOneMistakeIsOneCause(t *testing.T) {
	f := start(t)
	accounts := []string{"nope", "nope1", "Not There", "big2000", "1000123"}
	for n, account := range accounts {
		f.broker.Publish(subjects.FeedbackDeliveryLate, fmt.Sprintf(`{"responseId":"R_%d","subject":"Late","accountId":%q}`, n, account))
	}
	f.waits(len(accounts))
	bustest.Eventually(t, "all letters are known", func() bool { return f.list("").Total == len(accounts) })
	if all := f.list("").Causes; len(all) != 1 || all[0].Open != len(accounts) {
		t.Errorf("causes: %+v", all)
	}
}
