//go:build unix

// Package scriptstest runs every script of scripts/ that talks to a broker, with bash and the pinned nats CLI, against a
// real one.
package scriptstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/needs"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// limit is for one script; those that wait for the broker's silence take a few seconds.
const limit = 30 * time.Second

// cli builds the nats CLI once, so that no script's own time limit has to hold the build.
var cli = sync.OnceValue(func() error {
	out, err := exec.Command("bash", filepath.Join("..", "tool"), "nats").CombinedOutput()
	if err != nil {
		return fmt.Errorf("building the nats CLI: %w\n%s", err, out)
	}
	return nil
})

// result is what a script said.
type result struct {
	out, err string
	exit     int
}

// run runs scripts/name from the folder of the test, with the broker at url.
func run(t *testing.T, url, name string, args ...string) result {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		needs.Missing(t, "bash", "the scripts are written for it")
	}
	if err := cli(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, "bash", append([]string{filepath.Join("..", name)}, args...)...)
	cmd.Env = append(os.Environ(), "NATS_URL="+url)
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		t.Fatalf("%s: %v\n%s%s", name, err, out.String(), errs.String())
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

func mustRun(t *testing.T, url, name string, args ...string) result {
	t.Helper()
	r := run(t, url, name, args...)
	if r.exit != 0 {
		t.Fatalf("%s ended with %d:\n%s%s", name, r.exit, r.out, r.err)
	}
	return r
}

// stored gives the only message that EVENTS holds under a subject, decoded as its services would.
func stored(t *testing.T, b *bustest.Broker, subject string) (event.Event, *jetstream.RawStreamMsg) {
	t.Helper()
	messages := b.Messages(topology.Events, subject)
	if len(messages) != 1 {
		t.Fatalf("%d messages under %s, want 1", len(messages), subject)
	}
	m := messages[0]
	e, err := event.Decode(m.Subject, m.Header, m.Data, event.Origin{Stream: topology.Events, Sequence: m.Sequence, Time: m.Time})
	if err != nil {
		t.Fatalf("%v\n%s", err, m.Data)
	}
	return e, m
}

// The scripts that publish: each with the subject of its event and the arguments that name it.
var publishers = []struct {
	script  string
	args    []string
	subject string
	key     string
	// says checks that the arguments arrived.
	says func(event.Event) bool
}{
	{"request-link", []string{"A-1", "grace@example.com"}, subjects.SurveyLinkRequested, "A-1", func(e event.Event) bool {
		m := e.Data.(*eventsv1.SurveyLinkRequested)
		return m.GetRequestId() == "A-1" && m.GetContact().GetEmail() == "grace@example.com"
	}},
	{"report-late-delivery", []string{"R_1"}, subjects.FeedbackDeliveryLate, "R_1", func(e event.Event) bool {
		return e.Data.(*eventsv1.FeedbackRaised).GetResponseId() == "R_1"
	}},
	{"request-recognition", []string{"R_1", "grace@example.com"}, subjects.RecognitionRequested, "R_1", func(e event.Event) bool {
		m := e.Data.(*eventsv1.RecognitionRequested)
		return m.GetResponseId() == "R_1" && m.GetRecipient().GetEmail() == "grace@example.com"
	}},
}

func TestScriptsPublishOneValidEventHoweverOftenTheyRun(t *testing.T) {
	for _, tt := range publishers {
		t.Run(tt.script, func(t *testing.T) {
			b := bustest.Start(t, topology.Settings{})
			mustRun(t, b.URL(), tt.script, tt.args...)
			again := mustRun(t, b.URL(), tt.script, tt.args...)
			if said := again.out + again.err; !strings.Contains(said, "Duplicate: true") {
				t.Errorf("a repeat does not say that it is one: %s", said)
			}
			e, m := stored(t, b, tt.subject)
			if !tt.says(e) {
				t.Errorf("the event does not say what was asked for: %s", m.Data)
			}
			// The id that a service gives the same event: however it comes, it is stored once.
			if got := m.Header.Get(nats.MsgIdHdr); got != e.DedupeKey() {
				t.Errorf("Nats-Msg-Id is %q, want %q", got, e.DedupeKey())
			}
			if e.LoopID != tt.key || e.ID == e.LoopID || e.Source != "scripts" {
				t.Errorf("id %q, loop %q, source %q", e.ID, e.LoopID, e.Source)
			}
		})
	}
}

