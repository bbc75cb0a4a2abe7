package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// build makes the image of the topology job, and gives it as it is in the file.
func build(t *testing.T, version string) (image v1.Image, dir string) {
	t.Helper()
	dir = t.TempDir()
	o := options{root: "../..", dir: dir, repository: "registry.example.com/closeloop", version: version, arch: runtime.GOARCH, names: []string{"topology"}}
	if err := run(t.Context(), o, io.Discard); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag("registry.example.com/closeloop/topology:" + version)
	if err != nil {
		t.Fatal(err)
	}
	image, err = tarball.ImageFromPath(filepath.Join(dir, "topology.tar"), &tag)
	if err != nil {
		t.Fatal(err)
	}
	return image, dir
}

// files are those of an image, by name.
func files(t *testing.T, image v1.Image) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	content := mutate.Extract(image)
	defer content.Close()
	for archive := tar.NewReader(content); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAnImageHoldsOneProgramAndWhatItNeeds(t *testing.T) {
	image, dir := build(t, "v1.2.3")
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c := config.Config; c.User != "65532:65532" || strings.Join(c.Entrypoint, " ") != "/topology" || c.Labels["org.opencontainers.image.version"] != "v1.2.3" {
		t.Errorf("it runs %q as %q, with the labels %v", c.Entrypoint, c.User, c.Labels)
	}
	have := files(t, image)
	if !x509.NewCertPool().AppendCertsFromPEM(have[rootsPath[1:]]) {
		t.Error("there are no roots of certificates in it")
	}
	zones := filepath.Join(dir, "zoneinfo.zip")
	if err := os.WriteFile(zones, have[zonesPath[1:]], 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "topology")
	if err := os.WriteFile(program, have["topology"], 0o700); err != nil {
		t.Fatal(err)
	}
	said, err := exec.CommandContext(t.Context(), program, "--version").Output()
	if commit := config.Config.Labels["org.opencontainers.image.revision"]; err != nil || len(commit) != 40 ||
		string(said) != "topology v1.2.3 "+commit+"\n" {
		t.Errorf("--version says %q (%v), the commit is %q", said, err, commit)
	}
	var bill struct {
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(have[billsPath[1:]+"/topology.cdx.json"], &bill); err != nil {
		t.Fatal(err)
	}
	versions := map[string]string{}
	for _, c := range bill.Components {
		versions[c.Name] = c.Version
	}
	if versions["stdlib"] != strings.TrimPrefix(runtime.Version(), "go") || !strings.HasPrefix(versions["github.com/nats-io/nats.go"], "v1.") {
		t.Errorf("the bill of materials has %v", versions)
	}
	for _, version := range versions {
		if version == "" || version == developed {
			t.Errorf("a version is missing in %v", versions)
		}
	}
}

func TestTheSameSourceGivesTheSameImage(t *testing.T) {
	first, _ := build(t, "v1.2.3")
	second, _ := build(t, "v1.2.3")
	a, err := first.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if b, err := second.Digest(); a != b || err != nil {
		t.Errorf("%s and %s (%v)", a, b, err)
	}
}

func TestAnUnknownImageIsRefused(t *testing.T) {
	var said bytes.Buffer
	err := run(context.Background(), options{names: []string{"toppology"}}, &said)
	if err == nil || !strings.Contains(err.Error(), "toppology") {
		t.Errorf("it says %v", err)
	}
}

func TestAnImageThatIsTooLargeIsRefused(t *testing.T) {
	for content, fits := range map[int]bool{largest - 2048: true, largest: false} { // the layer's archive takes 2 KiB of its own
		var l layer
		l.file("/program", 0o555, make([]byte, content), time.Unix(0, 0))
		own, err := l.done()
		if err != nil {
			t.Fatal(err)
		}
		image, err := mutate.AppendLayers(empty.Image, own)
		if err != nil {
			t.Fatal(err)
		}
		if size, err := contentSize(image); (err == nil) != fits || size <= int64(content) {
			t.Errorf("%d bytes of content, %d with the archive: %v", content, size, err)
		}
	}
}
