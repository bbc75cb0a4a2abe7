// Package cluster runs nats-servers with JetStream in containers: one, or three that share every stream. Each is stopped,
// killed, started again and cut off the network by itself, and keeps its address meanwhile. It needs no testing.TB: programs
// that break things on purpose use it as well as tests, which have pkg/containertest.
//
// Nothing is pulled: the image is FROM scratch with the nats-server that go.mod pins, built here and kept under a tag that
// names its content. Docker's reaper, another image, is not used: whoever starts a cluster closes it.
package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"text/template"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/testcontainers/testcontainers-go"
	dockernetwork "github.com/testcontainers/testcontainers-go/network"

	"github.com/closeloop/closeloop/pkg/parallel"
)

const (
	// startLimit is how long a server may take to be healthy, and up to date with the others.
	startLimit = time.Minute
	// closeLimit is how long it may take to remove everything.
	closeLimit = 30 * time.Second
)

// Cluster is running nats-servers, on a network of their own.
type Cluster struct {
	// Nodes are the servers, n1 first.
	Nodes []*Node

	docker  *testcontainers.DockerClient
	network *testcontainers.DockerNetwork
}

// Start starts so many servers, one or three, without any stream, and returns when all are healthy. One syncs its files
// every 100 ms, three do so before each acknowledgement. Their ports are published on 127.0.0.1. Errors: Docker does not
// answer, the image cannot be built, or a server is not healthy within a minute.
func Start(ctx context.Context, nodes int) (*Cluster, error) {
	if nodes != 1 && nodes != 3 {
		return nil, fmt.Errorf("a cluster has one or three nodes, not %d", nodes)
	}
	docker, err := Docker(ctx)
	if err != nil {
		return nil, err
	}
	c := &Cluster{docker: docker}
	if err := c.start(ctx, nodes); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context, nodes int) error {
	image, err := image(ctx, c.docker)
	if err != nil {
		return err
	}
	if c.network, err = dockernetwork.New(ctx); err != nil {
		return fmt.Errorf("a network for the nats-servers: %w", err)
	}
	var names []string
	for i := range nodes {
		names = append(names, fmt.Sprintf("n%d", i+1))
	}
	for _, name := range names {
		node, err := c.node(name, names)
		if err != nil {
			return err
		}
		c.Nodes = append(c.Nodes, node)
	}
	// At the same time: none is healthy before it has seen a majority.
	return c.each(func(n *Node) error { return n.create(ctx, image, c.network) })
}

// Close removes the servers with all that they stored.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeLimit) // also when whoever started it was cancelled
	defer cancel()
	err := c.each(func(n *Node) error { return n.remove(ctx) })
	if c.network != nil {
		err = errors.Join(err, c.network.Remove(ctx))
	}
	return errors.Join(err, c.docker.Close())
}

func (c *Cluster) each(do func(*Node) error) error {
	errs := make([]error, len(c.Nodes))
	parallel.Times(len(c.Nodes), len(c.Nodes), func(i int) { errs[i] = do(c.Nodes[i]) })
	return errors.Join(errs...)
}

// URL names all servers, as NATS_URL takes it. It stays the same.
func (c *Cluster) URL() string {
	var urls []string
	for _, n := range c.Nodes {
		urls = append(urls, n.URL)
	}
	return strings.Join(urls, ",")
}

// Leader gives the node that leads the stream, as those see it that are running and not cut off. While they elect one it
// waits, until ctx ends.
func (c *Cluster) Leader(ctx context.Context, stream string) (*Node, error) {
	for {
		leader, err := c.leader(ctx, stream)
		if err == nil {
			return leader, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("stream %s has no leader: %w", stream, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) leader(ctx context.Context, stream string) (*Node, error) {
	var reached []string
	for _, n := range c.Nodes {
		if n.reached.Load() {
			reached = append(reached, n.URL)
		}
	}
	nc, err := nats.Connect(strings.Join(reached, ","))
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return c.led(s.CachedInfo().Cluster)
}

func (c *Cluster) led(info *jetstream.ClusterInfo) (*Node, error) {
	if info == nil { // a single server leads all by itself
		return c.Nodes[0], nil
	}
	for _, n := range c.Nodes {
		if n.Name == info.Leader && n.reached.Load() {
			return n, nil
		}
	}
	return nil, errors.New("none elected")
}

// config is what a server is told. It does not tell clients of others: their addresses are of the network in Docker. By the
// pings it gives up a node that was cut off after six seconds; until then it sends that node reads of buckets, which any
// replica may answer, and one in three is lost.
var config = template.Must(template.New("nats.conf").Parse(`server_name: {{.Name}}
listen: "0.0.0.0:4222"
http: "0.0.0.0:8222"
jetstream { store_dir: "/data", sync_interval: {{if .Peers}}always{{else}}"100ms"{{end}} }
{{with .Peers}}cluster {
  name: closeloop
  listen: "0.0.0.0:6222"
  no_advertise: true
  ping_interval: "2s"
  routes: [{{range .}}
    "nats://{{.}}:6222"{{end}}
  ]
}{{end}}
`))

// configOf gives one server's configuration.
func configOf(name string, all []string) ([]byte, error) {
	var peers []string
	if len(all) > 1 {
		peers = all
	}
	var b bytes.Buffer
	err := config.Execute(&b, struct {
		Name  string
		Peers []string
	}{name, peers})
	return b.Bytes(), err
}
