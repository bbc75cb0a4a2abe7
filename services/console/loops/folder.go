package loops

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// files are what SQLite makes, by what it adds to the name. Those beside the first get the mode that it has.
var files = []string{"", "-wal", "-shm", "-journal"}

// private makes the file where there is none, and keeps everybody else out of it, of those beside it, and of its folder,
// whatever the umask is. What belongs to another user, as volumes may, stays as it is.
func private(path string) error {
	made, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) // one that is there is not opened: closing it would end SQLite's locks
	if err == nil {
		err = made.Close()
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := restrict(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	for _, suffix := range files {
		if err := restrict(path+suffix, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func restrict(path string, mode fs.FileMode) error {
	if err := os.Chmod(path, mode); err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}

const (
	temporaryPrefix = "closeloop-console-"
	lockName        = "lock"
)

// temporary is a folder that ends with its process. Its lock ends with the process whatever happens, and tells others whether it
// still runs: a process id would not, since containers that share a folder may have the same.
type temporary struct {
	path string
	lock *os.File
}

// newTemporary makes one, and removes those of processes that were killed.
func newTemporary(in string) (*temporary, error) {
	removeStale(in)
	path, err := os.MkdirTemp(in, temporaryPrefix)
	if err != nil {
		return nil, err
	}
	t := &temporary{path: path}
	if err := t.hold(); err != nil {
		return nil, errors.Join(err, t.remove())
	}
	return t, nil
}

// hold locks the folder. The file gets its name when it is locked: until then nobody takes it for one that was left.
func (t *temporary) hold() (err error) {
	unnamed := filepath.Join(t.path, lockName+".new")
	if t.lock, err = os.OpenFile(unnamed, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err != nil {
		return err
	}
	if err := tryLock(t.lock); err != nil {
		return err
	}
	return os.Rename(unnamed, filepath.Join(t.path, lockName))
}

func (t *temporary) remove() error {
	err := os.RemoveAll(t.path)
	if t.lock != nil {
		err = errors.Join(err, t.lock.Close())
	}
	return err
}

// removeStale removes the folders whose lock nobody holds. What cannot be removed, as other users' cannot, stays.
func removeStale(in string) {
	locks, _ := filepath.Glob(filepath.Join(in, temporaryPrefix+"*", lockName)) // the pattern is good
	for _, name := range locks {
		lock, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if tryLock(lock) == nil {
			_ = os.RemoveAll(filepath.Dir(name)) // the next console tries again
		}
		_ = lock.Close() // which gives it back
	}
}

// tryLock fails where another holds the lock.
func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }
