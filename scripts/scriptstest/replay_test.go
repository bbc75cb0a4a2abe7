//go:build unix

package scriptstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
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

	if r := run(t, "", "replay", "1", "--by", "ada", "--why", "x"); r.exit != 1 || !strings.Contains(r.err, "401") {
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
	if strings.Contains(listed.out, "not listed") {
		t.Errorf("all are listed:\n%s", listed.out)
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
	t.Setenv("USER", "")
	if r := run(t, "", "replay", "1", "--why", "x"); r.exit != 2 || !strings.Contains(r.err, "--by") {
		t.Errorf("%+v", r)
	}
	t.Setenv("USER", "ada")
	file := filepath.Join(t.TempDir(), "edited.json")
	for _, content := range []string{"", "null", "[]", "5", `{}, "again":true`, `{}{}`, `{"a":1`, `{"a":01}`, `{"a":"\x"}`, "{\"a\":\"\x01\"}", `{a:1}`, `{"a":[1,]}`, `{"a":1 2}`} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := run(t, "", "replay", "1", "--why", "x", "--body", file); r.exit != 1 || !strings.Contains(r.err, file) {
			t.Errorf("%q is no body: %+v", content, r)
		}
	}
	if r := run(t, "", "replay", "1", "--why", "x", "--body", file+".none"); r.exit != 1 || !strings.Contains(r.err, file+".none") {
		t.Errorf("%+v", r)
	}
	if err := os.WriteFile(file, []byte("{ \"a\": [1, -2.5e+3, {\"b\": {}}, [], true],\r\n \"c\": \"x\\\"}{\\u00e9é\", \"d\": {\"e\": null} }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, "", "replay", "1", "--why", "x", "--body", file); !strings.Contains(r.err, "http://127.0.0.1:1 (CONSOLE_URL)") {
		t.Errorf("a good body: %+v", r)
	}
	if r := run(t, "", "replay", "1", "--why", "x"); r.exit != 1 || !strings.Contains(r.err, "http://127.0.0.1:1 (CONSOLE_URL)") {
		t.Errorf("%+v", r)
	}
}

func TestReplayWithoutConsole(t *testing.T) {
	b := bustest.Start(t, topology.Settings{})
	service := startAccounts(t, b)
	refused(t, b, 1)
	// One whose envelope looks like a template, and one that is larger than an argument may be.
	large := strings.Repeat("€", 60_000)
	b.Publish(subjects.FeedbackDeliveryLate, `{"responseId":"R_2","subject":"Late {{ 1 }}","text":"`+large+`","accountId":"2"}`, "ce-loopid", "L-2", "ce-subject", "{{ R_2 }}", "X-Own", "kept")
	bustest.Eventually(t, "dead letter", func() bool { return len(b.Messages(topology.DeadLetters, ">")) == 2 })
	// One whose body was too large for a copy, one of a service that is not there.
	at := b.Publish(subjects.FeedbackDeliveryLate, `{"responseId":"R_3","subject":"Late","accountId":"3"}`)
	bustest.Eventually(t, "dead letter", func() bool { return len(b.Messages(topology.DeadLetters, ">")) == 3 })
	b.Publish(topology.DeadLetterSubject(topology.C4CTasker), "", bus.HeaderSubject, subjects.FeedbackDeliveryLate, bus.HeaderStream, topology.Events, bus.HeaderSequence, fmt.Sprint(at.Sequence))
	b.Publish(topology.DeadLetterSubject("c4c-taskr"), "{}", bus.HeaderSubject, subjects.FeedbackDeliveryLate)
	b.Publish(topology.DeadLetterSubject(topology.C4CTasker), "{}")
	service.acceptAll()

	for _, letter := range []string{"5", "6", "99"} {
		if r := run(t, b.URL(), "replay-without-console", letter, "ada", "x"); r.exit == 0 {
			t.Errorf("letter %s was replayed: %+v", letter, r)
		}
	}
	if operations, due := len(b.Messages(topology.Operations, ">")), len(b.Messages(topology.Retries, ">")); operations+due != 0 {
		t.Fatalf("%d operations and %d replays of what cannot be replayed", operations, due)
	}
	original := b.Messages(topology.DeadLetters, ">")[1]
	mustRun(t, b.URL(), "replay-without-console", "2", "ada", `the "right" account \ now`)
	mustRun(t, b.URL(), "replay-without-console", "4", "ada", "it is there")
	bustest.Eventually(t, "accepted", func() bool { return service.count() == 2 })
	e := service.accepted[0]
	if m := e.Data.(*eventsv1.FeedbackRaised); e.LoopID != "L-2" || e.ID != original.Header.Get(bus.HeaderEventID) || e.Subject != "{{ R_2 }}" ||
		m.GetSubject() != "Late {{ 1 }}" || m.GetText() != large {
		t.Errorf("the service got %+v", e)
	}
	if m := service.accepted[1].Data.(*eventsv1.FeedbackRaised); m.GetResponseId() != "R_3" {
		t.Errorf("the letter without a body went out as %v", m)
	}
	if due := b.Messages(topology.Retries, topology.DueSubject("*")); len(due) != 2 || due[0].Header.Get("X-Own") != "kept" || due[0].Header.Get(bus.HeaderReason) != "" {
		t.Errorf("%d replays, the first with %v", len(due), due[0].Header)
	}
	// A console that comes back knows of them, and sends nothing again.
	url := startConsole(t, b, "INGRESS_AUTH=none")
	t.Setenv("CONSOLE_URL", url)
	if r := mustRun(t, "", "replay", "--list"); !strings.Contains(r.out, "#1 ") || strings.Contains(r.out, "#2 ") || strings.Contains(r.out, "#4 ") {
		t.Errorf("%s", r.out)
	}
	response, err := http.Get(url + "/operations?letter=2")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	var kept struct {
		Operations []struct{ By, Why, Sent string }
	}
	if err := json.NewDecoder(response.Body).Decode(&kept); err != nil || len(kept.Operations) != 1 || kept.Operations[0].By != "ada" ||
		kept.Operations[0].Why != `the "right" account \ now` || kept.Operations[0].Sent == "" {
		t.Errorf("kept is %+v, %v", kept, err)
	}
	if n := len(b.Messages(topology.Retries, topology.DueSubject("*"))); n != 2 {
		t.Errorf("%d replays", n)
	}
}

// inSmallPieces is the way to a console that has time for two letters a request, and lists two.
func inSmallPieces(t *testing.T, console string) string {
	t.Helper()
	target, err := url.Parse(console)
	if err != nil {
		t.Fatal(err)
	}
	between := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		if r.In.Method == http.MethodGet {
			r.Out.URL.RawQuery = strings.Replace(r.Out.URL.RawQuery, "limit=1000", "limit=2", 1)
			return
		}
		body, _ := io.ReadAll(r.In.Body) // what is missing at its end is no JSON there
		body = append([]byte(`{"limit":2,`), body[1:]...)
		r.Out.Body, r.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}}
	server := httptest.NewServer(between)
	t.Cleanup(server.Close)
	return server.URL
}

