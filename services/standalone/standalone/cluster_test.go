package standalone_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/containertest"
	"github.com/closeloop/closeloop/pkg/containertest/cluster"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
	"github.com/closeloop/closeloop/services/standalone/standalone"
)

// TestCampaignOnThreeNodes runs every service as a process against three nats-servers. In the middle of the campaign the
// leader of EVENTS is killed and started again, and its successor cut off the network; the end is the same as without, and
// no service has to be started again for it.
func TestCampaignOnThreeNodes(t *testing.T) {
	nodes := containertest.Cluster(t)
	if err := lab.Declare(t.Context(), nodes.URL(), topology.Settings{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	fleet, js := startFleet(t, nodes), broker(t, nodes)
	const members = 100
	startCampaign(t, fleet, members)
	complete := func() bool {
		books, err := fleet.Landscape.Books(t.Context())
		return err == nil && standalone.Check(books, landscape.Expected(members)) == nil
	}

	movesOn := func(after string) {
		var before uint64
		eventually(t, "the events are counted", time.Minute, func() bool { before = stored(t, js); return before > 0 })
		eventually(t, "the campaign moves on after "+after, time.Minute, func() bool { return stored(t, js) >= before+8 || complete() })
	}
	leads := func() *cluster.Node {
		leader, err := nodes.Leader(t.Context(), topology.Events)
		if err != nil {
			t.Fatal(err)
		}
		return leader
	}
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	movesOn("its start")
	killed := leads()
	check("kill", killed.Kill(t.Context()))
	movesOn("the death of the leader")
	check("start", killed.Start(t.Context()))
	cut := leads()
	check("cut", cut.Cut(t.Context()))
	movesOn("the cut of the next one")
	check("heal", cut.Heal(t.Context()))

	var problem error
	eventually(t, "the same end as without", 4*time.Minute, func() bool {
		books, err := fleet.Landscape.Books(t.Context())
		if err == nil {
			err = standalone.Check(books, landscape.Expected(members))
		}
		if err != nil && (problem == nil || err.Error() != problem.Error()) {
			problem = err
			t.Log(err)
		}
		return err == nil
	})
	dead, err := lab.Count(t.Context(), js, topology.DeadLetters, topology.DeadLetterSubject("*"))
	if err != nil || dead > 0 {
		t.Errorf("%d dead letters, %v", dead, err)
	}
	for _, name := range lab.Services {
		address, _ := fleet.Door(name)
		if !fleet.Service(name).Alive() {
			t.Errorf("%s has ended", name)
		} else if !get(t.Context(), address+"/healthz", nil) || !get(t.Context(), address+"/readyz", nil) {
			t.Errorf("%s is not live or not ready any more", name)
		}
	}
}

// running is a broker that others stop.
type running struct{ *cluster.Cluster }

func (running) Stop() {}

// startFleet starts all services and vendors as processes; what they said is shown when the test fails.
func startFleet(t *testing.T, nodes *cluster.Cluster) *lab.Fleet {
	t.Helper()
	fleet, err := lab.Start(t.Context(), lab.Options{
		Dir: t.TempDir(), Programs: lab.Self{}, Broker: running{nodes}, Landscape: []string{"LANDSCAPE_PEOPLE=auto", "DATA_DIR=" + t.TempDir()},
	})
	t.Cleanup(func() {
		if err := fleet.Stop(); err != nil {
			t.Error(err)
		}
		logs, _ := filepath.Glob(filepath.Join(fleet.Dir, "*.log"))
		for _, log := range logs {
			if said, err := os.ReadFile(log); err == nil && t.Failed() {
				t.Logf("--- %s:\n%s", filepath.Base(log), tail(string(said), 60))
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return fleet
}

func startCampaign(t *testing.T, fleet *lab.Fleet, members int) {
	t.Helper()
	response, err := http.PostForm(fleet.Landscape.URL+"/landscape/campaigns", url.Values{"members": {strconv.Itoa(members)}})
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("the campaign did not start: %s", response.Status)
	}
}

// broker connects as an administrator who is not held up by a node that is gone.
func broker(t *testing.T, nodes *cluster.Cluster) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(nodes.URL(), nats.MaxReconnects(-1), nats.PingInterval(time.Second), nats.ReconnectBufSize(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// stored is how many events there are, or 0 while the broker cannot tell.
func stored(t *testing.T, js jetstream.JetStream) uint64 {
	stream, err := js.Stream(t.Context(), topology.Events)
	if err != nil {
		return 0
	}
	return stream.CachedInfo().State.LastSeq
}
