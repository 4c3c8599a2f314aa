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

// startDemo starts a demo in a temporary directory, on ports that no other test uses.
func startDemo(t *testing.T, args ...string) *process {
	t.Helper()
	base := freeport.Run(t, 6)
	return startProcess(t, "troupe", nil, append([]string{"demo", "--data-dir=" + t.TempDir() + "/demo", fmt.Sprint("--base-port=", base)}, args...)...)
}

// waitForIntroduction waits until a demo has printed its introduction, and returns its endpoints,
// the leader and the leader's process id.
func waitForIntroduction(t *testing.T, p *process) (endpoints, leader string, pid int) {
	t.Helper()
	_, endpoints, _ = strings.Cut(p.waitFor("export TROUPE_ENDPOINTS="), "=")
	kill := regexp.MustCompile(`kill -9 (\d+) +# (\S+)`).FindStringSubmatch(p.waitFor("kill -9"))
	p.waitFor("Ctrl-C stops the demo.")
	if kill == nil {
		t.Fatal("no command to kill the leader")
	}
	pid, err := strconv.Atoi(kill[1])
	if err != nil {
		t.Fatal(err)
	}
	return endpoints, kill[2], pid
}

// The session that the demo suggests: write, kill the leader, write again.
func TestDemoContinuesAfterLeaderIsKilled(t *testing.T) {
	p := startDemo(t)
	endpoints, leader, pid := waitForIntroduction(t, p)
	if n := strings.Count(endpoints, ","); n != 2 {
		t.Fatalf("endpoints %q", endpoints)
	}
	command := func(args ...string) commandResult {
		return runTroupe(t, append(args, "--timeout=60s", "--endpoints="+endpoints)...)
	}
	if got := command("put", "greeting", "hello"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// On a machine that stalls, another member may lead already when the leader is killed.
	if line := p.waitFor("is the leader"); !strings.Contains(line, "ms after "+leader+" ended") && strings.Contains(line, "ended") {
		t.Errorf("%q", line)
	}
	if got := command("put", "after", "the kill"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := command("get", "--prefix", ""); got.out != "after\nthe kill\ngreeting\nhello\n" {
		t.Fatalf("%+v", got)
	}
	p.waitFor(leader + " serves clients again")
	for deadline := time.Now().Add(testTimeout); ; {
		got := command("status")
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
		t.Fatalf("members run after the demo ended: %+v", got)
	}
}

func TestDemoReusesItsDataDirectory(t *testing.T) {
	dir, base := t.TempDir()+"/demo", freeport.Run(t, 2)
	for _, members := range []string{"--members=1", "--members=0"} {
		args := []string{"demo", "--data-dir=" + dir, members, fmt.Sprint("--base-port=", base)}
		if members == "--members=0" {
			args = args[:2]
		}
		// Settings for one server, which would end all members.
		p := startProcess(t, "troupe", []string{"TROUPE_VERSION=1", "ETCD_LISTEN_METRICS_URLS=nonsense", "TROUPE_CONFIG_FILE=/nowhere"}, args...)
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
