package sim

import (
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/supervisor"
)

var actorScenarios = append(crashScenarios(),
	Scenario{Name: "crash-recovering", Nodes: 3, Errata: []int{14}, Script: crashRecovering,
		Description: "a node fails, and fails again at each stage of its recovery, once or twice: it comes back from disk"},
	Scenario{Name: "crash-too-often", Nodes: 3, Setup: func(w *World) { w.restartLimit = supervisor.DefaultRestartLimit }, Script: crashTooOften,
		Description: "an actor fails again and again: after ten restarts its node stops and says why; the others go on without it"},
	Scenario{Name: "overload", Nodes: 3, Errata: []int{45}, Script: overload,
		Description: "proposals and reads beyond every limit: typed refusals with the limit, bounded memory, and all is served when it is over"},
)

// crashScenarios has one story for each kind of actor: over the seeds it fails at each kind of message that it hears.
func crashScenarios() (all []Scenario) {
	for _, h := range handledMessages {
		name := "crash-" + actors.NodeName
		switch h.actor {
		case actors.ReplicatorPrefix:
			name = "crash-replicator"
		case readerName:
			name = "crash-reader"
		case "":
		default:
			name = "crash-" + h.actor
		}
		all = append(all, Scenario{
			Name: name, Nodes: 3, Errata: []int{14}, Script: func(s *Driver) { s.crashAtSome(h.actor, h.kinds) },
			Description: "it fails before or after messages of each kind that it hears, once or twice in a row: rebuilt, and nothing acknowledged is lost",
		})
	}
	return all
}

// crashesPerSeed is how many kinds a seed takes. Seeds in a row take the kinds in turn.
const crashesPerSeed = 3

// crashAtSome has an actor fail at some of its kinds of message, and the cluster prove each time that nothing is lost.
func (s *Driver) crashAtSome(actor string, kinds []protoreflect.Name) {
	s.awaitSessions()
	var all []*history.Operation
	for i := range crashesPerSeed {
		kind := kinds[(int(s.seed)*crashesPerSeed+i)%len(kinds)]
		again := 0
		if s.chance(0.3) && kind != startMessage { // what is restarted starts again as part of that: it cannot fail there
			again = 1
		}
		begun := s.starts()
		s.crashWhileBusy(actor, kind, again)
		s.within(electionTimeout, "something is started anew", func() bool { return s.starts() > begun })
		s.within(20*electionTimeout, "all have recovered", s.converged)
		o := s.commitWrite()
		s.awaitApplied(5*electionTimeout, o, s.members...)
		all = append(all, o)
		s.checkOnDisks(all, s.members...)
	}
}

// beginnings counts restarts of actors and lives of members.
func (s *Driver) starts() int {
	n := s.counts.SubtreeRestarts + s.counts.ActorRestarts
	for _, m := range s.members {
		n += m.runNumber
	}
	return n
}

// crashWhileBusy sets traps and stirs the cluster until they have sprung: at a member that the seed chooses if that hears such a
// message soon, else at whichever does first.
func (s *Driver) crashWhileBusy(actor string, kind protoreflect.Name, again int) {
	when := s.randomTiming()
	var set []*failpoint
	arm := func(m *member) {
		for _, other := range s.others(m) {
			t := &failpoint{actor: actor, kind: kind, remaining: 1, when: when, repeats: again}
			if actor == actors.ReplicatorPrefix {
				t.actor = actors.ReplicatorName(other.id)
			}
			m.failpoints = append(m.failpoints, t)
			set = append(set, t)
			if actor != actors.ReplicatorPrefix {
				break
			}
		}
	}
	sprung := func() bool {
		for _, t := range set {
			if !slices.ContainsFunc(s.members, func(m *member) bool { return slices.Contains(m.failpoints, t) }) {
				return true
			}
		}
		return false
	}
	first := s.randomMember()
	arm(first)
	for round := 0; !sprung(); round++ {
		switch round {
		case 6:
			for _, m := range s.others(first) {
				arm(m)
			}
		case 40:
			s.fail("no %q of any member heard %s", actor, kind)
		}
		s.provoke(kind, round)
		for until := s.now + electionTimeout; s.now < until && !sprung(); s.step() {
			s.check()
		}
	}
	for _, m := range s.members {
		m.failpoints = nil
	}
}

