// Package bustest gives tests a real JetStream: an embedded server with the topology applied and with the users that
// `topology permissions` prints. A test that ends has proven that what ran as a service asked for nothing beyond its rights.
package bustest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/closeloop/closeloop/pkg/bus"
	"github.com/closeloop/closeloop/pkg/bus/embedded"
	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/pkg/bus/users"
	"github.com/closeloop/closeloop/pkg/certtest"
	"github.com/closeloop/closeloop/pkg/logging"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Broker is an embedded server for one test. Whoever connects to it without a name is the operator, who may do everything.
type Broker struct {
	*embedded.Server
	t   testing.TB
	dir string
	// JS is an administrator's JetStream.
	JS jetstream.JetStream
	// authority signed the server's certificate; nil without TLS.
	authority *certtest.Authority
	users     []users.User
	saw       *witness
}

// Start starts a server with the topology of these settings; it ends with the test.
func Start(t testing.TB, s topology.Settings) *Broker {
	t.Helper()
	b := bare(t, topology.Of(s), nil, "")
	if err := topology.Of(s).Apply(t.Context(), b.JS, logging.Discard()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Bare starts a server without any stream.
func Bare(t testing.TB) *Broker {
	t.Helper()
	return bare(t, topology.Of(topology.Settings{}), nil, "")
}

// StartSecure is [Start] with TLS: a connection needs a certificate of the authority, and nobody may connect without name and
// password; the topology is applied by the job's user. See [Broker.Env]. config is added to the server's configuration.
func StartSecure(t testing.TB, s topology.Settings, config string) *Broker {
	t.Helper()
	b := bare(t, topology.Of(s), certtest.New(t), config)
	if err := topology.Of(s).Apply(t.Context(), b.Bus(users.Job).JetStream(), logging.Discard()); err != nil {
		t.Fatal(err)
	}
	return b
}

func bare(t testing.TB, declared topology.Topology, authority *certtest.Authority, config string) *Broker {
	t.Helper()
	b := &Broker{t: t, dir: t.TempDir(), users: users.Of(declared), authority: authority, saw: &witness{}}
	b.start(embedded.Options{}, config)
	return b
}

// StartCluster starts three servers with the topology applied; the Broker is the first of them.
func StartCluster(t testing.TB, s topology.Settings) *Broker {
	t.Helper()
	peers := []int{freePort(t), freePort(t), freePort(t)}
	var first *Broker
	for i, port := range peers {
		b := &Broker{t: t, dir: t.TempDir(), users: users.Of(topology.Of(s)), saw: &witness{}}
		b.start(embedded.Options{Cluster: &embedded.Cluster{Server: fmt.Sprintf("n%d", i), Port: port, Peers: peers}}, "")
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

func (b *Broker) start(o embedded.Options, config string) {
	b.t.Helper()
	o.Dir, o.Config, o.Log = b.dir, b.config(config), slog.New(b.saw)
	if b.authority != nil {
		o.Trace = b.saw.trace
	}
	server, err := embedded.Start(o)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Server = server
	b.t.Cleanup(func() {
		server.Stop()
		for _, line := range b.Refused() {
			b.t.Errorf("the broker refused something: %s", line)
		}
	})
	operator := b.Connection(users.Operator)
	options, err := operator.Options()
	if err != nil {
		b.t.Fatal(err)
	}
	nc, err := nats.Connect(server.URL(), options...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	if b.JS, err = jetstream.New(nc); err != nil {
		b.t.Fatal(err)
	}
}

// config writes the server's configuration, with the users as `topology permissions` prints them.
func (b *Broker) config(more string) string {
	b.t.Helper()
	var text strings.Builder
	fmt.Fprintln(&text, "listen: 127.0.0.1:-1\n"+more)
	if b.authority == nil {
		fmt.Fprintln(&text, "no_auth_user:", users.Operator)
	} else {
		server := b.authority.Issue(b.t, "server", time.Now().Add(time.Hour))
		fmt.Fprintf(&text, "tls {cert_file: %q, key_file: %q, ca_file: %q, verify: true}\n", server.CertFile, server.KeyFile, b.authority.File)
	}
	for _, u := range b.users {
		fmt.Fprintf(&text, "%s: %q\n", u.PasswordVariable(), password(u.Name))
	}
	if err := users.WriteConfig(&text, b.users); err != nil {
		b.t.Fatal(err)
	}
	file := filepath.Join(b.t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return file
}

// Refused gives what the server refused its clients since the last call, as lines of its log. What is left when the test
// ends fails it.
func (b *Broker) Refused() []string { return b.saw.refused() }

// Asked gives the subjects on which a user published (PUB) and to which it subscribed (SUB), as [StartSecure]'s server saw it.
func (b *Broker) Asked(user string) (published, subscribed []string) { return b.saw.asked(user) }

func password(user string) string { return "password-of-" + user }

// Connection is how a user of this name connects; one that is no user does so as the operator.
func (b *Broker) Connection(user string) bus.Connection {
	b.t.Helper()
	if !slices.ContainsFunc(b.users, func(u users.User) bool { return u.Name == user }) {
		user = users.Operator
	}
	c := bus.Connection{URL: b.URL(), User: user, Password: settings.SecretOf(password(user))}
	if b.authority != nil {
		pair := b.authority.Issue(b.t, user, time.Now().Add(time.Hour))
		c.CAFile, c.CertFile, c.KeyFile = b.authority.File, pair.CertFile, pair.KeyFile
	}
	return c
}

// Issue makes a certificate that [StartSecure]'s server takes until it ends; see [certtest.Authority.Issue].
func (b *Broker) Issue(name string, ends time.Time) certtest.Pair {
	b.t.Helper()
	return b.authority.Issue(b.t, name, ends)
}

// Env is [Broker.Connection] as the variables of a process.
func (b *Broker) Env(user string) map[string]string {
	b.t.Helper()
	c := b.Connection(user)
	return map[string]string{
		"NATS_URL": c.URL, "NATS_USER": c.User, "NATS_PASSWORD": c.Password.Reveal(),
		"NATS_CA_FILE": c.CAFile, "NATS_CERT_FILE": c.CertFile, "NATS_KEY_FILE": c.KeyFile,
	}
}

// Bus connects as a service.
func (b *Broker) Bus(service string) *bus.Bus {
	b.t.Helper()
	connected, err := bus.Connect(b.t.Context(), bus.Options{Service: service, Connection: b.Connection(service)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(connected.Close)
	return connected
}

// Dir is where the server keeps its files: what is really gone is found nowhere there, once it has stopped.
func (b *Broker) Dir() string { return b.dir }

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
