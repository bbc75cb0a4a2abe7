package cluster

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/log"
)

// answerLimit is how long Docker may take to say that it is there.
const answerLimit = 5 * time.Second

// settings of testcontainers, which it takes from the environment and reads once.
var settings = map[string]string{
	"TESTCONTAINERS_RYUK_DISABLED": "true",      // the reaper is an image to be pulled
	"TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1", // where ports are published; it guesses otherwise inside a container
}

// Docker gives a client of the Docker that is there, or why there is none. It sets the environment variables of
// testcontainers by which nothing is pulled.
func Docker(ctx context.Context) (*testcontainers.DockerClient, error) {
	for name, value := range settings {
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	log.SetDefault(log.NewNoopLogger()) // what went wrong is an error; nobody asked for the rest
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	docker, err := testcontainers.NewDockerClientWithOpts(ctx)
	if err == nil {
		_, err = docker.Ping(ctx, client.PingOptions{})
	}
	if err != nil {
		return nil, fmt.Errorf("Docker does not answer: %w", err)
	}
	return docker, nil
}

const dockerfile = "FROM scratch\nCOPY nats-server link /\nENTRYPOINT [\"/nats-server\"]\n"

const imageName = "closeloop/nats-server"

// built is the name of the image that this process has made sure of.
var built struct {
	sync.Mutex
	image string
}

// image gives the name of the image, which is built unless one with the same content is there.
func image(ctx context.Context, docker *testcontainers.DockerClient) (string, error) {
	built.Lock()
	defer built.Unlock()
	var err error
	if built.image == "" {
		built.image, err = buildImage(ctx, docker)
	}
	return built.image, err
}

func buildImage(ctx context.Context, docker *testcontainers.DockerClient) (string, error) {
	dir, err := os.MkdirTemp("", "closeloop-nats-server-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	tag, err := imageContext(ctx, dir)
	if err != nil {
		return "", fmt.Errorf("building nats-server: %w", err)
	}
	name := imageName + ":" + tag
	if _, err := docker.ImageInspect(ctx, name); err == nil {
		return name, nil
	}
	provider, err := testcontainers.NewDockerProvider()
	if err != nil {
		return "", err
	}
	defer provider.Close()
	return provider.BuildImage(ctx, &testcontainers.ContainerRequest{FromDockerfile: testcontainers.FromDockerfile{
		Context: dir, Repo: imageName, Tag: tag, KeepImage: true,
	}})
}

// imageContext fills a folder that Docker makes the image from, and gives a name for its content.
func imageContext(ctx context.Context, dir string) (tag string, err error) {
	content := sha256.New()
	for _, program := range []struct{ name, path string }{
		{"nats-server", "github.com/nats-io/nats-server/v2"}, {"link", "./link"},
	} {
		file := filepath.Join(dir, program.name)
		if err := build(ctx, program.path, file); err != nil {
			return "", err
		}
		made, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		content.Write(made)
	}
	content.Write([]byte(dockerfile))
	return fmt.Sprintf("%x", content.Sum(nil)[:8]), os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600)
}

// build builds in this package's folder, since its module's go.mod has the server's version and go.sum all that it is
// made from. The same source gives the same file.
func build(ctx context.Context, program, file string) error {
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.CommandContext(ctx, "go", "build", "-C", filepath.Dir(here), "-trimpath", "-buildvcs=false", "-o", file, program)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}