// stir has something happen that makes actors talk: what leads to a kind of message first, then all there is.
func (s *Driver) provoke(kind protoreflect.Name, round int) {
	stirs := []func(){s.provokeWrites, s.provokeLinks, s.provokeBacklog, s.provokeLeadership, s.provokeRestart, s.provokeStale}
	start := map[protoreflect.Name]int{
		"LinkUp": 1, "LinkDown": 1, "EnvelopesDropped": 1, "ReadLog": 2, "ReadLogResponse": 2, "Campaign": 3, "TransferLeadership": 3, "RequestVote": 3,
		"VoteResponse": 3, "TimeoutNow": 3, "ResolveConflict": 3, startMessage: 4, "Recovered": 4, "MachineReady": 4, "HigherTerm": 5, "ProposalsRefused": 5,
	}[kind]
	if round%2 == 0 {
		stirs[start]()
	} else {
		stirs[(start+round/2)%len(stirs)]()
	}
}

func (s *Driver) provokeWrites() {
	for _, m := range s.members {
		if m.up {
			s.submitWrites(m, 3)
			s.begin(m, history.GetIndex, 1, "", "")
		}
	}
}

func (s *Driver) provokeLinks() {
	a, b := s.members[0], s.members[1+s.random.IntN(2)]
	s.flap(a, b)
	s.flap(b, a)
	s.provokeWrites()
}

// provokeBacklog has a member miss more than memory keeps.
func (s *Driver) provokeBacklog() {
	away := s.randomMember()
	s.isolate(away, true)
	s.advance(2 * heartbeatInterval)
	if l := s.majorityLeader(); l != nil && l != away {
		for range 10 {
			s.submitPadded(l, 200)
		}
		s.advance(3 * heartbeatInterval)
	}
	s.isolate(away, false)
}

// provokeLeadership has another lead, one time in two one that was not asked for, with a follower that lacks entries.
func (s *Driver) provokeLeadership() {
	l := s.majorityLeader()
	if l == nil {
		return
	}
	next, behind := s.others(l)[0], s.others(l)[1]
	if s.chance(0.5) {
		next, behind = behind, next
	}
	s.isolate(behind, true)
	behind.post(actors.NodePath, &messages.Campaign{}) // in vain
	s.submitWrites(l, 2)
	s.advance(heartbeatInterval)
	if s.chance(0.5) {
		l.post(actors.NodePath, &messages.TransferLeadership{Target: next.id})
	} else {
		next.post(actors.NodePath, &messages.Campaign{})
		s.setCut(l, next, true)
	}
	s.advance(2 * heartbeatInterval)
	s.isolate(behind, false)
	s.setCut(l, next, false)
}

func (s *Driver) provokeRestart() {
	m := s.randomMember()
	if s.chance(0.5) {
		s.powerCut(m)
		s.restart(m)
		return
	}
	m.failpoints = append(m.failpoints, &failpoint{remaining: 1, when: crashBefore})
}

// provokeStale says what is said rarely, about nothing: a late message of an earlier term.
func (s *Driver) provokeStale() {
	for _, m := range s.members {
		other := s.others(m)[0]
		for _, stale := range []proto.Message{
			&messages.HigherTerm{Incarnation: m.view.Incarnation, From: other.id}, &messages.TimeoutNow{Leader: other.id},
			&messages.ProposalsRefused{From: other.id, Reason: messages.Refusal_REFUSAL_NO_LEADER},
			&messages.ResolveConflict{Incarnation: m.view.Incarnation, Peer: other.id}, &messages.Tick{Incarnation: m.view.Incarnation, Timer: 1 << 40},
		} {
			m.post(actors.NodePath, stale)
		}
		m.post(actors.NodePath+"/"+actors.MachineName, &messages.Tick{Incarnation: m.view.Incarnation, Timer: 1 << 40})
	}
	s.provokeWrites()
}

// crashRecovering has a Node fail, and what starts in its place fail on the way.
func crashRecovering(s *Driver) {
	s.awaitSessions()
	stages := []failpoint{
		{actor: logName, kind: startMessage}, {actor: readerName, kind: startMessage}, {actor: "", kind: "Recovered"},
		{actor: actors.MachineName, kind: startMessage}, {actor: "", kind: "MachineReady"}, {actor: "", kind: "Pull"}, {actor: logName, kind: "Append"},
	}
	var all []*history.Operation
	for i := range crashesPerSeed {
		all = append(all, s.commitWrite())
		m := s.randomMember()
		incarnation := m.view.Incarnation
		t := stages[(int(s.seed)*crashesPerSeed+i)%len(stages)]
		t.remaining, t.when, t.repeats = 1, s.randomTiming(), s.random.IntN(2)
		if t.actor == readerName {
			t.repeats = 0 // it is restarted alone, and starts again as part of that
		}
		m.failpoints = []*failpoint{{remaining: 1, when: crashBefore}, &t}
		if s.chance(0.5) {
			s.powerCut(m)
			s.restart(m)
			incarnation = 0
		}
		s.within(5*electionTimeout, "it has failed on the way", func() bool {
			if len(m.failpoints) > 0 && s.majorityLeader() != nil {
				s.submitWrites(s.majorityLeader(), 1)
				s.advance(10 * time.Millisecond)
			}
			return len(m.failpoints) == 0
		})
		s.within(10*electionTimeout, "it is back", func() bool { return m.view.Incarnation > incarnation && m.view.LeaderID != 0 })
		s.within(20*electionTimeout, "all are well", s.converged)
		s.checkOnDisks(all, s.members...)
	}
}

