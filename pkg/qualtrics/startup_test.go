package qualtrics_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/closeloop/closeloop/pkg/fault"
	"github.com/closeloop/closeloop/pkg/qualtrics"
	"github.com/closeloop/closeloop/pkg/settings"
)

// front is the API's answers to the start-up questions, which a test may change on the way.
type front struct {
	mu          sync.Mutex
	status      int
	forbidden   string // end of the path that answers 403
	notice      string
	directories string
	asked       []string
	log         bytes.Buffer
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, r.URL.Path)
	if f.status != 0 {
		w.WriteHeader(f.status)
		fmt.Fprintf(w, `{"meta":{"error":{"errorMessage":"no"}}}`)
		return
	}
	if f.forbidden != "" && strings.HasSuffix(r.URL.Path, f.forbidden) {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	body := `{"brandId":"simbrand","datacenter":"sjc1"}`
	if strings.HasSuffix(r.URL.Path, "/directories") {
		body = `{"elements":[` + f.directories + `],"nextPage":null}`
	}
	io.WriteString(w, `{"result":`+body+`,"meta":{"notice":"`+f.notice+`"}}`)
}

func (f *front) Write(p []byte) (int, error) { f.mu.Lock(); defer f.mu.Unlock(); return f.log.Write(p) }

func (f *front) say(change func()) { f.mu.Lock(); defer f.mu.Unlock(); change() }

func startUp(t *testing.T, f *front, directory string) (*qualtrics.Startup, *prometheus.Registry) {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	log, metrics := slog.New(slog.NewTextHandler(f, nil)), prometheus.NewRegistry()
	startup, err := newClient(t, s.URL, nil, qualtrics.Options{Token: settings.SecretOf(token), DirectoryID: directory, Log: log}).Startup(log, metrics)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := startup.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	return startup, metrics
}

func wait(t *testing.T, s *qualtrics.Startup) (qualtrics.Brand, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return s.Wait(ctx)
}

const two = `{"directoryId":"POOL_other","deduplicationCriteria":{"email":true}},
	{"directoryId":"` + directory + `","isDefault":true,"deduplicationCriteria":{"email":false,"externalDataReference":true}}`

func TestStartupLearnsTheDedupeRuleOfOurDirectory(t *testing.T) {
	f := &front{directories: two}
	s, _ := startUp(t, f, directory)
	brand, err := wait(t, s)
	if err != nil || brand.Account.BrandID != "simbrand" || brand.Directory.ID != directory ||
		brand.Directory.Dedupe.Email || !brand.Directory.Dedupe.ExternalDataReference {
		t.Errorf("learned %+v, error %v", brand, err)
	}
	f.say(func() {
		if !strings.Contains(f.log.String(), "dedupe=[externalDataReference]") {
			t.Errorf("the log does not tell the rule: %s", &f.log)
		}
	})
	if again, known := s.Brand(); !known || again != brand || s.Ready() != nil {
		t.Errorf("then %+v %t, ready %v", again, known, s.Ready())
	}
}

func TestStartupWithoutADirectoryAsksOnlyWhoWeAre(t *testing.T) {
	f := &front{}
	s, _ := startUp(t, f, "")
	if _, err := wait(t, s); err != nil {
		t.Fatal(err)
	}
	f.say(func() {
		if len(f.asked) != 1 {
			t.Errorf("asked %v", f.asked)
		}
	})
}

func TestRefusedCredentialsAreToldByReadinessUntilTheyAreMended(t *testing.T) {
	for name, c := range map[string]struct {
		refuse, mend func(*front)
		says         string
	}{
		"401": {func(f *front) { f.status = 401 }, func(f *front) { f.status = 0 }, "401"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &front{directories: two}
			c.refuse(f)
			s, _ := startUp(t, f, directory)
			deadline, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			if _, err := s.Wait(deadline); !fault.From(err).Class.VendorOut() || !strings.Contains(err.Error(), c.says) {
				t.Errorf("waiting: %v", err)
			}
			if err := s.Ready(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("ready says %v, want %s", err, c.says)
			}
			f.say(func() {
				if !strings.Contains(f.log.String(), "level=ERROR") {
					t.Errorf("the log is quiet about it: %s", &f.log)
				}
				c.mend(f)
			})
			if _, err := wait(t, s); err != nil || s.Ready() != nil {
				t.Errorf("mended: %v, ready %v", err, s.Ready())
			}
		})
	}
}

// What Qualtrics does not tell is a word in the log, and no reason to keep the service from its work.
func TestWhatQualtricsDoesNotTellIsToldToPeopleOnce(t *testing.T) {
	for name, c := range map[string]struct {
		front       *front
		level, says string
	}{
		"unknown directory":    {&front{}, "level=ERROR", "QUALTRICS_DIRECTORY_ID"},
		"no such endpoint":     {&front{status: 404, directories: two}, "level=WARN", "does not tell who we are"},
		"scopes for less":      {&front{status: 403, directories: two}, "level=WARN", "does not tell who we are"},
		"directories withheld": {&front{forbidden: "/directories", directories: two}, "level=WARN", "does not tell who we are"},
	} {
		t.Run(name, func(t *testing.T) {
			f := c.front
			s, _ := startUp(t, f, directory)
			if _, err := wait(t, s); err != nil || s.Ready() != nil {
				t.Errorf("%v, ready %v", err, s.Ready())
			}
			if _, known := s.Brand(); known {
				t.Error("a directory is known that Qualtrics does not name")
			}
			f.say(func() {
				if strings.Count(f.log.String(), "level=") != 1 || !strings.Contains(f.log.String(), c.level) || !strings.Contains(f.log.String(), c.says) {
					t.Errorf("the log says %s", &f.log)
				}
			})
		})
	}
}

func TestQualtricsThatIsDownIsNoReasonNotToBeReady(t *testing.T) {
	f := &front{status: 503, directories: two}
	s, _ := startUp(t, f, directory)
	deadline, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Wait(deadline); !fault.Is(err, fault.Down) {
		t.Errorf("waiting: %v", err)
	}
	if err := s.Ready(); err != nil {
		t.Errorf("ready says %v", err)
	}
	f.say(func() { f.status = 0 })
	if _, err := wait(t, s); err != nil {
		t.Error(err)
	}
}

func TestProxiedCallsRaiseAnAlarmThatNamesTheHost(t *testing.T) {
	f := &front{directories: two}
	s, metrics := startUp(t, f, directory)
	const name = "closeloop_qualtrics_proxied"
	gauge := func(want string) error {
		return testutil.GatherAndCompare(metrics, strings.NewReader("# HELP "+name+" 1 once Qualtrics has proxied a call of ours: the base URL names another data center than the brand's.\n# TYPE "+name+" gauge\n"+name+" "+want+"\n"), name)
	}
	if _, err := wait(t, s); err != nil {
		t.Fatal(err)
	}
	if err := gauge("0"); err != nil {
		t.Error(err)
	}
	other := &front{directories: two, notice: "Request proxied. For faster response times, use this host instead: sjc1.qualtrics.com"}
	s, metrics = startUp(t, other, directory)
	if _, err := wait(t, s); err != nil || s.Ready() != nil { // It works, almost.
		t.Fatal(err, s.Ready())
	}
	if err := gauge("1"); err != nil {
		t.Error(err)
	}
	other.say(func() {
		if n := strings.Count(other.log.String(), "level=ERROR"); n != 1 || !strings.Contains(other.log.String(), "host=sjc1.qualtrics.com") {
			t.Errorf("%d alarms in\n%s", n, &other.log)
		}
	})
}
