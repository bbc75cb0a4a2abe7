package standalone_test

import (
	"testing"

	"github.com/closeloop/closeloop/pkg/settings/settingstest"
	"github.com/closeloop/closeloop/services/standalone/standalone"
)

func TestREADMEListsTheSettings(t *testing.T) {
	settingstest.CheckREADME(t, "../README.md", &standalone.Settings{})
}
