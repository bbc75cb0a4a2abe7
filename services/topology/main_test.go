package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// output runs the command and gives what it prints.
func output(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	if err := run(t.Context(), args, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestApplyingAgainChangesNothing(t *testing.T) {
	broker := bustest.Bare(t)
	t.Setenv("NATS_URL", broker.URL())
	t.Setenv("LOG_LEVEL", "error")
	output(t)
	before := state(t, broker)
	if len(before) != 8+2*5+1 {
		t.Errorf("%d streams and consumers, want 6 streams, the ledger, the limits, 2 consumers of each of 5 services, and that of the console: %v", len(before), before)
	}
	broker.Publish(subjects.TaskCreated, `{"responseId":"R_1"}`)
	output(t, "apply")
	after := state(t, broker)
	for name, config := range before {
		if after[name] != config {
			t.Errorf("%s was\n%s, is\n%s", name, config, after[name])
		}
	}
	if n := len(broker.Messages(topology.Events, ">")); n != 1 {
		t.Errorf("%d events after the second run, want the one that was there", n)
	}
}

func TestApplyingWithOtherSettingsChangesWhatDiffersAndLosesNothing(t *testing.T) {
	broker := bustest.Bare(t)
	t.Setenv("NATS_URL", broker.URL())
	t.Setenv("LOG_LEVEL", "error")
	output(t)
	broker.Publish("feedback.wrong_price", `{"responseId":"R_1","subject":"x"}`)
	t.Setenv("TOPOLOGY_EVENTS_MAX_BYTES", "1000000")
	t.Setenv("C4C_SUBJECTS", "feedback.delivery_late,feedback.wrong_price")
	output(t)
	stream, err := broker.JS.Stream(t.Context(), topology.Events)
	if err != nil {
		t.Fatal(err)
	}
	if c := stream.CachedInfo(); c.Config.MaxBytes != 1000000 || c.State.Msgs != 1 {
		t.Errorf("EVENTS of %d bytes with %d events", c.Config.MaxBytes, c.State.Msgs)
	}
	consumer, err := broker.JS.Consumer(t.Context(), topology.Events, topology.C4CTasker)
	if err != nil {
		t.Fatal(err)
	}
	if info := consumer.CachedInfo(); len(info.Config.FilterSubjects) != 2 || info.NumPending != 1 {
		t.Errorf("consumer of %v with %d before it", info.Config.FilterSubjects, info.NumPending)
	}
}

// state gives every stream and consumer with its configuration.
func state(t *testing.T, broker *bustest.Broker) map[string]string {
	t.Helper()
	all := map[string]string{}
	streams := broker.JS.ListStreams(t.Context())
	for s := range streams.Info() {
		all[s.Config.Name] = asYAML(t, s.Config)
		stream, err := broker.JS.Stream(t.Context(), s.Config.Name)
		if err != nil {
			t.Fatal(err)
		}
		consumers := stream.ListConsumers(t.Context())
		for c := range consumers.Info() {
			all[s.Config.Name+"/"+c.Name] = c.Created.String() + asYAML(t, c.Config)
		}
		if err := consumers.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := streams.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func asYAML[C jetstream.StreamConfig | jetstream.ConsumerConfig](t *testing.T, config C) string {
	t.Helper()
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSettingsThatCannotWorkAreRefusedByName(t *testing.T) {
	for variable, c := range map[string]struct{ value, says string }{
		"TOPOLOGY_REPLICAS": {"2", "TOPOLOGY_REPLICAS"}, "TOPOLOGY_EVENTS_MAX_BYTES": {"-1", "TOPOLOGY_"},
		"C4C_SUBJECTS": {"feedback.late,nonsense", "nonsense"}, "TOPOLOGY_ACK_WAIT": {"soon", "TOPOLOGY_ACK_WAIT"}, "LOG_LEVEL": {"loud", "LOG_LEVEL"},
	} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv(variable, c.value)
			if err := run(t.Context(), nil, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("error %v does not say %s", err, c.says)
			}
		})
	}
}

func TestBrokerThatIsNotThereIsSaidWithinTheTime(t *testing.T) {
	t.Setenv("NATS_URL", "nats://127.0.0.1:1")
	t.Setenv("TOPOLOGY_TIMEOUT", "300ms")
	t.Setenv("LOG_LEVEL", "error")
	if err := run(t.Context(), nil, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "broker") {
		t.Errorf("error %v does not speak of the broker", err)
	}
}

func TestHelpListsCommandsAndSettings(t *testing.T) {
	help := output(t, "--help")
	for _, text := range []string{"topology permissions", "topology asyncapi", "topology --version", "NATS_URL", "TOPOLOGY_REPLICAS"} {
		if !strings.Contains(help, text) {
			t.Errorf("help does not say %q", text)
		}
	}
	if err := run(t.Context(), []string{"aply"}, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "aply") {
		t.Errorf("a command that is none: %v", err)
	}
}

func TestAsyncAPISaysEverythingThatIsSaid(t *testing.T) {
	t.Setenv("C4C_SUBJECTS", "feedback.delivery_late,feedback.wrong_price")
	text := output(t, "asyncapi")
	if again := output(t, "asyncapi"); again != text {
		t.Error("the document differs from one run to the next")
	}
	var doc map[string]any
	if err := yaml.UnmarshalWithOptions([]byte(text), &doc, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if doc["asyncapi"] != "3.0.0" {
		t.Errorf("version %v", doc["asyncapi"])
	}
	channels, operations := doc["channels"].(map[string]any), doc["operations"].(map[string]any)
	for _, c := range subjects.All {
		channel, ok := channels[c.Subject].(map[string]any)
		if !ok {
			t.Errorf("no channel for %s", c.Subject)
			continue
		}
		if channel["description"] != c.Doc || channel["address"] != strings.ReplaceAll(c.Subject, "*", "{topic}") {
			t.Errorf("%s: %v", c.Subject, channel)
		}
	}
	if len(channels) != len(subjects.All) {
		t.Errorf("%d channels for %d subjects", len(channels), len(subjects.All))
	}
	for _, operation := range []string{
		"ingress publishes order.completed", "qualtrics-linker takes survey.link.requested", "feedback-router publishes feedback.*",
		"feedback-router publishes feedback.delivery_late", "c4c-tasker takes feedback.delivery_late", "c4c-tasker takes feedback.*",
	} {
		if _, ok := operations[operation]; !ok {
			t.Errorf("no operation %q", operation)
		}
	}
	if _, ok := operations["ingress takes survey.link.requested"]; ok {
		t.Error("an operation that nobody does")
	}
	references(t, doc, doc)
}

// references checks that every $ref leads somewhere.
func references(t *testing.T, doc map[string]any, part any) {
	t.Helper()
	switch part := part.(type) {
	case []any:
		for _, p := range part {
			references(t, doc, p)
		}
	case map[string]any:
		if ref, ok := part["$ref"].(string); ok {
			at := any(doc)
			for step := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
				object, ok := at.(map[string]any)
				if at = object[step]; !ok || at == nil {
					t.Errorf("%s leads nowhere", ref)
					break
				}
			}
		}
		for _, p := range part {
			references(t, doc, p)
		}
	}
}

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "README.md", &Settings{})
}
