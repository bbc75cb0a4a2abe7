module github.com/closeloop/closeloop/scripts/scriptstest

go 1.26.0

require (
	github.com/closeloop/closeloop/pkg v0.0.0
	github.com/closeloop/closeloop/proto-events v0.0.0
)

replace (
	github.com/closeloop/closeloop/pkg => ../../pkg
	github.com/closeloop/closeloop/proto-events => ../../proto-events
)
