package standalone_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
	"github.com/closeloop/closeloop/services/c4c-tasker/tasker"
	"github.com/closeloop/closeloop/services/console/console"
	"github.com/closeloop/closeloop/services/feedback-router/router"
	"github.com/closeloop/closeloop/services/ingress/ingress"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/qualtrics-linker/linker"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/writer"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
	"github.com/closeloop/closeloop/services/standalone/standalone"
)

// TestMain makes this test binary be standalone or one of the services as well, so that tests kill and restart real
// processes without building each of them.
func TestMain(m *testing.M) {
	if os.Getenv(lab.RunAs) == "standalone" {
		os.Exit(standalone.Main(nil, os.Stdout, os.Stderr))
	}
	lab.Become(ingress.Define(), linker.Define(), writer.Define(), router.Define(), tasker.Define(), recognizer.Define(), console.Define(), landscape.Define())
	flag.Parse()
	if err := flag.Set("test.parallel", "6"); err != nil { // most of these tests wait for something nearly all the time
		panic(err)
	}
	os.Exit(m.Run())
}

// process is one running service.
type process struct {
	t      *testing.T
	name   string
	env    []string
	cmd    *exec.Cmd
	output *output
}

// output collects what a process says, for when a test fails.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}
func (o *output) String() string { o.mu.Lock(); defer o.mu.Unlock(); return o.buf.String() }

// launch starts this binary as a service with nothing in its environment but env.
func launch(t *testing.T, name string, env ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, env: env, output: &output{}}
	p.start()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("--- %s said:\n%s", name, tail(p.output.String(), 60))
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	self, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	p.cmd = exec.Command(self)
	p.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), lab.RunAs + "=" + p.name}, p.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
}

// kill ends the process as the kernel would, at whatever instruction it is.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	_ = p.cmd.Wait()
}

// stop asks it to end and gives its exit code.
func (p *process) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	return p.wait()
}

// wait waits for the end and gives the exit code.
func (p *process) wait() int {
	p.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); _ = p.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		p.t.Fatalf("%s does not end", p.name)
	}
	return p.cmd.ProcessState.ExitCode()
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// freeAddress gives an address that nobody listens on at this moment.
func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := lab.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// get reads JSON; false means that it could not be had now.
func get(ctx context.Context, url string, into any) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	if into == nil {
		return response.StatusCode == http.StatusOK
	}
	return response.StatusCode == http.StatusOK && json.NewDecoder(response.Body).Decode(into) == nil
}

// eventually waits for a condition within a generous time.
func eventually(t *testing.T, what string, within time.Duration, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", within, what)
		case <-tick.C:
		}
	}
}

// playCampaign has the landscape at that address play a campaign.
func playCampaign(t *testing.T, vendors string, members int) {
	t.Helper()
	response, err := http.PostForm("http://"+vendors+"/landscape/campaigns", url.Values{"members": {strconv.Itoa(members)}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the campaign did not start: %s", response.Status)
	}
}
