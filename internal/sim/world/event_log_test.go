package world

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/sim/explain"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/trace"
)

func TestRecorderChangesNothing(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		o := Options{Seed: seed, Profile: fault.Profiles[len(fault.Profiles)-1], Nodes: 3, Steps: 2000}
		alone := Run(o)
		memory := &trace.Memory{}
		o.Recorder = memory
		if recorded := Run(o); recorded.Hash != alone.Hash || recorded.Steps != alone.Steps {
			t.Fatalf("seed %d: %d steps alone, %d recorded; hashes %x and %x", seed, alone.Steps, recorded.Steps, alone.Hash, recorded.Hash)
		}
		if memory.Header.Seed != seed || len(memory.Events) < 1000 {
			t.Fatalf("seed %d: recorded %+v and %d events", seed, memory.Header, len(memory.Events))
		}
	}
}

func TestHashDistinguishesHistories(t *testing.T) {
	seen := map[uint64]uint64{}
	for seed := uint64(1); seed <= 20; seed++ {
		r := Run(Options{Seed: seed, Nodes: 3, Steps: 300})
		if other, known := seen[r.Hash]; known {
			t.Fatalf("seeds %d and %d have the same hash", other, seed)
		}
		seen[r.Hash] = seed
	}
}

// The logs and states in a trace are those of the checker.
func TestTraceHasTheLogsOfTheChecker(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		memory := &trace.Memory{}
		w := New(Options{Seed: seed, Profile: fault.Profiles[len(fault.Profiles)-1], Nodes: 3, Recorder: memory})
		w.After(0, w.injectFaults)
		w.AddClients()
		cluster, applied := explain.NewCluster(3), 0
		for w.steps < 1500 && w.Failure == nil {
			w.Step()
			for ; applied < len(memory.Events); applied++ {
				cluster.Apply(memory.Events[applied])
			}
			for _, m := range w.Members {
				is := cluster.Members[m.id-1]
				if is.Up != m.up || is.State.Role != m.View.Role && m.View.Role != "" && m.up {
					t.Fatalf("seed %d, step %d: the trace has %+v; member %d is %+v", seed, w.steps, is, m.id, m.View)
				}
				if log := w.Checker.LogTerms(m.id); m.up && !equalLogs(&is, log) {
					t.Fatalf("seed %d, step %d: the trace has the log %v; that of member %d is %v", seed, w.steps, is.Runs, m.id, log)
				}
			}
		}
	}
}

func equalLogs(is *explain.Member, log []uint64) bool {
	for i, term := range log {
		if is.TermAt(uint64(i+1)) != term {
			return false
		}
	}
	return is.Last == uint64(len(log))
}

// The last events, and the state before the first of them, give the same as all events.
func TestRecentEventsStartFromTheirState(t *testing.T) {
	for seed := uint64(1); seed <= 5; seed++ {
		memory := &trace.Memory{}
		w := New(Options{Seed: seed, Profile: fault.Profiles[len(fault.Profiles)-1], Nodes: 5, Recorder: memory})
		w.After(0, w.injectFaults)
		w.AddClients()
		for w.steps < 3000 && w.Failure == nil {
			w.Step()
		}
		whole, rest := explain.NewCluster(5), w.events.baseCluster.Clone()
		for _, e := range memory.Events {
			whole.Apply(e)
		}
		for i := range w.events.recent {
			rest.Apply(w.events.recent[(w.events.recorded+i)%keptEvents].event())
		}
		if w.events.recorded < 2*keptEvents || !reflect.DeepEqual(whole, rest) {
			t.Fatalf("seed %d, %d events: all give\n%+v\nthe last\n%+v", seed, w.events.recorded, whole.Members, rest.Members)
		}
	}
}

