module github.com/closeloop/closeloop/services/standalone

go 1.26.0

require (
	github.com/closeloop/closeloop/pkg v0.0.0
	github.com/closeloop/closeloop/pkg/browsertest v0.0.0
	github.com/closeloop/closeloop/proto-events v0.0.0
	github.com/closeloop/closeloop/services/awardco-recognizer v0.0.0
	github.com/closeloop/closeloop/services/c4c-tasker v0.0.0
	github.com/closeloop/closeloop/services/feedback-router v0.0.0
	github.com/closeloop/closeloop/services/ingress v0.0.0
	github.com/closeloop/closeloop/services/landscape v0.0.0
	github.com/closeloop/closeloop/services/qualtrics-linker v0.0.0
	github.com/closeloop/closeloop/services/sap-interaction-writer v0.0.0
	golang.org/x/term v0.47.0
)

replace github.com/closeloop/closeloop/pkg => ../../pkg

replace github.com/closeloop/closeloop/proto-events => ../../proto-events

replace github.com/closeloop/closeloop/services/ingress => ../../services/ingress

replace github.com/closeloop/closeloop/services/qualtrics-linker => ../../services/qualtrics-linker

replace github.com/closeloop/closeloop/services/sap-interaction-writer => ../../services/sap-interaction-writer

replace github.com/closeloop/closeloop/services/feedback-router => ../../services/feedback-router

replace github.com/closeloop/closeloop/services/c4c-tasker => ../../services/c4c-tasker

replace github.com/closeloop/closeloop/services/awardco-recognizer => ../../services/awardco-recognizer

replace github.com/closeloop/closeloop/services/landscape => ../../services/landscape

replace github.com/closeloop/closeloop/pkg/browsertest => ../../pkg/browsertest
