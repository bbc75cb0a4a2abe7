package settings_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/livefile"
	"github.com/closeloop/closeloop/pkg/livefile/livefiletest"
	"github.com/closeloop/closeloop/pkg/settings"
)

type vendor struct {
	URL      string          `envconfig:"TEST_VENDOR_URL" desc:"address | of the vendor"`
	Password settings.Secret `envconfig:"TEST_VENDOR_PASSWORD" desc:"password"`
}

func (v *vendor) Validate() error {
	if v.URL != "" && !v.Password.IsSet() {
		return errors.New("TEST_VENDOR_PASSWORD is missing for TEST_VENDOR_URL")
	}
	return nil
}

type limits struct {
	Workers int           `envconfig:"TEST_WORKERS" default:"4" desc:"calls at once"`
	Timeout time.Duration `envconfig:"TEST_TIMEOUT" default:"30s" desc:"longest wait"`
}

type all struct {
	NATS string           `envconfig:"TEST_NATS_URL" required:"true" desc:"where NATS is"`
	Keys settings.Secrets `envconfig:"TEST_KEYS" desc:"keys"`
	limits
	Vendor  vendor
	Address *url.URL `envconfig:"TEST_ADDRESS"`
	Names   []string `envconfig:"TEST_NAMES"`
	Now     func()   `ignored:"true"`
	private int
}

func TestLoadReadsVariablesAndDefaults(t *testing.T) {
	t.Setenv("TEST_NATS_URL", "nats://localhost")
	t.Setenv("TEST_TIMEOUT", "5s")
	t.Setenv("TEST_KEYS", "a, b,\n c,")
	t.Setenv("TEST_VENDOR_URL", "https://vendor")
	t.Setenv("TEST_VENDOR_PASSWORD", "pa\"ss`w\\ord ä")
	t.Setenv("TEST_ADDRESS", "https://example.com/x")
	t.Setenv("TEST_NAMES", "x,y")
	got := all{private: 1}
	if err := settings.Load(&got); err != nil {
		t.Fatal(err)
	}
	want := all{
		NATS:    "nats://localhost",
		Keys:    settings.SecretsOf("a", "b", "c"),
		limits:  limits{Workers: 4, Timeout: 5 * time.Second},
		Vendor:  vendor{URL: "https://vendor", Password: settings.SecretOf("pa\"ss`w\\ord ä")},
		Address: &url.URL{Scheme: "https", Host: "example.com", Path: "/x"},
		Names:   []string{"x", "y"},
		private: 1,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
	if got.Vendor.Password.Reveal() != "pa\"ss`w\\ord ä" {
		t.Error("the password changed on its way")
	}
}

func TestLoadTakesEmptyVariablesAsNotSet(t *testing.T) {
	t.Setenv("TEST_NATS_URL", "")
	t.Setenv("TEST_WORKERS", "")
	t.Setenv("TEST_VENDOR_PASSWORD", "")
	t.Setenv("TEST_VENDOR_PASSWORD_FILE", "")
	got := all{}
	err := settings.Load(&got)
	if err == nil || err.Error() != "TEST_NATS_URL is required: where NATS is" {
		t.Errorf("got error %v", err)
	}
	if got.Workers != 4 {
		t.Errorf("got %d workers", got.Workers)
	}
	if value, there := os.LookupEnv("TEST_WORKERS"); value != "" || !there {
		t.Error("the environment was changed")
	}
}

func TestLoadKeepsWhatTheStructHoldsWithoutVariable(t *testing.T) {
	got := all{NATS: "nats://preset"}
	if err := settings.Load(&got); err != nil || got.NATS != "nats://preset" {
		t.Errorf("got %q, %v", got.NATS, err)
	}
}

func TestLoadReadsSecretsFromFiles(t *testing.T) {
	t.Setenv("TEST_NATS_URL", "x")
	t.Setenv("TEST_VENDOR_PASSWORD_FILE", file(t, " secret \r\n\n"))
	t.Setenv("TEST_KEYS_FILE", file(t, "a,\nb\n"))
	got := all{}
	if err := settings.Load(&got); err != nil {
		t.Fatal(err)
	}
	if got.Vendor.Password.Reveal() != " secret " || !slices.Equal(got.Keys.Reveal(), []string{"a", "b"}) {
		t.Errorf("got %q and %d keys", got.Vendor.Password.Reveal(), len(got.Keys.Reveal()))
	}
	if os.Getenv("TEST_VENDOR_PASSWORD") != "" {
		t.Error("the secret went into the environment")
	}
}

func TestLoadReportsEverythingThatIsWrongAtOnce(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	t.Setenv("TEST_KEYS_FILE", missing)
	t.Setenv("TEST_WORKERS", "many")
	t.Setenv("TEST_TIMEOUT", "5")
	t.Setenv("TEST_VENDOR_URL", "https://vendor")
	err := settings.Load(&all{})
	want := []string{
		"TEST_NATS_URL is required: where NATS is",
		"TEST_KEYS_FILE: open " + missing + ": no such file or directory",
		`TEST_WORKERS is no int: strconv.ParseInt: parsing "many": invalid syntax`,
		`TEST_TIMEOUT is no time.Duration: time: missing unit in duration "5"`,
		"TEST_VENDOR_PASSWORD is missing for TEST_VENDOR_URL",
	}
	if err == nil || err.Error() != strings.Join(want, "\n") {
		t.Errorf("got\n%v", err)
	}
}

func TestLoadRefusesAmbiguousAndEmptySecrets(t *testing.T) {
	t.Setenv("TEST_NATS_URL", "x")
	t.Setenv("TEST_KEYS", "a")
	t.Setenv("TEST_KEYS_FILE", file(t, "b"))
	empty := file(t, "\n")
	t.Setenv("TEST_VENDOR_PASSWORD_FILE", empty)
	err := settings.Load(&all{})
	want := "TEST_KEYS and TEST_KEYS_FILE are both set: which one counts?\n" +
		"TEST_VENDOR_PASSWORD_FILE: " + empty + " is empty"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v", err)
	}
}

