package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/closeloop/closeloop/pkg/service"
)

// Programs says which program a service is.
type Programs interface {
	// Command is the program of that service and the variables that it needs to be it.
	Command(service string) (program string, env []string, err error)
}

// Binaries are the services' real binaries, by name.
type Binaries map[string]string

// Build builds the named services, folders below services/ of the working folder, into dir.
func Build(ctx context.Context, dir string, services ...string) (Binaries, error) {
	built, folders := Binaries{}, make([]string, len(services))
	for i, name := range services {
		built[name], folders[i] = filepath.Join(dir, name), "./services/"+name
	}
	build := exec.CommandContext(ctx, "go", append([]string{"build", "-o", dir + string(filepath.Separator)}, folders...)...)
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("building the services: %w", err)
	}
	return built, nil
}

// Command implements [Programs].
func (b Binaries) Command(service string) (string, []string, error) {
	path, ok := b[service]
	if !ok {
		return "", nil, fmt.Errorf("%s was not built", service)
	}
	return path, nil, nil
}

// RunAs is the variable that makes a program that calls [Become] be the service that it names.
const RunAs = "CLOSELOOP_LAB_RUN_AS"

// Self is the running program as every service: for tests, whose TestMain calls [Become], so that none is built.
type Self struct{}

// Command implements [Programs].
func (Self) Command(service string) (string, []string, error) {
	path, err := os.Executable()
	return path, []string{RunAs + "=" + service}, err
}

// Become makes this process be the service that [Self] started it as, and does not return then.
func Become(all ...service.Definition) {
	name := os.Getenv(RunAs)
	if name == "" {
		return
	}
	os.Args = os.Args[:1]
	for _, d := range all {
		if d.Name == name {
			service.Main(d)
		}
	}
	fmt.Fprintln(os.Stderr, "no such service:", name)
	os.Exit(2)
}

// Process is one program that can be killed and started again. It is safe for concurrent use.
type Process struct {
	// Name is what its log file is called.
	Name string

	program string
	env     []string
	log     *os.File

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{} // of cmd
}

// Launch starts a program with nothing in its environment but env and what finds programs and the home folder. What it
// says, whichever time it was started, goes to <dir>/<name>.log.
func Launch(dir, name, program string, env ...string) (*Process, error) {
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &Process{Name: name, program: program, log: log}
	p.env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}, env...)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p, p.start()
}

func (p *Process) start() error {
	cmd := exec.Command(p.program) //nolint:noctx // ended by Restart, or by Stop, which lets it drain
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, p.log, p.log
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }() // how it ended is in its log
	p.cmd, p.done = cmd, done
	return nil
}

// Restart kills it with SIGKILL, at whatever instruction it is, and starts it again at once.
func (p *Process) Restart() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kill()
	return p.start()
}

// kill ends it with SIGKILL.
func (p *Process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// Alive tells whether it runs.
func (p *Process) Alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Interrupt asks it to end, which [Process.Stop] waits for.
func (p *Process) Interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(os.Interrupt) // it may have ended by itself
}

// Stop asks it to end and waits; one that takes longer than it may is killed, which is an error.
func (p *Process) Stop() error {
	p.Interrupt()
	p.mu.Lock()
	defer p.mu.Unlock()
	defer p.log.Close()
	select {
	case <-p.done:
		return nil
	case <-time.After(time.Minute):
		p.kill()
		return errors.New(p.Name + " did not end in a minute")
	}
}
