package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/checker"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

func checkOutput(t *testing.T, r commandResult, code int, parts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d", r.code, code)
	}
	for _, part := range parts {
		if !strings.Contains(r.out+r.errs, part) {
			t.Errorf("%q is missing", part)
		}
	}
	if t.Failed() {
		t.Logf("stdout:\n%s\nstderr:\n%s", r.out, r.errs)
	}
}

func TestCleanSeedsEndWithASummary(t *testing.T) {
	r := runCommand(t, simulator(), "--seeds", "1..16", "--profile", "all", "--steps", "300")
	checkOutput(t, r, exitOK, "seeds ", "1..16", "calm, network,", "failures      none", "kill ", "virtual time", "put ", "answered ", "members")
}

func TestFailureNamesSeedInvariantAndReplay(t *testing.T) {
	r := runCommand(t, fakeRunner(failsAt(7, 9)), "--seeds", "1..20", "--nodes", "3", "--steps", "500", "--without", "kill,crash", "--fault-limit", "8")
	checkOutput(t, r, exitFailed, "FAILED  seed 7, profile everything, 3 members, step 77, at 1.5s", "log matching: an entry",
		"two entries at index 3", "1/log  Append", "failures      1: log matching (1: 7)",
		"replay    go run ./cmd/troupe-sim --seeds 7 --profile everything --nodes 3 --steps 500 --without kill,crash --fault-limit 8\n")
	if strings.Contains(r.out, "seed 9") || !strings.Contains(r.out, "7 of 20") {
		t.Errorf("it continued after the first failure:\n%s", r.out)
	}
	if strings.Contains(r.errs, "troupe-sim:") {
		t.Errorf("a failure was reported twice: %s", r.errs)
	}
}

// The replay command of a failure is parsed into the same options.
func TestReplayCommandHasTheSameOptions(t *testing.T) {
	var played world.Options
	th := fakeRunner(func(o world.Options) *world.Failure {
		played = o
		return failsAt(o.Seed)(o)
	})
	for _, flags := range [][]string{
		{}, {"--profile", "crashes"}, {"--nodes", "5", "--clients", "2", "--steps", "123"}, {"--without", "cut,pause", "--fault-limit", "3"},
	} {
		r := runCommand(t, th, append([]string{"--seeds", "42"}, flags...)...)
		first := played
		line := regexp.MustCompile(`replay +go run \./cmd/troupe-sim (.*)\n`).FindStringSubmatch(r.out)
		if line == nil {
			t.Fatalf("no replay command:\n%s", r.out)
		}
		runCommand(t, th, strings.Fields(line[1])...)
		if fmt.Sprint(played) != fmt.Sprint(first) {
			t.Errorf("%v: ran %+v, replayed %+v", flags, first, played)
		}
	}
}

func TestKeepGoingReportsAllFailures(t *testing.T) {
	r := runCommand(t, fakeRunner(failsAt(3, 5, 19)), "--seeds", "1..20", "--keep-going")
	checkOutput(t, r, exitFailed, "seed 3,", "seed 5,", "seed 19,", "20 of 20", "failures      3: log matching (3: 3 5 19)")
}

// Later seeds may run before an earlier one has failed; they are not reported.
func TestReportDoesNotDependOnWorkers(t *testing.T) {
	untimed := regexp.MustCompile(`messages .*|virtual time .*`)
	for _, flags := range [][]string{{}, {"--keep-going"}} {
		var first string
		for _, workers := range []string{"1", "2", "7", "64"} {
			args := append([]string{"--seeds", "1..300", "--hashes", "--workers", workers}, flags...)
			r := runCommand(t, fakeRunner(failsAt(150, 151, 290)), args...)
			if printed := untimed.ReplaceAllString(r.out, ""); first == "" {
				first = printed
			} else if printed != first {
				t.Errorf("%v: %s workers report\n%s\none reports\n%s", flags, workers, printed, first)
			}
		}
	}
}

