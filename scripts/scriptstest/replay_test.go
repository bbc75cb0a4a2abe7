//go:build unix

package scriptstest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/event"
	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/needs"
	eventsv1 "github.com/closeloop/closeloop/proto-events/closeloop/events/v1"
	"github.com/closeloop/closeloop/proto-events/subjects"
)

// built holds the console's binary, once it is.
var built string

// consoleBinary builds the service once.
var consoleBinary = sync.OnceValues(func() (string, error) {
	var err error
	if built, err = os.MkdirTemp("", "console"); err != nil {
		return "", err
	}
	binary := filepath.Join(built, "console")
	out, err := exec.Command("go", "build", "-C", filepath.Join("..", "..", "services", "console"), "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building the console: %w\n%s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(built)
	os.Exit(code)
}

// startConsole runs the console's binary and gives its address.
func startConsole(t *testing.T, b *bustest.Broker, env ...string) string {
	t.Helper()
	binary, err := consoleBinary()
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), append(env, "NATS_URL="+b.URL(), "HTTP_ADDR="+address)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	bustest.Eventually(t, "the console is ready", func() bool {
		response, err := http.Get("http://" + address + "/readyz")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return "http://" + address
}

// accounts is a service that refuses events that do not name account 42.
type accounts struct {
	mu       sync.Mutex
	accepted []event.Event
	all      bool
}

func startAccounts(t *testing.T, b *bustest.Broker) *accounts {
	t.Helper()
	a := &accounts{}
	consuming := b.Bus(topology.C4CTasker).Consume(t.Context(), bus.Consumer{Handle: func(_ context.Context, e event.Event) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if m := e.Data.(*eventsv1.FeedbackRaised); !a.all && m.GetAccountId() != "42" {
			return fault.New(fault.Refused, `account %q is <unknown>`, m.GetAccountId())
		}
		a.accepted = append(a.accepted, e)
		return nil
	}})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		consuming.Drain(ctx)
	})
	return a
}

func (a *accounts) acceptAll() { a.mu.Lock(); defer a.mu.Unlock(); a.all = true }
func (a *accounts) count() int { a.mu.Lock(); defer a.mu.Unlock(); return len(a.accepted) }
func (a *accounts) account() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.accepted[len(a.accepted)-1].Data.(*eventsv1.FeedbackRaised).GetAccountId()
}

// refused makes dead letters 1 to n, in this order.
func refused(t *testing.T, b *bustest.Broker, n int) {
	t.Helper()
	for i := 1; i <= n; i++ {
		b.Publish(subjects.FeedbackDeliveryLate, fmt.Sprintf(`{"responseId":"R_%d","subject":"Late {{ 1 }}","accountId":"%d"}`, i, i), "ce-loopid", fmt.Sprint("L-", i))
		bustest.Eventually(t, "dead letter", func() bool { return len(b.Messages(topology.DeadLetters, ">")) == i })
	}
}