func TestScriptsWithoutArgumentsPublishANewEventEachTime(t *testing.T) {
	for _, tt := range publishers {
		t.Run(tt.script, func(t *testing.T) {
			b := bustest.Start(t, topology.Settings{})
			mustRun(t, b.URL(), tt.script)
			stored(t, b, tt.subject)
			mustRun(t, b.URL(), tt.script)
			if n := len(b.Messages(topology.Events, tt.subject)); n != 2 {
				t.Errorf("%d events after two runs, want 2", n)
			}
		})
	}
}

func TestABodyIsPublishedAsItIs(t *testing.T) {
	const body = `{"responseId":"R_1","subject":"{{Count}} of {{ID}}"}` // a template, to the CLI
	b := bustest.Start(t, topology.Settings{})
	mustRun(t, b.URL(), "publish", subjects.FeedbackDeliveryLate, "R_1", body)
	if _, m := stored(t, b, subjects.FeedbackDeliveryLate); string(m.Data) != body {
		t.Errorf("got %s, want %s", m.Data, body)
	}
}

func TestWhatCannotBeAskedForIsRefusedAndNotPublished(t *testing.T) {
	b := bustest.Start(t, topology.Settings{})
	for _, args := range [][]string{
		{"request-link", "A1", "a@example.com", "more"},
		{"request-link", "--help"},
		{"request-link", `A"1`},
		{"request-link", "A{{Count}}"},
		{"request-link", "A1", `a"@example.com`},
		{"report-late-delivery", "R_1", "more"},
		{"report-late-delivery", "R 1"},
		{"request-recognition", "--help"},
		{"request-recognition", "R_1", `a\@example.com`},
		{"publish", "survey.link.requested", "A1"},
		{"watch-events", "--bodies"},
		{"watch-events", "--count", "many"},
		{"watch-events", "survey.>", "task.>"},
		{"dead-letters", "--help"},
		{"dead-letters", "c4c-tasker", "ingress"},
		{"dead-letters", "c4c.>"},
		{"nats"},
	} {
		r := run(t, b.URL(), args[0], args[1:]...)
		if r.exit != 2 || r.out+r.err == "" {
			t.Errorf("%q ended with %d: %s%s", args, r.exit, r.out, r.err)
		}
	}
	if all := b.Messages(topology.Events, ">"); len(all) != 0 {
		t.Errorf("published: %s", all[0].Data)
	}
}

func TestASubjectThatNobodyStoresIsAnError(t *testing.T) {
	b := bustest.Start(t, topology.Settings{})
	if r := run(t, b.URL(), "publish", "survy.link.requested", "A1", "{}"); r.exit == 0 {
		t.Errorf("a mistyped subject went unnoticed: %s%s", r.out, r.err)
	}
}

func TestAnUnreachableBrokerIsAClearError(t *testing.T) {
	for _, name := range []string{"request-link", "report-late-delivery", "request-recognition", "watch-events", "dead-letters"} {
		t.Run(name, func(t *testing.T) {
			r := run(t, "nats://someone:hidden@127.0.0.1:1", name)
			if r.exit == 0 {
				t.Errorf("ended well: %s", r.out)
			}
			if !strings.Contains(r.err, "asked at 127.0.0.1:1 (NATS_URL)") || strings.Contains(r.out+r.err, "hidden") {
				t.Errorf("says %q", r.err)
			}
		})
	}
}

func TestWatchEventsShowsWhatIsPublishedAfterwards(t *testing.T) {
	for _, tt := range []struct {
		name    string
		args    []string
		subject string
		header  []string
		want    []string
	}{
		{
			"an event with an envelope", nil, subjects.TaskCreated,
			[]string{event.HeaderLoopID, "loop-7", event.HeaderSubject, "R_1/00163E", event.HeaderSource, "c4c-tasker"},
			[]string{"task.created", "loop-7", "R_1/00163E", "c4c-tasker"},
		},
		{"a bare event", nil, subjects.SurveyLinkRequested, nil, []string{"survey.link.requested", " - "}},
		{
			"a header in other letters", nil, subjects.SurveyLinkRequested,
			[]string{"Ce-LoopID", "loop-8"}, []string{"survey.link.requested", "loop-8"},
		},
		{
			"a dead letter with its loop", nil, topology.DeadLetterSubject(topology.C4CTasker),
			[]string{bus.HeaderLoopID, "loop-9"}, []string{"deadletter.c4c-tasker", "loop-9"},
		},
		{
			"only the subject that was asked for", []string{"interaction.>"}, subjects.InteractionWritten,
			nil, []string{"interaction.written"},
		},
		{"a body on request", []string{"--body"}, subjects.TaskCreated, nil, []string{"task.created", `{"some":"body"}`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bustest.Start(t, topology.Settings{})
			stop := publishUntilStopped(t, b, tt.subject, tt.header)
			r := mustRun(t, b.URL(), "watch-events", append([]string{"--count", "1"}, tt.args...)...)
			stop()
			for _, want := range tt.want {
				if !strings.Contains(r.out, want) {
					t.Errorf("%q is missing in %q", want, r.out)
				}
			}
			if shown := strings.Contains(r.out, "body"); shown != (len(tt.args) > 0 && tt.args[0] == "--body") {
				t.Errorf("the body, which may be personal, was shown: %t in %q", shown, r.out)
			}
		})
	}
}

