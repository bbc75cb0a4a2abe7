package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/service/servicetest"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/console/console"
)

// town is a broker with services that do what tests say, and what two customers have left with them.
type town struct {
	t      *testing.T
	broker *bustest.Broker
	asked  chan effect.Whom // of erasures at Qualtrics
	ends   []func()         // of services
}

// secrets are what must be found nowhere on disk when Ada was forgotten.
var secrets = []string{"ada@example.com", "Lovelace", "https://survey.example/ada-7f3a", "late for the ball"}

func newTown(t *testing.T) *town {
	t.Helper()
	t.Parallel()
	return &town{t: t, broker: bustest.Start(t, topology.Settings{}), asked: make(chan effect.Whom, 10)}
}

// serve runs a service whose handler is this one.
func (w *town) serve(service string, handle bus.Handler) {
	w.t.Helper()
	consuming := w.broker.Bus(service).Consume(w.t.Context(), bus.Consumer{Handle: handle})
	w.ends = append(w.ends, sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 5*time.Second)
		defer cancel()
		consuming.Drain(ctx)
	}))
	w.t.Cleanup(w.end)
}

// end stops the services.
func (w *town) end() {
	for _, end := range w.ends {
		end()
	}
}

// qualtrics answers erasures as qualtrics-linker does.
func (w *town) qualtrics() {
	b, ledger := w.broker.Bus(topology.QualtricsLinker), w.ledger()
	w.serve(topology.QualtricsLinker, func(ctx context.Context, e event.Event) error {
		m, ok := e.Data.(*eventsv1.ErasureRequested)
		if !ok {
			return nil
		}
		whom, _, err := effect.Kept[effect.Whom](ctx, ledger, effect.Forgetting(m.GetErasureId()))
		if err != nil {
			return err
		}
		w.asked <- whom
		return b.Follow(ctx, e, subjects.ErasureCompleted, &eventsv1.ErasureCompleted{
			ErasureId: m.GetErasureId(), Vendor: "qualtrics", State: "ERASED", VendorRequestId: "OP-1",
		})
	})
}

func (w *town) ledger() *effect.Ledger {
	w.t.Helper()
	bucket, err := w.broker.JS.KeyValue(w.t.Context(), topology.Effects)
	if err != nil {
		w.t.Fatal(err)
	}
	return effect.New(bucket)
}

// customer is one who has a loop with everything that can be in one.
type customer struct {
	key, email, last, link, words string
}

var (
	ada = customer{"A", "Ada@Example.com", "Lovelace", "https://survey.example/ada-7f3a", "late for the ball"}
	ben = customer{"B", "ben@example.com", "Bolt", "https://survey.example/ben-99c1", "broken"}
)

