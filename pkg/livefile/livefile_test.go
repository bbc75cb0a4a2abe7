package livefile_test

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/closeloop/closeloop/pkg/livefile"
	"github.com/closeloop/closeloop/pkg/livefile/livefiletest"
)

// joined takes files whose contents are all there, and refuses the word bad.
func joined(contents [][]byte) (string, error) {
	text := string(bytes.Join(contents, []byte("+")))
	if strings.Contains(text, "bad") {
		return "", errors.New("it is bad")
	}
	return text, nil
}

func open(t *testing.T, paths ...string) *livefile.Value[string] {
	t.Helper()
	v, err := livefile.Open("TEST_FILE", joined, paths...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestAValueFollowsASecretOfKubernetes(t *testing.T) {
	synctest.Test(t, aValueFollowsASecretOfKubernetes)
}

func aValueFollowsASecretOfKubernetes(t *testing.T) {
	mounted := livefiletest.Mount(t, map[string]string{"cert": "c1", "key": "k1"})
	v := open(t, mounted.Path("cert"), mounted.Path("key"))
	if got := v.Get(); got != "c1+k1" {
		t.Fatalf("got %s", got)
	}
	mounted.Update(map[string]string{"cert": "c2", "key": "k2"})
	eventually(t, v, "c2+k2")
	mounted.Update(map[string]string{"cert": "c3", "key": "k3"})
	eventually(t, v, "c3+k3")
}

func TestAValueFollowsAFileThatIsWrittenInPlace(t *testing.T) {
	synctest.Test(t, aValueFollowsAFileThatIsWrittenInPlace)
}

func aValueFollowsAFileThatIsWrittenInPlace(t *testing.T) {
	path := t.TempDir() + "/file"
	write(t, path, "one")
	v := open(t, path)
	write(t, path, "two") // of the same size, and maybe at the same time as the clock of the file system counts
	eventually(t, v, "two")
}

func TestAFileThatIsNoGoodChangesNothingAndIsToldOnce(t *testing.T) {
	log := logged(t)
	for what, spoil := range map[string]func(*livefiletest.Secret){
		"vanished":  func(s *livefiletest.Secret) { s.Update(nil) },
		"is bad":    func(s *livefiletest.Secret) { s.Update(map[string]string{"file": "bad"}) },
		"directory": func(s *livefiletest.Secret) { replace(t, s.Path("file")) },
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log.reset()
				mounted := livefiletest.Mount(t, map[string]string{"file": "good"})
				v := open(t, mounted.Path("file"))
				spoil(mounted)
				log.wait(t, v, "TEST_FILE")
				<-time.After(livefile.Every) // the clock of the test: so that it looks once more
				if got := v.Get(); got != "good" {
					t.Fatalf("got %q", got)
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
					t.Errorf("logged %d times:\n%s", n, log)
				}
				if what == "directory" {
					return
				}
				mounted.Update(map[string]string{"file": "better"})
				eventually(t, v, "better")
			})
		})
	}
}

func TestOpenSaysWhichSettingIsWrong(t *testing.T) {
	missing := t.TempDir() + "/missing"
	if _, err := livefile.Open("TEST_FILE", joined, missing); err == nil || !strings.HasPrefix(err.Error(), "TEST_FILE: open "+missing) {
		t.Error(err)
	}
	path := t.TempDir() + "/file"
	write(t, path, "bad")
	if _, err := livefile.Open("TEST_FILE", joined, path); err == nil || err.Error() != "TEST_FILE: it is bad" {
		t.Error(err)
	}
}

func TestManyMayAskAtTheSameTime(t *testing.T) { synctest.Test(t, manyMayAskAtTheSameTime) }

func manyMayAskAtTheSameTime(t *testing.T) {
	path := t.TempDir() + "/file"
	write(t, path, "one")
	v := open(t, path)
	write(t, path, "two")
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { eventually(t, v, "two") })
	}
	all.Wait()
}

// eventually asks until the value is there.
func eventually(t *testing.T, v *livefile.Value[string], want string) {
	t.Helper()
	for began := time.Now(); v.Get() != want; <-time.After(10 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Errorf("got %q, want %q", v.Get(), want)
			return
		}
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace puts a directory where the file was.
func replace(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
}

// lines is the log of the process.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func logged(t *testing.T) *lines {
	t.Helper()
	before, l := slog.Default(), &lines{}
	slog.SetDefault(slog.New(slog.NewTextHandler(l, nil)))
	t.Cleanup(func() { slog.SetDefault(before) })
	return l
}

func (l *lines) Write(p []byte) (int, error) { l.mu.Lock(); defer l.mu.Unlock(); return l.b.Write(p) }
func (l *lines) String() string              { l.mu.Lock(); defer l.mu.Unlock(); return l.b.String() }
func (l *lines) reset()                      { l.mu.Lock(); defer l.mu.Unlock(); l.b.Reset() }

// wait asks for the value until the log says so.
func (l *lines) wait(t *testing.T, v *livefile.Value[string], text string) {
	t.Helper()
	for began := time.Now(); !strings.Contains(l.String(), text); <-time.After(10 * time.Millisecond) {
		v.Get()
		if time.Since(began) > time.Minute {
			t.Fatalf("never logged %q", text)
		}
	}
}
