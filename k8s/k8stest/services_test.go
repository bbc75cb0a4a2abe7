package k8stest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

const root = "../.."

// built are the services' binaries, by name.
var built struct {
	sync.Mutex
	dir string
	err error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir) // a temporary folder
	}
	os.Exit(code)
}

// binary gives a service as it is built now. The tests run the real ones, since what a service knows is its own.
func binary(t *testing.T, name string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if built.dir == "" {
		built.dir, built.err = build(t.Context())
	}
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, name)
}

func build(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "closeloop-k8stest-")
	if err != nil {
		return dir, err
	}
	args := []string{"build", "-o", dir + string(filepath.Separator)}
	for _, name := range []string{
		"ingress", "qualtrics-linker", "sap-interaction-writer", "feedback-router", "c4c-tasker", "awardco-recognizer", "console",
		"landscape", "topology",
	} {
		args = append(args, "./services/"+name)
	}
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = root
	if said, err := command.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("building the services: %w\n%s", err, said)
	}
	return dir, nil
}

// environment is what a container's variables are, with what is mounted in the folders of files: the prefix of each path
// is replaced by its folder.
func (o *overlay) environment(t *testing.T, w workload) map[string]string {
	t.Helper()
	c, env := w.pod.Containers[0], map[string]string{}
	for _, from := range c.EnvFrom {
		maps.Copy(env, find[*corev1.ConfigMap](o, from.ConfigMapRef.Name).Data)
	}
	for _, v := range c.Env {
		env[v.Name] = v.Value
		if v.ValueFrom != nil && v.ValueFrom.FieldRef != nil {
			key := strings.TrimSuffix(strings.TrimPrefix(v.ValueFrom.FieldRef.FieldPath, "metadata.labels['"), "']")
			if env[v.Name] = w.labels[key]; w.labels[key] == "" {
				t.Errorf("%s: %s comes from %s, which is nothing", w.name, v.Name, v.ValueFrom.FieldRef.FieldPath)
			}
		}
	}
	return env
}

// known are the variables that a service's --help lists, and whether each is required.
func known(t *testing.T, name string) map[string]bool {
	t.Helper()
	help, err := exec.CommandContext(t.Context(), binary(t, name), "--help").Output()
	if err != nil {
		t.Fatalf("%s --help: %v", name, err)
	}
	all, file := map[string]bool{}, regexp.MustCompile(`\(or ([A-Z0-9_]+_FILE)\)`)
	for line := range strings.Lines(string(help)) {
		fields := strings.Fields(line)
		if !strings.HasPrefix(line, "  ") || len(fields) < 2 || fields[0] != strings.ToUpper(fields[0]) {
			continue
		}
		all[fields[0]] = fields[1] == "required"
		if as := file.FindStringSubmatch(line); as != nil {
			all[as[1]] = false
		}
	}
	if len(all) < 5 {
		t.Fatalf("%s --help lists %v", name, all)
	}
	return all
}

// others are variables of the language and of its libraries.
var others = []string{"GOMEMLIMIT", "GOGC"}

// serviceOf is the name of the service that a workload runs, empty for the broker.
func serviceOf(w workload) string {
	image := w.pod.Containers[0].Image
	name, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	if name == "nats-server" {
		return ""
	}
	return name
}

func TestEverySettingIsKnownAndTheRequiredAreThere(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		for _, w := range o.workloads() {
			name := serviceOf(w)
			if name == "" {
				continue
			}
			env, settings := o.environment(t, w), known(t, name)
			for variable, value := range env {
				if _, ok := settings[variable]; !ok && !slices.Contains(others, variable) && !strings.HasPrefix(variable, "OTEL_") {
					t.Errorf("%s does not know %s", name, variable)
				}
				if value == "" {
					t.Errorf("%s: %s is empty", name, variable)
				}
			}
			for variable, required := range settings {
				if required && env[variable] == "" && env[variable+"_FILE"] == "" {
					t.Errorf("%s needs %s", name, variable)
				}
			}
		}
	})
}

// content is what a key of a Secret holds, or something that could be there.
func (o *overlay) content(t *testing.T, secret, key string) []byte {
	t.Helper()
	if s := find[*corev1.Secret](o, secret); s != nil {
		return s.Data[key]
	}
	switch key {
	case "ca.crt":
		server := httptest.NewTLSServer(nil)
		defer server.Close()
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	case "basic-users":
		return []byte("ada:something")
	case "session-key":
		return []byte(strings.Repeat("something ", 4))
	}
	return []byte("something")
}

