module github.com/closeloop/closeloop/services/feedback-router

go 1.26.0

require (
	cel.dev/cel-go v0.32.0
	github.com/closeloop/closeloop/pkg v0.0.0
	github.com/closeloop/closeloop/proto-events v0.0.0
	github.com/goccy/go-yaml v1.19.2
	google.golang.org/protobuf v1.36.12
)

replace (
	github.com/closeloop/closeloop/pkg => ../../pkg
	github.com/closeloop/closeloop/proto-events => ../../proto-events
)
