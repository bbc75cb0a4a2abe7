package service

import (
	"runtime/debug"
	"slices"
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
	i := slices.IndexFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "vcs.revision" })
	if i < 0 {
		return info.Main.Version
	}
	return info.Main.Version + " " + info.Settings[i].Value
}
