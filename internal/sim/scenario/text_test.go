package scenario

import (
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// TestTextScenariosGiveTheirOutput runs the scenarios in testdata. Each file is input, expected
// output and documentation at once; docs/simulator.md, "Scenarios as text" describes the commands.
//
//	go test ./internal/sim/scenario -run TextScenarios -rewrite
//
// writes the output of every command into the files. Read the difference before you commit it.
func TestTextScenariosGiveTheirOutput(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no files in testdata", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			x := &textScenario{t: t}
			datadriven.RunTest(t, file, x.run)
			x.finish()
		})
	}
}

// textScenario runs the commands of one file.
//
// It drives a world of the production actors under the checker, as a scripted scenario does. The
// world draws no durations: a message takes a millisecond, an actor takes the middle of its usual
// time. So the output shows what the protocol does and not what a seed happened to choose.
type textScenario struct {
	*Driver
	t        *testing.T
	recorder *trace.Memory
	members  map[*world.Member]*textMember
	rules    map[string]*world.Rule
	// operations are the writes by value, and the reads by name.
	operations map[string]*history.Operation
	started    bool
	traced     int // events that a trace command has printed, or skipped
}

// textMember is what a file says of a member.
type textMember struct {
	name    string // of a log in the paper's figure; "" for none
	down    bool   // it starts by a command
	initial world.InitialState
}

// run runs one command. A violated invariant fails the file.
func (x *textScenario) run(t *testing.T, d *datadriven.TestData) (output string) {
	x.t = t
	if err := checkCommand(d); err != nil {
		d.Fatalf(t, "%v", err)
	}
	if d.Cmd != "cluster" && x.Driver == nil {
		d.Fatalf(t, "the first command must be cluster")
	}
	x.guard(d.Pos, func() {
		if x.Driver != nil {
			x.Note(d.Pos + ": " + d.Cmd)
		}
		if d.Cmd != "trace" && d.Cmd != "logs" && d.Cmd != "state" && x.recorder != nil {
			x.traced = len(x.recorder.Events)
		}
		output = textCommands[d.Cmd].run(x, d)
		x.check()
	})
	return output
}

// guard fails the test where a script ends early.
func (x *textScenario) guard(where string, do func()) {
	defer func() {
		if reason := recover(); reason != nil {
			if _, ended := reason.(scriptEnded); !ended {
				panic(reason)
			}
			x.t.Fatalf("%s: %v", where, x.Result().Err())
		}
	}()
	do()
}

// finish ends a world: all faults end, and all members must converge.
func (x *textScenario) finish() {
	if x.Driver == nil || x.t.Failed() {
		return
	}
	x.guard("end", func() {
		x.Heal()
		x.within(20*world.ElectionTimeout, "all members converge", x.Converged)
		x.CheckConverged()
		x.shutDownAll()
		x.Finish()
		x.check()
	})
}

// cluster makes a world: "cluster members=5". Without input, the members start with the first
// configuration, as a new cluster does; a line of input gives the initial state of a member.
//
//	silent         no connection reports that it broke: members notice by their election timeouts
//	single-entry   requests to followers carry one entry each
//	seed=7         the seed, which decides little here
func (x *textScenario) cluster(d *datadriven.TestData) string {
	x.finish()
	size, seed := 3, uint64(1)
	d.MaybeScanArgs(x.t, "members", &size)
	d.MaybeScanArgs(x.t, "seed", &seed)
	*x = textScenario{
		t: x.t, recorder: &trace.Memory{}, members: map[*world.Member]*textMember{},
		rules: map[string]*world.Rule{}, operations: map[string]*history.Operation{},
	}
	w := world.New(world.Options{Seed: seed, Nodes: size, Profile: fault.Scripted, Recorder: x.recorder})
	w.UnrecordedStorage = true
	w.NameScenario(filepath.Base(d.Pos))
	w.FixedDurations = true
	w.Conditions.MinLatency, w.Conditions.MaxLatency = time.Millisecond, time.Millisecond
	w.SingleEntryRequests = d.HasArg("single-entry")
	w.Conditions.HidesCuts = d.HasArg("silent")
	x.Driver = &Driver{World: w}
	for i, m := range w.Members {
		x.members[m] = &textMember{}
		m.NotStarted, m.NoRegistration = true, true
		x.setTimer(m, float64(i+1)/10)
	}
	if d.Input == "" {
		return ""
	}
	for line := range linesOf(d.Input) {
		x.initialState(d, line)
	}
	return x.logs(d)
}

