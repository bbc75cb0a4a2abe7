package quota

import (
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
)

// process tells one process from all others, also from the one that had its place before a restart. What a killed process
// held is free as soon as its successor, or any other process beside it, asks: else a service that is killed again and again
// would wait for its own dead.
type process struct {
	// Where it runs: the host and the space of its process ids, which a container has for itself.
	Where string `json:"where,omitempty"`
	PID   int    `json:"pid,omitzero"`
	// Life is another one each time a process starts: in a container they all have the same id.
	Life string `json:"life,omitempty"`
}

// self is this process.
var self = sync.OnceValue(func() process {
	host, _ := os.Hostname() // what is not known is the same for all, and then the id tells
	space, _ := os.Readlink("/proc/self/ns/pid")
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id") // two machines may have one name
	return process{Where: host + " " + space + " " + strings.TrimSpace(string(boot)), PID: os.Getpid(), Life: rand.Text()[:12]}
})

// endedBeside tells that p ended, as far as me can know: it ran at the same place.
func (p process) endedBeside(me process) bool {
	switch {
	case p.Where == "" || p.Where != me.Where || p.Life == me.Life:
		return false
	case p.PID == me.PID:
		return true
	}
	found, err := os.FindProcess(p.PID)
	if err != nil {
		return false
	}
	defer func() { _ = found.Release() }()                               // it was only looked at
	return errors.Is(found.Signal(syscall.Signal(0)), os.ErrProcessDone) // signal 0 only finds out
}
