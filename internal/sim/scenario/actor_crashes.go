package scenario

import (
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/supervisor"
)

var actorScenarios = append(crashScenarios(),
	Scenario{Name: "crash-recovering", Nodes: 3, Errata: []int{14}, Script: crashRecovering,
		Description: "a node crashes, and crashes again at each stage of its recovery, once or twice: it recovers from disk"},
	Scenario{Name: "crash-too-often", Nodes: 3, Setup: limitRestarts, Script: crashTooOften,
		Description: "an actor crashes repeatedly: after ten restarts its node stops and reports why; the others continue"},
	Scenario{Name: "overload", Nodes: 3, Errata: []int{45}, Script: overload,
		Description: "proposals and reads above every limit: typed refusals with the limit, bounded memory, and normal service afterwards"},
)

// crashScenarios returns one scenario for each kind of actor: over the seeds it crashes at each
// kind of message that it handles.
func crashScenarios() (all []Scenario) {
	for _, h := range world.HandledMessages {
		name := "crash-" + actors.NodeName
		switch h.Actor {
		case actors.ReplicatorPrefix:
			name = "crash-replicator"
		case world.LogReaderPath:
			name = "crash-reader"
		case "":
		default:
			name = "crash-" + h.Actor
		}
		all = append(all, Scenario{
			Name: name, Nodes: 3, Errata: []int{14}, Script: func(s *Driver) { s.crashAtSome(h.Actor, h.Kinds) },
			Description: "it crashes before or after each kind of message that it handles, once or twice in a row: restarted, with no acknowledged write lost",
		})
	}
	return all
}

// crashesPerSeed is how many kinds of message a seed covers. Seeds in a row take the kinds in turn.
const crashesPerSeed = 3

// crashAtSome makes an actor crash at some of its kinds of message, and checks each time that no
// acknowledged write is lost.
func (s *Driver) crashAtSome(actor string, kinds []protoreflect.Name) {
	s.awaitSessions()
	var all []*history.Operation
	for i := range crashesPerSeed {
		kind := kinds[(int(s.Options.Seed)*crashesPerSeed+i)%len(kinds)]
		again := 0
		// A restarted actor starts again as part of that: it cannot crash there.
		if s.Chance(0.3) && kind != world.StartMessage {
			again = 1
		}
		begun := s.starts()
		s.crashWhileBusy(actor, kind, again)
		s.within(world.ElectionTimeout, "an actor or a member restarts", func() bool { return s.starts() > begun })
		s.within(20*world.ElectionTimeout, "all have recovered", s.Converged)
		o := s.commitWrite()
		s.awaitApplied(5*world.ElectionTimeout, o, s.Members...)
		all = append(all, o)
		s.checkOnDisks(all, s.Members...)
	}
}

// starts counts restarts of actors and starts of members.
func (s *Driver) starts() int {
	n := s.Counts.SubtreeRestarts + s.Counts.ActorRestarts
	for _, m := range s.Members {
		n += m.RunNumber
	}
	return n
}

// crashWhileBusy sets failpoints and provokes messages until they are hit: at a member of the
// seed's choice if it handles such a message soon, else at the first that does.
func (s *Driver) crashWhileBusy(actor string, kind protoreflect.Name, again int) {
	when := s.RandomTiming()
	var set []*world.Failpoint
	arm := func(m *world.Member) {
		for _, other := range s.others(m) {
			t := &world.Failpoint{Actor: actor, Kind: kind, Remaining: 1, When: when, Repeats: again}
			if actor == actors.ReplicatorPrefix {
				t.Actor = actors.ReplicatorName(other.ID())
			}
			m.Failpoints = append(m.Failpoints, t)
			set = append(set, t)
			if actor != actors.ReplicatorPrefix {
				break
			}
		}
	}
	sprung := func() bool {
		for _, t := range set {
			if !slices.ContainsFunc(s.Members, func(m *world.Member) bool { return slices.Contains(m.Failpoints, t) }) {
				return true
			}
		}
		return false
	}
	first := s.RandomMember()
	arm(first)
	for round := 0; !sprung(); round++ {
		switch round {
		case 6:
			for _, m := range s.others(first) {
				arm(m)
			}
		case 40:
			s.fail("no %q of any member handled %s", actor, kind)
		}
		s.provoke(kind, round)
		for until := s.Now() + world.ElectionTimeout; s.Now() < until && !sprung(); s.Step() {
			s.check()
		}
	}
	for _, m := range s.Members {
		m.Failpoints = nil
	}
}

