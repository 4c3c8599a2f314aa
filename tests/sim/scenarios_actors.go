package sim

import (
	"errors"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/supervisor"
)

var actorScenarios = append(crashScenarios(),
	Scenario{Name: "crash-recovering", Nodes: 3, Errata: []int{14}, Script: crashRecovering,
		Line: "a node fails, and fails again at each stage of its recovery, once or twice: it comes back from disk"},
	Scenario{Name: "crash-too-often", Nodes: 3, Given: func(w *World) { w.window = supervisor.DefaultRestartLimit }, Script: crashTooOften,
		Line: "an actor fails again and again: after ten restarts its node stops and says why; the others go on without it"},
	Scenario{Name: "overload", Nodes: 3, Errata: []int{45}, Script: overload,
		Line: "proposals and reads beyond every limit: typed refusals with the limit, bounded memory, and all is served when it is over"},
)

// crashScenarios has one story for each kind of actor: over the seeds it fails at each kind of message that it hears.
func crashScenarios() (all []Scenario) {
	for _, h := range heard {
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
			Name: name, Nodes: 3, Errata: []int{14}, Script: func(s *Scene) { s.crashesAt(h.actor, h.kinds) },
			Line: "it fails before or after messages of each kind that it hears, once or twice in a row: rebuilt, and nothing acknowledged is lost",
		})
	}
	return all
}

// crashesPerSeed is how many kinds a seed takes. Seeds in a row take the kinds in turn.
const crashesPerSeed = 3

// crashesAt has an actor fail at some of its kinds of message, and the cluster prove each time that nothing is lost.
func (s *Scene) crashesAt(actor string, kinds []protoreflect.Name) {
	s.settles()
	var all []*operation
	for i := range crashesPerSeed {
		kind := kinds[(int(s.seed)*crashesPerSeed+i)%len(kinds)]
		again := 0
		if s.chance(0.3) && kind != startMessage { // what is restarted starts again as part of that: it cannot fail there
			again = 1
		}
		begun := s.beginnings()
		s.failsAt(actor, kind, again)
		s.within(election, "something is started anew", func() bool { return s.beginnings() > begun })
		s.within(20*election, "all have recovered", s.well)
		o := s.commits()
		s.applied(5*election, o, s.members...)
		all = append(all, o)
		s.keeps(all, s.members...)
	}
}

// beginnings counts restarts of actors and lives of members.
func (s *Scene) beginnings() int {
	n := s.counts.SubtreeRestarts + s.counts.ActorRestarts
	for _, m := range s.members {
		n += m.life
	}
	return n
}

// failsAt sets traps and stirs the cluster until they have sprung: at a member that the seed chooses if that hears such a
// message soon, else at whichever does first.
func (s *Scene) failsAt(actor string, kind protoreflect.Name, again int) {
	when := s.anyMoment()
	var set []*trap
	arm := func(m *member) {
		for _, other := range s.others(m) {
			t := &trap{actor: actor, kind: kind, left: 1, when: when, again: again}
			if actor == actors.ReplicatorPrefix {
				t.actor = actors.ReplicatorName(other.id)
			}
			m.traps = append(m.traps, t)
			set = append(set, t)
			if actor != actors.ReplicatorPrefix {
				break
			}
		}
	}
	sprung := func() bool {
		for _, t := range set {
			if !slices.ContainsFunc(s.members, func(m *member) bool { return slices.Contains(m.traps, t) }) {
				return true
			}
		}
		return false
	}
	first := s.anyone()
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
		s.stir(kind, round)
		for until := s.now + election; s.now < until && !sprung(); s.step() {
			s.check()
		}
	}
	for _, m := range s.members {
		m.traps = nil
	}
}

