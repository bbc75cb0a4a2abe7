package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/bus/users"
)

// What is made of the topology and committed; scripts/broker-users makes it anew.
const (
	composeUsers = "../../compose/nats/users.conf"
	helmUsers    = "../../k8s/nats/users.yaml"
	helmValues   = "../../k8s/nats/values.yaml"
)

func TestTheFilesWithUsersAreCurrent(t *testing.T) {
	for file, args := range map[string][]string{
		composeUsers: {"permissions"}, helmUsers: {"permissions", "-format", "helm"},
	} {
		committed, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if string(committed) != output(t, args...) {
			t.Errorf("%s is not current: run scripts/broker-users", filepath.Base(file))
		}
	}
}

func TestAFormThatIsNoneIsRefused(t *testing.T) {
	for _, args := range [][]string{{"-format", "xml"}, {"-from", "x"}, {"conf"}} {
		if err := run(t.Context(), append([]string{"permissions"}, args...), &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "topology") {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// passwords sets those of all users, each in a form that the README names: letters and digits, quoted, and hashed.
func passwords(t *testing.T) {
	t.Helper()
	forms := []string{"pw0rd", `"2026-secret"`, `"$2a$04$abcdefghijklmnopqrstuuabcdefghijklmnopqrstuvwxyz01234"`}
	for i, u := range users.Of(topology.Of(topology.Settings{})) {
		t.Setenv(u.PasswordVariable(), forms[i%len(forms)])
	}
}

// configured reads a configuration as `nats-server -t` does, and makes a server of it.
func configured(t *testing.T, file string) *server.Options {
	t.Helper()
	options, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := server.NewServer(options.Clone()); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, u := range options.Users {
		names[u.Username] = true
		if u.Password == "" || u.Permissions == nil || len(u.Permissions.Publish.Allow) == 0 || len(u.Permissions.Subscribe.Allow) == 0 {
			t.Errorf("user %s: password of %d characters, %+v", u.Username, len(u.Password), u.Permissions)
		}
	}
	for _, u := range users.Of(topology.Of(topology.Settings{})) {
		if !names[u.Name] {
			t.Errorf("no user %s", u.Name)
		}
	}
	return options
}

func TestTheServersOfComposeTakeTheirConfiguration(t *testing.T) {
	passwords(t)
	t.Setenv("NATS_SERVER_NAME", "nats-2")
	one := configured(t, "../../compose/nats/nats.conf")
	if one.SyncInterval != 100*time.Millisecond || one.SyncAlways || one.StoreDir != "/data" || !one.JetStream || one.HTTPPort != 8222 || one.Cluster.Port != 0 {
		t.Errorf("one server: %+v", one)
	}
	node := configured(t, "../../compose/nats/node.conf")
	if !node.SyncAlways || node.StoreDir != "/data" || !node.JetStream || node.HTTPPort != 8222 {
		t.Errorf("one of three: %+v", node)
	}
	if node.ServerName != "nats-2" || len(node.Routes) != 3 || node.Cluster.PingInterval != 2*time.Second || node.Cluster.Name != "closeloop" {
		t.Errorf("its place among others: name %s, %v, %+v", node.ServerName, node.Routes, node.Cluster)
	}
}

// TestTheChartsServersHaveTheSameUsers writes the configuration from the chart's values as the chart does: as JSON, in which
// what stands between << and >> loses its quotes.
func TestTheChartsServersHaveTheSameUsers(t *testing.T) {
	passwords(t)
	var values struct {
		Config    struct{ Merge map[string]any }
		Container struct {
			Env map[string]struct {
				ValueFrom struct {
					SecretKeyRef struct{ Name, Key string } `yaml:"secretKeyRef"`
				} `yaml:"valueFrom"`
			}
		}
	}
	read(t, helmUsers, &values)
	merged, err := json.MarshalIndent(values.Config.Merge, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(string(merged))
	text = regexp.MustCompile(`"<<\s+(.*)\s+>>"`).ReplaceAllString(text, "$1")
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	chart, compose := configured(t, file), configured(t, composeUsers)
	if len(chart.Users) != len(compose.Users) {
		t.Fatalf("%d users in the chart, %d in compose", len(chart.Users), len(compose.Users))
	}
	for i, u := range chart.Users {
		other := compose.Users[i]
		if u.Username != other.Username || u.Password != other.Password || !slices.Equal(u.Permissions.Publish.Allow, other.Permissions.Publish.Allow) ||
			!slices.Equal(u.Permissions.Subscribe.Allow, other.Permissions.Subscribe.Allow) {
			t.Errorf("the chart's %s differs from compose's %s", u.Username, other.Username)
		}
	}
	for _, u := range users.Of(topology.Of(topology.Settings{})) {
		from := values.Container.Env[u.PasswordVariable()].ValueFrom.SecretKeyRef
		if from.Name != users.KubernetesName || from.Key != u.Name {
			t.Errorf("the password of %s is from %+v", u.Name, from)
		}
	}
}

func TestTheChartsServersAreWhatProductionPromises(t *testing.T) {
	var values map[string]any
	read(t, helmValues, &values)
	for path, want := range map[string]any{
		"config.cluster.enabled": true, "config.cluster.replicas": uint64(3), "config.cluster.merge.ping_interval": "2s",
		"config.jetstream.enabled": true, "config.jetstream.fileStore.pvc.enabled": true, "config.jetstream.merge.sync_interval": "always",
		"config.nats.tls.enabled": true, "config.cluster.tls.enabled": true, "tlsCA.enabled": true,
		"config.nats.tls.secretName": "closeloop-nats-tls", "config.cluster.tls.secretName": "closeloop-nats-tls", "tlsCA.secretName": "closeloop-nats-tls",
		"podDisruptionBudget.enabled": true, "promExporter.enabled": true, "natsBox.enabled": false,
		"podTemplate.merge.spec.securityContext.runAsNonRoot":       true,
		"container.merge.securityContext.readOnlyRootFilesystem":    true,
		"reloader.merge.securityContext.readOnlyRootFilesystem":     true,
		"promExporter.merge.securityContext.readOnlyRootFilesystem": true,
	} {
		at := any(values)
		for step := range strings.SplitSeq(path, ".") {
			object, _ := at.(map[string]any)
			at = object[step]
		}
		if at != want {
			t.Errorf("%s is %v, want %v", path, at, want)
		}
	}
	if _, ok := values["config"].(map[string]any)["merge"]; ok {
		t.Error("config.merge is the place of the users")
	}
}

func read(t *testing.T, file string, into any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}
