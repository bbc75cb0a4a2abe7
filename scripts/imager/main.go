// Command imager makes the container images of closeloop: one program each, on nothing, written as files that `docker load`
// takes. It needs Go and git and no Docker, and pulls nothing: what an image holds besides its program (roots of
// certificates, time zones) comes from Go's modules. The same commit gives the same images, byte for byte.
//
// See scripts/images, which calls it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// options are the flags.
type options struct {
	root, dir, repository, version, arch string
	load                                 bool
	names                                []string
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	o := options{}
	flag.StringVar(&o.root, "root", ".", "the checkout")
	flag.StringVar(&o.dir, "dir", ".bin/images", "where the images go, as <name>.tar with <name>.cdx.json")
	flag.StringVar(&o.repository, "repository", "closeloop", "what stands before the names: registry.example.com/closeloop")
	flag.StringVar(&o.version, "version", "", "version and tag; default: what git describes. The images are also tagged dev")
	flag.StringVar(&o.arch, "arch", runtime.GOARCH, "amd64 or arm64")
	flag.BoolVar(&o.load, "load", true, "load them into Docker")
	flag.Parse()
	o.names = flag.Args()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		cancel()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) error {
	programs, err := choose(all, o.names)
	if err != nil {
		return err
	}
	from, err := sourceOf(ctx, o.root, o.version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.dir, 0o750); err != nil {
		return err
	}
	binaries, err := os.MkdirTemp(o.dir, "binaries-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(binaries)
	if err := compile(ctx, o, from, programs, binaries); err != nil {
		return err
	}
	for _, p := range programs {
		if err := write(ctx, o, from, p, binaries, out); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

func choose(programs []program, names []string) ([]program, error) {
	if len(names) == 0 {
		return programs, nil
	}
	var chosen []program
	for _, wanted := range names {
		i := slices.IndexFunc(programs, func(p program) bool { return p.name == wanted })
		if i < 0 {
			return nil, fmt.Errorf("there is no image %s", wanted)
		}
		chosen = append(chosen, programs[i])
	}
	return chosen, nil
}

// write makes one image, its file and its bill of materials, and says how large it is.
func write(ctx context.Context, o options, from source, p program, binaries string, out io.Writer) error {
	from, err := p.version(from, filepath.Join(binaries, p.name))
	if err != nil {
		return err
	}
	bill, err := billOf(filepath.Join(binaries, p.name), p.name, from.version)
	if err != nil {
		return err
	}
	img, err := imageOf(ctx, p, binaries, bill, from, o.arch)
	if err != nil {
		return err
	}
	size, err := contentSize(img)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.dir, p.name+".cdx.json"), bill, 0o600); err != nil {
		return err
	}
	file := filepath.Join(o.dir, p.name+".tar")
	images := map[name.Tag]v1.Image{}
	for _, tag := range []string{from.tag(), "dev"} {
		reference, err := name.NewTag(o.repository + "/" + p.name + ":" + tag)
		if err != nil {
			return err
		}
		images[reference] = img
	}
	if err := tarball.MultiWriteToFile(file, images); err != nil {
		return err
	}
	if o.load {
		if err := load(ctx, file); err != nil {
			return err
		}
	}
	digest, err := img.Digest()
	fmt.Fprintf(out, "%-24s %5.1f MB  %s:%s  %s\n", p.name, float64(size)/1e6, o.repository+"/"+p.name, from.tag(), digest)
	return err
}

func load(ctx context.Context, file string) error {
	said, err := exec.CommandContext(ctx, "docker", "load", "--quiet", "--input", file).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("there is no docker command; -load=false only writes the files")
	}
	if err != nil {
		return fmt.Errorf("docker load: %w: %s (-load=false only writes the files)", err, strings.TrimSpace(string(said)))
	}
	return nil
}
