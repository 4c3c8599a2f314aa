package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/freeport"
)

// startDemo starts a demo in a directory of the test, on ports that no other test takes: the usual ones belong to whoever
// is first.
func startDemo(t *testing.T, args ...string) *process {
	t.Helper()
	base := freeport.Run(t, 6)
	return startProcess(t, "troupe", nil, append([]string{"demo", "--data-dir=" + t.TempDir() + "/demo", fmt.Sprint("--base-port=", base)}, args...)...)
}

// introduced waits until a demo has said what to try, and returns its endpoints, the leader and the leader's process.
func waitForIntroduction(t *testing.T, p *process) (endpoints, leader string, pid int) {
	t.Helper()
	_, endpoints, _ = strings.Cut(p.waitFor("export TROUPE_ENDPOINTS="), "=")
	kill := regexp.MustCompile(`kill -9 (\d+) +# (\S+)`).FindStringSubmatch(p.waitFor("kill -9"))
	p.waitFor("Ctrl-C ends all of it.")
	if kill == nil {
		t.Fatal("it does not say whom to kill")
	}
	pid, err := strconv.Atoi(kill[1])
	if err != nil {
		t.Fatal(err)
	}
	return endpoints, kill[2], pid
}

// What a stranger does first: start it, write, kill the leader, and go on.
func TestADemoLosesItsLeaderAndNothingElse(t *testing.T) {
	p := startDemo(t)
	endpoints, leader, pid := waitForIntroduction(t, p)
	if n := strings.Count(endpoints, ","); n != 2 {
		t.Fatalf("endpoints %q", endpoints)
	}
	use := func(args ...string) commandResult {
		return runTroupe(t, append(args, "--timeout=60s", "--endpoints="+endpoints)...)
	}
	if got := use("put", "greeting", "hello"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// Unless another led already when it was killed, as may be on a machine that stalls.
	if line := p.waitFor("leads now"); !strings.Contains(line, "ms after "+leader+" died") && strings.Contains(line, "died") {
		t.Errorf("%q", line)
	}
	if got := use("put", "after", "the kill"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := use("get", "--prefix", ""); got.out != "after\nthe kill\ngreeting\nhello\n" {
		t.Fatalf("%+v", got)
	}
	p.waitFor(leader + " is back")
	for deadline := time.Now().Add(patience); ; {
		got := use("status")
		if got.code == 0 && strings.Count(got.out, "follower") == 2 && strings.Count(got.out, "leader") == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v", got)
		}
	}
	p.signal(os.Interrupt)
	if code, last := p.wait(); code != 0 || !strings.HasPrefix(last, "Stopped.") {
		t.Fatalf("code %d, %q", code, last)
	}
	if got := runTroupe(t, "get", "greeting", "--timeout=200ms", "--endpoints="+endpoints); !strings.Contains(got.errs, "no endpoint can be reached") {
		t.Fatalf("members outlived it: %+v", got)
	}
}

func TestADemoFindsItsKeptDataAgain(t *testing.T) {
	dir, base := t.TempDir()+"/demo", freeport.Run(t, 2)
	for _, members := range []string{"--members=1", "--members=0"} {
		args := []string{"demo", "--data-dir=" + dir, members, fmt.Sprint("--base-port=", base)}
		if members == "--members=0" {
			args = args[:2]
		}
		p := startProcess(t, "troupe", nil, args...)
		endpoints, _, _ := waitForIntroduction(t, p)
		if members == "--members=0" {
			if got := runTroupe(t, "get", "kept", "--timeout=60s", "--endpoints="+endpoints); got.out != "kept\nsafe\n" {
				t.Fatalf("%+v", got)
			}
		} else if got := runTroupe(t, "put", "kept", "safe", "--timeout=60s", "--endpoints="+endpoints); got.code != 0 {
			t.Fatalf("%+v", got)
		}
		p.signal(os.Interrupt)
		if code, _ := p.wait(); code != 0 {
			t.Fatalf("code %d", code)
		}
	}
}
