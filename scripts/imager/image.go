package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is nobody in particular, by number, so that Kubernetes can see that it is not root.
const user = 65532

// Where images hold what is not their program. An installation may mount its own bundle over the first.
const (
	rootsPath = "/etc/ssl/certs/ca-certificates.crt"
	zonesPath = "/usr/share/zoneinfo.zip"
	billsPath = "/usr/share/sbom"
	dataPath  = "/data"
)

// imageOf puts an image together: a layer that all have in common, and one with the program.
func imageOf(ctx context.Context, p program, binaries string, bill []byte, from source, arch string) (v1.Image, error) {
	common, err := commonLayer(ctx, from.at)
	if err != nil {
		return nil, err
	}
	own, err := programLayer(p, binaries, bill, from.at)
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, common, own)
	if err != nil {
		return nil, err
	}
	config := v1.Config{
		Entrypoint: []string{"/" + p.name},
		User:       fmt.Sprintf("%d:%d", user, user),
		Env:        []string{"PATH=/", "SSL_CERT_FILE=" + rootsPath, "ZONEINFO=" + zonesPath},
		WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title":    p.name,
			"org.opencontainers.image.version":  from.version,
			"org.opencontainers.image.revision": from.commit,
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	}
	if p.writes {
		config.Volumes = map[string]struct{}{dataPath: {}}
		config.Env = append(config.Env, "DATA_DIR="+dataPath)
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created, file.Config = "linux", arch, v1.Time{Time: from.at}, config
	return mutate.ConfigFile(img, file)
}

// commonLayer holds the roots that certificates are checked against and the world's time zones.
func commonLayer(ctx context.Context, at time.Time) (v1.Layer, error) {
	var roots bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint != nil { // a file cannot say for which certificates alone a root counts
			continue
		}
		if err := pem.Encode(&roots, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}); err != nil {
			return nil, err
		}
	}
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return nil, fmt.Errorf("go env GOROOT: %w", err)
	}
	zones, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(root)), "lib", "time", "zoneinfo.zip"))
	if err != nil {
		return nil, err
	}
	var l layer
	l.file(rootsPath, 0o444, roots.Bytes(), at)
	l.file(zonesPath, 0o444, zones, at)
	return l.done()
}

func programLayer(p program, binaries string, bill []byte, at time.Time) (v1.Layer, error) {
	var l layer
	for _, n := range append([]string{p.name}, p.beside...) {
		binary, err := os.ReadFile(filepath.Join(binaries, n))
		if err != nil {
			return nil, err
		}
		l.file("/"+n, 0o555, binary, at)
	}
	l.file(path.Join(billsPath, p.name+".cdx.json"), 0o444, bill, at)
	if p.writes {
		l.header(&tar.Header{Typeflag: tar.TypeDir, Name: dataPath[1:] + "/", Mode: 0o700, Uid: user, Gid: user, ModTime: at})
	}
	return l.done()
}

// layer writes an archive. The first error stays.
type layer struct {
	content bytes.Buffer
	writer  *tar.Writer
	err     error
}

func (l *layer) header(h *tar.Header) {
	if l.writer == nil {
		l.writer = tar.NewWriter(&l.content)
	}
	if l.err == nil {
		l.err = l.writer.WriteHeader(h)
	}
}

func (l *layer) file(name string, mode int64, content []byte, at time.Time) {
	l.header(&tar.Header{Typeflag: tar.TypeReg, Name: name[1:], Mode: mode, Size: int64(len(content)), ModTime: at})
	if l.err == nil {
		_, l.err = l.writer.Write(content)
	}
}

func (l *layer) done() (v1.Layer, error) {
	if l.err != nil {
		return nil, l.err
	}
	if err := l.writer.Close(); err != nil {
		return nil, err
	}
	content := l.content.Bytes()
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
}

// largest is what an image may take where it runs, in bytes. What is small is soon on a node that has none of it yet.
const largest = 25_000_000

// contentSize is what the image takes where it runs: its layers unpacked. More than [largest] is an error.
func contentSize(img v1.Image) (size int64, err error) {
	layers, err := img.Layers()
	if err != nil {
		return 0, err
	}
	for _, l := range layers {
		content, err := l.Uncompressed()
		if err != nil {
			return 0, err
		}
		n, err := io.Copy(io.Discard, content)
		if err != nil {
			return 0, err
		}
		size += n
	}
	if size > largest {
		return size, fmt.Errorf("it takes %.1f MB unpacked; an image may take %.0f: see what its program links (go tool nm -size -sort size)",
			float64(size)/1e6, largest/1e6)
	}
	return size, nil
}