// mount writes what a pod's volumes hold below dir, and gives the folder of each path.
func (o *overlay) mount(t *testing.T, w workload, dir string) map[string]string {
	t.Helper()
	folders := map[string]string{}
	for _, m := range w.pod.Containers[0].VolumeMounts {
		folder := filepath.Join(dir, m.Name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		folders[m.MountPath] = folder
		for _, v := range w.pod.Volumes {
			if v.Name != m.Name {
				continue
			}
			files := map[string][]byte{}
			if v.Secret != nil {
				for _, key := range o.secrets()[v.Secret.SecretName] {
					files[key] = o.content(t, v.Secret.SecretName, key)
				}
			}
			if v.ConfigMap != nil {
				for key, text := range find[*corev1.ConfigMap](o, v.ConfigMap.Name).Data {
					files[key] = []byte(text)
				}
			}
			for name, content := range files {
				if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	return folders
}

// inside is what is asked for where a path has nothing by itself.
var inside = map[string]string{"/assets": "/assets/console.css"}

// TestEveryServiceStartsWithItsManifest runs the real binaries with the variables and files that their pods have, without
// a broker: they live, and their doors know the paths that lead to them from outside.
func TestEveryServiceStartsWithItsManifest(t *testing.T) {
	each(t, func(t *testing.T, o *overlay) {
		for _, w := range o.workloads() {
			name := serviceOf(w)
			if name == "" || w.kind == "Job" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				binary(t, name)
				t.Parallel()
				if c := w.pod.Containers[0]; port(c, "http") != 8080 {
					t.Fatalf("the port is %d, doors listen on 8080", port(c, "http"))
				}
				url := o.start(t, w, name)
				for _, path := range o.public()[name] {
					if within := inside[path]; within != "" {
						path = within
					}
					if status, err := get(t.Context(), url+path); status == http.StatusNotFound || err != nil {
						t.Errorf("%s leads to %s, whose door answers %d, %v", path, name, status, err)
					}
				}
				if status, err := get(t.Context(), url+"/no/such/path"); status != http.StatusNotFound {
					t.Errorf("an unknown path is answered %d, %v: the check above shows nothing", status, err)
				}
			})
		}
	})
}

// start runs a service with its pod's environment until the test ends, and gives its address.
func (o *overlay) start(t *testing.T, w workload, name string) string {
	t.Helper()
	folders := o.mount(t, w, t.TempDir())
	address := freeAddress(t)
	env := []string{"HTTP_ADDR=" + address}
	for variable, value := range o.environment(t, w) {
		for path, folder := range folders {
			if value == path || strings.HasPrefix(value, path+"/") {
				value = folder + strings.TrimPrefix(value, path)
			}
		}
		if variable == "NATS_URL" { // nobody is there, and names lead nowhere
			scheme, _, _ := strings.Cut(value, "://")
			value = scheme + "://127.0.0.1:1"
		}
		env = append(env, variable+"="+value)
	}
	ctx, cancel := context.WithCancel(t.Context())
	command := exec.CommandContext(ctx, binary(t, name))
	var said bytes.Buffer
	command.Env, command.Stderr, command.Stdout = env, &said, &said
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	t.Cleanup(func() { cancel(); <-ended })
	tick, deadline := time.NewTicker(50*time.Millisecond), time.After(time.Minute)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("%s ended: %v\n%s", name, err, last(said.Bytes()))
		case <-deadline:
			t.Fatalf("%s does not live after a minute", name)
		case <-tick.C:
			if status, err := get(t.Context(), "http://"+address+"/healthz"); err == nil && status == http.StatusOK {
				return "http://" + address
			}
		}
	}
}

// last gives the end of what a process said.
func last(said []byte) string {
	var lines []string
	for scanner := bufio.NewScanner(bytes.NewReader(said)); scanner.Scan(); {
		lines = append(lines, scanner.Text())
	}
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func get(ctx context.Context, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return answer.StatusCode, answer.Body.Close()
}

func TestCopiesAreCurrent(t *testing.T) {
	for copied, original := range map[string]string{
		"k8s/components/landscape/attributes.yaml": "services/landscape/landscape/attributes.yaml",
		"k8s/overlays/production/rules.yaml":       "pkg/rules/default.yaml",
	} {
		got, err := os.ReadFile(filepath.Join(root, copied))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(root, original))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not a copy of %s any more", copied, original)
		}
	}
}
