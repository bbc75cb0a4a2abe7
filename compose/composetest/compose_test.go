// Package composetest brings the system of compose/ up in containers and closes loops through it.
package composetest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/modules/compose"

	"github.com/closeloop/closeloop/pkg/containertest"
)

// members of the campaign, and what it leads to: see "The demonstration" in services/landscape/README.md.
const members = 25

var expected = counts{Links: members, Answers: 21, Tasks: 4, Recognitions: 6}

// The largest are how much memory a service may take, and the size of an image, in bytes.
const (
	largestMemory = 64 << 20
	largestImage  = 25_000_000
)

var services = []string{
	"ingress", "qualtrics-linker", "sap-interaction-writer", "feedback-router", "c4c-tasker", "awardco-recognizer", "console",
}

// ports that the test asks for: any that is free.
var ports = map[string]string{
	"NATS_PORT": "0", "LANDSCAPE_PORT": "0", "INGRESS_PORT": "0", "QUALTRICS_LINKER_PORT": "0", "SAP_INTERACTION_WRITER_PORT": "0",
	"FEEDBACK_ROUTER_PORT": "0", "C4C_TASKER_PORT": "0", "AWARDCO_RECOGNIZER_PORT": "0", "CONSOLE_PORT": "0",
}

func TestLoopsCloseInContainers(t *testing.T) {
	containertest.Require(t)
	buildImages(t)
	t.Run("one broker", func(t *testing.T) {
		s := up(t, "compose.yaml")
		s.closesLoops(t)
		s.staysSmall(t)
		s.breaksNoPermission(t, "nats")
	})
	t.Run("three brokers, one of which stops", func(t *testing.T) {
		s := up(t, "compose.yaml", "three.yaml")
		patience := 5 * time.Second
		if err := s.container(t, "nats-2").Stop(t.Context(), &patience); err != nil {
			t.Fatal(err)
		}
		s.closesLoops(t)
		s.breaksNoPermission(t, "nats", "nats-3")
	})
}

// What somebody sets for a real vendor must not reach the simulator.
func TestSecretsOfRealVendorsGoToTheServicesAlone(t *testing.T) {
	env := environment(t)
	receivers := map[string]string{
		"QUALTRICS_API_TOKEN": "qualtrics-linker", "QUALTRICS_SHARED_KEY": "ingress",
		"SAP_MARKETING_USERNAME": "sap-interaction-writer", "SAP_MARKETING_PASSWORD": "sap-interaction-writer",
		"C4C_USERNAME": "c4c-tasker", "C4C_PASSWORD": "c4c-tasker",
		"AWARDCO_API_KEY": "awardco-recognizer", "AWARDCO_WEBHOOK_SECRETS": "awardco-recognizer",
	}
	simulated := configured(t, env)
	for name := range receivers {
		env[name] = "real"
	}
	given := configured(t, env)
	for name, service := range receivers {
		if got := *given[service].Environment[name]; got != "real" {
			t.Errorf("%s of %s is %q, want what was set", name, service, got)
		}
		landscape := *given["landscape"].Environment[name]
		if landscape == "real" {
			t.Errorf("%s went to the simulator", name)
		}
		if got := *simulated[service].Environment[name]; got == "" || got != landscape {
			t.Errorf("%s of %s is %q without a real vendor, which is not what the simulator has", name, service, got)
		}
	}
}

// configured are the services that compose.yaml describes in this environment.
func configured(t *testing.T, env map[string]string) types.Services {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../compose.yaml"}, func(o *cli.ProjectOptions) error {
		o.Environment = env
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project.Services
}

func buildImages(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../scripts/images", "-dir", t.TempDir())
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("scripts/images: %v\n%s", err, said)
	}
}

// stack is the system in containers.
type stack struct{ *compose.DockerCompose }

// up starts what the files describe and waits until all of it is healthy.
func up(t *testing.T, files ...string) stack {
	t.Helper()
	for i := range files {
		files[i] = filepath.Join("..", files[i])
	}
	docker, err := compose.NewDockerComposeWith(compose.WithStackFiles(files...), compose.StackIdentifier("closeloop-test-"+strconv.Itoa(os.Getpid())))
	if err != nil {
		t.Fatal(err)
	}
	s := stack{docker.WithEnv(environment(t)).(*compose.DockerCompose)}
	t.Cleanup(func() {
		if t.Failed() {
			s.tell(t)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := s.Down(ctx, compose.RemoveOrphans(true), compose.RemoveVolumes(true)); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := s.Up(ctx, compose.Wait(true)); err != nil {
		t.Fatal(err)
	}
	return s
}

// environment is .env, which the library does not read, and ports of this test's own.
func environment(t *testing.T) map[string]string {
	t.Helper()
	content, err := os.ReadFile("../.env")
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(content)) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			env[name] = value
		}
	}
	maps.Copy(env, ports)
	return env
}

