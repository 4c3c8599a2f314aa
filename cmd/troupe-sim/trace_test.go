package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/tests/sim"
)

func TestAHistoryIsRecordedAndExplained(t *testing.T) {
	file, page := filepath.Join(t.TempDir(), "trace"), filepath.Join(t.TempDir(), "page.html")
	mustHold(t, command(t, simulator(), "--scenario", "initial-election", "--trace", file), exitOK,
		"the history of seed 1 of initial-election", "--explain "+file)
	whole := command(t, simulator(), "--explain", file)
	mustHold(t, whole, exitOK, "scenario initial-election, seed 1, 3 nodes", "leader")
	all := command(t, simulator(), "--explain", file, "--all")
	part := command(t, simulator(), "--explain", file, "--from", "500ms", "--to", "2s")
	if len(all.out) <= len(whole.out) || len(part.out) >= len(whole.out) {
		t.Errorf("all is %d bytes, the usual %d, a part %d", len(all.out), len(whole.out), len(part.out))
	}
	mustHold(t, command(t, simulator(), "--explain", file, "--html", page), exitOK, page+" is written")
	html, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(html), "initial-election") {
		t.Errorf("the page is %d bytes, %v", len(html), err)
	}
}

func TestTheFailureIsRecordedNotTheCleanSeedsBeforeIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	th := stage(never)
	th.run = func(o sim.Options) *sim.Result { // real worlds of which one is said to have failed
		r := sim.Run(o)
		r.Failure = at(3)(o)
		return r
	}
	r := command(t, th, "--seeds", "1..5", "--steps", "200", "--trace", file)
	mustHold(t, r, exitFailed, "is the history of seed 3 of everything")
	mustHold(t, command(t, th, "--explain", file), exitOK, "seed 3")
}

func TestARecordOfAnotherHistoryIsRefused(t *testing.T) {
	file, plays := filepath.Join(t.TempDir(), "trace"), uint64(0)
	th := stage(never)
	made := th.run
	th.run = func(o sim.Options) *sim.Result {
		r := made(o)
		plays++
		r.Hash += plays
		return r
	}
	mustHold(t, command(t, th, "--seeds", "1", "--trace", file), exitFailed, "the simulator is not deterministic")
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) > 0 {
		t.Errorf("%v was left behind", left)
	}
}

func TestTracesThatCannotBeReadOrWrittenAreTold(t *testing.T) {
	dir := t.TempDir()
	foreign, cut := filepath.Join(dir, "foreign"), filepath.Join(dir, "cut")
	if err := os.WriteFile(foreign, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mustHold(t, command(t, simulator(), "--seeds", "1", "--steps", "200", "--trace", cut), exitOK)
	whole, err := os.ReadFile(cut)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cut, append(whole[:len(whole)/2], "\n{"...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--explain", filepath.Join(dir, "absent")}, "no such file"},
		{[]string{"--explain", dir}, "is a directory"},
		{[]string{"--explain", foreign}, "not a trace"},
		{[]string{"--explain", cut}, "damaged at line"},
		{[]string{"--seeds", "1", "--trace", filepath.Join(dir, "absent", "trace")}, "its folder cannot be written to: no such file"},
		{[]string{"--explain", foreign, "--html", filepath.Join(dir, "absent", "page")}, "no such file"},
	} {
		r := command(t, simulator(), c.args...)
		if r.code != exitFile || !strings.Contains(r.errs, c.says) {
			t.Errorf("%v: exit code %d: %s", c.args, r.code, r.errs)
		}
	}
}
