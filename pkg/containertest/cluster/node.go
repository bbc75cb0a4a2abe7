package cluster

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/exec"
	dockernetwork "github.com/testcontainers/testcontainers-go/network"
	"github.com/testcontainers/testcontainers-go/wait"
)

// Ports within a container.
const (
	clients    = "4222/tcp"
	monitoring = "8222/tcp"
)

// Node is one nats-server in a container. Its files live as long as the cluster.
type Node struct {
	// Name is the server's name in the cluster: n1.
	Name string
	// URL is where it takes connections; it stays the same over stops and cuts.
	URL string

	docker    *testcontainers.DockerClient
	config    []byte
	ports     network.PortMap
	container *testcontainers.DockerContainer
	reached   atomic.Bool // it runs and is not cut off, as far as was asked for
}

// node prepares one server among all.
func (c *Cluster) node(name string, all []string) (*Node, error) {
	config, err := configOf(name, all)
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name, docker: c.docker, config: config, ports: network.PortMap{}}
	for _, port := range []string{clients, monitoring} {
		address, err := freeAddress()
		if err != nil {
			return nil, err
		}
		n.ports[network.MustParsePort(port)] = []network.PortBinding{
			{HostIP: address.Addr(), HostPort: fmt.Sprint(address.Port())},
		}
		if port == clients {
			n.URL = "nats://" + address.String()
		}
	}
	return n, nil
}

// freeAddress is chosen here and not by Docker, which would choose another one at each start.
func freeAddress() (netip.AddrPort, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer l.Close()
	return netip.ParseAddrPort(l.Addr().String())
}

// healthy is when a server has a leader for everything and is up to date.
func healthy() wait.Strategy {
	return wait.ForHTTP("/healthz").WithPort(monitoring).WithStartupTimeout(startLimit).WithPollInterval(50 * time.Millisecond)
}

func (n *Node) create(ctx context.Context, image string, nw *testcontainers.DockerNetwork) error {
	var err error
	n.container, err = testcontainers.Run(ctx, image,
		dockernetwork.WithNetwork([]string{n.Name}, nw),
		testcontainers.WithCmd("-c", "/nats.conf"),
		testcontainers.WithFiles(testcontainers.ContainerFile{Reader: bytes.NewReader(n.config), ContainerFilePath: "/nats.conf", FileMode: 0o644}),
		testcontainers.WithExposedPorts(clients, monitoring),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			h.PortBindings = n.ports
			h.CapAdd = []string{"NET_ADMIN"} // for the cuts
		}),
		testcontainers.WithWaitStrategyAndDeadline(startLimit, healthy()),
	)
	if err != nil {
		return fmt.Errorf("starting nats-server %s in a container: %w", n.Name, err)
	}
	n.reached.Store(true)
	return nil
}

func (n *Node) remove(ctx context.Context) error {
	if n.container == nil {
		return nil
	}
	return n.container.Terminate(ctx, testcontainers.StopTimeout(0))
}

// Stop asks the server to end (SIGTERM) and returns when it has.
func (n *Node) Stop(ctx context.Context) error { return n.end(ctx, "TERM") }

// Kill ends the server at once (SIGKILL), without a chance to write anything more, and returns when it has ended.
func (n *Node) Kill(ctx context.Context) error { return n.end(ctx, "KILL") }

func (n *Node) end(ctx context.Context, signal string) error {
	n.reached.Store(false)
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	id := n.container.GetContainerID()
	if _, err := n.docker.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signal}); err != nil {
		return fmt.Errorf("SIG%s to nats-server %s: %w", signal, n.Name, err)
	}
	ended := n.docker.ContainerWait(ctx, id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case err := <-ended.Error:
		return fmt.Errorf("waiting for the end of nats-server %s: %w", n.Name, err)
	case <-ended.Result:
		return nil
	}
}

// Start starts a server that has ended, with the files that it had, and returns when it is healthy: up to date with the
// others, if there are any. Without a majority of them it fails after a minute.
func (n *Node) Start(ctx context.Context) error {
	if err := n.container.Start(ctx); err != nil {
		return fmt.Errorf("starting nats-server %s again: %w", n.Name, err)
	}
	n.reached.Store(true)
	return nil
}

// Cut pulls the server's cable: from now on no packet comes in or goes out, to clients and to the other servers alike.
// The server runs on and nobody is told: connections are not closed, they are silent, and new ones are not answered.
func (n *Node) Cut(ctx context.Context) error {
	n.reached.Store(false)
	return n.link(ctx, "down")
}

// Heal puts the cable back, and returns when the server is healthy as after [Node.Start].
func (n *Node) Heal(ctx context.Context) error {
	if err := n.link(ctx, "up"); err != nil {
		return err
	}
	if err := healthy().WaitUntilReady(ctx, n.container); err != nil {
		return fmt.Errorf("nats-server %s after its cut: %w", n.Name, err)
	}
	n.reached.Store(true)
	return nil
}

// link runs the image's other program in the container, which needs no network for that and no rights here.
func (n *Node) link(ctx context.Context, state string) error {
	code, output, err := n.container.Exec(ctx, []string{"/link", state}, exec.Multiplexed())
	if err != nil {
		return fmt.Errorf("link %s of nats-server %s: %w", state, n.Name, err)
	}
	if code != 0 {
		said, _ := io.ReadAll(output)
		return fmt.Errorf("link %s of nats-server %s: %s", state, n.Name, strings.TrimSpace(string(said)))
	}
	return nil
}