func (s stack) container(t *testing.T, service string) *testcontainers.DockerContainer {
	t.Helper()
	c, err := s.ServiceContainer(t.Context(), service)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// address is where a service is reached from here.
func (s stack) address(t *testing.T, service string) string {
	t.Helper()
	endpoint, err := s.container(t, service).PortEndpoint(t.Context(), "8080/tcp", "http")
	if err != nil {
		t.Fatal(err)
	}
	return endpoint
}

// closesLoops waits until the campaign of the first start has led to all that it must, and to nothing twice.
func (s stack) closesLoops(t *testing.T) {
	t.Helper()
	books := s.address(t, "landscape") + "/landscape/books.json"
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for tick := time.NewTicker(200 * time.Millisecond); ; {
		have, twice, err := read(ctx, books)
		if err == nil && len(twice) > 0 {
			t.Fatalf("there twice: %q", twice)
		}
		if err == nil && have == expected {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the vendors hold %+v (%v), want %+v", have, err, expected)
		case <-tick.C:
		}
	}
}

// counts is what a campaign leads to.
type counts struct{ Links, Answers, Tasks, Recognitions int }

// read counts what the vendors hold, and gives what they hold twice.
func read(ctx context.Context, url string) (c counts, twice []string, err error) {
	var books struct {
		Marketing struct {
			Interactions []struct{ Type, SourceObject string }
		}
		SalesCloud struct {
			Tasks []struct{ Subject string }
		}
		Awardco struct {
			Recognitions []struct{ Tags []string }
		}
	}
	text, err := get(ctx, url)
	if err != nil {
		return c, nil, err
	}
	if err := json.Unmarshal(text, &books); err != nil {
		return c, nil, err
	}
	seen := map[string]bool{}
	count := func(n *int, key string) {
		if seen[key] {
			twice = append(twice, key)
		}
		seen[key] = true
		*n++
	}
	for _, i := range books.Marketing.Interactions {
		switch i.Type {
		case "SURVEY_LINK_CREATED":
			count(&c.Links, i.Type+i.SourceObject)
		case "SURVEY_RESPONSE":
			count(&c.Answers, i.Type+i.SourceObject)
		}
	}
	for _, task := range books.SalesCloud.Tasks {
		_, reference, _ := strings.Cut(task.Subject, "[")
		count(&c.Tasks, "task "+reference)
	}
	for _, r := range books.Awardco.Recognitions {
		count(&c.Recognitions, "recognition "+strings.Join(r.Tags, ","))
	}
	return c, twice, nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", url, answer.Status)
	}
	return io.ReadAll(answer.Body)
}

// staysSmall checks the memory of the services, that nobody is root or may write what is not his, and the size of every image.
func (s stack) staysSmall(t *testing.T) {
	t.Helper()
	docker, err := testcontainers.NewDockerClientWithOpts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer docker.Close()
	for _, service := range services {
		metrics, err := get(t.Context(), s.address(t, service)+"/metrics")
		if err != nil {
			t.Fatal(err)
		}
		if resident := sample(t, string(metrics), "process_resident_memory_bytes"); resident > largestMemory {
			t.Errorf("%s takes %.0f MB of memory", service, resident/1e6)
		}
		inspected, err := s.container(t, service).Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if inspected.Config.User != "65532:65532" || !inspected.HostConfig.ReadonlyRootfs {
			t.Errorf("%s runs as %q, read-only %t", service, inspected.Config.User, inspected.HostConfig.ReadonlyRootfs)
		}
	}
	for name, service := range configured(t, environment(t)) {
		image, err := docker.ImageInspect(t.Context(), service.Image)
		if err != nil {
			t.Fatal(err)
		}
		if image.Size > largestImage {
			t.Errorf("the image of %s has %.1f MB", name, float64(image.Size)/1e6)
		}
	}
}

func sample(t *testing.T, metrics, name string) float64 {
	t.Helper()
	for line := range strings.Lines(metrics) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+" "); ok {
			number, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return number
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// breaksNoPermission reads in the brokers' logs that nobody tried what he may not.
func (s stack) breaksNoPermission(t *testing.T, brokers ...string) {
	t.Helper()
	for _, broker := range brokers {
		log := s.log(t, broker)
		if !strings.Contains(log, "Server is ready") {
			t.Errorf("this is no log of %s:\n%s", broker, log)
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, "Violation") {
				t.Errorf("%s: %s", broker, line)
			}
		}
	}
}

func (s stack) log(t *testing.T, service string) string {
	t.Helper()
	reader, err := s.container(t, service).Logs(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	log, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// tell shows what everybody said, after a failure.
func (s stack) tell(t *testing.T) {
	for _, service := range s.Services() {
		if c, err := s.ServiceContainer(context.WithoutCancel(t.Context()), service); err == nil && c != nil {
			t.Logf("== %s\n%s", service, s.log(t, service))
		}
	}
}