// Concurrent worlds share actor systems and nothing else.
func TestConcurrentWorldsEqualSequentialOnes(t *testing.T) {
	args := []string{"--profile", "all", "--seeds", "1..6", "--steps", "600", "--hashes", "--keep-going"}
	one, four := runCommand(t, simulator(), append(args, "--workers", "1")...), runCommand(t, simulator(), append(args, "--workers", "4")...)
	a, b := hashLines.FindAllString(one.out, -1), hashLines.FindAllString(four.out, -1)
	if len(a) != 6*len(simulator().profiles) || !slices.Equal(a, b) {
		t.Errorf("one worker has\n%s\nfour have\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
}

func TestInterruptedRunReportsAndFails(t *testing.T) {
	checkOutput(t, runInterrupted(t, fakeRunner(neverFails), "--seeds", "1..1000"), exitStopped, "histories", "interrupted after 0 of 1,000")
}

func TestSimulatorPanicFailsItsSeed(t *testing.T) {
	th := fakeRunner(func(o world.Options) *world.Failure {
		if o.Seed == 2 {
			panic("index out of range")
		}
		return nil
	})
	checkOutput(t, runCommand(t, th, "--seeds", "1..3"), exitFailed, "seed 2", simulatorInvariant, "index out of range", "--seeds 2 ")
}

func TestWrongFlagsAreRefusedBeforeAnyRun(t *testing.T) {
	var played atomic.Int64
	th := fakeRunner(func(world.Options) *world.Failure { played.Add(1); return nil })
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--seeds", "9..3"}, "the last seed is below the first; try 3..9"},
		{[]string{"--seeds", "a..3"}, `"a" is not a seed`},
		{[]string{"--seeds", "1.."}, `"" is not a seed`},
		{[]string{"--seeds", "-4"}, "is not a seed"},
		{[]string{"--seeds", "fresh:0"}, "is not a number of seeds"},
		{[]string{"--seeds", "0..18446744073709551615"}, "at once"},
		{[]string{"--seeds", "fresh"}, "say how many (fresh:1000) or for how long (--for 1m)"},
		{[]string{"--for", "-1s"}, "--for is -1s"},
		{[]string{"--profile", "storm"}, `no "storm"; there are calm, network,`},
		{[]string{"--profile", "Netwrok"}, `no "Netwrok" (did you mean network?)`},
		{[]string{"--profile", "all,calm"}, `all must be the only one`},
		{[]string{"--profile", ""}, "--profile is given and empty"},
		{[]string{"--scenario", ""}, "--scenario is given and empty"},
		{[]string{"--trace", ""}, "--trace is given and empty"},
		{[]string{"--list", "--seeds", "1"}, "--seeds does not go with --list"},
		{[]string{"--scenario", "no-election"}, `no "no-election" (did you mean `},
		{[]string{"--scenario", "transfer", "--nodes", "5"}, "--nodes does not go with --scenario"},
		{[]string{"--shrink", "--shrink-for", "-1s"}, "--shrink-for is -1s"},
		{[]string{"--shrink-tries", "5"}, "it goes with --shrink"},
		{[]string{"--without", "rain"}, `"rain"; there are kill, stop,`},
		{[]string{"--without", "kil"}, `"kil" (did you mean kill?)`},
		{[]string{"--nodes", "0"}, "--nodes is 0"},
		{[]string{"--workers", "-1"}, "--workers is -1"},
		{[]string{"--steps", "0"}, "--steps is 0"},
		{[]string{"--html", "x"}, "--html is for showing a trace: name one with --explain FILE"},
		{[]string{"--explain", "x", "--seeds", "1"}, "--seeds does not go with --explain"},
		{[]string{"--explain", "x", "--from", "noon"}, `--from is "noon": use a step (1200) or a virtual time (3.5s)`},
		{[]string{"--explain", "x", "--to", "-3s"}, `--to is "-3s": use a step`},
		{[]string{"--explain", "x", "--only", ""}, "--only is given and empty"},
		{[]string{"--explain", "x", "--width", "10"}, "--width is 10: it must be from 60 to 1000"},
		{[]string{"--explain", ""}, "--explain is given and empty"},
		{[]string{"--nonsense"}, "--help"},
		{[]string{"1..4"}, `unexpected argument "1..4"`},
	} {
		r := runCommand(t, th, c.args...)
		if r.code != exitUsage || !strings.Contains(r.errs, c.says) || r.out != "" {
			t.Errorf("%v: exit code %d: %s%s", c.args, r.code, r.errs, r.out)
		}
	}
	if n := played.Load(); n > 0 {
		t.Errorf("%d worlds ran", n)
	}
}

func TestListDescribesEverything(t *testing.T) {
	r := runCommand(t, simulator(), "--list")
	if r.code != exitOK {
		t.Fatalf("exit code %d", r.code)
	}
	var names []string
	for _, sc := range simulator().scenarios {
		if slices.Contains(names, sc.Name) {
			t.Errorf("two scenarios are called %s: one of them never runs", sc.Name)
		}
		names = append(names, sc.Name)
	}
	for _, p := range simulator().profiles {
		names = append(names, p.Name)
	}
	for _, f := range fault.Kinds() {
		names = append(names, f.String())
	}
	for _, i := range checker.Invariants {
		names = append(names, i.Name)
	}
	for _, name := range names {
		if !regexp.MustCompile(`(?m)^  ` + regexp.QuoteMeta(name) + ` +\S.*\S$`).MatchString(r.out) {
			t.Errorf("no line on %q", name)
		}
	}
}

func TestScenariosRunByName(t *testing.T) {
	r := runCommand(t, simulator(), "--scenario", "transfer,initial-election", "--seeds", "1..3", "--hashes")
	checkOutput(t, r, exitOK, "1 transfer ", "3 initial-election ", "6 of 6", "failures      none")
}

func TestJSONReportEqualsTheTable(t *testing.T) {
	r := runCommand(t, fakeRunner(failsAt(5)), "--seeds", "3..9", "--keep-going", "--json", "--hashes")
	var got report
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v:\n%s", err, r.out)
	}
	if r.code != exitFailed || got.Histories != 7 || got.Requested != 7 || got.Handled != 7000 || len(got.Hashes) != 7 || got.VirtualSeconds != 7 {
		t.Errorf("exit code %d: %+v", r.code, got)
	}
	if len(got.Failures) != 1 || got.Failures[0].Seed != 5 || got.Failures[0].Invariant != "log matching" ||
		!strings.HasSuffix(got.Failures[0].Replay, "--seeds 5 --profile everything") {
		t.Errorf("failures: %+v", got.Failures)
	}
	if got.Counts["faults"]["cut"] == 0 {
		t.Errorf("counts: %v", got.Counts)
	}
}

