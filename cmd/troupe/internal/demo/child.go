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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
)

// child is a member over all the processes it lives through.
type child struct {
	member Member
	binary string
	tell   func(event)

	// lines are what the present process writes.
	lines *lineWriter
}

// event is what happened to a member.
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
	noted // a line of its log that is worth seeing
	died
	gaveUp // it cannot be started; text says why
)

// restartPause leaves time to see that the others go on alone.
const restartPause = 2 * time.Second

// stopTime is what a process has to end when it is asked to.
const stopTime = 10 * time.Second

// run keeps the member alive until the context ends; then it stops its process and returns.
func (c *child) run(ctx context.Context, restart bool) {
	for {
		code, err := c.runOnce(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			c.report(gaveUp, 0, err.Error())
			return
		case isPermanent(code):
			c.report(gaveUp, 0, c.lines.lastLine())
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

// hopeless are the ends after which another start would end the same way.
func isPermanent(code int) bool {
	switch exit.Code(code) {
	case exit.Usage, exit.DataDir, exit.Address, exit.Certificate:
		return true
	}
	return false
}

// life is one process from start to end. It returns the exit code, -1 for one that was killed.
func (c *child) runOnce(ctx context.Context) (code int, err error) {
	file, err := os.OpenFile(c.member.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, fmt.Errorf("its log file: %w", err)
	}
	defer file.Close()
	cmd := exec.Command(c.binary, c.member.Args...)
	c.lines = &lineWriter{file: file, show: func(kind eventKind, text string) { c.report(kind, cmd.Process.Pid, text) }}
	cmd.Stdout, cmd.Stderr = c.lines, c.lines
	// Ctrl-C goes to the whole process group of the terminal: only the demo itself shall hear it, and stop its members in
	// order. That they end with it, however it ends, is what the pipe to their standard input is for.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	leash, err := cmd.StdinPipe()
	if err != nil {
		return 0, fmt.Errorf("starting a process: %w", err)
	}
	defer leash.Close()
	c.lines.mu.Lock() // nothing is shown before the process is known
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
		_ = leash.Close()
		select {
		case <-ended:
		case <-time.After(stopTime):
			_ = cmd.Process.Kill()
			<-ended
		}
		return 0, nil
	}
	c.report(died, cmd.Process.Pid, cmd.ProcessState.String())
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return 0, fmt.Errorf("waiting for its process: %w", err)
	}
	return cmd.ProcessState.ExitCode(), nil
}

func (c *child) report(kind eventKind, pid int, text string) {
	c.tell(event{c.member.Name, kind, pid, text, time.Now()})
}

// lines writes a process's output to its log file, and shows what a person at the terminal should see of it: that it is
// ready, warnings, errors, and what is no log line at all (its last words).
type lineWriter struct {
	show func(kind eventKind, text string)

	mu      sync.Mutex
	file    io.Writer
	partial []byte
	latest  string
}

// readyLine is what a server logs when it serves; it stands in the API of the server, so to speak: test suites wait for it.
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
			l.show(noted, line)
		}
		return
	}
	message, _ := fields["msg"].(string)
	_, ofPeer := fields["peer"]
	switch level := fields["level"]; {
	case strings.Contains(message, readyLine):
		l.show(ready, "")
	case ofPeer && level == "warn":
		// That a member lost another is no news here: the demo tells itself who died.
	case level == "warn" || level == "error":
		if cause, ok := fields["error"].(string); ok {
			message += ": " + cause
		}
		l.show(noted, fmt.Sprintf("%s: %s", level, message))
	}
}

// last is the last line that was not a log line: why a process ended.
func (l *lineWriter) lastLine() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latest
}
