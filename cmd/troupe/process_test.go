package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/freeport"
)

// testTimeout limits the wait for an event; a test that reaches it fails.
const testTimeout = 2 * time.Minute

// process is the program as a process of its own.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.WriteCloser

	mu      sync.Mutex
	lines   []string
	changed chan struct{} // closed and replaced with each line and at the end
	ended   bool
}

// startProcess starts the program under a name, with environment variables and arguments.
func startProcess(t *testing.T, name string, environment []string, args ...string) *process {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startCommand(t, exec.Command(binary, args...), name, environment)
}

// startCommand starts a command that runs the program, perhaps through another program.
func startCommand(t *testing.T, cmd *exec.Cmd, name string, environment []string) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, changed: make(chan struct{})}
	p.cmd.Env = append(append(os.Environ(), runAsProgram+"="+name), environment...)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stdout, p.cmd.Stderr = write, write
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = write.Close()
	go p.read(read)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		if t.Failed() {
			t.Logf("output of %s %q:\n%s", name, cmd.Args[1:], p.output())
		}
	})
	return p
}

func (p *process) read(from io.Reader) {
	scanner := bufio.NewScanner(from)
	for scanner.Scan() {
		p.update(func() { p.lines = append(p.lines, scanner.Text()) })
	}
	p.update(func() { p.ended = true })
}

func (p *process) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// waitFor waits for a line that contains text and returns it.
func (p *process) waitFor(text string) string {
	p.t.Helper()
	deadline := time.After(testTimeout)
	for seen := 0; ; {
		p.mu.Lock()
		for ; seen < len(p.lines); seen++ {
			if strings.Contains(p.lines[seen], text) {
				line := p.lines[seen]
				p.mu.Unlock()
				return line
			}
		}
		ended, changed := p.ended, p.changed
		p.mu.Unlock()
		if ended {
			p.t.Fatalf("the process ended without a line that contains %q", text)
		}
		select {
		case <-changed:
		case <-deadline:
			p.t.Fatalf("no line contains %q", text)
		}
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end of the process and returns its exit code and its last line.
func (p *process) wait() (code int, last string) {
	p.t.Helper()
	deadline := time.After(testTimeout)
	for {
		p.mu.Lock()
		ended, changed := p.ended, p.changed
		if len(p.lines) > 0 {
			last = p.lines[len(p.lines)-1]
		}
		p.mu.Unlock()
		if ended {
			_ = p.cmd.Wait()
			return p.cmd.ProcessState.ExitCode(), last
		}
		select {
		case <-changed:
		case <-deadline:
			p.t.Fatal("the process does not end")
		}
	}
}

// singleMember is a cluster of one member.
type singleMember struct {
	t        *testing.T
	endpoint string
	dataDir  string
	flags    []string
}

func newSingleMember(t *testing.T) *singleMember {
	t.Helper()
	ports := freeport.Take(t, 2)
	s := &singleMember{t: t, endpoint: fmt.Sprintf("127.0.0.1:%d", ports[0]), dataDir: t.TempDir() + "/data"}
	s.flags = []string{
		"--name=one", "--data-dir=" + s.dataDir, "--listen-client-urls=http://" + s.endpoint,
		fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", ports[1]),
		// Longer than the stalls of a loaded machine and its disk, so that the member stays leader. Its
		// first election does not wait for it.
		"--election-timeout=5000",
	}
	return s
}

// launch starts the member with additional flags.
func (s *singleMember) launch(flags ...string) *process {
	s.t.Helper()
	return startProcess(s.t, "troupe", nil, append(append([]string{"server"}, s.flags...), flags...)...)
}

// start starts the member and waits until it serves.
func (s *singleMember) start(flags ...string) *process {
	s.t.Helper()
	p := s.launch(flags...)
	p.waitFor(`"msg":"ready to serve client requests"`)
	return p
}

// client runs a client command, which must succeed, and returns its output.
func (s *singleMember) client(args ...string) string {
	s.t.Helper()
	return s.clientWith("", args...)
}

func (s *singleMember) clientWith(in string, args ...string) string {
	s.t.Helper()
	got := runCommand(s.t, in, append([]string{"troupe", args[0], "--endpoints=" + s.endpoint, "--timeout=60s"}, args[1:]...)...)
	if got.code != 0 {
		s.t.Fatalf("%q: code %d: %s", args, got.code, got.errs)
	}
	return got.out
}

// scrape returns the body of an HTTP response. It repeats the request until there is one: the
// server may not have noticed yet that other connections were closed.
func scrape(t *testing.T, url string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			text, err := io.ReadAll(response.Body)
			_ = response.Body.Close()
			if err == nil && response.StatusCode == http.StatusOK {
				return string(text)
			}
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// openConnection connects and sends text. The server may close the connection at any time.
func openConnection(t *testing.T, address, text string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_, _ = io.WriteString(c, text)
	return c
}