func TestReplayInManyRequestsReplaysEachLetterOnce(t *testing.T) {
	if _, err := exec.LookPath("curl"); err != nil {
		needs.Missing(t, "curl", "scripts/replay calls the console with it")
	}
	b := bustest.Start(t, topology.Settings{})
	startAccounts(t, b)
	t.Setenv("CONSOLE_URL", inSmallPieces(t, startConsole(t, b, "INGRESS_AUTH=none")))
	t.Setenv("USER", "ada")
	refused(t, b, 5)
	listed := mustRun(t, "", "replay", "--list").out
	if !strings.Contains(listed, "5 dead letters\n") || !strings.Contains(listed, "#4 are not listed") || strings.Contains(listed, "#3 ") {
		t.Errorf("two are listed as\n%s", listed)
	}
	cause := regexp.MustCompile(`cause ([0-9a-f]{10})`).FindStringSubmatch(listed)
	replays := func() int { return len(b.Messages(topology.Retries, topology.DueSubject("*"))) }
	// The service still refuses them: each comes back as another of the same cause.
	if r := mustRun(t, "", "replay", "--cause", cause[1], "--why", "x"); r.out != "#1 replayed\n#2 replayed\n#3 replayed\n#4 replayed\n#5 replayed\n" || replays() != 5 {
		t.Errorf("%+v, %d replays", r, replays())
	}
	bustest.Eventually(t, "back", func() bool { return len(b.Messages(topology.DeadLetters, ">")) == 10 })
	if r := mustRun(t, "", "replay", "10", "9", "8", "7", "6", "--again", "--why", "x"); r.out != "#6 replayed\n#7 replayed\n#8 replayed\n#9 replayed\n#10 replayed\n" || replays() != 10 {
		t.Errorf("%+v, %d replays", r, replays())
	}
	keys := map[string]int{}
	for _, m := range b.Messages(topology.Operations, topology.OperationSubject("deadletter", 0)[:len("operation.deadletter.")]+">") {
		var o struct{ Key string }
		if err := json.Unmarshal(m.Data, &o); err != nil {
			t.Fatal(err)
		}
		keys[o.Key]++
	}
	if len(keys) != 2 || keys[""] != 0 {
		t.Errorf("two runs under the keys %v", keys)
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