// provoke causes messages between actors: first what leads to a kind of message, then everything.
func (s *Driver) provoke(kind protoreflect.Name, round int) {
	stirs := []func(){s.provokeWrites, s.provokeLinks, s.provokeBacklog, s.provokeLeadership, s.provokeRestart, s.provokeStale}
	start := map[protoreflect.Name]int{
		"LinkUp": 1, "LinkDown": 1, "EnvelopesDropped": 1, "ReadLog": 2, "ReadLogResponse": 2, "Campaign": 3, "TransferLeadership": 3, "RequestVote": 3,
		"VoteResponse": 3, "TimeoutNow": 3, "ResolveConflict": 3, world.StartMessage: 4, "Recovered": 4, "MachineReady": 4, "HigherTerm": 5, "ProposalsRefused": 5,
		"StorageRefused": 5, "Rejoin": 5,
	}[kind]
	if round%2 == 0 {
		stirs[start]()
	} else {
		stirs[(start+round/2)%len(stirs)]()
	}
}

func (s *Driver) provokeWrites() {
	for _, m := range s.Members {
		if m.Up() {
			s.submitWrites(m, 3)
			s.begin(m, history.GetIndex, 1, "", "")
		}
	}
}

func (s *Driver) provokeLinks() {
	a, b := s.Members[0], s.Members[1+s.Random.IntN(2)]
	s.Flap(a, b)
	s.Flap(b, a)
	s.provokeWrites()
}

// provokeBacklog makes a member miss more than memory keeps.
func (s *Driver) provokeBacklog() {
	away := s.RandomMember()
	s.Isolate(away, true)
	s.advance(2 * world.HeartbeatInterval)
	if l := s.majorityLeader(); l != nil && l != away {
		for range 10 {
			s.submitPadded(l, 200)
		}
		s.advance(3 * world.HeartbeatInterval)
	}
	s.Isolate(away, false)
}

// provokeLeadership makes another member lead, half of the time one that was not asked to, with a
// follower that lacks entries.
func (s *Driver) provokeLeadership() {
	l := s.majorityLeader()
	if l == nil {
		return
	}
	next, behind := s.others(l)[0], s.others(l)[1]
	if s.Chance(0.5) {
		next, behind = behind, next
	}
	s.Isolate(behind, true)
	behind.Post(actors.NodePath, &messages.Campaign{}) // it cannot win
	s.submitWrites(l, 2)
	s.advance(world.HeartbeatInterval)
	if s.Chance(0.5) {
		l.Post(actors.NodePath, &messages.TransferLeadership{Target: next.ID()})
	} else {
		next.Post(actors.NodePath, &messages.Campaign{})
		s.SetCut(l, next, true)
	}
	s.advance(2 * world.HeartbeatInterval)
	s.Isolate(behind, false)
	s.SetCut(l, next, false)
}

func (s *Driver) provokeRestart() {
	m := s.RandomMember()
	if s.Chance(0.5) {
		s.powerCut(m)
		s.restart(m)
		return
	}
	m.Failpoints = append(m.Failpoints, &world.Failpoint{Remaining: 1, When: world.CrashBefore})
}

// provokeStale posts rare messages without effect, of an earlier term.
func (s *Driver) provokeStale() {
	for _, m := range s.Members {
		other := s.others(m)[0]
		for _, stale := range []proto.Message{
			&messages.StorageRefused{From: other.ID(), StorageId: []byte("another directory")},
			&messages.Rejoin{Member: 99, StorageId: []byte("a new directory")},
			&messages.HigherTerm{Incarnation: m.View.Incarnation, From: other.ID()}, &messages.TimeoutNow{Leader: other.ID()},
			&messages.ProposalsRefused{From: other.ID(), Reason: messages.Refusal_REFUSAL_NO_LEADER},
			&messages.ResolveConflict{Incarnation: m.View.Incarnation, Peer: other.ID()}, &messages.Tick{Incarnation: m.View.Incarnation, Timer: 1 << 40},
		} {
			m.Post(actors.NodePath, stale)
		}
		m.Post(actors.NodePath+"/"+actors.MachineName, &messages.Tick{Incarnation: m.View.Incarnation, Timer: 1 << 40})
	}
	s.provokeWrites()
}

// crashRecovering makes a Node crash, and an actor of the next incarnation crash before it has
// recovered.
func crashRecovering(s *Driver) {
	s.awaitSessions()
	stages := []world.Failpoint{
		{Actor: world.LogStorePath, Kind: world.StartMessage}, {Actor: world.LogReaderPath, Kind: world.StartMessage}, {Actor: "", Kind: "Recovered"},
		{Actor: actors.MachineName, Kind: world.StartMessage}, {Actor: "", Kind: "MachineReady"}, {Actor: "", Kind: "Pull"}, {Actor: world.LogStorePath, Kind: "Append"},
	}
	var all []*history.Operation
	for i := range crashesPerSeed {
		all = append(all, s.commitWrite())
		m := s.RandomMember()
		incarnation := m.View.Incarnation
		t := stages[(int(s.Options.Seed)*crashesPerSeed+i)%len(stages)]
		t.Remaining, t.When, t.Repeats = 1, s.RandomTiming(), s.Random.IntN(2)
		if t.Actor == world.LogReaderPath {
			t.Repeats = 0 // it is restarted alone, and starts again as part of that
		}
		m.Failpoints = []*world.Failpoint{{Remaining: 1, When: world.CrashBefore}, &t}
		if s.Chance(0.5) {
			s.powerCut(m)
			s.restart(m)
			incarnation = 0
		}
		s.within(5*world.ElectionTimeout, "it has crashed during recovery", func() bool {
			if len(m.Failpoints) > 0 && s.majorityLeader() != nil {
				s.submitWrites(s.majorityLeader(), 1)
				s.advance(10 * time.Millisecond)
			}
			return len(m.Failpoints) == 0
		})
		s.within(10*world.ElectionTimeout, "it has recovered", func() bool { return m.View.Incarnation > incarnation && m.View.LeaderID != 0 })
		s.within(20*world.ElectionTimeout, "the cluster converges", s.Converged)
		s.checkOnDisks(all, s.Members...)
	}
}