type outer struct{ Inner }

type Inner struct {
	Value string `envconfig:"TEST_VALUE"`
}

func (Inner) Validate() error { return errors.New("TEST_VALUE is never right") }

func TestLoadReportsAnEmbeddedValidateOnce(t *testing.T) {
	err := settings.Load(&outer{})
	if err == nil || err.Error() != "TEST_VALUE is never right" {
		t.Errorf("got %v", err)
	}
}

func TestLoadOnlyReadsNothingElse(t *testing.T) {
	t.Setenv("TEST_KEYS_FILE", filepath.Join(t.TempDir(), "missing"))
	t.Setenv("TEST_TIMEOUT", "5")
	t.Setenv("TEST_VENDOR_URL", "https://vendor") // its Validate would miss a password
	got := all{Names: []string{"kept"}}
	if err := settings.LoadOnly(&got, "TEST_VENDOR_URL", "TEST_WORKERS"); err != nil {
		t.Fatal(err)
	}
	if got.Vendor.URL != "https://vendor" || got.Workers != 4 || got.Timeout != 0 || len(got.Names) != 1 {
		t.Errorf("got %+v", got)
	}
	if err := settings.LoadOnly(&got, "TEST_TIMEOUT"); err == nil || !strings.HasPrefix(err.Error(), "TEST_TIMEOUT") {
		t.Errorf("got error %v", err)
	}
	if err := settings.LoadOnly(got, "TEST_WORKERS"); err == nil {
		t.Error("a struct was taken that cannot be written to")
	}
}

func TestLoadRefusesStructsThatAreWrong(t *testing.T) {
	for _, into := range []any{all{}, nil, new(int), &struct{ Untagged string }{}} {
		if err := settings.Load(into); err == nil {
			t.Errorf("%T was taken", into)
		}
	}
}

func TestSecretsNeverShow(t *testing.T) {
	const text = "hunter2"
	s := struct {
		One  settings.Secret
		Many settings.Secrets
		// inside is not exported: whatever prints it cannot ask it to hide itself.
		inside settings.Secret
	}{settings.SecretOf(text), settings.SecretsOf(text, text), settings.SecretOf(text)}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("x", "one", s.One, "many", s.Many, "both", s)
	}
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	wrongVerb := "%d %x"
	shown := strings.Join([]string{
		fmt.Sprint(s), fmt.Sprintf("%v %+v %#v", s, s, s), fmt.Sprintf("%v %s %q %x", s.Many, s.Many, s.Many, s.Many), fmt.Sprintf(wrongVerb, s.One, s),
		fmt.Sprintf("%#v", s.One), s.One.GoString(), string(asJSON), log.String(),
	}, "\n")
	if strings.Contains(shown, text) || strings.Contains(shown, fmt.Sprintf("%x", text)) {
		t.Errorf("shown in %s", shown)
	}
	if n := strings.Count(shown, "••••"); n < 20 {
		t.Errorf("masked %d times only in %s", n, shown)
	}
	if got := settings.SecretOf("").String(); got != "" {
		t.Errorf("an empty secret shows as %q", got)
	}
}