// stir has something happen that makes actors talk: what leads to a kind of message first, then all there is.
func (s *Scene) stir(kind protoreflect.Name, round int) {
	stirs := []func(){s.stirWrites, s.stirLinks, s.stirBacklog, s.stirLeadership, s.stirRestart, s.stirStale}
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

func (s *Scene) stirWrites() {
	for _, m := range s.members {
		if m.up {
			s.say(m, 3)
			s.begin(m, GetIndex, 1, "", "")
		}
	}
}

func (s *Scene) stirLinks() {
	a, b := s.members[0], s.members[1+s.random.IntN(2)]
	s.flap(a, b)
	s.flap(b, a)
	s.stirWrites()
}

// stirBacklog has a member miss more than memory keeps.
func (s *Scene) stirBacklog() {
	away := s.anyone()
	s.cutOff(away, true)
	s.pass(2 * heartbeat)
	if l := s.leads(); l != nil && l != away {
		for range 10 {
			s.says(l, 200)
		}
		s.pass(3 * heartbeat)
	}
	s.cutOff(away, false)
}

// stirLeadership has another lead, one time in two one that was not asked for, with a follower that lacks entries.
func (s *Scene) stirLeadership() {
	l := s.leads()
	if l == nil {
		return
	}
	next, behind := s.others(l)[0], s.others(l)[1]
	if s.chance(0.5) {
		next, behind = behind, next
	}
	s.cutOff(behind, true)
	behind.post(actors.NodePath, &messages.Campaign{}) // in vain
	s.say(l, 2)
	s.pass(heartbeat)
	if s.chance(0.5) {
		l.post(actors.NodePath, &messages.TransferLeadership{Target: next.id})
	} else {
		next.post(actors.NodePath, &messages.Campaign{})
		s.setCut(l, next, true)
	}
	s.pass(2 * heartbeat)
	s.cutOff(behind, false)
	s.setCut(l, next, false)
}

func (s *Scene) stirRestart() {
	m := s.anyone()
	if s.chance(0.5) {
		s.powerCut(m)
		s.returns(m)
		return
	}
	m.traps = append(m.traps, &trap{left: 1, when: crashBefore})
}

// stirStale says what is said rarely, about nothing: a late message of an earlier term.
func (s *Scene) stirStale() {
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
	s.stirWrites()
}

// crashRecovering has a Node fail, and what starts in its place fail on the way.
func crashRecovering(s *Scene) {
	s.settles()
	stages := []trap{
		{actor: logName, kind: startMessage}, {actor: readerName, kind: startMessage}, {actor: "", kind: "Recovered"},
		{actor: actors.MachineName, kind: startMessage}, {actor: "", kind: "MachineReady"}, {actor: "", kind: "Pull"}, {actor: logName, kind: "Append"},
	}
	var all []*operation
	for i := range crashesPerSeed {
		all = append(all, s.commits())
		m := s.anyone()
		incarnation := m.view.Incarnation
		t := stages[(int(s.seed)*crashesPerSeed+i)%len(stages)]
		t.left, t.when, t.again = 1, s.anyMoment(), s.random.IntN(2)
		if t.actor == readerName {
			t.again = 0 // it is restarted alone, and starts again as part of that
		}
		m.traps = []*trap{{left: 1, when: crashBefore}, &t}
		if s.chance(0.5) {
			s.powerCut(m)
			s.returns(m)
			incarnation = 0
		}
		s.within(5*election, "it has failed on the way", func() bool {
			if len(m.traps) > 0 && s.leads() != nil {
				s.say(s.leads(), 1)
				s.pass(10 * time.Millisecond)
			}
			return len(m.traps) == 0
		})
		s.within(10*election, "it is back", func() bool { return m.view.Incarnation > incarnation && m.view.LeaderID != 0 })
		s.within(20*election, "all are well", s.well)
		s.keeps(all, s.members...)
	}
}

func crashTooOften(s *Scene) {
	s.within(5*election, "a first leader", s.well)
	m := s.anyone()
	actor := []string{"", logName, actors.MachineName}[s.random.IntN(3)]
	m.traps = []*trap{{actor: actor, left: 1, when: s.anyMoment(), again: s.window.Max}}
	s.within(60*election, "it stops", func() bool {
		if l := s.leads(); l != nil && l.program.writing() == 0 {
			s.say(l, 1)
		}
		return s.counts.Stops[StopRestarts] > 0
	})
	var fatal *actors.FatalError
	if !errors.As(m.lastStop, &fatal) {
		s.fail("member %d stopped with %v", m.id, m.lastStop)
	}
	if restarts := s.counts.SubtreeRestarts; restarts < s.window.Max {
		s.fail("it stopped after %d restarts", restarts)
	}
	s.applied(10*election, s.commits(), s.others(m)...)
}

func overload(s *Scene) {
	leader := s.settles()
	refused := map[messages.Refusal]int{}
	leader.hear(func(news proto.Message) {
		switch m := news.(type) {
		case *messages.ProposalsRefused:
			refused[m.Reason]++
			if m.Reason == messages.Refusal_REFUSAL_OVERLOADED && m.Limit != s.limits().MaxUncommittedBytes {
				s.World.fail("script", "refused as overloaded, the limit is said to be %d", m.Limit)
			}
		}
	})
	bounded := func(d time.Duration) {
		for until := s.now + d; s.now < until; s.step() {
			s.check()
			s.withinLimits(leader)
		}
	}
	held := s.lose(leader, nil, "AppendEntries")
	all := s.say(leader, 1)
	for range 90 {
		all = append(all, s.says(leader, 500))
	}
	bounded(2 * election)
	held.end()
	if refused[messages.Refusal_REFUSAL_OVERLOADED] == 0 {
		s.fail("nothing was refused: %v", refused)
	}
	bounded(heartbeat)

	held = s.lose(nil, leader, "HeartbeatResponse")
	var reads []*asked
	for range 2 * s.limits().MaxPendingReads {
		reads = append(reads, s.ask(leader))
	}
	bounded(heartbeat)
	n := 0
	for _, r := range reads {
		if r.refused == messages.Refusal_REFUSAL_OVERLOADED {
			n++
		}
	}
	if n != s.limits().MaxPendingReads {
		s.fail("%d of %d reads were refused", n, len(reads))
	}
	held.end()
	s.within(election, "the other reads are answered", func() bool {
		return !slices.ContainsFunc(reads, (*asked).waits)
	})
	s.within(10*election, "all writes have an outcome", func() bool { return are(pending, all) == 0 })
	s.commits()
}

// withinLimits holds what a Node and its actors keep against their limits.
func (s *Scene) withinLimits(m *member) {
	limits := s.limits()
	if v := m.view; v.UncommittedBytes > limits.MaxUncommittedBytes || v.MemoryBytes > limits.MaxUncommittedBytes+limits.MemoryBytes+600 {
		s.fail("member %d keeps %d bytes uncommitted and %d bytes of its log in memory", m.id, v.UncommittedBytes, v.MemoryBytes)
	}
	for _, b := range m.mailboxes {
		if len(b.user) > 500 {
			s.fail("%d messages wait for %q of member %d", len(b.user), b.name, m.id)
		}
	}
}
