package service

import (
	"runtime/debug"
	"strings"
)

// release and commit are what scripts/images builds, set by the linker. Other builds have what Go makes of the checkout.
var release, commit string

// Version is the version of the build and its commit, as far as they are known: "v1.2.0 0123abcd…".
func Version() string {
	if release != "" {
		return strings.TrimSpace(release + " " + commit)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	version := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			version += " " + s.Value
		}
	}
	return version
}
