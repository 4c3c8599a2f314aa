package procs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Command describes a program to run.
type Command struct {
	Path string
	Args []string
	// Env is added to Environ.
	Env []string
	// LogPath is a file to which stdout and stderr are appended. If it is empty, only the last bytes
	// are kept, in memory.
	LogPath string
	// DropStderr drops what the program writes to stderr.
	DropStderr bool
}

// Process is one running program.
type Process struct {
	cmd    *exec.Cmd
	output *output
	ended  chan struct{} // closed once the process was waited for
}

// ErrEnded reports that a process ended before an expected event.
var ErrEnded = errors.New("the process has ended")

// Start runs a command.
func Start(command Command) (*Process, error) {
	out, err := newOutput(command.LogPath)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(command.Path, command.Args...)
	cmd.Env = append(Environ(), command.Env...)
	cmd.Stdout = out
	if !command.DropStderr {
		cmd.Stderr = out
	}
	cmd.WaitDelay = time.Second // do not wait for children of the process that hold the output open
	if err := spawn(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", command.Path, err), out.Close())
	}
	p := &Process{cmd: cmd, output: out, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // cmd.ProcessState has the result
		_ = out.Close()
		close(p.ended)
	}()
	return p, nil
}

// Environ returns the environment of the caller without the variables that begin with ETCD, ETCDCTL
// or TROUPE. Those configure servers and clients, and only the test may set them.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "ETCD") || strings.HasPrefix(v, "TROUPE")
	})
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended returns a channel that is closed once the process has ended and its output has been read.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Running reports whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Output returns the last 64 KiB that the process wrote.
func (p *Process) Output() string { return p.output.String() }

// ExitCode waits for the end of the process and returns its exit code, -1 if a signal ended it.
func (p *Process) ExitCode(ctx context.Context) (int, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for process %d to end: %w", p.PID(), ctx.Err())
	}
}

// CPU waits for the end of the process and returns the processor time that it used.
func (p *Process) CPU() time.Duration {
	<-p.ended
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// WaitFor waits until the process has written text, before or after the call. It returns ErrEnded
// if the process ends without it.
func (p *Process) WaitFor(ctx context.Context, text string) error {
	seen := p.output.notify(text)
	select {
	case <-seen:
		return nil
	case <-p.ended:
		select { // the process may have written it before its end
		case <-seen:
			return nil
		default:
		}
		return fmt.Errorf("waiting for %q: %w (%v); its last output:\n%s", text, ErrEnded, p.cmd.ProcessState, p.Output())
	case <-ctx.Done():
		return fmt.Errorf("waiting for %q: %w; its last output:\n%s", text, ctx.Err(), p.Output())
	}
}

// Kill ends the process with SIGKILL and waits for its end. It is no error if the process has
// ended.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// Stop sends SIGTERM, waits for the end of the process and returns its exit code. It kills the
// process when ctx ends first.
func (p *Process) Stop(ctx context.Context) (int, error) {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	code, err := p.ExitCode(ctx)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("after SIGTERM: %w", err), p.Kill())
	}
	return code, nil
}

// Pause sends SIGSTOP: the sockets of the process stay open and silent, and time passes.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume sends SIGCONT, which ends a pause.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to process %d: %w", sig, p.PID(), err)
	}
	return nil
}
