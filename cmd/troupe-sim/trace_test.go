package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

func TestHistoryIsRecordedAndExplained(t *testing.T) {
	file, page := filepath.Join(t.TempDir(), "trace"), filepath.Join(t.TempDir(), "page.html")
	checkOutput(t, runCommand(t, simulator(), "--scenario", "initial-election", "--trace", file), exitOK,
		"the history of seed 1 of initial-election", "--explain "+file)
	whole := runCommand(t, simulator(), "--explain", file)
	checkOutput(t, whole, exitOK, "scenario initial-election, seed 1, 3 nodes", "leader")
	all := runCommand(t, simulator(), "--explain", file, "--all")
	part := runCommand(t, simulator(), "--explain", file, "--from", "500ms", "--to", "2s")
	if len(all.out) <= len(whole.out) || len(part.out) >= len(whole.out) {
		t.Errorf("all is %d bytes, the usual %d, a part %d", len(all.out), len(whole.out), len(part.out))
	}
	checkOutput(t, runCommand(t, simulator(), "--explain", file, "--html", page), exitOK, page+" is written")
	html, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(html), "initial-election") {
		t.Errorf("the page is %d bytes, %v", len(html), err)
	}
}

func TestTheFailingHistoryIsRecorded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	th := fakeRunner(neverFails)
	// Real worlds of which one is reported as failed.
	th.runProfile = func(o world.Options) *world.Result {
		r := world.Run(o)
		r.Failure = failsAt(3)(o)
		return r
	}
	r := runCommand(t, th, "--seeds", "1..5", "--steps", "200", "--trace", file)
	checkOutput(t, r, exitFailed, "is the history of seed 3 of everything")
	checkOutput(t, runCommand(t, th, "--explain", file), exitOK, "seed 3")
}

func TestRecordOfAnotherHistoryIsRefused(t *testing.T) {
	file, plays := filepath.Join(t.TempDir(), "trace"), uint64(0)
	th := fakeRunner(neverFails)
	made := th.runProfile
	th.runProfile = func(o world.Options) *world.Result {
		r := made(o)
		plays++
		r.Hash += plays
		return r
	}
	checkOutput(t, runCommand(t, th, "--seeds", "1", "--trace", file), exitFailed, "the simulator is not deterministic")
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) > 0 {
		t.Errorf("%v was left behind", left)
	}
}

func TestUnusableTraceFilesAreReported(t *testing.T) {
	dir := t.TempDir()
	foreign, cut := filepath.Join(dir, "foreign"), filepath.Join(dir, "cut")
	if err := os.WriteFile(foreign, []byte("hello\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkOutput(t, runCommand(t, simulator(), "--seeds", "1", "--steps", "200", "--trace", cut), exitOK)
	whole, err := os.ReadFile(cut)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	short, older := filepath.Join(dir, "short"), filepath.Join(dir, "older")
	for name, content := range map[string]string{
		cut: string(whole[:len(whole)/2]) + "\n{", short: strings.Join(lines[:len(lines)/2], ""),
		older: strings.Replace(string(whole), `"version":2`, `"version":1`, 1),
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
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
		{[]string{"--explain", short}, "the trace has no end"},
		{[]string{"--seeds", "1", "--trace", dir}, "it is a folder; name a file in it"},
		{[]string{"--explain", older}, "it is of version 1, this program reads version 2"},
		{[]string{"--explain", cut, "--html", filepath.Join(dir, "absent", "page")}, "no such file"},
	} {
		r := runCommand(t, simulator(), c.args...)
		if r.code != exitFile || !strings.Contains(r.errs, c.says) {
			t.Errorf("%v: exit code %d: %s", c.args, r.code, r.errs)
		}
	}
}

// Options that show nothing are an error, which lists what there is.
func TestOptionsThatShowNothingAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "trace")
	checkOutput(t, runCommand(t, simulator(), "--scenario", "initial-election", "--seeds", "1", "--trace", file), exitOK)
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--only", "RequestVoet"}, `is called "RequestVoet" (did you mean RequestVote?); its kinds of event are `},
		{[]string{"--only", "note,rain"}, `is called "rain"; its kinds`},
		{[]string{"--only", "rain"}, "its messages, faults and operations are Append, "},
		{[]string{"--from", "100h"}, "--from 100h is behind the end: "},
		{[]string{"--from", "1000000"}, "goes from step "},
		{[]string{"--to", "0"}, "nothing is before it"},
		{[]string{"--from", "40", "--to", "20"}, "--from 40 is behind --to 20: nothing is in between"},
		{[]string{"--from", "600ms", "--to", "500ms"}, "--from 600ms is behind --to 500ms"},
		{[]string{"--only", "LinkUp", "--from", "1s"}, "nothing to show"},
	} {
		r := runCommand(t, simulator(), append([]string{"--explain", file}, c.args...)...)
		if r.code != exitUsage || !strings.Contains(r.errs, c.says) || r.out != "" {
			t.Errorf("%v: exit code %d: %s%s", c.args, r.code, r.errs, r.out)
		}
	}
	for _, only := range []string{"RequestVote", "applied", "send", "Recovered", "state,note"} {
		if r := runCommand(t, simulator(), "--explain", file, "--only", only); r.code != exitOK || len(strings.Split(r.out, "\n")) < 10 {
			t.Errorf("--only %s: exit code %d: %s%s", only, r.code, r.errs, r.out)
		}
	}
}

// A page that cannot be made does not replace an existing file.
func TestFailedPageKeepsTheFile(t *testing.T) {
	file, page := filepath.Join(t.TempDir(), "trace"), filepath.Join(t.TempDir(), "page.html")
	checkOutput(t, runCommand(t, simulator(), "--scenario", "initial-election", "--seeds", "1", "--trace", file), exitOK)
	if err := os.WriteFile(page, []byte("a page"), 0o600); err != nil {
		t.Fatal(err)
	}
	checkOutput(t, runCommand(t, simulator(), "--explain", file, "--only", "rain", "--html", page), exitUsage, `"rain"`)
	checkOutput(t, runCommand(t, simulator(), "--explain", page, "--html", page), exitUsage, "is the trace itself")
	checkOutput(t, runCommand(t, simulator(), "--explain", file, "--html", file), exitUsage, "is the trace itself")
	if is, err := os.ReadFile(page); err != nil || string(is) != "a page" {
		t.Errorf("the page is now %q, %v", is, err)
	}
	checkOutput(t, runCommand(t, simulator(), "--explain", file), exitOK, "leader")
}
