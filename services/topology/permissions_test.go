package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/embedded"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/effect"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/quota"
	"github.com/closeloop/closeloop/proto-events/subjects"
	"github.com/closeloop/closeloop/services/topology/permissions"
)

// guarded is a broker with the users that `topology permissions` prints, and the topology applied by its own.
type guarded struct {
	*embedded.Server
	declared topology.Topology
}

func password(user string) string { return "pass-" + user }

func (g guarded) url(user string) string {
	return strings.Replace(g.URL(), "://", "://"+user+":"+password(user)+"@", 1)
}

func startGuarded(t *testing.T, more string) guarded {
	t.Helper()
	g := guarded{declared: topology.Of(topology.Settings{})}
	users := []string{permissions.Job, permissions.Operator}
	for _, s := range g.declared.Services {
		users = append(users, s.Name)
	}
	for _, user := range users {
		t.Setenv(permissions.PasswordVariable(user), `"`+password(user)+`"`)
	}
	config := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(config, []byte("listen: 127.0.0.1:-1\n"+more+"\n"+output(t, "permissions")), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if g.Server, err = embedded.Start(embedded.Options{Dir: t.TempDir(), Config: config}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Stop)
	t.Setenv("NATS_URL", g.url(permissions.Job))
	t.Setenv("TOPOLOGY_TIMEOUT", "15s")
	t.Setenv("LOG_LEVEL", "error")
	output(t, "apply")
	output(t, "apply")
	return g
}

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

func TestEveryServiceMayDoWhatItNeedsUnderItsUser(t *testing.T) {
	for name, more := range map[string]string{"acks of today": "", "acks of servers to come": "feature_flags {js_ack_fc_v2: true}"} {
		t.Run(name, func(t *testing.T) {
			g := startGuarded(t, more)
			services := g.declared.Services
			if more != "" { // the rights to acknowledge are made alike for all who take events: one stands for them
				services = slices.DeleteFunc(slices.Clone(services), func(s topology.Service) bool {
					return s.Name != topology.AwardcoRecognizer && !s.Oversees
				})
			}
			for _, s := range services {
				t.Run(s.Name, func(t *testing.T) {
					t.Parallel()
					works(t, g, s)
				})
			}
		})
	}
}

// works does all that a service does with the broker.
func works(t *testing.T, g guarded, s topology.Service) {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Options{Service: s.Name, URL: g.url(s.Name)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
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
		handles(t, g, s, b)
	}
	if s.Oversees {
		oversees(t, g, b)
	}
	if err := b.Ready(); err != nil {
		t.Errorf("the broker refused something that the service needs: %v", err)
	}
}

// oversees reads all streams one by one and in batches, records, replays, and rescues a message whose deliveries ran out.
func oversees(t *testing.T, g guarded, b *bus.Bus) {
	t.Helper()
	operator := g.js(t, permissions.Operator)
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
	for _, name := range []string{topology.Events, topology.Retries, topology.DeadLetters, topology.Operations} {
		stream, err := b.JetStream().Stream(t.Context(), name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, err := stream.GetMsg(t.Context(), stream.CachedInfo().State.LastSeq); err != nil {
			t.Errorf("reading %s: %v", name, err)
		}
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
func handles(t *testing.T, g guarded, s topology.Service, b *bus.Bus) {
	t.Helper()
	endings := []error{
		nil, fault.New(fault.Transient, "later"), &fault.Fault{Class: fault.Down, Reason: "out", After: time.Millisecond},
		fault.New(fault.Busy, "soon"), fault.New(fault.Refused, "never"),
	}
	operator := g.js(t, permissions.Operator)
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

func (g guarded) js(t *testing.T, user string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(g.url(user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func TestNoServiceMayDoMore(t *testing.T) {
	g := startGuarded(t, "")
	for _, s := range g.declared.Services {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			refusals := make(chan string, 100)
			nc, err := nats.Connect(g.url(s.Name), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err.Error() }))
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			for _, subject := range beyond(g.declared, s) {
				if err := nc.Publish(subject, nil); err != nil {
					t.Fatal(err)
				}
				refused(t, nc, refusals, "Publish", subject)
			}
			for _, subject := range deaf(g.declared, s) {
				if _, err := nc.SubscribeSync(subject); err != nil {
					t.Fatal(err)
				}
				refused(t, nc, refusals, "Subscription", subject)
			}
		})
	}
}

func refused(t *testing.T, nc *nats.Conn, refusals <-chan string, what, subject string) {
	t.Helper()
	if err := nc.FlushTimeout(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-refusals:
		if !strings.Contains(got, what) || !strings.Contains(got, subject) {
			t.Errorf("%s of %s: refused is %s", what, subject, got)
		}
	case <-time.After(2 * time.Second):
		t.Errorf("%s of %s is allowed", what, subject)
	}
}

// beyond lists what a service must not publish.
func beyond(all topology.Topology, s topology.Service) []string {
	no := []string{
		"$JS.API.STREAM.CREATE.EVENTS", "$JS.API.STREAM.CREATE.MINE", "$JS.API.STREAM.UPDATE.EVENTS", "$JS.API.STREAM.DELETE.EVENTS",
		"$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.MSG.DELETE.EVENTS", "$JS.API.STREAM.MSG.GET.EVENTS",
		"$JS.API.CONSUMER.CREATE.EVENTS", "$JS.API.CONSUMER.CREATE.EVENTS." + s.Name, "$JS.API.CONSUMER.DURABLE.CREATE.EVENTS." + s.Name,
		"$JS.API.CONSUMER.DELETE.EVENTS." + s.Name, "$JS.API.STREAM.LIST", "$JS.API.STREAM.PURGE.KV_EFFECTS",
		"$JS.API.CONSUMER.CREATE.DEADLETTERS", "$JS.API.STREAM.PURGE.DEADLETTERS", "$JS.API.STREAM.MSG.DELETE.OPERATIONS", "$JS.API.STREAM.PURGE.OPERATIONS",
		"$JS.API.DIRECT.GET.ADVISORIES", "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.EVENTS." + s.Name, "$KV.EFFECTS.anybody.x", "$KV.LIMITS.anybody.x", "$JS.API.STREAM.PURGE.KV_LIMITS", "anything", "_INBOX_operator.x",
	}
	// What the one who oversees the others may do, and no other.
	above := []string{
		"$JS.API.DIRECT.GET.EVENTS", "$JS.API.DIRECT.GET.RETRIES", "$JS.API.DIRECT.GET.DEADLETTERS", "$JS.API.DIRECT.GET.OPERATIONS",
		"$JS.API.CONSUMER.MSG.NEXT.ADVISORIES." + topology.Console, topology.DueSubject(s.Name), "operation.deadletter.1", "deadletter.anybody",
	}
	if s.Oversees {
		above = []string{"$JS.API.CONSUMER.PAUSE.EVENTS." + topology.C4CTasker, "$JS.API.CONSUMER.PAUSE.ADVISORIES." + s.Name, "$KV.EFFECTS.c4c.x"}
	}
	no = append(no, above...)
	for _, other := range all.Services {
		if other.Name == s.Name || other.Oversees {
			continue
		}
		for _, subject := range other.Publishes {
			if !slices.Contains(s.Publishes, subject) && !(s.Name == topology.FeedbackRouter && subject == subjects.FeedbackDeliveryLate) {
				no = append(no, strings.ReplaceAll(subject, "*", "anything"))
			}
		}
		for _, scope := range other.EffectScopes {
			if !slices.Contains(s.EffectScopes, scope) {
				no = append(no, "$KV.EFFECTS."+scope+".x", "$JS.API.DIRECT.GET.KV_EFFECTS.$KV.EFFECTS."+scope+".x")
			}
		}
		for _, vendor := range other.Vendors {
			if !slices.Contains(s.Vendors, vendor) {
				no = append(no, "$KV.LIMITS."+vendor+".x", "$JS.API.DIRECT.GET.KV_LIMITS.$KV.LIMITS."+vendor+".x")
			}
		}
		no = append(no, "$JS.API.CONSUMER.MSG.NEXT.EVENTS."+other.Name, "$JS.API.CONSUMER.PAUSE.EVENTS."+other.Name,
			"$JS.ACK.EVENTS."+other.Name+".1.1.1.1.1", topology.HoldSubject(other.Name, "x"))
		if !s.Oversees {
			no = append(no, topology.DueSubject(other.Name), topology.DeadLetterSubject(other.Name))
		}
	}
	return no
}

// deaf lists what a service must not hear.
func deaf(all topology.Topology, s topology.Service) []string {
	no := []string{">", "_INBOX.>", "_INBOX_*.>", "survey.>", "deadletter.>", "$KV.EFFECTS.>", "$JS.EVENT.ADVISORY.>"}
	for _, other := range all.Services {
		if other.Name != s.Name {
			no = append(no, topology.InboxPrefix(other.Name)+".>")
		}
	}
	return no
}

func TestJobMayCreateAndNotDelete(t *testing.T) {
	g := startGuarded(t, "")
	refusals := make(chan string, 100)
	nc, err := nats.Connect(g.url(permissions.Job), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refusals <- err.Error() }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for _, subject := range []string{
		"$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.MSG.DELETE.EVENTS", "$JS.API.CONSUMER.DELETE.EVENTS.c4c-tasker",
		"$JS.API.STREAM.MSG.GET.EVENTS", "survey.link.requested",
	} {
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
		refused(t, nc, refusals, "Publish", subject)
	}
}
