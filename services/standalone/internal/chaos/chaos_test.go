package chaos

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/topology"
	"github.com/closeloop/closeloop/services/awardco-recognizer/recognizer"
	"github.com/closeloop/closeloop/services/c4c-tasker/tasker"
	"github.com/closeloop/closeloop/services/feedback-router/router"
	"github.com/closeloop/closeloop/services/ingress/ingress"
	"github.com/closeloop/closeloop/services/landscape/landscape"
	"github.com/closeloop/closeloop/services/qualtrics-linker/linker"
	"github.com/closeloop/closeloop/services/sap-interaction-writer/writer"
	"github.com/closeloop/closeloop/services/standalone/internal/lab"
)

// TestMain makes this binary be the services as well, so that none is built.
func TestMain(m *testing.M) {
	lab.Become(ingress.Define(), linker.Define(), writer.Define(), router.Define(), tasker.Define(), recognizer.Define(), landscape.Define())
	os.Exit(m.Run())
}

// TestNothingIsLostAndNothingTwice plays scenarios with a few hundred events. A killed process's events come back sooner
// than in an installation, so that it takes no minutes.
func TestNothingIsLostAndNothingTwice(t *testing.T) {
	for name, c := range map[string]struct {
		scenario Scenario
		args     []string
	}{
		"lost":   {Lost, []string{"-events", "200", "-rate", "100"}},
		"kill":   {Kill, []string{"-events", "200", "-rate", "25", "-every", "1s", "-kill-for", "15s"}},
		"import": {Import, []string{"-events", "250", "-steps", "2,5"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said bytes.Buffer
			err := c.scenario.play(t.Context(), name, append(c.args, "-patience", "2m"), options{
				programs: lab.Self{}, topology: topology.Settings{AckWait: 3 * time.Second}, out: &said,
			})
			t.Log("\n" + said.String())
			if err != nil {
				t.Error(err)
			}
		})
	}
}
