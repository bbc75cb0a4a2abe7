package chaos

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// TestTheDrillJudgesWhatRunsSomewhereElse plays it twice in a system that holds what an earlier one left.
func TestTheDrillJudgesWhatRunsSomewhereElse(t *testing.T) {
	var said bytes.Buffer
	system, err := begin(t.Context(), "somewhere else", &options{
		programs: lab.Self{}, topology: topology.Settings{AckWait: 3 * time.Second}, out: &said,
	}, plan(1, 4, usual), setUp{})
	t.Cleanup(func() {
		if err := system.end(); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	door, key := system.fleet.Door(topology.C4CTasker)
	for name, value := range map[string]string{
		"NATS_URL": system.nats.URL(), "DRILL_LANDSCAPE_URL": system.fleet.Landscape.URL, "DRILL_DOOR": strings.TrimPrefix(door, "http://"),
		"DRILL_API_KEY": key, "SAP_MARKETING_USERNAME": system.fleet.Landscape.Username, "SAP_MARKETING_PASSWORD": system.fleet.Landscape.Password,
	} {
		t.Setenv(name, value)
	}
	for _, seed := range []string{"11", "12"} {
		err := Scenario(Drill).play(t.Context(), "drill", []string{"-events", "40", "-rate", "40", "-seed", seed, "-patience", "2m"}, options{out: &said})
		if err != nil {
			t.Errorf("seed %s: %v\n%s", seed, err, said.String())
		}
	}
}

func TestTheDrillRefusesServicesThatTakeTooMuchMemory(t *testing.T) {
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "closeloop_paused{vendor=\"awardco\",service=\"c4c-tasker\"} 0\nprocess_resident_memory_bytes 7.5e+07\n")
	})
	server := httptest.NewServer(page)
	t.Cleanup(server.Close)
	service, size, ok := resident(t.Context(), server.URL)
	if service != "c4c-tasker" || size != 75_000_000 || !ok {
		t.Fatalf("read %q, %d, %t", service, size, ok)
	}
	var said bytes.Buffer
	r := &run{options: options{out: &said}}
	used := map[string]int64{topology.Console: 1_000_000}
	for _, name := range lab.Services {
		used[name] = 63_000_000
	}
	if err := r.reportMemory(used, 64); err != nil {
		t.Errorf("within the limit: %v", err)
	}
	used[service] = size
	if err := r.reportMemory(used, 64); err == nil || !strings.Contains(err.Error(), service) {
		t.Errorf("75 MB are taken for fine: %v", err)
	}
	delete(used, service)
	if err := r.reportMemory(used, 64); err == nil || !strings.Contains(err.Error(), service) {
		t.Errorf("one that was never seen is taken for fine: %v", err)
	}
}
