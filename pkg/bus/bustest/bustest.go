// Package bustest gives tests a real JetStream: an embedded server with the topology applied.
package bustest

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/embedded"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/logging"
)

// Broker is an embedded server for one test.
type Broker struct {
	*embedded.Server
	t   testing.TB
	dir string
	// JS is an administrator's JetStream.
	JS jetstream.JetStream
}

// Start starts a server with the topology of these settings; it ends with the test.
func Start(t testing.TB, s topology.Settings) *Broker {
	t.Helper()
	b := Bare(t)
	if err := topology.Of(s).Apply(t.Context(), b.JS, logging.Discard()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Bare starts a server without any stream.
func Bare(t testing.TB) *Broker {
	t.Helper()
	b := &Broker{t: t, dir: t.TempDir()}
	b.start(embedded.Options{Port: -1})
	t.Cleanup(func() { b.Stop() })
	return b
}

// StartCluster starts three servers with the topology applied; the Broker is the first of them.
func StartCluster(t testing.TB, s topology.Settings) *Broker {
	t.Helper()
	peers := []int{freePort(t), freePort(t), freePort(t)}
	var first *Broker
	for i, port := range peers {
		b := &Broker{t: t, dir: t.TempDir()}
		b.start(embedded.Options{Port: -1, Cluster: &embedded.Cluster{Server: fmt.Sprintf("n%d", i), Port: port, Peers: peers}})
		t.Cleanup(func() { b.Stop() })
		if first == nil {
			first = b
		}
	}
	if err := topology.Of(s).Apply(t.Context(), first.JS, logging.Discard()); err != nil {
		t.Fatal(err)
	}
	return first
}

// freePort gives a port that nobody has at this moment.
func freePort(t testing.TB) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func (b *Broker) start(o embedded.Options) {
	b.t.Helper()
	o.Dir = b.dir
	server, err := embedded.Start(o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Server = server
	nc, err := nats.Connect(server.URL())
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	if b.JS, err = jetstream.New(nc); err != nil {
		b.t.Fatal(err)
	}
}

// Bus connects as a service.
func (b *Broker) Bus(service string) *bus.Bus {
	b.t.Helper()
	connected, err := bus.Connect(b.t.Context(), bus.Options{Service: service, URL: b.URL()})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(connected.Close)
	return connected
}

// Publish stores a message as the nats CLI would: headers only where given, as name, value, name, value.
func (b *Broker) Publish(subject, body string, header ...string) *jetstream.PubAck {
	b.t.Helper()
	m := nats.NewMsg(subject)
	m.Data = []byte(body)
	for i := 0; i+1 < len(header); i += 2 {
		m.Header[header[i]] = []string{header[i+1]}
	}
	ack, err := b.JS.PublishMsg(b.t.Context(), m)
	if err != nil {
		b.t.Fatal(err)
	}
	return ack
}

// Messages gives what a stream holds under a subject.
func (b *Broker) Messages(stream, subject string) []*jetstream.RawStreamMsg {
	b.t.Helper()
	s, err := b.JS.Stream(b.t.Context(), stream)
	if err != nil {
		b.t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := uint64(1); ; {
		m, err := s.GetMsg(b.t.Context(), seq, jetstream.WithGetMsgSubject(subject))
		if err != nil {
			return all
		}
		all = append(all, m)
		seq = m.Sequence + 1
	}
}

// Eventually waits for a condition, and fails the test when it does not come true within a generous time.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("never happened: %s", what)
		case <-tick.C:
		}
	}
}