// initialState sets what a member holds before it starts:
//
//	2 name=a log=(1,1,2) term=3 vote=1 commit=2 down
func (x *textScenario) initialState(d *datadriven.TestData, line string) {
	id, args, err := datadriven.ParseLine(line)
	if err != nil {
		d.Fatalf(x.t, "%v", err)
	}
	m := x.member(d, id)
	text := x.members[m]
	for _, arg := range args {
		switch arg.Key {
		case "name":
			text.name = arg.Vals[0]
		case "down":
			text.down = true
		case "log":
			for _, v := range arg.Vals {
				text.initial.Log = append(text.initial.Log, x.number(d, v))
			}
		case "term":
			text.initial.Term = x.number(d, arg.Vals[0])
		case "vote":
			text.initial.Vote = x.number(d, arg.Vals[0])
		case "commit":
			text.initial.Commit = x.number(d, arg.Vals[0])
		default:
			d.Fatalf(x.t, "a member has no %q", arg.Key)
		}
	}
	if len(text.initial.Log) > 0 {
		x.SetInitialState(m.ID(), text.initial)
	}
}

// startAll starts the members, except those that a file starts by itself. Commands in which time
// passes call it.
func (x *textScenario) startAll() {
	if x.started {
		return
	}
	x.started = true
	for _, m := range x.Members {
		if !x.members[m].down {
			m.Boot()
		}
	}
}

// fixedTimer is the randomness of a member whose random timeouts are always the same share of their
// range.
type fixedTimer struct {
	*rand.Rand
	share float64
}

func (f fixedTimer) Int64N(n int64) int64 { return min(int64(f.share*float64(n)), n-1) }

func (x *textScenario) setTimer(m *world.Member, share float64) {
	m.RandomOverride = fixedTimer{x.Random, share}
}

// Arguments.

func (x *textScenario) number(d *datadriven.TestData, text string) uint64 {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		d.Fatalf(x.t, "%q is not a number", text)
	}
	return n
}

func (x *textScenario) member(d *datadriven.TestData, text string) *world.Member {
	id := x.number(d, text)
	if id == 0 || id > uint64(len(x.Members)) {
		d.Fatalf(x.t, "there is no member %s", text)
	}
	return x.Members[id-1]
}

// memberArg returns the member that an argument names, or otherwise.
func (x *textScenario) memberArg(d *datadriven.TestData, key string, otherwise *world.Member) *world.Member {
	if !d.HasArg(key) {
		return otherwise
	}
	var id string
	d.ScanArgs(x.t, key, &id)
	return x.member(d, id)
}

// operands returns the members that a command names: "kill 1 2".
func (x *textScenario) operands(d *datadriven.TestData) (all []*world.Member) {
	for _, arg := range d.CmdArgs {
		if len(arg.Vals) == 0 {
			all = append(all, x.member(d, arg.Key))
		}
	}
	return all
}

// leader returns the leader that a majority follows.
func (x *textScenario) leader(d *datadriven.TestData) *world.Member {
	l := x.majorityLeader()
	if l == nil {
		d.Fatalf(x.t, "no leader has a majority of followers:%s", x.DescribeMembers())
	}
	return l
}

func (x *textScenario) duration(d *datadriven.TestData, text string) time.Duration {
	v, err := time.ParseDuration(text)
	if err != nil {
		d.Fatalf(x.t, "%v", err)
	}
	return v
}

// reachable returns a member and the members that are up and can exchange messages with it.
func (x *textScenario) reachable(from *world.Member) []*world.Member {
	return slices.DeleteFunc(slices.Clone(x.Members), func(m *world.Member) bool {
		return m != from && !x.Connected(m, from)
	})
}