const table = "| variable | default | what |\n| --- | --- | --- |\n" +
	"| `TEST_NATS_URL` | required | where NATS is |\n" +
	"| `TEST_KEYS` |  | keys (or TEST_KEYS_FILE) |\n" +
	"| `TEST_WORKERS` | `4` | calls at once |\n" +
	"| `TEST_TIMEOUT` | `30s` | longest wait |\n" +
	"| `TEST_VENDOR_URL` |  | address \\| of the vendor |\n" +
	"| `TEST_VENDOR_PASSWORD` |  | password (or TEST_VENDOR_PASSWORD_FILE) |\n" +
	"| `TEST_ADDRESS` |  |  |\n" +
	"| `TEST_NAMES` |  |  |\n"

func TestTableListsEverySetting(t *testing.T) {
	for _, of := range []any{all{}, &all{NATS: "not shown"}} {
		if got := settings.Table(of); got != table {
			t.Errorf("got\n%s", got)
		}
	}
}

func TestHelpListsEverySetting(t *testing.T) {
	var out bytes.Buffer
	settings.Help(&out, "tester", "tests", &all{})
	for _, want := range []string{
		"tester: tests\n",
		"  TEST_NATS_URL         required  where NATS is\n",
		"  TEST_VENDOR_PASSWORD            password (or TEST_VENDOR_PASSWORD_FILE)\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestAttrsMaskSecretsAndUserInfo(t *testing.T) {
	s := all{
		NATS:    "nats://me:p@ss@one:4222,me:pass@two:4222",
		Keys:    settings.SecretsOf("pass", "pass"),
		limits:  limits{Timeout: time.Minute},
		Vendor:  vendor{URL: "https://vendor/path?at=@", Password: settings.SecretOf("pass")},
		Address: &url.URL{Scheme: "https", Host: "example.com", User: url.UserPassword("me", "pass")},
		Names:   []string{"https://me:pass@host/", "x"},
	}
	var got []string
	for _, a := range settings.Attrs(&s) {
		got = append(got, a.String())
	}
	want := []string{
		"TEST_NATS_URL=nats://••••@one:4222,••••@two:4222", "TEST_KEYS=••••", "TEST_WORKERS=0", "TEST_TIMEOUT=1m0s",
		"TEST_VENDOR_URL=https://vendor/path?at=@", "TEST_VENDOR_PASSWORD=••••", "TEST_ADDRESS=https://••••@example.com",
		"TEST_NAMES=[https://••••@host/ x]",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

type rotated struct {
	Password settings.Secret  `envconfig:"TEST_PASSWORD"`
	Keys     settings.Secrets `envconfig:"TEST_KEYS"`
}

func TestSecretsFollowTheirFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mounted := livefiletest.Mount(t, map[string]string{"password": "old\n", "keys": "k1"})
		t.Setenv("TEST_PASSWORD_FILE", mounted.Path("password"))
		t.Setenv("TEST_KEYS_FILE", mounted.Path("keys"))
		got := rotated{}
		if err := settings.Load(&got); err != nil {
			t.Fatal(err)
		}
		copied := got // whoever has a copy has the same secret
		for _, turn := range []struct {
			password, keys string
			wantPassword   string
			wantKeys       []string
		}{
			{"new\n", "k1,k2\n", "new", []string{"k1", "k2"}},
			{"newer", "k2", "newer", []string{"k2"}},
			{"\n", " , \n", "newer", []string{"k2"}}, // empty: what was there stays
			{"newest", "k3\nk4", "newest", []string{"k3", "k4"}},
		} {
			mounted.Update(map[string]string{"password": turn.password, "keys": turn.keys})
			<-time.After(livefile.Every) // of the test's own clock
			if p, k := copied.Password.Reveal(), copied.Keys.Reveal(); p != turn.wantPassword || !slices.Equal(k, turn.wantKeys) {
				t.Errorf("after %q and %q: %q and %q", turn.password, turn.keys, p, k)
			}
		}
		if !copied.Password.IsSet() || fmt.Sprint(copied) != "{•••• ••••}" {
			t.Errorf("shown as %v", copied)
		}
	})
}

func TestAListThatIsNotAcceptedLeavesTheLastOneInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mounted := livefiletest.Mount(t, map[string]string{"keys": "k1"})
		t.Setenv("TEST_KEYS_FILE", mounted.Path("keys"))
		got := rotated{}
		if err := settings.Load(&got); err != nil {
			t.Fatal(err)
		}
		got.Keys.Accept(func(keys []string) error {
			if slices.Contains(keys, "short") {
				return errors.New("entry 2 is too short")
			}
			return nil
		})
		for _, turn := range []struct {
			keys string
			want []string
		}{{"k2,short", []string{"k1"}}, {"k2,longer", []string{"k2", "longer"}}} {
			mounted.Update(map[string]string{"keys": turn.keys})
			<-time.After(livefile.Every) // of the test's own clock
			if k := got.Keys.Reveal(); !slices.Equal(k, turn.want) {
				t.Errorf("after %q: %q", turn.keys, k)
			}
		}
	})
}
