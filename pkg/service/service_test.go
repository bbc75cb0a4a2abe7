package service_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/quota"
	"github.com/closeloop/closeloop/pkg/service"
	"github.com/closeloop/closeloop/pkg/settings"
)

type testSettings struct {
	service.Common
	Key settings.Secret `envconfig:"TEST_KEY" required:"true" desc:"a secret"`
}

// definition is a service that has all that readiness depends on.
func definition() service.Definition {
	return service.Definition{
		Name: topology.C4CTasker, Doc: "Tests.", Settings: &testSettings{},
		Start: func(_ context.Context, h *service.Host) error {
			h.Ledger()
			h.Limiter("vendor", quota.Limits{})
			h.Handle(bus.Consumer{})
			return nil
		},
	}
}

// process runs what the command line asks for, and gives exit code and what was said.
func process(t *testing.T, d service.Definition, args ...string) (code int, out, errOut string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var b bytes.Buffer
	code = service.Process(d, args, &b, file)
	said, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	return code, b.String(), string(said)
}

func TestHelpNamesWhatTheCommandLineTakes(t *testing.T) {
	code, out, _ := process(t, definition(), "--help")
	for _, want := range []string{"c4c-tasker: Tests.\n", "  c4c-tasker --healthy ", "  c4c-tasker --version ", "  TEST_KEY "} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, no %q in\n%s", code, want, out)
		}
	}
}

func TestAllWrongSettingsAreToldAtOnce(t *testing.T) {
	for name, value := range map[string]string{"LOG_LEVEL": "loud", "LOG_FORMAT": "xml", "HTTP_RATE_LIMIT": "abc"} {
		t.Setenv(name, value)
	}
	code, _, said := process(t, definition())
	for _, want := range []string{"LOG_LEVEL", "LOG_FORMAT", "HTTP_RATE_LIMIT", "TEST_KEY"} {
		if code != service.ExitSettings || !strings.Contains(said, want) {
			t.Errorf("exit code %d, no %s in\n%s", code, want, said)
		}
	}
}

// The check of a container's health must not fail for what the running service goes on without.
func TestHealthyNeedsTheAddressAlone(t *testing.T) {
	for name, c := range map[string]struct{ status, want int }{
		"ready":     {http.StatusOK, 0},
		"not ready": {http.StatusServiceUnavailable, service.ExitFailed},
	} {
		for _, scheme := range []string{"http", "https"} {
			t.Run(name+" by "+scheme, func(t *testing.T) {
				empty := filepath.Join(t.TempDir(), "secret")
				if err := os.WriteFile(empty, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				t.Setenv("TEST_KEY_FILE", empty)
				t.Setenv("HTTP_ADDR", answering(t, scheme, c.status))
				if scheme == "https" {
					t.Setenv("HTTP_TLS_CERT_FILE", "gone.pem")
				}
				if code, _, said := process(t, definition(), "--healthy"); code != c.want {
					t.Errorf("exit code %d, want %d: %s", code, c.want, said)
				}
			})
		}
	}
}

// answering is the address of a door that gives the status to who asks whether it is ready.
func answering(t *testing.T, scheme string, status int) string {
	t.Helper()
	door := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			status = http.StatusNotFound
		}
		w.WriteHeader(status)
	}))
	if scheme == "https" {
		door.StartTLS()
	} else {
		door.Start()
	}
	t.Cleanup(door.Close)
	return door.Listener.Addr().String()
}

func TestWithoutBrokerOnlyItsOwnCheckSpeaks(t *testing.T) {
	nobody := listen(t)
	address := nobody.Addr().String()
	if err := nobody.Close(); err != nil {
		t.Fatal(err)
	}
	failing := run(t, bus.Connection{URL: "nats://" + address})
	if got := failing(); !slices.Equal(got, []string{"c4c-tasker broker"}) {
		t.Errorf("not ready are %q", got)
	}
}

func TestWithoutTopologyWhatIsMissingSpeaks(t *testing.T) {
	failing := run(t, bustest.Bare(t).Connection(topology.C4CTasker))
	bustest.Eventually(t, "checks of what the topology job makes", func() bool {
		return slices.Equal(failing(), []string{"c4c-tasker ledger", "c4c-tasker limits", "c4c-tasker consumer"})
	})
}

// run runs the service until the test ends, and gives a function that tells the checks that fail.
func run(t *testing.T, broker bus.Connection) (failing func() []string) {
	t.Helper()
	listener := listen(t)
	d := definition()
	common := &d.Settings.(*testSettings).Common
	common.NATS, common.Auth = broker, "none"
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- service.RunAll(ctx, logging.Discard(), service.Shared{Common: common, Listener: listener}, d)
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return func() (names []string) {
		answer, err := http.Get("http://" + listener.Addr().String() + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		var problem struct{ Errors []struct{ Field string } }
		if err := json.Unmarshal(text, &problem); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		for _, e := range problem.Errors {
			names = append(names, e.Field)
		}
		return names
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
