// Package world runs a cluster of the production actors (Supervisor, Node, LogStore with its
// reader, Machine, Replicators) on one goroutine, in virtual time, from one seed, with a network,
// disks and clocks that fail. After every step the cluster is checked (package checker).
//
// New makes a World; Run runs one under a profile of faults, package scenario runs one under a
// script. Equal Options make equal histories, byte for byte, on every machine: all randomness comes
// from the seed, and nothing depends on the order of a map, on the real time or on goroutines.
package world

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/actors/machine"
	"github.com/troupe-raft/troupe/internal/session"
	"github.com/troupe-raft/troupe/internal/sim/checker"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/supervisor"
)

// Options determine a world: equal options make equal histories, step by step.
type Options struct {
	Seed    uint64
	Profile fault.Profile
	// Nodes is the number of members; 0: the seed decides.
	Nodes int
	// Steps is how many steps faults happen; 0: DefaultSteps. A step is one event: a handled message,
	// a timer, an arrival, a fault.
	Steps int
	// Clients is the number of clients; 0: the seed decides.
	Clients int
	// Without are kinds of fault that do not happen. FaultLimit, if not 0, is how many faults happen
	// at most. Both serve to find the smallest history that fails.
	Without    []fault.Kind
	FaultLimit int
	// Recorder, if not nil, receives every event (trace.NewWriter, trace.Memory). It changes nothing.
	Recorder trace.Recorder
	// AllSteps makes a failure list all of the last steps, and not only what led to it.
	AllSteps bool
}

// DefaultSteps is the default of Options.Steps.
const DefaultSteps = 4000

// World is one simulated cluster with its clients, its network and its disks. Everything in it
// happens on one goroutine.
//
// The scheduler is a heap of events, ordered by virtual time and, at equal times, by the order in
// which they were planned (schedule.go). Step takes the first event, sets the virtual clock to its
// time and runs it. A message to an actor, a timer, an arrival over the network, a fault and the
// next action of a client are all events. An event may plan others; the seed draws how much later.
// Actors run in no real time at all: a slow disk is an actor whose next event is planned later.
// Nothing else decides what happens next, so a world is determined by its options.
type World struct {
	Options Options
	Random  *rand.Rand

	// The schedule.
	now            time.Duration
	queue          eventQueue
	planned        uint64 // events so far
	steps          int
	currentMailbox *mailbox // of the actor that handles a message
	// inSystemMessage: the current message is a system message that ends or restarts an actor.
	inSystemMessage bool

	// The cluster.
	Size        int
	Bootstrap   *messages.Configuration
	Members     []*Member
	Clients     []*client
	application Application // nil: the small key-value store
	keys        keyPool
	network     network
	Conditions  fault.Network
	// initialConfigurations are entries of initial logs (initial_state.go).
	initialConfigurations map[entryID]*messages.Configuration

	// The limits of the members.
	sessionLimits    session.Limits
	UncommittedBytes uint64 // that a leader accepts
	QueueBytes       int    // of each lane to a peer
	RestartLimit     supervisor.RestartLimit
	SessionTable     machine.SessionLimits // of all members; the zero value is that of production
	// OpenLinks: messages reach members that the sender's configuration does not name. The links of
	// production do not carry them.
	OpenLinks           bool
	SingleEntryRequests bool // requests to peers have one entry each
	FixedDurations      bool // every duration that the world draws is the middle of its range
	// UnrecordedStorage: leaders do not record storage ids, so that logs have what a script expects.
	UnrecordedStorage bool
	// SyncTime is the time of each write and sync of a log; 0: at random.
	SyncTime time.Duration

	// What happened.
	Checker *checker.Checker
	History *history.History
	events  eventLog
	Counts  Counts
	Failure *Failure
	Healing bool // faults have ended, and clients begin nothing new
	// beyondGuarantees: a member lost synced data without notice, and nothing is checked any more.
	beyondGuarantees bool
}

// Failure is the first violated invariant; it ends the history.
type Failure struct {
	Invariant string
	Text      string // what was expected and what was seen
	Step      int
	At        time.Duration
}

