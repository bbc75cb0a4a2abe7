package settingstest

import (
	"testing"

	"github.com/closeloop/closeloop/pkg/livefile/livefiletest"
	"github.com/closeloop/closeloop/pkg/settings"
)

// Rotating gives a secret that comes from a mounted file, and replace, which puts another text there. It is seen within
// [livefile.Every].
func Rotating(t testing.TB, text string) (secret settings.Secret, replace func(text string)) {
	t.Helper()
	const key = "secret"
	mounted := livefiletest.Mount(t, map[string]string{key: text})
	t.Setenv("ROTATING_FILE", mounted.Path(key))
	var of struct {
		Secret settings.Secret `envconfig:"ROTATING"`
	}
	if err := settings.Load(&of); err != nil {
		t.Fatal(err)
	}
	return of.Secret, func(text string) { t.Helper(); mounted.Update(map[string]string{key: text}) }
}
