package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

// child runs the processes of a member, one after the other.
type child struct {
	member Member
	binary string
	send   func(event)

	lines *lineWriter // the output of the current process
}

// event is an event of a member's process.
type event struct {
	member string
	kind   eventKind
	pid    int
	text   string
	at     time.Time
}

type eventKind int

const (
	started eventKind = iota
	ready
	logged // text is a line of its log to show
	exited // text is the state of the process
	failed // it cannot be started; text says why
)

// restartPause gives the user time to see that the other members continue.
const restartPause = 2 * time.Second

// stopTimeout limits the time of a process to stop before it is killed.
const stopTimeout = 10 * time.Second

// run starts the member, and again when its process ends if restart is true, until the context
// ends. Then it stops the process and returns.
func (c *child) run(ctx context.Context, restart bool) {
	for {
		code, err := c.runOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.report(failed, 0, err.Error())
			return
		case isPermanent(code):
			c.report(failed, 0, c.lines.lastLine())
			return
		case !restart:
			return
		}
		select {
		case <-time.After(restartPause):
		case <-ctx.Done():
			return
		}
	}
}

// isPermanent reports whether a process that ended with this code would end so at every start.
func isPermanent(code int) bool {
	switch exit.Code(code) {
	case exit.Usage, exit.DataDir, exit.Address, exit.Certificate, exit.Replaced:
		return true
	}
	return false
}

// memberEnvironment leaves out the variables that set up a server or connect one to a service
// manager: the members of a demo have all settings on their command lines, and one that is meant
// for a single server would be the same for all.
func memberEnvironment(environment []string) []string {
	return slices.DeleteFunc(environment, func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		return settings.IsVariable(name) || name == "NOTIFY_SOCKET" || name == "WATCHDOG_USEC" || name == "WATCHDOG_PID"
	})
}

// runOnce runs one process until it ends. It returns the exit code, -1 if a signal ended it.
func (c *child) runOnce(ctx context.Context) (code int, err error) {
	file, err := os.OpenFile(c.member.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("opening its log file: %w", err)
	}
	defer file.Close()
	cmd := exec.Command(c.binary, c.member.Args...)
	cmd.Env = memberEnvironment(os.Environ())
	c.lines = &lineWriter{file: file, show: func(kind eventKind, text string) { c.report(kind, cmd.Process.Pid, text) }}
	cmd.Stdout, cmd.Stderr = c.lines, c.lines
	// A terminal sends Ctrl-C to its whole process group. With groups of their own the members do not
	// receive it, and the demo stops them in order. The pipe to their standard input stops them when
	// the demo itself is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return 0, fmt.Errorf("starting a process: %w", err)
	}
	defer stdin.Close()
	c.lines.mu.Lock() // show needs cmd.Process
	err = cmd.Start()
	c.lines.mu.Unlock()
	if err != nil {
		return 0, fmt.Errorf("starting a process: %w", err)
	}
	c.report(started, cmd.Process.Pid, "")
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = stdin.Close()
		select {
		case <-ended:
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			<-ended
		}
		return 0, nil
	}
	c.report(exited, cmd.Process.Pid, cmd.ProcessState.String())
	var nonZero *exec.ExitError
	if err != nil && !errors.As(err, &nonZero) {
		return 0, fmt.Errorf("waiting for its process: %w", err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

func (c *child) report(kind eventKind, pid int, text string) {
	c.send(event{c.member.Name, kind, pid, text, time.Now()})
}

// lineWriter writes a process's output to its log file and shows some of its lines: that the member
// is ready, warnings and errors without those about peers, and lines that are not JSON, for
// instance the error with which the process ended.
type lineWriter struct {
	show func(kind eventKind, text string)

	mu      sync.Mutex
	file    io.Writer
	partial []byte // the begun line
	latest  string // the latest line that is not JSON
}

// readyLine is the message that a server logs once it serves clients.
const readyLine = "ready to serve client requests"

func (l *lineWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.file.Write(p); err != nil {
		return 0, err
	}
	l.partial = append(l.partial, p...)
	for {
		end := bytes.IndexByte(l.partial, '\n')
		if end < 0 {
			return len(p), nil
		}
		l.addLine(string(l.partial[:end]))
		l.partial = l.partial[end+1:]
	}
}

func (l *lineWriter) addLine(line string) {
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		if line = strings.TrimSpace(line); line != "" {
			l.latest = line
			l.show(logged, line)
		}
		return
	}
	message, _ := fields["msg"].(string)
	_, ofPeer := fields["peer"]
	switch level := fields["level"]; {
	case strings.Contains(message, readyLine):
		l.show(ready, "")
	case ofPeer && level == "warn":
		// The demo reports itself which member ended.
	case level == "warn" || level == "error":
		if cause, ok := fields["error"].(string); ok {
			message += ": " + cause
		}
		l.show(logged, fmt.Sprintf("%s: %s", level, message))
	}
}

// lastLine returns the latest line that is not JSON: the reason why a process ended.
func (l *lineWriter) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest
}