// Every field of Counts is in the summary by itself.
func TestEveryCountIsInTheSummary(t *testing.T) {
	var c world.Counts
	all, next := reflect.ValueOf(&c).Elem(), int64(0)
	var count func(reflect.Value)
	count = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Int:
			v.SetInt(1)
			next++
		case reflect.Array:
			for i := range v.Len() {
				count(v.Index(i))
			}
		default:
			t.Fatalf("a count is a %v", v.Kind())
		}
	}
	for i := range all.NumField() {
		count(all.Field(i))
	}
	printed := int64(1) // Handled has a row of its own
	for _, g := range groups(&c) {
		for _, f := range g.fields {
			if printed += int64(f.n); f.name == "" || strings.HasSuffix(f.name, " ") {
				t.Errorf("a count of %s has no name", g.name)
			}
		}
	}
	// Printed twice: by kind and by outcome.
	if operations := int64(len(c.Operations) * len(c.Operations[0])); printed != next+operations {
		t.Errorf("%d counts, %d printed: %v", next, printed-operations, groups(&c))
	}
}

func TestRunIsBoundedByTime(t *testing.T) {
	// Time enough for one world at least, even on a busy machine.
	r := runCommand(t, fakeRunner(neverFails), "--seeds", "fresh", "--for", "1s", "--steps", "100", "--json")
	var got report
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatalf("%v:\n%s", err, r.out)
	}
	if r.code != exitOK || got.Histories == 0 || got.Histories == got.Requested || !regexp.MustCompile(`fresh seeds \d+ and on\n`).MatchString(r.errs) {
		t.Errorf("exit code %d, %d histories, %s", r.code, got.Histories, r.errs)
	}
	checkOutput(t, runCommand(t, fakeRunner(failsAt(3)), "--seeds", "1..100", "--for", "1h"), exitFailed, "seed 3,")
	checkOutput(t, runInterrupted(t, fakeRunner(neverFails), "--seeds", "1..100", "--for", "1h"), exitStopped, "interrupted")
}

func TestFreshSeedsArePrintedAndDiffer(t *testing.T) {
	seeds := map[string]bool{}
	for range 3 {
		r := runCommand(t, fakeRunner(neverFails), "--seeds", "fresh:5")
		line := regexp.MustCompile(`fresh seeds (\d+\.\.\d+)\n`).FindStringSubmatch(r.errs)
		if r.code != exitOK || line == nil || !strings.Contains(r.out, line[1]) {
			t.Fatalf("exit code %d:\n%s%s", r.code, r.errs, r.out)
		}
		seeds[line[1]] = true
	}
	if len(seeds) != 3 {
		t.Errorf("three runs had %v", seeds)
	}
}

// A script that is too strict for one seed in a hundred thousand is worth a look, and no reason to
// refuse a change.
func TestExcusedFailureIsReportedOnly(t *testing.T) {
	both := func(o world.Options) *world.Failure {
		switch o.Seed {
		case 3:
			return &world.Failure{Invariant: "script", Text: "not within 1s: all follow one leader"}
		case 8:
			return &world.Failure{Invariant: "log matching", Text: "two entries at index 3"}
		}
		return nil
	}
	r := runCommand(t, fakeRunner(both), "--seeds", "1..6", "--excuse", "script")
	checkOutput(t, r, exitOK, "FAILED  seed 3", "histories     6 of 6", "failures      1: script (1: 3, excused)")
	r = runCommand(t, fakeRunner(both), "--seeds", "1..9", "--excuse", "script")
	checkOutput(t, r, exitFailed, "FAILED  seed 3", "FAILED  seed 8", "histories     8 of 9", "script (1: 3, excused); log matching (1: 8)")
	r = runCommand(t, fakeRunner(both), "--excuse", "scripts")
	checkOutput(t, r, exitUsage, "--excuse", `no invariant "scripts" (did you mean script?)`)
}
