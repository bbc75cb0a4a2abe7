package users_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/closeloop/closeloop/pkg/activity"
	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/bus/users"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/quota"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// says has a body for each subject.
var says = map[string]string{
	subjects.SurveyLinkRequested:    `{"requestId":"%s","contact":{"email":"ada@example.com"}}`,
	subjects.SurveyLinkCreated:      `{"requestId":"%s","link":"https://example.com/x"}`,
	subjects.SurveyLinkSuppressed:   `{"requestId":"%s","reason":"UNSUBSCRIBED"}`,
	subjects.SurveyResponseNotified: `{"surveyId":"SV_1","responseId":"R_%s"}`,
	subjects.SurveyResponseReceived: `{"surveyId":"SV_1","responseId":"%s"}`,
	subjects.FeedbackDeliveryLate:   `{"responseId":"%s","subject":"x"}`,
	"feedback.anything":             `{"responseId":"%s","subject":"x"}`,
	subjects.RecognitionRequested:   `{"responseId":"%s","recipient":{"email":"ada@example.com"}}`,
	subjects.InteractionWritten:     `{"kind":"SURVEY_RESPONSE","responseId":"%s"}`,
	subjects.TaskCreated:            `{"responseId":"%s"}`,
	subjects.RecognitionSubmitted:   `{"responseId":"%s","state":"SUBMITTED"}`,
	subjects.RecognitionApproved:    `{"responseId":"%s"}`,
	subjects.RecognitionDeclined:    `{"responseId":"%s"}`,
	subjects.ErasureRequested:       `{"erasureId":"%s"}`,
	subjects.ErasureCompleted:       `{"erasureId":"%s","vendor":"qualtrics","state":"ERASED"}`,
	subjects.OrderCompleted:         `{"serviceOrder":"%s","changedAt":"2026-07-24T09:30:00Z"}`,
}

