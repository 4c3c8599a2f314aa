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

// Command says what to run.
type Command struct {
	Path string
	Args []string
	// Env is added to the environment of the caller, without what would be a setting there: see
	// Environ.
	Env []string
	// LogPath is where stdout and stderr go, appended. Empty: they are only kept in memory (the last
	// of them).
	LogPath string
	// DropStderr throws away what it writes to stderr.
	DropStderr bool
}

// Process is one running program.
type Process struct {
	cmd    *exec.Cmd
	output *output
	ended  chan struct{} // closed once the process was waited for
}

// ErrEnded says that a process ended while something was expected of it.
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
	cmd.WaitDelay = time.Second // a child of its own may hold the output open: it is not waited for
	if err := spawn(cmd); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", command.Path, err), out.Close())
	}
	p := &Process{cmd: cmd, output: out, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended is told by cmd.ProcessState
		_ = out.Close()
		close(p.ended)
	}()
	return p, nil
}

// Environ is the environment of the caller without what begins with ETCD, ETCDCTL or TROUPE: those
// are settings of the servers and clients under test, and must come from the test alone.
func Environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "ETCD") || strings.HasPrefix(v, "TROUPE")
	})
}

// PID of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended and all its output has been read.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Running says whether the process has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Output returns the last of what the process wrote.
func (p *Process) Output() string { return p.output.String() }

// ExitCode waits for the end. It is -1 for a process ended by a signal.
func (p *Process) ExitCode(ctx context.Context) (int, error) {
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode(), nil
	case <-ctx.Done():
		return 0, fmt.Errorf("waiting for process %d to end: %w", p.PID(), ctx.Err())
	}
}

// CPU waits for the end and returns the processor time of the whole life.
func (p *Process) CPU() time.Duration {
	<-p.ended
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
}

// WaitFor waits until the process has written text, in its whole life so far or from now on.
func (p *Process) WaitFor(ctx context.Context, text string) error {
	seen := p.output.notify(text)
	select {
	case <-seen:
		return nil
	case <-p.ended:
		select { // it may have said it and then ended
		case <-seen:
			return nil
		default:
		}
		return fmt.Errorf("waiting for %q: %w (%v); its last words:\n%s", text, ErrEnded, p.cmd.ProcessState, p.Output())
	case <-ctx.Done():
		return fmt.Errorf("waiting for %q: %w; the last words so far:\n%s", text, ctx.Err(), p.Output())
	}
}

// Kill ends the process as kill -9 does and waits until it is gone. Killing an ended process is no
// error.
func (p *Process) Kill() error {
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.ended
	return nil
}

// Stop asks the process to end and returns its exit code; at the end of ctx it is killed.
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

// Pause stops the process without a word to anybody: its sockets stay open and silent, its clock
// goes on.
func (p *Process) Pause() error { return p.signal(syscall.SIGSTOP) }

// Resume ends a pause.
func (p *Process) Resume() error { return p.signal(syscall.SIGCONT) }

func (p *Process) signal(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("sending %v to process %d: %w", sig, p.PID(), err)
	}
	return nil
}