// Counts are numbers of events.
type Counts struct {
	Messages, Lost, Doubled, Late int // between members
	Displaced                     int // of the lost ones, from a full queue
	Handled                       int // messages that actors handled
	Faults                        [fault.NumKinds]int
	Elections                     int
	Committed                     int
	// Consequences of faults.
	FailedOperations int // of disks, on purpose
	RefusedForSpace  int // operations on full disks
	FailedReads      int // of disks
	FlippedReads     int // with a wrong bit
	RefusedStorage   int // messages of or to another data directory of a member
	// Of on-disk state machines, for lack of space or another reason.
	FailedBatches int
	// Of on-disk state machines, wholly, or damaged and moved away.
	StatesLost  int
	CrashImages [crashImages]int // of power cuts
	// Power cuts in the middle of an actor's message.
	CutMidway         int
	Crashed           [crashPoints]int // crashes of actors
	CrashedRecovering int              // of those, while the node recovered
	ActorRestarts     int              // of readers and replicators, alone
	SubtreeRestarts   int              // of whole nodes
	Stops             [stopKinds]int   // of nodes by themselves
	Away              int              // members that stayed down
	Degraded          int              // histories with a time in which a minority was down for good
	// Histories that ended because a member had lost synced data without notice.
	Forgotten  int
	Operations [history.NumOps][history.NumOutcomes]int // of clients
	// Of an Application: requests to its services, answered ones, streams of watches, and events
	// that clients received.
	ServiceCalls, AnsweredCalls, WatchStreams, WatchEvents int
}

// Add adds other counts.
func (c *Counts) Add(o *Counts) { addCounts(reflect.ValueOf(c).Elem(), reflect.ValueOf(o).Elem()) }

func addCounts(to, from reflect.Value) {
	switch to.Kind() {
	case reflect.Struct:
		for i := range to.NumField() {
			addCounts(to.Field(i), from.Field(i))
		}
	case reflect.Array:
		for i := range to.Len() {
			addCounts(to.Index(i), from.Index(i))
		}
	default:
		to.SetInt(to.Int() + from.Int())
	}
}

// Result is the outcome of a world.
type Result struct {
	Options Options
	Nodes   int
	Clients int
	Failure *Failure // nil: no invariant was violated
	Steps   int
	Virtual time.Duration
	Hash    uint64 // of everything that happened: equal for equal options
	Last    string // what led to the failure, or all of the last steps
	Counts  Counts
}

// Err describes the failure; nil if there was none.
func (r *Result) Err() error {
	f := r.Failure
	if f == nil {
		return nil
	}
	return fmt.Errorf("seed %d (%s, %d members), step %d, at %v: %s: %s\n%s",
		r.Options.Seed, r.Options.Profile.Name, r.Nodes, f.Step, f.At, f.Invariant, f.Text, r.Last)
}

// New returns a world. Run or a script runs it.
func New(options Options) *World {
	if options.Steps == 0 {
		options.Steps = DefaultSteps
	}
	w := &World{
		Options:   options,
		Random:    rand.New(rand.NewPCG(options.Seed, 0x7472_6f75_7065)),
		Bootstrap: &messages.Configuration{ClusterId: 1},
		network:   network{cut: map[direction]bool{}, reportedUp: map[direction]bool{}, nextReport: map[direction]time.Duration{}, lastArrival: map[lane]time.Duration{}, bytesPerSecond: map[direction]int64{}},
	}
	w.Conditions = w.Options.Profile.Network(w.Random)
	w.RestartLimit = w.Options.Profile.RestartLimit(w.Random)
	size := []int{3, 3, 5, 3, 4, 1, 3, 5}[w.Random.IntN(8)]
	if options.Nodes > 0 {
		size = options.Nodes
	}
	w.UncommittedBytes, w.QueueBytes = 20_000, 1<<20
	w.sessionLimits = session.Limits{MaxRequestBytes: 1 << 20, MaxPendingRequests: 1 << 16, MaxPendingBytes: 1 << 26}
	if newApplication, ok := options.Profile.Application.(NewApplication); ok {
		w.application = newApplication(w)
	}
	w.addMembers(size)
	w.History = history.New(w)
	return w
}

// Run runs a world: faults for as many steps as the options say, then none until the cluster has
// converged.
func Run(options Options) *Result {
	return RunWorld(options).Result()
}

// RunWorld is Run for callers that need the world itself.
func RunWorld(options Options) *World {
	w := New(options)
	if every := w.Conditions.FaultInterval; every > 0 {
		w.After(w.RandomDuration(0, every), w.injectFaults)
	}
	if w.Options.Seed%4 == 3 {
		w.SessionTable, w.History.SessionsAreEvicted = SmallSessionTable, true
	}
	w.AddClients()
	w.run()
	return w
}

// SmallSessionTable has limits that some worlds reach: sessions and replies are evicted.
var SmallSessionTable = machine.SessionLimits{
	Sessions: 4, SessionsPerNode: 2, RepliesPerSession: 3, ValueBytesPerSession: 40, MaxValueBytes: 30, MaxNonceBytes: 64,
}

