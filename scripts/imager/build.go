package main

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// program is what becomes an image.
type program struct {
	// name of the image and of the program in it.
	name string
	// pkg is what is built, seen from the folder in: a package of the checkout, or of a module that go.mod there pins.
	pkg, in string
	// writes says that the program keeps files, in /data.
	writes bool
	// beside are further programs that go into the image.
	beside []string
	// small says that it is compiled without inlining, but for what works most: it is a tenth smaller, and a little slower.
	small bool
}

// probe asks an address and exits with 1 unless it is well: the broker has no command for that, and its image no shell.
const probe = "probe"

// all are the images.
var all = append(services("awardco-recognizer", "c4c-tasker", "feedback-router", "ingress", "qualtrics-linker",
	"sap-interaction-writer", "topology"),
	program{name: "console", in: ".", pkg: "./services/console", writes: true, small: true},
	program{name: "landscape", in: ".", pkg: "./services/landscape", writes: true},
	program{name: "drill", in: ".", pkg: "./services/standalone/drill"},
	program{name: "nats-server", in: "pkg/containertest", pkg: "github.com/nats-io/nats-server/v2", writes: true, beside: []string{probe}},
)

func services(names ...string) (programs []program) {
	for _, n := range names {
		programs = append(programs, program{name: n, in: ".", pkg: "./services/" + n})
	}
	return programs
}

// source is what the images are made from.
type source struct {
	version, commit string
	// at is when the commit was made: the date of everything in the images.
	at time.Time
}

// version is the source with the version that this program bears: its own, where it is somebody else's.
func (p program) version(from source, binary string) (source, error) {
	if p.in == "." {
		return from, nil
	}
	info, err := buildinfo.ReadFile(binary)
	if err == nil {
		from.version = strings.TrimPrefix(info.Main.Version, "v")
	}
	return from, err
}

// tag is the version as registries take it.
func (s source) tag() string { return strings.ReplaceAll(s.version, "+", "-") }

func sourceOf(ctx context.Context, root, version string) (source, error) {
	said := func(args ...string) (string, error) {
		text, err := exec.CommandContext(ctx, "git", append([]string{"-C", root}, args...)...).Output()
		if failed, ok := errors.AsType[*exec.ExitError](err); ok {
			return "", fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(string(failed.Stderr)))
		}
		return strings.TrimSpace(string(text)), err
	}
	var s source
	var err error
	if s.commit, err = said("rev-parse", "HEAD"); err != nil {
		return s, err
	}
	if s.version = version; version == "" {
		if s.version, err = said("describe", "--tags", "--always", "--dirty"); err != nil {
			return s, err
		}
	}
	seconds, err := said("show", "--no-patch", "--format=%ct", "HEAD")
	if err != nil {
		return s, err
	}
	unix, err := strconv.ParseInt(seconds, 10, 64)
	s.at = time.Unix(unix, 0).UTC()
	return s, err
}

// compile builds the programs, and those beside them, into dir.
func compile(ctx context.Context, o options, from source, programs []program, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for _, p := range programs {
		var flags []string
		if p.small {
			flags = []string{ // of those that fit a package the last counts
				"-gcflags=all=-l", "-gcflags=modernc.org/sqlite/...=", "-gcflags=modernc.org/libc/...=", "-gcflags=github.com/closeloop/...=",
			}
		}
		if err := goBuild(ctx, o, from, p.in, p.pkg, filepath.Join(dir, p.name), flags...); err != nil {
			return err
		}
		for _, other := range p.beside {
			if err := goBuild(ctx, o, from, "scripts/imager", "./"+other, filepath.Join(dir, other)); err != nil {
				return err
			}
		}
	}
	return nil
}

func goBuild(ctx context.Context, o options, from source, in, pkg, file string, flags ...string) error {
	const set = " -X github.com/closeloop/closeloop/pkg/service."
	linked := "-s -w" + set + "release=" + from.version + set + "commit=" + from.commit
	args := append([]string{"build", "-C", filepath.Join(o.root, in), "-trimpath", "-buildvcs=false", "-ldflags", linked}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "-o", file, pkg)...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+o.arch)
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build %s: %w\n%s", pkg, err, said)
	}
	return nil
}