func TestReplayListsAndReplays(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		needs.Missing(t, "curl", "scripts/replay calls the console with it")
	}
	b := bustest.Start(t, topology.Settings{})
	service := startAccounts(t, b)
	t.Setenv("CONSOLE_URL", startConsole(t, b, "INGRESS_BASIC_USERS=ada:pass w\"ord", "INGRESS_API_KEYS=key-1"))
	refused(t, b, 6)

	if r := run(t, "", "replay", "1", "--why", "x"); r.exit != 1 || !strings.Contains(r.err, "401") {
		t.Errorf("without credentials: %+v", r)
	}
	t.Setenv("CONSOLE_USER", "ada")
	t.Setenv("CONSOLE_PASSWORD", `pass w"ord`)
	listed := mustRun(t, "", "replay", "--list", "c4c-tasker")
	for _, want := range []string{"6 open", `account "1" is <unknown>`, "#1  ", "#6  ", "6 dead letters of c4c-tasker", "loop L-6"} {
		if !strings.Contains(listed.out, want) {
			t.Errorf("%q is missing in\n%s", want, listed.out)
		}
	}
	if r := mustRun(t, "", "replay", "--list", "ingress"); r.out != "0 dead letters of ingress\n" {
		t.Errorf("%q", r.out)
	}
	cause := regexp.MustCompile(`cause ([0-9a-f]{10})  6 open`).FindStringSubmatch(listed.out)
	if cause == nil {
		t.Fatalf("no cause in\n%s", listed.out)
	}

	edited := filepath.Join(t.TempDir(), "edited.json")
	write := func(content string) {
		if err := os.WriteFile(edited, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"responseId": "R_1", "subject": "Late", "acountId": "42"}`)
	if r := run(t, "", "replay", "1", "--why", "wrong account", "--body", edited); r.exit != 1 || !strings.Contains(r.err, "body.acountId") {
		t.Errorf("%+v", r)
	}
	write(`{"responseId": "R_1", "subject": "Late", "accountId": "42"}`)
	if r := mustRun(t, "", "replay", "1", "--body", edited, "--why", `the "right" account \ now`); r.out != "#1 replayed\n" {
		t.Errorf("%+v", r)
	}
	bustest.Eventually(t, "accepted", func() bool { return service.count() == 1 })
	if service.account() != "42" {
		t.Errorf("sent with account %s", service.account())
	}
	if r := run(t, "", "replay", "1", "--why", "again"); r.exit != 1 || !strings.Contains(r.err, `by ada`) || !strings.Contains(r.err, `the "right" account \ now`) {
		t.Errorf("%+v", r)
	}
	if r := run(t, "", "replay", "2", "--not-done", "--why", "x"); r.exit != 1 || !strings.Contains(r.err, "outcome") {
		t.Errorf("%+v", r)
	}
	service.acceptAll()
	mustRun(t, "", "replay", "1", "--again", "--why", "again")
	if r := mustRun(t, "", "replay", "3", "2", "1", "--why", "some"); r.out != "#1 skipped: dead letter 1 was replayed by ada at "+timeIn(r.out)+": again; it has not failed since. {\"again\":true} does it all the same\n#2 replayed\n#3 replayed\n" {
		t.Errorf("%q", r.out)
	}
	if r := mustRun(t, "", "replay", "--cause", cause[1], "--limit", "1", "--why", "a sample"); r.out != "#4 replayed\n2 are left\n" {
		t.Errorf("%+v", r)
	}
	t.Setenv("CONSOLE_USER", "")
	t.Setenv("CONSOLE_API_KEY", "key-1")
	if r := mustRun(t, "", "replay", "--cause", cause[1], "--why", "the rest", "--by", "grace"); r.out != "#5 replayed\n#6 replayed\n" {
		t.Errorf("%+v", r)
	}
	bustest.Eventually(t, "all accepted", func() bool { return service.count() == 7 })
	if r := mustRun(t, "", "replay", "--list"); r.out != "0 dead letters\n" {
		t.Errorf("%q", r.out)
	}
}

func timeIn(s string) string { return regexp.MustCompile(`[0-9-]{10}T[0-9:]+Z`).FindString(s) }

func TestReplaySaysWhatItTakesAndWhereItAsked(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--help"}, {"1"}, {"x", "--why", "y"}, {"0", "--why", "y"}, {"--why", "y"}, {"1", "--cause", "c", "--why", "y"}, {"1", "--why"},
		{"1", "2", "--body", "f", "--why", "y"}, {"--cause", "c", "--limit", "none", "--why", "y"}, {"--list", "c4c.>"}, {"--list", "a", "b"},
	} {
		if r := run(t, "", "replay", args...); r.exit != 2 || !strings.Contains(r.out, "usage: scripts/replay") {
			t.Errorf("%q: %+v", args, r)
		}
	}
	t.Setenv("CONSOLE_URL", "http://127.0.0.1:1")
	if r := run(t, "", "replay", "1", "--why", "x"); r.exit != 1 || !strings.Contains(r.err, "http://127.0.0.1:1 (CONSOLE_URL)") {
		t.Errorf("%+v", r)
	}
}

// TestReplayWithTheCLIAlone runs the commands that docs/architecture.md prints for a day on which there is no console.
func TestReplayWithTheCLIAlone(t *testing.T) {
	page, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	recipe := regexp.MustCompile("(?s)```sh\n(letter=7 .*?)```").FindSubmatch(page)
	if recipe == nil {
		t.Fatal("docs/architecture.md prints no recipe")
	}
	if err := cli(); err != nil {
		t.Fatal(err)
	}
	b := bustest.Start(t, topology.Settings{})
	service := startAccounts(t, b)
	refused(t, b, 2)
	original := b.Messages(topology.DeadLetters, ">")[1]
	service.acceptAll()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.Replace(string(recipe[1]), "letter=7 ", "letter=2 ", 1))
	cmd.Dir, cmd.Env = filepath.Join("..", ".."), append(os.Environ(), "NATS_URL="+b.URL())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bustest.Eventually(t, "accepted", func() bool { return service.count() == 1 })
	if e := service.accepted[0]; e.LoopID != "L-2" || e.ID != original.Header.Get(bus.HeaderEventID) || e.Data.(*eventsv1.FeedbackRaised).GetSubject() != "Late {{ 1 }}" {
		t.Errorf("the service got %+v", e)
	}
	if n := len(b.Messages(topology.Events, ">")); n != 2 {
		t.Errorf("%d events: a replay is for one service", n)
	}
	// A console that comes back knows of it, and does not send it again.
	t.Setenv("CONSOLE_URL", startConsole(t, b, "INGRESS_AUTH=none"))
	if r := mustRun(t, "", "replay", "--list"); !strings.Contains(r.out, "#1 ") || strings.Contains(r.out, "#2 ") {
		t.Errorf("%s", r.out)
	}
	if n := len(b.Messages(topology.Retries, topology.DueSubject("*"))); n != 1 {
		t.Errorf("%d replays", n)
	}
}

// TestTheConsolesExamplesRun runs the commands of its README, which are for dead letters 1 to 4.
func TestTheConsolesExamplesRun(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		needs.Missing(t, "curl", "the examples call the console with it")
	}
	page, err := os.ReadFile("../../services/console/README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := regexp.MustCompile("(?s)```sh\n(.*?)```").FindSubmatch(page)
	if examples == nil {
		t.Fatal("the README has no examples")
	}
	b := bustest.Start(t, topology.Settings{})
	service := startAccounts(t, b)
	refused(t, b, 4)
	service.acceptAll()
	url := startConsole(t, b, "INGRESS_API_KEYS=key-1")
	commands := strings.ReplaceAll(string(examples[1]), "http://localhost:8080", url)
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", strings.ReplaceAll(commands, "curl ", "curl -sS --fail-with-body "))
	cmd.Env = append(os.Environ(), "KEY=key-1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	bustest.Eventually(t, "three are replayed", func() bool { return service.count() == 3 })
	if n := strings.Count(string(out), `"outcome":"discarded"`); n != 1 {
		t.Errorf("%d discarded:\n%s", n, out)
	}
}