// Result returns the outcome; the world must have ended.
func (w *World) Result() *Result {
	r := &Result{Options: w.Options, Nodes: w.Size, Clients: len(w.Clients), Failure: w.Failure, Steps: w.steps, Virtual: w.now, Hash: w.events.sum(), Counts: w.Counts}
	if w.Failure != nil {
		r.Last = w.events.String()
	}
	return r
}

// handlingTime is how long an actor takes for one message.
func (w *World) handlingTime(b *mailbox) time.Duration {
	switch {
	case !b.usesDisk():
		return w.RandomDuration(time.Microsecond, 60*time.Microsecond)
	case w.SyncTime > 0 && b.syncsNext():
		return w.SyncTime
	case w.now < b.member.Disk.slowUntil:
		return w.RandomDuration(20*time.Millisecond, 700*time.Millisecond)
	}
	return w.RandomDuration(50*time.Microsecond, time.Millisecond)
}

func (w *World) addMembers(size int) {
	w.Size = size
	w.Checker = checker.New(w, size, w.Bootstrap)
	w.events = newEventLog(w)
	for id := uint64(1); id <= uint64(size); id++ {
		w.Bootstrap.Members = append(w.Bootstrap.Members, &messages.Member{Id: id, Address: address(id)})
		m := &Member{world: w, id: id, clock: w.newClock()}
		m.Disk = newDisk(m)
		switch {
		case w.application != nil:
			m.application = w.application.AddMember(m)
		case id%2 == 1:
			m.MachineDisk = newMachineDisk()
		}
		w.Members = append(w.Members, m)
		w.Checker.Add(m)
		w.maybeCutFirstStart(m)
		w.After(w.RandomDuration(0, 100*time.Millisecond), m.firstBoot)
	}
}

// NameScenario records which scenario the world runs.
func (w *World) NameScenario(name string) { w.events.scenario = name }

// Note records what a script does.
func (w *World) Note(text string) { w.events.note(text) }

// Now returns the virtual time.
func (w *World) Now() time.Duration { return w.now }

// fullCheckInterval is the number of steps between two full checks.
const fullCheckInterval = 1000

// checking reports whether the world is still checked: no invariant has failed, and no member has
// lost synced data without notice.
func (w *World) checking() bool { return w.Failure == nil && !w.beyondGuarantees }

// Elected implements checker.Simulation.
func (w *World) Elected() { w.Counts.Elections++ }

// Called implements history.Simulation.
func (w *World) Called(o *history.Operation) { w.events.called(o) }

// Returned implements history.Simulation.
func (w *World) Returned(o *history.Operation) {
	w.Counts.Operations[o.Kind][o.Outcome]++
	w.events.returned(o)
}

// Fail records the first violated invariant.
func (w *World) Fail(invariant, format string, values ...any) {
	if w.Failure == nil {
		w.Failure = &Failure{Invariant: invariant, Text: fmt.Sprintf(format, values...), Step: w.steps, At: w.now}
		w.events.violated(w.Failure)
	}
}

// Finish makes the last checks and stops all members.
func (w *World) Finish() {
	w.events.close()
	if w.checking() {
		w.Checker.FinalCheck()
	}
	w.Counts.Committed = w.Checker.Committed()
	if w.application != nil {
		w.application.CountInto(&w.Counts)
	}
	for _, m := range w.Members {
		if m.PermanentlyDown {
			w.Counts.Away++
		}
		if m.up {
			m.KillProcess()
		}
	}
}

// RandomMember draws a member.
func (w *World) RandomMember() *Member { return w.Members[w.Random.IntN(len(w.Members))] }

// Leader returns a member that leads and is up; nil: there is none.
func (w *World) Leader() *Member {
	for _, m := range w.Members {
		if m.up && m.View.Role == "leader" {
			return m
		}
	}
	return nil
}

// DescribeMembers lists the state of all members, for a failure.
func (w *World) DescribeMembers() string {
	var b strings.Builder
	for _, m := range w.Members {
		v := m.View
		fmt.Fprintf(&b, "\n  %d up=%v %s term %d leader %d last (%d, %d) durable %d commit %d applied %d", m.id, m.up, v.Role, v.Term, v.LeaderID,
			v.LastIndex, v.LastTerm, v.DurableIndex, v.Commit, m.Applied)
		if m.Embedder != nil {
			fmt.Fprintf(&b, "; %d calls pending, serving %v", len(m.Embedder.calls), m.Embedder.serving)
		}
	}
	return b.String()
}