// lives publishes the events of the customer's loop, and leaves the records of its effects.
func (w *town) lives(c customer) {
	w.t.Helper()
	say := func(subject, body string, header ...string) {
		w.broker.Publish(subject, strings.NewReplacer("#", c.key, "@@", c.email, "$LAST", c.last, "$LINK", c.link, "$WORDS", c.words).Replace(body), header...)
	}
	loop := []string{"ce-loopid", "L-" + c.key}
	say(subjects.SurveyLinkRequested, `{"requestId":"Q#","contact":{"externalId":"P-#","email":"@@","firstName":"x","lastName":"$LAST"}}`, loop...)
	say(subjects.SurveyLinkCreated, `{"requestId":"Q#","link":"$LINK","contactId":"CID_#","contactLookupId":"CGC_#","contact":{"externalId":"P-#"}}`, loop...)
	say(subjects.SurveyResponseNotified, `{"surveyId":"SV_1","responseId":"R_#","recipientId":"CGC_#"}`) // in a loop of its own
	say(subjects.SurveyResponseReceived, `{"surveyId":"SV_1","responseId":"R_#","values":{"QID1":"$WORDS","who":"x $LAST"},"contact":{"externalId":"P-#"}}`, loop...)
	say(subjects.FeedbackDeliveryLate, `{"responseId":"R_#","subject":"Late","accountId":"7","text":"$WORDS"}`, loop...)
	say(subjects.RecognitionRequested, `{"responseId":"R_#","recipient":{"email":"rep@example.com"},"note":"$WORDS"}`, loop...)
	say(subjects.OrderCompleted, `{"serviceOrder":"1#","contactPerson":"P-#"}`)
	say(subjects.TaskCreated, `{"responseId":"R_#","taskId":"4#"}`, loop...)

	ledger, ctx := w.ledger(), w.t.Context()
	cause := event.Event{ID: "E-" + c.key, LoopID: "L-" + c.key}
	w.made(effect.Link("Q"+c.key), cause, map[string]any{"subject": subjects.SurveyLinkCreated,
		"event": map[string]any{"link": c.link, "contactId": "CID_" + c.key, "contact": map[string]any{"externalId": "P-" + c.key}}})
	w.made(effect.Task("R_"+c.key, ""), event.Event{ID: "x", LoopID: "elsewhere"}, map[string]any{"id": "4" + c.key})
	w.made(effect.Interaction("SURVEY_LINK_CREATED", "Q"+c.key), cause, map[string]any{"id": "I" + c.key})
	err := effect.Change(ctx, ledger, effect.Contact("CG_1", "digest-"+c.key), func(map[string]string) (map[string]string, bool) {
		return map[string]string{"id": "CID_" + c.key, "contactLookupId": "CGC_" + c.key}, true
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// made leaves the record of an effect that was made.
func (w *town) made(key effect.Key, cause event.Event, result any) {
	w.t.Helper()
	_, err := effect.Do(w.t.Context(), w.ledger(), key, cause, func(ctx context.Context, run *effect.Run) (any, error) {
		return effect.Step(ctx, run, "make", effect.Write[any]{Send: func(context.Context) (any, error) { return result, nil }})
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// page leaves a page of a wave with both customers on it.
func (w *town) page() effect.Key {
	w.t.Helper()
	type row struct {
		URL     string `json:"url"`
		Contact string `json:"contact"`
	}
	key := effect.WavePage("W1", 1)
	w.made(key, event.Event{ID: "page", LoopID: "L-A"}, map[string]any{"rows": []row{{ada.link, "CGC_A"}, {ben.link, "CGC_B"}}})
	return key
}

func (w *town) console(env servicetest.Env) *servicetest.Service {
	w.t.Helper()
	return servicetest.Start(w.t, w.broker, console.Define, env)
}

// forget asks for a person to be forgotten.
func forget(t *testing.T, s *servicetest.Service, body string, header ...string) console.Erasure {
	t.Helper()
	var e console.Erasure
	s.Post("/erasures", body, header...).Want(202).JSON(&e)
	return e
}

// receipt waits until an erasure is done.
func receipt(t *testing.T, s *servicetest.Service, id string) console.Erasure {
	t.Helper()
	var e console.Erasure
	bustest.Eventually(t, "the erasure is done", func() bool {
		e = console.Erasure{}
		s.Get("/erasures/" + id).Want(200).JSON(&e)
		return e.State == "done"
	})
	return e
}

// work are the streams with what is done for people.
var work = []string{topology.Events, topology.Retries, topology.DeadLetters, topology.Operations, "KV_EFFECTS"}

// holds tells which messages and records hold a text.
func (w *town) holds(text string) (where []string) {
	w.t.Helper()
	return w.in(append([]string{topology.Activity}, work...), text)
}

// in tells which messages of these streams hold a text.
func (w *town) in(streams []string, text string) (where []string) {
	w.t.Helper()
	for _, stream := range streams {
		for _, m := range w.broker.Messages(stream, ">") {
			if strings.Contains(strings.ToLower(fmt.Sprint(m.Subject, m.Header, string(m.Data))), strings.ToLower(text)) {
				where = append(where, fmt.Sprintf("%s %d %s", stream, m.Sequence, m.Subject))
			}
		}
	}
	return where
}

// tell says of a round of work with these events what services say.
func (w *town) tell(events ...activity.Handled) {
	w.t.Helper()
	body, err := json.Marshal(activity.Attempt{Service: topology.C4CTasker, At: time.Now(), Events: events, Wave: len(events)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.broker.Publish(topology.ActivitySubject(topology.C4CTasker, activity.KindAttempt), string(body))
}

// onDisk tells in which of the broker's files a text stands.
func (w *town) onDisk(text string) (files []string) {
	w.t.Helper()
	err := filepath.WalkDir(w.broker.Dir(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil && bytes.Contains(bytes.ToLower(content), []byte(strings.ToLower(text))) {
			files = append(files, filepath.Base(filepath.Dir(filepath.Dir(path)))+"/"+filepath.Base(path))
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

// busy has services that leave a dead letter, a mended one, and a held retry of each customer.
func (w *town) busy(s *servicetest.Service) {
	w.t.Helper()
	tasks := &tasker{refuse: unknownAccount}
	w.serve(topology.C4CTasker, tasks.handle)
	w.serve(topology.SAPInteractionWriter, func(context.Context, event.Event) error {
		return fault.Later(time.Hour, "not there yet")
	})
	bustest.Eventually(w.t, "dead letters and held retries", func() bool {
		return len(w.broker.Messages(topology.DeadLetters, ">")) == 2 && len(w.broker.Messages(topology.Retries, ">")) == 5
	})
	for _, m := range w.broker.Messages(topology.DeadLetters, ">") {
		who := ada
		if strings.Contains(string(m.Data), "R_B") {
			who = ben
		}
		s.Post(fmt.Sprintf("/dead-letters/%d/replay", m.Sequence), fmt.Sprintf(
			`{"why":"wrong account","by":"eve","body":{"responseId":"R_%s","subject":"Late","accountId":"8","text":"%s, says x %s"}}`, who.key, who.words, who.last)).Want(200)
	}
	bustest.Eventually(w.t, "the mended ones fail too", func() bool { return len(w.broker.Messages(topology.DeadLetters, ">")) == 4 })
}

func TestAPersonIsForgottenOnDiskAndNobodyElseIs(t *testing.T) {
	w := newTown(t)
	w.lives(ada)
	w.lives(ben)
	page := w.page()
	// What merely mentions Ada, in the loop of somebody else.
	w.broker.Publish(subjects.SurveyResponseReceived, `{"surveyId":"SV_1","responseId":"R_B2","values":{"QID1":"ask ADA@example.com, she knows"},"contact":{"externalId":"P-B"}}`, "ce-loopid", "L-B")
	s := w.console(nil)
	w.busy(s)
	for _, secret := range secrets {
		if len(w.holds(secret)) == 0 {
			t.Fatalf("%s is nowhere from the beginning", secret)
		}
	}
	w.tell(activity.Handled{EventID: "E-B", LoopID: "L-B"}, activity.Handled{EventID: "survey/ada@example.com", LoopID: "L-A"})
	bens := len(w.in(work, "R_B")) + len(w.in(work, "L-B"))
	w.qualtrics()
	asked := forget(t, s, `{"why":"asked by letter","by":"eve","email":"ada@example.COM"}`)
	done := receipt(t, s, asked.ID)
	if whom := <-w.asked; !slices.Equal(whom.Emails, []string{"ada@example.com"}) {
		t.Errorf("Qualtrics was asked to forget %v", whom.Emails)
	}
	for _, secret := range append(secrets, `"R_A"`, `"QA"`, `"P-A"`) {
		if where := w.holds(secret); len(where) > 0 {
			t.Errorf("%s is still in %v", secret, where)
		}
	}
	if left := len(w.in(work, "R_B")) + len(w.in(work, "L-B")); left != bens-4 { // what mentions Ada and its held copy, by response and by loop
		t.Errorf("of what is about Ben %d are left of %d, want all but the one that mentions Ada", left, bens)
	}
	if done.Deleted["EVENTS"] != 9 || done.Deleted["DEADLETTERS"] != 2 || done.Deleted["RETRIES"] != 4 || done.Deleted["OPERATIONS"] != 1 || done.Deleted["ACTIVITY"] != 1 {
		t.Errorf("the receipt counts %v", done.Deleted)
	}
	if done.Ledger.Tombstones != 3 || done.Ledger.Cut != 1 || done.Ledger.Dropped != 1 || done.Ledger.NotOverwritten+done.Ledger.Unsettled != 0 {
		t.Errorf("the receipt counts %+v", done.Ledger)
	}
	if done.By != "eve" || done.Why != "asked by letter" || done.DoneAt.IsZero() || done.LookedAt["EVENTS"] == 0 {
		t.Errorf("the receipt is %+v", done)
	}
	if q := done.Vendors[0]; q.Vendor != "qualtrics" || q.Outcome != "erased" || q.RequestID != "OP-1" || len(done.Vendors) != 4 {
		t.Errorf("at vendors: %+v", done.Vendors)
	}
	for _, v := range done.Vendors[1:] {
		if v.Outcome != "person" || v.Where == "" {
			t.Errorf("where no interface is, a person is told where: %+v", v)
		}
	}
	if rows := string(servicetest.Record(t, w.broker, page).Result); strings.Contains(rows, "CGC_A") || !strings.Contains(rows, "CGC_B") {
		t.Errorf("the page holds %s", rows)
	}
	w.neverAgain()
	w.end()
	s.Stop()
	for _, line := range []string{"ada@example.com", "Lovelace"} {
		if strings.Contains(strings.ToLower(s.Log()), strings.ToLower(line)) {
			t.Errorf("the log holds %s", line)
		}
	}
	w.broker.Stop()
	if len(w.onDisk("R_B")) == 0 {
		t.Fatal("the search finds nothing at all")
	}
	for _, secret := range secrets {
		if files := w.onDisk(secret); len(files) > 0 {
			t.Errorf("%s is still on disk in %v", secret, files)
		}
	}
}

// neverAgain asks for each of Ada's effects once more.
func (w *town) neverAgain() {
	w.t.Helper()
	for _, key := range []effect.Key{
		effect.Link("QA"), effect.Task("R_A", ""), effect.Interaction("SURVEY_LINK_CREATED", "QA"),
		effect.Recognition("R_A"), effect.Interaction("SURVEY_RESPONSE", "R_A"), // which nobody had begun to make
	} {
		_, err := effect.Do(w.t.Context(), w.ledger(), key, event.Event{ID: "again", LoopID: "L-A"}, func(context.Context, *effect.Run) (string, error) {
			w.t.Errorf("%s is made again", key)
			return "", nil
		})
		if !fault.Is(err, fault.Erased) {
			w.t.Errorf("%s again: %v", key, err)
		}
		outcomes := effect.DoMany(w.t.Context(), w.ledger(), "make", []effect.Item{{Key: key, Cause: event.Event{ID: "again", LoopID: "L-A"}}}, effect.Group[string]{
			Send: func(context.Context, []int) ([]effect.Result[string], error) {
				w.t.Errorf("%s is made again with others", key)
				return nil, errors.New("no")
			},
		})
		if !fault.Is(outcomes[0].Err, fault.Erased) {
			w.t.Errorf("%s with others: %v", key, outcomes[0].Err)
		}
		if _, err := w.ledger().Enlist(w.t.Context(), effect.Item{Key: key, Cause: event.Event{ID: "again"}}, effect.Place{Wave: "W2"}); !fault.Is(err, fault.Erased) {
			w.t.Errorf("%s in a wave: %v", key, err)
		}
	}
}

func TestAnEventOfAForgottenPersonIsSettledWithoutALetter(t *testing.T) {
	w := newTown(t)
	w.lives(ada)
	s := w.console(servicetest.Env{"ERASURE_QUALTRICS": "false"})
	done := receipt(t, s, forget(t, s, `{"why":"asked","by":"eve","email":"ada@example.com"}`).ID)
	if q := done.Vendors[0]; q.Outcome != "person" || q.Where == "" {
		t.Errorf("without Qualtrics a person does it there: %+v", q)
	}
	handled := make(chan error, 10)
	w.serve(topology.QualtricsLinker, func(ctx context.Context, e event.Event) error {
		_, err := effect.Do(ctx, w.ledger(), effect.Link("QA"), e, func(context.Context, *effect.Run) (string, error) { return "made", nil })
		handled <- err
		return err
	})
	w.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"QA","contact":{"email":"ada@example.com"}}`)
	if err := <-handled; !fault.Is(err, fault.Erased) {
		t.Errorf("the same requestId again: %v", err)
	}
	bustest.Eventually(t, "settled", func() bool {
		durable, err := w.broker.JS.Consumer(t.Context(), topology.Events, topology.QualtricsLinker)
		return err == nil && durable.CachedInfo().NumAckPending == 0 && durable.CachedInfo().NumPending == 0
	})
	if n := len(w.broker.Messages(topology.DeadLetters, ">")) + len(w.broker.Messages(topology.Retries, ">")); n != 0 {
		t.Errorf("%d letters and retries of it", n)
	}
}

func TestWhatIsInHandIsWaitedForAcrossAKill(t *testing.T) {
	w := newTown(t)
	var once sync.Once
	inHand, release := make(chan struct{}), make(chan struct{})
	b := w.broker.Bus(topology.FeedbackRouter)
	w.serve(topology.FeedbackRouter, func(ctx context.Context, e event.Event) error {
		if m, ok := e.Data.(*eventsv1.SurveyResponseReceived); !ok || m.GetResponseId() != "R_A" {
			return nil
		}
		once.Do(func() { close(inHand) })
		select {
		case <-release:
		case <-ctx.Done():
			return ctx.Err()
		}
		return b.Follow(ctx, e, subjects.FeedbackDeliveryLate, &eventsv1.FeedbackRaised{ResponseId: "R_A", Subject: "Late again", Text: ada.words})
	})
	w.lives(ada)
	w.lives(ben)
	<-inHand
	first := w.console(nil)
	asked := forget(t, first, `{"why":"asked","by":"eve","externalId":"P-A"}`, "Idempotency-Key", "one")
	var e console.Erasure
	bustest.Eventually(t, "all is deleted but what is in hand", func() bool {
		e = console.Erasure{}
		first.Get("/erasures/" + asked.ID).Want(200).JSON(&e)
		return strings.Contains(e.WaitsFor, topology.FeedbackRouter) && e.Deleted["EVENTS"] > 0
	})
	if again := forget(t, first, `{"why":"asked","by":"eve","externalId":"P-A"}`, "Idempotency-Key", "one"); again.ID != asked.ID {
		t.Error("the same request made a second erasure")
	}
	if body := first.Get("/erasures/" + asked.ID).Body; strings.Contains(body, "example.com") || strings.Contains(body, "P-A") || strings.Contains(body, "L-A") {
		t.Errorf("the answer says whom: %s", body)
	}
	first.Stop()
	close(release) // its follow-up is published while no console is there
	bustest.Eventually(t, "the follow-up", func() bool { return len(w.holds("Late again")) > 0 })
	w.qualtrics()
	second := w.console(nil)
	done := receipt(t, second, asked.ID)
	if done.Deleted["EVENTS"] != 9 { // eight, and the follow-up
		t.Errorf("%d events deleted, want 9: %v is left", done.Deleted["EVENTS"], w.holds("R_A"))
	}
	if whom := <-w.asked; !slices.Equal(whom.Emails, []string{"ada@example.com"}) {
		t.Errorf("of a person named by id Qualtrics was asked to forget %v", whom.Emails)
	}
	for _, secret := range append(secrets, `"P-A"`) {
		if where := w.holds(secret); len(where) > 0 {
			t.Errorf("%s is still in %v", secret, where)
		}
	}
	if n := len(w.holds("R_B")); n == 0 {
		t.Error("Ben is gone too")
	}
	w.neverAgain()
}

func TestWhoIsForgotten(t *testing.T) {
	for name, c := range map[string]struct {
		whom   string
		events []string // subject, loop, body; those kept have a + before the subject
	}{
		"a longer address is somebody else's": {`"email":"ada@example.com"`, []string{
			`+survey.link.requested L1 {"requestId":"1","contact":{"email":"xada@example.com"}}`,
			`+survey.link.requested L2 {"requestId":"2","contact":{"email":"ada@example.com.au"}}`,
			`survey.link.requested L3 {"requestId":"3","contact":{"email":"ADA@EXAMPLE.COM"}}`,
			`+task.created L2 {"responseId":"R_1"}`,
			`task.created L3 {"responseId":"R_2"}`,
		}},
		"a loop of several people": {`"email":"ada@example.com"`, []string{
			`survey.link.requested all {"requestId":"1","contact":{"email":"ada@example.com","externalId":"P-1"}}`,
			`+survey.link.requested all {"requestId":"2","contact":{"email":"ben@example.com","externalId":"P-2"}}`,
			`survey.link.created all {"requestId":"1","link":"https://x.example/1"}`,
			`+survey.link.created all {"requestId":"2","link":"https://x.example/2"}`,
		}},
		"a mailbox of two people, one of whom is named by id": {`"externalId":"P-1"`, []string{
			`survey.link.requested L1 {"requestId":"1","contact":{"email":"family@example.com","externalId":"P-1"}}`,
			`+survey.link.requested L2 {"requestId":"2","contact":{"email":"family@example.com","externalId":"P-2"}}`,
		}},
		"a mailbox of two people, named by it": {`"email":"family@example.com"`, []string{
			`survey.link.requested L1 {"requestId":"1","contact":{"email":"family@example.com","externalId":"P-1"}}`,
			`survey.link.requested L2 {"requestId":"2","contact":{"email":"family@example.com","externalId":"P-2"}}`,
		}},
		"an employee": {`"email":"rep@example.com"`, []string{
			`survey.response.received L1 {"responseId":"R_1","values":{"rep_email":"rep@example.com"},"contact":{"externalId":"P-1"}}`,
			`recognition.requested L1 {"responseId":"R_1","recipient":{"email":"Rep@example.com"}}`,
			`recognition.submitted L1 {"responseId":"R_1","recognitionId":"7","state":"SUBMITTED"}`,
			`+feedback.delivery_late L1 {"responseId":"R_1","subject":"x","text":"not about the employee"}`,
			`+survey.link.requested L1 {"requestId":"1","contact":{"email":"ada@example.com","externalId":"P-1"}}`,
		}},
		"by phone, and what says so in another way": {`"phone":"+44 (20) 7946-0000","contactId":"CID_9"`, []string{
			`survey.link.requested L1 {"requestId":"1","contact":{"phone":"442079460000"}}`,
			`survey.link.created L2 {"requestId":"2","link":"https://x.example/1","contactId":"CID_9"}`,
			`+survey.link.requested L3 {"requestId":"3","contact":{"phone":"442079460001"}}`,
			`+survey.link.requested L4 {"requestId":"4","contact":{"email":"b@example.com","phone":"442079460000"}}`,
			`+survey.link.requested L5 {"requestId":"5","contact":{"externalId":"P-2","phone":"442079460000"}}`,
			`+survey.response.received L5 {"responseId":"R_5","contact":{"email":"b@example.com","externalId":"P-2","phone":"442079460000"}}`,
		}},
		"what a survey calls a link or an id is none": {`"externalId":"P-1"`, []string{
			`survey.response.received L1 {"responseId":"R_1","values":{"link":"https://shop.example","requestId":"7","QID1":"CID_9"},"contact":{"externalId":"P-1"}}`,
			`+survey.response.received L2 {"responseId":"R_2","values":{"link":"https://shop.example","requestId":"7"}}`,
			`+survey.response.notified L3 {"responseId":"R_3","recipientId":"CID_9"}`,
		}},
		"by the ids that SAP knows them by": {`"email":"ada@example.com","externalId":"1000456"`, []string{
			`feedback.delivery_late L1 {"responseId":"R_1","subject":"x","text":"late for the ball","accountId":"1000123","contactId":"1000456"}`,
			`task.created L1 {"responseId":"R_1","taskId":"1"}`,
			`survey.response.received L2 {"responseId":"R_2","values":{"contact_id":"1000456","why":"late for the ball"}}`,
			`feedback.delivery_late L2 {"responseId":"R_2","subject":"x","accountId":"1000123"}`,
			`feedback.delivery_late L3 {"responseId":"R_3","subject":"x","accountId":"1000456"}`, // a private customer
			`order.completed L4 {"serviceOrder":"1","soldToParty":"1000456"}`,
			`+feedback.delivery_late L5 {"responseId":"R_5","subject":"x","accountId":"1000456","contactId":"1000999"}`,
			`+feedback.delivery_late L6 {"responseId":"R_6","subject":"x","accountId":"1000123","contactId":"10004567"}`,
			`+survey.response.received L7 {"responseId":"R_7","values":{"contact_id":"1000456"},"contact":{"externalId":"P-2"}}`,
			`+survey.response.received L8 {"responseId":"R_8","values":{"QID1":"1000456","order":"1000456"}}`,
			`+order.completed L9 {"serviceOrder":"2","contactPerson":"7","soldToParty":"1000456"}`,
		}},
		"by the id of the contact in SAP beside its key": {`"externalId":"P-1","contactId":"1000456"`, []string{
			`survey.response.received L1 {"responseId":"R_1","values":{"contact_id":"1000999"},"contact":{"externalId":"P-1"}}`,
			`feedback.delivery_late L2 {"responseId":"R_2","subject":"x","contactId":"1000456"}`,
			`+feedback.delivery_late L3 {"responseId":"R_3","subject":"x","contactId":"1000999"}`, // values name nobody for good
		}},
		"an answer that gives an address": {`"email":"ada@example.com"`, []string{
			`survey.response.received L1 {"responseId":"R_1","values":{"email":"Ada@example.com","why":"late for the ball"}}`,
			`feedback.delivery_late L1 {"responseId":"R_1","subject":"x","text":"late for the ball"}`,
			`survey.response.received L2 {"responseId":"R_2","values":{"QID7_TEXT":" ada@example.com "}}`,
			`feedback.delivery_late L2 {"responseId":"R_2","subject":"x"}`,
			`survey.response.received L3 {"responseId":"R_3","values":{"rep_email":"ada@example.com"}}`, // an employee's
			`+feedback.delivery_late L3 {"responseId":"R_3","subject":"x"}`,
			`survey.response.received L4 {"responseId":"R_4","values":{"QID1":"ask ada@example.com"}}`,
			`+feedback.delivery_late L4 {"responseId":"R_4","subject":"x"}`,
			`survey.response.received L5 {"responseId":"R_5","values":{"email":"ada@example.com"},"contact":{"externalId":"P-2"}}`,
			`+feedback.delivery_late L5 {"responseId":"R_5","subject":"x"}`,
		}},
		"by an answer and an invitation": {`"responseId":"R_1","requestId":"Q9"`, []string{
			`survey.response.received L1 {"responseId":"R_1","values":{"why":"late for the ball"}}`,
			`feedback.delivery_late L1 {"responseId":"R_1","subject":"x"}`,
			`survey.link.created L9 {"requestId":"Q9","link":"https://x.example/9","contactId":"CID_9","contactLookupId":"CGC_9","contact":{"externalId":"P-9"}}`,
			`survey.response.received L9 {"responseId":"R_9","requestId":"Q9","contact":{"externalId":"P-9"}}`,
			`task.created L9 {"responseId":"R_9","taskId":"1"}`,
			`+survey.link.requested L8 {"requestId":"Q8","contact":{"email":"b@example.com","externalId":"P-9"}}`,
			`+survey.response.notified L7 {"surveyId":"SV_1","responseId":"R_7","recipientId":"CGC_9"}`,
			`+survey.response.received L2 {"responseId":"R_2","values":{"responseId":"R_1"}}`,
		}},
		"an employee known by number": {`"externalId":"E-7"`, []string{
			`recognition.requested L1 {"responseId":"R_1","recipient":{"employeeId":"E-7","name":"Rep"}}`,
			`recognition.submitted L1 {"responseId":"R_1","recognitionId":"7","state":"SUBMITTED"}`,
			`+survey.response.received L1 {"responseId":"R_1","values":{"why":"not about the employee"}}`,
		}},
		"an address in other spellings": {`"email":"ada+x@example.com"`, []string{
			`survey.link.requested L1 {"requestId":"1","contact":{"email":"b@example.com","attributes":{"u":"https://x.example/?m=ada%2Bx%40example.com"}}}`,
			`survey.link.requested L2 {"requestId":"2","contact":{"email":"b@example.com","attributes":{"u":"/?next=%252F%253Fm%253Dada%252Bx%2540example.com"}}}`,
			`survey.response.received L3 {"responseId":"R_3","values":{"raw":"{\"mail\":\"ada\\u002bx\\u0040example.com\"}"}}`,
			`survey.response.received L4 {"responseId":"R_4","values":{"raw":"Hello,\\nada+x@example.com"}}`,
			`survey.response.received L5 {"responseId":"R_5","values":{"html":"<b>ada&#43;x&#x40;example.com</b>"}}`,
			`survey.link.requested L6 {"requestId":"6","contact":{"externalId":"P-9","attributes":{"note":"E-Mail: -ada+x@example.com"}}}`,
			`survey.link.requested L7 {"requestId":"7","contact":{"email":"ada+x@example.com","email":"b@example.com"}}`,
			`survey.link.requested L8 {"requestId":"8","contact":{"email":"ada\u002Bx\u0040example.com"},}`,
			`survey.response.received L9 {"responseId":"R_9","values":{"ada+x@example.com":{}}}`,
			`+survey.link.requested L10 {"requestId":"10","contact":{"email":"-ada+x@example.com"}}`,
			`+survey.link.requested L11 {"requestId":"11","contact":{"email":"b-ada+x@example.com"}}`,
			`+survey.link.requested L12 {"requestId":"12","contact":{"email":"b@example.com","attributes":{"u":"?m=cada%2Bx%40example.com&n=%zz%4"}}}`,
		}},
		"a key in what cannot be read, and in exactly its case": {`"externalId":"P-1"`, []string{
			`survey.link.requested L1 {"requestId":"1","contact":{"externalId":"P-1","firstName":"Zelda"},}`,
			`survey.link.requested L2 requestId=2&externalId=P-1&firstName=Zelda`,
			`survey.link.requested L3 "{\"externalId\": \"P-1\", `,
			`survey.link.requested L4 {"requestId":"4","contact":{"externalId":" P-1 "}}`,
			`+survey.link.requested L5 {"requestId":"5","contact":{"externalId":"p-1"}}`,
			`+survey.link.requested L6 {"requestId":"6","contact":{"externalId":"P-10"},}`,
			`+survey.link.requested L7 {"requestId":"P-1","contact":{"email":"b@example.com"},}`,
		}},
		"a phone as it is dialled": {`"phone":"+44 (0)20 7946 0000","email":"ada@example.com"`, []string{
			`survey.link.requested L1 {"requestId":"1","contact":{"phone":"0044 20 7946 0000","firstName":"Zelda"}}`,
			`survey.link.requested L2 {"requestId":"2","contact":{"phone":"020 7946-0000"}}`,
			`+survey.link.requested L3 {"requestId":"3","contact":{"phone":"+39 20 7946 0000"}}`,
			`+survey.link.requested L4 {"requestId":"4","contact":{"phone":"7946 0000"}}`,
			`+survey.link.requested L5 {"requestId":"5","contact":{"email":"b@example.com","phone":"020 7946 0000"}}`,
		}},
		"what cannot be read": {`"email":"ada@example.com"`, []string{
			`survey.link.requested L1 {"requestId":"1","contact":{"emial":"ada@example.com"}}`,
			`survey.link.requested L2 no JSON at all, of ada@example.com`,
			`+survey.link.requested L3 no JSON at all`,
			`survey.link.requested L4 {"requestId":"2","contact":{"email":"b@example.com","attributes":{"link":"https://x.example/?m=ada%40example.com"}}}`,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t)
			var kept, gone []string
			for _, line := range c.events {
				parts := strings.SplitN(strings.TrimPrefix(line, "+"), " ", 3)
				w.broker.Publish(parts[0], parts[2], "ce-loopid", parts[1])
				if strings.HasPrefix(line, "+") {
					kept = append(kept, parts[2])
				} else {
					gone = append(gone, parts[2])
				}
			}
			s := w.console(servicetest.Env{"ERASURE_QUALTRICS": "false"})
			receipt(t, s, forget(t, s, `{"why":"asked","by":"eve",`+c.whom+`}`).ID)
			var left []string
			for _, m := range w.broker.Messages(topology.Events, ">") {
				left = append(left, string(m.Data))
			}
			if !slices.Equal(left, kept) {
				t.Errorf("left is\n%s\nwant\n%s", strings.Join(left, "\n"), strings.Join(kept, "\n"))
			}
			s.Stop()
			w.broker.Stop()
			for _, body := range gone {
				if files := w.onDisk(body); len(files) > 0 {
					t.Errorf("%s is still on disk in %v", body, files)
				}
			}
			for _, body := range kept {
				if len(w.onDisk(body)) == 0 {
					t.Errorf("%s is gone from the disk", body)
				}
			}
		})
	}
}

func TestWhatComesAfterTheRequestIsAnotherMatter(t *testing.T) {
	w := newTown(t)
	w.lives(ada)
	s := w.console(nil) // nobody answers for Qualtrics: it goes on looking
	asked := forget(t, s, `{"why":"asked","by":"eve","email":"ada@example.com"}`)
	var e console.Erasure
	bustest.Eventually(t, "Qualtrics is asked", func() bool {
		e = console.Erasure{}
		s.Get("/erasures/" + asked.ID).Want(200).JSON(&e)
		return len(e.Vendors) > 0 && e.WaitsFor != ""
	})
	w.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"new","contact":{"email":"ada@example.com","externalId":"P-A"}}`)
	w.broker.Publish(subjects.SurveyResponseNotified, `{"surveyId":"SV_1","responseId":"R_late","recipientId":"CGC_A"}`) // by the old link
	bustest.Eventually(t, "what follows from the old loop is deleted", func() bool {
		return !strings.Contains(strings.Join(w.holds("R_late"), " "), topology.Events)
	})
	w.qualtrics()
	receipt(t, s, asked.ID)
	if len(w.holds(`"requestId":"new"`)) != 1 {
		t.Error("a new request of the same person was deleted")
	}
}

func TestWhatServicesToldIsForgottenWhereIDsArePersonal(t *testing.T) {
	w := newTown(t)
	w.serve(topology.C4CTasker, func(context.Context, event.Event) error { return nil })
	w.broker.Publish(subjects.SurveyLinkRequested, `{"requestId":"1","contact":{"email":"ada@example.com","externalId":"P-1"}}`, "ce-loopid", "order-P-1")
	w.broker.Publish(subjects.FeedbackDeliveryLate, `{"responseId":"R_1","subject":"x","text":"y"}`,
		"ce-loopid", "order-P-1", "ce-id", "mail:Ada@example.com")
	bustest.Eventually(t, "the service has told about it", func() bool { return len(w.in([]string{topology.Activity}, "mail:Ada")) == 1 })
	kept := []string{}
	keep := func(h activity.Handled) { w.tell(h); kept = append(kept, h.EventID) }
	w.tell(activity.Handled{EventID: "by-number", LoopID: "order-P-1"})
	w.tell(activity.Handled{EventID: "P-1", LoopID: "long-gone"})
	w.tell(activity.Handled{EventID: "of-ben", LoopID: "L2"}, activity.Handled{EventID: "in-a-wave", LoopID: "ada%40example.com"})
	keep(activity.Handled{EventID: "longer-number", LoopID: "order-P-12"})
	keep(activity.Handled{EventID: "longer-address", LoopID: "xada@example.com"})
	keep(activity.Handled{EventID: "of-a-later-event", LoopID: "ada@example.com", Stream: topology.Events, Sequence: 1000})
	w.end()

	s := w.console(servicetest.Env{"ERASURE_QUALTRICS": "false"})
	done := receipt(t, s, forget(t, s, `{"why":"asked","by":"eve","email":"ada@example.com"}`).ID)
	left := []string{}
	for _, m := range w.broker.Messages(topology.Activity, topology.ActivitySubject(topology.C4CTasker, activity.KindAttempt)) {
		var a activity.Attempt
		if err := json.Unmarshal(m.Data, &a); err != nil {
			t.Fatal(err)
		}
		for _, h := range a.Events {
			left = append(left, h.EventID)
		}
	}
	if !slices.Equal(left, kept) || done.Deleted[topology.Activity] != 4 {
		t.Errorf("left is %v, want %v; the receipt counts %v", left, kept, done.Deleted)
	}
	s.Stop()
	w.broker.Stop()
	for _, secret := range []string{"mail:ada", "by-number", "in-a-wave"} {
		if files := w.onDisk(secret); len(files) > 0 {
			t.Errorf("%s is still on disk in %v", secret, files)
		}
	}
}

// Callers make ids of addresses with something before them. What is theirs is searched for the address however it goes on, and none of it
// comes to stand where it did not.
func TestAnAddressWithinIDsIsForgottenAndNotWrittenAnew(t *testing.T) {
	w := newTown(t)
	for _, n := range []string{"1", "2"} {
		w.broker.Publish(subjects.SurveyLinkRequested, fmt.Sprintf(`{"requestId":"camp%s-Ada@example.com","contact":{"email":"ada@example.com"}}`, n),
			"ce-loopid", "order"+n+"-ada@example.com", "ce-id", "camp"+n+"-ada@example.com")
	}
	made := effect.Link("camp1-Ada@example.com")
	w.made(made, event.Event{ID: "camp1-ada@example.com", LoopID: "order1-ada@example.com"}, map[string]any{"x": "y"})
	w.tell(activity.Handled{EventID: "camp1-ada@example.com", LoopID: "order1-ada@example.com"})
	w.tell(activity.Handled{EventID: "of-another-loop", LoopID: "L7", Reason: "like camp2-ada@example.com"})
	s := w.console(servicetest.Env{"ERASURE_QUALTRICS": "false"})
	done := receipt(t, s, forget(t, s, `{"why":"asked","by":"eve","email":"ada@example.com"}`).ID)
	where := w.holds("ada@example.com")
	for _, text := range []string{"order2-ada", "camp2-ada", "of-another-loop"} {
		where = append(where, w.holds(text)...)
	}
	if len(where) > 0 {
		t.Errorf("her address is still in %v", where)
	}
	var keys []string
	for _, m := range w.broker.Messages("KV_EFFECTS", ">") {
		if strings.Contains(strings.ToLower(m.Subject), "ada=40") {
			keys = append(keys, strings.TrimPrefix(m.Subject, "$KV.EFFECTS."))
		}
	}
	if !slices.Equal(keys, []string{made.String()}) || done.Ledger.PersonalKeys != 1 {
		t.Errorf("the ledger has the keys %v, want that of the effect which was made; the receipt counts %+v", keys, done.Ledger)
	}
	s.Stop()
	w.broker.Stop()
	for _, file := range w.onDisk("ada@example.com") {
		if !strings.HasPrefix(file, "KV_EFFECTS/") { // where the broker has dropped revisions itself
			t.Errorf("her address is still on disk in %v", file)
		}
	}
}

func TestARequestToForgetMustSayWhom(t *testing.T) {
	w := newTown(t)
	s := w.console(servicetest.Env{"INGRESS_BASIC_USERS": "ada:secret"})
	credentials := []string{"Authorization", "Basic YWRhOnNlY3JldA=="}
	s.Post("/erasures", `{"why":"x","email":"a@example.com"}`).WantProblem(401)
	for body, field := range map[string]string{
		`{"why":"x"}`: "email", `{"why":"x","email":"nobody"}`: "email", `{"email":"a@example.com"}`: "why",
		`{"why":"x","email":"a@example.com","emails":[]}`: "emails", `{"why":"a@example.com asked","email":"A@example.com"}`: "why",
		`{"why":"x","email":"a@example.com","phone":"12"}`: "phone", `{"why":"x","contactId":"CGC_1"}`: "contactId",
		`{"why":"x","responseId":"` + strings.Repeat("1", 256) + `"}`: "responseId", `{"why":"order-a@example.com hangs","email":"a@example.com","requestId":"order-a@example.com"}`: "why",
	} {
		s.Post("/erasures", body, credentials...).WantProblem(400, field)
	}
	s.Get("/erasures/none", credentials...).WantProblem(404)
	if n := len(w.broker.Messages(topology.Operations, ">")); n != 0 {
		t.Errorf("%d records of it", n)
	}
	var all struct{ Erasures []json.RawMessage }
	s.Get("/erasures", credentials...).Want(200).JSON(&all)
	if all.Erasures == nil || len(all.Erasures) != 0 {
		t.Errorf("%v", all)
	}
}

func TestALedgerOfAnEarlierVersionIsPushedOutAndTheReceiptSaysSo(t *testing.T) {
	t.Parallel()
	w := &town{t: t, broker: bustest.Bare(t), asked: make(chan effect.Whom, 10)}
	if _, err := w.broker.JS.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: topology.Effects, History: 1}); err != nil {
		t.Fatal(err)
	}
	if err := topology.Of(topology.Settings{}).Apply(t.Context(), w.broker.JS, logging.Discard()); err != nil {
		t.Fatal(err)
	}
	w.lives(ada)
	s := w.console(servicetest.Env{"ERASURE_QUALTRICS": "false"})
	done := receipt(t, s, forget(t, s, `{"why":"asked","by":"eve","email":"ada@example.com"}`).ID)
	if done.Ledger.NotOverwritten != 4 || done.Ledger.Tombstones != 3 || done.Ledger.Dropped != 1 {
		t.Errorf("the receipt counts %+v", done.Ledger)
	}
	for _, secret := range append(secrets, "CID_A") {
		if where := w.holds(secret); len(where) > 0 {
			t.Errorf("%s can still be read in %v", secret, where)
		}
	}
	w.neverAgain()
}

func TestAnErasureWhoseLetterIsDiscardedEndsWithAPerson(t *testing.T) {
	w := newTown(t)
	w.lives(ada)
	s := w.console(nil)
	w.serve(topology.QualtricsLinker, func(_ context.Context, e event.Event) error {
		if _, ok := e.Data.(*eventsv1.ErasureRequested); ok {
			return fault.New(fault.Person, "nobody knows")
		}
		return nil
	})
	asked := forget(t, s, `{"why":"asked","by":"eve","email":"ada@example.com"}`)
	bustest.Eventually(t, "the letter", func() bool { return len(w.broker.Messages(topology.DeadLetters, ">")) == 1 })
	letter := w.broker.Messages(topology.DeadLetters, ">")[0].Sequence
	s.Post(fmt.Sprintf("/dead-letters/%d/discard", letter), `{"why":"by hand","by":"eve"}`).Want(200)
	done := receipt(t, s, asked.ID)
	if q := done.Vendors[0]; q.Vendor != "qualtrics" || q.Outcome != "person" || q.Where == "" || q.Reason == "" {
		t.Errorf("at Qualtrics: %+v", q)
	}
}