func crashTooOften(s *Driver) {
	s.within(5*electionTimeout, "a first leader", s.converged)
	m := s.randomMember()
	actor := []string{"", logName, actors.MachineName}[s.random.IntN(3)]
	m.failpoints = []*failpoint{{actor: actor, remaining: 1, when: s.randomTiming(), repeats: s.restartLimit.Max}}
	s.within(60*electionTimeout, "it stops", func() bool {
		if l := s.majorityLeader(); l != nil && l.embedder.pendingWrites() == 0 {
			s.submitWrites(l, 1)
		}
		return s.counts.Stops[StopRestarts] > 0
	})
	var fatal *actors.FatalError
	if !errors.As(m.stopError, &fatal) {
		s.fail("member %d stopped with %v", m.id, m.stopError)
	}
	if restarts := s.counts.SubtreeRestarts; restarts < s.restartLimit.Max {
		s.fail("it stopped after %d restarts", restarts)
	}
	s.awaitApplied(10*electionTimeout, s.commitWrite(), s.others(m)...)
}

func overload(s *Driver) {
	leader := s.awaitSessions()
	refused := map[messages.Refusal]int{}
	leader.listen(func(news proto.Message) {
		switch m := news.(type) {
		case *messages.ProposalsRefused:
			refused[m.Reason]++
			if m.Reason == messages.Refusal_REFUSAL_OVERLOADED && m.Limit != s.nodeLimits().MaxUncommittedBytes {
				s.World.Fail("script", "refused as overloaded, the limit is said to be %d", m.Limit)
			}
		}
	})
	bounded := func(d time.Duration) {
		for until := s.now + d; s.now < until; s.step() {
			s.check()
			s.checkWithinLimits(leader)
		}
	}
	held := s.dropRule(leader, nil, "AppendEntries")
	all := s.submitWrites(leader, 1)
	for range 90 {
		all = append(all, s.submitPadded(leader, 500))
	}
	bounded(2 * electionTimeout)
	held.end()
	if refused[messages.Refusal_REFUSAL_OVERLOADED] == 0 {
		s.fail("nothing was refused: %v", refused)
	}
	bounded(heartbeatInterval)

	held = s.dropRule(nil, leader, "HeartbeatResponse")
	var reads []*readRequest
	for range 2 * s.nodeLimits().MaxPendingReads {
		reads = append(reads, s.requestRead(leader))
	}
	bounded(heartbeatInterval)
	n := 0
	for _, r := range reads {
		if r.refused == messages.Refusal_REFUSAL_OVERLOADED {
			n++
		}
	}
	if n != s.nodeLimits().MaxPendingReads {
		s.fail("%d of %d reads were refused", n, len(reads))
	}
	held.end()
	s.within(electionTimeout, "the other reads are answered", func() bool {
		return !slices.ContainsFunc(reads, (*readRequest).waiting)
	})
	s.within(10*electionTimeout, "all writes have an outcome", func() bool { return countOutcome(history.Pending, all) == 0 })
	s.commitWrite()
}

// checkWithinLimits holds what a Node and its actors keep against their limits.
func (s *Driver) checkWithinLimits(m *member) {
	limits := s.nodeLimits()
	if v := m.view; v.UncommittedBytes > limits.MaxUncommittedBytes || v.MemoryBytes > limits.MaxUncommittedBytes+limits.MemoryBytes+600 {
		s.fail("member %d keeps %d bytes uncommitted and %d bytes of its log in memory", m.id, v.UncommittedBytes, v.MemoryBytes)
	}
	for _, b := range m.mailboxes {
		if len(b.user) > 500 {
			s.fail("%d messages wait for %q of member %d", len(b.user), b.path, m.id)
		}
	}
}
