// Package containertest gives tests a nats-server in a container of its own: killed like one, restarted like one, and
// reached over the network. Most tests need no container, see pkg/bus/bustest; this is for what an embedded server cannot
// show. It is a module of its own, so that Docker's client stays out of everybody's go.mod.
//
// Nothing is pulled: the image is FROM scratch with the nats-server that go.mod pins.
package containertest

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"

	"github.com/closeloop/closeloop/pkg/needs"
)

const (
	answerLimit = 5 * time.Second
	startLimit  = 30 * time.Second
)

// Require ends the test when no Docker answers within 5 seconds: it skips with the reason, or fails when
// CLOSELOOP_REQUIRE names docker.
func Require(t testing.TB) {
	t.Helper()
	connect(t)
}

// settings of testcontainers, which it takes from the environment.
var settings = map[string]string{
	"TESTCONTAINERS_RYUK_DISABLED": "true",      // the reaper is an image to be pulled; containers here end with their test
	"TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1", // where ports are published below; it guesses otherwise inside a container
}

func connect(t testing.TB) *testcontainers.DockerClient {
	t.Helper()
	for name, value := range settings {
		t.Setenv(name, value)
	}
	ctx, cancel := context.WithTimeout(t.Context(), answerLimit)
	defer cancel()
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err == nil {
		t.Cleanup(func() { _ = docker.Close() })
		_, err = docker.Ping(ctx, client.PingOptions{})
	}
	if err != nil {
		needs.Missing(t, "docker", "Docker does not answer: "+err.Error())
	}
	return docker
}

// Broker is a nats-server with JetStream in a container. Its files live as long as the container.
type Broker struct {
	// URL is where it takes connections; it stays the same over Kill and Start.
	URL string

	docker    *testcontainers.DockerClient
	container *testcontainers.DockerContainer
}

// NATS starts a broker without any stream and waits until it is healthy. It ends with the test. Without Docker the test
// ends as [Require] says. A parallel test cannot have one, since it sets environment variables.
func NATS(t testing.TB) *Broker {
	t.Helper()
	docker := connect(t)
	port := freePort(t)
	c, err := testcontainers.Run(t.Context(), "",
		testcontainers.WithDockerfile(testcontainers.FromDockerfile{Context: imageContext(t)}),
		testcontainers.WithCmd("-js", "-m", "8222", "-sd", "/data"),
		testcontainers.WithExposedPorts("4222/tcp", "8222/tcp"),
		testcontainers.WithHostConfigModifier(func(h *container.HostConfig) {
			loopback := netip.MustParseAddr("127.0.0.1")
			h.PortBindings = network.PortMap{
				network.MustParsePort("4222/tcp"): {{HostIP: loopback, HostPort: port}},
				network.MustParsePort("8222/tcp"): {{HostIP: loopback}},
			}
		}),
		testcontainers.WithWaitStrategyAndDeadline(startLimit, wait.ForHTTP("/healthz").WithPort("8222/tcp")),
	)
	testcontainers.CleanupContainer(t, c)
	if err != nil {
		t.Fatalf("starting nats-server in a container: %v", err)
	}
	return &Broker{URL: "nats://127.0.0.1:" + port, docker: docker, container: c}
}

// Kill ends the server at once, without a chance to write anything more.
func (b *Broker) Kill(t testing.TB) {
	t.Helper()
	if _, err := b.docker.ContainerKill(t.Context(), b.container.GetContainerID(), client.ContainerKillOptions{Signal: "KILL"}); err != nil {
		t.Fatalf("killing the container: %v", err)
	}
}

// Start starts a killed server again, with the files that it had, and waits until it is healthy.
func (b *Broker) Start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	if err := b.container.Start(ctx); err != nil {
		t.Fatalf("starting the container again: %v", err)
	}
}

// freePort is chosen here and not by Docker, which would choose another one at each start.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

const dockerfile = "FROM scratch\nCOPY nats-server /nats-server\nENTRYPOINT [\"/nats-server\"]\n"

// imageContext is a folder that Docker makes the image from.
func imageContext(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	_, here, _, _ := runtime.Caller(0)
	// In this module's folder, since its go.mod has the server's version and go.sum all that it is made from.
	build := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Dir(here),
		"-o", filepath.Join(dir, "nats-server"), "github.com/nats-io/nats-server/v2")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building nats-server: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}