// made makes the event of a subject.
func made(t *testing.T, subject, id string) event.Event {
	t.Helper()
	subject = strings.ReplaceAll(subject, "*", "anything")
	e, err := event.Decode(subject, nats.Header{"Ce-Id": {subject + id}}, fmt.Appendf(nil, says[subject], id), event.Origin{})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestEveryUserMayDoWhatItNeedsAndNoMore has every service do all that it does, under both forms of acknowledgement, and
// sees that nothing is refused and that there is no permission of which nobody made use.
func TestEveryUserMayDoWhatItNeedsAndNoMore(t *testing.T) {
	declared := topology.Of(topology.Settings{})
	used := map[string][]string{}
	for name, config := range map[string]string{"acks of today": "", "acks of servers to come": "feature_flags {js_ack_fc_v2: true}"} {
		t.Run(name, func(t *testing.T) {
			broker := bustest.StartSecure(t, topology.Settings{}, config)
			job := broker.Bus(users.Job)
			if err := declared.Apply(t.Context(), job.JetStream(), logging.Discard()); err != nil { // once more, on what is there
				t.Fatal(err)
			}
			t.Run("services", func(t *testing.T) {
				for _, s := range declared.Services {
					t.Run(s.Name, func(t *testing.T) {
						t.Parallel()
						works(t, broker, s)
					})
				}
			})
			for _, u := range users.Of(declared) {
				published, subscribed := broker.Asked(u.Name)
				used["publish "+u.Name] = append(used["publish "+u.Name], published...)
				used["subscribe "+u.Name] = append(used["subscribe "+u.Name], subscribed...)
			}
		})
	}
	for _, u := range users.Of(declared) {
		if u.Name == users.Operator {
			continue
		}
		for _, pattern := range u.Permissions.Publish {
			if !slices.ContainsFunc(used["publish "+u.Name], func(subject string) bool { return matches(pattern, subject) }) {
				t.Errorf("%s may publish %s and never does", u.Name, pattern)
			}
		}
		for _, pattern := range u.Permissions.Subscribe {
			if !slices.ContainsFunc(used["subscribe "+u.Name], func(subject string) bool { return matches(pattern, subject) }) {
				t.Errorf("%s may subscribe to %s and never does", u.Name, pattern)
			}
		}
	}
}

// matches tells whether a subject, which may have wildcards of its own, is within a pattern.
func matches(pattern, subject string) bool {
	within, tokens := strings.Split(pattern, "."), strings.Split(subject, ".")
	for i, token := range within {
		switch {
		case token == ">":
			return len(tokens) > i
		case i >= len(tokens) || tokens[i] == ">":
			return false
		case token != "*" && token != tokens[i]:
			return false
		}
	}
	return len(within) == len(tokens)
}

// works does all that a service does with the broker.
func works(t *testing.T, broker *bustest.Broker, s topology.Service) {
	t.Helper()
	b := broker.Bus(s.Name)
	awaited := slices.Clone(s.Awaits)
	if len(s.Takes) > 0 {
		awaited = append(awaited, topology.DeadLetterSubject(s.Name))
	}
	outcomes, err := b.Outcomes(awaited...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = outcomes.Close() }()
	for _, subject := range s.Publishes {
		if _, err := b.Publish(t.Context(), made(t, subject, "p"+s.Name[:2])); err != nil {
			t.Errorf("publishing %s: %v", subject, err)
		}
	}
	for _, scope := range s.EffectScopes {
		keepsLedger(t, b, scope)
	}
	for _, vendor := range s.Vendors {
		keepsLimits(t, b, vendor)
	}
	if len(s.Takes) > 0 {
		handles(t, broker, s, b)
	}
	if s.Oversees {
		oversees(t, broker, b)
	}
	b.Tell(activity.KindVendor, activity.Vendor{Service: s.Name, State: activity.Healthy})
	bustest.Eventually(t, "told", func() bool {
		return len(broker.Messages(topology.Activity, topology.ActivitySubject(s.Name, activity.KindVendor))) > 0
	})
	if err := b.Ready(); err != nil {
		t.Errorf("the broker refused something that the service needs: %v", err)
	}
}

// oversees reads all streams one by one and in batches, records, replays, and rescues a message whose deliveries ran out.
func oversees(t *testing.T, broker *bustest.Broker, b *bus.Bus) {
	t.Helper()
	operator := broker.JS
	ack, err := operator.Publish(t.Context(), subjects.FeedbackDeliveryLate, fmt.Appendf(nil, says[subjects.FeedbackDeliveryLate], "rescued"))
	if err != nil {
		t.Fatal(err)
	}
	said := fmt.Sprintf(`{"stream":"EVENTS","consumer":%q,"stream_seq":%d,"deliveries":20}`, topology.C4CTasker, ack.Sequence)
	if _, err := operator.Publish(t.Context(), "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVENTS."+topology.C4CTasker, []byte(said)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	became := bus.Rescue("nothing came")
	if err := b.RescueUndelivered(ctx, func(r bus.Rescue) { became = r; cancel() }); err != nil || became != bus.Rescued {
		t.Errorf("rescuing: %s, %v", became, err)
	}
	if _, err := b.Record(t.Context(), topology.OperationSubject("deadletter", 1), "O-1", []byte("{}"), 0); err != nil {
		t.Error(err)
	}
	letter := nats.Header{bus.HeaderSubject: {subjects.FeedbackDeliveryLate}}
	if err := b.Replay(t.Context(), bus.Replay{Operation: "O-1", Service: topology.C4CTasker, Letter: letter, Body: []byte("{}")}); err != nil {
		t.Error(err)
	}
	if _, err := operator.Publish(t.Context(), topology.ActivitySubject(topology.C4CTasker, activity.KindVendor), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{topology.Events, topology.Retries, topology.DeadLetters, topology.Operations, topology.Activity} {
		stream, err := b.JetStream().Stream(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := stream.GetMsg(t.Context(), stream.CachedInfo().State.LastSeq); err != nil {
			t.Errorf("reading %s: %v", name, err)
		}
	}
	forgets(t, broker, b)
}

// forgets takes a message that is about a person out of each stream that may hold one, and leaves a tombstone in the ledger.
func forgets(t *testing.T, broker *bustest.Broker, b *bus.Bus) {
	t.Helper()
	for name, subject := range map[string]string{
		topology.Events: subjects.FeedbackDeliveryLate, topology.Retries: topology.HoldSubject(topology.C4CTasker, "forget"),
		topology.DeadLetters: topology.DeadLetterSubject(topology.C4CTasker), topology.Operations: "operation.erasure.x",
		topology.Activity: topology.ActivitySubject(topology.C4CTasker, "forget"), "KV_" + topology.Effects: "$KV.EFFECTS.c4c.forget",
	} {
		ack, err := broker.JS.Publish(t.Context(), subject, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		stream, err := b.JetStream().Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := stream.GetMsg(t.Context(), ack.Sequence); err != nil {
			t.Errorf("reading %s: %v", name, err)
		}
		if err := stream.SecureDeleteMsg(t.Context(), ack.Sequence); err != nil {
			t.Errorf("deleting in %s: %v", name, err)
		}
	}
	for _, stream := range []string{topology.Events, topology.Retries} {
		if _, err := b.JetStream().Consumer(t.Context(), stream, topology.C4CTasker); err != nil {
			t.Errorf("what c4c-tasker has in hand of %s: %v", stream, err)
		}
	}
	ledger, err := b.JetStream().KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Put(t.Context(), "c4c.forget", []byte("{}")); err != nil {
		t.Errorf("leaving a tombstone: %v", err)
	}
	if _, err := ledger.Get(t.Context(), "c4c.forget"); err != nil {
		t.Errorf("reading the ledger: %v", err)
	}
}

// keepsLedger goes through every state of an effect, and a second run of it.
func keepsLedger(t *testing.T, b *bus.Bus, scope string) {
	t.Helper()
	bucket, err := b.JetStream().KeyValue(t.Context(), topology.Effects)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := effect.Do(t.Context(), effect.New(bucket), effect.Key{Effect: scope + ".test", Business: b.Service()}, event.Event{ID: "E"},
			func(ctx context.Context, run *effect.Run) (string, error) {
				return effect.Step(ctx, run, "step", effect.Write[string]{Send: func(context.Context) (string, error) { return "done", nil }})
			})
		if err != nil {
			t.Errorf("ledger %s: %v", scope, err)
		}
	}
}

// keepsLimits admits a call, waits for the next, and closes the limit for others.
func keepsLimits(t *testing.T, b *bus.Bus, vendor string) {
	t.Helper()
	bucket, err := b.JetStream().KeyValue(t.Context(), topology.Limits)
	if err != nil {
		t.Fatal(err)
	}
	operation := b.Service() // others call the same vendor
	limits := quota.Limits{Operations: map[string]int{operation: 6000}, Parallel: 1}
	limiter := quota.New(bucket, vendor, limits)
	for range 2 {
		release, err := limiter.Admit(t.Context(), operation)
		if err != nil {
			t.Errorf("limits of %s: %v", vendor, err)
			return
		}
		release()
	}
	limiter.Refused(t.Context(), operation, time.Hour)
	if _, err := quota.New(bucket, vendor, limits).Admit(t.Context(), operation); !fault.Is(err, fault.Busy) {
		t.Errorf("limits of %s: another limiter does not know of the refusal: %v", vendor, err)
	}
}

// handles takes events to every end that there is: done, held and back, paused, dead letter.
func handles(t *testing.T, broker *bustest.Broker, s topology.Service, b *bus.Bus) {
	t.Helper()
	endings := []error{
		nil, fault.New(fault.Transient, "later"), &fault.Fault{Class: fault.Down, Reason: "out", After: time.Millisecond},
		fault.New(fault.Busy, "soon"), fault.New(fault.Refused, "never"),
	}
	operator := broker.JS
	first := make(chan error, len(endings)*len(s.Takes))
	for range s.Takes {
		for _, ending := range endings {
			first <- ending
		}
	}
	consuming := b.Consume(t.Context(), bus.Consumer{Parallel: 1, Handle: func(context.Context, event.Event) error {
		select {
		case ending := <-first:
			return ending
		default:
			return nil
		}
	}})
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		consuming.Drain(ctx)
	}()
	for _, subject := range s.Takes {
		for i := range endings {
			if _, err := operator.Publish(t.Context(), subject, fmt.Appendf(nil, says[subject], fmt.Sprint(s.Name[:2], i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	bustest.Eventually(t, "everything handled", func() bool {
		for _, stream := range []string{topology.Events, topology.Retries} {
			consumer, err := operator.Consumer(t.Context(), stream, s.Name)
			if err != nil {
				t.Fatal(err)
			}
			if info := consumer.CachedInfo(); info.NumPending > 0 || info.NumAckPending > 0 {
				return false
			}
		}
		held, err := operator.Stream(t.Context(), topology.Retries)
		if err != nil {
			t.Fatal(err)
		}
		_, err = held.GetLastMsgForSubject(t.Context(), topology.HoldSubject(s.Name, "*"))
		return len(first) == 0 && err != nil
	})
	dead, err := operator.Stream(t.Context(), topology.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.GetLastMsgForSubject(t.Context(), topology.DeadLetterSubject(s.Name)); err != nil {
		t.Errorf("no dead letter: %v", err)
	}
}

// TestNobodyMayDoWhatOnlyOthersMay tries as each user, for real, all that any other user may do and it may not, and what
// nobody but the operator may.
func TestNobodyMayDoWhatOnlyOthersMay(t *testing.T) {
	broker := bustest.StartSecure(t, topology.Settings{}, "")
	all := users.Of(topology.Of(topology.Settings{}))
	for _, u := range all {
		if u.Name == users.Operator {
			continue
		}
		t.Run(u.Name, func(t *testing.T) {
			said := make(chan string, 100)
			connection := broker.Connection(u.Name)
			options, err := connection.Options()
			if err != nil {
				t.Fatal(err)
			}
			nc, err := nats.Connect(connection.URL, append(options,
				nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said <- err.Error() }))...)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			publish, subscribe := beyond(all, u)
			if len(publish) < 50 || len(subscribe) < len(all) {
				t.Fatalf("only %d and %d subjects to try", len(publish), len(subscribe))
			}
			for _, subject := range publish {
				if err := nc.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
				refused(t, nc, said, "Publish", subject)
			}
			for _, subject := range subscribe {
				if _, err := nc.SubscribeSync(subject); err != nil {
					t.Fatal(err)
				}
				refused(t, nc, said, "Subscription", subject)
			}
			if lines := broker.Refused(); len(lines) != len(publish)+len(subscribe) {
				t.Errorf("the server's log has %d refusals of %d", len(lines), len(publish)+len(subscribe))
			}
		})
	}
}

// refused expects the broker's word that it does not allow what was just tried.
func refused(t *testing.T, nc *nats.Conn, said <-chan string, what, subject string) {
	t.Helper()
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-said:
		if !strings.Contains(got, what) || !strings.Contains(got, subject) {
			t.Errorf("%s of %s: refused is %s", what, subject, got)
		}
	case <-time.After(2 * time.Second):
		t.Errorf("%s of %s is allowed", what, subject)
	}
}

// beyond lists what a user must not publish and must not hear.
func beyond(all []users.User, u users.User) (publish, subscribe []string) {
	publish, subscribe = []string{"anything", "$KV.EFFECTS.anybody.x", "$KV.LIMITS.anybody.x", "_INBOX.x", "_INBOX_operator.x"}, []string{
		">", "*", "_INBOX.>", "_INBOX_*.>", "survey.>", "feedback.*", "deadletter.>", "retry.>", "operation.>", "activity.>", "$KV.>", "$JS.>", "$SYS.>",
	}
	// What only the operator may, or the job.
	for _, stream := range []string{"EVENTS", "RETRIES", "DEADLETTERS", "OPERATIONS", "ACTIVITY", "ADVISORIES", "KV_EFFECTS", "KV_LIMITS"} {
		for _, verb := range []string{
			"STREAM.CREATE", "STREAM.UPDATE", "STREAM.DELETE", "STREAM.PURGE", "STREAM.MSG.GET", "STREAM.MSG.DELETE", "STREAM.INFO", "DIRECT.GET",
			"STREAM.SNAPSHOT", "STREAM.RESTORE", "STREAM.LEADER.STEPDOWN", "CONSUMER.CREATE", "CONSUMER.NAMES", "CONSUMER.LIST",
		} {
			publish = append(publish, "$JS.API."+verb+"."+stream)
		}
		for _, verb := range []string{"CREATE", "DURABLE.CREATE", "DELETE", "PAUSE", "RESET", "UNPIN", "INFO", "MSG.NEXT"} {
			publish = append(publish, "$JS.API.CONSUMER."+verb+"."+stream+"."+u.Name, "$JS.API.CONSUMER."+verb+"."+stream+".other")
		}
		publish = append(publish, "$JS.API.CONSUMER.CREATE."+stream+".other.filter")
	}
	publish = append(publish, "$JS.API.STREAM.CREATE.OTHER", "$JS.API.STREAM.LIST", "$JS.API.STREAM.NAMES", "$JS.API.INFO",
		"$JS.API.META.LEADER.STEPDOWN", "$JS.API.SERVER.REMOVE", "$JS.API.ACCOUNT.PURGE.$G",
		"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVENTS."+u.Name, "$JS.FC.EVENTS."+u.Name+".x",
		"$SYS.REQ.SERVER.PING", "$SYS.REQ.USER.INFO", "$SYS.REQ.ACCOUNT.$G.CONNZ", "$SYS.REQ.SERVER.x.RELOAD")
	for _, other := range all {
		if other.Name == u.Name || other.Name == users.Operator {
			continue
		}
		publish, subscribe = append(publish, other.Permissions.Publish...), append(subscribe, other.Permissions.Subscribe...)
	}
	some := strings.NewReplacer("*", "x", ">", "x")
	for i := range publish {
		publish[i] = some.Replace(publish[i])
	}
	return without(u.Permissions.Publish, publish), without(u.Permissions.Subscribe, subscribe)
}

// without gives each subject once, less those that are within a pattern.
func without(patterns, all []string) []string {
	slices.Sort(all)
	return slices.DeleteFunc(slices.Compact(all), func(subject string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, subject) })
	})
}

// TestNobodyMayRemoveWhatOthersWrote: permissions are by subject, and a header of JetStream's can remove all of a stream.
func TestNobodyMayRemoveWhatOthersWrote(t *testing.T) {
	broker := bustest.StartSecure(t, topology.Settings{}, "")
	for _, s := range topology.Of(topology.Settings{}).Services {
		b := broker.Bus(s.Name)
		mine := []string{topology.ActivitySubject(s.Name, activity.KindAttempt)}
		for _, subject := range s.Publishes {
			mine = append(mine, strings.ReplaceAll(subject, "*", "x"))
		}
		for _, scope := range s.EffectScopes {
			mine = append(mine, "$KV.EFFECTS."+scope+".x")
		}
		for _, vendor := range s.Vendors {
			mine = append(mine, "$KV.LIMITS."+vendor+".x")
		}
		if len(s.Takes) > 0 {
			mine = append(mine, topology.DeadLetterSubject(s.Name))
		}
		for _, subject := range mine {
			m := nats.NewMsg(subject)
			m.Header.Set("Nats-Rollup", "all")
			if _, err := b.JetStream().PublishMsg(t.Context(), m); err == nil || !strings.Contains(err.Error(), "rollup") {
				t.Errorf("%s rolls %s up: %v", s.Name, subject, err)
			}
		}
	}
}