// runUntilFailure returns a world with a failure after a while.
func runUntilFailure(o Options, text string) *World {
	o.Nodes = 5
	w := New(o)
	if len(o.Profile.Faults) > 0 {
		w.After(0, w.injectFaults)
	}
	w.AddClients()
	for w.steps < 2500 {
		w.Step()
	}
	w.Fail("the test's own", "%s", text)
	return w
}

func TestFailureShowsItsCauseInAScreenful(t *testing.T) {
	for seed := uint64(1); seed <= 20; seed++ {
		last := runUntilFailure(Options{Seed: seed, Profile: fault.Profiles[len(fault.Profiles)-1]}, "member 2 is as it should not be").Result().Last
		for _, want := range []string{"THE TEST'S OWN: member 2", "more of the last 1000 events; --all shows them"} {
			if !strings.Contains(last, want) {
				t.Fatalf("seed %d: what led to it lacks %q:\n%s", seed, want, last)
			}
		}
		if n := strings.Count(last, "\n"); n < 14 || n > 100 {
			t.Fatalf("seed %d: what led to it has %d lines:\n%s", seed, n, last)
		}
		if !strings.Contains(last, "\n»") {
			t.Fatalf("seed %d: no line is marked as the step that failed:\n%s", seed, last)
		}
	}
}

func TestFailureShowsAllStepsOnRequest(t *testing.T) {
	all := runUntilFailure(Options{Seed: 3, Profile: fault.Profiles[len(fault.Profiles)-1], AllSteps: true}, "member 2").Result().Last
	if n := strings.Count(all, "\n"); n < 400 || strings.Contains(all, "--all") {
		t.Errorf("all of the last steps are %d lines", n)
	}
}

// A failure lists events of the members that it names, or of all if it names none. In the profile
// calm every member has events.
func TestFailureListsTheMembersItNames(t *testing.T) {
	of := func(seed uint64, text string) (members map[uint64]int) {
		members = map[uint64]int{}
		for line := range strings.Lines(runUntilFailure(Options{Seed: seed, Profile: fault.Profiles[0]}, text).Result().Last) {
			for id := range uint64(5) {
				for _, said := range []string{"log: Append", "machine: Committed", "node: Durable"} {
					if column := 12 + 15*int(id); line[0] == ' ' && len([]rune(line)) > column+20 && strings.Contains(string([]rune(line)[column:column+15]), said[:9]) {
						members[id+1]++
					}
				}
			}
		}
		return members
	}
	many, named := 0, 0
	for seed := uint64(1); seed <= 3; seed++ {
		if len(of(seed, "no member is named")) > 1 {
			many++
		}
		for member := range uint64(5) {
			for who := range of(seed, fmt.Sprintf("the LogStore of member %d shows 1 entries", member+1)) {
				if named++; who != member+1 {
					t.Errorf("seed %d: member %d is named, and actors of %d are listed", seed, member+1, who)
				}
			}
		}
	}
	if named == 0 {
		t.Error("a member is named, and no actor of it is listed")
	}
	if many < 3 {
		t.Errorf("no member is named, and several members are listed in %d of 3 worlds", many)
	}
}

func TestRecordedTraceCanBeRead(t *testing.T) {
	var file bytes.Buffer
	writer := trace.NewWriter(&file)
	memory := &trace.Memory{}
	o := Options{Seed: 2, Profile: fault.Profiles[len(fault.Profiles)-1], Nodes: 5, Steps: 500}
	o.Recorder = memory
	Run(o)
	o.Recorder = writer
	Run(o)
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	reader, err := trace.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range memory.Events {
		is, err := reader.Next()
		if err != nil || is.Kind != want.Kind || is.At != want.At || is.Member != want.Member || is.Detail != want.Detail {
			t.Fatalf("event %d: %+v, %v; recorded was %+v", i, is, err, want)
		}
	}
	if e, err := reader.Next(); err == nil || !reader.Complete() {
		t.Fatalf("after the last: %+v, %v, whole %v", e, err, reader.Complete())
	}
}
