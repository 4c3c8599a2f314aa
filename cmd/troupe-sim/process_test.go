package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// build builds the binary; overlay, if any, replaces files of the repository.
func build(t *testing.T, arguments ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "troupe-sim")
	c := exec.Command("go", append(append([]string{"build", "-o", name}, arguments...), ".")...)
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return name
}

// runBinary runs a binary in an environment and returns its exit code and output.
func runBinary(t *testing.T, binary string, environment []string, args ...string) commandResult {
	t.Helper()
	c := exec.CommandContext(t.Context(), binary, args...)
	c.Env = append(os.Environ(), environment...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		t.Fatal(err)
	}
	return commandResult{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// hashLines are the lines of --hashes: seed, target, hash, steps.
var hashLines = regexp.MustCompile(`(?m)^\d+ \S+ [0-9a-f]{16} \d+$`)

// Fifty seeds of all profiles, in two processes of two builds. One has a single thread and collects
// garbage all the time, the other has four and hardly ever does; their maps have different seeds.
// Every step and every byte of every message must be the same.
func TestHistoriesAreEqualInAllProcesses(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary and runs hundreds of worlds twice")
	}
	// The builds differ: protobuf derives the spaces of its text format from the hash of the program.
	binary, stripped := build(t), build(t, "-ldflags=-s -w")
	for _, world := range []struct {
		args   []string
		least  int
		traced [][]string
	}{
		{[]string{"--profile", "all", "--seeds", "1..50"}, 200, [][]string{
			{"--profile", "everything", "--seeds", "1"}, {"--profile", "everything", "--seeds", "2"}, {"--profile", "network", "--seeds", "3"},
		}},
		{[]string{"--scenario", "all", "--seeds", "1..2"}, 30, [][]string{{"--scenario", "figure-8", "--seeds", "1"}}},
	} {
		args := append(world.args, "--hashes", "--keep-going", "--quiet")
		one := runBinary(t, binary, []string{"GOMAXPROCS=1", "GOGC=10"}, append(args, "--workers", "1")...)
		other := runBinary(t, stripped, []string{"GOMAXPROCS=4", "GOGC=800"}, append(args, "--workers", "4")...)
		a, b := hashLines.FindAllString(one.out, -1), hashLines.FindAllString(other.out, -1)
		if len(a) < world.least || len(a) != len(b) {
			t.Fatalf("%v: %d and %d hashes; at least %d were expected\n%s%s", world.args, len(a), len(b), world.least, one.errs, other.errs)
		}
		differ := 0
		for i := range a {
			if a[i] != b[i] {
				if differ++; differ <= 5 {
					t.Errorf("two processes have two histories:\n  %s\n  %s", a[i], b[i])
				}
			}
		}
		for _, flags := range world.traced {
			a, b := traceOf(t, binary, []string{"GOMAXPROCS=1", "GOGC=10"}, flags), traceOf(t, stripped, []string{"GOMAXPROCS=4", "GOGC=800"}, flags)
			if len(a) < 10_000 || !bytes.Equal(a, b) {
				t.Errorf("%v: two processes record %d and %d bytes, and not the same", flags, len(a), len(b))
			}
		}
		t.Logf("%v: %d histories, %d differ", world.args, len(a), differ)
	}
}

func traceOf(t *testing.T, binary string, environment []string, flags []string) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "trace")
	runBinary(t, binary, environment, append(slices.Clone(flags), "--trace", name)...)
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// A leader takes half of the members for a majority: the bug is found, reported, replayed, and
// shrunk, all through the command.
func TestDeliberateBugIsFoundAndShrunk(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the binary with a bug in it")
	}
	binary := build(t, "-overlay", minorityQuorumOverlay(t))
	found := runBinary(t, binary, nil, "--seeds", "1..50", "--profile", "everything", "--shrink", "--shrink-tries", "3", "--shrink-for", "10m")
	checkOutput(t, found, exitFailed, "FAILED  seed ", "invariant ", "seen ", "what led to it:", "more of the last ", "replay ", "SHRUNK ")
	commands := regexp.MustCompile(`replay +go run \./cmd/troupe-sim (.*)\n`).FindAllStringSubmatch(found.out, -1)
	invariants := regexp.MustCompile(`invariant +([^:\n]*)`).FindAllStringSubmatch(found.out, -1)
	if len(commands) != 2 || len(invariants) != 2 {
		t.Fatalf("%d replay commands for %d invariants:\n%s", len(commands), len(invariants), found.out)
	}
	if invariants[0][1] != invariants[1][1] {
		t.Errorf("shrinking changed the invariant from %q to %q", invariants[0][1], invariants[1][1])
	}
	for i, command := range commands {
		again := runBinary(t, binary, nil, append(strings.Fields(command[1]), "--quiet")...)
		printed := "FAILED" + strings.SplitN(strings.SplitN(found.out, "FAILED", 3)[i+1], "replay ", 2)[0]
		checkOutput(t, again, exitFailed, invariants[i][1])
		if !strings.HasPrefix(again.out, printed) {
			t.Errorf("%s reports something else than the first run:\n%s\nfirst:\n%s", command[1], again.out, printed)
		}
	}
}

// minorityQuorumOverlay is an overlay in which entries on less than a majority count as committed.
func minorityQuorumOverlay(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs("../../raft/quorum.go")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(source)
	if err != nil {
		t.Fatal(err)
	}
	const right, wrong = "return sorted[len(m)/2]", "return sorted[max(0, len(m)/2-1)]"
	if bytes.Count(text, []byte(right)) != 1 {
		t.Fatalf("%s does not have %q: the deliberate bug has no place", source, right)
	}
	changed, overlay := filepath.Join(t.TempDir(), "quorum.go"), filepath.Join(t.TempDir(), "overlay.json")
	replace, err := json.Marshal(map[string]map[string]string{"Replace": {source: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{changed: bytes.Replace(text, []byte(right), []byte(wrong), 1), overlay: replace} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return overlay
}