// limitRestarts sets a limit below the default.
func limitRestarts(w *world.World) {
	w.RestartLimit = supervisor.RestartLimit{Max: 4, Within: supervisor.DefaultRestartLimit.Within}
}

func crashTooOften(s *Driver) {
	s.within(5*world.ElectionTimeout, "a first leader", s.Converged)
	m := s.RandomMember()
	actor := []string{"", world.LogStorePath, actors.MachineName}[s.Random.IntN(3)]
	m.Failpoints = []*world.Failpoint{{Actor: actor, Remaining: 1, When: s.RandomTiming(), Repeats: s.RestartLimit.Max}}
	s.within(60*world.ElectionTimeout, "it stops", func() bool {
		if l := s.majorityLeader(); l != nil && l.Embedder.PendingWrites() == 0 {
			s.submitWrites(l, 1)
		}
		return s.Counts.Stops[world.StopRestarts] > 0
	})
	var fatal *actors.FatalError
	if !errors.As(m.StopError, &fatal) {
		s.fail("member %d stopped with %v", m.ID(), m.StopError)
	}
	if restarts := s.Counts.SubtreeRestarts; restarts < s.RestartLimit.Max {
		s.fail("it stopped after %d restarts", restarts)
	}
	s.awaitApplied(10*world.ElectionTimeout, s.commitWrite(), s.others(m)...)
}

func overload(s *Driver) {
	leader := s.awaitSessions()
	refused := map[messages.Refusal]int{}
	leader.Listen(func(news proto.Message) {
		switch m := news.(type) {
		case *messages.ProposalsRefused:
			refused[m.Reason]++
			if m.Reason == messages.Refusal_REFUSAL_OVERLOADED && m.Limit != s.NodeLimits().MaxUncommittedBytes {
				s.World.Fail("script", "refused as overloaded with a limit of %d", m.Limit)
			}
		}
	})
	bounded := func(d time.Duration) {
		for until := s.Now() + d; s.Now() < until; s.Step() {
			s.check()
			s.checkWithinLimits(leader)
		}
	}
	held := s.DropRule(leader, nil, "AppendEntries")
	all := s.submitWrites(leader, 1)
	for range 90 {
		all = append(all, s.submitPadded(leader, 500))
	}
	bounded(2 * world.ElectionTimeout)
	held.End()
	if refused[messages.Refusal_REFUSAL_OVERLOADED] == 0 {
		s.fail("nothing was refused: %v", refused)
	}
	bounded(world.HeartbeatInterval)

	held = s.DropRule(nil, leader, "HeartbeatResponse")
	var reads []*readRequest
	for range 2 * s.NodeLimits().MaxPendingReads {
		reads = append(reads, s.requestRead(leader))
	}
	bounded(world.HeartbeatInterval)
	n := 0
	for _, r := range reads {
		if r.refused == messages.Refusal_REFUSAL_OVERLOADED {
			n++
		}
	}
	if n != s.NodeLimits().MaxPendingReads {
		s.fail("%d of %d reads were refused", n, len(reads))
	}
	held.End()
	s.within(world.ElectionTimeout, "the other reads are answered", func() bool {
		return !slices.ContainsFunc(reads, (*readRequest).waiting)
	})
	s.within(10*world.ElectionTimeout, "all writes have an outcome", func() bool { return countOutcome(history.Pending, all) == 0 })
	s.commitWrite()
}

// checkWithinLimits checks that a Node and its actors keep their limits.
func (s *Driver) checkWithinLimits(m *world.Member) {
	limits := s.NodeLimits()
	if v := m.View; v.UncommittedBytes > limits.MaxUncommittedBytes || v.MemoryBytes > limits.MaxUncommittedBytes+limits.MemoryBytes+600 {
		s.fail("member %d keeps %d bytes uncommitted and %d bytes of its log in memory", m.ID(), v.UncommittedBytes, v.MemoryBytes)
	}
	for _, b := range m.Mailboxes {
		if len(b.Queued()) > 500 {
			s.fail("%d messages wait for %q of member %d", len(b.Queued()), b.Path(), m.ID())
		}
	}
}
