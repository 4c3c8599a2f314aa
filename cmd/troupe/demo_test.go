package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// introduced waits until a demo has said what to try, and returns its endpoints, the leader and the leader's process.
func introduced(t *testing.T, p *process) (endpoints, leader string, pid int) {
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
	p := begin(t, "troupe", nil, "demo", "--data-dir="+t.TempDir()+"/demo")
	endpoints, leader, pid := introduced(t, p)
	if n := strings.Count(endpoints, ","); n != 2 {
		t.Fatalf("endpoints %q", endpoints)
	}
	use := func(args ...string) ran { return troupe(t, append(args, "--timeout=20s", "--endpoints="+endpoints)...) }
	if got := use("put", "greeting", "hello"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if line := p.waitFor("leads now"); !strings.Contains(line, "ms after "+leader+" died") {
		t.Errorf("%q", line)
	}
	if got := use("put", "after", "the kill"); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	if got := use("get", "--prefix", ""); got.out != "after\nthe kill\ngreeting\nhello\n" {
		t.Fatalf("%+v", got)
	}
	p.waitFor(leader + " is back")
	if got := use("status"); got.code != 0 || strings.Count(got.out, "follower") != 2 || strings.Count(got.out, "leader") != 1 {
		t.Fatalf("%+v", got)
	}
	p.signal(os.Interrupt)
	if code, last := p.end(); code != 0 || !strings.HasPrefix(last, "Stopped.") {
		t.Fatalf("code %d, %q", code, last)
	}
	if got := troupe(t, "get", "greeting", "--timeout=200ms", "--endpoints="+endpoints); !strings.Contains(got.errs, "no endpoint can be reached") {
		t.Fatalf("members outlived it: %+v", got)
	}
}

func TestADemoFindsItsKeptDataAgain(t *testing.T) {
	dir := t.TempDir() + "/demo"
	for _, members := range []string{"--members=1", "--members=0"} {
		args := []string{"demo", "--data-dir=" + dir, members}
		if members == "--members=0" {
			args = args[:2]
		}
		p := begin(t, "troupe", nil, args...)
		endpoints, _, _ := introduced(t, p)
		if members == "--members=0" {
			if got := troupe(t, "get", "kept", "--endpoints="+endpoints); got.out != "kept\nsafe\n" {
				t.Fatalf("%+v", got)
			}
		} else if got := troupe(t, "put", "kept", "safe", "--endpoints="+endpoints); got.code != 0 {
			t.Fatalf("%+v", got)
		}
		p.signal(os.Interrupt)
		if code, _ := p.end(); code != 0 {
			t.Fatalf("code %d", code)
		}
	}
}
