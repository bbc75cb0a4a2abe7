package rules

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultInterval is how often [Watch] looks at the file unless told otherwise.
const DefaultInterval = 2 * time.Second

// Live is the rules in force, which change with their file. Its methods may be called by any number of goroutines.
type Live struct {
	path    string
	log     *slog.Logger
	current atomic.Pointer[inForce]

	reading sync.Mutex
	refused string // the hash or the error that was refused last, so that it is said once
}

// inForce is what readers see, always as a whole.
type inForce struct {
	set    *Set
	status Status
}

// Status says which rules are in force.
type Status struct {
	// File is the path of the file, or "default.yaml" for the embedded rules.
	File string
	// Rules is how many there are.
	Rules int
	// Hash is the SHA-256 of the file's content in hexadecimal.
	Hash string
	// Source is that content.
	Source string
	// LoadedAt is since when this process has these rules in force.
	LoadedAt time.Time
	// LastError says why the file as it is now was refused; nil where it is the one in force.
	LastError error
}

// Watch loads the rules file at path and keeps to its changes until ctx ends: every interval (0 or less is
// [DefaultInterval]) it reads the file and, where the content is another, checks it. A file that does not check is logged
// and reported by [Live.Status]; the rules in force stay. Content is what counts, so that the symbolic links of a
// Kubernetes ConfigMap work like any file. Who writes a file by hand should rename a finished one over the old, since half
// a file may check.
//
// Without a path the embedded default is in force and nothing is watched. The error is that of reading the file, or the
// [*Problems] of one that does not check.
func Watch(ctx context.Context, path string, interval time.Duration, log *slog.Logger) (*Live, error) {
	l := &Live{path: path, log: log}
	if path == "" {
		return l, l.load(defaultName, defaultSource)
	}
	if err := l.Reload(); err != nil {
		return nil, err
	}
	if interval <= 0 {
		interval = DefaultInterval
	}
	go l.follow(ctx, interval)
	return l, nil
}

func (l *Live) follow(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = l.Reload() // logged, and kept for Status
		}
	}
}

// Set gives the rules in force. Who evaluates several answers asks again for each.
func (l *Live) Set() *Set { return l.current.Load().set }

// InForce gives both, of one and the same file.
func (l *Live) InForce() (*Set, Status) {
	now := l.current.Load()
	return now.set, now.status
}

// Status says which rules are in force and whether the file is refused.
func (l *Live) Status() Status { return l.current.Load().status }

// Reload looks at the file now, as [Watch] does at every interval. The error is why the file is refused.
func (l *Live) Reload() error {
	if l.path == "" {
		return nil
	}
	l.reading.Lock()
	defer l.reading.Unlock()
	source, err := os.ReadFile(l.path)
	if err != nil {
		return l.refuse(err.Error(), err)
	}
	hash := hashOf(source)
	if now := l.current.Load(); now != nil && now.status.Hash == hash && now.status.LastError == nil {
		return nil
	}
	if hash == l.refused {
		return l.Status().LastError
	}
	if err := l.load(l.path, source); err != nil {
		return l.refuse(hash, err)
	}
	l.refused = ""
	l.log.Info("rules loaded", "file", l.path, "rules", l.Set().Len(), "hash", hash)
	return nil
}

func (l *Live) load(name string, source []byte) error {
	set, err := Parse(name, source)
	if err != nil {
		return err
	}
	l.current.Store(&inForce{set, Status{File: name, Rules: set.Len(), Hash: hashOf(source), Source: string(source), LoadedAt: time.Now()}})
	return nil
}

// refuse keeps the rules in force and says why, once for the same content or error.
func (l *Live) refuse(what string, err error) error {
	now := l.current.Load()
	if now == nil {
		return err
	}
	if what != l.refused {
		l.refused = what
		l.log.Error("rules file refused; the rules in force stay", "file", l.path, "hash", now.status.Hash, "error", err)
	}
	status := now.status
	status.LastError = err
	l.current.Store(&inForce{now.set, status})
	return err
}

func hashOf(source []byte) string {
	sum := sha256.Sum256(source)
	return hex.EncodeToString(sum[:])
}
