package procs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(Command{Path: "/bin/sh", Args: []string{"-c", script}})
	mustSucceed(t, err)
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func TestWaitForFindsPastAndFutureLines(t *testing.T) {
	p := start(t, "echo early; read wait; echo late")
	for range 2 {
		mustSucceed(t, p.WaitFor(deadline(t), "early"))
	}
	// Standard input is empty, so that `read` returns at once.
	mustSucceed(t, p.WaitFor(deadline(t), "late"))
}

func TestLineInPiecesIsFound(t *testing.T) {
	out, err := newOutput("")
	mustSucceed(t, err)
	seen := out.notify("ready to serve")
	for _, piece := range []string{"re", "ady to", " serve", " now\n"} {
		if _, err := out.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case <-seen:
	default:
		t.Fatal("not found")
	}
}

func TestOutputKeepsLastBytes(t *testing.T) {
	out, err := newOutput("")
	mustSucceed(t, err)
	for range 1000 {
		_, _ = out.Write(append(bytes.Repeat([]byte("x"), 999), '\n'))
	}
	_, _ = out.Write([]byte("the end\n"))
	if kept := out.String(); len(kept) > keptOutputBytes || !strings.HasSuffix(kept, "the end\n") {
		t.Fatalf("%d bytes kept", len(kept))
	}
}

func TestWaitForEndsWithProcess(t *testing.T) {
	p := start(t, "echo something else; exit 3")
	err := p.WaitFor(deadline(t), "never written")
	if !errors.Is(err, ErrEnded) || !strings.Contains(err.Error(), "something else") {
		t.Fatalf("got %v", err)
	}
	if code, err := p.ExitCode(deadline(t)); code != 3 || err != nil {
		t.Fatalf("code %d, %v", code, err)
	}
}

func TestPausedProcessUsesNoCPU(t *testing.T) {
	p := start(t, "trap 'echo stopped; exit 0' TERM; echo begun; while :; do :; done")
	mustSucceed(t, p.WaitFor(deadline(t), "begun"))
	mustSucceed(t, p.Pause())
	before := cpuWhenStopped(t, p)
	after, err := p.Usage()
	mustSucceed(t, err)
	if after.CPU != before {
		t.Fatalf("a paused process used CPU: %v, then %v", before, after.CPU)
	}
	mustSucceed(t, p.Resume())
	if code, err := p.Stop(deadline(t)); code != 0 || err != nil {
		t.Fatalf("code %d, %v", code, err)
	}
}

// cpuWhenStopped waits until the process is stopped and returns its CPU time.
func cpuWhenStopped(t *testing.T, p *Process) time.Duration {
	for ctx := deadline(t); ctx.Err() == nil; {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(p.PID()) + "/stat")
		mustSucceed(t, err)
		if bytes.Contains(stat, []byte(") T ")) {
			u, err := p.Usage()
			mustSucceed(t, err)
			return u.CPU
		}
	}
	t.Fatal("the process did not stop")
	return 0
}

func TestUsageCountsCPU(t *testing.T) {
	const loops = 300_000
	p := start(t, "echo begun; i=0; while [ $i -lt "+strconv.Itoa(loops)+" ]; do i=$((i+1)); done; echo done; exec sleep 60")
	mustSucceed(t, p.WaitFor(deadline(t), "done"))
	u, err := p.Usage()
	mustSucceed(t, err)
	if u.CPU < 20*time.Millisecond || u.ResidentBytes == 0 {
		t.Fatalf("used %+v", u)
	}
}

func TestDeviceWrittenCountsBytes(t *testing.T) {
	file, err := os.CreateTemp(t.TempDir(), "")
	mustSucceed(t, err)
	defer file.Close()
	before, err := DeviceWritten(file.Name())
	if err != nil {
		t.Skipf("no write counter here: %v", err) // a tmpfs has no device
	}
	const size = 1 << 20
	if _, err := file.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	mustSucceed(t, file.Sync())
	after, err := DeviceWritten(file.Name())
	mustSucceed(t, err)
	if after-before < size {
		t.Fatalf("%d bytes counted of %d written", after-before, size)
	}
}

// TestProcessEndsWithItsParent runs this test binary as a program that starts a child
// and is then killed. The child must end too.
func TestProcessEndsWithItsParent(t *testing.T) {
	if os.Getenv("PROCS_TEST_PARENT") != "" {
		p, err := Start(Command{Path: "/bin/sleep", Args: []string{"600"}})
		mustSucceed(t, err)
		_, _ = os.Stdout.WriteString("child " + strconv.Itoa(p.PID()) + " started\n")
		<-p.Ended()
		return
	}
	parent, err := Start(Command{
		Path: os.Args[0],
		Args: []string{"-test.run=^TestProcessEndsWithItsParent$"},
		Env:  []string{"PROCS_TEST_PARENT=1"},
	})
	mustSucceed(t, err)
	mustSucceed(t, parent.WaitFor(deadline(t), "started"))
	_, rest, _ := strings.Cut(parent.Output(), "child ")
	child, _, _ := strings.Cut(rest, " ")
	mustSucceed(t, parent.Kill())
	for ctx := deadline(t); ; {
		state, err := exec.CommandContext(ctx, "ps", "-o", "stat=", "-p", child).Output()
		if err != nil || strings.HasPrefix(strings.TrimSpace(string(state)), "Z") {
			return // ended, or a zombie
		}
		if ctx.Err() != nil {
			t.Fatalf("process %s still runs", child)
		}
	}
}

func TestFreePortsAreReturnedOnce(t *testing.T) {
	seen := make(map[int]bool)
	for range 20 {
		ports, err := FreePorts(3)
		mustSucceed(t, err)
		for _, port := range ports {
			if seen[port] {
				t.Fatalf("port %d returned twice", port)
			}
			seen[port] = true
		}
	}
}

func mustSucceed(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
