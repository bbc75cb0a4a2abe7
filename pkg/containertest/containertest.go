// Package containertest gives tests nats-servers in containers of their own: killed like ones, restarted like ones, cut off
// like ones, and reached over the network. Most tests need no container, see pkg/bus/bustest; this is for what an embedded
// server cannot show. It is a module of its own, so that Docker's client stays out of the services' go.mod (standalone's has
// it, for its tests and for chaos).
//
// What runs in the containers, and how, is package cluster, which programs use as well.
package containertest

import (
	"testing"

	"github.com/closeloop/closeloop/pkg/containertest/cluster"
	"github.com/closeloop/closeloop/pkg/needs"
)

// Require ends the test when no Docker answers within 5 seconds: it skips with the reason, or fails when
// CLOSELOOP_REQUIRE names docker.
func Require(t testing.TB) {
	t.Helper()
	docker, err := cluster.Docker(t.Context())
	if err != nil {
		needs.Missing(t, "docker", err.Error())
	}
	if err := docker.Close(); err != nil {
		t.Fatal(err)
	}
}

// NATS starts one server without any stream and waits until it is healthy. It ends with the test. Without Docker the test
// ends as [Require] says.
func NATS(t testing.TB) *cluster.Cluster {
	t.Helper()
	return start(t, 1)
}

// Cluster is [NATS] with three servers.
func Cluster(t testing.TB) *cluster.Cluster {
	t.Helper()
	return start(t, 3)
}

func start(t testing.TB, nodes int) *cluster.Cluster {
	t.Helper()
	Require(t)
	c, err := cluster.Start(t.Context(), nodes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("removing the containers: %v", err)
		}
	})
	return c
}
