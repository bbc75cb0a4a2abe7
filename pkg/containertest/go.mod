module github.com/closeloop/closeloop/pkg/containertest

go 1.26.0

tool github.com/nats-io/nats-server/v2

require (
	github.com/closeloop/closeloop/pkg v0.0.0
	github.com/closeloop/closeloop/proto-events v0.0.0
	github.com/nats-io/nats-server/v2 v2.15.2
	github.com/nats-io/nats.go v1.55.0
	github.com/testcontainers/testcontainers-go v0.45.0
)

// Wanted by testcontainers for Windows alone, and not to be had from the module proxy: the version that moby/term asks for does.
exclude github.com/Azure/go-ansiterm v0.0.0-20261006220739-8c912ac31dd4

replace (
	github.com/closeloop/closeloop/pkg => ../
	github.com/closeloop/closeloop/proto-events => ../../proto-events
)