// publishUntilStopped publishes again and again, since nobody knows from outside from when on a watcher sees something.

func publishUntilStopped(t *testing.T, b *bustest.Broker, subject string, header []string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				b.Publish(subject, `{"some":"body"}`, header...)
			}
		}
	})
	stop = func() { cancel(); publishing.Wait() }
	t.Cleanup(stop)
	return stop
}

// The subjects that watch-events names must be those that are stored.
func TestWatchEventsKnowsEverySubject(t *testing.T) {
	script, err := os.ReadFile(filepath.Join("..", "watch-events"))
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, s := range topology.Of(topology.Settings{}).Streams {
		if s.Name == topology.Events || s.Name == topology.DeadLetters {
			for _, subject := range s.Subjects {
				want = append(want, "'"+subject+"'")
			}
		}
	}
	if line := "set -- " + strings.Join(want, " ") + "\n"; !strings.Contains(string(script), line) {
		t.Errorf("watch-events should hold the line %s", line)
	}
}

func TestDeadLettersShowsWhatIsWrong(t *testing.T) {
	b := bustest.Start(t, topology.Settings{})
	tasker := b.Bus(topology.C4CTasker).Consume(t.Context(), bus.Consumer{
		Handle: func(context.Context, event.Event) error {
			return &fault.Fault{Class: fault.Refused, Field: "accountId", Reason: "account 1000123 is unknown"}
		},
	})
	t.Cleanup(func() { tasker.Drain(context.WithoutCancel(t.Context())) })
	linker := b.Bus(topology.QualtricsLinker).Consume(t.Context(), bus.Consumer{
		Handle: func(context.Context, event.Event) error { return nil },
	})
	t.Cleanup(func() { linker.Drain(context.WithoutCancel(t.Context())) })

	if r := mustRun(t, b.URL(), "dead-letters"); strings.TrimSpace(r.out) != "0 dead letters" {
		t.Errorf("with none: %q", r.out)
	}
	mustRun(t, b.URL(), "report-late-delivery", "R_1")
	mustRun(t, b.URL(), "publish", subjects.SurveyLinkRequested, "A1", `{"requestId":"A1","contct":{}}`)
	bustest.Eventually(t, "two dead letters", func() bool { return len(b.Messages(topology.DeadLetters, ">")) == 2 })

	all := mustRun(t, b.URL(), "dead-letters")
	for _, want := range []string{
		"2 dead letters\n",
		"deadletter.c4c-tasker", "feedback.delivery_late", "class " + string(fault.Refused), "attempts 1", "loop R_1",
		"accountId: account 1000123 is unknown",
		"deadletter.qualtrics-linker", "survey.link.requested", "class " + string(fault.Invalid), "loop A1", "contct: ",
	} {
		if !strings.Contains(all.out, want) {
			t.Errorf("%q is missing in\n%s", want, all.out)
		}
	}
	if strings.Contains(all.out, "{") {
		t.Errorf("a body was shown without being asked for:\n%s", all.out)
	}

	one := mustRun(t, b.URL(), "dead-letters", "--body", topology.QualtricsLinker)
	if !strings.Contains(one.out, `{"requestId":"A1","contct":{}}`) || !strings.Contains(one.out, "1 dead letters of qualtrics-linker") || strings.Contains(one.out, "R_1") {
		t.Errorf("one service's, with bodies:\n%s", one.out)
	}
	s, err := b.JS.Stream(t.Context(), topology.DeadLetters)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.Consumers != 0 || info.State.Msgs != 2 {
		t.Errorf("reading left something behind: %+v, %v", info, err)
	}
}
