package bus_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/certtest"
	"github.com/closeloop/closeloop/pkg/settings"
)

func TestContradictionsNameTheirVariables(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		says []string
	}{
		"user without password":   {map[string]string{"NATS_USER": "x"}, []string{"NATS_USER", "NATS_PASSWORD"}},
		"password without user":   {map[string]string{"NATS_PASSWORD": "hidden"}, []string{"NATS_USER", "NATS_PASSWORD"}},
		"user and credentials":    {map[string]string{"NATS_USER": "x", "NATS_PASSWORD": "hidden", "NATS_CREDS_FILE": "y"}, []string{"NATS_USER", "NATS_CREDS_FILE"}},
		"user here and there":     {map[string]string{"NATS_USER": "x", "NATS_PASSWORD": "y", "NATS_URL": "nats://x:hidden@one:4222"}, []string{"NATS_URL", "NATS_USER"}},
		"credentials and user":    {map[string]string{"NATS_CREDS_FILE": "y", "NATS_URL": "one:4222, x:hidden@two:4222"}, []string{"NATS_URL", "NATS_CREDS_FILE"}},
		"certificate without key": {map[string]string{"NATS_CERT_FILE": "x"}, []string{"NATS_CERT_FILE", "NATS_KEY_FILE"}},
		"key without certificate": {map[string]string{"NATS_KEY_FILE": "x"}, []string{"NATS_CERT_FILE", "NATS_KEY_FILE"}},
		"an address that is none": {map[string]string{"NATS_URL": "nats://one:4222,nats://x:hidden@two:port"}, []string{"NATS_URL", "address 2 of 2"}},
		"an empty address":        {map[string]string{"NATS_URL": "nats://one:4222,"}, []string{"NATS_URL", "address 2 of 2"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.env)
			if err == nil {
				t.Fatal("taken")
			}
			for _, part := range c.says {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %s", err, part)
				}
			}
			if strings.Contains(err.Error(), "hidden") {
				t.Errorf("%q shows a secret", err)
			}
		})
	}
	for name, env := range map[string]map[string]string{
		"nothing": {}, "several addresses": {"NATS_URL": "nats://one:4222,two:4222, tls://three:4222"},
		"user in each address": {"NATS_URL": "nats://x:y@one:4222,nats://x:y@two:4222"},
		"all but credentials":  {"NATS_USER": "x", "NATS_PASSWORD": "y", "NATS_CA_FILE": "a", "NATS_CERT_FILE": "b", "NATS_KEY_FILE": "c"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := load(t, env); err != nil {
				t.Error(err)
			}
		})
	}
}

// load reads the connection that variables describe.
func load(t *testing.T, env map[string]string) (bus.Connection, error) {
	t.Helper()
	for name, value := range env {
		t.Setenv(name, value)
	}
	var s struct{ NATS bus.Connection }
	err := settings.Load(&s)
	return s.NATS, err
}

func TestAFileThatIsNotThereOrIsNoneIsSaidAtTheStart(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	if err := os.WriteFile(none, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for variable, c := range map[string]bus.Connection{
		"NATS_CREDS_FILE": {CredsFile: "nowhere"}, "NATS_CA_FILE": {CAFile: none}, "NATS_CERT_FILE": {CertFile: none, KeyFile: none},
	} {
		c.URL = "nats://127.0.0.1:1"
		if b, err := bus.Connect(t.Context(), bus.Options{Service: service, Connection: c}); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s: %v", variable, err)
			if err == nil {
				b.Close()
			}
		}
	}
}

// connect connects without success, expects [bus.Bus.Ready] to say why, for as long as it takes to try several times, then
// mends what is wrong and expects a connection without anything else done.
func connect(t *testing.T, broker *bustest.Broker, c bus.Connection, says string, mend func()) {
	t.Helper()
	b, err := bus.Connect(t.Context(), bus.Options{Service: service, Connection: c})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for range 2 { // nats.go gives up when the same server refuses twice, unless told otherwise
		before := broker.Accepted()
		bustest.Eventually(t, "tried again", func() bool { return broker.Accepted() > before+1 })
		if err := b.Ready(); err == nil || !strings.Contains(err.Error(), says) {
			t.Fatalf("ready says %v, want %q", err, says)
		}
	}
	mend()
	bustest.Eventually(t, "connected", func() bool { return b.Ready() == nil })
	if _, err := b.JetStream().Consumer(t.Context(), topology.Events, service); err != nil {
		t.Error(err)
	}
}

func TestAWrongPasswordIsTriedAgainUntilItsFileIsRight(t *testing.T) {
	broker := bustest.StartSecure(t, topology.Settings{}, "")
	right := broker.Env(service)
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, "outdated\n")
	password := right["NATS_PASSWORD"]
	delete(right, "NATS_PASSWORD")
	right["NATS_PASSWORD_FILE"] = file
	c, err := load(t, right)
	if err != nil {
		t.Fatal(err)
	}
	connect(t, broker, c, "Authorization Violation", func() { write(t, file, password+"\n") })
	if refused := broker.Refused(); len(refused) < 3 {
		t.Errorf("the broker refused only %d times", len(refused))
	}
}

func TestAnExpiredCertificateIsTriedAgainUntilItIsRenewed(t *testing.T) {
	broker := bustest.StartSecure(t, topology.Settings{}, "")
	c := broker.Connection(service)
	expired := broker.Issue("mine", time.Now().Add(-time.Hour))
	c.CertFile, c.KeyFile = expired.CertFile, expired.KeyFile
	connect(t, broker, c, "tls", func() { broker.Issue("mine", time.Now().Add(time.Hour)) })
}

func TestAnAuthorityThatIsReplacedIsTakenFromItsFile(t *testing.T) {
	broker := bustest.StartSecure(t, topology.Settings{}, "")
	c := broker.Connection(service)
	right, err := os.ReadFile(c.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	c.CAFile = certtest.New(t).File
	connect(t, broker, c, "certificate signed by unknown authority", func() { write(t, c.CAFile, string(right)) })
}

func TestTLSIsAMustWhereAnAuthorityIsNamed(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	c := broker.Connection(service)
	c.CAFile = certtest.New(t).File
	b, err := bus.Connect(t.Context(), bus.Options{Service: service, Connection: c})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	bustest.Eventually(t, "refused", func() bool {
		err := b.Ready()
		return err != nil && strings.Contains(err.Error(), "secure connection not available")
	})
}

func TestOneOfSeveralAddressesIsEnough(t *testing.T) {
	broker := bustest.Start(t, topology.Settings{})
	c := broker.Connection(service)
	c.URL = "nats://127.0.0.1:1, " + c.URL
	b, err := bus.Connect(t.Context(), bus.Options{Service: service, Connection: c})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	bustest.Eventually(t, "connected", func() bool { return b.Ready() == nil })
}

func TestWhyThereIsNoConnectionIsSaidFromTheStart(t *testing.T) {
	b, err := bus.Connect(t.Context(), bus.Options{Service: service, Connection: bus.Connection{
		URL: "nats://127.0.0.1:1", User: service, Password: settings.SecretOf("hidden"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	bustest.Eventually(t, "said", func() bool {
		err := b.Ready()
		return err != nil && strings.Contains(err.Error(), "refused") && !strings.Contains(err.Error(), "hidden")
	})
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
